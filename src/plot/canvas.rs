//! The fine canvas: a plotters backend that records shapes, at a hundred units to the typographic point.

use std::collections::BTreeSet;
use std::convert::Infallible;

use plotters::backend::DrawingBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle, FontTransform,
};

use super::error::Warning;
use super::font::{Contour, Fonts, Piece, Weight};
use super::theme::{CAPITAL, DESCENT, Paint, UNITS_PER_INCH};

/// A drawn figure: shapes on paper, ready to be written as SVG or PNG, and what had to be left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub(super) width_mm: f64,
    pub(super) height_mm: f64,
    pub(super) title: String,
    pub(super) shapes: Vec<Shape>,
    /// What was left out or drawn otherwise than asked.
    pub warnings: Vec<Warning>,
}

/// One thing on the canvas; coordinates and widths in its units, y downward.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// An open path: butt ends, round joins.
    Stroke { points: Vec<(i32, i32)>, width: i32, paint: Paint },
    /// A polygon, filled by the non-zero rule.
    Polygon { points: Vec<(i32, i32)>, paint: Paint },
    /// A filled circle.
    Disc { centre: (i32, i32), radius: i32, paint: Paint },
    /// Outlines of a text, filled by the non-zero rule, and the words for those who cannot see them.
    Text { contours: Vec<Contour>, words: String, paint: Paint },
}

/// Millimetres as units of the canvas.
pub(super) fn units(millimetres: f64) -> i32 {
    (millimetres / 25.4 * UNITS_PER_INCH).round() as i32
}

/// The backend. It borrows what it fills, since an area keeps its backend to itself.
pub(super) struct Canvas<'a> {
    pub size: (u32, u32),
    pub shapes: &'a mut Vec<Shape>,
    /// Characters that the font lacks.
    pub lacking: &'a mut BTreeSet<char>,
    pub fonts: &'a Fonts,
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

fn paint(color: BackendColor) -> Paint {
    let (red, green, blue) = color.rgb;
    Paint { rgb: [red, green, blue], alpha: color.alpha }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn {
        let corners = [from, (to.0, from.1), to, (from.0, to.1)];
        if fill { self.fill_polygon(corners, style) } else { self.draw_path(corners.into_iter().chain([from]), style) }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let mut points: Vec<_> = path.into_iter().collect();
        points.dedup();
        if points.len() > 1 {
            let width = style.stroke_width().cast_signed();
            self.shapes.push(Shape::Stroke { points, width, paint: paint(style.color()) });
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, centre: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        let radius = radius.cast_signed();
        if !fill {
            let edge = super::path::circle(f64::from(radius), 64);
            let edge = edge.iter().chain(edge.first()).map(|&(x, y)| (centre.0 + x as i32, centre.1 + y as i32));
            return self.draw_path(edge, style);
        }
        self.shapes.push(Shape::Disc { centre, radius, paint: paint(style.color()) });
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, edge: I, style: &S) -> Drawn {
        let mut points: Vec<_> = edge.into_iter().collect();
        points.dedup();
        if points.len() > 2 {
            self.shapes.push(Shape::Polygon { points, paint: paint(style.color()) });
        }
        Ok(())
    }

    /// The anchor means the letters themselves: top is the height of capitals, bottom the baseline, centre half-way.
    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, at: BackendCoord) -> Drawn {
        let (size, weight) = (style.size().round() as i32, weight(style));
        let em = f64::from(size);
        let width = f64::from(self.fonts.width(text, size, weight));
        let dx = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let dy = match style.anchor().v_pos {
            VPos::Top => CAPITAL * em,
            VPos::Center => CAPITAL * em / 2.0,
            VPos::Bottom => 0.0,
        };
        let turn = style.transform();
        let place = |x: f64, y: f64| {
            let (x, y) = (x + dx, y + dy);
            let (x, y) = match turn {
                FontTransform::None => (x, y),
                FontTransform::Rotate90 => (-y, x),
                FontTransform::Rotate180 => (-x, -y),
                FontTransform::Rotate270 => (y, -x),
            };
            (x + f64::from(at.0), y + f64::from(at.1))
        };
        self.lacking.extend(self.fonts.lacking(text, weight));
        let contours = self.fonts.outline(text, size, weight, place);
        if !contours.is_empty() {
            self.shapes.push(Shape::Text { contours, words: text.to_owned(), paint: paint(style.color()) });
        }
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = style.size().round() as i32;
        let height = (f64::from(size) * (CAPITAL + DESCENT)).round() as u32;
        Ok((self.fonts.width(text, size, weight(style)).unsigned_abs(), height))
    }
}

fn weight<T: BackendTextStyle>(style: &T) -> Weight {
    match style.style() {
        FontStyle::Bold => Weight::Bold,
        FontStyle::Normal | FontStyle::Oblique | FontStyle::Italic => Weight::Regular,
    }
}

impl Shape {
    /// Curves as the corners of a polygon, fine enough for `flatness` units.
    pub(super) fn flatten(contour: &Contour, flatness: f64) -> Vec<(f64, f64)> {
        let float = |(x, y): (i32, i32)| (f64::from(x), f64::from(y));
        let mut from = float(contour.start);
        let mut corners = vec![from];
        for piece in &contour.pieces {
            match *piece {
                Piece::Line(to) => corners.push(float(to)),
                Piece::Curve(control, to) => {
                    let (control, to) = (float(control), float(to));
                    // A quadratic curve departs from its chord by a quarter of this bend.
                    let bend = (from.0 - 2.0 * control.0 + to.0).abs() + (from.1 - 2.0 * control.1 + to.1).abs();
                    let pieces = (bend / (4.0 * flatness)).sqrt().ceil().clamp(1.0, 32.0) as u32;
                    for i in 1..=pieces {
                        let t = f64::from(i) / f64::from(pieces);
                        let (a, b, c) = ((1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t);
                        corners.push((a * from.0 + b * control.0 + c * to.0, a * from.1 + b * control.1 + c * to.1));
                    }
                }
            }
            from = corners[corners.len() - 1];
        }
        corners
    }
}
