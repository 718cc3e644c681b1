//! The lists that stages hand on: states of a training, minima of a projection. They name bytes by digest and say which function and
//! which training they belong to, so that whoever comes later can replay, descend and probe.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::replay::LR;
use super::setting::{Computing, Setting};
use crate::execute::{Failure, StageContext};
use crate::key::{Horizon, Ingredients, Output, Walk, behind};
use crate::manifest::{Foresight, Reader};

/// A point of a training: θ, the optimizer's buffer, and the position, each apart, so that what depends on θ depends on it alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Iterations since the training began.
    pub iteration: u64,
    /// The parameters.
    pub theta: Output,
    /// The momentum buffer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub velocity: Option<Output>,
}

/// The states of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct States {
    /// The function that was minimised.
    pub setting: Setting,
    /// The samples that training never saw.
    pub validation: Output,
    /// What the training was, as it enters keys.
    pub training: Ingredients,
    /// Iterations in an epoch.
    pub iterations_per_epoch: u64,
    /// The states at the ends of its epochs, the start first.
    pub epochs: Vec<State>,
    /// The states that were asked for; where nothing else was, those of `epochs`.
    pub chosen: Vec<State>,
    /// How a card computed the training, where that is not the default: a replay computes as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric: Option<String>,
    /// Where a training whose epochs are longer or shorter stood when this one began at one of its points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A point of another training by both its counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The iteration.
    pub iteration: u64,
    /// The epoch, and the part of one.
    pub epoch: f64,
}

impl States {
    /// The same states of the function as a stage computes it.
    #[must_use]
    pub fn computed(self, computing: &Computing, backend: &str) -> Self {
        Self { setting: computing.of(self.setting, backend), ..self }
    }

    /// The epoch, and the part of one, at which an iteration lies.
    pub fn epoch_of(&self, iteration: u64) -> f64 {
        self.epoch_at(iteration as f64)
    }

    /// The largest eigenvalue at which gradient descent with the training's learning rate and momentum is stable: 2(1 + μ)/η.
    ///
    /// # Errors
    /// If what is recorded of the training does not read.
    pub fn steepest(&self) -> Result<f64, Failure> {
        let number = |name: &str, default: f64| self.training.param(name, default).map_err(Failure::work);
        Ok(2.0 * (1.0 + number("momentum", 0.0)?) / number("lr", LR)?)
    }

    /// Whether epochs are iterations over iterations an epoch, from the first training on.
    pub fn counts_on(&self) -> bool {
        let Some(Origin { iteration, epoch }) = self.origin else { return true };
        let plain = iteration as f64 / self.iterations_per_epoch as f64;
        plain.to_bits() == epoch.to_bits()
    }

    /// As [`epoch_of`](Self::epoch_of), of a point between two iterations.
    pub fn epoch_at(&self, iteration: f64) -> f64 {
        let Origin { iteration: first, epoch } = self.origin.unwrap_or(Origin { iteration: 0, epoch: 0.0 });
        epoch + (iteration - first as f64) / self.iterations_per_epoch as f64
    }
}

/// A state projected to the valley floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minimum {
    /// The iteration of the training whose state was projected.
    pub iteration: u64,
    /// The parameters at the end of the descent.
    pub theta: Output,
    /// Steps of the descent.
    pub steps: u64,
    /// The excess loss at its end.
    pub loss: f64,
    /// How far the descent moved: ‖θ₁ − θ₀‖, from its start to its end.
    pub distance: f64,
    /// Whether the loss is below the target; otherwise the descent hit its cap.
    pub reached: bool,
}

/// Minima along one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minima {
    /// The training.
    pub states: States,
    /// The descent, as it enters keys: learning rate, momentum, target.
    pub descent: Ingredients,
    /// The cap on its steps.
    pub max_steps: u64,
    /// The minima, by iteration.
    pub points: Vec<Minimum>,
}

/// Points at which something is measured, whatever made them.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// The training that they come from.
    pub states: States,
    /// The points, with what a descent found of each, where there was one.
    pub points: Vec<Point>,
}

/// Which of the points a stage measures.
#[derive(Clone, Debug)]
pub struct Chosen {
    every: Horizon<u64>,
    last: Horizon<String>,
}

impl Chosen {
    /// Reads the fields.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let states_doc = "all of the points, or the last alone";
        let names = [(ALL, ALL.to_owned()), (LAST, LAST.to_owned())];
        Self {
            every: reader.count("every", "every so many of the points").default(1).at_least(1).horizon(),
            last: reader.choice("states", states_doc, &names).default(ALL.to_owned()).horizon(),
        }
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.horizon("every", &self.every);
        if *self.last != ALL {
            walk.horizon("states", &self.last);
        }
    }

    /// Those of a list.
    pub fn of<'p>(&self, points: &'p Points) -> Vec<&'p Point> {
        if *self.last == LAST {
            return points.points.last().into_iter().collect();
        }
        points.points.iter().step_by(*self.every as usize).collect()
    }
}

