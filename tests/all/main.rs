//! Whole behaviour, through the binary.

mod guard;
mod science;
