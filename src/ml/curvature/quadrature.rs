//! Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and Xiao 2019): for a start vector of
//! independent signs, Σ over Ritz values of weight·f(value)·N has mean tr f(A), up to the quadrature's own error, which falls
//! with the steps. Logarithm and exponential are libm's, so that they have the same bits everywhere.

use serde::{Deserialize, Serialize};

use super::lanczos::{Krylov, Ritz};
use super::trace::Estimate;
use crate::ml::{Error, Result};

/// What one start vector says of the spectrum of a matrix of `n` rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quadrature {
    /// N.
    pub n: usize,
    /// Ritz values in ascending order, their weights, which add up to 1, and their residuals.
    pub ritz: Vec<Ritz>,
    /// The same after three quarters of the steps.
    pub before: Vec<Ritz>,
}

impl Quadrature {
    /// What a run on a matrix of `n` rows says.
    ///
    /// # Errors
    /// Those of [`Krylov::pairs`].
    pub fn of(n: usize, krylov: &Krylov) -> Result<Self> {
        let before = (3 * krylov.products()).div_ceil(4);
        Ok(Self { n, ritz: krylov.pairs()?.ritz, before: krylov.pairs_after(before)?.ritz })
    }

    /// tr f(A) as this start vector has it.
    pub fn sum(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.n as f64 * self.ritz.iter().map(|ritz| ritz.weight * f(ritz.value)).sum::<f64>()
    }

    /// By how much the last quarter of the steps changed [`sum`](Self::sum): where that is much, more steps would change it on.
    pub fn change(&self, f: impl Fn(f64) -> f64) -> f64 {
        let before = self.n as f64 * self.before.iter().map(|ritz| ritz.weight * f(ritz.value)).sum::<f64>();
        self.sum(f) - before
    }

    /// Σ log of the `k` largest Ritz values; `None` where fewer are positive.
    pub fn log_sum_of_top(&self, k: usize) -> Option<f64> {
        let top = self.ritz.iter().rev().take(k).map(|ritz| ritz.value);
        let positive = top.filter(|&value| value > 0.0).map(libm::log).collect::<Vec<_>>();
        (positive.len() == k).then(|| positive.iter().sum())
    }
}

/// What several start vectors say together; errors are those of the mean over start vectors.
#[derive(Clone, Debug)]
pub struct Spectrum<'a>(pub &'a [Quadrature]);

impl Spectrum<'_> {
    /// tr f(A).
    ///
    /// # Errors
    /// [`Error::Setting`] without a start vector; [`Error::NotFinite`].
    pub fn sum(&self, f: impl Fn(f64) -> f64) -> Result<Estimate> {
        Estimate::of(&self.0.iter().map(|quadrature| quadrature.sum(&f)).collect::<Vec<_>>())
    }

    /// By how much the last quarter of the steps changed tr f(A): the quadrature's own error, which no standard error shows.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn change(&self, f: impl Fn(f64) -> f64) -> Result<f64> {
        Ok(Estimate::of(&self.0.iter().map(|quadrature| quadrature.change(&f)).collect::<Vec<_>>())?.mean)
    }

    /// The trace.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn trace(&self) -> Result<Estimate> {
        self.sum(|value| value)
    }

    /// The sum of the negative eigenvalues.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn negative_sum(&self) -> Result<Estimate> {
        self.sum(negative)
    }

    /// log det(I + A₊/τ), A₊ the positive part: each eigenvalue counts the less the smaller it is beside τ > 0.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn log_determinant(&self, tau: f64) -> Result<Estimate> {
        self.sum(log_determinant(tau))
    }

    /// Σ log of the `k` largest eigenvalues; `None` where they are not all positive. Its error tells how far the start
    /// vectors agree: Ritz values lie below eigenvalues, and their residuals say by how much.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn log_sum_of_top(&self, k: usize) -> Result<Option<Estimate>> {
        let sums: Option<Vec<f64>> = self.0.iter().map(|quadrature| quadrature.log_sum_of_top(k)).collect();
        sums.map(|sums| Estimate::of(&sums)).transpose()
    }

    /// The least and the greatest Ritz value.
    ///
    /// # Errors
    /// [`Error::Setting`] without a start vector.
    pub fn range(&self) -> Result<(f64, f64)> {
        let values = || self.0.iter().flat_map(|quadrature| &quadrature.ritz).map(|ritz| ritz.value);
        if values().next().is_none() {
            return Err(Error::Setting("a spectrum needs at least one start vector".to_owned()));
        }
        Ok((values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)))
    }

    /// The density of eigenvalues at `x`, which integrates to 1, each broadened to a normal of standard deviation `sigma`.
    ///
    /// # Errors
    /// Those of [`sum`](Self::sum).
    pub fn density(&self, x: f64, sigma: f64) -> Result<Estimate> {
        let n = self.0.first().map_or(1, |quadrature| quadrature.n) as f64;
        self.sum(|value| gaussian(x - value, sigma) / n)
    }
}

/// x₋, whose sum is that of the negative eigenvalues.
pub fn negative(value: f64) -> f64 {
    value.min(0.0)
}

