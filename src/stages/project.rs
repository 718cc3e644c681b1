//! `gd-project`: each state to the minimum below it by gradient descent with the training's settings and no noise. The actions are
//! blocks of up to 250 steps, keyed by the block's start and the target, so that a state is projected once, ever; a higher cap goes
//! on, and a lower target goes on from where a descent to a higher one had come.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::{self, Minima, Minimum, State, States};
use super::setting::{self, Setting};
use super::tables;
use super::train::{Evaluated, evaluation, json, summary};
use super::{foresee, replay};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{
    Execution, Fingerprint, Horizon, Identity, Ingredients, Inputs, Output, Outputs, Record, Records, Walk,
};
use crate::manifest::{Count, Forecast, Kind, Params, Reader};
use crate::ml::landscape::descent::{Descent as Descending, DescentState};
use crate::ml::params::{Theta, encode_flat};
use crate::plot::{Cell, Table};

/// Steps in a block. Every block ends at a multiple of it or at the minimum, wherever it began, so a cap is rounded up to such a multiple
/// and a descent that was interrupted by a higher target stops at the same caps as one that was not.
const BLOCK: u64 = 250;

/// The parameters of a training that a descent takes over: all but its noise.
const INHERITED: [&str; 5] = ["lr", "momentum", "dampening", "weight_decay", "nesterov"];

/// The kind.
pub struct GdProject;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct ProjectParams {
    descent: DescentParams,
    first: Horizon<u64>,
    every: Horizon<u64>,
}

/// What a descent is, wherever one is made.
#[derive(Clone, Debug)]
pub struct DescentParams {
    until: Identity<String>,
    until_loss: Identity<f64>,
    lr: Option<f64>,
    momentum: Option<f64>,
    max_steps: Horizon<u64>,
    on_cap: Identity<String>,
    device: Execution<String>,
}

impl Kind for GdProject {
    fn name(&self) -> &'static str {
        "gd-project"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Projects states to the valley floor by gradient descent."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the states", &index::STATES);
        let doc = "a training in whose last state's loss the target is, in place of `until_loss`: to compare both at equal loss";
        reader.reference_if_any("until_loss_of", doc, &index::STATES);
        Arc::new(ProjectParams {
            first: reader.count("first", "the first epoch whose state is projected").default(0).horizon(),
            every: reader.count("every", "project every so many of the states").default(1).at_least(1).horizon(),
            descent: DescentParams::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states"]
    }

    fn forecast(&self, params: &dyn Params, inputs: &Inputs, records: &dyn Records) -> Forecast {
        let params: &ProjectParams = params.of();
        let foreseen = || {
            let states = index::foreseen_states(inputs, "from", records)?;
            let target = params.foreseen_target(&states, records)?;
            Some(foresee::descents(&params.projector(&states, target), &params.chosen(&states), records))
        };
        foreseen().map_or_else(Forecast::unknown, |count: Count| Forecast::unknown().with("descent", count))
    }
}

impl DescentParams {
    fn read(reader: &mut Reader<'_>) -> Self {
        let untils = ["loss", "trajectory-minimum"].map(|name| (name, name.to_owned()));
        let on_cap = ["list", "fail"].map(|name| (name, name.to_owned()));
        let until_doc = "`loss`: until the excess loss is below `until_loss`; `trajectory-minimum`: below the least that the training had at the end of an epoch";
        Self {
            until: reader.choice("until", until_doc, &untils).default("loss".to_owned()).identity(),
            until_loss: reader.float("until_loss", "target of the excess loss").default(0.005).positive().identity(),
            lr: reader.float("lr", "learning rate, where it is not the training's").positive().optional().value(),
            momentum: reader
                .float("momentum", "momentum, where it is not the training's")
                .at_least(0)
                .below(1)
                .optional()
                .value(),
            max_steps: reader
                .count("max_steps", "cap on the steps of a descent, rounded up to blocks of 250")
                .default(20_000)
                .at_least(1)
                .horizon(),
            on_cap: reader
                .choice(
                    "on_cap",
                    "`list`: a descent that hits its cap is a listed result; `fail`: the stage fails",
                    &on_cap,
                )
                .default("list".to_owned())
                .identity(),
            device: setting::read_device(reader),
        }
    }

