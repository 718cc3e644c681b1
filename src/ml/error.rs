//! What can go wrong in the science.

/// A result whose error is this room's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the science: a shape that does not fit, a number that is not finite, malformed data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Operands whose shapes do not go together.
    #[error("`{operation}` takes {expected}, got {found}")]
    Shape {
        /// The operation that refused.
        operation: &'static str,
        /// What it takes, in words.
        expected: String,
        /// The shapes it was given.
        found: String,
    },
    /// A number that should be finite is not.
    #[error("{what} is not finite")]
    NotFinite {
        /// Which number, in words.
        what: String,
    },
    /// A data file that does not parse.
    #[error("{place}: {problem}")]
    Data {
        /// The file and, where there is one, the line: `digits.csv:12`.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A setting that makes no sense for this data or model.
    #[error("{0}")]
    Setting(String),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A card failed, or there is none.
    #[error(transparent)]
    Card(super::card::Fault),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
