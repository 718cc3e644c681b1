//! How a training is said, keyed and gone through again: the parameters that `train` and every replay of it share, and the action that
//! reaches an iteration within an epoch. Replaying n iterations from a stored state equals having stored it.

use std::sync::Arc;

use super::index::{State, States};
use super::setting::{self, Setting};
use super::train::{Epoch, produced};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Produced, StageContext};
use crate::key::{Identity, Ingredients, Walk};
use crate::manifest::{Field, Reader};
use crate::ml::data::{Sampling, iterations_per_epoch};
use crate::ml::landscape::training::{Batch, Isotropic, Labels, Training, TrainingState};
use crate::ml::objective::Objective;
use crate::ml::optim::{Schedule, Sgd};

/// Base learning rate, where the manifest does not say.
pub const LR: f64 = 0.1;
/// Samples in a batch, where the manifest does not say.
pub const BATCH: u64 = 100;
/// Seed, where the manifest does not say.
pub const SEED: u64 = 0;

/// What makes a training random.
#[derive(Clone, Debug)]
enum Noise {
    /// Batches.
    Sgd,
    /// Nothing: each iteration sees all samples.
    None,
    /// Numbers added to the whole gradient in the top eigenspace of the Hessian.
    Isotropic { scale: Identity<f64>, rank: Identity<u64> },
}

impl Noise {
    fn read(reader: &mut Reader<'_>) -> Self {
        let doc = "`sgd`: each iteration sees a batch; `none`: gradient descent, as many iterations an epoch; `isotropic`: gradient descent with normal numbers added in the eigenspace of the Hessian's largest eigenvalues";
        reader.variant_or("noise", doc, (&["sgd", "none", "isotropic"], "sgd"), |name, reader| match name {
            "none" => Self::None,
            "isotropic" => Self::Isotropic {
                scale: reader
                    .float("noise_scale", "standard deviation of what is added to the gradient, along each direction")
                    .required()
                    .positive()
                    .identity(),
                rank: reader
                    .count("noise_rank", "dimension of the eigenspace, which is found anew at the start of each epoch")
                    .required()
                    .at_least(1)
                    .identity(),
            },
            _ => Self::Sgd,
        })
    }

    fn name(&self) -> Identity<String> {
        let name = match self {
            Self::Sgd => "sgd",
            Self::None => "none",
            Self::Isotropic { .. } => "isotropic",
        };
        Identity::with_default(name.to_owned(), "sgd".to_owned())
    }

    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("noise", &self.name());
        if let Self::Isotropic { scale, rank } = self {
            walk.identity("noise_scale", scale).identity("noise_rank", rank);
        }
    }
}

/// The parameters of a training that enter the key of each of its epochs.
#[derive(Clone, Debug)]
pub struct RecipeParams {
    lr: Identity<f64>,
    momentum: Identity<f64>,
    dampening: Identity<f64>,
    weight_decay: Identity<f64>,
    nesterov: Identity<bool>,
    schedule: Identity<Schedule>,
    batch: Identity<u64>,
    noise: Noise,
    labels: Identity<String>,
    sampling: Identity<Sampling>,
    pub(super) seed: Identity<u64>,
}

