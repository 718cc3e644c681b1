//! How parameters move: stochastic gradient descent with momentum, and its learning rate over time. It knows no model, no
//! data and no loss; θ and its gradient are flat tensors.
//!
//! Reading order: `sgd` (one step), `schedule` (the learning rate at an epoch and iteration).

pub mod schedule;
pub mod sgd;

pub use schedule::{Position, Schedule};
pub use sgd::Sgd;

#[cfg(test)]
mod oracle;
