//! The legend: one line for each named series and for each mark that found no place for its name.

use plotters::style::text_anchor::{HPos, VPos};

use super::easel::{Easel, Lettering, Pen};
use super::error::Result;
use super::figure::{Mark, Panel, Position};
use super::font::{Fonts, Weight};
use super::place::Frame;
use super::theme::{BAR_WIDTH, INK, LINE_WIDTH, MARK_WIDTH, Paint, SHADE, SOFT_INK, Sizes};
use super::trace::Look;

/// What a line of the legend is about: the number of a series or of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Series(usize),
    Mark(usize),
}

const SWATCH: i32 = 1500;
const GAP: i32 = 420;
const EDGE: i32 = 260;

/// One line for every series with a name, then for the marks in `homeless`.
pub(super) fn entries(panel: &Panel, homeless: &[usize]) -> Vec<Entry> {
    let named = panel.series.iter().enumerate().filter(|(_, series)| !series.label.is_empty());
    // A single series with nothing beside it is named by the axis.
    let series: Vec<Entry> = named.map(|(i, _)| Entry::Series(i)).collect();
    series.into_iter().chain(homeless.iter().map(|&i| Entry::Mark(i))).collect()
}

fn words(panel: &Panel, entry: Entry) -> &str {
    match entry {
        Entry::Series(i) => &panel.series[i].label,
        Entry::Mark(i) => &panel.marks[i].label,
    }
}

fn line_height(sizes: Sizes) -> i32 {
    sizes.tick_text * 135 / 100
}

/// Width and height of the box around these entries.
pub(super) fn size(panel: &Panel, entries: &[Entry], fonts: &Fonts, sizes: Sizes) -> (i32, i32) {
    let widths = entries.iter().map(|&entry| fonts.width(words(panel, entry), sizes.tick_text, Weight::Regular));
    let lines = i32::try_from(entries.len()).unwrap_or(i32::MAX / line_height(sizes) / 2);
    (2 * EDGE + SWATCH + GAP + widths.max().unwrap_or(0), 2 * EDGE + line_height(sizes) * lines)
}

pub(super) fn draw(easel: &Easel, panel: &Panel, entries: &[Entry], frame: Frame, sizes: Sizes) -> Result<()> {
    let (left, right) = (frame.left + EDGE, frame.left + EDGE + SWATCH);
    let mut middle = frame.top + EDGE + line_height(sizes) / 2;
    for &entry in entries {
        match entry {
            Entry::Series(i) => swatch(easel, panel, i, [(left, middle), (right, middle)], sizes)?,
            Entry::Mark(i) => mark_swatch(easel, &panel.marks[i], [(left, middle), (right, middle)])?,
        }
        let lettering = Lettering::new(sizes.tick_text, INK, HPos::Left, VPos::Center);
        easel.text(words(panel, entry), (right + GAP, middle), lettering)?;
        middle += line_height(sizes);
    }
    Ok(())
}

fn swatch(easel: &Easel, panel: &Panel, index: usize, ends: [(i32, i32); 2], sizes: Sizes) -> Result<()> {
    let series = &panel.series[index];
    let mut look = Look::of(series, index, sizes);
    // Faint and tiny points are shown as their colour is meant.
    look.radius = look.radius.max(130);
    look.paint = look.paint.fade(1.0 / look.paint.alpha.max(0.01));
    look.pen.paint = look.paint;
    let [from, to] = ends;
    let middle = (i32::midpoint(from.0, to.0), from.1);
    if series.band.is_some() {
        let band = Frame { left: from.0, top: from.1 - 250, right: to.0, bottom: to.1 + 250 };
        easel.rectangle(band, look.paint.fade(0.22))?;
    }
    if series.style.has_line() {
        easel.line(&ends, look.pen)?;
    }
    if series.errors.is_some() {
        let pen = Pen::solid(look.paint, look.pen.width * BAR_WIDTH / LINE_WIDTH);
        easel.line(&[(middle.0, middle.1 - 360), (middle.0, middle.1 + 360)], pen)?;
    }
    if series.style.has_points() {
        look.point(easel, middle)?;
    }
    Ok(())
}

fn mark_swatch(easel: &Easel, mark: &Mark, [from, to]: [(i32, i32); 2]) -> Result<()> {
    let frame = Frame { left: from.0, top: from.1 - 300, right: to.0, bottom: to.1 + 300 };
    match mark.position {
        Position::Horizontal(_) => easel.line(&[from, to], mark_pen(mark)),
        Position::Vertical(_) => {
            let middle = frame.centre().0;
            easel.line(&[(middle, frame.top), (middle, frame.bottom)], mark_pen(mark))
        }
        Position::Columns(..) => easel.rectangle(frame, mark_shade(mark)),
    }
}

/// How a mark's line is drawn.
pub(super) fn mark_pen(mark: &Mark) -> Pen {
    let paint = mark.color.map_or(SOFT_INK, |color| Paint::opaque(color.rgb(0)));
    Pen { paint, width: MARK_WIDTH, dashed: mark.dashed }
}

/// How a mark's span is shaded.
pub(super) fn mark_shade(mark: &Mark) -> Paint {
    mark.color.map_or(SHADE, |color| Paint { rgb: color.rgb(0), alpha: 0.15 })
}
