//! The trajectory: epochs of SGD from a state. Every draw is addressed by epoch and iteration, so from the state at an
//! epoch's start any iteration of it can be replayed, and stopping on the way changes no bit.

use candle_core::Tensor;

use crate::ml::data::{Batches, Sampling, iterations_per_epoch};
use crate::ml::objective::{BatchTargets, Interrupt, Objective};
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
    /// Number of classes, among which labels are drawn.
    pub classes: usize,
    /// Seed of the streams `"shuffle"` (batches) and `"labels"`.
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
    /// Mean over the samples visited; none before the first.
    pub fn mean(self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum / self.samples as f64)
    }
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
    /// [`Error::Setting`] for those of the optimizer, a learning rate out of range, an empty batch, no class, or drawn labels with full batches (which
    /// would be noise where none is wanted).
    pub fn validate(&self) -> Result<()> {
        self.sgd.validate()?;
        let refuse = |problem: &str| Err(Error::Setting(problem.to_owned()));
        match (self.batch, self.labels) {
            (Batch::Of(0), _) => refuse("a batch holds at least one sample"),
            (Batch::Full { .. }, Labels::Sampled) => refuse("`labels` are sampled for batches, not for the full batch"),
            _ if !(self.lr >= 0.0 && self.lr.is_finite()) => {
                refuse(&format!("`lr` is {}, expected a number that is not negative", self.lr))
            }
            _ if self.classes == 0 => refuse("labels are drawn from at least one class"),
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
        stop: &dyn Interrupt,
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
        stop: &dyn Interrupt,
    ) -> Result<TrainingState> {
        self.validate()?;
        let iterations_per_epoch = self.iterations_per_epoch(objective.len());
        if until < state.iteration || until > iterations_per_epoch {
            let from = state.iteration;
            return Err(Error::Setting(format!("iterations {from} to {until} of an epoch of {iterations_per_epoch}")));
        }
        let mut state = state;
        let first = state.iteration;
        let pass = Pass::new(self, objective, state.epoch);
        while state.iteration < until {
            if stop.requested() {
                return Err(Error::Interrupted);
            }
            let position = Position { epoch: state.epoch, iteration: state.iteration, iterations_per_epoch };
            let visit =
                pass.visit(&state.theta, state.iteration, stop).map_err(|error| at_position(error, position))?;
            let lr = self.lr * self.schedule.factor(position);
            let (moved, buffer) = self.sgd.step(lr, state.theta.flat(), &visit.gradient, state.buffer.as_ref())?;
            state.theta = Theta::new(state.theta.layout().clone(), moved)?;
            state.buffer = buffer;
            state.iteration += 1;
            state.running.sum += visit.loss * visit.samples as f64;
            state.running.samples += visit.samples as u64;
        }
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
}

struct Visit {
    loss: f64,
    gradient: Tensor,
    samples: usize,
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
        Self { training, objective, labels: stream("labels"), epoch, batches }
    }

    fn visit(&self, theta: &Theta, iteration: usize, stop: &dyn Interrupt) -> Result<Visit> {
        let Some(batches) = &self.batches else {
            let (loss, gradient) = self.objective.gradient(theta, stop)?;
            return Ok(Visit { loss, gradient, samples: self.objective.len() });
        };
        let indices = batches.at(iteration);
        let drawn;
        let targets = match self.training.labels {
            Labels::Soft => BatchTargets::Soft,
            Labels::Sampled => {
                drawn = self.draw_labels(&indices, iteration);
                BatchTargets::Drawn(&drawn)
            }
        };
        let (loss, gradient) = self.objective.batch_gradient(theta, &indices, targets)?;
        Ok(Visit { loss, gradient, samples: indices.len() })
    }

    fn draw_labels(&self, indices: &[u32], iteration: usize) -> Vec<u32> {
        let labels = self.objective.labels();
        let smoothing = self.objective.loss().targets(&[]).smoothing;
        let mut draws = self.labels.at(self.epoch, iteration as u32);
        let draw = |&index: &u32| draws.smoothed_label(labels[index as usize], self.training.classes, smoothing);
        indices.iter().map(draw).collect()
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
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ml::data::{Normalise, Options, Source, load};
    use crate::ml::landscape::descent::{Descent, DescentState};
    use crate::ml::loss::Loss;
    use crate::ml::models::{Activation, Architecture};
    use crate::ml::objective::{NoInterrupt, Placement};

    /// A small network over 70 digits of 4×4 in f64, and its start.
    fn objective() -> (Objective, Theta) {
        let options =
            Options { subset: Some(70), resize: Some([4, 4]), normalise: Normalise::Standard, ..Options::default() };
        let data = load(&Source::Digits, &[], &options).unwrap().train;
        let model = Architecture::Mlp { hidden: vec![6], activation: Activation::Tanh }.build(data.shape, 10).unwrap();
        let start = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        (Objective::new(model, loss, &data, 32, Placement::cpu(DType::F64)).unwrap(), start)
    }

    fn training() -> Training {
        Training {
            sgd: Sgd { momentum: 0.9, ..Sgd::default() },
            lr: 0.1,
            schedule: Schedule::Step { every: 2, factor: 0.5 },
            batch: Batch::Of(16),
            sampling: Sampling::Reshuffled,
            labels: Labels::Sampled,
            classes: 10,
            seed: 0,
        }
    }

    fn bits(theta: &Theta) -> Vec<u64> {
        theta.to_vec_f64().unwrap().into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn stopping_at_any_iteration_changes_no_bit() {
        let (objective, start) = objective();
        for (sampling, labels) in [(Sampling::Reshuffled, Labels::Sampled), (Sampling::Iid, Labels::Soft)] {
            let training = Training { sampling, labels, ..training() };
            let first = training.run_epoch(&objective, TrainingState::start(start.clone()), &NoInterrupt).unwrap().0;
            let (whole, loss) = training.run_epoch(&objective, first.clone(), &NoInterrupt).unwrap();
            let mut state = first;
            for until in [2, 3, 3, 5] {
                state = training.run_iterations(&objective, state, until, &NoInterrupt).unwrap();
                assert_eq!((state.epoch, state.iteration), (1, until));
            }
            assert_eq!(bits(&state.theta), bits(&whole.theta));
            assert_eq!(state.running, loss);
            let buffer = |state: &TrainingState| state.buffer.as_ref().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(buffer(&state), buffer(&whole));
            assert_eq!((whole.epoch, whole.iteration, whole.running.mean()), (2, 0, None));
        }
    }

    #[test]
    fn an_epoch_by_hand_is_the_epoch() {
        // Plain SGD over soft targets, one batch after the other, in the arithmetic of the test.
        let (objective, start) = objective();
        let training =
            Training { sgd: Sgd::default(), schedule: Schedule::Constant, labels: Labels::Soft, ..training() };
        let (end, loss) = training.run_epoch(&objective, TrainingState::start(start.clone()), &NoInterrupt).unwrap();
        let mut order: Vec<u32> = (0..70).collect();
        Stream::new(0, "shuffle").at(0, 0).shuffle(&mut order);
        let (mut theta, mut sum) = (start, 0.0);
        for batch in order.chunks(16) {
            let (loss, gradient) = objective.batch_gradient(&theta, batch, BatchTargets::Soft).unwrap();
            sum += loss * batch.len() as f64;
            let gradient = gradient.to_vec1::<f64>().unwrap();
            let moved: Vec<f64> = theta.to_vec_f64().unwrap().iter().zip(gradient).map(|(x, g)| x - 0.1 * g).collect();
            theta = Theta::from_values(theta.layout().clone(), moved, DType::F64, &Device::Cpu).unwrap();
        }
        assert!(Theta::distance(&theta, &end.theta).unwrap() < 1e-13);
        assert!((loss.mean().unwrap() - sum / 70.0).abs() < 1e-13);
        assert_eq!(loss.samples, 70);
    }

    #[test]
    fn training_lowers_the_loss() {
        let (objective, start) = objective();
        let before = objective.value(&start, &NoInterrupt).unwrap();
        let mut state = TrainingState::start(start);
        let training = Training { schedule: Schedule::Constant, ..training() };
        for _ in 0..20 {
            state = training.run_epoch(&objective, state, &NoInterrupt).unwrap().0;
        }
        let after = objective.value(&state.theta, &NoInterrupt).unwrap();
        assert!(after < 0.3 * before, "{before} to {after}");
    }

    #[test]
    fn full_batches_are_the_descent() {
        let (objective, start) = objective();
        let training = Training {
            batch: Batch::Full { iterations: 1 },
            labels: Labels::Soft,
            schedule: Schedule::Constant,
            ..training()
        };
        assert_eq!(training.iterations_per_epoch(70), 1);
        let mut state = TrainingState::start(start.clone());
        for _ in 0..5 {
            state = training.run_epoch(&objective, state, &NoInterrupt).unwrap().0;
        }
        let descent = Descent { sgd: training.sgd, lr: training.lr, until_loss: 0.0 };
        let end = descent.run_block(&objective, DescentState::start(start), 5, &NoInterrupt).unwrap();
        assert_eq!(bits(&state.theta), bits(&end.theta));
    }

    #[test]
    fn seed_labels_sampling_and_schedule_each_change_the_trajectory() {
        let (objective, start) = objective();
        let end = |training: Training| {
            let state = TrainingState::at_epoch(start.clone(), None, 2);
            bits(&training.run_epoch(&objective, state, &NoInterrupt).unwrap().0.theta)
        };
        let base = end(training());
        assert_eq!(end(training()), base);
        for other in [
            Training { seed: 1, ..training() },
            Training { labels: Labels::Soft, ..training() },
            Training { sampling: Sampling::Iid, ..training() },
            Training { schedule: Schedule::Constant, ..training() },
            Training { batch: Batch::Of(17), ..training() },
        ] {
            assert_ne!(end(other.clone()), base, "{other:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_an_interrupt_ends_it() {
        let (objective, start) = objective();
        let run = |training: Training, until, stop: &dyn Interrupt| {
            let state = TrainingState::start(start.clone());
            training.run_iterations(&objective, state, until, stop).map(|state| state.iteration)
        };
        let message = |training, until| run(training, until, &NoInterrupt).unwrap_err().to_string();
        assert_eq!(message(training(), 6), "iterations 0 to 6 of an epoch of 5");
        assert_eq!(message(Training { batch: Batch::Of(0), ..training() }, 1), "a batch holds at least one sample");
        let full = Training { batch: Batch::Full { iterations: 1 }, ..training() };
        assert_eq!(message(full, 1), "`labels` are sampled for batches, not for the full batch");
        assert_eq!(
            message(Training { lr: f64::NAN, ..training() }, 1),
            "`lr` is NaN, expected a number that is not negative"
        );
        let diverging = Training { lr: f64::MAX, ..training() };
        assert_eq!(message(diverging.clone(), 1), "θ after 1 iterations of epoch 0 is not finite");
        assert_eq!(message(diverging, 5), "the loss of a batch in epoch 0, iteration 1, is not finite");
        assert!(matches!(run(training(), 5, &|| true), Err(Error::Interrupted)));
        assert_eq!(run(training(), 0, &|| true).unwrap(), 0);
    }
}
