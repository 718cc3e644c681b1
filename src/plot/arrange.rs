//! Where everything in a panel goes, before anything is drawn: ticks that fit, names of marks where there is room, the
//! inset and the legend where they cover least; if they would cover data, the vertical axis is extended to make room.

use std::collections::BTreeSet;

use super::data::Trace;
use super::figure::{Corner, Legend, Panel, Placement, Position, Scale};
use super::font::{Fonts, Weight};
use super::legend::{self, Entry};
use super::path::clip_line;
use super::place::{Crowd, Frame};
use super::theme::{CAPITAL, Sizes};
use super::ticks::{self, Ticks};
use super::trace::course;
use super::view::{Span, View, extent_of_mark};

/// What is to be arranged.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub panel: &'a Panel,
    pub traces: &'a [Trace],
    /// What the data ask for.
    pub view: View,
    pub sizes: Sizes,
    pub fonts: &'a Fonts,
}

/// The name of a mark at its place.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub mark: usize,
    pub frame: Frame,
    /// Read from below to above.
    pub upward: bool,
}

/// Everything in its place.
#[derive(Clone, Debug)]
pub(super) struct Arrangement {
    pub view: View,
    pub x: Ticks,
    pub y: Ticks,
    pub names: Vec<Name>,
    pub inset: Option<Frame>,
    pub legend: Option<(Frame, Vec<Entry>)>,
    /// How many samples of the data are covered.
    covered: usize,
}

/// How much of its height a panel may gain for legend and inset.
const HEADROOM: [f64; 8] = [0.0, 0.08, 0.16, 0.25, 0.35, 0.5, 0.7, 0.95];

/// Labels, legend and inset keep this far from the axes.
const MARGIN: i32 = 300;

/// Half the length of the caps of error bars, about.
const CAP: i32 = 200;

