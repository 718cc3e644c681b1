//! The tables of `toy`: a row a learning rate, a row a recorded iteration, and a row a run.

use super::tables;
use crate::execute::{Failure, StageContext};
use crate::key::Outputs;
use crate::ml::curvature::trace::Estimate;
use crate::ml::toy::walk::{Recorded, Run};
use crate::plot::{Cell, Table};

/// What is known of a learning rate beside its runs.
pub struct Rate {
    pub lr: f64,
    /// The iteration from which on changes and means are taken.
    pub equilibrate: u64,
    /// What the theory says of the change of the trace.
    pub predicted: Option<f64>,
}

/// The three tables.
pub struct Tables {
    rates: Table,
    path: Table,
    runs: Table,
}

/// What there is a mean of.
type Quantity<'a> = Box<dyn Fn(&Run) -> f64 + 'a>;

impl Tables {
    /// Without a row, for so many coordinates.
    pub fn new(dimension: usize) -> Self {
        let means = |names: Vec<String>| names.into_iter().flat_map(|name| [name.clone(), format!("{name}_stderr")]);
        let at = |prefix: &str| (1..=dimension).map(|i| format!("{prefix}t{i}")).collect::<Vec<_>>();
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let rates = named(&["lr", "lr_squared", "runs"]).into_iter();
        let rates =
            rates.chain(means([named(&["trace_change", "trace", "determinant"]), at("mean_"), at("end_")].concat()));
        let rates: Vec<String> = rates.chain(["predicted_trace_change".to_owned()]).collect();
        let path = named(&["lr", "iteration"]).into_iter();
        let path: Vec<String> = path.chain(means([named(&["trace", "determinant"]), at("")].concat())).collect();
        let runs = [named(&["lr", "run", "trace_change", "trace", "determinant"]), at("mean_"), at("end_")].concat();
        let table = |names: &[String]| tables::table(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
        Self { rates: table(&rates), path: table(&path), runs: table(&runs) }
    }

    /// Adds the runs of a learning rate.
    ///
    /// # Errors
    /// If there is no run.
    pub fn add(&mut self, rate: &Rate, runs: &[Run]) -> Result<(), Failure> {
        let lr = Cell::Number(rate.lr);
        let dimension = runs.first().map_or(0, |run| run.mean.len());
        let quantities = quantities(rate.equilibrate, dimension);
        let mut row = vec![lr.clone(), Cell::Number(rate.lr * rate.lr), tables::count(runs.len() as u64)];
        for of in &quantities {
            row.extend(mean(runs.iter().map(of))?);
        }
        row.push(tables::number(rate.predicted));
        self.rates.rows.push(row);
        for (number, run) in runs.iter().enumerate() {
            let values = quantities.iter().map(|of| Cell::Number(of(run)));
            self.runs.rows.push([lr.clone(), tables::count(number as u64)].into_iter().chain(values).collect());
        }
        let recorded = runs.first().map_or(&[][..], |run| &run.recorded);
        for (at, Recorded { iteration, .. }) in recorded.iter().enumerate() {
            let mut row = vec![lr.clone(), tables::count(*iteration)];
            row.extend(mean(runs.iter().map(|run| run.recorded[at].trace))?);
            row.extend(mean(runs.iter().map(|run| run.recorded[at].determinant))?);
            for i in 0..dimension {
                row.extend(mean(runs.iter().map(|run| run.recorded[at].point[i]))?);
            }
            self.path.rows.push(row);
        }
        Ok(())
    }

    /// Keeps them.
    ///
    /// # Errors
    /// If the store cannot.
    pub fn keep(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let named = [("table", &self.rates), ("path", &self.path), ("runs", &self.runs)];
        named.into_iter().map(|(name, table)| Ok((name.to_owned(), tables::keep(cx, table)?))).collect()
    }
}

/// What there is to say of a run, in the order of the columns.
fn quantities<'a>(equilibrate: u64, dimension: usize) -> Vec<Quantity<'a>> {
    let settled = move |run: &Run| {
        let at = run.recorded.iter().find(|recorded| recorded.iteration == equilibrate);
        at.map_or_else(|| end(run).trace, |at| at.trace)
    };
    let mut all: Vec<Quantity<'a>> = vec![
        Box::new(move |run| end(run).trace - settled(run)),
        Box::new(|run| end(run).trace),
        Box::new(|run| end(run).determinant),
    ];
    all.extend((0..dimension).map(|i| -> Quantity<'a> { Box::new(move |run| run.mean[i]) }));
    all.extend((0..dimension).map(|i| -> Quantity<'a> { Box::new(move |run| end(run).point[i]) }));
    all
}

fn end(run: &Run) -> &Recorded {
    run.recorded.last().expect("invariant: a run records its end")
}

/// A mean and its standard error.
fn mean(values: impl Iterator<Item = f64>) -> Result<[Cell; 2], Failure> {
    let estimate = Estimate::of(&values.collect::<Vec<_>>())?;
    Ok([Cell::Number(estimate.mean), tables::number(Some(estimate.stderr).filter(|stderr| stderr.is_finite()))])
}
