//! `claim`: what a figure is to show, judged by a statistic: it holds, fails, or is undecided, with the number. A claim that does not
//! hold is a result like any other; it fails no stage.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::train::json;
use crate::execute::{Action, ActionContext, ActionKind, Failure, Produced, StageContext, Work};
use crate::key::{Identity, Input, Outputs, Walk};
use crate::manifest::{Kind, Params, Reader, References};
use crate::ml::statistics::{Alternative, binomial_interval, mean, one_sample, spearman, stderr, student_t_cdf};
use crate::plot::{Cell, Table};

/// The kind.
pub struct Claim;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct ClaimParams {
    says: Identity<String>,
    statistic: Identity<Statistic>,
    from: References,
    ends: Option<References>,
    control: Option<References>,
}

/// How a claim is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "statistic", rename_all = "kebab-case")]
enum Statistic {
    /// The share of segments after an epoch that are connected.
    FractionConnected { after_epoch: f64, at_least: f64 },
    /// The fall of log T from the end of the early phase to the end, less the control's where there is one.
    LogTraceFall { after_epoch: f64, alpha: f64 },
}

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

impl Kind for Claim {
    fn name(&self) -> &'static str {
        "claim"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Judges what a figure is to show by a statistic: holds, fails or undecided."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let says = reader.text("says", "the claim in words").required().not_empty().identity();
        let from = reader.references("from", "the stages it is judged on", &[]);
        let control_doc = "`log-trace-fall`: the same without noise; instances are paired by their axes";
        let control = reader.references_if_any("control", control_doc, &["trace-estimate"]);
        let ends_doc =
            "`log-trace-fall`: stages whose last point stands for the end, such as one projected to the control's loss";
        let ends = reader.references_if_any("ends", ends_doc, &["trace-estimate"]);
        let names = ["fraction-connected", "log-trace-fall"];
        let after_doc = "the early phase ends here and is left out";
        let statistic = reader.variant("statistic", "how it is judged", &names, |name, reader| {
            let after_epoch = reader.float("after_epoch", after_doc).default(0.0).at_least(0).value();
            match name {
                "log-trace-fall" => Statistic::LogTraceFall {
                    after_epoch,
                    alpha: reader
                        .float("alpha", "level of the one-sided t-test")
                        .default(0.01)
                        .above(0)
                        .below(0.5)
                        .value(),
                },
                _ => Statistic::FractionConnected {
                    after_epoch,
                    at_least: reader
                        .float("at_least", "the share claimed")
                        .default(0.99)
                        .at_least(0)
                        .at_most(1)
                        .value(),
                },
            }
        });
        Arc::new(ClaimParams { says, statistic: Identity::required(statistic), from, ends, control })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["table", "probes"]
    }
}

impl Params for ClaimParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("says", &self.says).identity("statistic", &self.statistic);
    }
}

/// An upstream instance as the action knows it: the names of its tables among the inputs, and its place on each axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Given {
    table: String,
    probes: Option<String>,
    labels: Vec<(String, String)>,
    part: Part,
}

/// What an instance is to the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// It is judged.
    From,
    /// Its last point stands for the end of the instance with the same axes.
    Ends,
    /// It is what the judged is compared with.
    Control,
}

impl Work for ClaimParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let mut action = Action::new(&Judge).with("says", &self.says).with("statistic", &self.statistic);
        let mut given = Vec::new();
        let fields =
            [(Some(&self.from), Part::From), (self.ends.as_ref(), Part::Ends), (self.control.as_ref(), Part::Control)];
        for (field, part) in fields {
            let Some(field) = field else { continue };
            for (n, input) in cx.inputs(&field.field).iter().enumerate() {
                let named = |table: &str| format!("{}#{n}.{table}", field.field);
                action = action.input(&named("table"), output(input, "table")?);
                let probes = input.outputs.get("probes").map(|output| (named("probes"), output));
                if let Some((name, output)) = &probes {
                    action = action.input(name, output);
                }
                let (table, labels) = (named("table"), input.labels.clone());
                given.push(Given { table, probes: probes.map(|(name, _)| name), labels, part });
            }
        }
        Ok(cx.call(action.with("given", &Identity::required(given)))?.outputs)
    }
}

fn output<'i>(input: &'i Input, name: &str) -> Result<&'i crate::key::Output, Failure> {
    input.outputs.get(name).ok_or_else(|| Failure::Work(format!("`{}` has no table to judge", input.instance)))
}

/// The action: tables to a verdict.
pub struct Judge;

impl ActionKind for Judge {
    fn name(&self) -> &'static str {
        "claim"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let given: Vec<Given> = cx.required("given")?;
        let claim: String = cx.required("says")?;
        let judged = match cx.required("statistic")? {
            Statistic::FractionConnected { after_epoch, at_least } => {
                let tables: Vec<Table> = given.iter().map(|given| table(cx, &given.table)).collect::<Result<_, _>>()?;
                fraction_connected(claim, &tables, after_epoch, at_least)?
            }
            Statistic::LogTraceFall { after_epoch, alpha } => {
                let of = |part: Part| given.iter().filter(move |given| given.part == part);
                let mut arms = Vec::new();
                for start in of(Part::From) {
                    let end = of(Part::Ends).find(|end| end.labels == start.labels);
                    if end.is_none() && of(Part::Ends).next().is_some() {
                        return Err(no_partner("end", &start.labels));
                    }
                    arms.push(Arm::read(cx, start, end.unwrap_or(start), after_epoch)?);
                }
                let controls = of(Part::Control).map(|control| Arm::read(cx, control, control, after_epoch));
                let controls = controls.collect::<Result<Vec<_>, _>>()?;
                log_trace_fall(claim, &arms, &controls, alpha)?
            }
        };
        Ok(BTreeMap::from([("claim".to_owned(), json(&judged))]))
    }
}

fn table(cx: &ActionContext<'_>, name: &str) -> Result<Table, Failure> {
    let text = String::from_utf8(cx.input(name)?).map_err(Failure::work)?;
    Table::from_csv(&text).map_err(Failure::work)
}

fn column(table: &Table, name: &str) -> Result<Vec<f64>, Failure> {
    table.numbers(name).map_err(|error| Failure::Work(format!("a table to be judged does not fit: {error}")))
}

fn fraction_connected(claim: String, tables: &[Table], after: f64, at_least: f64) -> Result<Judged, Failure> {
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
struct Arm {
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
    fn read(cx: &ActionContext<'_>, given: &Given, end: &Given, after: f64) -> Result<Self, Failure> {
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

fn no_partner(part: &str, labels: &[(String, String)]) -> Failure {
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

fn log_trace_fall(claim: String, arms: &[Arm], controls: &[Arm], alpha: f64) -> Result<Judged, Failure> {
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