impl Scene<'_> {
    /// The first arrangement that covers nothing, or the one that covers least.
    pub(super) fn arrange(&self, frame: Frame) -> Arrangement {
        let mut best = self.attempt(frame, self.view);
        if self.panel.y.high.is_none() {
            for share in HEADROOM {
                if best.covered == 0 {
                    break;
                }
                let next = self.attempt(frame, self.view.with_headroom(share));
                if next.covered < best.covered {
                    best = next;
                }
            }
        }
        best
    }

    fn attempt(&self, frame: Frame, view: View) -> Arrangement {
        let (x, y) = (self.across(view.x, self.panel.x.scale, frame), self.down(view.y, frame));
        let spans = (0..self.panel.marks.len()).filter(|&mark| self.panel.marks[mark].is_span());
        let shaded = spans.filter_map(|mark| self.extent(mark, frame, view)).collect();
        let mut crowd = Crowd { points: self.samples(frame, view), taken: Vec::new(), shaded };
        let mut covered = 0;
        let room = frame.grown(-MARGIN);
        let inset = self.panel.inset.as_ref().map(|inset| match inset.placement {
            Placement::At { left, bottom, width, height } => at_fractions(frame, [left, bottom, width, height]),
            Placement::Emptiest { width, height } => {
                let size = at_fractions(frame, [0.0, 0.0, width, height]);
                let room = frame.grown(-MARGIN / 2);
                let candidates = room.places((size.width(), size.height()));
                let candidates = candidates.into_iter().map(|place| (place, ())).collect();
                let (place, (), under) = crowd.emptiest(room, candidates).unwrap_or((size, (), 0));
                covered += under;
                place
            }
        });
        crowd.taken.extend(inset);
        let (names, homeless) = self.names(&mut crowd, frame, view);
        let legend = self.legend(&mut crowd, room, &homeless);
        covered += legend.as_ref().map_or(0, |legend| legend.2);
        let legend = legend.map(|(place, entries, _)| (place, entries));
        Arrangement { view, x, y, names, inset, legend, covered }
    }

    fn legend(&self, crowd: &mut Crowd, room: Frame, homeless: &[usize]) -> Option<(Frame, Vec<Entry>, usize)> {
        let entries = legend::entries(self.panel, homeless);
        if entries.is_empty() || self.panel.legend == Legend::None {
            return None;
        }
        let size = legend::size(self.panel, &entries, self.fonts, self.sizes);
        if let Legend::At(corner) = self.panel.legend {
            return Some((room.corner(corner, size), entries, 0));
        }
        let candidates = room.places(size).into_iter().map(|place| (place, ())).collect();
        let fallback = (room.corner(Corner::TopRight, size), (), 0);
        let (place, (), under) = crowd.emptiest(room, candidates).unwrap_or(fallback);
        Some((place, entries, under))
    }

    /// The names of marks that have room, and the numbers of the marks whose names go to the legend instead.
    fn names(&self, crowd: &mut Crowd, frame: Frame, view: View) -> (Vec<Name>, Vec<usize>) {
        let (mut names, mut homeless) = (Vec::new(), Vec::new());
        // The name of a span belongs on its shade.
        let shaded = std::mem::take(&mut crowd.shaded);
        for (mark, about) in self.panel.marks.iter().enumerate().filter(|(_, mark)| !mark.label.is_empty()) {
            let width = self.fonts.width(&about.label, self.sizes.tick_text, Weight::Regular);
            let height = (f64::from(self.sizes.tick_text) * CAPITAL).round() as i32;
            let Some(band) = self.extent(mark, frame, view) else { continue };
            let candidates = beside(about.position, band, frame, (width, height));
            match crowd.emptiest(frame, candidates) {
                Some((place, upward, under)) if under == 0 || self.panel.legend == Legend::None => {
                    crowd.taken.push(place);
                    names.push(Name { mark, frame: place, upward });
                }
                _ => homeless.push(mark),
            }
        }
        crowd.shaded = shaded;
        (names, homeless)
    }

    /// The part of `frame` that a mark covers; a line covers no width.
    pub(super) fn extent(&self, mark: usize, frame: Frame, view: View) -> Option<Frame> {
        let mark = &self.panel.marks[mark];
        let (values, axis, span) = match mark.position {
            Position::Horizontal(y) => ([y, y], &self.panel.y, view.y),
            Position::Vertical(x) => ([x, x], &self.panel.x, view.x),
            Position::Columns(from, to) => ([from, to], &self.panel.x, view.x),
        };
        let (low, high) = extent_of_mark(values, axis.scale, mark)?;
        if high < span.low || low > span.high {
            return None;
        }
        let (low, high) = (low.max(span.low), high.min(span.high));
        let (from, to) = (view.onto(frame, (low, low)), view.onto(frame, (high, high)));
        Some(match mark.position {
            Position::Horizontal(_) => Frame { top: to.1.round() as i32, bottom: from.1.round() as i32, ..frame },
            Position::Vertical(_) | Position::Columns(..) => {
                Frame { left: from.0.round() as i32, right: to.0.round() as i32, ..frame }
            }
        })
    }

    /// Samples of all that is drawn, on the canvas, dense enough that no box slips between two.
    fn samples(&self, frame: Frame, view: View) -> Vec<(f64, f64)> {
        let mut samples = Vec::new();
        let cap = f64::from(CAP) / f64::from(frame.width()) * (view.x.high - view.x.low);
        let mut add_line = |points: &[(f64, f64)]| {
            for part in clip_line(points, &view.bounds()) {
                let part: Vec<_> = part.into_iter().map(|point| view.onto(frame, point)).collect();
                for pair in part.windows(2) {
                    let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
                    let count = ((dx.abs().max(dy.abs()) / 300.0).ceil() as u32).max(1);
                    let along = |i: u32| f64::from(i) / f64::from(count);
                    samples.extend((0..=count).map(|i| (pair[0].0 + along(i) * dx, pair[0].1 + along(i) * dy)));
                }
            }
        };
        for (series, trace) in self.panel.series.iter().zip(self.traces) {
            for run in &trace.runs {
                if series.style.has_line() {
                    add_line(&course(run, series.style));
                }
                for point in run {
                    for (low, high) in [point.error, point.band].into_iter().flatten() {
                        add_line(&[(point.x, low.max(view.y.low)), (point.x, high.min(view.y.high))]);
                    }
                    if let Some((low, high)) = point.error {
                        for end in [low, high] {
                            add_line(&[(point.x - cap, end), (point.x + cap, end)]);
                        }
                    }
                }
            }
        }
        for mark in 0..self.panel.marks.len() {
            if let (false, Some(extent)) = (self.panel.marks[mark].is_span(), self.extent(mark, frame, view)) {
                let ends = [(extent.left, extent.top), (extent.right, extent.bottom)];
                let [from, to] = ends.map(|(x, y)| (f64::from(x), f64::from(y)));
                samples.extend(
                    (0..=40)
                        .map(|i| f64::from(i) / 40.0)
                        .map(|t| (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1))),
                );
            }
        }
        for (series, trace) in self.panel.series.iter().zip(self.traces) {
            let shown = trace.points().filter_map(|point| view.place(point, series.at_edge));
            samples.extend(shown.map(|place| view.onto(frame, place)));
        }
        thinned(samples)
    }

    /// As many ticks as have room side by side.
    fn across(&self, span: Span, scale: Scale, frame: Frame) -> Ticks {
        let text = self.sizes.tick_text;
        let at = |position: f64| span.fraction(position) * f64::from(frame.width());
        let fits = |ticks: &Ticks| {
            let half = |label: &str| f64::from(self.fonts.width(label, text, Weight::Regular)) / 2.0;
            let apart = |pair: &[(f64, String)]| {
                let room = (at(pair[1].0) - at(pair[0].0)).abs();
                room >= half(&pair[0].1) + half(&pair[1].1) + f64::from(text)
            };
            ticks.major.windows(2).all(apart)
        };
        let all = (2..=7).rev().map(|at_most| ticks_on(span, scale, at_most));
        all.into_iter().find(fits).unwrap_or_else(|| ticks_on(span, scale, 1))
    }

    /// As many ticks as have room one above the other.
    fn down(&self, span: Span, frame: Frame) -> Ticks {
        let room = (frame.height() / (self.sizes.tick_text * 5 / 2)).clamp(2, 7);
        ticks_on(span, self.panel.y.scale, room.unsigned_abs() as usize)
    }
}

