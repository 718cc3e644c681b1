//! The few strokes that a figure needs, as plotters elements on plotters areas over the fine canvas.

use std::convert::Infallible;

use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, ShapeStyle, TextStyle};

use super::canvas::Canvas;
use super::error::{Error, Result};
use super::font::{Fonts, Weight};
use super::path;
use super::place::Frame;
use super::theme::{DASH, Paint};
use super::view::View;

/// A panel's axes: points on their scales to points of the canvas.
pub(super) type Plane<'a> = DrawingArea<Canvas<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A colour and a width in units of the canvas, and whether the line is dashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    pub paint: Paint,
    pub width: i32,
    pub dashed: bool,
}

impl Pen {
    pub(super) fn solid(paint: Paint, width: i32) -> Self {
        Self { paint, width, dashed: false }
    }
}

/// How a text looks and which of its points is at its position; vertical positions are those of its capitals.
#[derive(Clone, Copy)]
pub(super) struct Lettering {
    pub size: i32,
    pub weight: Weight,
    pub paint: Paint,
    pub across: HPos,
    pub down: VPos,
    /// Read from below to above.
    pub upward: bool,
}

impl Lettering {
    pub(super) fn new(size: i32, paint: Paint, across: HPos, down: VPos) -> Self {
        Self { size, weight: Weight::Regular, paint, across, down, upward: false }
    }
}

pub(super) struct Easel<'a> {
    pub root: DrawingArea<Canvas<'a>, Shift>,
}

fn color(paint: Paint) -> RGBAColor {
    let [red, green, blue] = paint.rgb;
    RGBAColor(red, green, blue, paint.alpha)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err` by name")]
fn failed(error: DrawingAreaErrorKind<Infallible>) -> Error {
    Error::Drawing(error.to_string())
}

impl<'a> Easel<'a> {
    /// The coordinates of a panel with these axes in this frame.
    pub(super) fn plane(&self, frame: Frame, view: &View) -> Plane<'a> {
        let ends = (frame.left..frame.right, frame.bottom..frame.top);
        let coordinates = Cartesian2d::new(view.x.low..view.x.high, view.y.low..view.y.high, ends);
        let area = self.root.clone().shrink((frame.left, frame.top), (frame.width(), frame.height()));
        area.apply_coord_spec(coordinates)
    }

    pub(super) fn line(&self, points: &[(i32, i32)], pen: Pen) -> Result<()> {
        let style = ShapeStyle { color: color(pen.paint), filled: false, stroke_width: pen.width.unsigned_abs() };
        if !pen.dashed {
            return self.root.draw(&PathElement::new(points, style)).map_err(failed);
        }
        let points: Vec<_> = points.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
        for dash in path::dashes(&points, DASH) {
            let dash: Vec<_> = dash.iter().map(|&(x, y)| (x.round() as i32, y.round() as i32)).collect();
            self.root.draw(&PathElement::new(dash, style)).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn rectangle(&self, frame: Frame, paint: Paint) -> Result<()> {
        let style = ShapeStyle { color: color(paint), filled: true, stroke_width: 0 };
        let corners = [(frame.left, frame.top), (frame.right, frame.bottom)];
        self.root.draw(&Rectangle::new(corners, style)).map_err(failed)
    }

    pub(super) fn polygon(&self, corners: Vec<(i32, i32)>, paint: Paint) -> Result<()> {
        self.root.draw(&Polygon::new(corners, color(paint))).map_err(failed)
    }

    pub(super) fn disc(&self, centre: (i32, i32), radius: i32, paint: Paint) -> Result<()> {
        let style = ShapeStyle { color: color(paint), filled: true, stroke_width: 0 };
        self.root.draw(&Circle::new(centre, radius, style)).map_err(failed)
    }

    pub(super) fn text(&self, text: &str, at: (i32, i32), lettering: Lettering) -> Result<()> {
        let style = match lettering.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        };
        let font = FontDesc::new(FontFamily::Name("DejaVu Sans"), f64::from(lettering.size), style);
        let turn = if lettering.upward { FontTransform::Rotate270 } else { FontTransform::None };
        let color = color(lettering.paint);
        let style = TextStyle::from(font.transform(turn)).color(&color).pos(Pos::new(lettering.across, lettering.down));
        self.root.draw(&Text::new(text, at, style)).map_err(failed)
    }

    /// `text` in lines no wider than `width`, broken between words but not at a no-break space; a word that is wider stays whole.
    pub(super) fn wrap(fonts: &Fonts, text: &str, (size, weight): (i32, Weight), width: i32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_ascii_whitespace() {
            match lines.last_mut() {
                Some(line) if fonts.width(&format!("{line} {word}"), size, weight) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}
