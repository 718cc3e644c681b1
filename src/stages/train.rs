//! `train`: one action an epoch, keyed by the state before it and the configuration without the number of epochs, so that more epochs
//! extend. The initial point is an action of its own, or a point of another stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evaluate::{Evaluate, Evaluated, evaluation};
use super::foresee::Foreseen;
use super::index::{self, Origin, Points, State, States};
use super::replay::{self, Recipe, RecipeParams};
use super::setting::{self, NUMERIC, SettingParams};
use super::tables;
use crate::execute::{ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Horizon, Identity, Output, Outputs, Record, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::landscape::training::TrainingState;
use crate::ml::params::encode_flat;
use crate::ml::rng::Stream;

/// The kind.
pub struct Train;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct TrainParams {
    setting: SettingParams,
    recipe: RecipeParams,
    epochs: Horizon<Option<u64>>,
    evaluate: Identity<bool>,
    start_at: Identity<String>,
    starts_elsewhere: bool,
}

impl Kind for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Trains a network and keeps the state at the end of every epoch."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("data", "the data set", &["dataset"]);
        let doc = "a stage whose point is the start, in place of a random one; iterations are counted on from there";
        let starts_elsewhere = reader.reference_if_any("start", doc, &index::POINTS).is_some();
        let ends = [("first", "first".to_owned()), ("last", "last".to_owned())];
        let doc = "a training with whose last iteration this one ends as well, in place of `epochs`: to compare both over as many iterations";
        let as_long_as = reader.reference_if_any("as_long_as", doc, &["train"]).is_some();
        let epochs = reader.count("epochs", "passes over the training set").at_most(u32::MAX).optional().horizon();
        if as_long_as == epochs.is_some() {
            reader.problem("epochs", "give `epochs`, or a training that this one is `as_long_as`");
        }
        let (setting, recipe) = (SettingParams::read(reader), RecipeParams::read(reader));
        if recipe.samples_labels() && !setting.loss.smooths() {
            let problem = "labels are sampled from smoothed targets, and this loss has none";
            reader.problem("labels", problem);
        }
        Arc::new(TrainParams {
            starts_elsewhere,
            epochs,
            start_at: reader.choice("start_at", "which point of `start`", &ends).default("first".to_owned()).identity(),
            setting,
            recipe,
            evaluate: reader
                .flag("evaluate", "training and validation loss at the end of every epoch")
                .default(true)
                .identity(),
        })
    }

    fn uses(&self, field: &str) -> &'static [&'static str] {
        match field {
            "start" => &["states", "minima"],
            "as_long_as" => &["states"],
            _ => &[],
        }
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<TrainParams>().foresee(foresight).unwrap_or_default()
    }
}

impl Params for TrainParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.setting.walk(walk);
        self.recipe.walk(walk);
        walk.horizon("epochs", &self.epochs).identity("evaluate", &self.evaluate);
        if self.starts_elsewhere {
            walk.identity("start_at", &self.start_at);
        }
    }
}

