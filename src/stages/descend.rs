//! How a state is projected, wherever it comes from: the action `descent` is a block of up to 250 steps, keyed by the block's start and
//! the target, so that a state is projected once, ever; a higher cap goes on, and a lower target goes on from where a descent to a higher
//! one had come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evaluate::{Evaluated, evaluation};
use super::index::{Minima, Minimum, State, States};
use super::replay;
use super::setting::{self, Setting};
use super::train::{json, summary};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Produced, StageContext};
use crate::key::{Fingerprint, Ingredients, Output, Record};
use crate::ml::landscape::descent::{Descent as Descending, DescentState};
use crate::ml::params::{Theta, encode_flat};

/// Steps in a block. Every block ends at a multiple of it or at the minimum, wherever it began, so a cap is rounded up to such a multiple
/// and a descent that was interrupted by a higher target stops at the same caps as one that was not.
const BLOCK: u64 = 250;

/// Projects states, wherever they come from.
pub struct Projector {
    /// The function.
    pub setting: Setting,
    /// The descent, as it enters keys.
    pub descent: Ingredients,
    /// The cap on its steps.
    pub max_steps: u64,
}

/// Where a descent stands between two blocks.
pub(super) struct Standing {
    pub(super) theta: Output,
    velocity: Option<Output>,
    pub(super) steps: u64,
    /// The loss, where it is below the target.
    pub(super) loss: Option<f64>,
    distance: f64,
}

impl Standing {
    /// Before the first step: whatever the training's buffer was, a descent begins with an empty one.
    pub(super) fn start(theta: &Output) -> Self {
        Self { theta: theta.clone(), velocity: None, steps: 0, loss: None, distance: 0.0 }
    }

    /// After `steps` steps, the last of them in the block of `record`.
    pub(super) fn after(record: &Record, steps: u64) -> Result<Self, Failure> {
        let block: Block = summary(record, "summary")?;
        let (theta, velocity) = (record.outputs["theta"].clone(), record.outputs.get("velocity").cloned());
        Ok(Self { theta, velocity, steps, loss: block.loss, distance: block.distance })
    }

    /// After one block more.
    pub(super) fn then(&self, record: &Record) -> Result<Self, Failure> {
        Self::after(record, self.steps + summary::<Block>(record, "summary")?.steps)
    }
}

/// What a block says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Block {
    /// Steps in this block.
    steps: u64,
    /// The loss at its end, where that is below the target.
    loss: Option<f64>,
    /// How far its end is from the start of the whole descent.
    distance: f64,
}

impl Projector {
    /// The projector that made some minima.
    pub fn of(minima: &Minima) -> Self {
        let setting = minima.states.setting.clone();
        Self { setting, descent: minima.descent.clone(), max_steps: minima.max_steps }
    }

    /// The minimum below a state, block by block.
    ///
    /// # Errors
    /// If the loss is not finite on the way.
    pub fn project(&self, cx: &StageContext<'_>, states: &States, state: &State) -> Result<Minimum, Failure> {
        let named = |failure| match failure {
            Failure::Work(problem) => {
                let epoch = states.epoch_of(state.iteration);
                Failure::Work(format!("the state at iteration {} (epoch {epoch:.2}): {problem}", state.iteration))
            }
            other => other,
        };
        let start = Standing::start(&state.theta);
        let mut noted = None;
        if !cx.is_known(&self.block(&state.theta, &start))? {
            noted = self.farthest(cx.recall(&self.descent_of(&state.theta))?)?;
        }
        let mut last = None;
        let mut at = match noted {
            Some((record, at)) => {
                cx.adopt(&record);
                at
            }
            None => start,
        };
        while !self.is_through(&at) {
            let record = cx.call(self.block(&state.theta, &at)).map_err(named)?;
            at = at.then(&record)?;
            last = Some(record);
        }
        if let Some(record) = last {
            cx.remember(&self.descent_of(&state.theta), &record, at.steps)?;
        }
        let loss = match at.loss {
            Some(loss) => loss,
            None => Self::loss_at_the_cap(cx, states, &at).map_err(named)?,
        };
        // The step that ends at the cap may be the one that goes below the target: nothing has asked there yet.
        let reached = loss < self.target()?;
        let (iteration, distance) = (state.iteration, at.distance);
        Ok(Minimum { iteration, theta: at.theta, steps: at.steps, loss, distance, reached })
    }

