//! Whole behaviour, through the binary.
#![expect(clippy::print_stderr, reason = "a test says its seed, and what a machine did not let it try")]

mod absent;
mod collect;
mod damage;
mod docs;
mod endings;
mod fake_slurm;
mod faults;
mod guard;
mod hostile;
mod kills;
mod mistakes;
mod places;
mod project;
mod rooms;
mod runner;
mod science;
mod shared;
mod slurm;
mod upkeep;