/// Of samples within two typographic points of each other one is enough; tens of thousands would make placing slow.
fn thinned(samples: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let cell = |(x, y): (f64, f64)| ((x / 200.0).floor() as i32, (y / 200.0).floor() as i32);
    let mut cells = BTreeSet::new();
    samples.into_iter().filter(|&sample| cells.insert(cell(sample))).collect()
}

fn ticks_on(span: Span, scale: Scale, at_most: usize) -> Ticks {
    match scale {
        Scale::Linear => ticks::linear(span.low, span.high, at_most),
        Scale::Log => ticks::log(span.low, span.high, at_most),
    }
}

/// Left, bottom, width and height as fractions of `frame`.
fn at_fractions(frame: Frame, fractions: [f64; 4]) -> Frame {
    let share = |length: i32, fraction: f64| (f64::from(length) * fraction.clamp(0.0, 1.0)).round() as i32;
    let [left, bottom, width, height] = fractions;
    let (left, bottom) = (frame.left + share(frame.width(), left), frame.bottom - share(frame.height(), bottom));
    Frame { left, bottom, right: left + share(frame.width(), width), top: bottom - share(frame.height(), height) }
}

/// Places for a name of this size (width and height as read) at a mark that covers `band`, the best first, each with
/// whether the name is read upward there.
fn beside(position: Position, band: Frame, frame: Frame, (width, height): (i32, i32)) -> Vec<(Frame, bool)> {
    let (near, lying) = (300, (width, height));
    let standing = (height, width);
    let (left, right) = (frame.left + MARGIN + width / 2, frame.right - MARGIN - width / 2);
    let (high, low) = (frame.top + MARGIN, frame.bottom - MARGIN);
    let (above, below) = (band.top - near - height / 2, band.bottom + near + height / 2);
    let (before, after) = (band.left - near - height / 2, band.right + near + height / 2);
    let centre = band.centre();
    let across = [right, left, frame.centre().0];
    let lines = |y: i32| across.map(|x| (Frame::around((x, y), lying), false));
    let columns = |x: i32| [high + width / 2, low - width / 2].map(|y| (Frame::around((x, y), standing), true));
    match position {
        Position::Vertical(_) => columns(after).into_iter().chain(columns(before)).collect(),
        Position::Horizontal(_) => lines(above).into_iter().chain(lines(below)).collect(),
        Position::Columns(..) => {
            let mut places = Vec::new();
            if band.width() > width + 2 * near {
                places.extend(
                    [high + height / 2, low - height / 2].map(|y| (Frame::around((centre.0, y), lying), false)),
                );
            }
            if band.width() > height + near {
                places.extend(columns(centre.0));
            }
            // Beside its shade a name would be taken for that of the other side.
            places
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_named_on_its_shade_or_nowhere() {
        let frame = Frame { left: 0, top: 0, right: 40_000, bottom: 30_000 };
        for width in [100, 600, 1_500, 9_000] {
            let band = Frame { left: 0, right: width, ..frame };
            let places = beside(Position::Columns(0.0, 5.0), band, frame, (4_800, 525));
            assert!(places.iter().all(|(place, _)| 0 <= place.left && place.right <= width), "{width}");
            assert_eq!(places.is_empty(), width < 900, "{width}");
        }
    }
}
