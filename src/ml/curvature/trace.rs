//! The trace of the Hessian by Hutchinson's estimator (Hutchinson 1990): vᵀHv has mean tr H for probes v of independent
//! random signs, whose variance is twice the sum of squares off the diagonal.

use candle_core::{DType, Device, Tensor};

use crate::ml::objective::{Interrupt, Objective};
use crate::ml::params::{Theta, flat_from_singles};
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// Probe `index` of a stream: `n` independent signs ±1, shape `(n,)`. Each can be had without the others.
///
/// # Errors
/// [`Error::Setting`] for a dtype other than f32 and f64.
pub fn probe(stream: &Stream, index: u32, n: usize, dtype: DType) -> Result<Tensor> {
    let signs = stream.at(0, index).signs(n);
    flat_from_singles(signs, dtype, &Device::Cpu)
}

/// vᵀHv at θ for the probes of these indices, in their order. Each value depends on its own probe alone.
///
/// # Errors
/// Those of [`Objective::quadratic_forms`].
pub fn probes(
    objective: &Objective,
    theta: &Theta,
    stream: &Stream,
    indices: &[u32],
    stop: &dyn Interrupt,
) -> Result<Vec<f64>> {
    let mut forms = Vec::with_capacity(indices.len());
    // Probes are drawn a few at a time, since each is as large as θ.
    for group in indices.chunks(8) {
        let draw = |&index| {
            let probe = probe(stream, index, theta.len(), theta.dtype())?;
            Ok(probe.to_device(&objective.placement().device)?)
        };
        let directions = group.iter().map(draw).collect::<Result<Vec<_>>>()?;
        forms.extend(objective.quadratic_forms(theta, &directions, stop)?);
    }
    Ok(forms)
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
}

#[cfg(test)]
mod tests {
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
    fn a_probe_is_signs_and_depends_on_its_index_alone() {
        let stream = Stream::new(1, "probe");
        let signs = |index| probe(&stream, index, 100, DType::F64).unwrap().to_vec1::<f64>().unwrap();
        assert!(signs(3).iter().all(|sign| sign.abs().to_bits() == 1.0f64.to_bits()));
        assert_eq!(signs(3), signs(3));
        assert_ne!(signs(3), signs(4));
    }
}
