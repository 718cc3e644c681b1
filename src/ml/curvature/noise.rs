//! The covariance of a sample's gradient, C = E gₖgₖᵀ, or around its mean, C − ḡḡᵀ. A batch of S samples drawn
//! independently has 1/S of it.
//!
//! Where samples have gradients of their own, Cv = ∇Σₖ cₖℓₖ/M with cₖ = ∇ℓₖ·v from the forward pass, and vᵀCv is the mean of
//! cₖ², forward only. Both are products with `JᵀMJ`, M the mean of rrᵀ over labels, so that labels drawn from smoothed targets need no
//! draw: their mean is known. Batch norm ties the samples of a chunk together: there C comes of the gradients of minibatches.

use candle_core::Tensor;

use super::operator::{SymmetricOperator, within};
use super::vectors::combination;
use crate::ml::loss::{Labels, LogitMatrix};
use crate::ml::objective::{BatchTargets, Interrupt, Objective, Placement};
use crate::ml::ops::{elementwise, reduce};
use crate::ml::params::{Directions, Theta};
use crate::ml::{Error, Result};

/// The gradient of each sample of `indices`, `(N,)` each, with soft targets.
///
/// # Errors
/// [`Error::Setting`] for a model with batch norm, or an index beyond the training set; [`Error::Interrupted`].
pub fn sample_gradients(
    objective: &Objective,
    theta: &Theta,
    indices: &[u32],
    stop: &dyn Interrupt,
) -> Result<Vec<Tensor>> {
    has_samples(objective)?;
    let gradient = |&index: &u32| {
        if stop.requested() {
            return Err(Error::Interrupted);
        }
        Ok(objective.batch_gradient(theta, &[index], BatchTargets::Soft)?.1)
    };
    indices.iter().map(gradient).collect()
}

fn has_samples(objective: &Objective) -> Result<()> {
    if objective.model().norms() == 0 {
        return Ok(());
    }
    let why = "batch norm ties the samples of a chunk together, so that none has a gradient of its own: take the gradients of minibatches";
    Err(Error::Setting(why.to_owned()))
}

/// C or C − ḡḡᵀ at θ, known by its products.
pub struct NoiseCovariance<'a> {
    objective: &'a Objective,
    theta: &'a Theta,
    stop: &'a (dyn Interrupt + Sync),
    matrix: LogitMatrix,
    /// ḡ, where it is to be taken away.
    mean: Option<Tensor>,
}

impl<'a> NoiseCovariance<'a> {
    /// The covariance over the training set, with `labels` soft or drawn, `centred` around the mean or not.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model with batch norm; those of [`Objective::gradient`].
    pub fn new(
        objective: &'a Objective,
        theta: &'a Theta,
        (labels, centred): (Labels, bool),
        stop: &'a (dyn Interrupt + Sync),
    ) -> Result<Self> {
        has_samples(objective)?;
        let mean = if centred { Some(objective.gradient(theta, stop)?.1) } else { None };
        Ok(Self { objective, theta, stop, matrix: LogitMatrix::Gradient { labels }, mean })
    }
}

impl SymmetricOperator for NoiseCovariance<'_> {
    fn len(&self) -> usize {
        self.theta.len()
    }

    fn placement(&self) -> &Placement {
        self.objective.placement()
    }

    fn apply(&self, v: &Tensor) -> Result<Tensor> {
        let product = self.objective.logit_product(self.theta, self.matrix, v, self.stop)?;
        let Some(mean) = &self.mean else { return Ok(product) };
        elementwise::add_scaled(&product, mean, -reduce::dot(mean, v)?)
    }

    fn quadratic_forms(&self, directions: Directions<'_>) -> Result<Vec<f64>> {
        let Placement { dtype, device, .. } = self.placement();
        let mut forms = self.objective.logit_forms(self.theta, self.matrix, directions, self.stop)?;
        if let Some(mean) = &self.mean {
            for (form, v) in forms.iter_mut().zip(directions.vectors(*dtype, device)?.iter()) {
                *form -= reduce::dot(mean, v)?.powi(2);
            }
        }
        Ok(forms)
    }
}

/// C as the gradients of minibatches have it: S times the mean of (g − ḡ)(g − ḡ)ᵀ over batches of S samples, with ḡ their
/// own mean and one batch taken off the count, which makes it unbiased where batches are drawn independently.
pub struct MinibatchCovariance {
    /// g − ḡ of each batch.
    deviations: Vec<Tensor>,
    factor: f64,
    placement: Placement,
}

