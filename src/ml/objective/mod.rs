//! The hinge of the science: a model, its loss and a fixed partition of data as one function L(θ), and its derivatives.
//!
//! L is the mean loss over the training set. The set is cut once into consecutive chunks (the last may be shorter); batch
//! norm, in training mode, sees one chunk at a time, and so L is a function of θ alone. Chunk results are summed in their
//! order: numbers in f64, gradients in the dtype of θ. Losses are excess losses, as [`Loss`] says. Every method polls for
//! an interrupt once a chunk.
//!
//! Reading order: this file (what can be asked), then `samples` (the partition), `passes` (forward along directions,
//! reverse), `curved` (products with matrices that the logits make).

mod curved;
pub mod footprint;
#[cfg(test)]
pub(in crate::ml) mod on_card;
mod passes;
mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};

use super::card::Numeric;
use super::data::Dataset;
use super::jet::{Jet, Order};
use super::loss::{Loss, Targets};
use super::models::{Model, Norm};
use super::ops::norm::Statistics;
use super::ops::softmax;
use super::params::{Directions, Theta};
use super::rng::Draws;
use super::tape::Var;
use super::{Error, Result};
pub(in crate::ml) use passes::{DIRECTIONS, poll};
use passes::{Total, flat};
use samples::{Samples, pooled};

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

    /// The type of activations and passing gradients: that of θ, but bf16 on a card that computes so.
    pub fn computed(&self) -> DType {
        match &self.device {
            Device::Card(card) if card.numeric() == Numeric::Bf16 && self.dtype == DType::F32 => DType::BF16,
            _ => self.dtype,
        }
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

/// What the loss of a batch is called where it is not finite.
pub(in crate::ml) const BATCH_LOSS: &str = "the loss of a batch";

/// A model, a loss and a fixed partition of data: L(θ).
pub struct Objective {
    model: Arc<dyn Model>,
    loss: Loss,
    samples: Samples,
    classes: usize,
    placement: Placement,
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
        Ok(Self { model, loss, samples, classes: data.classes, placement })
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
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

    /// For each of `indices` one class, drawn from the sample's smoothed target.
    ///
    /// # Panics
    /// If an index is beyond the training set.
    pub fn draw_labels(&self, indices: &[u32], draws: &mut Draws) -> Vec<u32> {
        let smoothing = self.loss.smoothing();
        let draw = |&index: &u32| draws.smoothed_label(self.samples.labels[index as usize], self.classes, smoothing);
        indices.iter().map(draw).collect()
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
        let mut sum = Total::of("the training loss");
        for range in self.chunks(stop) {
            sum.add(&self.mean(&self.chunk_loss(&params, range?)?)?)?;
            // A loss that nothing bounds is asked for once.
            if ceiling < f64::INFINITY && sum.finite()? > ceiling {
                return Ok(Bounded::Exceeded(sum.finite()?));
            }
        }
        Ok(Bounded::Within(sum.finite()?))
    }

    /// L(θ) and ∇L(θ), of shape `(N,)` and θ's dtype.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn gradient(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<(f64, Tensor)> {
        self.reverse(theta, None, "the training loss", stop, |params, range| self.chunk_loss(params, range))
    }

    /// The loss of one batch, the mean over `indices` into the training set, and its gradient, of shape `(N,)`. Batch norm
    /// sees the batch.
    ///
    /// # Errors
    /// Those of [`value`](Self::value); [`Error::Setting`] for an empty batch or an index beyond the training set.
    pub fn batch_gradient(&self, theta: &Theta, indices: &[u32], targets: BatchTargets<'_>) -> Result<(f64, Tensor)> {
        let (loss, gradient) = self.batch_pass(theta, indices, targets)?;
        Ok((Var::constant(loss).finite(BATCH_LOSS)?, gradient))
    }

    /// As [`batch_gradient`](Self::batch_gradient), with the loss as an f64 scalar that stays where it is and may be anything.
    ///
    /// # Errors
    /// Those of [`batch_gradient`](Self::batch_gradient) but for a loss that is not finite.
    pub fn batch_pass(&self, theta: &Theta, indices: &[u32], targets: BatchTargets<'_>) -> Result<(Tensor, Tensor)> {
        let beyond = indices.iter().find(|&&index| index as usize >= self.len());
        if indices.is_empty() || beyond.is_some() {
            let (batch, samples) = (indices.len(), self.len());
            return Err(Error::Setting(format!("a batch of {batch} from {samples} samples: index {beyond:?}")));
        }
        let numbers = Tensor::new(indices, &self.placement.device)?;
        let labels = match targets {
            BatchTargets::Soft => self.samples.classes.rows(&numbers)?,
            BatchTargets::Drawn(labels) => Tensor::new(labels, &self.placement.device)?,
        };
        let targets = match targets {
            BatchTargets::Soft => self.loss.targets(&labels),
            BatchTargets::Drawn(_) => Targets { labels: &labels, smoothing: 0.0 },
        };
        let images = Jet::constant(Var::constant(self.samples.images.rows(&numbers)?));
        let (tape, leaves, params) = self.leaves(theta, None)?;
        let logits = self.model.forward(&params, &images, &mut Norm::Batch)?;
        let loss = self.loss.excess(logits.value(), targets)?.scale(1.0 / indices.len() as f64)?;
        drop((logits, params));
        Ok((loss.value().clone(), flat(tape.backward(&loss, &leaves)?)?))
    }

    /// ∇L(θ)·v, exact, forward only. `v` has shape `(N,)` and θ's dtype.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn directional(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<f64> {
        let sums = self.along(theta, std::slice::from_ref(v).into(), Order::One, stop)?;
        Ok(sums[0])
    }

    /// vᵀHv for each direction: forward only, no graph, one value pass for several directions. The bytes of each do not depend on which
    /// others are asked with it.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn quadratic_forms<'a>(
        &'a self,
        theta: &Theta,
        directions: impl Into<Directions<'a>>,
        stop: &dyn Interrupt,
    ) -> Result<Vec<f64>> {
        self.along(theta, directions.into(), Order::Two, stop)
    }

    /// Hv, of shape `(N,)`: reverse mode over the first-order jet along `v`.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn hvp(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<Tensor> {
        self.reverse_along(theta, v, Order::One, stop)
    }

    /// ∇(vᵀHv), of shape `(N,)`: reverse mode over the second-order jet along `v`.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn grad_quadratic_form(&self, theta: &Theta, v: &Tensor, stop: &dyn Interrupt) -> Result<Tensor> {
        self.reverse_along(theta, v, Order::Two, stop)
    }

    /// Mean and biased variance of each batch-norm layer's input over the whole training set, pooled over the chunks,
    /// each of which was itself normalised by its own.
    ///
    /// # Errors
    /// Those of [`value`](Self::value).
    pub fn norm_statistics(&self, theta: &Theta, stop: &dyn Interrupt) -> Result<Vec<Statistics>> {
        let params = self.constants(theta)?;
        let mut chunks = Vec::new();
        for range in self.chunks(stop) {
            let mut moments = Vec::with_capacity(self.model.norms());
            self.model.forward(&params, &self.samples.images(range?)?, &mut Norm::Collect(&mut moments))?;
            chunks.push(moments);
        }
        (0..self.model.norms())
            .map(|layer| pooled(&chunks.iter().map(|chunk| &chunk[layer]).collect::<Vec<_>>()))
            .collect()
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
            let classes = samples.classes(range)?;
            loss += self.loss.excess(logits.value(), self.loss.targets(&classes))?.finite("the validation loss")?;
            correct += softmax::count_correct(logits.value().value(), &classes)?;
        }
        let count = data.len() as f64;
        Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count })
    }
}
