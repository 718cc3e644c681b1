//! What is to be drawn: a figure, its panels, axes, marks and insets, as plain data.

use super::series::{Color, Series};

/// A figure: panels in a grid, filled row by row, with a title above and a note below.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// A line above all panels.
    pub title: Option<String>,
    /// A footnote below all panels, wrapped to the figure's width.
    pub note: Option<String>,
    /// Width in millimetres: 85 for one column of a journal, 174 for two.
    pub width_mm: f64,
    /// Height in millimetres; by default it follows from the width and the number of rows.
    pub height_mm: Option<f64>,
    /// Panels in a row; by default at most two.
    pub columns: Option<usize>,
    /// Whether several panels are lettered a, b, … in bold.
    pub letters: bool,
    /// The panels, row by row.
    pub panels: Vec<Panel>,
}

/// The width of one column of a journal, in millimetres.
pub const SINGLE_COLUMN_MM: f64 = 85.0;
/// The width of two columns of a journal, in millimetres.
pub const DOUBLE_COLUMN_MM: f64 = 174.0;

impl Figure {
    /// A figure of these panels: as wide as one column for a single panel, as two columns for more.
    pub fn new(panels: Vec<Panel>) -> Self {
        let width_mm = if panels.len() > 1 { DOUBLE_COLUMN_MM } else { SINGLE_COLUMN_MM };
        Self { title: None, note: None, width_mm, height_mm: None, columns: None, letters: true, panels }
    }

    /// Panels in a row: as asked, or at most two.
    pub(super) fn columns(&self) -> usize {
        self.columns.unwrap_or(2).clamp(1, self.panels.len().max(1))
    }
}

/// One pair of axes and what is drawn in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// A line above the axes.
    pub title: Option<String>,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The data, drawn in this order.
    pub series: Vec<Series>,
    /// Lines and shaded spans behind the data.
    pub marks: Vec<Mark>,
    /// A small panel inside this one.
    pub inset: Option<Inset>,
    /// Where the legend goes.
    pub legend: Legend,
}

impl Panel {
    /// A panel with these axes and series, its legend where there is most room.
    pub fn new(x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Self { x, y, series, ..Self::default() }
    }
}

/// An axis: what it measures and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What is measured.
    pub label: String,
    /// Its unit, shown in parentheses.
    pub unit: Option<String>,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Its lower end in data units; by default it follows from the data.
    pub low: Option<f64>,
    /// Its upper end in data units; by default it follows from the data.
    pub high: Option<f64>,
}

impl Axis {
    /// A linear axis with this label.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// A logarithmic axis with this label.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log, ..Self::default() }
    }

    /// The same axis with this unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// The same axis from `low` to `high`, in data units.
    #[must_use]
    pub fn range(mut self, low: f64, high: f64) -> Self {
        (self.low, self.high) = (Some(low), Some(high));
        self
    }
}

/// How values become lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equal lengths.
    #[default]
    Linear,
    /// Equal ratios are equal lengths; only positive values can be shown.
    Log,
}

/// A line or a shaded span that runs across the whole panel, with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Written at the mark where there is room, else in the legend; may be empty.
    pub label: String,
    /// Where it lies, in data units.
    pub position: Position,
    /// By default a dark grey for lines and a light grey for spans.
    pub color: Option<Color>,
    /// Whether a line is dashed.
    pub dashed: bool,
}

impl Mark {
    /// A dashed line at the height `y`: a threshold.
    pub fn horizontal(y: f64, label: impl Into<String>) -> Self {
        Self { label: label.into(), position: Position::Horizontal(y), color: None, dashed: true }
    }

    /// A dashed line at `x`.
    pub fn vertical(x: f64, label: impl Into<String>) -> Self {
        Self { label: label.into(), position: Position::Vertical(x), color: None, dashed: true }
    }

    /// A shaded span from `from` to `to` along the horizontal axis: an early phase.
    pub fn span(from: f64, to: f64, label: impl Into<String>) -> Self {
        Self { label: label.into(), position: Position::Columns(from, to), color: None, dashed: false }
    }

    pub(super) fn is_span(&self) -> bool {
        matches!(self.position, Position::Columns(..))
    }
}

/// Where a mark lies, in data units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position {
    /// A line at this y.
    Horizontal(f64),
    /// A line at this x.
    Vertical(f64),
    /// A span between two values of x, at full height.
    Columns(f64, f64),
}

/// A small panel inside another, with axes of its own on white. An inset's own inset is not drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Inset {
    /// What it shows.
    pub panel: Box<Panel>,
    /// Where it lies.
    pub placement: Placement,
}

impl Inset {
    /// An inset in the emptiest corner, at the usual size.
    pub fn new(panel: Panel) -> Self {
        Self { panel: Box::new(panel), placement: Placement::Emptiest { width: 0.48, height: 0.44 } }
    }
}

/// Where an inset lies, labels included, in fractions of the outer panel's axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placement {
    /// In the corner with the fewest data.
    Emptiest {
        /// Width, 0 to 1.
        width: f64,
        /// Height, 0 to 1.
        height: f64,
    },
    /// At a fixed place; `left` and `bottom` are the lower left corner.
    At {
        /// Distance of the left edge from the vertical axis, 0 to 1.
        left: f64,
        /// Distance of the lower edge from the horizontal axis, 0 to 1.
        bottom: f64,
        /// Width, 0 to 1.
        width: f64,
        /// Height, 0 to 1.
        height: f64,
    },
}

/// Where the legend goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Legend {
    /// Where it covers the fewest data; an axis without a given range is extended to make room.
    #[default]
    Emptiest,
    /// In this corner.
    At(Corner),
    /// No legend.
    None,
}

/// A corner of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corner {
    /// Top left.
    TopLeft,
    /// Top right.
    TopRight,
    /// Bottom left.
    BottomLeft,
    /// Bottom right.
    BottomRight,
}
