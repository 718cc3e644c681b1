//! One series of data and how it is drawn.

/// Points that belong together, drawn in one colour under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend; an empty label has no entry.
    pub label: String,
    /// Line, points, or both.
    pub style: Style,
    /// The data, (x, y) in data units. A point that cannot be shown is left out, and a line breaks there.
    pub points: Vec<(f64, f64)>,
    /// The ends (low, high) of an error bar for each point, in data units; a bar with a NaN is not drawn.
    pub errors: Option<Vec<(f64, f64)>>,
    /// The lower and upper edge of a shaded band at each point, in data units.
    pub band: Option<Vec<(f64, f64)>>,
    /// Its colour.
    pub color: Color,
    /// The shape of its points; by default each series has another.
    pub marker: Option<Marker>,
    /// Whether points beyond the ends of the axes are drawn at those ends. Such a series stretches no axis.
    pub at_edge: bool,
    /// Whether points are drawn as rings.
    pub hollow: bool,
    /// Whether lines are dashed.
    pub dashed: bool,
    /// 0 (invisible) to 1.
    pub opacity: f64,
    /// Diameter of points, or width of a line without points, in typographic points; by default it follows from the
    /// number of points.
    pub size: Option<f64>,
}

impl Series {
    /// A series drawn in this style, everything else as usual.
    pub fn new(style: Style, label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.into(),
            style,
            points,
            errors: None,
            band: None,
            color: Color::Auto,
            marker: None,
            at_edge: false,
            hollow: false,
            dashed: false,
            opacity: 1.0,
            size: None,
        }
    }

    /// A line through the points.
    pub fn line(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(Style::Line, label, points)
    }

    /// Points alone.
    pub fn points(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(Style::Points, label, points)
    }

    /// Points joined by a line.
    pub fn line_points(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(Style::LinePoints, label, points)
    }

    /// The same series with error bars of half length `deviations[i]` in data units.
    #[must_use]
    pub fn with_errors(mut self, deviations: &[f64]) -> Self {
        self.errors = Some(around(&self.points, deviations));
        self
    }

    /// The same series with a band of half width `deviations[i]` in data units.
    #[must_use]
    pub fn with_band(mut self, deviations: &[f64]) -> Self {
        self.band = Some(around(&self.points, deviations));
        self
    }
}

fn around(points: &[(f64, f64)], deviations: &[f64]) -> Vec<(f64, f64)> {
    points.iter().zip(deviations).map(|(&(_, y), &sd)| (y - sd, y + sd)).collect()
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A line.
    #[default]
    Line,
    /// Points.
    Points,
    /// Points joined by a line.
    LinePoints,
    /// Each value holds until the next.
    Step,
}

impl Style {
    pub(super) fn has_points(self) -> bool {
        matches!(self, Self::Points | Self::LinePoints)
    }

    pub(super) fn has_line(self) -> bool {
        self != Self::Points
    }
}

/// The shape of a point; they can be told apart without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A disc.
    Circle,
    /// A square.
    Square,
    /// A triangle that points up.
    Triangle,
    /// A square on its corner.
    Diamond,
    /// A triangle that points down.
    Nabla,
    /// Two strokes that cross.
    Cross,
}

impl Marker {
    /// The shape of this name (`"square"`), if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let named = Self::NAMES.iter().position(|known| *known == name)?;
        Some([Self::Circle, Self::Square, Self::Triangle, Self::Diamond, Self::Nabla, Self::Cross][named])
    }

    /// The names of the shapes.
    pub const NAMES: [&str; 6] = ["circle", "square", "triangle", "diamond", "nabla", "cross"];

    /// The shape of the series number `index`, counted from 0.
    pub fn of(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond, Self::Nabla][index % 5]
    }
}

/// A colour: from the palette of Okabe and Ito, which colour-blind readers can tell apart (Okabe and Ito 2008, "Color
/// Universal Design"), or any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// By the position of the series in its panel.
    #[default]
    Auto,
    /// This place in the palette, counted from 0, as if the series stood there.
    Index(usize),
    /// Black.
    Black,
    /// Middle grey.
    Grey,
    /// Orange.
    Orange,
    /// Sky blue.
    SkyBlue,
    /// Bluish green.
    Green,
    /// Yellow.
    Yellow,
    /// Blue.
    Blue,
    /// Vermillion.
    Vermillion,
    /// Reddish purple.
    Purple,
    /// Red, green and blue in sRGB, 0 to 255.
    Rgb(u8, u8, u8),
}

impl Color {
    /// The colour of this name (`"vermillion"`, `"sky blue"`, `"#d55e00"`), if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "black" => Self::Black,
            "grey" => Self::Grey,
            "orange" => Self::Orange,
            "sky blue" => Self::SkyBlue,
            "green" => Self::Green,
            "yellow" => Self::Yellow,
            "blue" => Self::Blue,
            "vermillion" => Self::Vermillion,
            "purple" => Self::Purple,
            _ => {
                let digits = name.strip_prefix('#').filter(|digits| digits.len() == 6)?;
                let bits = u32::from_str_radix(digits, 16).ok()?;
                let [_, red, green, blue] = bits.to_be_bytes();
                Self::Rgb(red, green, blue)
            }
        })
    }

    /// Red, green and blue for the series number `index`.
    pub(super) fn rgb(self, index: usize) -> [u8; 3] {
        match self {
            Self::Auto => Self::in_palette(index).rgb(0),
            Self::Index(place) => Self::in_palette(place).rgb(0),
            Self::Black => [0x1a, 0x1a, 0x1a],
            Self::Grey => [0x80, 0x80, 0x80],
            Self::Orange => [0xe6, 0x9f, 0x00],
            Self::SkyBlue => [0x56, 0xb4, 0xe9],
            Self::Green => [0x00, 0x9e, 0x73],
            Self::Yellow => [0xf0, 0xe4, 0x42],
            Self::Blue => [0x00, 0x72, 0xb2],
            Self::Vermillion => [0xd5, 0x5e, 0x00],
            Self::Purple => [0xcc, 0x79, 0xa7],
            Self::Rgb(red, green, blue) => [red, green, blue],
        }
    }

    /// Yellow is left out of the series: it is too light for a thin line on white.
    fn in_palette(index: usize) -> Self {
        let palette =
            [Self::Blue, Self::Vermillion, Self::Green, Self::Purple, Self::Orange, Self::SkyBlue, Self::Black];
        palette[index % palette.len()]
    }
}
