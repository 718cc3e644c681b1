//! `gd-project`: each state to the minimum below it by gradient descent with the training's settings and no noise. How a single descent
//! goes is in `descend`.

use std::sync::Arc;

use super::descend::{Descent, Projector};
use super::evaluate::{Evaluate, Evaluated, evaluation};
use super::foresee::{self, Foreseen};
use super::index::{self, Minima, State, States};
use super::setting::Computing;
use super::train::summary;
use super::{replay, tables};
use crate::execute::{Action, Failure, Place, StageContext, Work};
use crate::key::{Horizon, Identity, Ingredients, Outputs, Record, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::plot::{Cell, Table};

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
    states: Horizon<String>,
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
    computing: Computing,
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
        if reader.reference_if_any("until_loss_of", doc, &index::STATES).is_some() {
            for other in ["until", "until_loss"] {
                if reader.is_given(other) {
                    reader.problem(
                        other,
                        format!("`until_loss_of` says what the target is: `{other}` does not go with it"),
                    );
                }
            }
        }
        let states = ["all", "last"].map(|name| (name, name.to_owned()));
        let states_doc = "`all`: every `every`th state from the epoch `first` on; `last`: the last state alone";
        Arc::new(ProjectParams {
            states: reader.choice("states", states_doc, &states).default("all".to_owned()).horizon(),
            first: reader.count("first", "the first epoch whose state is projected").default(0).horizon(),
            every: reader.count("every", "project every so many of the states").default(1).at_least(1).horizon(),
            descent: DescentParams::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<ProjectParams>().foresee(foresight).unwrap_or_default()
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
            computing: Computing::read(reader),
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
        if *self.states != "all" {
            walk.horizon("states", &self.states);
        }
        walk.horizon("first", &self.first)
            .horizon("every", &self.every)
            .identity("until", &descent.until)
            .identity("until_loss", &descent.until_loss)
            .identity("lr", &Identity::with_default(descent.lr, None))
            .identity("momentum", &Identity::with_default(descent.momentum, None))
            .horizon("max_steps", &descent.max_steps)
            .identity("on_cap", &descent.on_cap);
        descent.computing.walk(walk);
    }
}

impl Work for ProjectParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let states = index::states(cx, "from")?.computed(&self.descent.computing, cx.backend());
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
        if *self.states == "last" {
            return states.chosen.last().cloned().into_iter().collect();
        }
        let first = self.first.0 as f64;
        let late = |state: &&State| states.epoch_of(state.iteration) >= first;
        states.chosen.iter().filter(late).step_by(self.every.0 as usize).cloned().collect()
    }

    fn projector(&self, states: &States, target: f64) -> Projector {
        let descent = self.descent.ingredients(states, target);
        Projector { setting: states.setting.clone(), descent, max_steps: *self.descent.max_steps }
    }

    fn target(&self, cx: &StageContext<'_>, states: &States) -> Result<f64, Failure> {
        let other = match cx.inputs("until_loss_of") {
            [] => None,
            _ => Some(index::states(cx, "until_loss_of")?.computed(&self.descent.computing, cx.backend())),
        };
        match self.measures(states, other.as_ref())? {
            Some(evaluations) => least_loss(&cx.map(evaluations)?),
            None => Ok(*self.descent.until_loss),
        }
    }

    /// The evaluations whose least loss is the target; none where the manifest says it.
    fn measures(&self, states: &States, other: Option<&States>) -> Result<Option<Vec<Action>>, Failure> {
        let evaluation = |states: &States, state: &State| evaluation(&states.setting, &states.validation, &state.theta);
        if let Some(other) = other {
            let last = other.chosen.last().ok_or_else(|| Failure::work("the stage `until_loss_of` has no states"))?;
            return Ok(Some(vec![evaluation(other, last)]));
        }
        let each = || states.epochs.iter().map(|state| evaluation(states, state)).collect();
        Ok((*self.descent.until != "loss").then(each))
    }

    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let states = index::foreseen_states(foresight, "from")?.computed(&self.descent.computing, foresight.backend);
        let other = match behind(foresight.inputs, "until_loss_of") {
            [] => None,
            _ => Some(
                index::foreseen_states(foresight, "until_loss_of")?
                    .computed(&self.descent.computing, foresight.backend),
            ),
        };
        let mut foreseen = Foreseen::new(foresight, &[&Descent, &Evaluate]);
        let target = match self.measures(&states, other.as_ref()).ok()? {
            Some(evaluations) => {
                let evaluated: Vec<_> = evaluations.iter().map(|action| foreseen.call(action)).collect();
                evaluated.into_iter().collect::<Option<Vec<_>>>().and_then(|records| least_loss(&records).ok())
            }
            None => Some(*self.descent.until_loss),
        };
        match target.map(|target| self.projector(&states, target)) {
            Some(projector) => self.chosen(&states).iter().for_each(|state| {
                foresee::descent(&projector, &states, Some(&state.theta), &mut foreseen);
            }),
            None => foreseen.open_end(&[&Descent, &Evaluate]),
        }
        Some(foreseen.forecast())
    }
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
