//! Plane geometry: circles, boxes around segments, clipping to a rectangle, dashes.

type Point = (f64, f64);

/// A rectangle by its lower and upper ends in each direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub low: Point,
    pub high: Point,
}

/// The corners of a regular polygon around the origin. `libm`'s circle is the same on every machine.
pub(super) fn circle(radius: f64, corners: u32) -> Vec<Point> {
    let corner = |i| {
        let (sin, cos) = libm::sincos(f64::from(i) / f64::from(corners) * std::f64::consts::TAU);
        (radius * cos, radius * sin)
    };
    (0..corners).map(corner).collect()
}

/// The rectangle of all points within `half` of the segment, measured across it; none for a segment without length.
pub(super) fn segment_box(from: Point, to: Point, half: f64) -> Option<Vec<Point>> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = (dx * dx + dy * dy).sqrt();
    (length > 0.0).then(|| {
        let (nx, ny) = (-dy / length * half, dx / length * half);
        vec![(from.0 + nx, from.1 + ny), (to.0 + nx, to.1 + ny), (to.0 - nx, to.1 - ny), (from.0 - nx, from.1 - ny)]
    })
}

/// The parts of a line that lie within `bounds`.
pub(super) fn clip_line(points: &[Point], bounds: &Bounds) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut open = false;
    for pair in points.windows(2) {
        let Some((from, to)) = clip_segment(pair[0], pair[1], bounds) else {
            open = false;
            continue;
        };
        if !open {
            parts.push(vec![from]);
        }
        if let Some(part) = parts.last_mut() {
            part.push(to);
        }
        open = to == pair[1];
    }
    parts
}

/// Liang and Barsky 1984: the segment's parameter between the four edges.
fn clip_segment(from: Point, to: Point, bounds: &Bounds) -> Option<(Point, Point)> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    let edges = [
        (-dx, from.0 - bounds.low.0),
        (dx, bounds.high.0 - from.0),
        (-dy, from.1 - bounds.low.1),
        (dy, bounds.high.1 - from.1),
    ];
    for (towards, room) in edges {
        if towards == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if towards < 0.0 {
            enter = enter.max(room / towards);
        } else {
            leave = leave.min(room / towards);
        }
    }
    let at = |t: f64| (from.0 + t * dx, from.1 + t * dy);
    (enter <= leave).then(|| (if enter > 0.0 { at(enter) } else { from }, if leave < 1.0 { at(leave) } else { to }))
}

/// The part of a polygon that lies within `bounds` (Sutherland and Hodgman 1974).
pub(super) fn clip_polygon(points: &[Point], bounds: &Bounds) -> Vec<Point> {
    let mut polygon = points.to_vec();
    for (vertical, limit, sign) in [
        (false, bounds.low.0, 1.0),
        (false, bounds.high.0, -1.0),
        (true, bounds.low.1, 1.0),
        (true, bounds.high.1, -1.0),
    ] {
        let inside = |point: &Point| sign * ((if vertical { point.1 } else { point.0 }) - limit);
        let ends: Vec<Point> = polygon.iter().skip(1).chain(polygon.first()).copied().collect();
        let mut kept = Vec::new();
        for (from, to) in polygon.iter().zip(&ends) {
            let (a, b) = (inside(from), inside(to));
            if a >= 0.0 {
                kept.push(*from);
            }
            if (a < 0.0) != (b < 0.0) {
                let t = a / (a - b);
                kept.push((from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1)));
            }
        }
        polygon = kept;
    }
    polygon
}

/// The line as dashes of length `on`, `off` apart, beginning with a dash.
pub(super) fn dashes(points: &[Point], (on, off): (f64, f64)) -> Vec<Vec<Point>> {
    let mut parts = Vec::new();
    let mut part: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, on);
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = ((to.0 - from.0) * (to.0 - from.0) + (to.1 - from.1) * (to.1 - from.1)).sqrt();
        let mut gone = 0.0;
        while length - gone > left {
            gone += left;
            let t = gone / length;
            let at = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
            if drawing {
                part.push(at);
                parts.push(std::mem::take(&mut part));
            } else {
                part = vec![at];
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
        left -= length - gone;
        if drawing {
            part.push(to);
        }
    }
    if drawing && part.len() > 1 {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Bounds = Bounds { low: (0.0, 0.0), high: (1.0, 1.0) };

    #[test]
    fn a_line_that_leaves_and_returns_is_two_parts_that_end_on_the_edge() {
        let parts = clip_line(&[(0.0, 0.5), (0.5, 1.5), (1.0, 0.5)], &UNIT);
        assert_eq!(parts, vec![vec![(0.0, 0.5), (0.25, 1.0)], vec![(0.75, 1.0), (1.0, 0.5)]]);
    }

    #[test]
    fn a_line_outside_has_no_part() {
        assert!(clip_line(&[(-1.0, 2.0), (2.0, 3.0)], &UNIT).is_empty());
    }

    #[test]
    fn a_polygon_around_the_bounds_becomes_the_bounds() {
        let polygon = clip_polygon(&[(-1.0, -1.0), (2.0, -1.0), (2.0, 2.0), (-1.0, 2.0)], &UNIT);
        for corner in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] {
            assert!(polygon.contains(&corner), "{corner:?}");
        }
        assert_eq!(polygon.len(), 4);
    }

    #[test]
    fn dashes_run_on_around_a_corner() {
        let parts = dashes(&[(0.0, 0.0), (2.0, 0.0), (2.0, 5.0)], (3.0, 1.0));
        assert_eq!(parts, vec![vec![(0.0, 0.0), (2.0, 0.0), (2.0, 1.0)], vec![(2.0, 2.0), (2.0, 5.0)]]);
    }
}
