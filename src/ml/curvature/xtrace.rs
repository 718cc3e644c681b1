//! XTrace (Epperly, Tropp and Webber 2024): half of the products find the range of the matrix, the other half its trace
//! there, and each test vector in turn probes what the others left out. Exact for a matrix of lower rank than there are test
//! vectors, unbiased for any.
//!
//! With Y = AΩ = QR, the range without column i is Q(I − sᵢsᵢᵀ), sᵢ along column i of R⁻ᵀ, so that all the leave-one-out
//! estimates come of R, `W = QᵀΩ` and `QᵀAQ`, without another product:
//! `tᵢ = tr QᵀAQ − sᵢᵀQᵀAQsᵢ + cᵢ·(wᵢᵀrᵢ − 2uᵢᵀrᵢ + uᵢᵀQᵀAQuᵢ)`, uᵢ = (I − sᵢsᵢᵀ)wᵢ. With normal test vectors, whose part outside
//! the range has a uniform direction, cᵢ = (N − rank)/‖that part‖² takes the scatter of its length away; with signs, cᵢ = 1.
//!
//! The standard error is the paper's, that of independent values, which these are not: it is too small. Over 300 repeats each
//! on spectra that fall as 1/i, 1/i² and 0.9ⁱ, with 12 to 120 products, the scatter was 1.2 to 1.5 times as large, and two
//! standard errors covered 0.79 to 0.89; on nearly flat spectra, with normal test vectors, 0.9 to 0.94.

use crate::ml::tensor::Tensor;

use super::operator::{SymmetricOperator, within};
use super::trace::{Distribution, Estimate, Probes};
use super::vectors::{epsilon, norm, orthogonalise};
use crate::ml::Result;
use crate::ml::ops::{elementwise, reduce};

/// In units of rounding, below which a column of Y lies in the span of those before.
const DEPENDENT: f64 = 64.0;

/// The trace by `vectors` test vectors, those of indices 0, 1, … of `probes`, and twice as many products.
///
/// # Errors
/// [`Error::Setting`](crate::ml::Error::Setting) for fewer than 2 test vectors or as many as rows; those of the products.
pub fn xtrace(operator: &dyn SymmetricOperator, probes: &Probes, vectors: usize) -> Result<Estimate> {
    let n = operator.len();
    within("test vectors of XTrace", vectors, (2, n.saturating_sub(1)))?;
    let probe = |index| probes.probe(index as u32, n, operator.placement());
    let tests = (0..vectors).map(probe).collect::<Result<Vec<_>>>()?;
    let range = Range::of(operator, &tests)?;
    let rank = range.basis.len();
    let mut core = vec![vec![0.0; rank]; rank];
    for (column, q) in range.basis.iter().enumerate() {
        let product = operator.apply(q)?;
        for (row, q) in range.basis.iter().enumerate() {
            core[row][column] = reduce::dot(q, &product)?;
        }
    }
    let trace: f64 = (0..rank).map(|i| core[i][i]).sum();
    let mut estimates = Vec::with_capacity(vectors);
    for (index, test) in tests.iter().enumerate() {
        let r = &range.columns[index];
        let w = range.basis.iter().map(|q| reduce::dot(q, test)).collect::<Result<Vec<_>>>()?;
        let s = range.left_out(index);
        let (along, rank_without) = s.as_ref().map_or((0.0, rank), |s| (dot(s, &w), rank - 1));
        let u: Vec<f64> = (0..rank).map(|i| w[i] - s.as_ref().map_or(0.0, |s| along * s[i])).collect();
        let outside = dot(&w, r) - 2.0 * dot(&u, r) + form(&core, &u);
        let scale = match probes.distribution {
            Distribution::Rademacher => 1.0,
            Distribution::Gaussian => (n - rank_without) as f64 / (reduce::dot(test, test)? - dot(&u, &u)),
        };
        estimates.push(trace - s.map_or(0.0, |s| form(&core, &s)) + scale * outside);
    }
    Estimate::of(&estimates)
}

/// Y = QR, of as many columns as Y has rank.
struct Range {
    basis: Vec<Tensor>,
    /// The columns of R, each as long as the rank.
    columns: Vec<Vec<f64>>,
}

impl Range {
    fn of(operator: &dyn SymmetricOperator, tests: &[Tensor]) -> Result<Self> {
        let (mut basis, mut columns, mut largest) = (Vec::new(), Vec::new(), 0.0f64);
        for test in tests {
            let y = operator.apply(test)?;
            largest = largest.max(norm(&y)?);
            let step = orthogonalise(&basis, &y)?;
            let mut column = step.coefficients;
            if step.norm > DEPENDENT * epsilon(operator.placement().dtype) * largest {
                column.push(step.norm);
                basis.push(elementwise::scale(&step.beside, 1.0 / step.norm)?);
            }
            columns.push(column);
        }
        for column in &mut columns {
            column.resize(basis.len(), 0.0);
        }
        Ok(Self { basis, columns })
    }

