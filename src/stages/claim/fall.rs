//! The fall of log T along projected paths, less that of their control arms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::phrase::{probability, signed};
use super::{Given, Judged, Verdict, column, partner, table, texts, whose};
use crate::execute::{ActionContext, Failure};
use crate::ml::statistics::{Alternative, mean, one_sample, spearman, stderr, student_t_cdf};
use crate::plot::Table;

/// Which trace, from where on, and the level of the test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fall {
    #[serde(default, skip_serializing_if = "Traced::is_plain")]
    pub(super) trace: Traced,
    pub(super) after_epoch: f64,
    pub(super) alpha: f64,
}

/// A trace by its column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Traced {
    /// tr H.
    #[default]
    Trace,
    /// Σ ‖θₗ‖² tr Hₗ.
    ScaleInvariant,
}

impl Traced {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    fn is_plain(&self) -> bool {
        *self == Self::Trace
    }

    fn column(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::ScaleInvariant => "scale_invariant_trace",
        }
    }

    /// What sentences call it.
    fn letter(self) -> &'static str {
        match self {
            Self::Trace => "T",
            Self::ScaleInvariant => "Σ ‖θₗ‖² Tₗ",
        }
    }
}

/// One path: its trace at the end of the early phase and at the end, and how probes err on the difference.
pub(super) struct Arm {
    labels: Vec<(String, String)>,
    /// log T(end) − log T(after the early phase).
    fall: f64,
    /// What each probe says of `fall`, by the delta method: qᵢ(end)/T(end) − qᵢ(start)/T(start). All points share their probes.
    by_probe: Vec<f64>,
    /// Spearman's coefficient of trace against epoch from the end of the early phase on.
    spearman: Option<f64>,
    /// The trace at both ends.
    ends: [f64; 2],
    /// The iteration at the end.
    last: f64,
    /// Points at which a descent had hit its cap, of all points.
    capped: (u64, u64),
}

impl Fall {
    /// The path of `given` from the end of the early phase to the last point of `end`, which may be the same path.
    pub(super) fn read(&self, cx: &ActionContext<'_>, given: &Given, end: &Given) -> Result<Arm, Failure> {
        let (after, name) = (self.after_epoch, self.trace.column());
        let (points, last_points) = (table(cx, &given.table)?, table(cx, &end.table)?);
        let (epochs, traces) = (column(&points, "epoch")?, column(&points, name)?);
        let (end_epochs, end_traces) = (column(&last_points, "epoch")?, column(&last_points, name)?);
        let (Some(&end_epoch), Some(&end_trace)) = (end_epochs.last(), end_traces.last()) else {
            return Err(Failure::Work("the trace at the end of a path has no point".to_owned()));
        };
        let late: Vec<usize> = (0..epochs.len()).filter(|&i| epochs[i] >= after).collect();
        let none = || Failure::Work(format!("no point lies at epoch {after} or later"));
        let &first = late.first().ok_or_else(none)?;
        if end_epoch <= epochs[first] {
            return Err(Failure::Work(format!("only one point lies at epoch {after} or later; a fall needs two")));
        }
        let ends = [traces[first], end_trace];
        if ends.iter().any(|trace| trace.is_nan()) {
            return Err(Failure::Work(format!(
                "`{name}` is not known at both ends: ask for it with `scale_invariant`"
            )));
        }
        if ends.iter().any(|&trace| trace <= 0.0) {
            let [start, end] = ends;
            return Err(Failure::Work(format!("the trace is {start} and {end}; its logarithm needs both above 0")));
        }
        let by_probe = match (&given.probes, &end.probes) {
            (Some(start), Some(end)) if self.trace == Traced::Trace => {
                let start = forms_at(&table(cx, start)?, epochs[first])?;
                let end = forms_at(&table(cx, end)?, end_epoch)?;
                start.iter().zip(end).map(|(start, end)| end / ends[1] - start / ends[0]).collect()
            }
            _ => Vec::new(),
        };
        let late_of = |values: &[f64]| late.iter().map(|&i| values[i]).collect::<Vec<_>>();
        Ok(Arm {
            labels: given.labels.clone(),
            fall: libm::log(ends[1] / ends[0]),
            by_probe,
            last: column(&last_points, "iteration")?.last().copied().unwrap_or(f64::NAN),
            spearman: spearman(&late_of(&epochs), &late_of(&traces)).ok(),
            ends,
            capped: capped(&points)?,
        })
    }
}

/// How many points are no minima because their descent hit its cap, and how many points there are.
pub(super) fn capped(points: &Table) -> Result<(u64, u64), Failure> {
    let reached = texts(points, "reached")?;
    Ok((reached.iter().filter(|&&reached| reached == "no").count() as u64, reached.len() as u64))
}

/// The single probes of a point.
fn forms_at(probes: &Table, epoch: f64) -> Result<Vec<f64>, Failure> {
    let (at, forms) = (column(probes, "epoch")?, column(probes, "quadratic_form")?);
    Ok(at.iter().zip(forms).filter(|(at, _)| at.to_bits() == epoch.to_bits()).map(|(_, form)| form).collect())
}

pub(super) fn no_partner(part: &str, labels: &[(String, String)]) -> Failure {
    let axes: Vec<String> = labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    Failure::Work(format!("no {part} has the axes {}", axes.join(",")))
}

