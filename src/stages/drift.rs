//! `drift`: how fast the theory lets SGD's noise lower the trace of the Hessian at points of a training, beside what the trace did between
//! them. With labels drawn at each visit the gradients of a batch of S have covariance H/S at the bottom, and with them the trace changes by
//! −(k/S)(ηₑ²/4)‖∇̂T‖² an iteration, ηₑ = η(1 − ν)/(1 − μ).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::curved::{SEED, probes};
use super::evaluate::{self, Evaluate};
use super::foresee::Foreseen;
use super::index::{self, Chosen, Point, States};
use super::setting::Computing;
use super::train::{json, samples};
use super::{replay, setting, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Place, Produced, StageContext, Work};
use crate::key::{Identity, Outputs, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::deflation::Subspace;
use crate::ml::curvature::drift::TraceGradient;
use crate::ml::curvature::operator::At;
use crate::ml::curvature::trace::Estimate;
use crate::ml::data::Sampling;
use crate::ml::loss::Labels;
use crate::ml::optim::Schedule;
use crate::ml::rng::Stream;
use crate::plot::Cell;

/// Steps of the Lanczos run that finds the steep space, where the manifest does not say.
const STEPS: u64 = 400;
/// Probes a point, where the manifest does not say.
const PROBES: u64 = 20;

/// The kind.
pub struct Drift;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct DriftParams {
    chosen: Chosen,
    steep_above: Identity<f64>,
    steps: Identity<u64>,
    probes: Identity<u64>,
    k: Identity<Option<f64>>,
    seed: Identity<u64>,
    computing: Computing,
}

impl Kind for Drift {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Predicts from the gradient of the trace how fast SGD's noise lowers the trace of the Hessian, beside what it did."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points, minima by preference", &index::POINTS);
        let steep = "eigenvalues λ above it are steep, the space beside theirs is the null space: over n iterations directions with λ above 1/(ηₑn) relax, and those below drift";
        let k = "the factor k by which the covariance of a sample's gradient is kH; by default 1, as it is at the bottom of cross-entropy where labels are drawn at each visit. For any other training the k that `alignment` measures";
        Arc::new(DriftParams {
            chosen: Chosen::read(reader),
            steep_above: reader.float("steep_above", steep).required().positive().identity(),
            steps: reader
                .count("steps", "products of the Lanczos run that finds the steep space: more than its dimension")
                .default(STEPS)
                .at_least(1)
                .identity(),
            probes: reader
                .count("probes", "probes of signs a point; each takes three quadratic forms")
                .default(PROBES)
                .at_least(3)
                .at_most(u32::MAX)
                .identity(),
            k: reader.float("k", k).positive().optional().identity(),
            seed: reader.count("seed", "of the probes and the Lanczos run").default(SEED).identity(),
            computing: Computing::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states", "minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &DriftParams = params.of();
        let Some(points) = index::foreseen_points(foresight, "from") else { return Forecast::unknown() };
        let points = points.computed(&params.computing, foresight.backend);
        let mut foreseen = Foreseen::new(foresight, &[&GradientOfTrace, &Evaluate]);
        for point in params.chosen.of(&points) {
            foreseen.call(&params.gradient(&points.states, point));
            evaluate::foresee_loss(&points.states, point, &mut foreseen);
        }
        foreseen.forecast()
    }
}

impl Params for DriftParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.chosen.walk(walk);
        walk.identity("steep_above", &self.steep_above)
            .identity("steps", &self.steps)
            .identity("probes", &self.probes)
            .identity("k", &self.k)
            .identity("seed", &self.seed);
        self.computing.walk(walk);
    }
}

const COLUMNS: [(&str, &str); 15] = [
    ("epoch", ""),
    ("iteration", ""),
    ("trace", "nats"),
    ("trace_stderr", "nats"),
    ("gradient_square", "nats^2"),
    ("gradient_square_stderr", "nats^2"),
    ("drift", "nats"),
    ("drift_stderr", "nats"),
    ("trace_change", "nats"),
    ("trace_change_stderr", "nats"),
    ("predicted_trace_change", "nats"),
    ("predicted_trace_change_stderr", "nats"),
    ("ratio", ""),
    ("ratio_stderr", ""),
    ("steep_dimensions", ""),
];

impl DriftParams {
    fn gradient(&self, states: &States, point: &Point) -> Action {
        let action = states.setting.action(&GradientOfTrace).input("theta", &point.theta);
        let action = action.with("steep_above", &self.steep_above).with("steps", &self.steps);
        action.with("probes", &self.probes).with("seed", &self.seed)
    }

    /// k, where it is given or known; and that the formula is this training's.
    fn k(&self, states: &States) -> Result<f64, Failure> {
        let training = &states.training;
        let refuse = |what: &str| Err(Failure::Work(format!("the drift is another {what}")));
        if training.param("noise", "sgd".to_owned()).map_err(Failure::work)? != "sgd" {
            return refuse("than that of SGD's noise: the training in `from` has other noise, or none");
        }
        if training.param("nesterov", false).map_err(Failure::work)? {
            return refuse("with Nesterov's look-ahead");
        }
        if training.param("schedule", Schedule::Constant).map_err(Failure::work)? != Schedule::Constant {
            return refuse("with a learning rate that changes");
        }
        if training.param("weight_decay", 0.0).map_err(Failure::work)? != 0.0 {
            return refuse("with weight decay");
        }
        let drawn = training.param("labels", Labels::Soft).map_err(Failure::work)? == Labels::Sampled;
        let smooths = states.setting.ingredients.param("loss", setting::LOSS).map_err(Failure::work)?.smooths();
        match *self.k {
            Some(k) => Ok(k),
            None if drawn && smooths => Ok(1.0),
            None => Err(Failure::work(
                "k is known where labels are drawn from smoothed cross-entropy's targets: here give the `k` that `alignment` measures",
            )),
        }
    }

