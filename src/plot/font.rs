//! The bundled font: how wide a text is, and its outline.
//!
//! `DejaVu` Sans 2.37, regular and bold, subset to Latin, Greek, mathematical signs and arrows (`font/LICENSE.txt`).

use ab_glyph::{Font, FontRef, GlyphId, OutlineCurve, Point};

/// Which of the two fonts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// A piece of an outline, from where the last one ended; coordinates in units of the canvas, y downward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Line((i32, i32)),
    /// A quadratic Bézier curve: its control point and its end.
    Curve((i32, i32), (i32, i32)),
}

/// A closed outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contour {
    pub start: (i32, i32),
    pub pieces: Vec<Piece>,
}

/// Both fonts, parsed.
pub(super) struct Fonts {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Fonts {
    pub(super) fn load() -> Self {
        let parse = |bytes| FontRef::try_from_slice(bytes).expect("the bundled font is a font");
        Self {
            regular: parse(include_bytes!("font/DejaVuSans.ttf")),
            bold: parse(include_bytes!("font/DejaVuSans-Bold.ttf")),
        }
    }

    fn face(&self, weight: Weight) -> &FontRef<'static> {
        match weight {
            Weight::Regular => &self.regular,
            Weight::Bold => &self.bold,
        }
    }

    /// The width of `text` where an em is `size` units.
    pub(super) fn width(&self, text: &str, size: i32, weight: Weight) -> i32 {
        let (_, end) = self.glyphs(text, weight);
        (end * Self::scale(size)).round() as i32
    }

    /// The first characters of `text` that the font lacks.
    pub(super) fn lacking(&self, text: &str, weight: Weight) -> Vec<char> {
        text.chars().filter(|&character| self.face(weight).glyph_id(character) == GlyphId(0)).collect()
    }

    /// The outline of `text` with the baseline's start at the origin, each point through `place` (a rotation and a
    /// shift) and rounded to the canvas.
    pub(super) fn outline(
        &self,
        text: &str,
        size: i32,
        weight: Weight,
        place: impl Fn(f64, f64) -> (f64, f64),
    ) -> Vec<Contour> {
        let scale = Self::scale(size);
        let mut contours = Vec::new();
        for (glyph, at) in self.glyphs(text, weight).0 {
            let Some(outline) = self.face(weight).outline(glyph) else { continue };
            let map = |point: &Point| {
                let (x, y) = place((at + f64::from(point.x)) * scale, -f64::from(point.y) * scale);
                (x.round() as i32, y.round() as i32)
            };
            contours.extend(join(&outline.curves, map));
        }
        contours
    }

    /// Each glyph with its position on the baseline, and the position after the last, in units of the font. Kerning
    /// included.
    fn glyphs(&self, text: &str, weight: Weight) -> (Vec<(GlyphId, f64)>, f64) {
        let face = self.face(weight);
        let mut at = 0.0;
        let mut last = None;
        let mut glyphs = Vec::new();
        for character in text.chars() {
            let glyph = face.glyph_id(character);
            if let Some(last) = last {
                at += f64::from(face.kern_unscaled(last, glyph));
            }
            glyphs.push((glyph, at));
            at += f64::from(face.h_advance_unscaled(glyph));
            last = Some(glyph);
        }
        (glyphs, at)
    }

    /// Both fonts have 2,048 units to the em.
    fn scale(size: i32) -> f64 {
        f64::from(size) / 2048.0
    }
}

/// Curves come as one list; a contour begins wherever a curve does not start where the last one ended.
fn join(curves: &[OutlineCurve], map: impl Fn(&Point) -> (i32, i32)) -> Vec<Contour> {
    let mut contours: Vec<Contour> = Vec::new();
    let mut end: Option<Point> = None;
    for curve in curves {
        let (from, to) = match curve {
            OutlineCurve::Line(from, to) | OutlineCurve::Quad(from, _, to) | OutlineCurve::Cubic(from, _, _, to) => {
                (from, to)
            }
        };
        if end != Some(*from) {
            contours.push(Contour { start: map(from), pieces: Vec::new() });
        }
        let piece = match curve {
            OutlineCurve::Quad(_, control, to) => Piece::Curve(map(control), map(to)),
            // TrueType outlines have no cubic curves.
            OutlineCurve::Line(_, to) | OutlineCurve::Cubic(_, _, _, to) => Piece::Line(map(to)),
        };
        if let Some(contour) = contours.last_mut() {
            contour.pieces.push(piece);
        }
        end = Some(*to);
    }
    contours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_wide_as_its_advances_at_2048_units_to_the_em() {
        // Advances from the font's `hmtx` table: H 1540, o 1253; the pair is not kerned.
        assert_eq!(Fonts::load().width("Ho", 2048, Weight::Regular), 2793);
    }

    #[test]
    fn the_font_has_every_sign_that_figures_use() {
        let signs = "λ₁θ∇²Tr(H) 10⁻²³⁴⁵⁶⁷⁸⁹⁰¹ ×·±−–— ≤≥≈∝∞√∑∂ →←↑↓ ℓ‖µ ηαβγσ\u{2009}…“”’";
        assert_eq!(Fonts::load().lacking(signs, Weight::Regular), Vec::<char>::new());
    }

    #[test]
    fn an_o_has_two_contours_and_an_i_two() {
        let fonts = Fonts::load();
        for text in ["o", "i"] {
            assert_eq!(fonts.outline(text, 700, Weight::Regular, |x, y| (x, y)).len(), 2);
        }
    }
}