impl TrainParams {
    /// How far the known prefix goes, and what is left of the horizon; the same for the evaluations.
    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let data = &behind(foresight.inputs, "data").first()?.outputs;
        let (recipe, validation) = (self.recipe_on(data.get("train")?, foresight.backend), data.get("validation")?);
        let mut foreseen = Foreseen::new(foresight, &[&Epoch]);
        let mut next = if self.starts_elsewhere {
            Some(self.start_of(&index::foreseen_points(foresight, "start")?)?.0)
        } else {
            foreseen.call(&self.init(&recipe)).map(|record| state_of(&record, 0))
        };
        let epochs = if let Some(epochs) = *self.epochs {
            epochs
        } else {
            let (other, start) = (index::foreseen_states(foresight, "as_long_as")?, next.as_ref()?);
            // Without its samples at hand, an epoch's length is known where it is the other's.
            let alike =
                other.setting.data == recipe.setting.data && recipe.batch().ok() == Recipe::of(&other).batch().ok();
            alike.then(|| epochs_up_to(&other, start, other.iterations_per_epoch).ok())??
        };
        let mut states = 0;
        while let Some(state) = next.take() {
            if *self.evaluate {
                foreseen.call(&evaluation(&recipe.setting, validation, &state.theta));
            }
            if states < epochs {
                let record = foreseen.call(&recipe.epoch(states, &state));
                next = record.map(|record| state_of(&record, state.iteration));
            }
            states += 1;
        }
        foreseen.call_unmade(&Epoch, epochs.saturating_sub(states));
        if *self.evaluate {
            foreseen.call_unmade(&Evaluate, epochs + 1 - states);
        }
        Some(foreseen.forecast())
    }

    fn init(&self, recipe: &Recipe) -> crate::execute::Action {
        recipe.setting.action(&Init).with("seed", &self.recipe.seed)
    }

    /// The first state: a random one, or a point of the stage `start`, with the epoch that it was there.
    fn first(&self, cx: &StageContext<'_>, recipe: &Recipe) -> Result<(State, Option<Origin>), Failure> {
        if !self.starts_elsewhere {
            return Ok((state_of(&cx.call(self.init(recipe))?, 0), None));
        }
        let points = index::points(cx, "start")?;
        let none = || Failure::Work(format!("`{}` has no points", cx.input("start").instance));
        let (state, epoch) = self.start_of(&points).ok_or_else(none)?;
        let iteration = state.iteration;
        Ok((state, Some(Origin { iteration, epoch })))
    }

    fn start_of(&self, Points { states, points }: &Points) -> Option<(State, f64)> {
        let point = if *self.start_at == "last" { points.last() } else { points.first() }?;
        let state = State { iteration: point.iteration, theta: point.theta.clone(), velocity: None };
        Some((state, states.epoch_of(point.iteration)))
    }

    /// How many epochs there are from this start.
    fn length(&self, cx: &StageContext<'_>, start: &State, iterations_per_epoch: u64) -> Result<u64, Failure> {
        match *self.epochs {
            Some(epochs) => Ok(epochs),
            None => epochs_up_to(&index::states(cx, "as_long_as")?, start, iterations_per_epoch),
        }
    }

    fn recipe_on(&self, data: &Output, backend: &str) -> Recipe {
        Recipe { setting: self.setting.on(data, backend), training: self.recipe.ingredients() }
    }
}

/// Epochs from `start` to the last iteration of another training.
fn epochs_up_to(other: &States, start: &State, iterations_per_epoch: u64) -> Result<u64, Failure> {
    let last = other.epochs.last().map_or(0, |state| state.iteration);
    let left = last.checked_sub(start.iteration).filter(|left| left.is_multiple_of(iterations_per_epoch));
    let left = left.ok_or_else(|| {
        let first = start.iteration;
        let problem =
            format!("no whole epochs of {iterations_per_epoch} iterations lead from iteration {first} to {last}");
        Failure::Work(format!("{problem}, where the training in `as_long_as` ends"))
    })?;
    Ok(left / iterations_per_epoch)
}

fn state_of(record: &Record, iteration: u64) -> State {
    let velocity = record.outputs.get("velocity").cloned();
    State { iteration, theta: record.outputs["theta"].clone(), velocity }
}

