//! The trajectory: epochs of SGD from a state. Every draw is addressed by epoch and iteration, so from the state at an
//! epoch's start any iteration of it can be replayed, and stopping on the way changes no bit.

use crate::ml::tensor::{Device, Tensor};

use crate::ml::curvature::deflation::Subspace;
use crate::ml::curvature::operator::At;
use crate::ml::data::{Batches, Sampling, iterations_per_epoch};
use crate::ml::objective::{BATCH_LOSS, BatchTargets, Interrupt, Objective};
use crate::ml::optim::{Position, Schedule, Sgd};
use crate::ml::params::Theta;
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// How many samples an iteration sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// The whole training set, chunk by chunk: gradient descent, without noise.
    Full {
        /// Iterations in what is called an epoch: as many as another training has, to be compared with it.
        iterations: usize,
    },
    /// So many, drawn as [`Sampling`] says.
    Of(usize),
}

/// What a batch is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Labels {
    /// The loss's own targets. A network that fits them all has no gradient noise.
    #[default]
    Soft,
    /// At each visit one class drawn from the smoothed target: noise that stays at the minimum. The running loss is then
    /// −log p of the class drawn, whose mean is the excess loss plus the entropy of the target.
    Sampled,
}

/// Noise that is added to every gradient: σQz, z of independent standard normal numbers and Q an orthonormal basis of the eigenspace of the
/// Hessian's largest eigenvalues, found anew at the start of each epoch by Lanczos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Isotropic {
    /// σ, the standard deviation along each direction of the space.
    pub scale: f64,
    /// The dimension of the space.
    pub rank: usize,
}

/// Steps of Lanczos beyond twice the rank: the eigenspace is to be that of the largest eigenvalues, not of its outliers alone.
const EXTRA: usize = 20;

/// How to train. The base learning rate is times what `schedule` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The optimizer.
    pub sgd: Sgd,
    /// Base learning rate.
    pub lr: f64,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// How many samples an iteration sees.
    pub batch: Batch,
    /// How they are drawn.
    pub sampling: Sampling,
    /// What they are held against.
    pub labels: Labels,
    /// What is added to the gradients, if anything.
    pub isotropic: Option<Isotropic>,
    /// Seed of the streams `"shuffle"` (batches), `"labels"` and `"isotropic"`.
    pub seed: u64,
}

/// Where training stands.
#[derive(Clone, Debug)]
pub struct TrainingState {
    /// θ after all iterations so far.
    pub theta: Theta,
    /// The momentum buffer after them, `(N,)`; `None` before the first and without momentum.
    pub buffer: Option<Tensor>,
    /// Epochs completed.
    pub epoch: u32,
    /// Iterations completed in this epoch.
    pub iteration: usize,
    /// The losses of this epoch's batches.
    pub running: RunningLoss,
}

/// The losses that batches had when they were visited, each at the θ of its moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningLoss {
    /// Sum over batches of loss times samples.
    pub sum: f64,
    /// Samples visited.
    pub samples: u64,
}

impl RunningLoss {
    fn add(&mut self, loss: f64, samples: usize) {
        self.sum += loss * samples as f64;
        self.samples += samples as u64;
    }

    /// Mean over the samples visited; none before the first.
    pub fn mean(self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum / self.samples as f64)
    }
}

/// One step, `(N,)` each.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// θ before it.
    pub theta: &'a Tensor,
    /// The gradient of the batch at θ, without weight decay.
    pub gradient: &'a Tensor,
    /// The momentum buffer after it, where there is momentum.
    pub velocity: Option<&'a Tensor>,
}

impl TrainingState {
    /// The start of training.
    pub fn start(theta: Theta) -> Self {
        Self::at_epoch(theta, None, 0)
    }

    /// The state at the start of epoch `epoch`: from what was stored there, replay begins.
    pub fn at_epoch(theta: Theta, buffer: Option<Tensor>, epoch: u32) -> Self {
        Self { theta, buffer, epoch, iteration: 0, running: RunningLoss::default() }
    }
}

