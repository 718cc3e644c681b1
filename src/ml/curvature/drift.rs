//! How fast the theory lets noise lower the trace T of the Hessian. With a gradient covariance of cH and an effective learning rate ηₑ, SGD
//! in a valley drifts against ∇̂T, the part of ∇T in the null space of H, and T changes by −c(ηₑ²/4)‖∇̂T‖² an iteration.
//!
//! ∇(vᵀHv) has mean ∇T for probes v: reverse mode over the second-order jet. The square of a mean of n of them is too large by their
//! variance; the mean of gᵢ·gⱼ over pairs of different probes is not.

use crate::ml::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::deflation::Subspace;
use super::trace::{Estimate, Probes};
use super::vectors::combination;
use crate::ml::objective::{Interrupt, Objective, poll};
use crate::ml::ops::reduce;
use crate::ml::params::Theta;
use crate::ml::{Error, Result};

/// What probes say of T and of ‖∇̂T‖² at a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceGradient {
    /// The dimension of the steep space.
    steep: usize,
    /// Whether that space may be too small.
    unresolved: bool,
    /// vᵀHv of each probe.
    forms: Vec<f64>,
    /// ‖Σ gᵢ‖², gᵢ = ∇(vᵢᵀHvᵢ) beside the space of large eigenvalues.
    square_of_sum: f64,
    /// gᵢ·Σ gⱼ of each probe.
    along: Vec<f64>,
    /// ‖gᵢ‖² of each probe.
    squares: Vec<f64>,
}

impl TraceGradient {
    /// From the probes 0 to n − 1, beside `steep`, the eigenspace of the eigenvalues that are not 0, which may be unresolved.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than three probes; those of [`Objective::grad_quadratic_form`].
    pub fn find(
        (objective, theta): (&Objective, &Theta),
        (steep, unresolved): (&Subspace, bool),
        (probes, count): (&Probes, u32),
        stop: &(dyn Interrupt + Sync),
    ) -> Result<Self> {
        super::operator::within("probes of a gradient of the trace", count as usize, (3, usize::MAX))?;
        let hessian = super::operator::At::hessian(objective, theta, stop);
        let forms = probes.forms(&hessian, &(0..count).collect::<Vec<_>>())?;
        let mut gradients = Vec::with_capacity(count as usize);
        for index in 0..count {
            poll(stop)?;
            let v = probes.probe(index, theta.len(), objective.placement())?;
            gradients.push(steep.beside(&objective.grad_quadratic_form(theta, &v, stop)?)?);
        }
        let sum = combination(&vec![1.0; gradients.len()], &gradients)?;
        let with = |other: &dyn Fn(&Tensor) -> Result<f64>| gradients.iter().map(other).collect::<Result<Vec<f64>>>();
        let (along, squares) = (with(&|g| reduce::dot(g, &sum))?, with(&|g| reduce::dot(g, g))?);
        Ok(Self { steep: steep.rank(), unresolved, forms, square_of_sum: reduce::dot(&sum, &sum)?, along, squares })
    }

    /// Whether the steep space may be too small, as Lanczos' residuals have it.
    pub fn unresolved(&self) -> bool {
        self.unresolved
    }

    /// The dimension of the steep space.
    pub fn steep(&self) -> usize {
        self.steep
    }

    /// T, with the standard error over probes.
    ///
    /// # Errors
    /// Those of [`Estimate::of`].
    pub fn trace(&self) -> Result<Estimate> {
        Estimate::of(&self.forms)
    }

    /// T less that of another point by the same probes, with the standard error of the difference.
    ///
    /// # Errors
    /// Those of [`Estimate::of`].
    pub fn trace_less(&self, other: &Self) -> Result<Estimate> {
        Estimate::of(&self.forms.iter().zip(&other.forms).map(|(own, other)| own - other).collect::<Vec<_>>())
    }

    /// ‖∇̂T‖², the mean of gᵢ·gⱼ over i ≠ j, with the jackknife's standard error.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn square(&self) -> Result<Estimate> {
        let n = self.squares.len();
        let total: f64 = self.squares.iter().sum();
        let pairs = |square_of_sum: f64, squares: f64, n: usize| (square_of_sum - squares) / (n * (n - 1)) as f64;
        let mean = pairs(self.square_of_sum, total, n);
        let without: Vec<f64> = (0..n)
            .map(|i| {
                let square_of_rest = self.square_of_sum - 2.0 * self.along[i] + self.squares[i];
                pairs(square_of_rest, total - self.squares[i], n - 1)
            })
            .collect();
        let middle = without.iter().sum::<f64>() / n as f64;
        let spread = without.iter().map(|value| (value - middle).powi(2)).sum::<f64>();
        let stderr = ((n as f64 - 1.0) / n as f64 * spread).sqrt();
        if !(mean.is_finite() && stderr.is_finite()) {
            return Err(Error::NotFinite { what: "the gradient of the trace".to_owned() });
        }
        Ok(Estimate { mean, sd: stderr * (n as f64).sqrt(), stderr, count: n })
    }
}

