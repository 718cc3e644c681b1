//! `connectedness-bisect`: whether consecutive minima are joined by straight lines below a threshold; where they are not, the state
//! half-way in iterations is replayed and projected, and both halves are checked, until all is connected or no iteration lies between.
//!
//! The threshold is a horizon: what was found of a line is kept, so that a lower one is read off and a higher one goes on. It
//! decides where a line's check stops, so it is in the key of the action that stopped there; a later action with another threshold goes on
//! from the former's state, which is found through a hint and is its input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::descend::{Descent, Projector};
use super::evaluate::Evaluate;
use super::foresee::{self, Foreseen};
use super::index::{self, Minima, Minimum};
use super::project::report_caps;
use super::replay::{Replay, state_at};
use super::setting::Computing;
use super::tables;
use super::train::{json, summary};
use super::{project, setting};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Place, Produced, StageContext, Work};
use crate::key::{Horizon, Identity, Output, Outputs, Record, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::landscape::bisect::{Bisection, Ending, Segment};
use crate::ml::landscape::line::{self, Found, LineState};
use crate::plot::{Cell, Table};

/// The kind.
pub struct ConnectednessBisect;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct ConnectParams {
    samples: Identity<u64>,
    threshold: Horizon<f64>,
    depth: Horizon<u64>,
    on_cap: Identity<String>,
    computing: Computing,
}

impl Kind for ConnectednessBisect {
    fn name(&self) -> &'static str {
        "connectedness-bisect"
    }

    fn version(&self) -> u32 {
        2
    }

    fn about(&self) -> &'static str {
        "Checks that consecutive minima are connected by lines of low loss, and adds minima between where they are not."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the minima", &["gd-project"]);
        let samples = reader.count("samples", "evenly spaced interior points of a line at which the loss is taken");
        let samples = samples.default(10).at_least(1).identity();
        let threshold = reader.float("threshold", "excess loss under which a line must stay").default(0.01).positive();
        let threshold = threshold.horizon();
        let depth = reader.count("depth", "how often a segment is halved at most").default(64).horizon();
        let on_cap_doc = "`list`: segments that stay unconnected and descents to midpoints that hit their cap are listed results; `fail`: the stage fails";
        let on_caps = ["list", "fail"].map(|name| (name, name.to_owned()));
        let on_cap = reader.choice("on_cap", on_cap_doc, &on_caps).default("list".to_owned()).identity();
        Arc::new(ConnectParams { samples, threshold, depth, on_cap, computing: Computing::read(reader) })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<ConnectParams>().foresee(foresight).unwrap_or_default()
    }
}

/// How a line is decided.
enum Nearer {
    /// By what a check at another threshold found, which its record holds.
    Known(Box<Record>, LineState),
    /// By an action, which may go on from such a check.
    Call(Action),
}

impl Params for ConnectParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("samples", &self.samples)
            .horizon("threshold", &self.threshold)
            .horizon("depth", &self.depth)
            .identity("on_cap", &self.on_cap);
        self.computing.walk(walk);
    }
}

impl Work for ConnectParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let minima = index::minima(cx, "from")?.computed(&self.computing, cx.backend());
        let mut bisection = self.bisection(&minima)?;
        let projector = Projector::of(&minima);
        let mut path: BTreeMap<u64, Minimum> =
            minima.points.iter().map(|point| (point.iteration, point.clone())).collect();
        let mut lines: BTreeMap<Segment, LineState> = BTreeMap::new();
        let mut asked = 0;
        while !bisection.is_done() {
            let round = bisection.round().to_vec();
            asked += round.len() as u64;
            cx.expect(asked, "lines");
            let checked = cx.each(round.clone(), |segment| {
                let ends = [&path[&segment.from].theta, &path[&segment.to].theta];
                let line = self.line(cx, &minima, ends)?;
                cx.advance(1);
                Ok(line)
            })?;
            let verdicts: Vec<bool> = checked.iter().map(|line| self.connects(line)).collect();
            lines.extend(round.into_iter().zip(checked));
            let middles = bisection.answer(&verdicts);
            let found = cx.each(middles, |iteration| {
                projector.project(cx, &minima.states, &state_at(cx, &minima.states, iteration)?)
            })?;
            path.extend(found.into_iter().map(|minimum| (minimum.iteration, minimum)));
        }
        let projected: BTreeSet<u64> = minima.points.iter().map(|point| point.iteration).collect();
        let path = Minima { points: path.into_values().collect(), ..minima };
        // What befell the others, the stage that projected them has said.
        let between = path.points.iter().filter(|point| !projected.contains(&point.iteration)).cloned().collect();
        report_caps(cx, &Minima { points: between, ..path.clone() }, *self.on_cap == "fail")?;
        self.finish(cx, &path, &bisection, &lines)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let mut places = tables::place(instance);
        places.push(("lines".to_owned(), Place::Result(tables::file(instance, "lines.csv"))));
        places.push(("path".to_owned(), Place::Result(tables::file(instance, "path.csv"))));
        places
    }
}