impl Training {
    /// Iterations in one epoch over `samples` samples: the last batch may be smaller.
    pub fn iterations_per_epoch(&self, samples: usize) -> usize {
        match self.batch {
            Batch::Full { iterations } => iterations,
            Batch::Of(batch) => iterations_per_epoch(samples, batch),
        }
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`Error::Setting`] for those of the optimizer, a learning rate out of range, an empty batch, a scale of noise out of range, or drawn labels with
    /// full batches (which would be noise where none is wanted).
    pub fn validate(&self) -> Result<()> {
        self.sgd.validate()?;
        let refuse = |problem: &str| Err(Error::Setting(problem.to_owned()));
        match (self.batch, self.labels) {
            (Batch::Of(0), _) => refuse("a batch holds at least one sample"),
            (Batch::Full { .. }, Labels::Sampled) => refuse("`labels` are sampled for batches, not for the full batch"),
            _ if self.isotropic.is_some_and(|noise| !(noise.scale >= 0.0 && noise.scale.is_finite())) => {
                refuse("the scale of isotropic noise is expected to be a number that is not negative")
            }
            _ if !(self.lr >= 0.0 && self.lr.is_finite()) => {
                refuse(&format!("`lr` is {}, expected a number that is not negative", self.lr))
            }
            _ => Ok(()),
        }
    }

    /// One epoch from its start or from wherever `state` stands in it. The state returned is at the next epoch's start; the
    /// running loss is that of the epoch.
    ///
    /// # Errors
    /// As [`run_iterations`](Self::run_iterations).
    pub fn run_epoch(
        &self,
        objective: &Objective,
        state: TrainingState,
        stop: &(dyn Interrupt + Sync),
    ) -> Result<(TrainingState, RunningLoss)> {
        let last = self.iterations_per_epoch(objective.len());
        let end = self.run_iterations(objective, state, last, stop)?;
        Ok((TrainingState::at_epoch(end.theta, end.buffer, end.epoch + 1), end.running))
    }

    /// The iterations of `state`'s epoch from where it stands until `until` of them are completed.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming epoch and iteration, [`Error::Interrupted`] (polled at every iteration),
    /// [`Error::Setting`] as [`validate`](Self::validate) or for an `until` behind the state or beyond the epoch.
    pub fn run_iterations(
        &self,
        objective: &Objective,
        state: TrainingState,
        until: usize,
        stop: &(dyn Interrupt + Sync),
    ) -> Result<TrainingState> {
        self.run_observed(objective, state, until, stop, &mut |_| Ok(()))
    }

    /// As [`run_iterations`](Self::run_iterations), showing each step to `observe`.
    ///
    /// # Errors
    /// Also those of `observe`.
    pub fn run_observed(
        &self,
        objective: &Objective,
        state: TrainingState,
        until: usize,
        stop: &(dyn Interrupt + Sync),
        observe: &mut dyn FnMut(&Step<'_>) -> Result<()>,
    ) -> Result<TrainingState> {
        self.validate()?;
        let iterations_per_epoch = self.iterations_per_epoch(objective.len());
        if until < state.iteration || until > iterations_per_epoch {
            let from = state.iteration;
            return Err(Error::Setting(format!("iterations {from} to {until} of an epoch of {iterations_per_epoch}")));
        }
        let mut state = state;
        let first = state.iteration;
        let (mut pass, mut pending) = (Pass::new(self, objective, state.epoch), Pending::default());
        if let Some(noise) = self.isotropic {
            if first > 0 {
                let problem =
                    "isotropic noise lies in an eigenspace at the start of an epoch, from which the epoch is to be run";
                return Err(Error::Setting(problem.to_owned()));
            }
            let stream = Stream::new(self.seed, "eigenspace");
            let hessian = At::hessian(objective, &state.theta, stop);
            pass.space = Some((noise.scale, Subspace::top(&hessian, &stream, noise.rank, 2 * noise.rank + EXTRA)?));
        }
        while state.iteration < until {
            if stop.requested() {
                return Err(Error::Interrupted);
            }
            let position = Position { epoch: state.epoch, iteration: state.iteration, iterations_per_epoch };
            let visit =
                pass.visit(&state.theta, state.iteration, stop).map_err(|error| at_position(error, position))?;
            match visit.loss {
                Tensor::Host(_) => state.running.add(finite(visit.loss.to_scalar()?, position)?, visit.samples),
                Tensor::Card(_) => pending.0.push((visit.loss, visit.samples, position)),
            }
            let lr = self.lr * self.schedule.factor(position);
            let (moved, buffer) = self.sgd.step(lr, state.theta.flat(), &visit.gradient, state.buffer.as_ref())?;
            observe(&Step { theta: state.theta.flat(), gradient: &visit.gradient, velocity: buffer.as_ref() })?;
            state.theta = Theta::new(state.theta.layout().clone(), moved)?;
            state.buffer = buffer;
            state.iteration += 1;
        }
        pending.add_to(&mut state.running)?;
        // A step's own loss was finite; what the last step made, no loss has seen.
        if until > first && !state.theta.norm()?.is_finite() {
            let (epoch, iterations) = (state.epoch, state.iteration);
            return Err(Error::NotFinite { what: format!("θ after {iterations} iterations of epoch {epoch}") });
        }
        Ok(state)
    }
}

/// One epoch's losses and gradients.
struct Pass<'a> {
    training: &'a Training,
    objective: &'a Objective,
    labels: Stream,
    epoch: u32,
    batches: Option<Batches>,
    /// σ of the noise to be added, and where it lies.
    space: Option<(f64, Subspace)>,
}

