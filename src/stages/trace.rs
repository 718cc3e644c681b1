//! `trace-estimate`: the trace of a matrix of the loss at each point: by Hutchinson's estimator, the same beside a subspace that is found
//! at the first point of each block of epochs, or by XTrace. All points share their probes, so that differences along a path have errors of their own.

use std::sync::Arc;

use super::estimate::{LayerForm, Probe, ScaledForm};
use super::estimator::{Estimator, Found};
use super::foresee::Foreseen;
use super::index::{self, Chosen, Point, Points};
use super::setting::Computing;
use super::tables;
use super::train::summary;
use crate::execute::{Failure, Place, StageContext, Work};
use crate::key::{Identity, Outputs, Record, Walk};
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
    scale_invariant: Identity<bool>,
    computing: Computing,
}

impl Kind for TraceEstimate {
    fn name(&self) -> &'static str {
        "trace-estimate"
    }

    fn version(&self) -> u32 {
        4
    }

    fn about(&self) -> &'static str {
        "Estimates the trace of the Hessian, or of a matrix beside it, at points with random probes."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points", &index::POINTS);
        let chosen = Chosen::read(reader);
        let estimator = Estimator::read(reader);
        let per_layer = "also the trace of each parameter tensor's own block, from one product a probe";
        let scale_invariant = "also ‖θ‖ and Σ ‖θₗ‖² tr Aₗₗ over parameter tensors l, from one quadratic form more a probe: batch norm lets tr A fall just because weights grow, and not this";
        Arc::new(TraceParams {
            chosen,
            estimator,
            per_layer: reader.flag("per_layer", per_layer).default(false).identity(),
            scale_invariant: reader.flag("scale_invariant", scale_invariant).default(false).identity(),
            computing: Computing::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states", "minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &TraceParams = params.of();
        let Some(points) = index::foreseen_points(foresight, "from") else { return Forecast::unknown() };
        let points = points.computed(&params.computing, foresight.backend);
        let mut foreseen = Foreseen::new(foresight, &[&Probe]);
        let chosen = params.chosen(&points);
        params.estimator.foresee(&points, &chosen, &mut foreseen);
        for point in &chosen {
            let layers = params.per_layer.then(|| params.estimator.layer_probes(&points.states, point));
            let scaled = params.scale_invariant.then(|| params.estimator.scaled_probes(&points.states, point));
            layers.iter().chain(&scaled).flatten().for_each(|probe| drop(foreseen.call(probe)));
        }
        foreseen.forecast()
    }
}

impl Params for TraceParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.chosen.walk(walk);
        self.estimator.walk(walk);
        walk.identity("per_layer", &self.per_layer).identity("scale_invariant", &self.scale_invariant);
        self.computing.walk(walk);
    }
}

impl TraceParams {
    fn chosen<'p>(&self, points: &'p Points) -> Vec<&'p Point> {
        self.chosen.of(points)
    }

    /// ‖θ‖ and the scale-invariant trace of each chosen point, where they are asked for.
    fn scaled(&self, cx: &StageContext<'_>, points: &Points) -> Result<Vec<Option<(f64, Estimate)>>, Failure> {
        let chosen = self.chosen(points);
        if !*self.scale_invariant {
            return Ok(vec![None; chosen.len()]);
        }
        let probes: Vec<_> = chosen.iter().map(|point| self.estimator.scaled_probes(&points.states, point)).collect();
        let found = |records: &Vec<Record>| {
            let forms: Vec<ScaledForm> =
                records.iter().map(|record| summary(record, "summary")).collect::<Result<_, _>>()?;
            let estimate = Estimate::of(&forms.iter().map(|form| form.quadratic_form).collect::<Vec<_>>())?;
            Ok(Some((forms[0].theta_norm, estimate)))
        };
        cx.map_groups(&probes)?.iter().map(found).collect()
    }

    /// The traces of the single parts of θ.
    fn layers(&self, cx: &StageContext<'_>, points: &Points) -> Result<Table, Failure> {
        let (states, chosen) = (&points.states, self.chosen(points));
        let probes: Vec<_> = chosen.iter().map(|point| self.estimator.layer_probes(states, point)).collect();
        let records = cx.map_groups(&probes)?;
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
        let points = index::points(cx, "from")?.computed(&self.computing, cx.backend());
        let chosen = self.chosen(&points);
        // A product, and a quadratic form each.
        let further = u64::from(*self.per_layer) + u64::from(*self.scale_invariant);
        let further = further * self.estimator.further_units();
        cx.expect(chosen.len() as u64 * (self.estimator.units() + further), "probes");
        self.estimator.warnings(*self.per_layer).into_iter().for_each(|warning| cx.warn(warning));
        let mut table = tables::table(&COLUMNS);
        let mut single = tables::table(&[("epoch", ""), ("iteration", ""), ("probe", ""), ("quadratic_form", "nats")]);
        let found = self.estimator.find(cx, &points, &chosen)?;
        for ((point, found), scaled) in chosen.iter().zip(found).zip(self.scaled(cx, &points)?) {
            let epoch = points.states.epoch_of(point.iteration);
            for (index, &form) in found.forms.iter().enumerate() {
                let index = tables::count(index as u64);
                single.rows.push(vec![Cell::Number(epoch), tables::count(point.iteration), index, Cell::Number(form)]);
            }
            row(&mut table, epoch, point, (&found, further, scaled));
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

const COLUMNS: [(&str, &str); 13] = [
    ("epoch", ""),
    ("iteration", ""),
    ("trace", "nats"),
    ("sd", "nats"),
    ("stderr", "nats"),
    ("probes", ""),
    ("products", ""),
    ("theta_norm", ""),
    ("scale_invariant_trace", "nats"),
    ("scale_invariant_trace_stderr", "nats"),
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

/// One point: what was found of it, the products that it took beyond, and its scale-invariant trace.
fn row(table: &mut Table, epoch: f64, point: &Point, (found, further, scaled): (&Found, u64, Option<(f64, Estimate)>)) {
    let minimum = point.minimum.as_ref();
    let mut row = vec![
        Cell::Number(epoch),
        tables::count(point.iteration),
        Cell::Number(found.estimate.mean),
        Cell::Number(found.estimate.sd),
        Cell::Number(found.estimate.stderr),
        tables::count(found.estimate.count as u64),
        tables::count(found.products + further),
        tables::number(scaled.map(|(norm, _)| norm)),
        tables::number(scaled.map(|(_, estimate)| estimate.mean)),
        tables::number(scaled.map(|(_, estimate)| estimate.stderr)),
    ];
    row.extend(tables::ending(minimum, minimum.map(|minimum| minimum.loss)));
    table.rows.push(row);
}
