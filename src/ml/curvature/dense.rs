//! A whole symmetric matrix: made of N products, and its eigenvalues.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::{Col, Mat, Par, Side, Spec, linalg};
use rayon::prelude::*;

use super::operator::SymmetricOperator;
use super::vectors::vector;
use crate::ml::objective::{Interrupt, poll};
use crate::ml::ops::band;
use crate::ml::params::flat_to_vec;
use crate::ml::{Error, Result};

/// The largest N whose matrix is made whole: 800 MB of f64.
pub const LARGEST: usize = 10_000;

/// A symmetric matrix in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Symmetric {
    n: usize,
    values: Vec<f64>,
}

impl Symmetric {
    /// The matrix with these elements; `at` is symmetric.
    pub fn from_fn(n: usize, at: impl Fn(usize, usize) -> f64) -> Self {
        Self { n, values: (0..n * n).map(|index| at(index / n, index % n)).collect() }
    }

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

    /// All eigenvalues in ascending order, in f64: the matrix is made tridiagonal by blocks on all cores, and faer takes it
    /// from there on one. The bytes do not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a matrix that is not; [`Error::Setting`] if faer does not converge; [`Error::Interrupted`].
    pub fn eigenvalues(&self, stop: &dyn Interrupt) -> Result<Vec<f64>> {
        self.finite()?;
        let n = self.n;
        let (diagonal, mut below) = band::tridiagonal(self.values.clone(), n, || poll(stop))?;
        below.resize(n, 0.0);
        let (diagonal, below) = (Col::from_fn(n, |i| diagonal[i]), Col::from_fn(n, |i| below[i]));
        let mut values = Col::<f64>::zeros(n);
        let room = linalg::temp_mat_scratch::<f64>(n, 1).array(4);
        let room = &mut MemBuffer::new(room);
        let (stack, spec) = (MemStack::new(room), Spec::default());
        let (diagonal, below) = (diagonal.as_diagonal(), below.as_diagonal());
        let into = values.as_diagonal_mut();
        linalg::evd::tridiagonal_self_adjoint_evd(diagonal, below, into, None, Par::Seq, stack, spec)
            .map_err(|_| self.lost())?;
        let mut values: Vec<f64> = values.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        Ok(values)
    }

    /// All eigenvalues in ascending order, and to each a vector of length 1; otherwise as [`eigenvalues`](Self::eigenvalues), but deaf to
    /// interrupts.
    ///
    /// # Errors
    /// Those of [`eigenvalues`](Self::eigenvalues).
    pub fn eigen(&self) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
        self.finite()?;
        let eigen = self.matrix().self_adjoint_eigen(Side::Lower).map_err(|_| self.lost())?;
        let values = eigen.S().column_vector().iter().copied().collect();
        let vectors = (0..self.n).map(|index| eigen.U().col(index).iter().copied().collect()).collect();
        Ok((values, vectors))
    }

    fn matrix(&self) -> Mat<f64> {
        Mat::from_fn(self.n, self.n, |row, column| self.at(row, column))
    }

    fn finite(&self) -> Result<()> {
        if self.values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(Error::NotFinite { what: format!("a matrix of {} rows whose eigenvalues are asked for", self.n) })
    }

    fn lost(&self) -> Error {
        Error::Setting(format!("the eigenvalues of a matrix of {} rows did not converge", self.n))
    }
}

