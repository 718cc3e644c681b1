//! A surface in closed form for tests: L(θ) = ½ Σ λᵢ θᵢ², summed one term after the other as chunks are.

use std::cell::Cell;
use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};

use super::Surface;
use crate::ml::objective::{Bounded, Interrupt};
use crate::ml::params::{Layout, Theta};
use crate::ml::{Error, Result};

pub(super) struct Quadratic {
    pub curvatures: Vec<f64>,
    /// Points at which a loss or a gradient was asked for.
    pub passes: Cell<u64>,
}

impl Quadratic {
    pub fn new(curvatures: &[f64]) -> Self {
        Self { curvatures: curvatures.to_vec(), passes: Cell::new(0) }
    }
}

/// A point of f64 coordinates.
pub(super) fn point(values: &[f64]) -> Theta {
    let layout = Arc::new(Layout::new([("w".to_owned(), vec![values.len()])]));
    Theta::from_values(layout, values.to_vec(), DType::F64, &Device::Cpu).unwrap()
}

impl Surface for Quadratic {
    fn gradient(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<(f64, Tensor)> {
        let (Bounded::Within(loss) | Bounded::Exceeded(loss)) = self.value_until(theta, f64::INFINITY, stop)?;
        let gradient: Vec<f64> = theta.to_vec_f64()?.iter().zip(&self.curvatures).map(|(x, c)| c * x).collect();
        Ok((loss, Tensor::new(gradient, &Device::Cpu)?))
    }

    fn value_until(&self, theta: &Theta, ceiling: f64, stop: &dyn Interrupt) -> Result<Bounded> {
        self.passes.set(self.passes.get() + 1);
        let mut sum = 0.0;
        for (x, curvature) in theta.to_vec_f64()?.iter().zip(&self.curvatures) {
            if stop.requested() {
                return Err(Error::Interrupted);
            }
            sum += 0.5 * curvature * x * x;
            if !sum.is_finite() {
                return Err(Error::NotFinite { what: "the training loss".to_owned() });
            }
            if sum > ceiling {
                return Ok(Bounded::Exceeded(sum));
            }
        }
        Ok(Bounded::Within(sum))
    }
}
