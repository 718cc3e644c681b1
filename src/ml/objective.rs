//! The hinge of the science: a model, its loss and a fixed partition of data as one function L(θ), and its derivatives.
//!
//! L is the mean loss over the training set. The set is cut once into consecutive chunks (the last may be shorter); batch
//! norm, in training mode, sees one chunk at a time, and so L is a function of θ alone. Chunk results are summed in their
//! order: numbers in f64, gradients in the dtype of θ. Losses are excess losses, as [`Loss`] says. Every method polls for
//! an interrupt once a chunk.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::data::Dataset;
use super::jet::{Jet, Order};
use super::loss::{Loss, Targets};
use super::models::{Model, Norm};
use super::ops::norm::Moments;
use super::ops::{elementwise, softmax};
use super::params::Theta;
use super::tape::{Tape, Var};
use super::{Error, Result};

/// Directions that share one value pass; their number bounds the memory of a pass and changes no result.
const DIRECTIONS: usize = 8;

/// Whether the caller asked to stop. Any `Fn() -> bool` is one; it is polled once a chunk.
pub trait Interrupt {
    /// Whether to stop now.
    fn requested(&self) -> bool;
}

impl<F: Fn() -> bool> Interrupt for F {
    fn requested(&self) -> bool {
        self()
    }
}

/// The caller who never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterrupt;

impl Interrupt for NoInterrupt {
    fn requested(&self) -> bool {
        false
    }
}

/// In which dtype and on which device to compute.
#[derive(Clone, Debug)]
pub struct Placement {
    /// f32 or f64.
    pub dtype: DType,
    /// Where the tensors are.
    pub device: Device,
}

impl Placement {
    /// On the CPU.
    pub fn cpu(dtype: DType) -> Self {
        Self { dtype, device: Device::Cpu }
    }
}

/// A loss that was followed only as long as it might stay within a ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounded {
    /// The whole loss, at or below the ceiling.
    Within(f64),
    /// A partial sum that already exceeds the ceiling; the loss is at least this.
    Exceeded(f64),
}

/// What the samples of a batch should be.
#[derive(Clone, Copy, Debug)]
pub enum BatchTargets<'a> {
    /// The loss's own targets: smoothed labels.
    Soft,
    /// One class a sample of the batch, taken as it is: −log p of the class, or the squared distance from it.
    Drawn(&'a [u32]),
}

/// How a model does on data that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean excess loss.
    pub loss: f64,
    /// The share of samples whose largest logit is at their label.
    pub accuracy: f64,
}

/// A model, a loss and a fixed partition of data: L(θ).
pub struct Objective {
    model: Arc<dyn Model>,
    loss: Loss,
    samples: Samples,
    placement: Placement,
}

/// Images on the device, their labels, and how they are cut.
struct Samples {
    images: Tensor,
    labels: Vec<u32>,
    chunk: usize,
}

impl Samples {
    fn new(data: &Dataset, chunk: usize, placement: &Placement) -> Result<Self> {
        if chunk == 0 || data.is_empty() {
            return Err(Error::Setting(format!("{} samples cannot be cut into chunks of {chunk}", data.len())));
        }
        let [channels, height, width] = data.shape;
        let dims = (data.len(), channels, height, width);
        let images = Tensor::from_slice(&data.inputs, dims, &Device::Cpu)?;
        let images = images.to_dtype(placement.dtype)?.to_device(&placement.device)?;
        Ok(Self { images, labels: data.labels.clone(), chunk })
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        (0..self.labels.len()).step_by(self.chunk).map(|from| from..self.labels.len().min(from + self.chunk))
    }

    fn images(&self, range: Range<usize>) -> Result<Jet> {
        Ok(Jet::constant(Var::constant(self.images.narrow(0, range.start, range.len())?)))
    }
}

