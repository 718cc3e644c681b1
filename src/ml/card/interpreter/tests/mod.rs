//! Small kernels whose `.cu` is beside them, against the same arithmetic in Rust, and one text of faults.

mod conversions;
mod elementwise;
mod faults;
mod functions;
mod layout;
mod reductions;
mod spaces;
mod support;
