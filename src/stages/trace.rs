//! `trace-estimate`: the trace of a matrix of the loss at each point: by Hutchinson's estimator, the same beside a subspace that is found
//! at the first point of each block of epochs, or by XTrace. All points share their probes, so that differences along a path have errors of their own.

use std::sync::Arc;

use super::estimate::{LayerForm, Probe};
use super::estimator::{Estimator, Found};
use super::foresee::Foreseen;
use super::index::{self, Chosen, Point, Points};
use super::{setting, tables};
use crate::execute::{Failure, Place, StageContext, Work};
use crate::key::{Execution, Identity, Outputs, Record, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::trace::Estimate;
use crate::plot::{Cell, Table};

/// The kind.
pub struct TraceEstimate;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct TraceParams {
    chosen: Chosen,
    estimator: Estimator,
    per_layer: Identity<bool>,
    device: Execution<String>,
}

impl Kind for TraceEstimate {
    fn name(&self) -> &'static str {
        "trace-estimate"
    }

    fn version(&self) -> u32 {
        3
    }

    fn about(&self) -> &'static str {
        "Estimates the trace of the Hessian, or of a matrix beside it, at points with random probes."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points", &index::POINTS);
        let chosen = Chosen::read(reader);
        let estimator = Estimator::read(reader);
        let per_layer = "also the trace of each parameter tensor's own block, from one product a probe";
        Arc::new(TraceParams {
            chosen,
            estimator,
            per_layer: reader.flag("per_layer", per_layer).default(false).identity(),
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
        let chosen = params.chosen(&points);
        params.estimator.foresee(&points, &chosen, &mut foreseen);
        if *params.per_layer {
            let probes = chosen.iter().flat_map(|point| params.estimator.layer_probes(&points.states, point));
            probes.for_each(|probe| drop(foreseen.call(&probe)));
        }
        foreseen.forecast()
    }
}

impl Params for TraceParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.chosen.walk(walk);
        self.estimator.walk(walk);
        walk.identity("per_layer", &self.per_layer).execution("device", &self.device);
    }
}

impl TraceParams {
    fn chosen<'p>(&self, points: &'p Points) -> Vec<&'p Point> {
        self.chosen.of(points)
    }

    /// The traces of the single parts of θ.
    fn layers(&self, cx: &StageContext<'_>, points: &Points) -> Result<Table, Failure> {
        let (states, chosen) = (&points.states, self.chosen(points));
        let probes = chosen.iter().map(|point| self.estimator.layer_probes(states, point)).collect();
        let records = cx.map_groups(probes)?;
        let mut table = tables::table(&LAYER_COLUMNS);
        for (point, records) in chosen.iter().zip(&records) {
            let read = |record: &Record| tables::json::<Vec<LayerForm>>(cx, record, "layers");
            let probes = records.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            for (at, layer) in probes[0].iter().enumerate() {
                let estimate = Estimate::of(&probes.iter().map(|probe| probe[at].form).collect::<Vec<_>>())?;
                table.rows.push(vec![
                    Cell::Number(states.epoch_of(point.iteration)),
                    tables::count(point.iteration),
                    Cell::Text(layer.layer.clone()),
                    tables::count(layer.parameters),
                    Cell::Number(layer.norm),
                    Cell::Number(estimate.mean),
                    Cell::Number(estimate.sd),
                    Cell::Number(estimate.stderr),
                    tables::count(estimate.count as u64),
                ]);
            }
        }
        Ok(table)
    }
}

impl Work for TraceParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let points = index::points(cx, "from")?;
        let chosen = self.chosen(&points);
        // One product each.
        let layers = if *self.per_layer { self.estimator.layer_units() } else { 0 };
        cx.expect(chosen.len() as u64 * (self.estimator.units() + layers), "probes");
        self.estimator.warnings(*self.per_layer).into_iter().for_each(|warning| cx.warn(warning));
        let mut table = tables::table(&COLUMNS);
        let mut single = tables::table(&[("epoch", ""), ("iteration", ""), ("probe", ""), ("quadratic_form", "nats")]);
        for (point, found) in chosen.iter().zip(self.estimator.find(cx, &points, &chosen)?) {
            let epoch = points.states.epoch_of(point.iteration);
            for (index, &form) in found.forms.iter().enumerate() {
                let index = tables::count(index as u64);
                single.rows.push(vec![Cell::Number(epoch), tables::count(point.iteration), index, Cell::Number(form)]);
            }
            row(&mut table, epoch, point, (&found, layers));
        }
        let mut outputs = Outputs::from([
            ("table".to_owned(), tables::keep(cx, &table)?),
            ("probes".to_owned(), tables::keep(cx, &single)?),
        ]);
        if *self.per_layer {
            outputs.insert("layers".to_owned(), tables::keep(cx, &self.layers(cx, &points)?)?);
        }
        Ok(outputs)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let mut places = tables::place(instance);
        places.push(("probes".to_owned(), Place::Result(tables::file(instance, "probes.csv"))));
        if *self.per_layer {
            places.push(("layers".to_owned(), Place::Result(tables::file(instance, "layers.csv"))));
        }
        places
    }
}

const COLUMNS: [(&str, &str); 10] = [
    ("epoch", ""),
    ("iteration", ""),
    ("trace", "nats"),
    ("sd", "nats"),
    ("stderr", "nats"),
    ("probes", ""),
    ("products", ""),
    ("loss", "nats"),
    ("descent_steps", ""),
    ("reached", ""),
];

const LAYER_COLUMNS: [(&str, &str); 9] = [
    ("epoch", ""),
    ("iteration", ""),
    ("layer", ""),
    ("parameters", ""),
    ("norm", ""),
    ("trace", "nats"),
    ("sd", "nats"),
    ("stderr", "nats"),
    ("probes", ""),
];

/// One point: what was found of it, and the products that its layers took.
fn row(table: &mut Table, epoch: f64, point: &Point, (found, layers): (&Found, u64)) {
    let minimum = point.minimum.as_ref();
    let reached = |minimum: &index::Minimum| Cell::Text(if minimum.reached { "yes" } else { "no" }.to_owned());
    table.rows.push(vec![
        Cell::Number(epoch),
        tables::count(point.iteration),
        Cell::Number(found.estimate.mean),
        Cell::Number(found.estimate.sd),
        Cell::Number(found.estimate.stderr),
        tables::count(found.estimate.count as u64),
        tables::count(found.products + layers),
        tables::number(minimum.map(|minimum| minimum.loss)),
        minimum.map_or(Cell::Empty, |minimum| tables::count(minimum.steps)),
        minimum.map_or(Cell::Empty, reached),
    ]);
}
