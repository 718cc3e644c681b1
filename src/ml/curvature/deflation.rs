//! Hutchinson's estimator beside an orthonormal Q: tr A = Σ qᵢᵀAqᵢ + E vᵀ(I − QQᵀ)A(I − QQᵀ)v, unbiased for any Q that does not
//! depend on the probes (Meyer, Musco, Musco and Woodruff 2021 for the idea; here Q comes from another point of a path). The
//! closer Q is to the top of the spectrum, the smaller the variance; every number is a quadratic form, forward only.

use crate::ml::tensor::Tensor;

use super::lanczos::{Closed, Krylov, Ritz, Which, choose};
use super::operator::{SymmetricOperator, within};
use super::trace::Probes;
use super::vectors::{orthogonalise, vector};
use crate::ml::Result;
use crate::ml::ops::{elementwise, reduce};
use crate::ml::rng::Stream;

/// Steps of Lanczos beyond twice the rank that is asked for: at twice the rank the last vectors are still rough.
const EXTRA: usize = 10;

/// Orthonormal vectors `(N,)`.
pub struct Subspace {
    basis: Vec<Tensor>,
}

impl Subspace {
    /// The `rank` Ritz vectors of largest magnitude after 2·rank + 10 steps of Lanczos from a vector of signs, position (0, 0)
    /// of the stream.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::Error::Setting) for no vector or more than rows; those of the products.
    pub fn find(operator: &dyn SymmetricOperator, stream: &Stream, rank: usize) -> Result<Self> {
        Self::ritz(operator, stream, (rank, 2 * rank + EXTRA), Which::Magnitude)
    }

    /// The `rank` Ritz vectors of the largest values after so many steps of Lanczos, from the same start.
    ///
    /// # Errors
    /// Those of [`find`](Self::find); [`Error::Setting`](crate::ml::Error::Setting) for fewer steps than vectors.
    pub fn top(operator: &dyn SymmetricOperator, stream: &Stream, rank: usize, steps: usize) -> Result<Self> {
        within("steps of Lanczos", steps, (rank, usize::MAX))?;
        Self::ritz(operator, stream, (rank, steps), Which::Largest)
    }

    /// The Ritz vectors of all values above `threshold` after so many steps of Lanczos, from the same start, and whether more steps might find
    /// more of them: where one of those found is still rough by a tenth of the threshold. With as many steps as rows all are found.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::Error::Setting) for no step; those of the products.
    pub fn above(
        operator: &dyn SymmetricOperator,
        stream: &Stream,
        threshold: f64,
        steps: usize,
    ) -> Result<(Self, bool)> {
        let mut unresolved = false;
        let space = Self::chosen(operator, stream, steps, |ritz| {
            let above = |index: &usize| ritz[*index].value > threshold;
            let all: Vec<usize> = choose(ritz, Which::Largest, ritz.len()).into_iter().filter(above).collect();
            let rough = all.iter().any(|&index| ritz[index].residual > 0.1 * threshold);
            unresolved = steps < operator.len() && (rough || all.len() == ritz.len());
            all
        })?;
        Ok((space, unresolved))
    }

    fn ritz(
        operator: &dyn SymmetricOperator,
        stream: &Stream,
        (rank, steps): (usize, usize),
        which: Which,
    ) -> Result<Self> {
        let n = operator.len();
        within("vectors of a subspace", rank, (1, n))?;
        Self::chosen(operator, stream, steps, |ritz| choose(ritz, which, rank))
    }

    fn chosen(
        operator: &dyn SymmetricOperator,
        stream: &Stream,
        steps: usize,
        choose: impl FnOnce(&[Ritz]) -> Vec<usize>,
    ) -> Result<Self> {
        let signs = stream.at(0, 0).signs(operator.len());
        let start = vector(signs.into_iter().map(f64::from), operator.placement())?;
        let krylov = Krylov::build(operator, &start, steps, Closed::Restart(stream))?;
        let pairs = krylov.pairs()?;
        let basis = choose(&pairs.ritz).into_iter().map(|index| pairs.vector(index)).collect::<Result<_>>()?;
        Ok(Self { basis })
    }

    /// From the vectors of `n` elements one after the other, as [`flat`](Self::flat) gives them.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::Error::Setting) unless they are whole vectors.
    pub fn from_flat(flat: &Tensor, n: usize) -> Result<Self> {
        let len = flat.elem_count();
        within("elements beyond whole vectors of a subspace", len % n.max(1), (0, 0))?;
        let basis = (0..len / n.max(1)).map(|index| flat.narrow(0, index * n, n)).collect::<Result<_>>()?;
        Ok(Self { basis })
    }

    /// All its vectors, one after the other, `(rank·N,)`.
    ///
    /// # Errors
    /// candle's, passed on.
    pub fn flat(&self) -> Result<Tensor> {
        Tensor::cat(&self.basis, 0)
    }

    /// How many vectors there are.
    pub fn rank(&self) -> usize {
        self.basis.len()
    }

    /// v + Σ cᵢqᵢ.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::ml::Error::Shape) for a v of another length or dtype.
    pub fn displaced(&self, v: &Tensor, coefficients: &[f64]) -> Result<Tensor> {
        let add = |sum: Tensor, (q, c): (&Tensor, &f64)| elementwise::add_scaled(&sum, q, *c);
        self.basis.iter().zip(coefficients).try_fold(v.clone(), add)
    }

