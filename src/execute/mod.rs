//! (front page to come)

pub mod guard;
