//! A figure on paper: panels in a grid whose axes are aligned, letters and titles above them, the note below.

use std::collections::BTreeSet;

use plotters::drawing::IntoDrawingArea;
use plotters::style::text_anchor::{HPos, VPos};

use super::arrange::Arrangement;
use super::canvas::{Canvas, Picture, units};
use super::easel::{Easel, Lettering};
use super::error::{Error, Result, Warning};
use super::figure::Figure;
use super::font::{Fonts, Weight};
use super::panel::{Margins, Prepared};
use super::place::Frame;
use super::theme::{CAPITAL, DESCENT, INK, LETTER_SIZE, NOTE_SIZE, PANEL, SOFT_INK, TITLE_SIZE};

/// Around everything.
const EDGE: i32 = 250;
/// Between the axes' labels of neighbouring panels.
const COLUMN_GAP: i32 = 1100;
const ROW_GAP: i32 = 1200;
/// Between a title and what it stands above.
const TITLE_GAP: i32 = 550;
/// Height of a panel with its labels as a share of its width.
const ASPECT: f64 = 0.74;
/// Axes smaller than this, in units of the canvas, show nothing.
const SMALLEST: i32 = 2000;

impl Figure {
    /// Lays the figure out and draws it.
    ///
    /// # Errors
    ///
    /// [`Error::NoPanels`], [`Error::Size`] if the axes would have no room, [`Error::Range`] if an axis was given a range
    /// that it cannot show.
    pub fn draw(&self) -> Result<Picture> {
        if self.panels.is_empty() {
            return Err(Error::NoPanels);
        }
        let fonts = Fonts::load();
        let mut warnings = Vec::new();
        let mut panels = Vec::new();
        for (i, panel) in self.panels.iter().enumerate() {
            let place = format!("panel {}", i + 1);
            panels.push(Prepared::new(panel, &place, PANEL, &fonts, &mut warnings)?);
        }
        let sheet = Sheet::new(self, &fonts)?;
        let mut shapes = Vec::new();
        let mut lacking = BTreeSet::new();
        let size = (sheet.width.unsigned_abs(), sheet.height.unsigned_abs());
        let canvas = Canvas { size, shapes: &mut shapes, lacking: &mut lacking, fonts: &fonts };
        let easel = Easel { root: canvas.into_drawing_area() };
        sheet.draw(&easel, &panels)?;
        drop(easel);
        warnings.extend(lacking.into_iter().map(|character| Warning::Glyph { character }));
        let title = self.title.clone().unwrap_or_else(|| self.in_words());
        Ok(Picture { width_mm: self.width_mm, height_mm: sheet.height_mm, title, shapes, warnings })
    }

    /// What is shown, for a figure without a title: `Tr H against epoch: MLP 64–64–10; ConvNet 8–8–16–16`.
    fn in_words(&self) -> String {
        let axes = format!("{} against {}", self.panels[0].y.label, self.panels[0].x.label);
        let titles: Vec<&str> = self.panels.iter().filter_map(|panel| panel.title.as_deref()).collect();
        if titles.is_empty() { axes } else { format!("{axes}: {}", titles.join("; ")) }
    }

    /// The figure as SVG; [`Figure::draw`] says what had to be left out.
    ///
    /// # Errors
    ///
    /// As [`Figure::draw`].
    pub fn to_svg(&self) -> Result<String> {
        Ok(self.draw()?.to_svg())
    }

    /// The figure as PNG at `dots_per_inch`; [`Figure::draw`] says what had to be left out.
    ///
    /// # Errors
    ///
    /// As [`Figure::draw`] and [`Picture::to_png`].
    pub fn to_png(&self, dots_per_inch: u32) -> Result<Vec<u8>> {
        self.draw()?.to_png(dots_per_inch)
    }
}

/// The paper and how it is divided.
struct Sheet<'a> {
    figure: &'a Figure,
    width: i32,
    height: i32,
    height_mm: f64,
    title: Vec<String>,
    note: Vec<String>,
    /// The part for panels.
    body: Frame,
    columns: usize,
    rows: usize,
}

fn lines(count: usize, size: i32) -> i32 {
    i32::try_from(count).unwrap_or(0) * size * 13 / 10
}

impl<'a> Sheet<'a> {
    fn new(figure: &'a Figure, fonts: &Fonts) -> Result<Self> {
        let fits = |millimetres: f64| (1.0..=2000.0).contains(&millimetres);
        let width_mm = figure.width_mm;
        if !fits(width_mm) || figure.height_mm.is_some_and(|height_mm| !fits(height_mm)) {
            return Err(Error::Size { width_mm, height_mm: figure.height_mm.unwrap_or(f64::NAN) });
        }
        let width = units(width_mm);
        let room = width - 2 * EDGE;
        let wrap = |text: &Option<String>, size, weight| {
            text.as_ref().map_or_else(Vec::new, |text| Easel::wrap(fonts, text, (size, weight), room))
        };
        let title = wrap(&figure.title, TITLE_SIZE, Weight::Bold);
        let note = wrap(&figure.note, NOTE_SIZE, Weight::Regular);
        let columns = figure.columns();
        let rows = figure.panels.len().div_ceil(columns);
        let above = EDGE + lines(title.len(), TITLE_SIZE) + if title.is_empty() { 0 } else { TITLE_GAP / 2 };
        let below = EDGE + lines(note.len(), NOTE_SIZE) + if note.is_empty() { 0 } else { TITLE_GAP };
        let height_mm = figure.height_mm.unwrap_or_else(|| {
            let panel = f64::from(room) / columns as f64 * ASPECT;
            let units = f64::from(above + below) + panel * rows as f64;
            // Whole tenths of a millimetre read well.
            (units / super::theme::UNITS_PER_INCH * 254.0).round() / 10.0
        });
        let height = units(height_mm);
        let body = Frame { left: EDGE, right: width - EDGE, top: above, bottom: height - below };
        Ok(Self { figure, width, height, height_mm, title, note, body, columns, rows })
    }

