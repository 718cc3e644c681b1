//! What the Hessian of an objective looks like: its trace by random probes, and, for small models, all of it.
//!
//! Knows an [`Objective`](crate::ml::objective::Objective) and its exact products; knows no model, no data and no
//! differences.
//!
//! Reading order: `trace`, `dense`.

pub mod dense;
pub mod trace;
