//! Whole behaviour, through the binary.
#![expect(clippy::print_stderr, reason = "a test says its seed, and why it could not test")]

mod docs;
mod faults;
mod guard;
mod mistakes;
mod project;
mod rooms;
mod runner;
mod science;