    fn loss_at_the_cap(cx: &StageContext<'_>, states: &States, at: &Standing) -> Result<f64, Failure> {
        let record = cx.call(evaluation(&states.setting, &states.validation, &at.theta))?;
        Ok(summary::<Evaluated>(&record, "summary")?.training_loss)
    }

    /// The loss below which a descent ends.
    fn target(&self) -> Result<f64, Failure> {
        self.descent.param("until_loss", 0.0).map_err(Failure::work)
    }

    /// Whether no block follows: below the target, or at the end of the last block that the cap lets begin. A descent that goes on from
    /// within a block comes to the same end as one that began it.
    pub(super) fn is_through(&self, at: &Standing) -> bool {
        at.loss.is_some() || at.steps >= self.max_steps.next_multiple_of(BLOCK)
    }

    /// The block that follows. One that begins within the grid of blocks, at the end of a descent to a higher target, ends at the grid's
    /// next point, so that what follows it has the keys of an uninterrupted descent.
    pub(super) fn block(&self, origin: &Output, at: &Standing) -> Action {
        let mut action = self.setting.action(&Descent).with_all(&self.descent).input("theta", &at.theta);
        if let Some(velocity) = &at.velocity {
            action = action.input("velocity", velocity);
        }
        if at.steps > 0 {
            action = action.input("origin", origin);
        }
        if at.steps.is_multiple_of(BLOCK) { action } else { action.position("steps", BLOCK - at.steps % BLOCK) }
    }

    /// The descent from a state without its target: what a lower target shares with a higher one.
    pub(super) fn descent_of(&self, origin: &Output) -> Fingerprint {
        let descent = self.descent.clone().without("until_loss");
        self.setting.action(&Descent).with_all(&descent).input("theta", origin).fingerprint().clone()
    }

    /// Where a descent from this state stands that was not begun at its start: the farthest point that one to this target or a higher one
    /// has come to within the cap, with its record. Nothing before it is below this target, so it is only a nearer start: the bytes at the
    /// end are the same.
    ///
    /// # Errors
    /// If a record is of another program.
    pub(super) fn farthest(&self, noted: Vec<(Record, u64)>) -> Result<Option<(Record, Standing)>, Failure> {
        let target = self.target()?;
        let mut farthest: Option<(Record, Standing)> = None;
        for (record, steps) in noted {
            let until: f64 = record.fingerprint.param("until_loss", 0.0).map_err(Failure::work)?;
            let mut at = Standing::after(&record, steps)?;
            // The loss at the end of a descent is the first thing that the block after it asks.
            let asked = steps.saturating_sub(u64::from(at.loss.is_none()));
            let farther = steps > farthest.as_ref().map_or(0, |(_, farthest)| farthest.steps);
            if until >= target && farther && asked - asked % BLOCK < self.max_steps {
                at.loss = at.loss.filter(|&loss| loss < target);
                farthest = Some((record, at));
            }
        }
        Ok(farthest)
    }
}

/// The action: one block of a descent.
pub struct Descent;

impl ActionKind for Descent {
    fn name(&self) -> &'static str {
        "descent"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let (lr, until_loss) = (cx.param("lr", replay::LR)?, cx.required("until_loss")?);
        let descent = Descending { sgd: replay::sgd(cx)?, lr, until_loss };
        let theta = setting::theta(cx, "theta", &objective)?;
        let origin = if cx.has("origin") { setting::theta(cx, "origin", &objective)? } else { theta.clone() };
        let start = DescentState { buffer: setting::velocity(cx, &objective)?, ..DescentState::start(theta) };
        let end = descent.run_block(&*objective, start, cx.param("steps", BLOCK)?, &|| cx.cancelled())?;
        let distance = Theta::distance(&end.theta, &origin)?;
        let block = Block { steps: end.steps, loss: end.loss, distance };
        let mut produced = BTreeMap::from([("theta".to_owned(), Payload::Bytes(end.theta.encode()?))]);
        if let Some(buffer) = &end.buffer {
            produced.insert("velocity".to_owned(), Payload::Bytes(encode_flat(buffer)?));
        }
        produced.insert("summary".to_owned(), json(&block));
        Ok(produced)
    }
}