    fn draw(&self, easel: &Easel, panels: &[Prepared]) -> Result<()> {
        let arranged = self.arrange(panels)?;
        let mut y = EDGE;
        for line in &self.title {
            let lettering = Lettering::new(TITLE_SIZE, INK, HPos::Left, VPos::Top);
            easel.text(line, (EDGE, y), Lettering { weight: Weight::Bold, ..lettering })?;
            y += lines(1, TITLE_SIZE);
        }
        for (i, (panel, (frame, arrangement))) in panels.iter().zip(&arranged).enumerate() {
            panel.draw(easel, *frame, arrangement)?;
            self.heading(easel, panel, i, *frame)?;
        }
        let depth = (f64::from(NOTE_SIZE) * DESCENT).round() as i32;
        let mut y = self.height - EDGE - depth - lines(self.note.len().max(1) - 1, NOTE_SIZE);
        for line in &self.note {
            easel.text(line, (EDGE, y), Lettering::new(NOTE_SIZE, SOFT_INK, HPos::Left, VPos::Bottom))?;
            y += lines(1, NOTE_SIZE);
        }
        Ok(())
    }

    /// The panel's letter at the left of its labels and its title above its axes, on one baseline along the row.
    fn heading(&self, easel: &Easel, panel: &Prepared, index: usize, frame: Frame) -> Result<()> {
        let cell = self.cell(index);
        let y = cell.top + (f64::from(LETTER_SIZE) * CAPITAL).round() as i32;
        let bold = |size| Lettering { weight: Weight::Bold, ..Lettering::new(size, INK, HPos::Left, VPos::Bottom) };
        if self.has_letters() {
            let letter = u8::try_from(index).ok().filter(|&index| index < 26).map(|index| char::from(b'a' + index));
            easel.text(&letter.map(String::from).unwrap_or_default(), (cell.left, y), bold(LETTER_SIZE))?;
        }
        match &panel.panel.title {
            Some(title) => easel.text(title, (frame.left, y), bold(TITLE_SIZE)),
            None => Ok(()),
        }
    }

    fn has_letters(&self) -> bool {
        self.figure.letters && self.figure.panels.len() > 1
    }

    /// The part of the paper for the panel number `index`, labels and heading included.
    fn cell(&self, index: usize) -> Frame {
        let count = |number: usize| i32::try_from(number).unwrap_or(1);
        let (rows, columns) = (count(self.rows), count(self.columns));
        let width = (self.body.width() - COLUMN_GAP * (columns - 1)) / columns;
        let height = (self.body.height() - ROW_GAP * (rows - 1)) / rows;
        let left = self.body.left + (width + COLUMN_GAP) * count(index % self.columns);
        let top = self.body.top + (height + ROW_GAP) * count(index / self.columns);
        Frame { left, top, right: left + width, bottom: top + height }
    }

    /// The axes of every panel and what goes where in them. Labels need room that depends on the ticks, and the ticks
    /// depend on the room that is left: three rounds settle it.
    fn arrange(&self, panels: &[Prepared]) -> Result<Vec<(Frame, Arrangement)>> {
        let start = Margins { left: 3000, right: 300, top: 600, bottom: 2400 };
        let mut margins = vec![start; panels.len()];
        let mut arranged = Vec::new();
        for _ in 0..3 {
            let frames = self.frames(panels, &margins);
            if frames.iter().any(|frame| frame.width() < SMALLEST || frame.height() < SMALLEST) {
                return Err(Error::Size { width_mm: self.figure.width_mm, height_mm: self.height_mm });
            }
            arranged = panels
                .iter()
                .zip(frames)
                .map(|(panel, frame)| (frame, panel.scene().arrange(frame)))
                .collect::<Vec<_>>();
            margins = panels.iter().zip(&arranged).map(|(panel, (frame, it))| panel.margins(it, *frame)).collect();
        }
        Ok(arranged)
    }

    /// Axes in a grid: those of one column begin at one line, those of one row end at one line.
    fn frames(&self, panels: &[Prepared], margins: &[Margins]) -> Vec<Frame> {
        let frame = |i: usize| {
            let (row, column) = (i / self.columns, i % self.columns);
            let in_row = (0..panels.len()).filter(|j| j / self.columns == row);
            let in_column = (0..panels.len()).filter(|j| j % self.columns == column);
            let across = in_column.fold(Margins::default(), |all, j| all.union(margins[j]));
            let down = in_row.clone().fold(Margins::default(), |all, j| all.union(margins[j]));
            let has_heading = self.has_letters() || in_row.clone().any(|j| panels[j].panel.title.is_some());
            let heading = if has_heading { (f64::from(LETTER_SIZE) * CAPITAL) as i32 + TITLE_GAP } else { 0 };
            Margins { left: across.left, right: across.right, top: down.top + heading, bottom: down.bottom }
                .within(self.cell(i))
        };
        (0..panels.len()).map(frame).collect()
    }
}
