//! One series on a panel: band, error bars, line, points.

use std::collections::BTreeSet;

use super::data::{Point, Trace};
use super::easel::{Easel, Pen, Plane};
use super::error::Result;
use super::path;
use super::series::{Marker, Series, Style};
use super::theme::{BAR_WIDTH, LINE_WIDTH, POINT, Paint, Sizes, WHITE};
use super::view::View;

/// How a series looks, everything decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub style: Style,
    pub paint: Paint,
    pub pen: Pen,
    pub marker: Marker,
    pub radius: i32,
    pub hollow: bool,
    at_edge: bool,
}

impl Look {
    pub(super) fn of(series: &Series, index: usize, sizes: Sizes) -> Self {
        let paint = Paint { rgb: series.color.rgb(index), alpha: series.opacity.clamp(0.0, 1.0) };
        let asked = series.size.filter(|size| size.is_finite() && *size > 0.0);
        let asked = asked.map(|size| (size.min(100.0) * f64::from(POINT)).round() as i32);
        let strong = |usual: i32| usual * sizes.strength / 100;
        let diameter = match series.points.len() {
            0..=80 => 400,
            81..=400 => 280,
            401..=2000 => 200,
            _ => 150,
        };
        let diameter = asked.filter(|_| series.style.has_points()).unwrap_or(strong(diameter));
        let width = asked.filter(|_| !series.style.has_points()).unwrap_or(strong(LINE_WIDTH));
        let pen = Pen { paint, width, dashed: series.dashed };
        let marker = series.marker.unwrap_or(Marker::of(index));
        Self {
            style: series.style,
            paint,
            pen,
            marker,
            radius: diameter / 2,
            hollow: series.hollow,
            at_edge: series.at_edge,
        }
    }

    /// A point: shapes have about the same area.
    pub(super) fn point(&self, easel: &Easel, at: (i32, i32)) -> Result<()> {
        let ring = if self.hollow { (self.radius * 2 / 5).clamp(40, 90) } else { 0 };
        self.shape(easel, at, f64::from(self.radius), self.paint)?;
        if self.hollow {
            self.shape(easel, at, f64::from((self.radius - ring).max(1)), WHITE)?;
        }
        Ok(())
    }

    fn shape(&self, easel: &Easel, at: (i32, i32), radius: f64, paint: Paint) -> Result<()> {
        let corners: &[(f64, f64)] = match self.marker {
            Marker::Circle => return easel.disc(at, radius.round() as i32, paint),
            Marker::Square => &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
            Marker::Triangle => &[(0.0, -1.3), (1.16, 0.72), (-1.16, 0.72)],
            Marker::Diamond => &[(0.0, -1.26), (1.26, 0.0), (0.0, 1.26), (-1.26, 0.0)],
            Marker::Nabla => &[(0.0, 1.3), (1.16, -0.72), (-1.16, -0.72)],
            Marker::Cross => &CROSS,
        };
        let corner = |&(x, y): &(f64, f64)| (at.0 + (x * radius).round() as i32, at.1 + (y * radius).round() as i32);
        easel.polygon(corners.iter().map(corner).collect(), paint)
    }
}

/// Two bars from corner to corner, as one outline.
const CROSS: [(f64, f64); 12] = [
    (0.0, -0.36),
    (0.84, -1.2),
    (1.2, -0.84),
    (0.36, 0.0),
    (1.2, 0.84),
    (0.84, 1.2),
    (0.0, 0.36),
    (-0.84, 1.2),
    (-1.2, 0.84),
    (-0.36, 0.0),
    (-1.2, -0.84),
    (-0.84, -1.2),
];

/// Where a series is drawn.
pub(super) struct Ground<'a, 'b> {
    pub easel: &'a Easel<'b>,
    pub plane: &'a Plane<'b>,
    pub view: &'a View,
}

impl Ground<'_, '_> {
    fn at(&self, point: (f64, f64)) -> (i32, i32) {
        self.plane.map_coordinate(&point)
    }

    pub(super) fn band(&self, trace: &Trace, look: &Look) -> Result<()> {
        for run in &trace.runs {
            for part in run.split(|point| point.band.is_none()) {
                let edge = |point: &Point, upper: bool| {
                    let (low, high) = point.band.unwrap_or((point.y, point.y));
                    let end = if upper { high } else { low };
                    // An end at infinity is as far as the axis shows.
                    (point.x, end.clamp(self.view.y.low - self.height(), self.view.y.high + self.height()))
                };
                let upper = part.iter().map(|point| edge(point, true));
                let lower = part.iter().rev().map(|point| edge(point, false));
                let outline: Vec<_> = upper.chain(lower).collect();
                let corners = path::clip_polygon(&outline, &self.view.bounds());
                let corners: Vec<_> = corners.into_iter().map(|corner| self.at(corner)).collect();
                self.easel.polygon(corners, look.paint.fade(0.22))?;
            }
        }
        Ok(())
    }

    fn height(&self) -> f64 {
        self.view.y.high - self.view.y.low
    }

    /// Error bars; an end that the axis does not show has no cap.
    pub(super) fn bars(&self, trace: &Trace, look: &Look) -> Result<()> {
        let pen = Pen::solid(look.paint.fade(0.85), (look.pen.width * BAR_WIDTH / LINE_WIDTH).max(30));
        let cap = look.radius.max(100);
        for point in trace.points().filter(|point| self.view.x.contains(point.x)) {
            let Some((low, high)) = point.error else { continue };
            let (from, to) = (low.max(self.view.y.low), high.min(self.view.y.high));
            if from >= to {
                continue;
            }
            let (from_at, to_at) = (self.at((point.x, from)), self.at((point.x, to)));
            self.easel.line(&[from_at, to_at], pen)?;
            for (at, shown) in [(from_at, from <= low), (to_at, to >= high)] {
                if shown {
                    self.easel.line(&[(at.0 - cap, at.1), (at.0 + cap, at.1)], pen)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn line(&self, trace: &Trace, look: &Look) -> Result<()> {
        for run in &trace.runs {
            for part in path::clip_line(&course(run, look.style), &self.view.bounds()) {
                let part: Vec<_> = part.into_iter().map(|point| self.at(point)).collect();
                self.easel.line(&part, look.pen)?;
            }
        }
        Ok(())
    }

    /// Points; of opaque ones that cover each other to a fifth of a typographic point, one is drawn.
    pub(super) fn points(&self, trace: &Trace, look: &Look) -> Result<()> {
        let mut drawn = BTreeSet::new();
        let shown = |point: &Point| self.view.place(point, look.at_edge);
        for place in trace.points().filter_map(shown) {
            let at = self.at(place);
            if look.paint.alpha < 1.0 || drawn.insert((at.0 / (POINT / 5), at.1 / (POINT / 5))) {
                look.point(self.easel, at)?;
            }
        }
        Ok(())
    }
}

/// The corners of the line through `run`.
pub(super) fn course(run: &[Point], style: Style) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::with_capacity(run.len());
    for point in run {
        if style == Style::Step
            && let Some(&(_, last)) = corners.last()
        {
            corners.push((point.x, last));
        }
        corners.push((point.x, point.y));
    }
    corners
}