impl ConnectParams {
    fn bisection(&self, minima: &Minima) -> Result<Bisection, Failure> {
        let iterations: Vec<u64> = minima.points.iter().map(|point| point.iteration).collect();
        Ok(Bisection::new(&iterations, u32::try_from(*self.depth).unwrap_or(u32::MAX))?)
    }

    fn connects(&self, line: &LineState) -> bool {
        line.verdict(*self.threshold) == Some(true)
    }

    /// The line between two minima, whatever the threshold.
    fn pair(&self, minima: &Minima, [from, to]: [&Output; 2]) -> Action {
        let line = minima.states.setting.action(&Line).with("samples", &self.samples);
        line.input("from", from).input("to", to)
    }

    /// That line decided at the threshold, without a nearer start.
    fn decided(&self, pair: &Action) -> Action {
        pair.clone().with("threshold", &Identity::required(*self.threshold))
    }

    /// How a line is decided that was not at this threshold from the beginning, given what was noted of it.
    fn nearer(&self, action: Action, mut noted: Vec<(Record, u64)>) -> Result<Nearer, Failure> {
        let Some((record, _)) = noted.pop() else { return Ok(Nearer::Call(action)) };
        let known: LineState = summary(&record, "line")?;
        if known.verdict(*self.threshold).is_some() {
            return Ok(Nearer::Known(Box::new(record), known));
        }
        Ok(Nearer::Call(action.input("known", &record.outputs["line"])))
    }

    /// What is known of the line between two minima: enough to decide it at the threshold.
    fn line(&self, cx: &StageContext<'_>, minima: &Minima, ends: [&Output; 2]) -> Result<LineState, Failure> {
        let pair = self.pair(minima, ends);
        let mut action = self.decided(&pair);
        if !cx.is_known(&action)? {
            action = match self.nearer(action, cx.recall(pair.fingerprint())?)? {
                Nearer::Known(record, known) => {
                    cx.adopt(&record);
                    return Ok(known);
                }
                Nearer::Call(action) => action,
            };
        }
        let record = cx.call(action)?;
        cx.remember(pair.fingerprint(), &record, 0)?;
        summary(&record, "line")
    }

    /// As [`line`](Self::line), without running anything.
    fn foresee_line(&self, minima: &Minima, ends: [&Output; 2], foreseen: &mut Foreseen<'_>) -> Option<LineState> {
        let pair = self.pair(minima, ends);
        let mut action = self.decided(&pair);
        if !foreseen.is_known(&action) {
            action = match self.nearer(action, foreseen.noted(&pair.key())).ok()? {
                Nearer::Known(record, known) => {
                    foreseen.adopt(&record);
                    return Some(known);
                }
                Nearer::Call(action) => action,
            };
        }
        summary(&foreseen.call(&action)?, "line").ok()
    }

