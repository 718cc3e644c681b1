//! Why something that was to run has no result.

use crate::key::Output;
use crate::store;

/// A failure; none is ever recorded.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The work itself failed: a loss that is not finite, a command that exits with 1, a malformed file.
    #[error("{0}")]
    Work(String),
    /// The run was interrupted; what was finished is kept.
    #[error("interrupted")]
    Interrupted,
    /// A device was lost: its stage fails, the study goes on, and the run says that the machine failed.
    #[error("{0}")]
    Lost(String),
    /// A device's memory is too small for it, or others have too much of it.
    #[error("{0}")]
    Memory(String),
    /// The machine cannot do it: no such device, no memory, no way to start a command.
    #[error("{0}")]
    Machine(String),
    /// The cache failed.
    #[error(transparent)]
    Store(store::Error),
    /// Bytes that are needed are gone or damaged; whoever can makes them again and tries once more.
    #[error("the bytes of `{}` are gone", .0.digest.short())]
    Absent(Output),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Interrupted => Self::Interrupted,
            error => Self::Store(error),
        }
    }
}

impl Failure {
    /// What the system said of a file or folder, in the house's form.
    pub fn said(error: &std::io::Error) -> String {
        store::plain(error)
    }

    /// A failure of the work, from anything that says what is wrong.
    pub fn work(problem: impl std::fmt::Display) -> Self {
        Self::Work(format!("{problem}"))
    }
}
