//! The covariance of a sample's gradient, C = E gₖgₖᵀ, or around its mean, C − ḡḡᵀ. A batch of S samples drawn
//! independently has 1/S of it.
//!
//! Where samples have gradients of their own, Cv = ∇Σₖ cₖℓₖ/M with cₖ = ∇ℓₖ·v from the forward pass, and vᵀCv is the mean of
//! cₖ², forward only. Both are products with `JᵀMJ`, M the mean of rrᵀ over labels, so that labels drawn from smoothed targets need no
//! draw: their mean is known. Batch norm ties the samples of a chunk together: there C comes of the gradients of minibatches.

use crate::ml::tensor::Tensor;

use super::operator::{SymmetricOperator, within};
use crate::ml::loss::{Labels, LogitMatrix};
use crate::ml::objective::{BatchTargets, Interrupt, Objective, Placement, poll};
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

/// The noise of minibatches of S samples, by pairs of batches drawn independently: d = (g − g′)√(S/2) of each pair has mean 0 and C for its
/// covariance, with batch norm or without, and no mean has to be known for it.
pub struct MinibatchNoise {
    deviations: Vec<Tensor>,
}

impl MinibatchNoise {
    /// From the gradients of these pairs of batches, all of one size; `targets` gives those of batch `member` (0 or 1) of pair `index`.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two pairs or sizes that differ; [`Error::Interrupted`]; those of [`Objective::batch_gradient`].
    pub fn new<'t>(
        objective: &Objective,
        theta: &Theta,
        pairs: &[[Vec<u32>; 2]],
        targets: impl Fn(usize, usize) -> BatchTargets<'t>,
        stop: &dyn Interrupt,
    ) -> Result<Self> {
        within("pairs of batches for a covariance", pairs.len(), (2, usize::MAX))?;
        let size = pairs[0][0].len();
        if pairs.iter().flatten().any(|batch| batch.len() != size) {
            return Err(Error::Setting("a covariance takes batches of one size".to_owned()));
        }
        let deviation = |(index, pair): (usize, &[Vec<u32>; 2])| {
            poll(stop)?;
            let gradient = |member: usize| {
                Ok::<_, Error>(objective.batch_gradient(theta, &pair[member], targets(index, member))?.1)
            };
            let apart = elementwise::add_scaled(&gradient(0)?, &gradient(1)?, -1.0)?;
            elementwise::scale(&apart, (0.5 * size as f64).sqrt())
        };
        Ok(Self { deviations: pairs.iter().enumerate().map(deviation).collect::<Result<_>>()? })
    }

    /// dᵀAd of each pair, whose mean is tr AC for another matrix A: forward only.
    ///
    /// # Errors
    /// Those of [`SymmetricOperator::quadratic_forms`].
    pub fn forms(&self, operator: &dyn SymmetricOperator) -> Result<Vec<f64>> {
        operator.quadratic_forms((&self.deviations).into())
    }

    /// (d·d′)² of each two pairs, row by row below the diagonal: (1, 0), (2, 0), (2, 1), … Their mean is tr C².
    ///
    /// # Errors
    /// candle's, passed on.
    pub fn squares(&self) -> Result<Vec<f64>> {
        let mut squares = Vec::new();
        for (row, d) in self.deviations.iter().enumerate() {
            for other in &self.deviations[..row] {
                squares.push(reduce::dot(d, other)?.powi(2));
            }
        }
        Ok(squares)
    }
}

#[cfg(test)]
mod tests {
    use crate::ml::tensor::{DType, Device};

    use super::super::dense::{Symmetric, dense};
    use super::super::operator::At;
    use super::super::trace::Estimate;
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
    fn pairs_of_batches_have_the_covariance_of_samples() {
        let (objective, theta) = mlp();
        let centred = NoiseCovariance::new(&objective, &theta, (Labels::Soft, true), &NoInterrupt).unwrap();
        let centred = dense(&centred).unwrap();
        let hessian = At::hessian(&objective, &theta, &NoInterrupt);
        let whole = dense(&hessian).unwrap();
        // All pairs of single samples, once each: their mean is the covariance with n − 1, whatever A is.
        let all = (0..SAMPLES).flat_map(|i| (0..i).map(move |j| [vec![i], vec![j]])).collect::<Vec<_>>();
        let of_pairs = |pairs: &[_]| {
            MinibatchNoise::new(&objective, &theta, pairs, |_, _| BatchTargets::Soft, &NoInterrupt).unwrap()
        };
        let forms = of_pairs(&all).forms(&hessian).unwrap();
        let unbiased = f64::from(SAMPLES) / (f64::from(SAMPLES) - 1.0);
        let product = |a: &Symmetric, b: &Symmetric| a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum::<f64>();
        let expected = unbiased * product(&whole, &centred);
        assert!((forms.iter().sum::<f64>() / forms.len() as f64 - expected).abs() < 1e-11 * expected.abs());
        // Batches of three, drawn with replacement: unbiased for tr C² and tr HC, by many repeats.
        let mut draws = Stream::new(4, "batches").at(0, 0);
        let mut batch = || (0..3).map(|_| draws.below(u64::from(SAMPLES)) as u32).collect::<Vec<u32>>();
        let (mut squares, mut products) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let pairs: Vec<[Vec<u32>; 2]> = (0..6).map(|_| [batch(), batch()]).collect();
            let noise = of_pairs(&pairs);
            let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
            squares.push(mean(noise.squares().unwrap()));
            products.push(mean(noise.forms(&hessian).unwrap()));
        }
        for (values, expected) in [(squares, product(&centred, &centred)), (products, product(&whole, &centred))] {
            let estimate = Estimate::of(&values).unwrap();
            assert!((estimate.mean - expected).abs() < 4.0 * estimate.stderr, "{estimate:?} {expected}");
            assert!(estimate.stderr < 0.1 * expected.abs(), "{estimate:?} {expected}");
        }
    }

    #[test]
    fn batch_norm_leaves_minibatches_only_and_says_so() {
        let (objective, theta) = resnet();
        let refused = NoiseCovariance::new(&objective, &theta, (Labels::Soft, true), &NoInterrupt);
        assert!(refused.err().unwrap().to_string().contains("take the gradients of minibatches"));
        assert!(sample_gradients(&objective, &theta, &[0], &NoInterrupt).is_err());
        let noise = |pairs: &[[Vec<u32>; 2]]| {
            MinibatchNoise::new(&objective, &theta, pairs, |_, _| BatchTargets::Soft, &NoInterrupt)
        };
        let pairs = [[vec![0, 1, 2], vec![3, 4, 5]], [vec![6, 7, 8], vec![9, 10, 11]]];
        let deviations = noise(&pairs).unwrap();
        let gradient = |batch: &[u32]| objective.batch_gradient(&theta, batch, BatchTargets::Soft).unwrap().1;
        let apart = |pair: &[Vec<u32>; 2]| {
            let [a, b] = [gradient(&pair[0]), gradient(&pair[1])].map(|g| flat_to_vec(&g).unwrap());
            a.iter().zip(&b).map(|(a, b)| (a - b) * 1.5f64.sqrt()).collect::<Vec<f64>>()
        };
        let (d, other) = (apart(&pairs[0]), apart(&pairs[1]));
        let square = d.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>().powi(2);
        let squares = deviations.squares().unwrap();
        assert!(squares.len() == 1 && (squares[0] - square).abs() < 1e-10 * square);
        assert!(noise(&[[vec![0, 1], vec![3, 4, 5]], [vec![0], vec![1]]]).is_err());
        assert!(noise(&pairs[..1]).is_err());
    }
}
