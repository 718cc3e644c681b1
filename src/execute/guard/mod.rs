//! The guard of commands: a small companion of the runner that starts them, and ends them when the runner is gone.
//!
//! Commands are children of the guard and not of the runner, so that a runner ended by `kill -9` leaves none behind: the
//! kernel closes the pipe between the two, and the guard, which reads it, kills what it has started and exits. It sits in a
//! session of its own, so that a Ctrl-C at the terminal reaches the runner alone, which decides what becomes of its
//! commands.
//!
//! A command is whatever descends from the program that was asked for. Its program leads a process group of its own, but a
//! descendant may leave the group (`setsid`, daemons). The guard is therefore a *subreaper*, to which the kernel hands every
//! descendant that lost its parent, and it marks each command with a number that fork and exec pass on and nothing on Linux
//! heeds any more: the soft limit of file locks (`RLIMIT_LOCKS`, `ulimit -x`). When a command's program ends, what bears its
//! mark is ended too, before the answer is given; what belongs to another command that still runs is left alone.
//!
//! Should the guard itself be killed, the kernel hands its commands to the next subreaper above, which the runner is: it ends what bears
//! a mark of that guard.
//!
//! It knows nothing of stages, actions or the store, and imports nothing of this crate. Linux only.
//!
//! Reading order: `wire` (what the two say to each other), `runner` (the runner's end, [`Guard`]), `keeper` (the guard
//! itself, [`guard_main`]), `children` (what the kernel tells of the guard's children).

mod children;
mod keeper;
mod runner;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use keeper::guard_main;
pub use runner::Guard;

/// The hidden argument with which the program runs as a guard instead of as itself: `thalweg __guard`.
pub const ARGUMENT: &str = "__guard";

/// Between the polite signal and the other one. With it a cancelled command is over within the 2 s that a run may take to
/// stop.
const GRACE: Duration = Duration::from_millis(1500);

/// What is to be started, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// The program: a name, looked up in the `PATH` of `env` (in the system's default path if `env` names none); or a path,
    /// which is relative to `directory` if it is relative.
    pub program: String,
    /// Its arguments, the program's own name left out.
    pub args: Vec<String>,
    /// Its whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The directory it starts in, absolute; must exist.
    #[serde(with = "wire::raw_path")]
    pub directory: PathBuf,
    /// The file that receives its standard output, absolute; made, or emptied if it is there.
    #[serde(with = "wire::raw_path")]
    pub stdout: PathBuf,
    /// The file that receives its standard error, absolute; may be the same as `stdout`, and then both are in one file in
    /// the order they were written.
    #[serde(with = "wire::raw_path")]
    pub stderr: PathBuf,
}

/// How a command's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited, with this status; 0 says that all went well.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// Why a command has no exit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It could not be started: no such program or directory, no permission, an output file that cannot be made.
    #[error("{problem}")]
    NotStarted {
        /// What was tried, on what, and the system's words.
        problem: String,
    },
    /// The runner was told to stop; the command and all that descends from it was ended.
    #[error("interrupted")]
    Interrupted,
    /// The guard itself is gone, and the runner has ended what that had started, as far as it could.
    #[error("the guard of commands is gone ({how}): `{program}` {}", if *.ended { "was ended" } else { "may still run" })]
    Gone {
        /// The program that was running, or was to be started.
        program: String,
        /// How the guard ended, as far as is known.
        how: String,
        /// Whether nothing of what it had started is left.
        ended: bool,
    },
}
