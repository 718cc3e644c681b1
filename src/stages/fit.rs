//! `fit`: a straight line, or a power, through columns of tables by least squares; as a table that is drawn as a line and judged by its numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plot::TABLES;
use super::{foresee, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Identity, Inputs, Outputs, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader, References};
use crate::ml::statistics::{LinearFit, weighted_linear_fit};
use crate::plot::{Cell, Table};

/// Places at which the fitted line is given.
const PLACES: usize = 101;

/// The columns of a fit beside those that are fitted.
const OWN: [&str; 9] =
    ["slope", "slope_stderr", "intercept", "factor", "exponent", "exponent_stderr", "r_squared", "points", "left_out"];

/// The kind.
pub struct Fit;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct FitParams {
    from: References,
    table: Identity<String>,
    x: Identity<String>,
    y: Identity<String>,
    error: Identity<Option<String>>,
    model: Identity<Model>,
}

/// What is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Model {
    /// y = intercept + slope·x.
    Linear,
    /// y = factor·x^exponent: a straight line through the logarithms.
    Power,
}

impl Kind for Fit {
    fn name(&self) -> &'static str {
        "fit"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Fits a straight line or a power to columns of tables by least squares."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let from = reader.references("from", "the stages whose rows are fitted, all together", &[]);
        let error_doc = "the column with the standard errors of y: rows then count by 1/error²";
        let model_doc = "y = intercept + slope·x, or y = factor·x^exponent, by the logarithms; of these y may be negative throughout";
        let named: Vec<(&'static str, String)> = TABLES.iter().map(|name| (*name, (*name).to_owned())).collect();
        let params = FitParams {
            from,
            table: reader.choice("table", "which of their tables", &named).default("table".to_owned()).identity(),
            x: reader.text("x", "the column along").required().not_empty().identity(),
            y: reader.text("y", "the column that is fitted").required().not_empty().identity(),
            error: reader.text("error", error_doc).optional().identity(),
            model: reader
                .choice("model", model_doc, &[("linear", Model::Linear), ("power", Model::Power)])
                .default(Model::Linear)
                .identity(),
        };
        let own = |name: &str| OWN.contains(&name);
        if own(&params.x) || own(&params.y) || *params.x == *params.y {
            let message = format!(
                "`y`: expected another column than `x`, and neither among the fit's own, `{}`",
                OWN.join("`, `")
            );
            reader.problem("y", message);
        }
        Arc::new(params)
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &TABLES
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        foresee::one(params.of::<FitParams>().fit(foresight.inputs), foresight)
    }
}

impl Params for FitParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("table", &self.table)
            .identity("x", &self.x)
            .identity("y", &self.y)
            .identity("error", &self.error)
            .identity("model", &self.model);
    }
}

impl FitParams {
    /// The one action.
    fn fit(&self, inputs: &Inputs) -> Result<Action, Failure> {
        let mut action = Action::new(&Fitted)
            .with("x", &self.x)
            .with("y", &self.y)
            .with("error", &self.error)
            .with("model", &self.model);
        let mut given = Vec::new();
        for (n, input) in behind(inputs, &self.from.field).iter().enumerate() {
            let name = format!("{}#{n}", self.from.field);
            let table = input.outputs.get(self.table.as_str());
            let missing = || Failure::Work(format!("`{}` has no `{}` to fit", input.instance, *self.table));
            action = action.input(&name, table.ok_or_else(missing)?);
            given.push(name);
        }
        Ok(action.with("given", &Identity::required(given)))
    }
}

impl Work for FitParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        Ok(cx.call(self.fit(cx.all_inputs())?)?.outputs)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

/// The action: tables to a fit.
pub struct Fitted;

impl ActionKind for Fitted {
    fn name(&self) -> &'static str {
        "fit"
    }

    fn version(&self) -> u32 {
        1
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let (x_name, y_name): (String, String) = (cx.required("x")?, cx.required("y")?);
        let error: Option<String> = cx.param("error", None)?;
        let mut points = Points::default();
        for name in cx.required::<Vec<String>>("given")? {
            let text = String::from_utf8(cx.input(&name)?).map_err(Failure::work)?;
            points.add(&Table::from_csv(&text).map_err(Failure::work)?, (&x_name, &y_name, error.as_deref()))?;
        }
        points.check((&x_name, &y_name))?;
        let table = match cx.param("model", Model::Linear)? {
            Model::Linear => points.linear((&x_name, &y_name)),
            Model::Power => points.power((&x_name, &y_name)),
        }?;
        let csv = table.to_csv().map_err(Failure::work)?;
        Ok(BTreeMap::from([("table".to_owned(), Payload::Bytes(csv.into_bytes()))]))
    }
}

/// What is fitted: rows that have all their numbers.
#[derive(Default)]
struct Points {
    x: Vec<f64>,
    y: Vec<f64>,
    weights: Vec<f64>,
    has_errors: bool,
    left_out: u64,
}

