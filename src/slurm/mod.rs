//! Slurm: jobs in, what became of them out. It knows no stages: a job runs a program in a folder of its own, through which whoever asked for it
//! and the program talk.
//!
//! ```text
//! FOLDER/job.json        token, name and id of the job; written before it is submitted, so that it is found again whatever happens then
//! FOLDER/events-TASK     what the program tells while it runs, one JSON object a line
//! FOLDER/exit-TASK       how it ended; written whole, as its last deed
//! FOLDER/log-TASK        what it printed
//! ```
//!
//! An id is never trusted alone. A controller that dies just after it took a job may have forgotten it when it comes back, and gives its id to
//! another; what a job is known by is the token in its name and comment. `sacct` is asked only where there is one, and only of jobs that the
//! controller no longer knows.
//!
//! Reading order: `command` (one call of Slurm), `state` (what Slurm says of a job), `folder` (what a job and its owner tell each other), `job`
//! (from submission to the end).

mod command;
mod folder;
mod job;
mod state;

pub use command::{Commands, Error};
pub use folder::{End, Exit, Folder, Told};
pub use job::{Fate, Job, Queue, Request, requeue};
pub use state::State;