    /// The descent as it enters keys: the training's settings without its noise, what the manifest puts in their place, the target.
    fn ingredients(&self, states: &States, target: f64) -> Ingredients {
        let mut own = Ingredients::default();
        if let Some(lr) = self.lr {
            own = own.with("lr", &Identity::with_default(lr, replay::LR));
        }
        if let Some(momentum) = self.momentum {
            own = own.with("momentum", &Identity::with_default(momentum, 0.0));
        }
        let mut inherited = states.training.only(&INHERITED);
        for (name, given) in [("lr", self.lr), ("momentum", self.momentum)] {
            if given.is_some() {
                inherited = inherited.without(name);
            }
        }
        inherited.overlaid(&own).with("until_loss", &Identity::required(target))
    }
}

impl Params for ProjectParams {
    fn walk(&self, walk: &mut dyn Walk) {
        let descent = &self.descent;
        walk.horizon("first", &self.first)
            .horizon("every", &self.every)
            .identity("until", &descent.until)
            .identity("until_loss", &descent.until_loss)
            .identity("lr", &Identity::with_default(descent.lr, None))
            .identity("momentum", &Identity::with_default(descent.momentum, None))
            .horizon("max_steps", &descent.max_steps)
            .identity("on_cap", &descent.on_cap)
            .execution("device", &descent.device);
    }
}