/// As many iterations lead to the end of an arm as to that of its control: otherwise they say nothing of each other.
pub(super) fn check_length(last: f64, other: f64) -> Result<(), Failure> {
    if last.to_bits() == other.to_bits() {
        return Ok(());
    }
    let problem = format!("a path ends at iteration {last} and its control arm at iteration {other}");
    Err(Failure::Work(format!("{problem}; a control arm is `as_long_as` the training it is compared with")))
}

/// A t-test in numbers, with what it is over.
struct Test {
    t: f64,
    df: f64,
    p: f64,
    over: String,
}

impl Test {
    /// Over trajectories where there are several, else over the probes of the one there is.
    fn of(changes: &[f64], arms: &[Arm], controls: &[Arm]) -> Option<Self> {
        if arms.len() > 1 {
            let test = one_sample(changes, 0.0, Alternative::Less).ok()?;
            return Some(Self { t: test.t, df: test.df, p: test.p, over: format!("{} trajectories", arms.len()) });
        }
        // Both arms share their probes and their first point, so errors of the difference are taken probe by probe.
        let mut by_probe = arms.first()?.by_probe.clone();
        if let Some(control) = controls.first() {
            by_probe.truncate(control.by_probe.len());
            by_probe.iter_mut().zip(&control.by_probe).for_each(|(own, control)| *own -= control);
        }
        let (probes, error) = (by_probe.len(), stderr(&by_probe).ok()?);
        (error > 0.0 && probes > 1).then(|| {
            let (t, df) = (changes[0] / error, (probes - 1) as f64);
            let over = format!("the {probes} probes of one trajectory (probe error only)");
            Self { t, df, p: student_t_cdf(t, df), over }
        })
    }

    fn verdict(&self, alpha: f64) -> Verdict {
        Verdict::of_p(self.p, alpha)
    }
}

impl Fall {
    /// Judges whether log T falls, and by more than in the control arms where there are any.
    pub(super) fn judge(&self, claim: String, arms: &[Arm], controls: &[Arm]) -> Result<Judged, Failure> {
        judge(claim, arms, controls, (self.trace.letter(), self.alpha))
    }
}

fn judge(claim: String, arms: &[Arm], controls: &[Arm], (letter, alpha): (&str, f64)) -> Result<Judged, Failure> {
    let mut changes = Vec::with_capacity(arms.len());
    let mut numbers = BTreeMap::new();
    for (n, arm) in arms.iter().enumerate() {
        let control = partner(controls, &arm.labels, |control| &control.labels)?;
        control.map_or(Ok(()), |control| check_length(arm.last, control.last))?;
        changes.push(arm.fall - control.map_or(0.0, |control| control.fall));
        let whose = whose(&arm.labels, n);
        let named = [
            ("log_trace_change", Some(arm.fall)),
            ("trace_start", Some(arm.ends[0])),
            ("trace_end", Some(arm.ends[1])),
            ("trace_epoch_spearman", arm.spearman),
            ("control_log_trace_change", control.map(|control| control.fall)),
        ];
        numbers.extend(named.into_iter().filter_map(|(name, value)| Some((format!("{whose} {name}"), value?))));
    }
    let change = mean(&changes)?;
    let name = if controls.is_empty() { "log_trace_change" } else { "log_trace_change_less_control" };
    numbers.extend([(name.to_owned(), change), ("trajectories".to_owned(), arms.len() as f64)]);
    let moves = match (controls.is_empty(), change < 0.0) {
        (true, true) => format!("log {letter} falls by {:.3}", -change),
        (true, false) => format!("log {letter} rises by {change:.3}"),
        (false, true) => format!("log {letter} falls by {:.3} more than in the control arm", -change),
        (false, false) => format!("log {letter} falls by {change:.3} less than in the control arm"),
    };
    let percent = 100.0 * libm::expm1(change);
    let sign = if percent > 0.0 { "+" } else { "" };
    let mut parts = vec![format!("{moves} ({letter} {sign}{} %)", signed(percent, 1))];
    let test = Test::of(&changes, arms, controls);
    if let Some(Test { t, df, p, over }) = &test {
        numbers.extend([("t".to_owned(), *t), ("df".to_owned(), *df), ("p".to_owned(), *p)]);
        let decimals = if t.abs() < 10.0 { 2 } else { 1 };
        let t = signed(*t, decimals);
        parts.push(format!("one-sided t-test over {over}: t = {t}, df = {df}, {}", probability(*p)));
    } else {
        parts.push("without spread no test is possible".to_owned());
    }
    let coefficients: Vec<f64> = arms.iter().filter_map(|arm| arm.spearman).collect();
    if !coefficients.is_empty() {
        parts.push(format!("Spearman's coefficient of {letter} and epoch {}", signed(mean(&coefficients)?, 2)));
    }
    let (capped, points) = arms.iter().fold((0, 0), |sum, arm| (sum.0 + arm.capped.0, sum.1 + arm.capped.1));
    if capped > 0 {
        parts.push(format!("at {capped} of {points} points the descent hit its cap"));
    }
    let verdict = test.map_or(Verdict::Undecided, |test| test.verdict(alpha));
    let detail = parts.join("; ");
    Ok(Judged { claim, verdict, statistic: "log-trace-fall".to_owned(), value: Some(change), detail, numbers })
}
