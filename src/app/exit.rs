//! Exit codes, and problems that end the program before or instead of a run.

use std::io;
use std::process::ExitCode;

use crate::store;

/// How the program ends.
#[derive(Debug)]
pub enum Exit {
    /// 0: done; no claim fails.
    Done,
    /// 1: a stage failed; the rest that could run did.
    StageFailed,
    /// 3: done; a claim does not hold.
    ClaimFails,
    /// 4: the cache or the machine failed; what was finished is kept.
    Machine,
    /// 130: interrupted; what was finished is kept.
    Interrupted,
    /// What the guard of commands ended with.
    Guard(ExitCode),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::StageFailed => Self::from(1),
            Exit::ClaimFails => Self::from(3),
            Exit::Machine => Self::from(4),
            Exit::Interrupted => Self::from(130),
            Exit::Guard(code) => code,
        }
    }
}

/// Why nothing ran, or nothing more could.
#[derive(Debug)]
pub enum Problem {
    /// Exit 2: the command line or the manifest is wrong, or a named file is missing.
    Usage(Vec<miette::Report>),
    /// Exit 4: the cache or the machine failed.
    Machine(String),
    /// Exit 130: interrupted while waiting.
    Interrupted,
    /// The reader of the standard output went away; nobody is there to be told.
    Closed,
}

impl Problem {
    /// A mistake without a place in a file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(vec![miette::miette!("{}", message.into())])
    }

    /// A mistake without a place in a file, with what would be right.
    pub fn usage_with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage(vec![miette::miette!(help = help.into(), "{}", message.into())])
    }

    /// Its exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Machine(_) => ExitCode::from(4),
            Self::Interrupted => ExitCode::from(130),
            Self::Closed => ExitCode::SUCCESS,
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Interrupted => Self::Interrupted,
            error => Self::Machine(error.to_string()),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Machine(format!("failed to write: {error}")),
        }
    }
}