    /// −(k/S)(ηₑ²/4), by which ‖∇̂T‖² is multiplied; with soft labels that are reshuffled, a batch of S of M samples has less noise by 1 − S/M.
    fn factor(&self, states: &States, samples: usize) -> Result<f64, Failure> {
        let number = |name: &str, default: f64| states.training.param(name, default).map_err(Failure::work);
        let momentum = number("momentum", 0.0)?;
        let dampening = if momentum == 0.0 { 0.0 } else { number("dampening", 0.0)? };
        let rate = number("lr", replay::LR)? * (1.0 - dampening) / (1.0 - momentum);
        let batch = states.training.param("batch", replay::BATCH).map_err(Failure::work)? as f64;
        let labels = states.training.param("labels", Labels::Soft).map_err(Failure::work)?;
        let sampling = states.training.param("sampling", Sampling::Reshuffled).map_err(Failure::work)?;
        let without_replacement = labels == Labels::Soft && sampling == Sampling::Reshuffled;
        let share = if without_replacement { 1.0 - batch / samples as f64 } else { 1.0 };
        Ok(-self.k(states)? * share / batch * 0.25 * rate * rate)
    }
}

impl Work for DriftParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let points = index::points(cx, "from")?.computed(&self.computing, cx.backend());
        let (states, chosen) = (&points.states, self.chosen.of(&points));
        cx.expect(chosen.len() as u64, "points");
        let samples = samples(cx, &states.setting.data)?;
        let factor = self.factor(states, samples)?;
        let records = cx.map(chosen.iter().map(|point| self.gradient(states, point)).collect())?;
        let mut table = tables::table(&[&COLUMNS[..], &tables::ENDING].concat());
        let (mut along, mut unresolved) = (Along::default(), 0);
        for (point, record) in chosen.iter().zip(&records) {
            let found: TraceGradient = tables::json(cx, record, "gradient")?;
            let (trace, square) = (found.trace()?, found.square()?);
            let drift = Estimate { mean: factor * square.mean, stderr: factor.abs() * square.stderr, ..square };
            let [change, predicted] = along.step(point.iteration, &drift, &found)?;
            let mut row = vec![Cell::Number(states.epoch_of(point.iteration)), tables::count(point.iteration)];
            for (value, stderr) in [
                (trace.mean, trace.stderr),
                (square.mean, square.stderr),
                (drift.mean, drift.stderr),
                change,
                predicted,
            ] {
                row.extend([Cell::Number(value), Cell::Number(stderr)]);
            }
            row.extend(ratio(change, predicted).map(tables::number));
            row.push(tables::count(found.steep() as u64));
            unresolved += u64::from(found.unresolved());
            let loss = evaluate::loss_at(cx, states, point)?;
            row.extend(tables::ending(point.minimum.as_ref(), Some(loss)));
            table.rows.push(row);
        }
        if unresolved > 0 {
            let all = chosen.len();
            cx.warn(format!(
                "at {unresolved} of {all} points `steps` do not resolve all eigenvalues above `steep_above`: the steep space is too small, and the prediction too large"
            ));
        }
        Ok(Outputs::from([("table".to_owned(), tables::keep(cx, &table)?)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

/// Measured over predicted, with both errors; nothing at the first point.
fn ratio((change, change_error): (f64, f64), (predicted, predicted_error): (f64, f64)) -> [Option<f64>; 2] {
    if predicted == 0.0 {
        return [None, None];
    }
    let ratio = change / predicted;
    [Some(ratio), Some((change_error / predicted).hypot(ratio * predicted_error / predicted))]
}

/// What has changed since the first point.
#[derive(Default)]
struct Along {
    first: Option<TraceGradient>,
    before: Option<(u64, Estimate)>,
    predicted: (f64, f64),
}

impl Along {
    /// The change of the trace up to a point, and what the drift between points predicts by the trapezoidal rule. Points share their probes:
    /// errors of the change are taken per probe, and those of the prediction add up.
    fn step(&mut self, iteration: u64, drift: &Estimate, found: &TraceGradient) -> Result<[(f64, f64); 2], Failure> {
        let first = self.first.get_or_insert_with(|| found.clone());
        let change = found.trace_less(first)?;
        if let Some((before, earlier)) = self.before {
            let half = 0.5 * iteration.saturating_sub(before) as f64;
            self.predicted.0 += half * (earlier.mean + drift.mean);
            self.predicted.1 += half * (earlier.stderr + drift.stderr);
        }
        self.before = Some((iteration, *drift));
        Ok([(change.mean, change.stderr), self.predicted])
    }
}

/// The action: what probes say of the trace and its gradient beside the steep space, at a point.
pub struct GradientOfTrace;

impl ActionKind for GradientOfTrace {
    fn name(&self) -> &'static str {
        "trace-gradient"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let theta = setting::theta(cx, "theta", &objective)?;
        let (threshold, steps) = (cx.required("steep_above")?, cx.param("steps", STEPS)? as usize);
        let count = cx.param("probes", PROBES)? as u32;
        let (stop, probes) = (|| cx.cancelled(), probes(cx)?);
        let stream = Stream::new(cx.param("seed", SEED)?, "subspace");
        let (steep, unresolved) = Subspace::above(&At::hessian(&objective, &theta, &stop), &stream, threshold, steps)?;
        let found = TraceGradient::find((&objective, &theta), (&steep, unresolved), (&probes, count), &stop)?;
        Ok(BTreeMap::from([("gradient".to_owned(), json(&found))]))
    }
}