const ALL: &str = "all";
const LAST: &str = "last";

/// One such point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The iteration of the training.
    pub iteration: u64,
    /// The parameters.
    pub theta: Output,
    /// The minimum that it is, if it is one.
    pub minimum: Option<Minimum>,
}

/// Kinds that give states.
pub const STATES: [&str; 3] = ["train", "checkpoint", "import"];
/// Kinds that give states or minima.
pub const POINTS: [&str; 5] = ["train", "checkpoint", "import", "gd-project", "connectedness-bisect"];

/// The states that a reference leads to: those of a training, or the training behind its minima.
///
/// # Errors
/// If their bytes are absent.
pub fn states(cx: &StageContext<'_>, field: &str) -> Result<States, Failure> {
    if cx.input(field).outputs.contains_key("states") {
        read(cx, field, "states")
    } else {
        Ok(minima(cx, field)?.states)
    }
}

/// The minima that a reference leads to.
///
/// # Errors
/// If their bytes are absent.
pub fn minima(cx: &StageContext<'_>, field: &str) -> Result<Minima, Failure> {
    read(cx, field, "minima")
}

/// The points that a reference leads to.
///
/// # Errors
/// If their bytes are absent.
pub fn points(cx: &StageContext<'_>, field: &str) -> Result<Points, Failure> {
    if cx.input(field).outputs.contains_key("minima") {
        return Ok(minima(cx, field)?.into());
    }
    Ok(states(cx, field)?.into())
}

impl Minima {
    /// As [`States::computed`].
    #[must_use]
    pub fn computed(self, computing: &Computing, backend: &str) -> Self {
        Self { states: self.states.computed(computing, backend), ..self }
    }
}

impl Points {
    /// As [`States::computed`].
    #[must_use]
    pub fn computed(self, computing: &Computing, backend: &str) -> Self {
        Self { states: self.states.computed(computing, backend), ..self }
    }
}

impl From<Minima> for Points {
    fn from(Minima { states, points, .. }: Minima) -> Self {
        let point = |minimum: Minimum| Point {
            iteration: minimum.iteration,
            theta: minimum.theta.clone(),
            minimum: Some(minimum),
        };
        Self { states, points: points.into_iter().map(point).collect() }
    }
}

impl From<States> for Points {
    fn from(states: States) -> Self {
        let point = |state: &State| Point { iteration: state.iteration, theta: state.theta.clone(), minimum: None };
        let points = states.chosen.iter().map(point).collect();
        Self { states, points }
    }
}

/// The states that a reference will lead to, as far as their bytes are there.
pub fn foreseen_states(foresight: &Foresight<'_>, field: &str) -> Option<States> {
    foreseen(foresight, field, "states").or_else(|| foreseen_minima(foresight, field).map(|minima| minima.states))
}

/// The minima that a reference will lead to, as far as their bytes are there.
pub fn foreseen_minima(foresight: &Foresight<'_>, field: &str) -> Option<Minima> {
    foreseen(foresight, field, "minima")
}

/// The points that a reference will lead to, as far as their bytes are there.
pub fn foreseen_points(foresight: &Foresight<'_>, field: &str) -> Option<Points> {
    let minima = foreseen_minima(foresight, field).map(Points::from);
    minima.or_else(|| foreseen::<States>(foresight, field, "states").map(Points::from))
}

fn foreseen<T: DeserializeOwned>(foresight: &Foresight<'_>, field: &str, name: &str) -> Option<T> {
    let output = behind(foresight.inputs, field).first()?.outputs.get(name)?;
    serde_json::from_slice(&foresight.known.bytes(output)?).ok()
}

fn read<T: DeserializeOwned>(cx: &StageContext<'_>, field: &str, name: &str) -> Result<T, Failure> {
    let input = cx.input(field);
    let unfit = |problem: String| Failure::Work(format!("`{}` has no readable `{name}`: {problem}", input.instance));
    let output = input.outputs.get(name).ok_or_else(|| unfit("it made none".to_owned()))?;
    serde_json::from_slice(&cx.read(output)?).map_err(|error| unfit(error.to_string()))
}

/// A list from its bytes.
///
/// # Errors
/// If it is of another program.
pub fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Work(format!("a list in the cache does not read: {error}")))
}

/// The bytes of a list, kept.
///
/// # Errors
/// If the store cannot keep them.
pub fn keep<T: Serialize>(cx: &StageContext<'_>, list: &T) -> Result<Output, Failure> {
    cx.keep(&serde_json::to_vec(list).expect("invariant: lists serialise"))
}
