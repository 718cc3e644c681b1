//! `claim`: what a figure is to show, judged by a statistic: it holds, fails, or is undecided, with the number. A claim that does not
//! hold is a result like any other; it fails no stage.
//!
//! Reading order: this file (the kind and its action), then the statistics: `connected`, `fall`, `change` and `within`.

mod change;
mod connected;
mod fall;
mod within;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::change::{Change, Way};
use self::fall::{Fall, Traced};
use self::within::Within;
use super::foresee;
use super::train::json;
use crate::execute::{Action, ActionContext, ActionKind, Failure, Produced, StageContext, Work};
use crate::key::{Identity, Input, Inputs, Outputs, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader, References};
use crate::plot::{Cell, Table};

/// Version of the kind and of its action: raised when a claim is judged or worded otherwise.
const VERSION: u32 = 3;

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
    LogTraceFall(Fall),
    /// The change of a number along paths.
    Change(Change),
    /// Where a number lies.
    Within(Within),
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
        VERSION
    }

    fn about(&self) -> &'static str {
        "Judges what a figure is to show by a statistic: holds, fails or undecided."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let says = reader.text("says", "the claim in words").required().not_empty().identity();
        let from = reader.references("from", "the stages it is judged on", &[]);
        let control_doc = "`log-trace-fall` and `change`: what it is compared with, such as the same without noise; instances are paired by their axes";
        let control = reader.references_if_any("control", control_doc, &[]);
        let ends_doc =
            "`log-trace-fall`: stages whose last point stands for the end, such as one projected to the control's loss";
        let ends = reader.references_if_any("ends", ends_doc, &["trace-estimate"]);
        let names = ["fraction-connected", "log-trace-fall", "change", "within"];
        let after_doc = "the early phase ends here and is left out";
        let statistic = reader.variant("statistic", "how it is judged", &names, |name, reader| {
            if name == "within" {
                return Statistic::Within(read_within(reader));
            }
            let after_epoch = reader.float("after_epoch", after_doc).default(0.0).at_least(0).value();
            let alpha = |reader: &mut Reader<'_>| {
                let level = reader.float("alpha", "level of the one-sided t-test").default(0.01);
                level.above(0).below(0.5).value()
            };
            match name {
                "log-trace-fall" => Statistic::LogTraceFall(Fall {
                    trace: reader
                        .choice(
                            "trace",
                            "of which trace",
                            &[("trace", Traced::Trace), ("scale-invariant", Traced::ScaleInvariant)],
                        )
                        .default(Traced::Trace)
                        .value(),
                    after_epoch,
                    alpha: alpha(reader),
                }),
                "change" => Statistic::Change(Change {
                    column: reader.text("column", "the column that holds the number").required().not_empty().value(),
                    way: reader
                        .choice("way", "which way it is to go", &[("falls", Way::Falls), ("rises", Way::Rises)])
                        .required()
                        .value(),
                    after_epoch,
                    alpha: alpha(reader),
                }),
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
        let (takes_control, takes_ends) = match &statistic {
            Statistic::LogTraceFall(_) => (true, true),
            Statistic::Change(_) => (true, false),
            Statistic::FractionConnected { .. } | Statistic::Within(_) => (false, false),
        };
        for (field, given, takes) in
            [("control", control.is_some(), takes_control), ("ends", ends.is_some(), takes_ends)]
        {
            if given && !takes {
                reader.problem(field, format!("`{field}` does not go with this statistic"));
            }
        }
        Arc::new(ClaimParams { says, statistic: Identity::required(statistic), from, ends, control })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["table", "path", "probes"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        foresee::one(params.of::<ClaimParams>().judge(foresight.inputs), foresight)
    }
}

fn read_within(reader: &mut Reader<'_>) -> Within {
    let error_doc = "the column with its standard error: two of them on either side must lie there too, and the claim fails where all of that lies elsewhere";
    let interval_doc = "in place of `error`, the columns with the ends of an interval";
    let only_doc = "a column and what it holds: only rows that have that there";
    let pair = |pair: &Vec<String>| if pair.len() == 2 { Ok(()) } else { Err("expected two texts".to_owned()) };
    let pair_of = |texts: Option<Vec<String>>| texts.and_then(|pair| <[String; 2]>::try_from(pair).ok());
    let within = Within {
        column: reader
            .text("column", "the column that holds the number, in each row of the tables")
            .required()
            .not_empty()
            .value(),
        error: reader.text("error", error_doc).optional().value(),
        interval: pair_of(reader.texts("interval", interval_doc).check(pair).optional().value()),
        after_epoch: reader.float("after_epoch", "only rows from this epoch on").at_least(0).optional().value(),
        only: pair_of(reader.texts("only", only_doc).check(pair).optional().value()),
        low: reader.float("low", "what it is at least").optional().value(),
        high: reader.float("high", "what it is at most").optional().value(),
    };
    if within.error.is_some() && within.interval.is_some() {
        reader.problem("interval", "`interval` goes in place of `error`: give one of them");
    }
    if within.low.is_none() && within.high.is_none() {
        reader.problem("column", "give `low`, `high`, or both");
    }
    if within.low.zip(within.high).is_some_and(|(low, high)| low > high) {
        reader.problem("high", "`high`: expected no less than `low`");
    }
    within
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
    /// The minima between segments.
    path: Option<String>,
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
        Ok(cx.call(self.judge(cx.all_inputs())?)?.outputs)
    }
}

