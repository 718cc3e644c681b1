//! What of a panel's data can be drawn: values on the axes' scales, lines broken where a point cannot be shown.

use super::error::Warning;
use super::figure::{Panel, Scale};
use super::series::Series;

/// Larger values would overflow on the way to the canvas.
const LARGEST: f64 = 1e100;

/// A point on the axes' scales: a logarithmic axis has taken the decimal logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    /// Ends of the error bar; the lower one is −∞ if the axis has no place for it.
    pub error: Option<(f64, f64)>,
    /// Edges of the band.
    pub band: Option<(f64, f64)>,
}

/// The points of one series; each run is unbroken.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    pub runs: Vec<Vec<Point>>,
}

impl Trace {
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.runs.iter().flatten()
    }
}

/// Why a value has no place on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    NotFinite,
    NotPositive,
}

/// `value` on `scale`.
pub(super) fn scaled(value: f64, scale: Scale) -> Result<f64, Misfit> {
    if value.is_nan() || value.abs() > LARGEST {
        return Err(Misfit::NotFinite);
    }
    match scale {
        Scale::Linear => Ok(value),
        Scale::Log if value > 1.0 / LARGEST => Ok(libm::log10(value)),
        Scale::Log => Err(Misfit::NotPositive),
    }
}

/// Each series as far as it can be drawn.
pub(super) fn traces(panel: &Panel, place: &str, warnings: &mut Vec<Warning>) -> Vec<Trace> {
    panel.series.iter().map(|series| trace(series, (panel.x.scale, panel.y.scale), place, warnings)).collect()
}

fn trace(series: &Series, scales: (Scale, Scale), place: &str, warnings: &mut Vec<Warning>) -> Trace {
    let mut runs: Vec<Vec<Point>> = vec![Vec::new()];
    let (mut not_finite, mut not_positive) = (0, 0);
    let reined = |value: f64| if series.at_edge { value.clamp(-LARGEST, LARGEST) } else { value };
    for (i, point) in series.points.iter().enumerate() {
        let (x, y) = (reined(point.0), reined(point.1));
        // Which coordinate is at fault does not matter, but that of two faults the worse is counted does.
        let (x, y) = match (scaled(x, scales.0), scaled(y, scales.1)) {
            (Ok(x), Ok(y)) => (x, y),
            (Err(Misfit::NotFinite), _) | (_, Err(Misfit::NotFinite)) => {
                not_finite += 1;
                runs.push(Vec::new());
                continue;
            }
            _ => {
                not_positive += 1;
                runs.push(Vec::new());
                continue;
            }
        };
        let at = |spreads: &Option<Vec<(f64, f64)>>| ends(*spreads.as_ref()?.get(i)?, scales.1);
        let point = Point { x, y, error: at(&series.errors), band: at(&series.band) };
        if let Some(run) = runs.last_mut() {
            run.push(point);
        }
    }
    runs.retain(|run| !run.is_empty());
    let trace = Trace { runs };
    warn(series, &trace, (not_finite, not_positive), place, warnings);
    trace
}

fn warn(series: &Series, trace: &Trace, counts: (usize, usize), place: &str, warnings: &mut Vec<Warning>) {
    let (place, label) = (place.to_owned(), series.label.clone());
    if counts.0 > 0 {
        warnings.push(Warning::NotFinite { place: place.clone(), series: label.clone(), count: counts.0 });
    }
    if counts.1 > 0 {
        warnings.push(Warning::NotPositive { place: place.clone(), series: label.clone(), count: counts.1 });
    }
    let points = series.points.len();
    for spreads in [&series.errors, &series.band].into_iter().flatten().map(Vec::len) {
        if points != spreads {
            warnings.push(Warning::Lengths { place: place.clone(), series: label.clone(), points, spreads });
        }
    }
    if trace.runs.is_empty() {
        warnings.push(Warning::Empty { place, series: label });
    }
}

/// An error bar on the axis' scale: an end beyond what a logarithmic axis shows runs off it, a NaN leaves the bar out.
fn ends((low, high): (f64, f64), scale: Scale) -> Option<(f64, f64)> {
    if low.is_nan() || high.is_nan() {
        return None;
    }
    let end = |value: f64| match scaled(value, scale) {
        Ok(end) => end,
        Err(Misfit::NotPositive) => f64::NEG_INFINITY,
        Err(Misfit::NotFinite) if value < 0.0 => f64::NEG_INFINITY,
        Err(Misfit::NotFinite) => f64::INFINITY,
    };
    Some((end(low.min(high)), end(low.max(high))))
}
