//! Shapes to pixels. Every pixel of a shape is sampled at 8 × 8 places; the samples are one 64-bit mask, so that the
//! pieces of a stroke overlap without counting twice, and the share of samples covered is the pixel's opacity.

use super::canvas::Shape;
use super::path;
use super::theme::Paint;

/// A picture in pixels, eight bits for each of red, green and blue, row by row.
pub(super) struct Raster {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
    /// Pixels to a unit of the canvas.
    scale: f64,
}

type Corner = (f64, f64);

impl Raster {
    pub(super) fn white(width: usize, height: usize, scale: f64) -> Self {
        Self { width, height, pixels: vec![0xff; width * height * 3], scale }
    }

    pub(super) fn draw(&mut self, shape: &Shape) {
        let (pieces, paint) = match shape {
            Shape::Stroke { points, width, paint } => (self.stroke(points, *width), *paint),
            Shape::Polygon { points, paint } => (vec![vec![self.scaled(points)]], *paint),
            Shape::Disc { centre, radius, paint } => {
                let (x, y) = self.place(*centre);
                let radius = f64::from(*radius) * self.scale;
                let edge = path::circle(radius, 48).iter().map(|&(dx, dy)| (x + dx, y + dy)).collect();
                (vec![vec![edge]], *paint)
            }
            Shape::Text { contours, paint, .. } => {
                let flatness = 0.05 / self.scale;
                let scale = |contour| {
                    let corners = Shape::flatten(contour, flatness);
                    corners.into_iter().map(|(x, y)| (x * self.scale, y * self.scale)).collect()
                };
                (vec![contours.iter().map(scale).collect()], *paint)
            }
        };
        if let Some(mut mask) = Mask::around(&pieces, self.width, self.height) {
            for piece in &pieces {
                mask.fill(piece);
            }
            self.blend(&mask, paint);
        }
    }

    fn place(&self, (x, y): (i32, i32)) -> Corner {
        (f64::from(x) * self.scale, f64::from(y) * self.scale)
    }

    fn scaled(&self, points: &[(i32, i32)]) -> Vec<Corner> {
        points.iter().map(|&point| self.place(point)).collect()
    }

    /// A stroke as convex pieces: a box for every segment and a disc for every join. A single horizontal or vertical
    /// segment is moved onto whole pixels, so that axes and ticks come out sharp.
    fn stroke(&self, points: &[(i32, i32)], width: i32) -> Vec<Vec<Vec<Corner>>> {
        let width = f64::from(width) * self.scale;
        let half = width / 2.0;
        let mut corners = self.scaled(points);
        if let [from, to] = points
            && (from.0 == to.0 || from.1 == to.1)
        {
            let whole = width.round().max(1.0);
            let snap = |at: f64| (at - whole / 2.0).round() + whole / 2.0;
            let across = from.0 == to.0;
            for corner in &mut corners {
                *corner = if across { (snap(corner.0), corner.1) } else { (corner.0, snap(corner.1)) };
            }
            return path::segment_box(corners[0], corners[1], whole / 2.0).map(|edge| vec![edge]).into_iter().collect();
        }
        let mut pieces = Vec::new();
        for pair in corners.windows(2) {
            pieces.extend(path::segment_box(pair[0], pair[1], half).map(|edge| vec![edge]));
        }
        let disc = path::circle(half, 16);
        for join in &corners[1..corners.len().max(2) - 1] {
            pieces.push(vec![disc.iter().map(|&(dx, dy)| (join.0 + dx, join.1 + dy)).collect()]);
        }
        pieces
    }

    fn blend(&mut self, mask: &Mask, paint: Paint) {
        for row in 0..mask.height {
            for column in 0..mask.width {
                let samples = mask.bits[row * mask.width + column].count_ones();
                if samples == 0 {
                    continue;
                }
                let opacity = f64::from(samples) / 64.0 * paint.alpha.clamp(0.0, 1.0);
                let first = ((mask.top + row) * self.width + mask.left + column) * 3;
                for (pixel, ink) in self.pixels[first..first + 3].iter_mut().zip(paint.rgb) {
                    let mixed = f64::from(*pixel) * (1.0 - opacity) + f64::from(ink) * opacity;
                    *pixel = mixed.round() as u8;
                }
            }
        }
    }
}

/// 64 samples for each pixel of a rectangle.
struct Mask {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    bits: Vec<u64>,
}

