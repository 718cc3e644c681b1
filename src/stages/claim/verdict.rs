//! The statistics by which claims are judged, from tables to a verdict with its number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Given;
use crate::execute::{ActionContext, Failure};
use crate::ml::statistics::{Alternative, binomial_interval, mean, one_sample, spearman, stderr, student_t_cdf};
use crate::plot::{Cell, Table};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The statistic shows it.
    Holds,
    /// The statistic shows the contrary.
    Fails,
    /// The statistic shows neither.
    Undecided,
}

/// A judged claim, as it stands in `claims.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What the figure is to show.
    pub claim: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The statistic's name.
    pub statistic: String,
    /// Its number.
    pub value: Option<f64>,
    /// The number in words, with what it rests on.
    pub detail: String,
    /// Everything else that was computed.
    pub numbers: BTreeMap<String, f64>,
}

pub(super) fn table(cx: &ActionContext<'_>, name: &str) -> Result<Table, Failure> {
    let text = String::from_utf8(cx.input(name)?).map_err(Failure::work)?;
    Table::from_csv(&text).map_err(Failure::work)
}

fn column(table: &Table, name: &str) -> Result<Vec<f64>, Failure> {
    table.numbers(name).map_err(|error| Failure::Work(format!("a table to be judged does not fit: {error}")))
}

pub(super) fn fraction_connected(
    claim: String,
    tables: &[Table],
    after: f64,
    at_least: f64,
) -> Result<Judged, Failure> {
    let (mut connected, mut all) = (0u64, 0u64);
    for table in tables {
        let starts = column(table, "from_epoch")?;
        let ending = table.columns.iter().position(|column| column.name == "ending");
        let ending = ending.ok_or_else(|| Failure::Work("a table to be judged has no column `ending`".to_owned()))?;
        for (row, start) in table.rows.iter().zip(starts) {
            if start >= after {
                all += 1;
                connected += u64::from(matches!(&row[ending], Cell::Text(ending) if ending == "connected"));
            }
        }
    }
    let share = connected as f64 / all as f64;
    let mut numbers = BTreeMap::from([("connected".to_owned(), connected as f64), ("segments".to_owned(), all as f64)]);
    let (verdict, value, detail) = if all == 0 {
        (Verdict::Undecided, None, format!("no segment begins at epoch {after} or later"))
    } else {
        let interval = binomial_interval(connected, all, 0.95)?;
        numbers.extend([("low".to_owned(), interval.low), ("high".to_owned(), interval.high)]);
        let detail = format!(
            "{connected} of {all} segments after epoch {after} are connected: {:.1} % (95 % interval {:.1} to {:.1} %), claimed at least {:.1} %",
            100.0 * share,
            100.0 * interval.low,
            100.0 * interval.high,
            100.0 * at_least,
        );
        (if share >= at_least { Verdict::Holds } else { Verdict::Fails }, Some(share), detail)
    };
    Ok(Judged { claim, verdict, statistic: "fraction-connected".to_owned(), value, detail, numbers })
}

/// One path: its trace at the end of the early phase and at the end, and how probes err on the difference.
pub(super) struct Arm {
    labels: Vec<(String, String)>,
    /// log T(end) − log T(after the early phase).
    fall: f64,
    /// Standard error of `fall` from the probes, which both ends share: by the delta method, of the mean of qᵢ(end)/T(end) −
    /// qᵢ(start)/T(start).
    probe_stderr: Option<f64>,
    probes: usize,
    /// Spearman's coefficient of trace against epoch from the end of the early phase on.
    spearman: Option<f64>,
    /// The trace at both ends.
    ends: [f64; 2],
}

