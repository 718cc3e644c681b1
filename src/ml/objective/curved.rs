//! Products with the matrices `JᵀMJ`, meant over samples: J is the Jacobian of the logits, M a matrix of each sample's logits.
//! Forms are first-order jets, forward only; products are one reverse pass behind them, seeded with M·Jv.

use crate::ml::tensor::Tensor;

use super::passes::Total;
use super::{DIRECTIONS, Interrupt, Objective};
use crate::ml::Result;
use crate::ml::jet::Order;
use crate::ml::loss::LogitMatrix;
use crate::ml::params::{Directions, Theta};
use crate::ml::tape::Var;

impl Objective {
    /// vᵀ(JᵀMJ)v for each direction: forward only, batch norm in training mode over the
    /// fixed chunks. The bytes of each do not depend on which others are asked with it.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn logit_forms<'a>(
        &'a self,
        theta: &Theta,
        matrix: LogitMatrix,
        directions: impl Into<Directions<'a>>,
        stop: &dyn Interrupt,
    ) -> Result<Vec<f64>> {
        let directions = directions.into();
        let mut all = Vec::with_capacity(directions.len());
        for group in directions.groups(DIRECTIONS) {
            let values = self.parts(theta)?.into_iter().map(Var::constant).collect();
            let params = self.lines(theta, values, group, Order::One)?;
            let mut sums = vec![Total::of("the quadratic form"); group.len()];
            for range in self.chunks(stop) {
                let range = range?;
                let logits = self.logits(&params, range.clone())?;
                let classes = self.samples.classes(range)?;
                let products = self.loss.logit_products(matrix, &logits, self.loss.targets(&classes))?;
                for ((sum, tangent), product) in sums.iter_mut().zip(logits.tangents()).zip(products) {
                    let Some(first) = &tangent.first else { continue };
                    sum.add(&self.mean(&first.dot(&Var::constant(product))?)?)?;
                }
            }
            all.extend(sums.iter().map(Total::finite).collect::<Result<Vec<_>>>()?);
        }
        Ok(all)
    }

    /// (JᵀMJ)v, of shape `(N,)`.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn logit_product(
        &self,
        theta: &Theta,
        matrix: LogitMatrix,
        v: &Tensor,
        stop: &dyn Interrupt,
    ) -> Result<Tensor> {
        let (_, product) = self.reverse(theta, Some((v, Order::One)), "the product", stop, |params, range| {
            let logits = self.logits(params, range.clone())?;
            let classes = self.samples.classes(range)?;
            let seed = self.loss.logit_products(matrix, &logits, self.loss.targets(&classes))?.remove(0);
            logits.value().dot(&Var::constant(seed))
        })?;
        Ok(product)
    }
}