    /// (I − QQᵀ)v.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::ml::Error::Shape) for a v of another length or dtype; a v that is not finite.
    pub fn beside(&self, v: &Tensor) -> Result<Tensor> {
        Ok(orthogonalise(&self.basis, v)?.beside)
    }

    /// qᵢ·v of each vector.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::ml::Error::Shape) for a v of another length or dtype.
    pub fn coefficients(&self, v: &Tensor) -> Result<Vec<f64>> {
        self.basis.iter().map(|q| reduce::dot(q, v)).collect()
    }

    /// qᵢᵀAqᵢ of each vector: their sum is the part of the trace that has no error.
    ///
    /// # Errors
    /// Those of [`SymmetricOperator::quadratic_forms`].
    pub fn forms(&self, operator: &dyn SymmetricOperator) -> Result<Vec<f64>> {
        operator.quadratic_forms((&self.basis).into())
    }

    /// vᵀ(I − QQᵀ)A(I − QQᵀ)v for the probes of these indices, in their order.
    ///
    /// # Errors
    /// Those of [`SymmetricOperator::quadratic_forms`].
    pub fn rest(&self, operator: &dyn SymmetricOperator, probes: &Probes, indices: &[u32]) -> Result<Vec<f64>> {
        probes.mapped_forms(operator, indices, |probe| self.beside(probe))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Explicit, assert_honest, network_like, orthogonal};
    use super::super::trace::{Distribution, Estimate};
    use super::*;
    use crate::ml::ops::reduce::dot;

    fn probes(seed: u64) -> Probes {
        Probes { stream: Stream::new(seed, "probe"), distribution: Distribution::Rademacher }
    }

    fn repeats(matrix: &Explicit, subspace: &Subspace) -> Vec<Estimate> {
        let inside: f64 = subspace.forms(matrix).unwrap().iter().sum();
        let repeat = |seed| {
            let rest = subspace.rest(matrix, &probes(seed), &(0..20).collect::<Vec<_>>()).unwrap();
            Estimate::of(&rest).unwrap().shifted(inside)
        };
        (0..400).map(repeat).collect()
    }

    #[test]
    fn any_subspace_gives_the_trace_and_the_right_one_a_smaller_error() {
        let values = network_like(60);
        let trace = values.iter().sum();
        let matrix = Explicit::with_spectrum(&values, 3);
        let arbitrary = vector(orthogonal(60, 6, 77).concat(), matrix.placement()).unwrap();
        let arbitrary = Subspace::from_flat(&arbitrary, 60).unwrap();
        let found = Subspace::find(&matrix, &Stream::new(0, "subspace"), 6).unwrap();
        // The top of a matrix that is near this one, as that of a neighbour on a path.
        let near: Vec<f64> = matrix
            .matrix
            .values()
            .iter()
            .enumerate()
            .map(|(at, a)| a + 0.01 * ((at / 60 + at % 60) as f64).sin())
            .collect();
        let near = Explicit::new(super::super::dense::Symmetric::from_fn(60, |i, j| near[60 * i + j]));
        let neighbour = Subspace::find(&near, &Stream::new(0, "subspace"), 6).unwrap();
        let mut spread = Vec::new();
        for (name, subspace) in [("arbitrary", arbitrary), ("found", found), ("of a neighbour", neighbour)] {
            let repeats = repeats(&matrix, &subspace);
            assert_honest(name, trace, &repeats);
            spread.push(repeats.iter().map(|estimate| estimate.sd).sum::<f64>() / 400.0);
        }
        assert!(spread[1] < spread[0] / 3.0 && spread[2] < spread[0] / 2.0, "{spread:?}");
    }

    #[test]
    fn the_subspace_of_all_rows_leaves_no_error() {
        let values = network_like(20);
        let matrix = Explicit::with_spectrum(&values, 3);
        let subspace = Subspace::find(&matrix, &Stream::new(0, "subspace"), 20).unwrap();
        let inside: f64 = subspace.forms(&matrix).unwrap().iter().sum();
        assert!((inside - values.iter().sum::<f64>()).abs() < 1e-10);
        assert!(subspace.rest(&matrix, &probes(0), &[0]).unwrap()[0].abs() < 1e-10);
        assert!(Subspace::find(&matrix, &Stream::new(0, "subspace"), 21).is_err());
    }

    #[test]
    fn a_subspace_is_kept_as_its_values() {
        let matrix = Explicit::with_spectrum(&network_like(20), 3);
        let subspace = Subspace::find(&matrix, &Stream::new(0, "subspace"), 3).unwrap();
        let again = Subspace::from_flat(&subspace.flat().unwrap(), 20).unwrap();
        assert_eq!(again.rank(), 3);
        for (i, a) in again.basis.iter().enumerate() {
            for (j, b) in again.basis.iter().enumerate() {
                assert!((dot(a, b).unwrap() - f64::from(i == j)).abs() < 1e-12);
            }
        }
        let cut = vector(vec![1.0; 19], matrix.placement()).unwrap();
        assert!(Subspace::from_flat(&cut, 20).is_err());
    }
}
