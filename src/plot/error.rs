//! What can go wrong with a figure, and what is worth a warning.

use std::fmt;

/// The result of drawing.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a figure cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to draw.
    #[error("a figure needs at least one panel")]
    NoPanels,
    /// The paper is too small for the axes, or not a finite size.
    #[error("a figure of {width_mm} mm by {height_mm} mm leaves no room for its axes")]
    Size {
        /// Width of the figure in millimetres.
        width_mm: f64,
        /// Height of the figure in millimetres.
        height_mm: f64,
    },
    /// An axis was given a range that it cannot show.
    #[error("the range {low} to {high} of axis `{axis}` must be finite, ascending, and positive if logarithmic")]
    Range {
        /// The label of the axis.
        axis: String,
        /// The lower end that was asked for.
        low: f64,
        /// The upper end that was asked for.
        high: f64,
    },
    /// The resolution is out of bounds.
    #[error("a resolution of {dots_per_inch} dots per inch is not between 20 and 2400")]
    Resolution {
        /// The resolution that was asked for.
        dots_per_inch: u32,
    },
    /// The `png` crate refused the picture.
    #[error("failed to encode the picture as PNG")]
    Png(#[from] ::png::EncodingError),
    /// A drawing area refused an element.
    #[error("failed to draw: {0}")]
    Drawing(String),
}

/// What was left out of a picture, or drawn otherwise than asked. `place` names the panel, `series` the series' label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Points with a coordinate that is NaN, infinite, or beyond ±10¹⁰⁰.
    NotFinite {
        /// The panel.
        place: String,
        /// The series.
        series: String,
        /// How many points were left out.
        count: usize,
    },
    /// Points that a logarithmic axis cannot show.
    NotPositive {
        /// The panel.
        place: String,
        /// The series.
        series: String,
        /// How many points were left out.
        count: usize,
    },
    /// Points outside the range that the axes were given.
    Outside {
        /// The panel.
        place: String,
        /// The series.
        series: String,
        /// How many points lie outside.
        count: usize,
    },
    /// A series without a single point that can be drawn.
    Empty {
        /// The panel.
        place: String,
        /// The series.
        series: String,
    },
    /// Error bars or a band that are not as many as the points; the rest goes without.
    Lengths {
        /// The panel.
        place: String,
        /// The series.
        series: String,
        /// Number of points.
        points: usize,
        /// Number of error bars, or of places of the band.
        spreads: usize,
    },
    /// A mark whose position the axis cannot show.
    Mark {
        /// The panel.
        place: String,
        /// The mark's label.
        label: String,
    },
    /// A character that the bundled font does not have; an empty box stands for it.
    Glyph {
        /// The character.
        character: char,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |label: &str| if label.is_empty() { "a nameless one".to_owned() } else { format!("`{label}`") };
        let points = |count: usize, series: &str| match count {
            1 => format!("1 point of {} is", named(series)),
            _ => format!("{count} points of {} are", named(series)),
        };
        match self {
            Self::NotFinite { place, series, count } => {
                write!(f, "{place}: {} not finite and left out", points(*count, series))
            }
            Self::NotPositive { place, series, count } => {
                write!(f, "{place}: {} not positive and left out of a logarithmic axis", points(*count, series))
            }
            Self::Outside { place, series, count } => {
                write!(f, "{place}: {} outside the axes", points(*count, series))
            }
            Self::Empty { place, series } => write!(f, "{place}: {} has no point to draw", named(series)),
            Self::Lengths { place, series, points, spreads } => {
                write!(f, "{place}: {} has {points} points but {spreads} error bars", named(series))
            }
            Self::Mark { place, label } => write!(f, "{place}: the mark {} lies outside the axes", named(label)),
            Self::Glyph { character } => write!(f, "the bundled font has no `{character}`"),
        }
    }
}
