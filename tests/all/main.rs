//! Whole behaviour, through the binary.

mod docs;
mod faults;
mod guard;
mod mistakes;
mod project;
mod rooms;
mod runner;
mod science;
