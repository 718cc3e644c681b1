//! The landscape of L(θ): training through it, descents to the valley floor, lines between minima, and the search for a
//! path of them. Everything here can be stopped and gone on with, and gives the bytes of a run that was not stopped. It
//! knows no cache; whoever keeps a state keeps it whole.
//!
//! Reading order: `descent` (from a state to its minimum), `line` (between two minima), `bisect` (which pairs, which
//! midpoints), `training` (the trajectory itself), `dynamics` (whether it is stationary).

use crate::ml::tensor::Tensor;

use super::Result;
use super::objective::{Bounded, Interrupt, Objective};
use super::params::Theta;

pub mod bisect;
pub mod descent;
pub mod dynamics;
pub mod line;
pub mod training;

/// What a descent and a line ask of L(θ). [`Objective`] is the one that studies have; tests have others, in closed form.
pub trait Surface {
    /// L(θ) and ∇L(θ), `(N,)` in θ's dtype.
    ///
    /// # Errors
    /// As [`Objective::gradient`].
    fn gradient(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<(f64, Tensor)>;

    /// L(θ), or the first partial sum that exceeds `ceiling`.
    ///
    /// # Errors
    /// As [`Objective::value_until`].
    fn value_until(&self, theta: &Theta, ceiling: f64, stop: &dyn Interrupt) -> Result<Bounded>;
}

impl Surface for Objective {
    fn gradient(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<(f64, Tensor)> {
        self.gradient(theta, stop)
    }

    fn value_until(&self, theta: &Theta, ceiling: f64, stop: &dyn Interrupt) -> Result<Bounded> {
        self.value_until(theta, ceiling, stop)
    }
}

#[cfg(test)]
mod quadratic;