    /// The bisection as far as the verdicts are known. What a line of unknown verdict leads to is not: it is an open end.
    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let minima = index::foreseen_minima(foresight, "from")?.computed(&self.computing, foresight.backend);
        let mut bisection = self.bisection(&minima).ok()?;
        let projector = Projector::of(&minima);
        let kinds: [&dyn ActionKind; 4] = [&Line, &Replay, &Descent, &Evaluate];
        let mut foreseen = Foreseen::new(foresight, &kinds);
        let ends = minima.points.iter().map(|point| (point.iteration, Some(point.theta.clone())));
        let mut path: BTreeMap<u64, Option<Output>> = ends.collect();
        while !bisection.is_done() {
            let mut verdicts = Vec::with_capacity(bisection.round().len());
            for segment in bisection.round() {
                let line = if let (Some(from), Some(to)) = (&path[&segment.from], &path[&segment.to]) {
                    self.foresee_line(&minima, [from, to], &mut foreseen)
                } else {
                    foreseen.call_unmade(&Line, 1);
                    None
                };
                if line.is_none() && bisection.would_halve(*segment) {
                    foreseen.open_end(&kinds);
                }
                verdicts.push(line.is_none_or(|line| self.connects(&line)));
            }
            for iteration in bisection.answer(&verdicts) {
                let state = foresee::state_at(&minima.states, iteration, &mut foreseen).ok()?;
                let end = foresee::descent(&projector, &minima.states, state.as_ref(), &mut foreseen);
                path.insert(iteration, end);
            }
        }
        Some(foreseen.forecast())
    }

    fn finish(
        &self,
        cx: &StageContext<'_>,
        path: &Minima,
        bisection: &Bisection,
        lines: &BTreeMap<Segment, LineState>,
    ) -> Result<Outputs, Failure> {
        let epoch = |iteration: u64| path.states.epoch_of(iteration);
        let broken: Vec<String> = bisection
            .ended()
            .iter()
            .filter(|(_, ending)| *ending != Ending::Connected)
            .map(|(segment, ending)| {
                let (from, to) = (segment.from, segment.to);
                let epochs = format!("epochs {:.2} to {:.2}", epoch(from), epoch(to));
                format!("iterations {from} to {to} ({epochs}): {}", word(*ending))
            })
            .collect();
        if !broken.is_empty() {
            let all = bisection.ended().len();
            let are = if broken.len() == 1 { "is" } else { "are" };
            let message = format!("{} of {all} segments {are} not connected:\n{}", broken.len(), broken.join("\n"));
            if *self.on_cap == "fail" {
                return Err(Failure::Work(message));
            }
            cx.warn(message);
        }
        let (segments, points) = self.tables(path, bisection, lines);
        Ok(Outputs::from([
            ("minima".to_owned(), index::keep(cx, path)?),
            ("path".to_owned(), tables::keep(cx, &project::table(path))?),
            ("table".to_owned(), tables::keep(cx, &segments)?),
            ("lines".to_owned(), tables::keep(cx, &points)?),
        ]))
    }

    /// The segments as they ended, and the loss along those that are connected. What is read off a line is the same whether more is known
    /// of it or not: its points in the order in which they are taken, up to the first that exceeds the threshold.
    fn tables(&self, path: &Minima, bisection: &Bisection, lines: &BTreeMap<Segment, LineState>) -> (Table, Table) {
        let columns = [
            ("from_epoch", ""),
            ("to_epoch", ""),
            ("from_iteration", ""),
            ("to_iteration", ""),
            ("ending", ""),
            ("highest_loss", "nats"),
            ("exceeds_at", ""),
            ("exceeds_epoch", ""),
            ("exceeds_loss", "nats"),
            ("threshold", "nats"),
        ];
        let mut segments = tables::table(&columns);
        let mut points = tables::table(&[("epoch", ""), ("iteration", ""), ("loss", "nats"), ("minimum", "")]);
        let mut point = |iteration: f64, loss: f64, minimum: bool| {
            let epoch = path.states.epoch_at(iteration);
            let minimum = Cell::Text(if minimum { "yes" } else { "no" }.to_owned());
            points.rows.push(vec![Cell::Number(epoch), Cell::Number(iteration), Cell::Number(loss), minimum]);
        };
        let loss_at: BTreeMap<u64, f64> = path.points.iter().map(|point| (point.iteration, point.loss)).collect();
        if let Some(first) = path.points.first() {
            point(first.iteration as f64, first.loss, true);
        }
        for (segment, ending) in bisection.ended() {
            let losses = losses(&lines[segment], *self.threshold);
            let highest =
                losses.as_ref().ok().map(|losses| losses.iter().map(|&(_, loss)| loss).fold(f64::MIN, f64::max));
            let length = (segment.to - segment.from) as f64;
            for &(t, loss) in losses.iter().flatten() {
                point(segment.from as f64 + t * length, loss, false);
            }
            point(segment.to as f64, loss_at[&segment.to], true);
            let exceeds = losses.err();
            let exceeds_epoch = exceeds.map(|(t, _)| path.states.epoch_at(segment.from as f64 + t * length));
            segments.rows.push(vec![
                Cell::Number(path.states.epoch_of(segment.from)),
                Cell::Number(path.states.epoch_of(segment.to)),
                tables::count(segment.from),
                tables::count(segment.to),
                Cell::Text(word(*ending).to_owned()),
                tables::number(highest),
                tables::number(exceeds.map(|(t, _)| t)),
                tables::number(exceeds_epoch),
                tables::number(exceeds.map(|(_, loss)| loss)),
                Cell::Number(*self.threshold),
            ]);
        }
        (segments, points)
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Connected => "connected",
        Ending::Adjacent => "not connected, adjacent",
        Ending::DepthReached => "not connected, halved as often as allowed",
    }
}

/// The losses along a line in order of t; or the t of the first point, in the order of the check, that exceeds the threshold, with what
/// its loss is at least: infinity where it is not finite.
fn losses(state: &LineState, threshold: f64) -> Result<Vec<(f64, f64)>, (f64, f64)> {
    let points: Vec<(f64, Option<Found>)> = state.points().collect();
    let known = |k: &usize| points[k - 1].1.map(|found| (points[k - 1].0, found));
    let order = line::order(state.samples());
    match order.iter().filter_map(known).find(|(_, found)| found.bound() > threshold) {
        Some((t, found)) => Err((t, Some(found.bound()).filter(|&loss| loss < f64::MAX).unwrap_or(f64::INFINITY))),
        None => Ok(points.iter().filter_map(|(t, found)| Some((*t, (*found)?.bound()))).collect()),
    }
}

/// The action: what it takes to decide one line at one threshold.
pub struct Line;

impl ActionKind for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let samples = cx.param("samples", 10u64)? as usize;
        let ends = [setting::theta(cx, "from", &objective)?, setting::theta(cx, "to", &objective)?];
        let known = if cx.has("known") {
            serde_json::from_slice(&cx.input("known")?).map_err(Failure::work)?
        } else {
            LineState::new(samples)
        };
        let threshold = cx.required("threshold")?;
        let state = line::check(&*objective, [&ends[0], &ends[1]], threshold, known, &|| cx.cancelled())?;
        Ok(BTreeMap::from([("line".to_owned(), json(&state))]))
    }
}
