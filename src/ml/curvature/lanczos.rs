//! Lanczos' recurrence with full re-orthogonalisation (Lanczos 1950; Golub and Van Loan 2013, 10.3): an orthonormal basis of
//! a Krylov space in which the matrix is tridiagonal, and the Ritz pairs that it gives.
//!
//! Where the space closes (the next vector is rounding), the recurrence goes on, if it may, from a random vector orthogonal
//! to all before, with 0 off the diagonal: so an eigenvalue is found as often as it is one. A space that does not close
//! shows each multiple eigenvalue once.

use crate::ml::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::dense::Symmetric;
use super::operator::{SymmetricOperator, within};
use super::vectors::{combination, epsilon, norm, orthogonalise, vector};
use crate::ml::ops::elementwise;
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// In units of the rounding of the largest element so far, below which the next vector is rounding.
const CLOSED: f64 = 64.0;

/// Units in the last place of the largest eigenvalue by which rounding may move one.
const ROUNDING: f64 = 8.0;

/// What to do where the Krylov space closes.
#[derive(Clone, Copy, Debug)]
pub enum Closed<'a> {
    /// End there: quadratures are exact by then.
    End,
    /// Go on from random normal vectors, drawn from this stream at positions (1, 0), (1, 1), …
    Restart(&'a Stream),
}

/// An orthonormal basis Q with `QᵀAQ` tridiagonal.
pub struct Krylov {
    basis: Vec<Tensor>,
    diagonal: Vec<f64>,
    below: Vec<f64>,
}

/// An approximate eigenvalue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ritz {
    /// λ, the eigenvalue of `QᵀAQ`.
    pub value: f64,
    /// The square of its eigenvector's first component: the weight of λ in the start vector.
    pub weight: f64,
    /// ‖Aq − λq‖ as the recurrence has it: an eigenvalue of A lies within so much of λ.
    pub residual: f64,
}

/// Which eigenvalues are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The k largest, by sign.
    #[default]
    Largest,
    /// The k largest and the k smallest, by sign.
    Both,
    /// The k largest in magnitude.
    Magnitude,
}

impl Krylov {
    /// `steps` products with the matrix, from `start` of any length; fewer where the space closes or is the whole.
    ///
    /// # Errors
    /// [`Error::Setting`] for no step or a start of length 0; [`Error::NotFinite`]; those of the matrix.
    pub fn build(operator: &dyn SymmetricOperator, start: &Tensor, steps: usize, closed: Closed<'_>) -> Result<Self> {
        within("steps of Lanczos", steps, (1, usize::MAX))?;
        let length = norm(start)?;
        if length == 0.0 {
            return Err(Error::Setting("Lanczos from a vector of length 0".to_owned()));
        }
        let mut next = elementwise::scale(start, 1.0 / length)?;
        let mut krylov = Self { basis: Vec::new(), diagonal: Vec::new(), below: Vec::new() };
        let (mut largest, mut restarts) = (0.0f64, 0);
        loop {
            let product = operator.apply(&next)?;
            krylov.basis.push(next);
            let step = orthogonalise(&krylov.basis, &product)?;
            let alpha = step.coefficients[krylov.basis.len() - 1];
            krylov.diagonal.push(alpha);
            largest = largest.max(alpha.abs()).max(step.norm);
            let is_closed = step.norm <= CLOSED * epsilon(operator.placement().dtype) * largest;
            let beta = if is_closed || krylov.basis.len() == operator.len() { 0.0 } else { step.norm };
            krylov.below.push(beta);
            if krylov.basis.len() >= steps.min(operator.len()) {
                return Ok(krylov);
            }
            next = match closed {
                _ if beta > 0.0 => elementwise::scale(&step.beside, 1.0 / beta)?,
                Closed::End => return Ok(krylov),
                Closed::Restart(stream) => {
                    restarts += 1;
                    let fresh = normals(operator, stream, restarts - 1)?;
                    let fresh = orthogonalise(&krylov.basis, &fresh)?;
                    elementwise::scale(&fresh.beside, 1.0 / fresh.norm)?
                }
            };
        }
    }

    /// Products with the matrix that were made.
    pub fn products(&self) -> usize {
        self.basis.len()
    }