impl Work for TrainParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let data = &cx.input("data").outputs;
        let recipe = self.recipe_on(&data["train"], cx.backend());
        let iterations_per_epoch = recipe.iterations_per_epoch(samples(cx, &data["train"])?)?;
        let (first, origin) = self.first(cx, &recipe)?;
        let length = self.length(cx, &first, iterations_per_epoch)?;
        cx.expect(length, "epochs");
        let mut epochs = vec![first];
        let mut running = vec![None];
        for epoch in 0..length {
            let before = &epochs[epoch as usize];
            let record = cx.call(recipe.epoch(epoch, before))?;
            running.push(Some(summary::<Running>(&record, "summary")?.loss));
            epochs.push(state_of(&record, before.iteration + iterations_per_epoch));
            cx.advance(1);
        }
        let validation = data["validation"].clone();
        let Recipe { setting, training } = recipe;
        let chosen = epochs.clone();
        let numeric = Some(setting.numeric()).filter(|numeric| numeric != NUMERIC);
        let states = States { setting, validation, training, iterations_per_epoch, epochs, chosen, numeric, origin };
        // Where epochs are as long as before, both counts go on together and nothing need be said.
        let states = if states.counts_on() { States { origin: None, ..states } } else { states };
        let evaluations = if *self.evaluate { evaluations(cx, &states)? } else { Vec::new() };
        let table = history(&states, &running, &evaluations);
        let table = tables::keep(cx, &table)?;
        Ok(Outputs::from([("states".to_owned(), index::keep(cx, &states)?), ("table".to_owned(), table)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

/// How many samples an encoded data set has; read once a stage, not once an action.
///
/// # Errors
/// If its bytes are absent or do not decode.
pub fn samples(cx: &StageContext<'_>, data: &Output) -> Result<usize, Failure> {
    let set =
        cx.engine().memo().get(&data.digest.to_string(), || Ok(crate::ml::data::Dataset::decode(&cx.read(data)?)?))?;
    Ok(set.len())
}

/// Training and validation loss at the end of every epoch.
///
/// # Errors
/// If a state cannot be evaluated.
pub fn evaluations(cx: &StageContext<'_>, states: &States) -> Result<Vec<Evaluated>, Failure> {
    let action = |state: &State| evaluation(&states.setting, &states.validation, &state.theta);
    let records = cx.map(states.epochs.iter().map(action).collect())?;
    records.iter().map(|record| summary(record, "summary")).collect()
}

/// The table of a list of states: where each lies, and what is known of it.
pub fn history(states: &States, running: &[Option<f64>], evaluated: &[Evaluated]) -> crate::plot::Table {
    let columns = [
        ("epoch", ""),
        ("iteration", ""),
        ("running_loss", "nats"),
        ("training_loss", "nats"),
        ("validation_loss", "nats"),
        ("validation_accuracy", ""),
        ("theta_norm", ""),
    ];
    let mut table = tables::table(&columns);
    for (i, state) in states.epochs.iter().enumerate() {
        let evaluated = evaluated.get(i);
        table.rows.push(vec![
            crate::plot::Cell::Number(states.epoch_of(state.iteration)),
            tables::count(state.iteration),
            tables::number(running[i]),
            tables::number(evaluated.map(|e| e.training_loss)),
            tables::number(evaluated.map(|e| e.validation_loss)),
            tables::number(evaluated.map(|e| e.validation_accuracy)),
            tables::number(evaluated.map(|e| e.theta_norm)),
        ]);
    }
    table
}

/// A small output that is JSON.
///
/// # Errors
/// If the record is of another program.
pub fn summary<T: for<'de> Deserialize<'de>>(record: &Record, name: &str) -> Result<T, Failure> {
    let text = record.outputs.get(name).and_then(|output| output.inline.as_deref()).unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        let (kind, key) = (&record.fingerprint.kind, record.key.short());
        Failure::Work(format!("`{name}` of `{kind}` {key} does not read: {error}"))
    })
}

/// JSON as an output.
pub fn json<T: Serialize>(value: &T) -> Payload {
    Payload::Bytes(serde_json::to_vec(value).expect("invariant: summaries serialise"))
}

/// The action that draws an initial point.
pub struct Init;

impl ActionKind for Init {
    fn name(&self) -> &'static str {
        "init"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let seed: u64 = cx.param("seed", replay::SEED)?;
        let placement = objective.placement();
        let theta = objective.model().init(&Stream::new(seed, "init"), placement.dtype, &placement.device)?;
        Ok(BTreeMap::from([("theta".to_owned(), Payload::Bytes(theta.encode()?))]))
    }
}

/// What an epoch says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    /// Mean over the batches of the loss that was trained on, each at the θ of its moment.
    loss: f64,
}

/// The action that trains one epoch.
pub struct Epoch;

impl ActionKind for Epoch {
    fn name(&self) -> &'static str {
        "epoch"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let training = replay::training(cx, &objective)?;
        let (state, running) = training.run_epoch(&objective, replay::before(cx, &objective)?, &|| cx.cancelled())?;
        let mut produced = produced(&state)?;
        let loss = running.mean().unwrap_or_default();
        produced.insert("summary".to_owned(), json(&Running { loss }));
        Ok(produced)
    }
}

/// θ and the momentum buffer of a state, each an output of its own.
///
/// # Errors
/// candle's, passed on.
pub fn produced(state: &TrainingState) -> Result<Produced, Failure> {
    let mut produced = BTreeMap::from([("theta".to_owned(), Payload::Bytes(state.theta.encode()?))]);
    if let Some(buffer) = &state.buffer {
        produced.insert("velocity".to_owned(), Payload::Bytes(encode_flat(buffer)?));
    }
    Ok(produced)
}
