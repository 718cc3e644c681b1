//! Noise in the gradients of the steep coordinates, of a covariance that follows their Hessian along the floor.
//!
//! In its eigenbasis a covariance of variances cᵢ holds ⟨θᵢ²⟩ = ηcᵢ/(2λᵢ) at small rates, so along the valley's floor there is the force
//! −(η/4)·Σ (cᵢ/λᵢ)∇λᵢ: with cᵢ = λᵢ·∂f/∂λᵢ it is −(η/4)∇f, for any f of the eigenvalues (theorem 2 of the paper).

use super::expression::Expression;
use super::scalar::{Dual, Lanes, Scalar};

/// A covariance; times σ².
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// None.
    None,
    /// The Hessian of the steep coordinates, as that of SGD is near a minimum: it lowers their trace.
    Sgd,
    /// The identity: it lowers their determinant.
    Isotropic,
    /// That which lowers this function of the eigenvalues `l1`, `l2`, …, of which `l1` is the smallest.
    Designed(Expression),
}

impl Noise {
    /// cᵢ of each eigenvalue.
    pub(super) fn variances(&self, values: &[Lanes], room: &mut Vec<Dual<Lanes>>) -> Vec<Lanes> {
        let slope = |f: &Expression, i: usize, room: &mut Vec<Dual<Lanes>>| {
            let variable = |j: usize| Dual { value: values[j], slope: Lanes::constant(f64::from(i == j)) };
            f.eval(variable, room).slope
        };
        match self {
            Self::None => vec![Lanes::constant(0.0); values.len()],
            Self::Sgd => values.to_vec(),
            Self::Isotropic => vec![Lanes::constant(1.0); values.len()],
            Self::Designed(f) => (0..values.len()).map(|i| values[i] * slope(f, i, room)).collect(),
        }
    }
}