impl Mask {
    /// A mask for the part of `pieces` that lies on a picture of `width` by `height` pixels, if any does.
    fn around(pieces: &[Vec<Vec<Corner>>], width: usize, height: usize) -> Option<Self> {
        let (mut low, mut high) = ((f64::INFINITY, f64::INFINITY), (f64::NEG_INFINITY, f64::NEG_INFINITY));
        for &(x, y) in pieces.iter().flatten().flatten() {
            low = (low.0.min(x), low.1.min(y));
            high = (high.0.max(x), high.1.max(y));
        }
        let clamp = |at: f64, end: usize| at.clamp(0.0, end as f64) as usize;
        let (left, top) = (clamp(low.0.floor(), width), clamp(low.1.floor(), height));
        let (right, bottom) = (clamp(high.0.ceil(), width), clamp(high.1.ceil(), height));
        (left < right && top < bottom).then(|| {
            let (width, height) = (right - left, bottom - top);
            Self { left, top, width, height, bits: vec![0; width * height] }
        })
    }

    /// Adds what lies within `contours` by the non-zero rule.
    fn fill(&mut self, contours: &[Vec<Corner>]) {
        let rows = contours.iter().flatten().map(|corner| corner.1);
        let (low, high) = rows.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
        let top = self.top as f64;
        let first = ((low - top) * 8.0).floor().max(0.0) as usize;
        let last = ((high - top) * 8.0).ceil().clamp(0.0, (self.height * 8) as f64) as usize;
        let mut crossings: Vec<(f64, i32)> = Vec::new();
        for line in first..last {
            let y = top + (line as f64 + 0.5) / 8.0;
            crossings.clear();
            for contour in contours {
                cross(contour, y, &mut crossings);
            }
            crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut winding = 0;
            for pair in crossings.windows(2) {
                winding += pair[0].1;
                if winding != 0 {
                    self.span(line, pair[0].0, pair[1].0);
                }
            }
        }
    }

    /// Sets the samples of sample row `line` whose centres lie between `from` and `to`.
    fn span(&mut self, line: usize, from: f64, to: f64) {
        let samples = (self.width * 8) as f64;
        let sample = |at: f64| ((at - self.left as f64) * 8.0 - 0.5).ceil().clamp(0.0, samples) as usize;
        let (from, to) = (sample(from), sample(to));
        if from >= to {
            return;
        }
        let row = &mut self.bits[line / 8 * self.width..][..self.width];
        let (first, last) = (from / 8, (to - 1) / 8);
        for (pixel, bits) in row.iter_mut().enumerate().take(last + 1).skip(first) {
            let low = from.saturating_sub(pixel * 8);
            let high = (to - pixel * 8).min(8);
            let byte = (0xff_u64 >> (8 - (high - low))) << low;
            *bits |= byte << (line % 8 * 8);
        }
    }
}

/// Where the outline crosses the height `y`, and whether it goes up or down there.
fn cross(contour: &[Corner], y: f64, crossings: &mut Vec<(f64, i32)>) {
    let ends = contour.iter().skip(1).chain(contour.first());
    for (&(x0, y0), &(x1, y1)) in contour.iter().zip(ends) {
        if (y0 <= y) != (y1 <= y) {
            let x = x0 + (y - y0) * ((x1 - x0) / (y1 - y0));
            crossings.push((x, if y0 < y1 { 1 } else { -1 }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::theme::INK;

    fn square(side: i32) -> Shape {
        let points = vec![(100, 100), (100 + side, 100), (100 + side, 100 + side), (100, 100 + side)];
        Shape::Polygon { points, paint: Paint::opaque([0; 3]) }
    }

    #[test]
    fn half_covered_pixels_are_half_as_dark() {
        let mut raster = Raster::white(4, 4, 0.01);
        raster.draw(&square(150));
        let red = |x: usize, y: usize| raster.pixels[(y * 4 + x) * 3];
        assert_eq!((red(0, 0), red(1, 1), red(2, 1), red(2, 2), red(3, 3)), (255, 0, 128, 191, 255));
    }

    #[test]
    fn a_stroke_that_crosses_itself_is_no_darker_there() {
        let paint = Paint { rgb: [0; 3], alpha: 0.5 };
        let points = vec![(0, 400), (800, 400), (800, 800), (400, 800), (400, 0)];
        let mut raster = Raster::white(10, 10, 0.01);
        raster.draw(&Shape::Stroke { points, width: 200, paint });
        assert_eq!(raster.pixels[(4 * 10 + 4) * 3], 128);
    }

    #[test]
    fn a_shape_outside_the_picture_changes_nothing() {
        let mut raster = Raster::white(4, 4, 0.01);
        raster.draw(&Shape::Disc { centre: (-5000, 9000), radius: 300, paint: INK });
        assert!(raster.pixels.iter().all(|&byte| byte == 0xff));
    }
}