impl Work for ProjectParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let states = index::states(cx, "from")?;
        let chosen = self.chosen(&states);
        let projector = self.projector(&states, self.target(cx, &states)?);
        cx.expect(chosen.len() as u64, "states");
        let points = cx.each(chosen, |state| {
            let minimum = projector.project(cx, &states, &state)?;
            cx.advance(1);
            Ok(minimum)
        })?;
        let minima = Minima { states, descent: projector.descent, max_steps: projector.max_steps, points };
        report_caps(cx, &minima, *self.descent.on_cap == "fail")?;
        let table = tables::keep(cx, &table(&minima))?;
        Ok(Outputs::from([("minima".to_owned(), index::keep(cx, &minima)?), ("table".to_owned(), table)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

impl ProjectParams {
    /// The states that are projected.
    fn chosen(&self, states: &States) -> Vec<State> {
        let first = self.first.0 as f64;
        let late = |state: &&State| states.epoch_of(state.iteration) >= first;
        states.chosen.iter().filter(late).step_by(self.every.0 as usize).cloned().collect()
    }

    fn projector(&self, states: &States, target: f64) -> Projector {
        let descent = self.descent.ingredients(states, target);
        Projector { setting: states.setting.clone(), descent, max_steps: *self.descent.max_steps }
    }

    fn target(&self, cx: &StageContext<'_>, states: &States) -> Result<f64, Failure> {
        if !cx.inputs("until_loss_of").is_empty() {
            let other = index::states(cx, "until_loss_of")?;
            let last = other.chosen.last().ok_or_else(|| Failure::work("the stage `until_loss_of` has no states"))?;
            let record = cx.call(evaluation(&other, &last.theta))?;
            return Ok(summary::<Evaluated>(&record, "summary")?.training_loss);
        }
        if *self.descent.until == "loss" {
            return Ok(*self.descent.until_loss);
        }
        least_loss(&cx.map(evaluations(states))?)
    }

    /// The target, where it is known before the stage runs.
    fn foreseen_target(&self, states: &States, records: &dyn Records) -> Option<f64> {
        if *self.descent.until == "loss" {
            return Some(*self.descent.until_loss);
        }
        let evaluated: Option<Vec<Record>> =
            evaluations(states).iter().map(|action| records.record(&action.key())).collect();
        least_loss(&evaluated?).ok()
    }
}

fn evaluations(states: &States) -> Vec<Action> {
    states.epochs.iter().map(|state| evaluation(states, &state.theta)).collect()
}

fn least_loss(evaluated: &[Record]) -> Result<f64, Failure> {
    let mut least = f64::INFINITY;
    for record in evaluated {
        least = least.min(summary::<Evaluated>(record, "summary")?.training_loss);
    }
    Ok(least)
}

/// Descents that hit their cap are listed one by one, never dropped.
pub fn report_caps(cx: &StageContext<'_>, minima: &Minima, fail: bool) -> Result<(), Failure> {
    let capped: Vec<String> = minima
        .points
        .iter()
        .filter(|point| !point.reached)
        .map(|point| {
            let epoch = minima.states.epoch_of(point.iteration);
            format!(
                "iteration {} (epoch {epoch:.2}): loss {:.4} after {} steps",
                point.iteration, point.loss, point.steps
            )
        })
        .collect();
    if capped.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} descents hit the cap:\n{}", capped.len(), minima.points.len(), capped.join("\n"));
    if fail {
        return Err(Failure::Work(message));
    }
    cx.warn(message);
    Ok(())
}

/// The table of some minima.
pub fn table(minima: &Minima) -> Table {
    let columns =
        [("epoch", ""), ("iteration", ""), ("steps", ""), ("loss", "nats"), ("distance", ""), ("reached", "")];
    let mut table = tables::table(&columns);
    for point in &minima.points {
        table.rows.push(vec![
            Cell::Number(minima.states.epoch_of(point.iteration)),
            tables::count(point.iteration),
            tables::count(point.steps),
            Cell::Number(point.loss),
            Cell::Number(point.distance),
            Cell::Text(if point.reached { "yes" } else { "no" }.to_owned()),
        ]);
    }
    table
}

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
        let mut at = self.go_on_from(cx, &state.theta)?.unwrap_or_else(|| Standing::start(&state.theta));
        loop {
            let record = cx.call(self.block(&state.theta, &at)).map_err(named)?;
            at = at.then(&record)?;
            if !self.is_through(&at) {
                continue;
            }
            cx.remember(&self.descent_of(&state.theta), &record, at.steps)?;
            let reached = at.loss.is_some();
            let loss = match at.loss {
                Some(loss) => loss,
                None => summary::<Evaluated>(&cx.call(evaluation(states, &at.theta))?, "summary")?.training_loss,
            };
            let (iteration, distance) = (state.iteration, at.distance);
            return Ok(Minimum { iteration, theta: at.theta, steps: at.steps, loss, distance, reached });
        }
    }

    /// Whether no block follows.
    pub(super) fn is_through(&self, at: &Standing) -> bool {
        at.loss.is_some() || at.steps >= self.max_steps
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
    fn descent_of(&self, origin: &Output) -> Fingerprint {
        let descent = self.descent.clone().without("until_loss");
        self.setting.action(&Descent).with_all(&descent).input("theta", origin).fingerprint().clone()
    }

    /// Where no descent from this state to this target was begun, but one to a higher target, the farthest point that such a one has
    /// come to within the cap. Nothing before it is below this target, so it is only a nearer start: the bytes at the end are the same.
    fn go_on_from(&self, cx: &StageContext<'_>, origin: &Output) -> Result<Option<Standing>, Failure> {
        if cx.is_known(&self.block(origin, &Standing::start(origin)))? {
            return Ok(None);
        }
        let target: f64 = self.descent.param("until_loss", 0.0).map_err(Failure::work)?;
        let mut farthest: Option<Standing> = None;
        for (record, steps) in cx.recall(&self.descent_of(origin))? {
            let higher = record.fingerprint.param("until_loss", 0.0).map_err(Failure::work)? > target;
            let farther = steps > farthest.as_ref().map_or(0, |farthest| farthest.steps);
            if higher && farther && steps - steps % BLOCK < self.max_steps {
                farthest = Some(Standing::after(&record, steps)?);
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