impl ClaimParams {
    /// The one action.
    fn judge(&self, inputs: &Inputs) -> Result<Action, Failure> {
        let mut action = Action::new(&Judge).with("says", &self.says).with("statistic", &self.statistic);
        let mut given = Vec::new();
        let fields =
            [(Some(&self.from), Part::From), (self.ends.as_ref(), Part::Ends), (self.control.as_ref(), Part::Control)];
        for (field, part) in fields {
            let Some(field) = field else { continue };
            for (n, input) in behind(inputs, &field.field).iter().enumerate() {
                let named = |table: &str| format!("{}#{n}.{table}", field.field);
                action = action.input(&named("table"), output(input, "table")?);
                let mut more = BTreeMap::new();
                for name in ["path", "probes"] {
                    if let Some(output) = input.outputs.get(name) {
                        action = action.input(&named(name), output);
                        more.insert(name, named(name));
                    }
                }
                let (path, probes) = (more.remove("path"), more.remove("probes"));
                given.push(Given { table: named("table"), path, probes, labels: input.labels.clone(), part });
            }
        }
        Ok(action.with("given", &Identity::required(given)))
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

    fn version(&self) -> u32 {
        VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let given: Vec<Given> = cx.required("given")?;
        let claim: String = cx.required("says")?;
        let judged = match cx.required("statistic")? {
            Statistic::Within(within) => {
                let tables = given.iter().map(|given| table(cx, &given.table)).collect::<Result<Vec<_>, _>>()?;
                within.judge(claim, &tables)?
            }
            Statistic::Change(change) => {
                let of = |part: Part| given.iter().filter(|given| given.part == part).collect::<Vec<_>>();
                told_apart(of(Part::From).into_iter())?;
                change.judge(cx, claim, (&of(Part::From), &of(Part::Control)))?
            }
            Statistic::FractionConnected { after_epoch, at_least } => {
                let mut tally = connected::Tally::default();
                for given in &given {
                    tally.add_segments(&table(cx, &given.table)?, after_epoch)?;
                    if let Some(path) = &given.path {
                        tally.add_minima(&table(cx, path)?)?;
                    }
                }
                tally.judge(claim, after_epoch, at_least)?
            }
            Statistic::LogTraceFall(fall) => {
                let of = |part: Part| given.iter().filter(move |given| given.part == part);
                let mut arms = Vec::new();
                for start in of(Part::From) {
                    let end = of(Part::Ends).find(|end| end.labels == start.labels);
                    if end.is_none() && of(Part::Ends).next().is_some() {
                        return Err(fall::no_partner("end", &start.labels));
                    }
                    arms.push(fall.read(cx, start, end.unwrap_or(start))?);
                }
                told_apart(of(Part::From))?;
                let controls = of(Part::Control).map(|control| fall.read(cx, control, control));
                let controls = controls.collect::<Result<Vec<_>, _>>()?;
                fall.judge(claim, &arms, &controls)?
            }
        };
        Ok(BTreeMap::from([("claim".to_owned(), json(&judged))]))
    }
}

/// That no two trajectories have the same axes: they would count as two where there is one, and have one control.
fn told_apart<'g>(given: impl Iterator<Item = &'g Given>) -> Result<(), Failure> {
    let mut seen: Vec<&[(String, String)]> = Vec::new();
    for Given { labels, .. } in given {
        if seen.contains(&labels.as_slice()) {
            let what = whose(labels, seen.len());
            return Err(Failure::Work(format!("two of the trajectories to be judged have the axes of {what}")));
        }
        seen.push(labels);
    }
    Ok(())
}

/// The control with the axes of a trajectory; none where there are no controls.
fn partner<'c, T>(
    controls: &'c [T],
    labels: &[(String, String)],
    labels_of: impl Fn(&T) -> &[(String, String)],
) -> Result<Option<&'c T>, Failure> {
    let control = controls.iter().find(|control| labels_of(control) == labels);
    if control.is_none() && !controls.is_empty() { Err(fall::no_partner("control arm", labels)) } else { Ok(control) }
}

impl Verdict {
    /// That of a one-sided test: the contrary is shown where its own p is as small.
    fn of_p(p: f64, alpha: f64) -> Self {
        match p {
            p if p < alpha => Self::Holds,
            p if 1.0 - p < alpha => Self::Fails,
            _ => Self::Undecided,
        }
    }
}

/// What the numbers of a claim call a trajectory: by its axes, else by its number.
fn whose(labels: &[(String, String)], number: usize) -> String {
    let axes: Vec<String> = labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    if axes.is_empty() { format!("trajectory {number}") } else { axes.join(",") }
}

fn table(cx: &ActionContext<'_>, name: &str) -> Result<Table, Failure> {
    let text = String::from_utf8(cx.input(name)?).map_err(Failure::work)?;
    Table::from_csv(&text).map_err(Failure::work)
}

fn column(table: &Table, name: &str) -> Result<Vec<f64>, Failure> {
    table.numbers(name).map_err(|error| Failure::Work(format!("a table to be judged does not fit: {error}")))
}

/// A column of words.
fn texts<'t>(table: &'t Table, name: &str) -> Result<Vec<&'t str>, Failure> {
    let misfit = |error| Failure::Work(format!("a table to be judged does not fit: {error}"));
    let place = table.column(name).map_err(misfit)?;
    let text = |row: &'t Vec<Cell>| match &row[place] {
        Cell::Text(text) => text.as_str(),
        _ => "",
    };
    Ok(table.rows.iter().map(text).collect())
}