#[cfg(test)]
mod tests {
    use crate::ml::tensor::{DType, Device};

    use super::super::dense::dense;
    use super::super::operator::At;
    use super::*;
    use crate::ml::data::Dataset;
    use crate::ml::loss::Loss;
    use crate::ml::models::{Activation, Architecture};
    use crate::ml::objective::{NoInterrupt, Placement};
    use crate::ml::rng::Stream;

    fn objective() -> (Objective, Theta) {
        let mut draws = Stream::new(9, "data").at(0, 0);
        let inputs = (0..12 * 5).map(|_| draws.normal() as f32).collect();
        let labels = (0..12).map(|_| draws.below(3) as u32).collect();
        let data = Dataset { inputs, labels, shape: [1, 1, 5], classes: 3 };
        let architecture = Architecture::Mlp { hidden: vec![4], activation: Activation::Tanh };
        let model = architecture.build([1, 1, 5], 3).unwrap();
        let theta = model.init(&Stream::new(2, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        (Objective::new(model, loss, &data, 5, Placement::cpu(DType::F64)).unwrap(), theta)
    }

    #[test]
    fn the_square_is_that_of_differences_of_whole_hessians_and_knows_its_error() {
        let (objective, theta) = objective();
        let n = theta.len();
        let values = theta.to_vec_f64().unwrap();
        let trace_at = |values: Vec<f64>| {
            let at = Theta::from_values(theta.layout().clone(), values, DType::F64, &Device::Cpu).unwrap();
            dense(&At::hessian(&objective, &at, &NoInterrupt)).unwrap().trace()
        };
        let step = 1e-5;
        let differences: Vec<f64> = (0..n)
            .map(|i| {
                let moved = |by: f64| {
                    let mut values = values.clone();
                    values[i] += by;
                    trace_at(values)
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            })
            .collect();
        let (_, vectors) = dense(&At::hessian(&objective, &theta, &NoInterrupt)).unwrap().eigen().unwrap();
        let steep: Vec<f64> = vectors.iter().rev().take(4).flatten().copied().collect();
        let mut expected = differences.clone();
        for q in steep.chunks(n) {
            let along: f64 = q.iter().zip(&differences).map(|(q, d)| q * d).sum();
            expected.iter_mut().zip(q).for_each(|(rest, q)| *rest -= along * q);
        }
        let expected: f64 = expected.iter().map(|x| x * x).sum();
        let space = Subspace::from_flat(&Tensor::from_slice(&steep, steep.len(), &Device::Cpu).unwrap(), n).unwrap();
        let repeat = |seed| {
            let probes = Probes::signs(Stream::new(seed, "probe"));
            TraceGradient::find((&objective, &theta), (&space, false), (&probes, 20), &NoInterrupt).unwrap()
        };
        let found: Vec<TraceGradient> = (0..100).map(repeat).collect();
        let squares: Vec<Estimate> = found.iter().map(|found| found.square().unwrap()).collect();
        let all = Estimate::of(&squares.iter().map(|square| square.mean).collect::<Vec<_>>()).unwrap();
        assert!((all.mean - expected).abs() < 3.0 * all.stderr, "{all:?} {expected}");
        assert!(all.stderr < 0.05 * expected, "{all:?} {expected}");
        let claimed = squares.iter().map(|square| square.stderr).sum::<f64>() / 100.0;
        assert!((0.7..1.5).contains(&(claimed / all.sd)), "{claimed} {}", all.sd);
        let trace = trace_at(values);
        let traces: Vec<f64> = found.iter().map(|found| found.trace().unwrap().mean).collect();
        let traces = Estimate::of(&traces).unwrap();
        assert!((traces.mean - trace).abs() < 3.0 * traces.stderr, "{traces:?} {trace}");
    }

    #[test]
    fn fewer_than_three_probes_are_refused() {
        let (objective, theta) = objective();
        let space = Subspace::from_flat(theta.flat(), theta.len()).unwrap();
        let probes = Probes::signs(Stream::new(0, "probe"));
        assert!(TraceGradient::find((&objective, &theta), (&space, false), (&probes, 2), &NoInterrupt).is_err());
    }
}
