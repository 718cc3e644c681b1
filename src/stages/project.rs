//! `gd-project`: each state to the minimum below it by gradient descent with the training's settings and no noise. How a single descent
//! goes is in `descend`.

use std::sync::Arc;

use super::descend::Projector;
use super::evaluate::{Evaluated, evaluation};
use super::index::{self, Minima, State, States};
use super::train::summary;
use super::{foresee, replay, setting, tables};
use crate::execute::{Action, Failure, Place, StageContext, Work};
use crate::key::{Execution, Horizon, Identity, Ingredients, Inputs, Outputs, Record, Records, Walk};
use crate::manifest::{Count, Forecast, Kind, Params, Reader};
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