struct Visit {
    /// An f64 scalar.
    loss: Tensor,
    gradient: Tensor,
    samples: usize,
}

/// The losses on a card of batches, in order. They are asked for together, when the epoch is through: no iteration waits for its loss. A
/// loss that is not finite is then found some iterations later, and said to be where it was.
#[derive(Default)]
struct Pending(Vec<(Tensor, usize, Position)>);

impl Pending {
    fn add_to(self, running: &mut RunningLoss) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let losses: Vec<Tensor> = self.0.iter().map(|(loss, ..)| loss.clone()).collect();
        let losses: Vec<f64> = Tensor::cat(&losses, 0)?.to_vec1()?;
        for (loss, (_, samples, position)) in losses.into_iter().zip(self.0) {
            running.add(finite(loss, position)?, samples);
        }
        Ok(())
    }
}

fn finite(loss: f64, position: Position) -> Result<f64> {
    if loss.is_finite() {
        return Ok(loss);
    }
    Err(at_position(Error::NotFinite { what: BATCH_LOSS.to_owned() }, position))
}

impl<'a> Pass<'a> {
    fn new(training: &'a Training, objective: &'a Objective, epoch: u32) -> Self {
        let stream = |purpose| Stream::new(training.seed, purpose);
        let batches = match training.batch {
            Batch::Full { .. } => None,
            Batch::Of(batch) => {
                Some(Batches::new(&stream("shuffle"), epoch, objective.len(), batch, training.sampling))
            }
        };
        Self { training, objective, labels: stream("labels"), epoch, batches, space: None }
    }

    fn visit(&self, theta: &Theta, iteration: usize, stop: &dyn Interrupt) -> Result<Visit> {
        let visit = self.visit_batch(theta, iteration, stop)?;
        let Some((scale, space)) = &self.space else { return Ok(visit) };
        let mut draws = Stream::new(self.training.seed, "isotropic").at(self.epoch, iteration as u32);
        let noise: Vec<f64> = (0..space.rank()).map(|_| scale * draws.normal()).collect();
        Ok(Visit { gradient: space.displaced(&visit.gradient, &noise)?, ..visit })
    }

    fn visit_batch(&self, theta: &Theta, iteration: usize, stop: &dyn Interrupt) -> Result<Visit> {
        let Some(batches) = &self.batches else {
            let (loss, gradient) = self.objective.gradient(theta, stop)?;
            let loss = Tensor::new(loss, &Device::Cpu)?;
            return Ok(Visit { loss, gradient, samples: self.objective.len() });
        };
        let indices = batches.at(iteration);
        let drawn;
        let targets = match self.training.labels {
            Labels::Soft => BatchTargets::Soft,
            Labels::Sampled => {
                drawn = self.objective.draw_labels(&indices, &mut self.labels.at(self.epoch, iteration as u32));
                BatchTargets::Drawn(&drawn)
            }
        };
        let (loss, gradient) = self.objective.batch_pass(theta, &indices, targets)?;
        Ok(Visit { loss, gradient, samples: indices.len() })
    }
}

fn at_position(error: Error, Position { epoch, iteration, .. }: Position) -> Error {
    match error {
        Error::NotFinite { what } => {
            Error::NotFinite { what: format!("{what} in epoch {epoch}, iteration {iteration},") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