/// The whole of a matrix that is known by its products, made symmetric as (A + Aᵀ)/2, which takes away what rounding put
/// between the two halves. Each column is a product of its own; they are shared among the threads, and the bytes of each
/// do not depend on how.
///
/// # Errors
/// [`Error::Setting`] above [`LARGEST`] rows; those of the products.
pub fn dense(operator: &dyn SymmetricOperator) -> Result<Symmetric> {
    let n = operator.len();
    if n > LARGEST {
        let problem = format!("a whole matrix of {n} rows, one a parameter: expected at most {LARGEST}");
        return Err(Error::Setting(format!("{problem}; without `exact` products with random vectors take its place")));
    }
    let mut values = vec![0.0; n * n];
    values.par_chunks_mut(n.max(1)).enumerate().try_for_each(|(index, row)| {
        let unit = vector((0..n).map(|i| f64::from(i == index)), operator.placement())?;
        row.copy_from_slice(&flat_to_vec(&operator.apply(&unit)?)?);
        Ok::<_, Error>(())
    })?;
    for row in 0..n {
        for column in 0..row {
            let mean = 0.5 * (values[row * n + column] + values[column * n + row]);
            (values[row * n + column], values[column * n + row]) = (mean, mean);
        }
    }
    Ok(Symmetric { n, values })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use crate::ml::tensor::{DType, Device};

    use super::super::operator::At;
    use super::super::testing::{Explicit, network_like};
    use super::*;
    use crate::ml::data::Dataset;
    use crate::ml::loss::Loss;
    use crate::ml::models::{Activation, Architecture, smooth_resnet};
    use crate::ml::objective::{NoInterrupt, Objective, Placement};
    use crate::ml::params::Theta;
    use crate::ml::rng::Stream;

    fn data(shape: [usize; 3]) -> Dataset {
        let mut draws = Stream::new(9, "data").at(0, 0);
        let inputs = (0..12 * shape.iter().product::<usize>()).map(|_| draws.normal() as f32).collect();
        let labels = (0..12).map(|_| draws.below(3) as u32).collect();
        Dataset { inputs, labels, shape, classes: 3 }
    }

    fn mlp() -> (Objective, Theta) {
        let data = data([1, 2, 3]);
        let architecture = Architecture::Mlp { hidden: vec![4], activation: Activation::Tanh };
        let model = architecture.build(data.shape, 3).unwrap();
        let theta = model.init(&Stream::new(2, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        (Objective::new(model, loss, &data, 5, Placement::cpu(DType::F64)).unwrap(), theta)
    }

    #[test]
    fn the_hessian_is_the_difference_of_the_gradient() {
        let (objective, theta) = mlp();
        let hessian = dense(&At::hessian(&objective, &theta, &NoInterrupt)).unwrap();
        let values = theta.to_vec_f64().unwrap();
        let gradient = |index: usize, step: f64| {
            let mut moved = values.clone();
            moved[index] += step;
            let moved = Theta::from_values(Arc::clone(theta.layout()), moved, DType::F64, &Device::Cpu).unwrap();
            flat_to_vec(&objective.gradient(&moved, &NoInterrupt).unwrap().1).unwrap()
        };
        for column in 0..theta.len() {
            // The central difference is off by h²/6 times a fourth derivative, and by rounding over h.
            let (ahead, behind) = (gradient(column, 1e-5), gradient(column, -1e-5));
            for row in 0..theta.len() {
                let difference = (ahead[row] - behind[row]) / 2e-5;
                assert!((hessian.at(row, column) - difference).abs() < 1e-9, "{row}, {column}");
            }
        }
    }

    #[test]
    fn products_forms_and_the_whole_matrix_agree_with_batch_norm_too() {
        let data = data([1, 8, 8]);
        let model = smooth_resnet(data.shape, 3);
        let theta = model.init(&Stream::new(2, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        let objective = Objective::new(model, loss, &data, 6, Placement::cpu(DType::F64)).unwrap();
        let at = At::gauss_newton(&objective, &theta, &NoInterrupt);
        let draw = |index| {
            let mut draws = Stream::new(3, "direction").at(0, index);
            vector((0..theta.len()).map(|_| draws.normal()), at.placement()).unwrap()
        };
        let (u, v) = (draw(0), draw(1));
        let dot = |a, b| crate::ml::ops::reduce::dot(a, b).unwrap();
        let (gu, gv) = (at.apply(&u).unwrap(), at.apply(&v).unwrap());
        assert!((dot(&u, &gv) - dot(&v, &gu)).abs() < 1e-10 * dot(&u, &gu), "symmetric");
        let forms = at.quadratic_forms((&[u.clone(), v.clone()]).into()).unwrap();
        assert!(
            (forms[0] - dot(&u, &gu)).abs() < 1e-10 * forms[0] && (forms[1] - dot(&v, &gv)).abs() < 1e-10 * forms[1]
        );
        assert!(forms.iter().all(|&form| form > 0.0));
        let residual = At { matrix: super::super::operator::Curvature::Residual, ..at };
        let hessian = At::hessian(&objective, &theta, &NoInterrupt);
        let difference = hessian.quadratic_forms(std::slice::from_ref(&u).into()).unwrap()[0] - forms[0];
        assert!((residual.quadratic_forms(std::slice::from_ref(&u).into()).unwrap()[0] - difference).abs() < 1e-12);
        assert!((dot(&u, &residual.apply(&u).unwrap()) - difference).abs() < 1e-10 * forms[0]);
    }

    #[test]
    fn one_and_two_threads_give_the_same_matrix() {
        let (objective, theta) = mlp();
        let all = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| dense(&At::hessian(&objective, &theta, &NoInterrupt)).unwrap())
        };
        let one = all(1);
        assert_eq!(one, all(2));
        // Large enough that the tiles of its reduction are shared.
        let large = Explicit::with_spectrum(&network_like(400), 1).matrix;
        let eigenvalues = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| large.eigenvalues(&NoInterrupt).unwrap())
        };
        assert_eq!(eigenvalues(1), eigenvalues(2));
    }

    #[test]
    fn eigenvalues_are_those_that_the_matrix_was_made_of() {
        for n in [1, 2, 3, 7, 49, 50, 51, 97, 98, 145, 300] {
            let mut values = network_like(n);
            let matrix = Explicit::with_spectrum(&values, 3).matrix;
            values.sort_by(f64::total_cmp);
            let found = matrix.eigenvalues(&NoInterrupt).unwrap();
            assert!(found.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-12), "{n}");
            let (again, vectors) = matrix.eigen().unwrap();
            for (value, vector) in again.iter().zip(&vectors) {
                let product = |row: usize| vector.iter().enumerate().map(|(k, x)| matrix.at(row, k) * x).sum::<f64>();
                assert!((0..n).all(|row| (product(row) - value * vector[row]).abs() < 1e-12), "{n}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lost = Symmetric::from_fn(3, |_, _| f64::NAN);
        assert!(matches!(lost.eigenvalues(&NoInterrupt), Err(Error::NotFinite { .. })));
        assert!(Symmetric::from_fn(0, |_, _| 0.0).eigenvalues(&NoInterrupt).unwrap().is_empty());
        let (objective, theta) = mlp();
        assert!(matches!(dense(&At::hessian(&objective, &theta, &|| true)), Err(Error::Interrupted)));
    }

    #[test]
    fn eigenvalues_can_be_interrupted_all_along() {
        let matrix = Explicit::with_spectrum(&network_like(400), 1).matrix;
        let stops_at = |last: usize| {
            let polls = Cell::new(0);
            let stop = || {
                polls.set(polls.get() + 1);
                polls.get() == last
            };
            (matrix.eigenvalues(&stop), polls.get())
        };
        let (whole, polls) = stops_at(usize::MAX);
        assert!(whole.is_ok() && polls > 10, "{polls}");
        for last in [1, polls / 2, polls] {
            let (stopped, polls) = stops_at(last);
            assert!(matches!(stopped, Err(Error::Interrupted)) && polls == last, "{polls} of {last}");
        }
    }
}