impl MinibatchCovariance {
    /// From the gradients of these batches, all of one size, with the targets that `targets` gives each.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two batches or sizes that differ; those of [`Objective::batch_gradient`].
    pub fn new<'t>(
        objective: &Objective,
        theta: &Theta,
        batches: &[Vec<u32>],
        targets: impl Fn(usize) -> BatchTargets<'t>,
    ) -> Result<Self> {
        within("batches for a covariance", batches.len(), (2, usize::MAX))?;
        let size = batches[0].len();
        if batches.iter().any(|batch| batch.len() != size) {
            return Err(Error::Setting("a covariance takes batches of one size".to_owned()));
        }
        let gradient =
            |(index, batch): (usize, &Vec<u32>)| Ok(objective.batch_gradient(theta, batch, targets(index))?.1);
        let gradients = batches.iter().enumerate().map(gradient).collect::<Result<Vec<_>>>()?;
        let mean = combination(&vec![1.0 / gradients.len() as f64; gradients.len()], &gradients)?;
        let deviation = |gradient| elementwise::add_scaled(gradient, &mean, -1.0);
        let deviations = gradients.iter().map(deviation).collect::<Result<_>>()?;
        let factor = size as f64 / (batches.len() - 1) as f64;
        Ok(Self { deviations, factor, placement: objective.placement().clone() })
    }

    /// tr HC = S·Σ (g − ḡ)ᵀH(g − ḡ)/(batches − 1) for another matrix H: forward only.
    ///
    /// # Errors
    /// Those of [`SymmetricOperator::quadratic_forms`].
    pub fn trace_of_product(&self, operator: &dyn SymmetricOperator) -> Result<f64> {
        Ok(self.factor * operator.quadratic_forms((&self.deviations).into())?.iter().sum::<f64>())
    }
}

impl SymmetricOperator for MinibatchCovariance {
    fn len(&self) -> usize {
        self.deviations[0].elem_count()
    }

    fn placement(&self) -> &Placement {
        &self.placement
    }

    fn apply(&self, v: &Tensor) -> Result<Tensor> {
        let along = |d| Ok(self.factor * reduce::dot(d, v)?);
        combination(&self.deviations.iter().map(along).collect::<Result<Vec<_>>>()?, &self.deviations)
    }