    /// The Ritz values in ascending order, and their vectors.
    ///
    /// # Errors
    /// If faer does not converge.
    pub fn pairs(&self) -> Result<Pairs<'_>> {
        self.pairs_after(self.diagonal.len())
    }

    /// What [`pairs`](Self::pairs) would have given after the first `m` steps, one or more.
    ///
    /// # Errors
    /// Those of [`pairs`](Self::pairs).
    ///
    /// # Panics
    /// If there were fewer steps.
    pub fn pairs_after(&self, m: usize) -> Result<Pairs<'_>> {
        let at = |row: usize, column: usize| match row.abs_diff(column) {
            0 => self.diagonal[row],
            1 => self.below[row.min(column)],
            _ => 0.0,
        };
        let (values, vectors) = Symmetric::from_fn(m, at).eigen()?;
        let last = self.below[m - 1];
        // What rounding leaves, which the recurrence does not see.
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let rounding = ROUNDING * epsilon(self.basis[0].dtype()) * largest;
        let ritz = values.iter().zip(&vectors).map(|(&value, y)| Ritz {
            value,
            weight: y[0] * y[0],
            residual: (last * y[m - 1].abs()).max(rounding),
        });
        Ok(Pairs { ritz: ritz.collect(), vectors, basis: &self.basis })
    }
}

/// Ritz values in ascending order, and what their vectors are made of.
pub struct Pairs<'a> {
    /// The values.
    pub ritz: Vec<Ritz>,
    vectors: Vec<Vec<f64>>,
    basis: &'a [Tensor],
}

impl Pairs<'_> {
    /// The Ritz vector at `index`, `(N,)`, of length 1.
    ///
    /// # Errors
    /// candle's, passed on.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn vector(&self, index: usize) -> Result<Tensor> {
        combination(&self.vectors[index], self.basis)
    }
}

/// Where the `k` values that are asked for lie among values in ascending order: the largest first, by sign or magnitude.
pub fn choose(ritz: &[Ritz], which: Which, k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ritz.len()).rev().collect();
    match which {
        Which::Largest => order.truncate(k),
        Which::Magnitude => {
            order.sort_by(|&a, &b| ritz[b].value.abs().total_cmp(&ritz[a].value.abs()));
            order.truncate(k);
        }
        Which::Both if 2 * k < order.len() => drop(order.drain(k..ritz.len() - k)),
        Which::Both => {}
    }
    order
}

