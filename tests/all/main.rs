//! Whole behaviour, through the binary.
#![expect(clippy::print_stderr, reason = "a test says its seed, and why it could not test")]
#![expect(clippy::float_cmp, reason = "counts read from tables, and numbers that must be the same to the bit")]
#![expect(clippy::format_push_string, clippy::match_bool, reason = "tests are read more than they are run")]

mod docs;
mod faults;
mod guard;
mod mistakes;
mod project;
mod rooms;
mod runner;
mod science;