    fn quadratic_forms(&self, directions: Directions<'_>) -> Result<Vec<f64>> {
        let form = |v| {
            let squares = self.deviations.iter().map(|d| Ok(reduce::dot(d, v)?.powi(2)));
            Ok(self.factor * squares.sum::<Result<f64>>()?)
        };
        directions.vectors(self.placement.dtype, &self.placement.device)?.iter().map(form).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::dense::{Symmetric, dense};
    use super::super::operator::At;
    use super::*;
    use crate::ml::data::Dataset;
    use crate::ml::loss::Loss;
    use crate::ml::models::{Activation, Architecture};
    use crate::ml::objective::NoInterrupt;
    use crate::ml::params::flat_to_vec;
    use crate::ml::rng::Stream;

    const SAMPLES: u32 = 14;

    fn objective(architecture: &Architecture, shape: [usize; 3]) -> (Objective, Theta) {
        let mut draws = Stream::new(9, "data").at(0, 0);
        let inputs = (0..SAMPLES as usize * shape.iter().product::<usize>()).map(|_| draws.normal() as f32).collect();
        let labels = (0..SAMPLES).map(|_| draws.below(3) as u32).collect();
        let data = Dataset { inputs, labels, shape, classes: 3 };
        let model = architecture.build(shape, 3).unwrap();
        let theta = model.init(&Stream::new(2, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        (Objective::new(model, loss, &data, 5, Placement::cpu(DType::F64)).unwrap(), theta)
    }

    fn mlp() -> (Objective, Theta) {
        objective(&Architecture::Mlp { hidden: vec![4], activation: Activation::Tanh }, [1, 2, 3])
    }

    fn resnet() -> (Objective, Theta) {
        objective(&Architecture::PreactResNet18 { width: 2, final_norm: true }, [1, 8, 8])
    }

    fn assert_near(a: &Symmetric, b: &Symmetric) {
        let scale = b.values().iter().fold(0.0f64, |most, value| most.max(value.abs()));
        assert!(a.values().iter().zip(b.values()).all(|(a, b)| (a - b).abs() < 1e-12 * scale));
    }

    /// The mean of ggᵀ with these weights.
    fn outer(gradients: &[(f64, Vec<f64>)]) -> Symmetric {
        let at = |i: usize, j: usize| gradients.iter().map(|(weight, g)| weight * g[i] * g[j]).sum();
        Symmetric::from_fn(gradients[0].1.len(), at)
    }

    #[test]
    fn products_are_those_with_the_outer_products_of_sample_gradients() {
        let (objective, theta) = mlp();
        let all: Vec<u32> = (0..SAMPLES).collect();
        let gradients = sample_gradients(&objective, &theta, &all, &NoInterrupt).unwrap();
        let mean = flat_to_vec(&objective.gradient(&theta, &NoInterrupt).unwrap().1).unwrap();
        let each = 1.0 / f64::from(SAMPLES);
        let mut weighted: Vec<_> = gradients.iter().map(|g| (each, flat_to_vec(g).unwrap())).collect();
        let soft = NoiseCovariance::new(&objective, &theta, (Labels::Soft, false), &NoInterrupt).unwrap();
        assert_near(&dense(&soft).unwrap(), &outer(&weighted));
        weighted.push((-1.0, mean));
        let centred = NoiseCovariance::new(&objective, &theta, (Labels::Soft, true), &NoInterrupt).unwrap();
        assert_near(&dense(&centred).unwrap(), &outer(&weighted));
    }

    #[test]
    fn labels_that_are_drawn_are_met_by_their_mean() {
        // Every class of every sample, weighted by its share in the target.
        let (objective, theta) = mlp();
        let mut weighted = Vec::new();
        for index in 0..SAMPLES {
            for class in 0..3 {
                let own = f64::from(objective.labels()[index as usize] == class);
                let share = 0.1 / 3.0 + 0.9 * own;
                let drawn = BatchTargets::Drawn(std::slice::from_ref(&class));
                let (_, gradient) = objective.batch_gradient(&theta, &[index], drawn).unwrap();
                weighted.push((share / f64::from(SAMPLES), flat_to_vec(&gradient).unwrap()));
            }
        }
        let sampled = NoiseCovariance::new(&objective, &theta, (Labels::Sampled, false), &NoInterrupt).unwrap();
        let whole = dense(&sampled).unwrap();
        assert_near(&whole, &outer(&weighted));
        let n = theta.len();
        let v = objective.gradient(&theta, &NoInterrupt).unwrap().1;
        let values = flat_to_vec(&v).unwrap();
        let expected: f64 = (0..n * n).map(|at| values[at / n] * whole.values()[at] * values[at % n]).sum();
        let form = sampled.quadratic_forms((&[v]).into()).unwrap()[0];
        assert!((form - expected).abs() < 1e-12 * expected);
    }

    #[test]
    fn minibatches_of_one_give_the_covariance_of_samples() {
        let (objective, theta) = mlp();
        let batches: Vec<Vec<u32>> = (0..SAMPLES).map(|index| vec![index]).collect();
        let minibatch = MinibatchCovariance::new(&objective, &theta, &batches, |_| BatchTargets::Soft).unwrap();
        let centred = NoiseCovariance::new(&objective, &theta, (Labels::Soft, true), &NoInterrupt).unwrap();
        let centred = dense(&centred).unwrap();
        let count = f64::from(SAMPLES);
        let unbiased = Symmetric::from_fn(theta.len(), |i, j| count / (count - 1.0) * centred.at(i, j));
        assert_near(&dense(&minibatch).unwrap(), &unbiased);
        let hessian = At::hessian(&objective, &theta, &NoInterrupt);
        let h = dense(&hessian).unwrap();
        let expected: f64 = h.values().iter().zip(unbiased.values()).map(|(h, c)| h * c).sum();
        assert!((minibatch.trace_of_product(&hessian).unwrap() - expected).abs() < 1e-11 * expected.abs());
    }

    #[test]
    fn batch_norm_leaves_minibatches_only_and_says_so() {
        let (objective, theta) = resnet();
        let refused = NoiseCovariance::new(&objective, &theta, (Labels::Soft, true), &NoInterrupt);
        assert!(refused.err().unwrap().to_string().contains("take the gradients of minibatches"));
        assert!(sample_gradients(&objective, &theta, &[0], &NoInterrupt).is_err());
        let batches = [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]];
        let covariance = MinibatchCovariance::new(&objective, &theta, &batches, |_| BatchTargets::Soft).unwrap();
        let v = objective.gradient(&theta, &NoInterrupt).unwrap().1;
        let form = covariance.quadratic_forms(std::slice::from_ref(&v).into()).unwrap()[0];
        let product = reduce::dot(&v, &covariance.apply(&v).unwrap()).unwrap();
        assert!(form > 0.0 && (form - product).abs() < 1e-10 * form);
        let unequal = [vec![0, 1], vec![3, 4, 5]];
        assert!(MinibatchCovariance::new(&objective, &theta, &unequal, |_| BatchTargets::Soft).is_err());
        assert!(MinibatchCovariance::new(&objective, &theta, &batches[..1], |_| BatchTargets::Soft).is_err());
    }
}
