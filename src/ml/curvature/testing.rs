//! Matrices whose spectrum is known, for tests of the algorithms that see products alone.

use crate::ml::tensor::{DType, Tensor};

use super::dense::Symmetric;
use super::operator::SymmetricOperator;
use super::trace::Estimate;
use super::vectors::vector;
use crate::ml::Result;
use crate::ml::objective::Placement;
use crate::ml::params::{Directions, flat_to_vec};
use crate::ml::rng::Stream;

/// A matrix as an operator.
pub struct Explicit {
    pub matrix: Symmetric,
    placement: Placement,
}

impl Explicit {
    pub fn new(matrix: Symmetric) -> Self {
        Self { matrix, placement: Placement::cpu(DType::F64) }
    }

    pub fn single(matrix: Symmetric) -> Self {
        Self { matrix, placement: Placement::cpu(DType::F32) }
    }

    /// `UΛUᵀ` with a random orthogonal U.
    pub fn with_spectrum(values: &[f64], seed: u64) -> Self {
        let u = orthogonal(values.len(), values.len(), seed);
        let at = |i: usize, j: usize| values.iter().zip(&u).map(|(value, u)| value * u[i] * u[j]).sum();
        Self::new(Symmetric::from_fn(values.len(), at))
    }
}

/// `count` random orthonormal vectors.
pub fn orthogonal(n: usize, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut draws = Stream::new(seed, "rotation").at(0, 0);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for _ in 0..count {
        let mut v: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        for _ in 0..2 {
            for q in &basis {
                let along: f64 = q.iter().zip(&v).map(|(q, v)| q * v).sum();
                v.iter_mut().zip(q).for_each(|(v, q)| *v -= along * q);
            }
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        basis.push(v.into_iter().map(|v| v / norm).collect());
    }
    basis
}

/// A few outliers over a bulk that is partly negative, as a network's Hessian has.
pub fn network_like(n: usize) -> Vec<f64> {
    (0..n).map(|i| if i < 6 { 6.0 - i as f64 } else { 0.6 - 1.2 * (i as f64 / n as f64).sqrt() }).collect()
}

/// Whether repeated estimates scatter around `truth` and say so: unbiased within 3 standard errors over all repeats. The share
/// of them within 2 of their own standard errors.
pub fn coverage(name: &str, truth: f64, repeats: &[Estimate]) -> f64 {
    let all = Estimate::of(&repeats.iter().map(|estimate| estimate.mean).collect::<Vec<_>>()).unwrap();
    assert!((all.mean - truth).abs() < 3.0 * all.stderr, "{name}: {} ± {} is not {truth}", all.mean, all.stderr);
    let covered = repeats.iter().filter(|estimate| (estimate.mean - truth).abs() < 2.0 * estimate.stderr).count();
    covered as f64 / repeats.len() as f64
}

/// As [`coverage`], which must lie between 0.9 and 0.98.
pub fn assert_honest(name: &str, truth: f64, repeats: &[Estimate]) {
    let share = coverage(name, truth, repeats);
    assert!((0.9..=0.98).contains(&share), "{name}: two standard errors cover {share}");
}

impl SymmetricOperator for Explicit {
    fn len(&self) -> usize {
        self.matrix.len()
    }

    fn placement(&self) -> &Placement {
        &self.placement
    }

    fn apply(&self, v: &Tensor) -> Result<Tensor> {
        let v = flat_to_vec(v)?;
        let rows = self.matrix.values().chunks(v.len());
        vector(rows.map(|row| row.iter().zip(&v).map(|(a, v)| a * v).sum::<f64>()), &self.placement)
    }

    fn quadratic_forms(&self, directions: Directions<'_>) -> Result<Vec<f64>> {
        let vectors = directions.vectors(self.placement.dtype, &self.placement.device)?;
        vectors.iter().map(|v| crate::ml::ops::reduce::dot(v, &self.apply(v)?)).collect()
    }
}