impl Objective {
    /// The mean loss of `model` over `data`, cut into chunks of `chunk` samples.
    ///
    /// # Errors
    /// [`Error::Setting`] for no samples, chunks of none, or a dtype other than f32 and f64; [`Error::Shape`] if the data
    /// set's parts do not fit together.
    pub fn new(model: Arc<dyn Model>, loss: Loss, data: &Dataset, chunk: usize, placement: Placement) -> Result<Self> {
        if !matches!(placement.dtype, DType::F32 | DType::F64) {
            let dtype = placement.dtype.as_str();
            return Err(Error::Setting(format!("models are computed in `f32` or `f64`, not `{dtype}`")));
        }
        let samples = Samples::new(data, chunk, &placement)?;
        Ok(Self { model, loss, samples, placement })
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// The loss.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// In which dtype and on which device it computes; θ and directions must be there too.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Number of training samples.
    pub fn len(&self) -> usize {
        self.samples.labels.len()
    }

    /// Whether there is no sample; never so.
    pub fn is_empty(&self) -> bool {
        self.samples.labels.is_empty()
    }

    /// The training labels, in the data set's order.
    pub fn labels(&self) -> &[u32] {
        &self.samples.labels
    }

    /// L(θ).
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::NotFinite`]; [`Error::Shape`] for a θ of another layout or dtype.
    pub fn value(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<f64> {
        match self.value_until(theta, f64::INFINITY, stop)? {
            Bounded::Within(loss) | Bounded::Exceeded(loss) => Ok(loss),
        }
    }

    /// L(θ), or the first partial sum over chunks that exceeds `ceiling`: losses are not negative, so the sum only grows.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn value_until(&self, theta: &Theta, ceiling: f64, stop: &dyn Interrupt) -> Result<Bounded> {
        let params = self.constants(theta)?;
        let mut sum = 0.0;
        for range in self.chunks(stop) {
            let range = range?;
            let logits = self.model.forward(&params, &self.samples.images(range.clone())?, &mut Norm::Batch)?;
            sum += self.mean(&self.loss.excess(logits.value(), self.targets(range))?)?.finite("the training loss")?;
            if sum > ceiling {
                return Ok(Bounded::Exceeded(sum));
            }
        }
        Ok(Bounded::Within(sum))
    }

    /// L(θ) and ∇L(θ), of shape `(N,)` and θ's dtype.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn gradient(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<(f64, Tensor)> {
        self.reverse(theta, "the training loss", stop, |params, range| {
            let images = self.samples.images(range.clone())?;
            let logits = self.model.forward(params, &images, &mut Norm::Batch)?;
            self.loss.excess(logits.value(), self.targets(range))
        })
    }

    /// The loss of one batch, the mean over `indices` into the training set, and its gradient, of shape `(N,)`. Batch norm
    /// sees the batch.
    ///
    /// # Errors
    /// Those of [`value`](Self::value); [`Error::Setting`] for an empty batch or an index beyond the training set.
    pub fn batch_gradient(&self, theta: &Theta, indices: &[u32], targets: BatchTargets<'_>) -> Result<(f64, Tensor)> {
        let beyond = indices.iter().find(|&&index| index as usize >= self.len());
        if indices.is_empty() || beyond.is_some() {
            let (batch, samples) = (indices.len(), self.len());
            return Err(Error::Setting(format!("a batch of {batch} from {samples} samples: index {beyond:?}")));
        }
        let labels: Vec<u32> = indices.iter().map(|&index| self.samples.labels[index as usize]).collect();
        let targets = match targets {
            BatchTargets::Soft => self.loss.targets(&labels),
            BatchTargets::Drawn(labels) => Targets { labels, smoothing: 0.0 },
        };
        let indices = Tensor::new(indices, &self.placement.device)?;
        let images = Jet::constant(Var::constant(self.samples.images.index_select(&indices, 0)?));
        let (tape, leaves, params) = self.leaves(theta, None)?;
        let logits = self.model.forward(&params, &images, &mut Norm::Batch)?;
        let loss = self.loss.excess(logits.value(), targets)?.scale(1.0 / labels.len() as f64)?;
        drop((logits, params));
        let value = loss.finite("the loss of a batch")?;
        Ok((value, flat(tape.backward(&loss, &leaves)?)?))
    }

    /// ∇L(θ)·v, exact, forward only. `v` has shape `(N,)` and θ's dtype.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn directional(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<f64> {
        let sums = self.along(theta, std::slice::from_ref(v), Order::One, stop)?;
        Ok(sums[0])
    }

    /// vᵀHv for each direction `v`, of shape `(N,)` and θ's dtype: forward only, no graph, one value pass for several
    /// directions. The bytes of each do not depend on which others are asked with it.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn quadratic_forms(&self, theta: &Theta, directions: &[Tensor], stop: &dyn Interrupt) -> Result<Vec<f64>> {
        self.along(theta, directions, Order::Two, stop)
    }

    /// Hv, of shape `(N,)`: reverse mode over the first-order jet along `v`.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn hvp(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<Tensor> {
        Ok(self.reverse_along(theta, v, Order::One, stop)?.1)
    }

    /// ∇(vᵀHv), of shape `(N,)`: reverse mode over the second-order jet along `v`.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn grad_quadratic_form(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<Tensor> {
        Ok(self.reverse_along(theta, v, Order::Two, stop)?.1)
    }

    /// Mean and biased variance of each batch-norm layer's input over the whole training set, pooled over the chunks,
    /// each of which was itself normalised by its own.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn norm_statistics(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<Vec<Moments>> {
        let params = self.constants(theta)?;
        let mut chunks = Vec::new();
        for range in self.chunks(stop) {
            let mut moments = Vec::with_capacity(self.model.norms());
            self.model.forward(&params, &self.samples.images(range?)?, &mut Norm::Collect(&mut moments))?;
            chunks.push(moments);
        }
        Ok((0..self.model.norms()).map(|layer| pooled(chunks.iter().map(|chunk| &chunk[layer]))).collect())
    }

    /// Loss and accuracy on other data, batch norm by the training set's statistics.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn evaluate(&self, theta: &Theta, data: &Dataset, stop: &dyn Interrupt) -> Result<Evaluation> {
        let statistics = if self.model.norms() > 0 { self.norm_statistics(theta, stop)? } else { Vec::new() };
        let samples = Samples::new(data, self.samples.chunk, &self.placement)?;
        let params = self.constants(theta)?;
        let (mut loss, mut correct) = (0.0, 0);
        for range in samples.chunks() {
            poll(stop)?;
            let mut norm = Norm::Fixed(statistics.iter());
            let logits = self.model.forward(&params, &samples.images(range.clone())?, &mut norm)?;
            let labels = &samples.labels[range];
            loss += self.loss.excess(logits.value(), self.loss.targets(labels))?.finite("the validation loss")?;
            correct += softmax::count_correct(logits.value().value(), labels)?;
        }
        let count = data.len() as f64;
        Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count })
    }

    /// The derivative of this order along each direction, summed over chunks.
    fn along(&self, theta: &Theta, directions: &[Tensor], order: Order, stop: &dyn Interrupt) -> Result<Vec<f64>> {
        let mut all = Vec::with_capacity(directions.len());
        for group in directions.chunks(DIRECTIONS) {
            let values = self.parts(theta)?.into_iter().map(Var::constant).collect();
            let params = self.lines(theta, values, group, order)?;
            let mut sums = vec![0.0; group.len()];
            for range in self.chunks(stop) {
                let derivatives = self.derivatives(&params, range?, order)?;
                for (sum, derivative) in sums.iter_mut().zip(derivatives) {
                    *sum += self.mean(&derivative)?.finite(name(order))?;
                }
            }
            all.extend(sums);
        }
        Ok(all)
    }

    /// The derivative of this order along `v`, and its gradient.
    fn reverse_along(&self, theta: &Theta, v: &Tensor, order: Order, stop: &dyn Interrupt) -> Result<(f64, Tensor)> {
        let (mut sum, mut total) = (0.0, None);
        for range in self.chunks(stop) {
            let (tape, leaves, params) = self.leaves(theta, Some((v, order)))?;
            let derivatives = self.derivatives(&params, range?, order)?;
            drop(params);
            sum += self.backward(&tape, &derivatives[0], &leaves, name(order), &mut total)?;
        }
        Ok((sum, total.ok_or_else(no_chunks)?))
    }

    /// A scalar of each chunk, summed and meant over the training set, and its gradient.
    fn reverse(
        &self,
        theta: &Theta,
        what: &str,
        stop: &dyn Interrupt,
        scalar: impl Fn(&[Jet], Range<usize>) -> Result<Var>,
    ) -> Result<(f64, Tensor)> {
        let (mut sum, mut total) = (0.0, None);
        for range in self.chunks(stop) {
            let (tape, leaves, params) = self.leaves(theta, None)?;
            let chunk = scalar(&params, range?)?;
            drop(params);
            sum += self.backward(&tape, &chunk, &leaves, what, &mut total)?;
        }
        Ok((sum, total.ok_or_else(no_chunks)?))
    }

    /// Add a chunk's gradient to `total`; the chunk's share of the mean.
    fn backward(
        &self,
        tape: &Tape,
        chunk: &Var,
        leaves: &[Var],
        what: &str,
        total: &mut Option<Tensor>,
    ) -> Result<f64> {
        let share = self.mean(chunk)?;
        let value = share.finite(what)?;
        let gradient = flat(tape.backward(&share, leaves)?)?;
        match total {
            Some(total) => elementwise::accumulate(total, &gradient)?,
            None => *total = Some(gradient),
        }
        Ok(value)
    }

    /// The derivative of this order of a chunk's summed loss along each direction of the parameters.
    fn derivatives(&self, params: &[Jet], range: Range<usize>, order: Order) -> Result<Vec<Var>> {
        let logits = self.model.forward(params, &self.samples.images(range.clone())?, &mut Norm::Batch)?;
        match order {
            Order::Two => self.loss.second(&logits, self.targets(range)),
            Order::Zero | Order::One => self.loss.first(&logits, self.targets(range)),
        }
    }

    fn chunks(&self, stop: &dyn Interrupt) -> impl Iterator<Item = Result<Range<usize>>> {
        self.samples.chunks().map(move |range| poll(stop).map(|()| range))
    }

    fn targets(&self, range: Range<usize>) -> Targets<'_> {
        self.loss.targets(&self.samples.labels[range])
    }

    /// A sum over samples as its share of the mean over the training set.
    fn mean(&self, sum: &Var) -> Result<Var> {
        sum.scale(1.0 / self.len() as f64)
    }

    /// The parts of θ, which must be this objective's.
    fn parts(&self, theta: &Theta) -> Result<Vec<Tensor>> {
        let layout = self.model.layout();
        let same = Arc::ptr_eq(theta.layout(), layout) || theta.layout() == layout;
        if !same || theta.dtype() != self.placement.dtype {
            return Err(Error::Shape {
                operation: "objective",
                expected: format!("the model's {} parameters in {:?}", layout.len(), self.placement.dtype),
                found: format!("{} in {:?}", theta.len(), theta.dtype()),
            });
        }
        (0..layout.parts().len()).map(|index| theta.view(index)).collect()
    }

    fn constants(&self, theta: &Theta) -> Result<Vec<Jet>> {
        Ok(self.parts(theta)?.into_iter().map(|part| Jet::constant(Var::constant(part))).collect())
    }

    /// The parts as leaves of a new tape, and as jets along `v` if there is one.
    fn leaves(&self, theta: &Theta, along: Option<(&Tensor, Order)>) -> Result<(Tape, Vec<Var>, Vec<Jet>)> {
        let tape = Tape::new();
        let leaves: Vec<Var> = self.parts(theta)?.into_iter().map(|part| tape.leaf(part)).collect();
        let params = match along {
            Some((v, order)) => self.lines(theta, leaves.clone(), std::slice::from_ref(v), order)?,
            None => leaves.iter().cloned().map(Jet::constant).collect(),
        };
        Ok((tape, leaves, params))
    }

    /// The jets `value + t·v` of each part.
    fn lines(&self, theta: &Theta, values: Vec<Var>, directions: &[Tensor], order: Order) -> Result<Vec<Jet>> {
        let layout = self.model.layout();
        for v in directions {
            layout.check(v)?;
            if v.dtype() != theta.dtype() {
                return Err(Error::Shape {
                    operation: "objective",
                    expected: format!("a direction in {:?}", theta.dtype()),
                    found: format!("{:?}", v.dtype()),
                });
            }
        }
        let line = |(index, value)| {
            let parts = directions.iter().map(|v| Ok(Var::constant(layout.view(v, index)?)));
            Ok(Jet::line(value, parts.collect::<Result<Vec<_>>>()?, order))
        };
        values.into_iter().enumerate().map(line).collect()
    }
}

fn poll(stop: &dyn Interrupt) -> Result<()> {
    if stop.requested() { Err(Error::Interrupted) } else { Ok(()) }
}

fn name(order: Order) -> &'static str {
    match order {
        Order::Two => "the quadratic form",
        Order::Zero | Order::One => "the directional derivative",
    }
}

fn no_chunks() -> Error {
    Error::Setting("an objective without chunks".to_owned())
}

/// Gradients of the parts, one after the other.
fn flat(parts: Vec<Tensor>) -> Result<Tensor> {
    let parts = parts.into_iter().map(|part| part.flatten_all()).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// The moments of several batches together: means by their sizes, E[x²] − E[x]² through the batches' own variances.
fn pooled<'a>(batches: impl Iterator<Item = &'a Moments> + Clone) -> Moments {
    let count: usize = batches.clone().map(|batch| batch.count).sum();
    let weighted = |value: &dyn Fn(&Moments) -> f64| {
        batches.clone().map(|batch| value(batch) * batch.count as f64).sum::<f64>() / count as f64
    };
    let channels = batches.clone().next().map_or(0, |batch| batch.mean.len());
    let mean: Vec<f64> = (0..channels).map(|c| weighted(&|batch| batch.mean[c])).collect();
    let variance =
        (0..channels).map(|c| weighted(&|batch| batch.variance[c] + (batch.mean[c] - mean[c]).powi(2))).collect();
    Moments { mean, variance, count }
}
