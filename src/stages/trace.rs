//! `trace-estimate`: the Hessian's trace at each point by Hutchinson's estimator. One record per point and probe; the missing ones of a
//! point run together, sharing the value pass, and the bytes do not depend on how they are grouped. All points share their probes, so
//! that differences along a path have errors of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::foresee::Foreseen;
use super::index::{self, Points};
use super::train::{json, summary};
use super::{setting, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Place, Produced, StageContext, Work};
use crate::key::{Execution, Horizon, Identity, Output, Outputs, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::trace::{Estimate, probes};
use crate::ml::rng::Stream;
use crate::plot::{Cell, Table};

/// Seed of the probes, where the manifest does not say.
const SEED: u64 = 0;

/// The kind.
pub struct TraceEstimate;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct TraceParams {
    probes: Horizon<u64>,
    every: Horizon<u64>,
    seed: Identity<u64>,
    device: Execution<String>,
}

impl Kind for TraceEstimate {
    fn name(&self) -> &'static str {
        "trace-estimate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Estimates the trace of the Hessian at points with Rademacher probes."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points", &index::POINTS);
        Arc::new(TraceParams {
            probes: reader
                .count("probes", "how many probes a point")
                .default(10)
                .at_least(2)
                .at_most(u32::MAX)
                .horizon(),
            every: reader.count("every", "every so many of the points").default(1).at_least(1).horizon(),
            seed: reader.count("seed", "of the probes").default(SEED).identity(),
            device: setting::read_device(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states", "minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &TraceParams = params.of();
        let Some(points) = index::foreseen_points(foresight, "from") else { return Forecast::unknown() };
        let mut foreseen = Foreseen::new(foresight, &[&Probe]);
        for probe in params.probes(&params.chosen(points)).iter().flatten() {
            foreseen.call(probe);
        }
        foreseen.forecast()
    }
}

impl Params for TraceParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.horizon("probes", &self.probes)
            .horizon("every", &self.every)
            .identity("seed", &self.seed)
            .execution("device", &self.device);
    }
}

impl TraceParams {
    fn chosen(&self, points: Points) -> Points {
        let Points { states, points } = points;
        Points { states, points: points.into_iter().step_by(*self.every as usize).collect() }
    }

    /// The probes of each point.
    fn probes(&self, Points { states, points }: &Points) -> Vec<Vec<Action>> {
        let probe = |theta: &Output, index| {
            states.setting.action(&Probe).with("seed", &self.seed).position("index", index).input("theta", theta)
        };
        points.iter().map(|point| (0..*self.probes).map(|index| probe(&point.theta, index)).collect()).collect()
    }
}

impl Work for TraceParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let points = self.chosen(index::points(cx, "from")?);
        cx.expect(points.points.len() as u64 * *self.probes, "probes");
        let records = cx.map_groups(self.probes(&points))?;
        let Points { states, points } = points;
        let mut table = tables::table(&COLUMNS);
        let mut single = tables::table(&[("epoch", ""), ("iteration", ""), ("probe", ""), ("quadratic_form", "nats")]);
        for (point, records) in points.iter().zip(&records) {
            let epoch = states.epoch_of(point.iteration);
            let mut forms = Vec::with_capacity(records.len());
            for (index, record) in records.iter().enumerate() {
                let form = summary::<Form>(record, "summary")?.quadratic_form;
                let index = tables::count(index as u64);
                single.rows.push(vec![Cell::Number(epoch), tables::count(point.iteration), index, Cell::Number(form)]);
                forms.push(form);
            }
            row(&mut table, epoch, point, &Estimate::of(&forms)?);
        }
        let (table, single) = (tables::keep(cx, &table)?, tables::keep(cx, &single)?);
        Ok(Outputs::from([("table".to_owned(), table), ("probes".to_owned(), single)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let mut places = tables::place(instance);
        places.push(("probes".to_owned(), Place::Result(tables::file(instance, "probes.csv"))));
        places
    }
}

const COLUMNS: [(&str, &str); 9] = [
    ("epoch", ""),
    ("iteration", ""),
    ("trace", "nats"),
    ("sd", "nats"),
    ("stderr", "nats"),
    ("probes", ""),
    ("loss", "nats"),
    ("descent_steps", ""),
    ("reached", ""),
];

fn row(table: &mut Table, epoch: f64, point: &index::Point, estimate: &Estimate) {
    let minimum = point.minimum.as_ref();
    let reached = |minimum: &index::Minimum| Cell::Text(if minimum.reached { "yes" } else { "no" }.to_owned());
    table.rows.push(vec![
        Cell::Number(epoch),
        tables::count(point.iteration),
        Cell::Number(estimate.mean),
        Cell::Number(estimate.sd),
        Cell::Number(estimate.stderr),
        tables::count(estimate.count as u64),
        tables::number(minimum.map(|minimum| minimum.loss)),
        minimum.map_or(Cell::Empty, |minimum| tables::count(minimum.steps)),
        minimum.map_or(Cell::Empty, reached),
    ]);
}

/// What a probe found.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    /// vᵀHv.
    quadratic_form: f64,
}

/// The action: vᵀHv at a point, v a vector of signs addressed by seed and index.
pub struct Probe;

impl ActionKind for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let mut produced = self.run_group(std::slice::from_ref(cx))?;
        Ok(produced.remove(0))
    }

    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        let cx = &group[0];
        let objective = setting::objective(cx)?;
        let theta = setting::theta(cx, "theta", &objective)?;
        let stream = Stream::new(cx.param("seed", SEED)?, "probe");
        let mut indices = Vec::with_capacity(group.len());
        for cx in group {
            indices.push(cx.required::<u64>("index")? as u32);
        }
        let forms = probes(&objective, &theta, &stream, &indices, &|| cx.cancelled())?;
        let produced = |&quadratic_form: &f64| BTreeMap::from([("summary".to_owned(), json(&Form { quadratic_form }))]);
        Ok(forms.iter().map(produced).collect())
    }
}