impl Points {
    fn add(&mut self, table: &Table, (x, y, error): (&str, &str, Option<&str>)) -> Result<(), Failure> {
        let misfit = |problem| Failure::Work(format!("a table to be fitted does not fit: {problem}"));
        let numbers = |name: &str| table.numbers(name).map_err(misfit);
        self.has_errors |= error.is_some();
        let (x, y, error) = (numbers(x)?, numbers(y)?, error.map(numbers).transpose()?);
        for row in 0..x.len() {
            let error = error.as_ref().map_or(1.0, |error| error[row]);
            if x[row].is_finite() && y[row].is_finite() && error.is_finite() && error > 0.0 {
                self.x.push(x[row]);
                self.y.push(y[row]);
                self.weights.push(1.0 / (error * error));
            } else {
                self.left_out += 1;
            }
        }
        Ok(())
    }

    /// Of a slope: from the errors of y where they are known, else from how the points scatter.
    /// It is not known of two points without errors.
    fn stderr(&self, fit: &LinearFit) -> f64 {
        match (self.has_errors, fit.points) {
            (true, _) => fit.slope_stderr_known,
            (false, 0..=2) => f64::NAN,
            (false, _) => fit.slope_stderr,
        }
    }

    /// That there are points enough.
    fn check(&self, (x, y): (&str, &str)) -> Result<(), Failure> {
        if self.x.len() >= 2 {
            return Ok(());
        }
        let (points, left_out) = (self.x.len(), self.left_out);
        Err(Failure::Work(format!(
            "a fit of `{y}` along `{x}` takes two points or more, got {points}; {left_out} rows lack a number, or have a standard error that is not above 0"
        )))
    }

    fn linear(&self, names: (&str, &str)) -> Result<Table, Failure> {
        let fit = weighted_linear_fit(&self.x, &self.y, &self.weights)?;
        let numbers = [("slope", fit.slope), ("slope_stderr", self.stderr(&fit)), ("intercept", fit.intercept)];
        Ok(self.table(names, &numbers, &fit, |x| fit.at(x)))
    }

    /// The straight line through the logarithms. A standard error of y is one of log y over |y|.
    fn power(&self, names: (&str, &str)) -> Result<Table, Failure> {
        let sign = self.y.first().map_or(1.0, |y| y.signum());
        if self.x.iter().any(|&x| x <= 0.0) || self.y.iter().any(|&y| y * sign <= 0.0) {
            return Err(Failure::Work(format!(
                "a power of `{}` takes positive numbers, and `{}` all of one sign, none of them 0",
                names.0, names.1
            )));
        }
        let logs = |values: &[f64]| values.iter().map(|x| libm::log(x.abs())).collect::<Vec<_>>();
        let in_logs = |(weight, y): (&f64, &f64)| if self.has_errors { weight * y * y } else { *weight };
        let weights: Vec<f64> = self.weights.iter().zip(&self.y).map(in_logs).collect();
        let fit = weighted_linear_fit(&logs(&self.x), &logs(&self.y), &weights)?;
        let factor = sign * libm::exp(fit.intercept);
        let numbers = [("factor", factor), ("exponent", fit.slope), ("exponent_stderr", self.stderr(&fit))];
        Ok(self.table(names, &numbers, &fit, |x| sign * libm::exp(fit.at(libm::log(x)))))
    }

    /// The line from the least to the greatest x, evenly in x where that may be 0 or less and else also in log x, with the numbers beside it.
    fn table(&self, names: (&str, &str), numbers: &[(&str, f64)], fit: &LinearFit, at: impl Fn(f64) -> f64) -> Table {
        let (low, high) = self.x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
        let share = |i: usize| i as f64 / (PLACES - 1) as f64;
        let mut places: Vec<f64> = (0..PLACES).map(|i| low + share(i) * (high - low)).collect();
        if low > 0.0 {
            places.extend((0..PLACES).map(|i| (low * libm::pow(high / low, share(i))).clamp(low, high)));
        }
        places.sort_by(f64::total_cmp);
        places.dedup();
        let all = [("r_squared", fit.r_squared), ("points", fit.points as f64), ("left_out", self.left_out as f64)];
        let numbers: Vec<(&str, f64)> = numbers.iter().chain(&all).copied().collect();
        let columns: Vec<(&str, &str)> = [names.0, names.1]
            .into_iter()
            .chain(numbers.iter().map(|(name, _)| *name))
            .map(|name| (name, ""))
            .collect();
        let mut table = tables::table(&columns);
        for x in places {
            let beside = numbers.iter().map(|(_, number)| tables::number(Some(*number).filter(|x| x.is_finite())));
            table.rows.push([Cell::Number(x), Cell::Number(at(x))].into_iter().chain(beside).collect());
        }
        table
    }
}
