//! The whole Hessian of a small model, column by column: N products and N² numbers.

use candle_core::{DType, Tensor};

use crate::ml::objective::{Interrupt, Objective};
use crate::ml::params::{Theta, flat_from_values, flat_to_vec};
use crate::ml::{Error, Result};

/// The largest N whose Hessian is computed whole: 800 MB of f64.
pub const LARGEST: usize = 10_000;

/// A symmetric matrix in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Symmetric {
    n: usize,
    values: Vec<f64>,
}

impl Symmetric {
    /// N, its rows.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The element in this row and column.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.n + column]
    }

    /// All elements, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The sum of the diagonal.
    pub fn trace(&self) -> f64 {
        (0..self.n).map(|i| self.at(i, i)).sum()
    }
}

/// The Hessian of L at θ, made symmetric as (H + Hᵀ)/2, which takes away what rounding put between the two halves.
///
/// # Errors
/// [`Error::Setting`] above [`LARGEST`] parameters; those of [`Objective::hvp`].
pub fn hessian(objective: &Objective, theta: &Theta, stop: &dyn Interrupt) -> Result<Symmetric> {
    let n = theta.len();
    if n > LARGEST {
        return Err(Error::Setting(format!("the whole Hessian of {n} parameters; at most {LARGEST}")));
    }
    let mut columns = Vec::with_capacity(n * n);
    for index in 0..n {
        columns.extend(flat_to_vec(&objective.hvp(theta, &unit(n, index, theta)?, stop)?)?);
    }
    let mean = |row: usize, column: usize| 0.5 * (columns[row * n + column] + columns[column * n + row]);
    let values = (0..n * n).map(|at| mean(at / n, at % n)).collect();
    Ok(Symmetric { n, values })
}

fn unit(n: usize, index: usize, theta: &Theta) -> Result<Tensor> {
    let dtype: DType = theta.dtype();
    flat_from_values((0..n).map(|i| f64::from(i == index)), dtype, theta.flat().device())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ml::curvature::trace::{Estimate, probes};
    use crate::ml::data::Dataset;
    use crate::ml::loss::Loss;
    use crate::ml::models::{Activation, Architecture};
    use crate::ml::objective::{NoInterrupt, Placement};
    use crate::ml::rng::Stream;

    fn small() -> (Objective, Theta) {
        let mut draws = Stream::new(9, "data").at(0, 0);
        let inputs = (0..40 * 6).map(|_| draws.normal() as f32).collect();
        let labels = (0..40).map(|_| draws.below(3) as u32).collect();
        let data = Dataset { inputs, labels, shape: [1, 2, 3], classes: 3 };
        let architecture = Architecture::Mlp { hidden: vec![4], activation: Activation::Tanh };
        let model = architecture.build(data.shape, 3).unwrap();
        let theta = model.init(&Stream::new(2, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        (Objective::new(model, loss, &data, 16, Placement::cpu(DType::F64)).unwrap(), theta)
    }

    #[test]
    fn the_estimator_finds_the_trace_and_knows_its_error() {
        let (objective, theta) = small();
        let hessian = hessian(&objective, &theta, &NoInterrupt).unwrap();
        let stream = Stream::new(4, "probe");
        let indices: Vec<u32> = (0..2_000).collect();
        let forms = probes(&objective, &theta, &stream, &indices, &NoInterrupt).unwrap();
        let all = Estimate::of(&forms).unwrap();
        assert!((all.mean - hessian.trace()).abs() < 4.0 * all.stderr, "{all:?}, trace {}", hessian.trace());
        // The variance of one probe is twice the sum of squares off the diagonal.
        let n = hessian.len();
        let off: f64 = (0..n * n).filter(|at| at / n != at % n).map(|at| hessian.values()[at].powi(2)).sum();
        assert!((all.sd / (2.0 * off).sqrt() - 1.0).abs() < 0.1, "{} is not {}", all.sd, (2.0 * off).sqrt());
        // The scatter of 100 estimates of 20 probes each is the standard error that they report.
        let estimates: Vec<Estimate> = forms.chunks(20).map(|part| Estimate::of(part).unwrap()).collect();
        let scatter = Estimate::of(&estimates.iter().map(|estimate| estimate.mean).collect::<Vec<_>>()).unwrap().sd;
        let reported = estimates.iter().map(|estimate| estimate.stderr.powi(2)).sum::<f64>() / estimates.len() as f64;
        assert!((scatter / reported.sqrt() - 1.0).abs() < 0.2, "{scatter} is not {}", reported.sqrt());
    }

    #[test]
    fn a_probe_gives_the_quadratic_form_of_the_whole_hessian() {
        let (objective, theta) = small();
        let hessian = hessian(&objective, &theta, &NoInterrupt).unwrap();
        let stream = Stream::new(4, "probe");
        let n = hessian.len();
        let signs: Vec<f64> = stream.at(0, 7).signs(n).into_iter().map(f64::from).collect();
        let expected: f64 = (0..n * n).map(|at| signs[at / n] * hessian.values()[at] * signs[at % n]).sum();
        let found = probes(&objective, &theta, &stream, &[7], &NoInterrupt).unwrap()[0];
        assert!((found - expected).abs() < 1e-10 * expected.abs());
    }
}
