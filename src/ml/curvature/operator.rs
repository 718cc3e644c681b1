//! Symmetric matrices that are known by their products: those of an objective at a point.

use crate::ml::tensor::Tensor;

use crate::ml::loss::LogitMatrix;
use crate::ml::objective::{Interrupt, Objective, Placement};
use crate::ml::ops::elementwise;
use crate::ml::params::{Directions, Theta};
use crate::ml::{Error, Result};

/// A symmetric `N × N` matrix that is known by its products. Vectors have shape `(N,)` and the placement's dtype.
pub trait SymmetricOperator: Sync {
    /// N.
    fn len(&self) -> usize;

    /// Whether it has no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its vectors are, and in which dtype.
    fn placement(&self) -> &Placement;

    /// Av.
    ///
    /// # Errors
    /// A vector of another shape or dtype; a product that is not finite; [`Error::Interrupted`].
    fn apply(&self, v: &Tensor) -> Result<Tensor>;

    /// vᵀAv for each direction; signs give what their vectors would. The bytes of each do not depend on which others are asked with it.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    fn quadratic_forms(&self, directions: Directions<'_>) -> Result<Vec<f64>>;
}

/// Which matrix of the loss at a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curvature {
    /// H, the Hessian.
    #[default]
    Hessian,
    /// G = `JᵀMJ`, J the Jacobian of the logits and M the loss's Hessian in them; for cross-entropy the Fisher matrix of
    /// labels drawn from the network (Martens 2020).
    GaussNewton,
    /// H − G: what the network's own curvature adds.
    Residual,
}

/// A matrix of an objective at θ.
pub struct At<'a> {
    /// Which.
    pub matrix: Curvature,
    /// The loss.
    pub objective: &'a Objective,
    /// The point.
    pub theta: &'a Theta,
    /// Whether to stop; polled once a chunk.
    pub stop: &'a (dyn Interrupt + Sync),
}

impl<'a> At<'a> {
    /// H at θ.
    pub fn hessian(objective: &'a Objective, theta: &'a Theta, stop: &'a (dyn Interrupt + Sync)) -> Self {
        Self { matrix: Curvature::Hessian, objective, theta, stop }
    }

    /// G at θ.
    pub fn gauss_newton(objective: &'a Objective, theta: &'a Theta, stop: &'a (dyn Interrupt + Sync)) -> Self {
        Self { matrix: Curvature::GaussNewton, objective, theta, stop }
    }

    fn hessian_product(&self, v: &Tensor) -> Result<Tensor> {
        self.objective.hvp(self.theta, v, self.stop)
    }

    fn gauss_newton_product(&self, v: &Tensor) -> Result<Tensor> {
        self.objective.logit_product(self.theta, LogitMatrix::Hessian, v, self.stop)
    }
}

impl SymmetricOperator for At<'_> {
    fn len(&self) -> usize {
        self.theta.len()
    }

    fn placement(&self) -> &Placement {
        self.objective.placement()
    }

    fn apply(&self, v: &Tensor) -> Result<Tensor> {
        match self.matrix {
            Curvature::Hessian => self.hessian_product(v),
            Curvature::GaussNewton => self.gauss_newton_product(v),
            Curvature::Residual => {
                elementwise::add_scaled(&self.hessian_product(v)?, &self.gauss_newton_product(v)?, -1.0)
            }
        }
    }

    fn quadratic_forms(&self, directions: Directions<'_>) -> Result<Vec<f64>> {
        let hessian = || self.objective.quadratic_forms(self.theta, directions, self.stop);
        let gauss_newton = || self.objective.logit_forms(self.theta, LogitMatrix::Hessian, directions, self.stop);
        match self.matrix {
            Curvature::Hessian => hessian(),
            Curvature::GaussNewton => gauss_newton(),
            Curvature::Residual => Ok(hessian()?.iter().zip(gauss_newton()?).map(|(h, g)| h - g).collect()),
        }
    }
}

/// That a number of steps, probes or vectors is one that a matrix of N rows can give.
pub(super) fn within(what: &str, count: usize, (least, most): (usize, usize)) -> Result<()> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let range = match most {
        usize::MAX => format!("expected at least {least}"),
        most => format!("the number of parameters allows {least} to {most}"),
    };
    Err(Error::Setting(format!("{count} {what}: {range}")))
}
