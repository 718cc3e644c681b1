//! Probes, and estimates from them. Hutchinson's estimator of a trace (Hutchinson 1990): vᵀAv has mean tr A for probes v of
//! independent entries of mean 0 and variance 1. With signs its variance is twice the sum of squares off the diagonal; with
//! normal entries, twice the sum of all squares.

use crate::ml::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::operator::{At, SymmetricOperator};
use super::vectors::vector;
use crate::ml::objective::{DIRECTIONS, Interrupt, Objective, Placement};
use crate::ml::params::{Signs, Theta};
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// Below so many single values, two standard errors cover less than nine times in ten (Student's distribution).
pub const FEW: usize = 7;

/// What the entries of a probe are drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// ±1 with equal probability.
    #[default]
    Rademacher,
    /// Standard normal.
    Gaussian,
}

/// All the probes of one stream. Each can be had without the others.
#[derive(Clone, Debug)]
pub struct Probes {
    /// Where they are drawn; probe `index` at position (0, `index`).
    pub stream: Stream,
    /// From what.
    pub distribution: Distribution,
}

impl Probes {
    /// Probes of signs.
    pub fn signs(stream: Stream) -> Self {
        Self { stream, distribution: Distribution::Rademacher }
    }

    /// Probe `index`, of shape `(n,)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a dtype other than f32 and f64.
    pub fn probe(&self, index: u32, n: usize, placement: &Placement) -> Result<Tensor> {
        let mut draws = self.stream.at(0, index);
        match self.distribution {
            Distribution::Rademacher => Signs::draw(&mut draws, n).vector(placement.dtype, &placement.device),
            Distribution::Gaussian => vector((0..n).map(|_| draws.normal()), placement),
        }
    }

    /// vᵀAv for the probes of these indices, in their order. Each value depends on its own probe alone.
    ///
    /// # Errors
    /// Those of [`SymmetricOperator::quadratic_forms`].
    pub fn forms(&self, operator: &dyn SymmetricOperator, indices: &[u32]) -> Result<Vec<f64>> {
        match self.distribution {
            Distribution::Rademacher => {
                let draw = |&index| Signs::draw(&mut self.stream.at(0, index), operator.len());
                operator.quadratic_forms(indices.iter().map(draw).collect::<Vec<_>>()[..].into())
            }
            Distribution::Gaussian => self.mapped_forms(operator, indices, |probe| Ok(probe.clone())),
        }
    }

    /// As [`forms`](Self::forms), of what `map` makes of each probe.
    pub(super) fn mapped_forms(
        &self,
        operator: &dyn SymmetricOperator,
        indices: &[u32],
        map: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<f64>> {
        let mut forms = Vec::with_capacity(indices.len());
        // Each is as large as θ, so no more are drawn than go along together.
        for group in indices.chunks(DIRECTIONS) {
            let draw = |&index| map(&self.probe(index, operator.len(), operator.placement())?);
            forms.extend(operator.quadratic_forms((&group.iter().map(draw).collect::<Result<Vec<_>>>()?).into())?);
        }
        Ok(forms)
    }
}

/// Probe `index` of signs, of shape `(n,)`, on the CPU.
///
/// # Errors
/// Those of [`Probes::probe`].
pub fn probe(stream: &Stream, index: u32, n: usize, dtype: DType) -> Result<Tensor> {
    Probes::signs(stream.clone()).probe(index, n, &Placement::cpu(dtype))
}

/// vᵀHv at θ for the probes of signs of these indices, in their order.
///
/// # Errors
/// Those of [`Probes::forms`].
pub fn probes(
    objective: &Objective,
    theta: &Theta,
    stream: &Stream,
    indices: &[u32],
    stop: &(dyn Interrupt + Sync),
) -> Result<Vec<f64>> {
    Probes::signs(stream.clone()).forms(&At::hessian(objective, theta, stop), indices)
}

/// An estimate from independent single values, with its errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a single value, with n − 1; NaN for one value.
    pub sd: f64,
    /// The standard error of the mean, sd/√n; NaN for one value.
    pub stderr: f64,
    /// n, the number of values.
    pub count: usize,
}

impl Estimate {
    /// The estimate from these values.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none; [`Error::NotFinite`] if one is not finite.
    pub fn of(values: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::Setting("an estimate needs at least one probe".to_owned()));
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { what: format!("probe {index}") });
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let sd = (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0)).sqrt();
        Ok(Self { mean, sd, stderr: sd / n.sqrt(), count: values.len() })
    }

    /// The same with something added that has no error.
    #[must_use]
    pub fn shifted(self, by: f64) -> Self {
        Self { mean: self.mean + by, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Explicit, assert_honest, network_like};
    use super::*;

    #[test]
    fn an_estimate_is_mean_deviation_and_error() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert!((estimate.mean - 3.0).abs() < 1e-15);
        assert!((estimate.sd - (14.0f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!((estimate.stderr - (14.0f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(estimate.count, 4);
        assert!(Estimate::of(&[2.0]).unwrap().stderr.is_nan());
        assert!(Estimate::of(&[]).is_err());
        assert_eq!(Estimate::of(&[1.0, f64::NAN]).unwrap_err().to_string(), "probe 1 is not finite");
    }

    #[test]
    fn either_sort_of_probe_is_unbiased_and_knows_its_error() {
        let values = network_like(60);
        let trace = values.iter().sum();
        let matrix = Explicit::with_spectrum(&values, 3);
        for distribution in [Distribution::Rademacher, Distribution::Gaussian] {
            let repeat = |seed| {
                let probes = Probes { stream: Stream::new(seed, "probe"), distribution };
                Estimate::of(&probes.forms(&matrix, &(0..20).collect::<Vec<_>>()).unwrap()).unwrap()
            };
            assert_honest(&format!("{distribution:?}"), trace, &(0..400).map(repeat).collect::<Vec<_>>());
        }
    }

    #[test]
    fn two_standard_errors_of_few_values_cover_too_little() {
        // The reason for `FEW`: Student's distribution, at its limit, on normal values.
        let coverage = |count: u32| {
            let stream = Stream::new(1, "few");
            let repeat = |index| {
                let mut draws = stream.at(count, index);
                Estimate::of(&(0..count).map(|_| draws.normal()).collect::<Vec<_>>()).unwrap()
            };
            let repeats = (0..20_000).map(repeat);
            repeats.filter(|estimate| estimate.mean.abs() < 2.0 * estimate.stderr).count() as f64 / 20_000.0
        };
        assert!(coverage(FEW as u32 - 1) < 0.902, "{}", coverage(FEW as u32 - 1));
        assert!(coverage(FEW as u32) > 0.902, "{}", coverage(FEW as u32));
    }

    #[test]
    fn a_probe_is_signs_and_depends_on_its_index_alone() {
        let probes = Probes::signs(Stream::new(1, "probe"));
        let placement = Placement::cpu(DType::F64);
        let signs = |index| probes.probe(index, 100, &placement).unwrap().to_vec1::<f64>().unwrap();
        assert!(signs(3).iter().all(|sign| sign.abs().to_bits() == 1.0f64.to_bits()));
        assert_eq!(signs(3), signs(3));
        assert_ne!(signs(3), signs(4));
    }
}