/// log(1 + x₊/τ), whose sum is the log-determinant.
pub fn log_determinant(tau: f64) -> impl Fn(f64) -> f64 {
    move |value| libm::log1p(value.max(0.0) / tau)
}

/// The density of a normal of standard deviation `sigma`.
pub fn gaussian(distance: f64, sigma: f64) -> f64 {
    let t = distance / sigma;
    libm::exp(-0.5 * t * t) / (sigma * (2.0 * std::f64::consts::PI).sqrt())
}

/// `count` evenly spaced places from `low` to `high`, widened by four `sigma` at either end.
pub fn grid((low, high): (f64, f64), sigma: f64, count: usize) -> Vec<f64> {
    let (low, high) = (low - 4.0 * sigma, high + 4.0 * sigma);
    (0..count).map(|i| low + (high - low) * i as f64 / (count.max(2) - 1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lanczos::Closed;
    use super::super::operator::SymmetricOperator;
    use super::super::testing::{Explicit, assert_honest, network_like};
    use super::super::vectors::vector;
    use super::*;
    use crate::ml::rng::Stream;

    fn quadratures(matrix: &Explicit, seed: u64, steps: usize, starts: u32) -> Vec<Quadrature> {
        let one = |start| {
            let signs = Stream::new(seed, "lanczos").at(0, start).signs(matrix.len());
            let signs = vector(signs.into_iter().map(f64::from), matrix.placement()).unwrap();
            let krylov = Krylov::build(matrix, &signs, steps, Closed::End).unwrap();
            Quadrature::of(matrix.len(), &krylov).unwrap()
        };
        (0..starts).map(one).collect()
    }

    #[test]
    fn sums_over_the_spectrum_are_unbiased_and_know_their_error() {
        let values = network_like(24);
        let matrix = Explicit::with_spectrum(&values, 3);
        let sum = |f: &dyn Fn(f64) -> f64| values.iter().map(|&value| f(value)).sum::<f64>();
        let repeats: Vec<Vec<Quadrature>> = (0..400).map(|seed| quadratures(&matrix, seed, 24, 12)).collect();
        let check = |name, truth, of: &dyn Fn(Spectrum<'_>) -> Estimate| {
            assert_honest(name, truth, &repeats.iter().map(|repeat| of(Spectrum(repeat))).collect::<Vec<_>>());
        };
        check("trace", sum(&|x| x), &|s| s.trace().unwrap());
        check("negative sum", sum(&|x| x.min(0.0)), &|s| s.negative_sum().unwrap());
        check("log-determinant", sum(&|x| (1.0 + x.max(0.0) / 0.1).ln()), &|s| s.log_determinant(0.1).unwrap());
        let density = sum(&|x| gaussian(0.1 - x, 0.2)) / 24.0;
        check("density", density, &|s| s.density(0.1, 0.2).unwrap());
    }

    #[test]
    fn the_last_steps_change_a_sum_that_is_not_resolved_and_no_other() {
        let values: Vec<f64> =
            (0..100).map(|i| if i < 4 { 8.0 - f64::from(i) } else { 0.001 * f64::from(i) - 0.02 }).collect();
        let matrix = Explicit::with_spectrum(&values, 3);
        let all = quadratures(&matrix, 0, 20, 8);
        let spectrum = Spectrum(&all);
        assert!(spectrum.change(|x| x).unwrap().abs() < 1e-9, "a rule of two nodes has the trace");
        let truth = |tau| values.iter().map(|&x| log_determinant(tau)(x)).sum::<f64>();
        for (tau, resolved) in [(1.0, true), (1e-6, false)] {
            let (found, change) =
                (spectrum.log_determinant(tau).unwrap(), spectrum.change(log_determinant(tau)).unwrap());
            assert_eq!(change.abs() < found.stderr, resolved, "{change}, {found:?}, {}", truth(tau));
        }
    }

    #[test]
    fn the_density_integrates_to_one_over_its_grid() {
        let matrix = Explicit::with_spectrum(&network_like(60), 3);
        let all = quadratures(&matrix, 0, 30, 3);
        let spectrum = Spectrum(&all);
        let places = grid(spectrum.range().unwrap(), 0.05, 1_000);
        let step = places[1] - places[0];
        let whole: f64 = places.iter().map(|&x| spectrum.density(x, 0.05).unwrap().mean * step).sum();
        assert!((whole - 1.0).abs() < 1e-4, "{whole}");
    }

    #[test]
    fn the_top_is_summed_in_logarithms_while_it_is_positive() {
        let matrix = Explicit::with_spectrum(&network_like(60), 3);
        let all = quadratures(&matrix, 0, 50, 7);
        let top = Spectrum(&all).log_sum_of_top(6).unwrap().unwrap();
        assert!((top.mean - 720f64.ln()).abs() < 1e-9 && top.count == 7, "{top:?}");
        assert!(Spectrum(&all).log_sum_of_top(50).unwrap().is_none());
        assert!(Spectrum(&[]).trace().is_err() && Spectrum(&[]).range().is_err());
    }
}