    /// The direction of length 1, in the basis, that is in the range only because of column `index`; `None` where the other
    /// columns span the range without it. Solves Rᵀs ∝ eᵢ.
    fn left_out(&self, index: usize) -> Option<Vec<f64>> {
        let rank = self.basis.len();
        if rank < self.columns.len() {
            return None;
        }
        let mut s = vec![0.0; rank];
        for row in index..rank {
            let known: f64 = (index..row).map(|k| self.columns[row][k] * s[k]).sum();
            s[row] = (f64::from(row == index) - known) / self.columns[row][row];
        }
        let length = dot(&s, &s).sqrt();
        Some(s.into_iter().map(|x| x / length).collect())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// xᵀAx.
fn form(matrix: &[Vec<f64>], x: &[f64]) -> f64 {
    matrix.iter().zip(x).map(|(row, x_i)| x_i * dot(row, x)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Explicit, coverage, network_like};
    use super::*;
    use crate::ml::rng::Stream;

    fn probes(seed: u64, distribution: Distribution) -> Probes {
        Probes { stream: Stream::new(seed, "probe"), distribution }
    }

    #[test]
    fn a_matrix_of_low_rank_has_its_trace_exactly() {
        let mut values = vec![0.0; 50];
        values[..6].copy_from_slice(&[5.0, -3.0, 2.0, 1.0, 0.5, 1e-3]);
        let matrix = Explicit::with_spectrum(&values, 1);
        for distribution in [Distribution::Rademacher, Distribution::Gaussian] {
            for vectors in [7, 8, 12] {
                let estimate = xtrace(&matrix, &probes(2, distribution), vectors).unwrap();
                assert!((estimate.mean - 5.501).abs() < 1e-9, "{distribution:?}, {vectors}: {estimate:?}");
                assert!(estimate.stderr < 1e-9, "{estimate:?}");
            }
        }
        let zero = Explicit::with_spectrum(&[0.0; 9], 1);
        assert!(xtrace(&zero, &probes(0, Distribution::Gaussian), 3).unwrap().mean.abs() < 1e-15);
    }

    #[test]
    fn the_leave_one_out_estimates_are_those_of_the_definition() {
        // Each range is found anew without one of the columns; no formula of `xtrace` is used.
        let values = network_like(30);
        let matrix = Explicit::with_spectrum(&values, 5);
        let probes = probes(8, Distribution::Rademacher);
        let tests: Vec<Tensor> = (0..5).map(|i| probes.probe(i, 30, matrix.placement()).unwrap()).collect();
        let mut estimates = Vec::new();
        for left_out in 0..5 {
            let others: Vec<Tensor> = (0..5).filter(|&i| i != left_out).map(|i| tests[i].clone()).collect();
            let basis = Range::of(&matrix, &others).unwrap().basis;
            let inside: f64 = matrix.quadratic_forms((&basis).into()).unwrap().iter().sum();
            let rest = orthogonalise(&basis, &tests[left_out]).unwrap().beside;
            estimates.push(inside + matrix.quadratic_forms((&[rest]).into()).unwrap()[0]);
        }
        let (expected, found) = (Estimate::of(&estimates).unwrap(), xtrace(&matrix, &probes, 5).unwrap());
        assert!((expected.mean - found.mean).abs() < 1e-9 && (expected.sd - found.sd).abs() < 1e-9);
    }

    #[test]
    fn repeats_are_unbiased_and_their_error_is_too_small_which_is_why_it_is_warned_of() {
        let values: Vec<f64> = (1..=80).map(|i| 1.0 / f64::from(i * i)).collect();
        let trace: f64 = values.iter().sum();
        let matrix = Explicit::with_spectrum(&values, 4);
        for distribution in [Distribution::Rademacher, Distribution::Gaussian] {
            for vectors in [6, 20] {
                let repeat = |seed| xtrace(&matrix, &probes(seed, distribution), vectors).unwrap();
                let share = coverage("xtrace", trace, &(0..400).map(repeat).collect::<Vec<_>>());
                assert!(
                    (0.75..0.93).contains(&share),
                    "{distribution:?}, {vectors}: two standard errors cover {share}"
                );
            }
        }
    }

    #[test]
    fn it_is_nearer_than_as_many_plain_probes() {
        let values: Vec<f64> = (1..=80).map(|i| 1.0 / f64::from(i * i)).collect();
        let trace: f64 = values.iter().sum();
        let matrix = Explicit::with_spectrum(&values, 4);
        let spread = |estimate: &dyn Fn(u64) -> f64| (0..50).map(|seed| (estimate(seed) - trace).powi(2)).sum::<f64>();
        let plain = spread(&|seed| {
            let forms = probes(seed, Distribution::Rademacher).forms(&matrix, &(0..30).collect::<Vec<_>>()).unwrap();
            Estimate::of(&forms).unwrap().mean
        });
        let ours = spread(&|seed| xtrace(&matrix, &probes(seed, Distribution::Rademacher), 15).unwrap().mean);
        assert!(ours < plain / 100.0, "{} beside {}", ours.sqrt(), plain.sqrt());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let matrix = Explicit::with_spectrum(&network_like(8), 4);
        for vectors in [0, 1, 8] {
            assert!(xtrace(&matrix, &probes(0, Distribution::Gaussian), vectors).is_err(), "{vectors}");
        }
    }
}
