//! One panel on the canvas: marks, grid, data, axes, names, inset, legend, in this order.

use plotters::style::text_anchor::{HPos, VPos};

use super::arrange::{Arrangement, Scene};
use super::data::{Trace, traces};
use super::easel::{Easel, Lettering, Pen};
use super::error::{Result, Warning};
use super::figure::{Axis, Inset, Panel};
use super::font::{Fonts, Weight};
use super::legend::{self, mark_pen, mark_shade};
use super::place::Frame;
use super::theme::{AXIS_WIDTH, CAPITAL, DESCENT, GRID, GRID_WIDTH, INK, INSET, SOFT_INK, Sizes, WHITE};
use super::ticks::{Ticks, superscript};
use super::trace::{Ground, Look};
use super::view::View;

/// Room for labels around the axes, in units of the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Margins {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
}

impl Margins {
    pub(super) fn union(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            right: self.right.max(other.right),
            top: self.top.max(other.top),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub(super) fn within(self, outer: Frame) -> Frame {
        Frame {
            left: outer.left + self.left,
            right: outer.right - self.right,
            top: outer.top + self.top,
            bottom: outer.bottom - self.bottom,
        }
    }
}

/// A panel whose data have been read.
pub(super) struct Prepared<'a> {
    pub panel: &'a Panel,
    traces: Vec<Trace>,
    view: View,
    sizes: Sizes,
    fonts: &'a Fonts,
    inset: Option<Box<Prepared<'a>>>,
}

/// A position on either axis, on the canvas.
fn tick_at(frame: Frame, arranged: &Arrangement, (x, y): (Option<f64>, Option<f64>)) -> (i32, i32) {
    let view = arranged.view;
    let at = view.onto(frame, (x.unwrap_or(view.x.low), y.unwrap_or(view.y.low)));
    (at.0.round() as i32, at.1.round() as i32)
}

fn em(size: i32, share: f64) -> i32 {
    (f64::from(size) * share).round() as i32
}

/// Stubs of lines shorter than this, between a box and the end of the axes, are painted over.
const STUB: i32 = 1500;

/// The white ground of a box: where next to no room is left between it and an end of the axes it goes on to there, so that no stub of a
/// line stands beside it.
fn white_ground(place: Frame, frame: Frame) -> Frame {
    let near = |gap: i32| (0..STUB).contains(&gap);
    Frame {
        left: if near(place.left - frame.left) { frame.left + AXIS_WIDTH } else { place.left },
        right: if near(frame.right - place.right) { frame.right } else { place.right },
        ..place
    }
}

/// The same ground, up to a box beside it that is near.
fn joined(ground: Frame, beside: Option<Frame>) -> Frame {
    let Some(beside) = beside.filter(|beside| beside.top < ground.bottom && ground.top < beside.bottom) else {
        return ground;
    };
    let near = |gap: i32| (0..STUB).contains(&gap);
    Frame {
        left: if near(ground.left - beside.right) { beside.right } else { ground.left },
        right: if near(beside.left - ground.right) { beside.left } else { ground.right },
        ..ground
    }
}