impl RecipeParams {
    /// Reads them.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let named = |names: [&'static str; 2]| names.map(|name| (name, name.to_owned()));
        let labels_doc =
            "`soft`: the smoothed targets; `sampled`: at each visit one class drawn from them, which keeps the noise";
        let samplings = [("reshuffled", Sampling::Reshuffled), ("iid", Sampling::Iid)];
        let params = Self {
            lr: reader.float("lr", "learning rate").default(LR).positive().identity(),
            momentum: reader
                .float("momentum", "share of the buffer that stays")
                .default(0.0)
                .at_least(0)
                .below(1)
                .identity(),
            dampening: reader
                .float("dampening", "share of the gradient kept from the buffer")
                .default(0.0)
                .at_least(0)
                .at_most(1)
                .identity(),
            weight_decay: reader
                .float("weight_decay", "gradient of the L2 penalty per θ")
                .default(0.0)
                .at_least(0)
                .identity(),
            nesterov: reader.flag("nesterov", "Nesterov's look-ahead").default(false).identity(),
            schedule: read_schedule(reader),
            batch: reader.count("batch", "samples in a batch").default(BATCH).at_least(1).identity(),
            noise: Noise::read(reader),
            labels: reader
                .choice("labels", labels_doc, &named(["soft", "sampled"]))
                .default("soft".to_owned())
                .identity(),
            sampling: reader
                .choice("sampling", "`reshuffled`: each sample once an epoch; `iid`: independent draws", &samplings)
                .default(Sampling::Reshuffled)
                .identity(),
            seed: reader
                .count("seed", "of the initial point, the batches and the labels drawn")
                .default(SEED)
                .identity(),
        };
        if !matches!(params.noise, Noise::Sgd) && *params.labels == "sampled" {
            let noise = &*params.noise.name();
            reader
                .problem("labels", format!("labels are sampled for batches: with `noise = \"{noise}\"` they are soft"));
        }
        if *params.nesterov && (*params.momentum == 0.0 || *params.dampening != 0.0) {
            reader.problem("nesterov", "`nesterov` takes a momentum and no dampening");
        }
        params
    }

    /// Whether the labels of a batch are drawn.
    pub fn samples_labels(&self) -> bool {
        *self.labels == "sampled"
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("lr", &self.lr)
            .identity("momentum", &self.momentum)
            .identity("dampening", &self.dampening)
            .identity("weight_decay", &self.weight_decay)
            .identity("nesterov", &self.nesterov)
            .identity("schedule", &self.schedule)
            .identity("batch", &self.batch);
        self.noise.walk(walk);
        walk.identity("labels", &self.labels).identity("sampling", &self.sampling).identity("seed", &self.seed);
    }

    /// As they enter keys. Where nothing is drawn, neither how nor from what seed.
    pub fn ingredients(&self) -> Ingredients {
        let all = Ingredients::default()
            .with("lr", &self.lr)
            .with("momentum", &self.momentum)
            .with("dampening", &self.dampening)
            .with("weight_decay", &self.weight_decay)
            .with("nesterov", &self.nesterov)
            .with("schedule", &self.schedule)
            .with("batch", &self.batch)
            .with("noise", &self.noise.name())
            .with("labels", &self.labels);
        match &self.noise {
            Noise::None => all,
            Noise::Sgd => all.with("sampling", &self.sampling).with("seed", &self.seed),
            Noise::Isotropic { scale, rank } => {
                all.with("noise_scale", scale).with("noise_rank", rank).with("seed", &self.seed)
            }
        }
    }
}

fn read_schedule(reader: &mut Reader<'_>) -> Identity<Schedule> {
    let doc = "the learning rate over time; a field that says how long is part of what is trained, not of how long";
    let schedule = reader.table("schedule", doc, |reader| {
        let kind = reader.variant("kind", "its form", &["constant", "step", "cosine"], |name, reader| match name {
            "step" => Schedule::Step {
                every: epochs(reader.count("every", "epochs between two changes").required().at_least(1)),
                factor: reader.float("factor", "what the rate is multiplied with").required().positive().value(),
            },
            "cosine" => Schedule::Cosine {
                total: epochs(reader.count("total", "epochs until the rate is 0").required().at_least(1)),
            },
            _ => Schedule::Constant,
        });
        match epochs(reader.count("warmup", "epochs of linear rise before").default(0)) {
            0 => kind,
            epochs => Schedule::Warmup { epochs, then: Box::new(kind) },
        }
    });
    schedule.default(Schedule::Constant).identity()
}

/// A number of epochs.
fn epochs(field: Field<'_, '_, u64>) -> u32 {
    u32::try_from(field.at_most(u32::MAX).value()).unwrap_or(u32::MAX)
}

/// A function and a training on it: all that the key of an epoch needs besides the state before it.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The function.
    pub setting: Setting,
    /// The training.
    pub training: Ingredients,
}

impl Recipe {
    /// The training behind some states.
    pub fn of(states: &States) -> Self {
        let numeric = states.numeric.as_deref().unwrap_or(setting::NUMERIC);
        Self { setting: states.setting.clone().in_numeric(numeric), training: states.training.clone() }
    }

    /// The action of one epoch from the state before it.
    pub fn epoch(&self, epoch: u64, before: &State) -> Action {
        self.through(&Epoch, epoch, before)
    }

    /// The action that reaches `offset` iterations into an epoch from the state at its start.
    pub fn replay(&self, epoch: u64, before: &State, offset: u64) -> Action {
        self.through(&Replay, epoch, before).position("offset", offset)
    }

    /// An action that goes through an epoch from the state before it.
    pub fn through(&self, kind: &dyn ActionKind, epoch: u64, before: &State) -> Action {
        let action = self.setting.action(kind).with_all(&self.training).position("epoch", epoch);
        let action = action.input("theta", &before.theta);
        match &before.velocity {
            Some(velocity) => action.input("velocity", velocity),
            None => action,
        }
    }

    /// Samples in a batch.
    ///
    /// # Errors
    /// If what is recorded does not read.
    pub fn batch(&self) -> Result<u64, Failure> {
        self.training.param("batch", BATCH).map_err(Failure::work)
    }

