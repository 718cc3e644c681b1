//! Rectangles on the canvas, and where among the data there is room for one.

use super::figure::Corner;

/// A rectangle in units of the canvas, y downward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Frame {
    pub(super) fn width(self) -> i32 {
        self.right - self.left
    }

    pub(super) fn height(self) -> i32 {
        self.bottom - self.top
    }

    /// The rectangle of this size around a centre.
    pub(super) fn around((x, y): (i32, i32), (width, height): (i32, i32)) -> Self {
        let (left, top) = (x - width / 2, y - height / 2);
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub(super) fn centre(self) -> (i32, i32) {
        (i32::midpoint(self.left, self.right), i32::midpoint(self.top, self.bottom))
    }

    /// Larger by `by` on every side; smaller if `by` is negative.
    pub(super) fn grown(self, by: i32) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    fn holds(self, (x, y): (f64, f64)) -> bool {
        let within = |at: f64, low: i32, high: i32| f64::from(low) <= at && at <= f64::from(high);
        within(x, self.left, self.right) && within(y, self.top, self.bottom)
    }

    fn contains(self, other: Self) -> bool {
        self.left <= other.left && self.top <= other.top && other.right <= self.right && other.bottom <= self.bottom
    }

    fn meets(self, other: Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    /// A rectangle of this size in a corner of this one.
    pub(super) fn corner(self, corner: Corner, (width, height): (i32, i32)) -> Self {
        let left = match corner {
            Corner::TopLeft | Corner::BottomLeft => self.left,
            Corner::TopRight | Corner::BottomRight => self.right - width,
        };
        let top = match corner {
            Corner::TopLeft | Corner::TopRight => self.top,
            Corner::BottomLeft | Corner::BottomRight => self.bottom - height,
        };
        Self { left, top, right: left + width, bottom: top + height }
    }

    /// Rectangles of this size in this one, the best first: corners, then along the edges, then inside.
    pub(super) fn places(self, (width, height): (i32, i32)) -> Vec<Self> {
        let top_left = self.corner(Corner::TopLeft, (width, height));
        let (across, down) = (self.width() - width, self.height() - height);
        let steps = || (0..=PLACES).rev();
        let mut places: Vec<(i32, i32)> = steps().flat_map(|x| (0..=PLACES).map(move |y| (x, y))).collect();
        let inside = |at: i32| i32::from(at != 0 && at != PLACES);
        places.sort_by_key(|&(x, y)| (inside(x) + inside(y), inside(y), y));
        places.into_iter().map(|(x, y)| top_left.moved(across * x / PLACES, down * y / PLACES)).collect()
    }

    fn moved(self, dx: i32, dy: i32) -> Self {
        Self { left: self.left + dx, top: self.top + dy, right: self.right + dx, bottom: self.bottom + dy }
    }
}

/// Into how many parts a rectangle's way from one edge to the other is divided.
const PLACES: i32 = 16;

/// What already lies in a panel.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    /// Samples of what is drawn, on the canvas.
    pub points: Vec<(f64, f64)>,
    /// Labels and boxes.
    pub taken: Vec<Frame>,
    /// Shaded spans, better left alone but no harm if covered.
    pub shaded: Vec<Frame>,
}

/// Covering a label is worse than covering any number of data.
const COVERS_A_LABEL: usize = 1_000_000;

impl Crowd {
    /// How much a rectangle would cover.
    pub(super) fn under(&self, frame: Frame) -> usize {
        let near = frame.grown(250);
        let points = self.points.iter().filter(|&&point| near.holds(point)).count();
        let taken = self.taken.iter().filter(|taken| taken.meets(near)).count();
        points + taken * COVERS_A_LABEL
    }

    /// The first of `candidates` inside `frame` that covers least, and how much that is.
    pub(super) fn emptiest<T>(&self, frame: Frame, candidates: Vec<(Frame, T)>) -> Option<(Frame, T, usize)> {
        let inside = candidates.into_iter().filter(|candidate| frame.contains(candidate.0));
        let weighed = inside.map(|(place, what)| (place, what, self.under(place)));
        weighed.min_by_key(|found| (found.2, self.shaded.iter().filter(|shaded| shaded.meets(found.0)).count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { left: 0, top: 0, right: 10_000, bottom: 10_000 };

    #[test]
    fn the_emptiest_corner_is_found() {
        let points = vec![(9_500.0, 300.0), (200.0, 500.0), (500.0, 9_000.0)];
        let crowd = Crowd { points, ..Crowd::default() };
        let candidates = FRAME.places((3_000, 2_000)).into_iter().map(|frame| (frame, ())).collect();
        let (found, (), under) = crowd.emptiest(FRAME, candidates).expect("some candidate fits");
        assert_eq!((found.right, found.bottom, under), (10_000, 10_000, 0));
    }

    #[test]
    fn a_box_larger_than_the_frame_has_no_place() {
        let candidates = FRAME.places((20_000, 2_000)).into_iter().map(|frame| (frame, ())).collect();
        assert!(Crowd::default().emptiest::<()>(FRAME, candidates).is_none());
    }
}