/// A label with its unit and the power of ten that the ticks left out.
fn axis_words(label: &str, unit: Option<&str>, exponent: i32) -> String {
    let power = (exponent != 0).then(|| format!("×10{}", superscript(exponent)));
    let inside: Vec<&str> = power.as_deref().into_iter().chain(unit).collect();
    if inside.is_empty() { label.to_owned() } else { format!("{label} ({})", inside.join(" ")).trim().to_owned() }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(
        panel: &'a Panel,
        place: &str,
        sizes: Sizes,
        fonts: &'a Fonts,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let traces = traces(panel, place, warnings);
        let view = View::of(panel, &traces, place, warnings)?;
        let inset = match &panel.inset {
            // One level is what a reader can follow.
            Some(Inset { panel, .. }) if sizes.strength == super::theme::PANEL.strength => {
                Some(Box::new(Self::new(panel, &format!("{place}, inset"), INSET, fonts, warnings)?))
            }
            _ => None,
        };
        Ok(Self { panel, traces, view, sizes, fonts, inset })
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene { panel: self.panel, traces: &self.traces, view: self.view, sizes: self.sizes, fonts: self.fonts }
    }

    fn axis_lines(&self, axis: &Axis, ticks: &Ticks, room: i32) -> Vec<String> {
        let words = axis_words(&axis.label, axis.unit.as_deref(), ticks.exponent);
        Easel::wrap(self.fonts, &words, (self.sizes.label_text, Weight::Regular), room)
    }

    fn line_height(&self) -> i32 {
        self.sizes.label_text * 6 / 5
    }

    fn tick_labels_width(&self, ticks: &Ticks) -> i32 {
        let width = |label: &str| self.fonts.width(label, self.sizes.tick_text, Weight::Regular);
        ticks.major.iter().map(|(_, label)| width(label)).max().unwrap_or(0)
    }

    /// The room that labels need around axes in `frame`.
    pub(super) fn margins(&self, arranged: &Arrangement, frame: Frame) -> Margins {
        let sizes = self.sizes;
        let label = |lines: usize| match i32::try_from(lines).unwrap_or(0) {
            0 => 0,
            lines => sizes.label_gap + em(sizes.label_text, CAPITAL + DESCENT) + (lines - 1) * self.line_height(),
        };
        let outside = sizes.tick + sizes.tick_gap;
        let x_lines = self.axis_lines(&self.panel.x, &arranged.x, frame.width()).len();
        let y_lines = self.axis_lines(&self.panel.y, &arranged.y, frame.height()).len();
        let half_last = arranged.x.major.last().map_or(0, |(at, text)| {
            let beyond = (1.0 - arranged.view.x.fraction(*at)) * f64::from(frame.width());
            self.fonts.width(text, sizes.tick_text, Weight::Regular) / 2 - beyond.round() as i32
        });
        Margins {
            left: outside + self.tick_labels_width(&arranged.y) + label(y_lines),
            right: half_last.max(sizes.minor_tick),
            top: em(sizes.tick_text, CAPITAL / 2.0),
            bottom: outside + em(sizes.tick_text, CAPITAL) + label(x_lines),
        }
    }

    /// Draws the panel with its axes in `frame`.
    pub(super) fn draw(&self, easel: &Easel, frame: Frame, arranged: &Arrangement) -> Result<()> {
        self.marks(easel, frame, arranged)?;
        let plane = easel.plane(frame, &arranged.view);
        let ground = Ground { easel, plane: &plane, view: &arranged.view };
        let looks: Vec<Look> =
            self.panel.series.iter().enumerate().map(|(i, series)| Look::of(series, i, self.sizes)).collect();
        for (trace, look) in self.traces.iter().zip(&looks) {
            ground.band(trace, look)?;
        }
        for (trace, look) in self.traces.iter().zip(&looks) {
            ground.bars(trace, look)?;
            if look.style.has_line() {
                ground.line(trace, look)?;
            }
            if look.style.has_points() {
                ground.points(trace, look)?;
            }
        }
        self.axes(easel, frame, arranged)?;
        self.names(easel, arranged)?;
        if let (Some(inset), Some(outer)) = (&self.inset, arranged.inset) {
            easel.rectangle(white_ground(outer, frame), WHITE)?;
            inset.draw_inset(easel, outer)?;
        }
        match &arranged.legend {
            Some((place, entries)) => {
                let ground = joined(white_ground(*place, frame), arranged.inset);
                easel.rectangle(ground, WHITE.fade(0.85))?;
                legend::draw(easel, self.panel, entries, *place, self.sizes)
            }
            None => Ok(()),
        }
    }

    fn draw_inset(&self, easel: &Easel, outer: Frame) -> Result<()> {
        let mut frame = outer;
        for _ in 0..2 {
            let arranged = self.scene().arrange(frame);
            frame = self.margins(&arranged, frame).within(outer);
            if frame.width() < 500 || frame.height() < 500 {
                return Ok(());
            }
        }
        self.draw(easel, frame, &self.scene().arrange(frame))
    }

    /// Spans first, so that the grid and the lines lie on them.
    fn marks(&self, easel: &Easel, frame: Frame, arranged: &Arrangement) -> Result<()> {
        let scene = self.scene();
        let extents = || {
            let marks = self.panel.marks.iter().enumerate();
            marks.filter_map(|(i, mark)| Some((mark, scene.extent(i, frame, arranged.view)?)))
        };
        for (mark, extent) in extents() {
            if mark.is_span() {
                easel.rectangle(extent, mark_shade(mark))?;
            }
        }
        for (at, _) in &arranged.y.major {
            let y = tick_at(frame, arranged, (None, Some(*at))).1;
            easel.line(&[(frame.left, y), (frame.right, y)], Pen::solid(GRID, GRID_WIDTH))?;
        }
        for (mark, extent) in extents() {
            let ends = [(extent.left, extent.top), (extent.right, extent.bottom)];
            if !mark.is_span() {
                easel.line(&ends, mark_pen(mark))?;
            }
        }
        Ok(())
    }

    fn names(&self, easel: &Easel, arranged: &Arrangement) -> Result<()> {
        for name in &arranged.names {
            let lettering = Lettering::new(self.sizes.tick_text, SOFT_INK, HPos::Center, VPos::Center);
            let lettering = Lettering { upward: name.upward, ..lettering };
            easel.text(&self.panel.marks[name.mark].label, name.frame.centre(), lettering)?;
        }
        Ok(())
    }

    fn axes(&self, easel: &Easel, frame: Frame, arranged: &Arrangement) -> Result<()> {
        let pen = Pen::solid(INK, AXIS_WIDTH);
        let half = AXIS_WIDTH / 2;
        easel.line(&[(frame.left - half, frame.bottom), (frame.right, frame.bottom)], pen)?;
        easel.line(&[(frame.left, frame.top), (frame.left, frame.bottom + half)], pen)?;
        self.lower_axis(easel, frame, arranged)?;
        self.left_axis(easel, frame, arranged)
    }

    fn lower_axis(&self, easel: &Easel, frame: Frame, arranged: &Arrangement) -> Result<()> {
        let sizes = self.sizes;
        let pen = Pen::solid(INK, AXIS_WIDTH);
        let labels = frame.bottom + sizes.tick + sizes.tick_gap;
        for (at, label) in &arranged.x.major {
            let x = tick_at(frame, arranged, (Some(*at), None)).0;
            easel.line(&[(x, frame.bottom), (x, frame.bottom + sizes.tick)], pen)?;
            easel.text(label, (x, labels), Lettering::new(sizes.tick_text, INK, HPos::Center, VPos::Top))?;
        }
        for at in &arranged.x.minor {
            let x = tick_at(frame, arranged, (Some(*at), None)).0;
            easel.line(&[(x, frame.bottom), (x, frame.bottom + sizes.minor_tick)], pen)?;
        }
        let mut y = labels + em(sizes.tick_text, CAPITAL) + sizes.label_gap;
        for line in self.axis_lines(&self.panel.x, &arranged.x, frame.width()) {
            let lettering = Lettering::new(sizes.label_text, INK, HPos::Center, VPos::Top);
            easel.text(&line, (frame.centre().0, y), lettering)?;
            y += self.line_height();
        }
        Ok(())
    }

    fn left_axis(&self, easel: &Easel, frame: Frame, arranged: &Arrangement) -> Result<()> {
        let sizes = self.sizes;
        let pen = Pen::solid(INK, AXIS_WIDTH);
        let labels = frame.left - sizes.tick - sizes.tick_gap;
        for (at, label) in &arranged.y.major {
            let y = tick_at(frame, arranged, (None, Some(*at))).1;
            easel.line(&[(frame.left - sizes.tick, y), (frame.left, y)], pen)?;
            easel.text(label, (labels, y), Lettering::new(sizes.tick_text, INK, HPos::Right, VPos::Center))?;
        }
        for at in &arranged.y.minor {
            let y = tick_at(frame, arranged, (None, Some(*at))).1;
            easel.line(&[(frame.left - sizes.minor_tick, y), (frame.left, y)], pen)?;
        }
        let mut x = labels - self.tick_labels_width(&arranged.y) - sizes.label_gap;
        let lines = self.axis_lines(&self.panel.y, &arranged.y, frame.height());
        for line in lines.iter().rev() {
            let lettering = Lettering::new(sizes.label_text, INK, HPos::Center, VPos::Bottom);
            easel.text(line, (x, frame.centre().1), Lettering { upward: true, ..lettering })?;
            x -= self.line_height();
        }
        Ok(())
    }
}
