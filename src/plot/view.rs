//! Which part of the plane a panel shows.

use super::data::{Point, Trace, scaled};
use super::error::{Error, Result, Warning};
use super::figure::{Axis, Mark, Panel, Position, Scale};
use super::path::Bounds;
use super::place::Frame;

/// How far the data keep from the ends of an axis, as a share of its length.
const PADDING: f64 = 0.04;

/// The ends of an axis on its scale; `low < high`, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub low: f64,
    pub high: f64,
}

impl Span {
    pub(super) fn contains(self, at: f64) -> bool {
        (self.low..=self.high).contains(&at)
    }

    /// Where `at` lies: 0 at the lower end, 1 at the upper.
    pub(super) fn fraction(self, at: f64) -> f64 {
        (at - self.low) / (self.high - self.low)
    }
}

/// Both axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    pub x: Span,
    pub y: Span,
}

impl View {
    /// What `panel` asks for, or else room for all of its data, error bars and marked lines.
    pub(super) fn of(panel: &Panel, traces: &[Trace], place: &str, warnings: &mut Vec<Warning>) -> Result<Self> {
        let stretching = || panel.series.iter().zip(traces).filter(|(series, _)| !series.at_edge);
        let points = || stretching().flat_map(|(_, trace)| trace.points());
        let mut xs: Vec<f64> = points().map(|point| point.x).collect();
        let mut ys: Vec<f64> = points().flat_map(heights).filter(|end| end.is_finite()).collect();
        for mark in &panel.marks {
            let (axis, values, reached) = match mark.position {
                Position::Horizontal(y) => (&panel.y, [y; 2], &mut ys),
                Position::Vertical(x) => (&panel.x, [x; 2], &mut xs),
                Position::Columns(from, to) => (&panel.x, [from, to], &mut Vec::new()),
            };
            if extent_of_mark(values, axis.scale, mark).is_some() {
                reached.extend(values.iter().filter_map(|&value| scaled(value, axis.scale).ok()));
            } else {
                warnings.push(Warning::Mark { place: place.to_owned(), label: mark.label.clone() });
            }
        }
        let view = Self { x: span(&panel.x, &xs)?, y: span(&panel.y, &ys)? };
        for (series, trace) in stretching() {
            let count = trace.points().filter(|point| !view.shows(point)).count();
            if count > 0 {
                warnings.push(Warning::Outside { place: place.to_owned(), series: series.label.clone(), count });
            }
        }
        for mark in panel.marks.iter().filter(|mark| !view.reaches(mark.position, panel)) {
            warnings.push(Warning::Mark { place: place.to_owned(), label: mark.label.clone() });
        }
        Ok(view)
    }

    /// Whether a line lies between the ends of its axis; one that its axis' scale cannot show was warned of before.
    fn reaches(&self, position: Position, panel: &Panel) -> bool {
        let within = |value, axis: &Axis, span: Span| scaled(value, axis.scale).map_or(true, |at| span.contains(at));
        match position {
            Position::Horizontal(y) => within(y, &panel.y, self.y),
            Position::Vertical(x) => within(x, &panel.x, self.x),
            Position::Columns(..) => true,
        }
    }

    pub(super) fn shows(&self, point: &Point) -> bool {
        self.x.contains(point.x) && self.y.contains(point.y)
    }

    /// Where a point is drawn, if it is: at its place, or at the end of the axis that it lies beyond.
    pub(super) fn place(&self, point: &Point, at_edge: bool) -> Option<(f64, f64)> {
        if at_edge {
            let clamp = |value: f64, span: Span| value.clamp(span.low, span.high);
            Some((clamp(point.x, self.x), clamp(point.y, self.y)))
        } else {
            self.shows(point).then_some((point.x, point.y))
        }
    }

    /// The same view with `share` of its height added above.
    pub(super) fn with_headroom(self, share: f64) -> Self {
        let high = self.y.high + share * (self.y.high - self.y.low);
        Self { y: Span { low: self.y.low, high }, ..self }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { low: (self.x.low, self.y.low), high: (self.x.high, self.y.high) }
    }

    /// A point of the plane on the canvas, not rounded.
    pub(super) fn onto(&self, frame: Frame, (x, y): (f64, f64)) -> (f64, f64) {
        let across = f64::from(frame.left) + self.x.fraction(x) * f64::from(frame.width());
        let down = f64::from(frame.bottom) - self.y.fraction(y) * f64::from(frame.height());
        (across, down)
    }
}

/// The ends of a mark on its axis' scale, ascending; a span may begin at nothing on a logarithmic axis.
pub(super) fn extent_of_mark(values: [f64; 2], scale: Scale, mark: &Mark) -> Option<(f64, f64)> {
    let (low, high) = (values[0].min(values[1]), values[0].max(values[1]));
    let high = scaled(high, scale).ok()?;
    match scaled(low, scale) {
        Ok(low) => Some((low, high)),
        Err(super::data::Misfit::NotPositive) if mark.is_span() => Some((f64::NEG_INFINITY, high)),
        Err(_) => None,
    }
}

fn heights(point: &Point) -> impl Iterator<Item = f64> {
    let ends = [point.error, point.band].into_iter().flatten().flat_map(|(low, high)| [low, high]);
    ends.chain([point.y])
}

fn span(axis: &Axis, values: &[f64]) -> Result<Span> {
    let found = span_of(axis.scale, values);
    let end = |given: Option<f64>, found: f64| given.map_or(Ok(found), |given| scaled(given, axis.scale));
    match (end(axis.low, found.low), end(axis.high, found.high)) {
        // One end is given and all data lie beyond it.
        (Ok(low), Ok(_)) if axis.high.is_none() && low >= found.high => Ok(Span { low, high: low + 1.0 }),
        (Ok(_), Ok(high)) if axis.low.is_none() && high <= found.low => Ok(Span { low: high - 1.0, high }),
        (Ok(low), Ok(high)) if low < high && !nearly_equal(low, high) => Ok(Span { low, high }),
        _ => {
            let (low, high) = (axis.low.unwrap_or(found.low), axis.high.unwrap_or(found.high));
            Err(Error::Range { axis: axis.label.clone(), low, high })
        }
    }
}

/// The ends that follow from the data, on the axis' scale.
fn span_of(scale: Scale, values: &[f64]) -> Span {
    if values.is_empty() {
        return Span { low: 0.0, high: 1.0 };
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if nearly_equal(low, high) {
        let room = match scale {
            Scale::Log => 0.5,
            Scale::Linear if low == 0.0 => 1.0,
            Scale::Linear => low.abs().max(1e-100) / 2.0,
        };
        return Span { low: low - room, high: high + room };
    }
    let room = PADDING * (high - low);
    Span { low: low - room, high: high + room }
}

/// Values that would not leave a hundred floats between two ticks.
fn nearly_equal(low: f64, high: f64) -> bool {
    high - low <= 1e-12 * low.abs().max(high.abs()) || high - low < 1e-200
}