    /// Iterations in an epoch over so many samples.
    ///
    /// # Errors
    /// If the recorded batch does not read.
    pub fn iterations_per_epoch(&self, samples: usize) -> Result<u64, Failure> {
        Ok(iterations_per_epoch(samples, self.batch()? as usize) as u64)
    }
}

/// How the state at an iteration is had.
pub enum Way {
    /// It was stored at an epoch's end.
    Stored(State),
    /// It is replayed from the state at its epoch's start.
    Replay(Action),
}

/// How the state at an iteration of a training is had.
///
/// # Errors
/// If the training does not reach that far.
pub fn way_to(states: &States, iteration: u64) -> Result<Way, Failure> {
    let first = states.epochs[0].iteration;
    let (epoch, offset) = match iteration.checked_sub(first) {
        Some(since) => (since / states.iterations_per_epoch, since % states.iterations_per_epoch),
        None => (u64::MAX, 0),
    };
    let last = first + (states.epochs.len() as u64 - 1) * states.iterations_per_epoch;
    let beyond =
        || Failure::Work(format!("iteration {iteration} is not in the training, which goes from {first} to {last}"));
    let before = usize::try_from(epoch).ok().and_then(|epoch| states.epochs.get(epoch)).ok_or_else(beyond)?;
    if offset == 0 {
        return Ok(Way::Stored(before.clone()));
    }
    if epoch + 1 == states.epochs.len() as u64 {
        return Err(beyond());
    }
    Ok(Way::Replay(Recipe::of(states).replay(epoch, before, offset)))
}

/// The state at an iteration of a training.
///
/// # Errors
/// As [`way_to`], and why it cannot be replayed.
pub fn state_at(cx: &StageContext<'_>, states: &States, iteration: u64) -> Result<State, Failure> {
    let action = match way_to(states, iteration)? {
        Way::Stored(state) => return Ok(state),
        Way::Replay(action) => action,
    };
    let record = cx.call(action)?;
    let velocity = record.outputs.get("velocity").cloned();
    Ok(State { iteration, theta: record.outputs["theta"].clone(), velocity })
}

/// The training that an action's parameters describe.
///
/// # Errors
/// If they do not read.
pub fn training(cx: &ActionContext<'_>, objective: &Arc<Objective>) -> Result<Training, Failure> {
    let batch = cx.param("batch", BATCH)? as usize;
    let noise = cx.param("noise", "sgd".to_owned())?;
    let full = noise != "sgd";
    let isotropic = match noise.as_str() {
        "isotropic" => {
            Some(Isotropic { scale: cx.required("noise_scale")?, rank: cx.required::<u64>("noise_rank")? as usize })
        }
        _ => None,
    };
    let iterations = iterations_per_epoch(objective.len(), batch);
    let sampled = cx.param("labels", "soft".to_owned())? == "sampled";
    Ok(Training {
        sgd: sgd(cx)?,
        lr: cx.param("lr", LR)?,
        schedule: cx.param("schedule", Schedule::Constant)?,
        batch: if full { Batch::Full { iterations } } else { Batch::Of(batch) },
        sampling: cx.param("sampling", Sampling::Reshuffled)?,
        labels: if sampled { Labels::Sampled } else { Labels::Soft },
        isotropic,
        seed: cx.param("seed", SEED)?,
    })
}

/// The optimizer that an action's parameters describe.
///
/// # Errors
/// If they do not read.
pub fn sgd(cx: &ActionContext<'_>) -> Result<Sgd, Failure> {
    Ok(Sgd {
        momentum: cx.param("momentum", 0.0)?,
        dampening: cx.param("dampening", 0.0)?,
        weight_decay: cx.param("weight_decay", 0.0)?,
        nesterov: cx.param("nesterov", false)?,
    })
}

/// The state at the start of an action's epoch.
///
/// # Errors
/// If its bytes are absent or of another model.
pub fn before(cx: &ActionContext<'_>, objective: &Objective) -> Result<TrainingState, Failure> {
    let theta = setting::theta(cx, "theta", objective)?;
    let velocity = setting::velocity(cx, objective)?;
    Ok(TrainingState::at_epoch(theta, velocity, cx.required::<u64>("epoch")? as u32))
}

/// The action that reaches an iteration within an epoch.
pub struct Replay;

impl ActionKind for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let training = training(cx, &objective)?;
        let offset = cx.required::<u64>("offset")? as usize;
        let state = training.run_iterations(&objective, before(cx, &objective)?, offset, &|| cx.cancelled())?;
        produced(&state)
    }
}