impl Arm {
    /// The path of `given` from the end of the early phase to the last point of `end`, which may be the same path.
    pub(super) fn read(cx: &ActionContext<'_>, given: &Given, end: &Given, after: f64) -> Result<Self, Failure> {
        let (points, last_points) = (table(cx, &given.table)?, table(cx, &end.table)?);
        let (epochs, traces) = (column(&points, "epoch")?, column(&points, "trace")?);
        let (end_epochs, end_traces) = (column(&last_points, "epoch")?, column(&last_points, "trace")?);
        let late: Vec<usize> = (0..epochs.len()).filter(|&i| epochs[i] >= after).collect();
        let (Some(&first), Some(&end_epoch), Some(&end_trace)) = (late.first(), end_epochs.last(), end_traces.last())
        else {
            return Err(Failure::Work(format!("no point lies at epoch {after} or later")));
        };
        if end_epoch <= epochs[first] {
            return Err(Failure::Work(format!("only one point lies at epoch {after} or later; a fall needs two")));
        }
        let ends = [traces[first], end_trace];
        if ends.iter().any(|&trace| trace <= 0.0) {
            let [start, end] = ends;
            return Err(Failure::Work(format!("the trace is {start} and {end}; its logarithm needs both above 0")));
        }
        let probe_error = match (&given.probes, &end.probes) {
            (Some(start), Some(end)) => {
                let start = forms_at(&table(cx, start)?, epochs[first])?;
                probe_error(&start, &forms_at(&table(cx, end)?, end_epoch)?, ends)?
            }
            _ => None,
        };
        let late_of = |values: &[f64]| late.iter().map(|&i| values[i]).collect::<Vec<_>>();
        Ok(Self {
            labels: given.labels.clone(),
            fall: libm::log(ends[1] / ends[0]),
            probe_stderr: probe_error.map(|(stderr, _)| stderr),
            probes: probe_error.map_or(0, |(_, probes)| probes),
            spearman: spearman(&late_of(&epochs), &late_of(&traces)).ok(),
            ends,
        })
    }
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

fn probe_error(start: &[f64], end: &[f64], ends: [f64; 2]) -> Result<Option<(f64, usize)>, Failure> {
    let differences: Vec<f64> = start.iter().zip(end).map(|(a, b)| b / ends[1] - a / ends[0]).collect();
    if differences.len() < 2 {
        return Ok(None);
    }
    Ok(Some((stderr(&differences)?, differences.len())))
}

pub(super) fn log_trace_fall(claim: String, arms: &[Arm], controls: &[Arm], alpha: f64) -> Result<Judged, Failure> {
    let mut falls = Vec::with_capacity(arms.len());
    for arm in arms {
        let control = controls.iter().find(|control| control.labels == arm.labels);
        if control.is_none() && !controls.is_empty() {
            return Err(no_partner("control arm", &arm.labels));
        }
        falls.push(arm.fall - control.map_or(0.0, |control| control.fall));
    }
    let mean_fall = mean(&falls)?;
    let mut numbers = BTreeMap::from([("mean".to_owned(), mean_fall), ("arms".to_owned(), arms.len() as f64)]);
    let less = if controls.is_empty() { "" } else { " less the control arm's" };
    let mut detail =
        format!("log T falls by {:.3}{less}, which is {:.1} %", -mean_fall, 100.0 * libm::expm1(mean_fall));
    let test = if arms.len() > 1 {
        one_sample(&falls, 0.0, Alternative::Less).ok().map(|test| (test.t, test.df, test.p, ""))
    } else {
        let errors = [arms.first(), controls.first()].into_iter().flatten().map(|arm| arm.probe_stderr);
        let variance: Option<f64> = errors.map(|stderr| stderr.map(|stderr| stderr * stderr)).sum();
        let probes = arms.first().map_or(0, |arm| arm.probes);
        variance.filter(|&variance| variance > 0.0 && probes > 1).map(|variance| {
            let (t, df) = (mean_fall / variance.sqrt(), (probes - 1) as f64);
            (t, df, student_t_cdf(t, df), "probes of one trajectory: probe error only")
        })
    };
    let verdict = if let Some((t, df, p, over)) = test {
        numbers.extend([("t".to_owned(), t), ("df".to_owned(), df), ("p".to_owned(), p)]);
        let over = if over.is_empty() { format!("{} trajectories", arms.len()) } else { over.to_owned() };
        let _ = write!(detail, " (one-sided t-test over {over}: t = {t:.2}, {df} degrees of freedom, p = {p:.2e})");
        match p {
            p if p < alpha => Verdict::Holds,
            p if 1.0 - p < alpha => Verdict::Fails,
            _ => Verdict::Undecided,
        }
    } else {
        detail.push_str(" (without spread, so no test is possible)");
        Verdict::Undecided
    };
    for (n, (arm, fall)) in arms.iter().zip(&falls).enumerate() {
        let name = arm.labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",");
        let name = if name.is_empty() { format!("arm {n}") } else { name };
        numbers.insert(format!("{name} fall"), *fall);
        numbers.extend([(format!("{name} T start"), arm.ends[0]), (format!("{name} T end"), arm.ends[1])]);
        if let Some(spearman) = arm.spearman {
            numbers.insert(format!("{name} spearman"), spearman);
        }
    }
    let coefficients: Vec<f64> = arms.iter().filter_map(|arm| arm.spearman).collect();
    if !coefficients.is_empty() {
        let _ = write!(detail, "; Spearman's coefficient against epochs {:.2}", mean(&coefficients)?);
    }
    Ok(Judged { claim, verdict, statistic: "log-trace-fall".to_owned(), value: Some(mean_fall), detail, numbers })
}