/// Independent standard normal values.
fn normals(operator: &dyn SymmetricOperator, stream: &Stream, index: u32) -> Result<Tensor> {
    let mut draws = stream.at(1, index);
    vector((0..operator.len()).map(|_| draws.normal()), operator.placement())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Explicit, network_like};
    use super::*;
    use crate::ml::ops::reduce::dot;

    fn start(operator: &dyn SymmetricOperator) -> Tensor {
        let signs = Stream::new(0, "lanczos").at(0, 0).signs(operator.len());
        vector(signs.into_iter().map(f64::from), operator.placement()).unwrap()
    }

    fn krylov(matrix: &Explicit, steps: usize) -> Krylov {
        Krylov::build(matrix, &start(matrix), steps, Closed::Restart(&Stream::new(1, "lanczos"))).unwrap()
    }

    /// The second difference on `n` points, whose eigenvalues are 2 − 2cos(πk/(n + 1)).
    fn laplacian(n: usize) -> Explicit {
        let at = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        Explicit::new(Symmetric::from_fn(n, at))
    }

    #[test]
    fn as_many_steps_as_rows_give_every_eigenvalue() {
        let n = 40;
        let krylov = krylov(&laplacian(n), n);
        assert_eq!(krylov.products(), n);
        for (k, ritz) in krylov.pairs().unwrap().ritz.iter().enumerate() {
            let exact = 2.0 - 2.0 * (std::f64::consts::PI * (k as f64 + 1.0) / (n as f64 + 1.0)).cos();
            assert!((ritz.value - exact).abs() < 1e-12 && ritz.residual < 1e-12, "{k}: {ritz:?} is not {exact}");
        }
    }

    #[test]
    fn the_residual_is_that_of_the_pair_and_bounds_the_eigenvalues_error() {
        let values = network_like(80);
        let matrix = Explicit::with_spectrum(&values, 2);
        let krylov = krylov(&matrix, 24);
        let pairs = krylov.pairs().unwrap();
        for (index, ritz) in pairs.ritz.iter().enumerate() {
            let q = pairs.vector(index).unwrap();
            let difference = elementwise::add_scaled(&matrix.apply(&q).unwrap(), &q, -ritz.value).unwrap();
            assert!((norm(&q).unwrap() - 1.0).abs() < 1e-12);
            assert!((norm(&difference).unwrap() - ritz.residual).abs() < 1e-10);
            let nearest = values.iter().map(|value| (value - ritz.value).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= ritz.residual + 1e-10, "{ritz:?}");
        }
        let top = choose(&pairs.ritz, Which::Largest, 6);
        for (index, exact) in top.into_iter().zip([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) {
            assert!((pairs.ritz[index].value - exact).abs() < 1e-6, "{:?}", pairs.ritz[index]);
        }
    }

    /// The recurrence alone would give the converged ones residuals far below what f32 can tell.
    #[test]
    fn eigenvalues_in_single_precision_lie_within_their_residuals() {
        let values: Vec<f64> = (0..120).map(|i| 10.0 * 0.8f64.powi(i)).collect();
        let matrix = Explicit::single(Explicit::with_spectrum(&values, 4).matrix);
        let exact = matrix.matrix.eigenvalues(&crate::ml::objective::NoInterrupt).unwrap();
        let krylov = krylov(&matrix, 60);
        let pairs = krylov.pairs().unwrap();
        for index in choose(&pairs.ritz, Which::Largest, 10) {
            let ritz = pairs.ritz[index];
            let nearest = exact.iter().map(|value| (value - ritz.value).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= ritz.residual, "{ritz:?} is {nearest} off");
            assert!(ritz.residual < 1e-4, "{ritz:?}");
        }
    }

    #[test]
    fn a_multiple_eigenvalue_is_found_as_often_as_it_is_one() {
        let values = [3.0, 3.0, 3.0, -2.0, -2.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let matrix = Explicit::with_spectrum(&values, 6);
        let found: Vec<f64> = krylov(&matrix, 10).pairs().unwrap().ritz.iter().map(|ritz| ritz.value).collect();
        let mut expected = values;
        expected.sort_by(f64::total_cmp);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        let ended = Krylov::build(&matrix, &start(&matrix), 10, Closed::End).unwrap();
        assert_eq!(ended.products(), 4, "a start has a part in each of four eigenspaces");
        let again = ended.pairs().unwrap();
        assert!((again.ritz.iter().map(|ritz| ritz.weight).sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_basis_stays_orthonormal_over_many_steps() {
        let matrix = Explicit::with_spectrum(&(0..200).map(|i| 0.9f64.powi(i)).collect::<Vec<_>>(), 2);
        for matrix in [Explicit::new(matrix.matrix.clone()), Explicit::single(matrix.matrix)] {
            let tolerance = 1e2 * epsilon(matrix.placement().dtype);
            let krylov = krylov(&matrix, 150);
            for (i, a) in krylov.basis.iter().enumerate() {
                for b in &krylov.basis[..i] {
                    assert!(dot(a, b).unwrap().abs() < tolerance);
                }
            }
        }
    }

    #[test]
    fn the_smallest_matrices_and_zero_are_no_special_case() {
        let one = Explicit::new(Symmetric::from_fn(1, |_, _| -7.0));
        assert!((krylov(&one, 5).pairs().unwrap().ritz[0].value + 7.0).abs() < 1e-15);
        let zero = Explicit::new(Symmetric::from_fn(4, |_, _| 0.0));
        assert!(krylov(&zero, 9).pairs().unwrap().ritz.iter().all(|ritz| ritz.value == 0.0 && ritz.residual == 0.0));
        let nothing = vector(vec![0.0; 4], zero.placement()).unwrap();
        assert!(Krylov::build(&zero, &nothing, 3, Closed::End).is_err());
        assert!(Krylov::build(&zero, &start(&zero), 0, Closed::End).is_err());
        let lost = Explicit::new(Symmetric::from_fn(4, |_, _| f64::NAN));
        assert!(matches!(Krylov::build(&lost, &start(&lost), 3, Closed::End), Err(Error::NotFinite { .. })));
    }

    #[test]
    fn either_end_or_magnitude_is_chosen() {
        let ritz = |value| Ritz { value, weight: 0.0, residual: 0.0 };
        let all = [-5.0, -1.0, 0.0, 2.0, 3.0].map(ritz);
        let values = |which, k| choose(&all, which, k).into_iter().map(|index| all[index].value).collect::<Vec<_>>();
        assert_eq!(values(Which::Largest, 2), [3.0, 2.0]);
        assert_eq!(values(Which::Both, 2), [3.0, 2.0, -1.0, -5.0]);
        assert_eq!(values(Which::Both, 4), [3.0, 2.0, 0.0, -1.0, -5.0]);
        assert_eq!(values(Which::Magnitude, 3), [-5.0, 3.0, 2.0]);
    }
}
