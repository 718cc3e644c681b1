//! The tables of `spectrum`: sums of each point, the eigenvalues at its top, the density along a grid of its own.

use super::index::Point;
use super::tables;
use crate::execute::Failure;
use crate::ml::curvature::lanczos::{Which, choose};
use crate::ml::curvature::quadrature::{Quadrature, Spectrum, grid, log_determinant, negative};
use crate::ml::curvature::trace::Estimate;
use crate::plot::{Cell, Table};

/// The share of N·‖A‖ below which a sum is rounding.
const NOTHING: f64 = 1e-7;

/// What is asked of a spectrum.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which eigenvalues are the top.
    pub which: Which,
    /// How many.
    pub top: usize,
    /// τ of the log-determinant.
    pub tau: f64,
    /// Places of the density.
    pub grid: usize,
    /// Its broadening, as a share of the range.
    pub width: f64,
    /// Whether the eigenvalues are all there are, without error.
    pub exact: bool,
    /// The largest eigenvalue at which gradient descent with the training's settings is stable.
    pub steepest: f64,
}

/// The tables so far.
pub struct Tables {
    asked: Asked,
    sums: Table,
    top: Table,
    density: Table,
    unresolved: usize,
}

const SUMS: [(&str, &str); 20] = [
    ("epoch", ""),
    ("iteration", ""),
    ("trace", "nats"),
    ("trace_stderr", "nats"),
    ("negative_sum", "nats"),
    ("negative_sum_stderr", "nats"),
    ("negative_sum_change", "nats"),
    ("log_determinant", ""),
    ("log_determinant_stderr", ""),
    ("log_determinant_change", ""),
    ("log_sum_of_top", ""),
    ("log_sum_of_top_stderr", ""),
    ("largest", "nats"),
    ("smallest", "nats"),
    ("stability", ""),
    ("starts", ""),
    ("products", ""),
    ("loss", "nats"),
    ("descent_steps", ""),
    ("reached", ""),
];
const TOP: [(&str, &str); 5] =
    [("epoch", ""), ("iteration", ""), ("place", ""), ("eigenvalue", "nats"), ("residual", "nats")];
const DENSITY: [(&str, &str); 6] = [
    ("point", ""),
    ("epoch", ""),
    ("iteration", ""),
    ("eigenvalue", "nats"),
    ("density", "1/nats"),
    ("stderr", "1/nats"),
];

impl Tables {
    /// Without a row.
    pub fn new(asked: Asked) -> Self {
        let [sums, top, density] = [&SUMS[..], &TOP, &DENSITY].map(tables::table);
        Self { asked, sums, top, density, unresolved: 0 }
    }

    /// Adds the rows of a point, where the loss is `loss`. The top comes of the first start vector, whose residuals say how far it can be off.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn add(&mut self, epoch: f64, (point, loss): (&Point, f64), quadratures: &[Quadrature]) -> Result<(), Failure> {
        let Asked { which, top, tau, grid: places, width, exact, steepest } = self.asked;
        let (spectrum, first) = (Spectrum(quadratures), &quadratures[0].ritz);
        let (smallest, largest) = spectrum.range()?;
        let iteration = tables::count(point.iteration);
        let mut row = vec![Cell::Number(epoch), iteration.clone()];
        row.extend(self.cells(Some(spectrum.trace()?)));
        let (negative_sum, determinant) = (spectrum.negative_sum()?, spectrum.log_determinant(tau)?);
        let changes = [spectrum.change(negative)?, spectrum.change(log_determinant(tau))?];
        row.extend(self.cells(Some(negative_sum)));
        row.push(Cell::Number(changes[0]));
        row.extend(self.cells(Some(determinant)));
        row.push(Cell::Number(changes[1]));
        let scale = quadratures[0].n as f64 * largest.abs().max(smallest.abs());
        let far = |change: f64, estimate: Estimate| change.abs() > (2.0 * estimate.stderr).max(NOTHING * scale);
        self.unresolved += usize::from(far(changes[0], negative_sum) || far(changes[1], determinant));
        row.extend(self.cells(spectrum.log_sum_of_top(top)?));
        let products = if exact { quadratures[0].n } else { quadratures.iter().map(|q| q.ritz.len()).sum() };
        row.extend([
            Cell::Number(largest),
            Cell::Number(smallest),
            Cell::Number(largest / steepest),
            if exact { Cell::Empty } else { tables::count(quadratures.len() as u64) },
            tables::count(products as u64),
        ]);
        row.extend(tables::ending(point.minimum.as_ref(), Some(loss)));
        self.sums.rows.push(row);
        for (place, index) in choose(first, which, top).into_iter().enumerate() {
            let place = tables::count(place as u64 + 1);
            let (value, residual) = (Cell::Number(first[index].value), Cell::Number(first[index].residual));
            self.top.rows.push(vec![Cell::Number(epoch), iteration.clone(), place, value, residual]);
        }
        // A spectrum of one value has no range; then its size takes the range's place.
        let range = (largest - smallest).max(f64::EPSILON * largest.abs().max(smallest.abs()));
        let sigma = width * if range > 0.0 { range } else { 1.0 };
        for x in grid((smallest, largest), sigma, places) {
            let [density, stderr] = self.cells(Some(spectrum.density(x, sigma)?));
            let point = Cell::Text(format!("epoch {epoch}"));
            let row = vec![point, Cell::Number(epoch), iteration.clone(), Cell::Number(x), density, stderr];
            self.density.rows.push(row);
        }
        Ok(())
    }

    /// At how many points the last steps changed a sum by more than two of its standard errors.
    pub fn unresolved(&self) -> usize {
        self.unresolved
    }

    /// An estimate and its error, which is 0 where all eigenvalues are known.
    fn cells(&self, estimate: Option<Estimate>) -> [Cell; 2] {
        let Some(estimate) = estimate else { return [Cell::Empty, Cell::Empty] };
        [Cell::Number(estimate.mean), Cell::Number(if self.asked.exact { 0.0 } else { estimate.stderr })]
    }

    /// The tables by the names of outputs.
    pub fn all(self) -> [(&'static str, Table); 3] {
        [("table", self.sums), ("top", self.top), ("density", self.density)]
    }
}
