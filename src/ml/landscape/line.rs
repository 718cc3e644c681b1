//! The straight line between two minima: whether L stays under a threshold at its interior points t = k / (samples + 1).
//!
//! Points are taken in a fixed order, the middle first and then the middles of what is left (see [`order`]), since a barrier
//! is likeliest far from both ends. The check stops at the first point, and within a point at the first partial sum, that
//! exceeds the threshold. What was found is kept: a lower threshold is read off, a higher one goes on.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Surface;
use crate::ml::objective::{Bounded, Interrupt};
use crate::ml::params::Theta;
use crate::ml::{Error, Result};

/// What is known of the loss at one point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The loss itself.
    Loss(f64),
    /// A partial sum at which the check stopped: the loss is at least this. The largest f64 stands for a loss that is not
    /// finite, which exceeds every threshold.
    AtLeast(f64),
}

impl Found {
    /// A bound from below, exact for [`Found::Loss`].
    pub fn bound(self) -> f64 {
        match self {
            Self::Loss(value) | Self::AtLeast(value) => value,
        }
    }
}

/// What is known of a line. Written as JSON and read again it is the same, bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineState {
    /// At place k − 1, what is known at t = k / (samples + 1).
    points: Vec<Option<Found>>,
}

impl LineState {
    /// A line with `samples` interior points of which nothing is known.
    pub fn new(samples: usize) -> Self {
        Self { points: vec![None; samples] }
    }

    /// Number of interior points.
    pub fn samples(&self) -> usize {
        self.points.len()
    }

    /// The points in order of t, each with what is known there.
    pub fn points(&self) -> impl Iterator<Item = (f64, Option<Found>)> {
        self.points.iter().enumerate().map(|(at, &found)| (place(at + 1, self.points.len()), found))
    }

    /// Whether the line stays at or under `threshold` at all its points, if what is known decides it.
    pub fn verdict(&self, threshold: f64) -> Option<bool> {
        let known = || self.points.iter().flatten();
        if known().any(|found| found.bound() > threshold) {
            Some(false)
        } else if known().filter(|found| matches!(found, Found::Loss(_))).count() == self.points.len() {
            Some(true)
        } else {
            None
        }
    }

    /// The largest bound known, with its t: the barrier, if every loss is known.
    pub fn highest(&self) -> Option<(f64, Found)> {
        let known = self.points().filter_map(|(t, found)| Some((t, found?)));
        known.max_by(|(_, a), (_, b)| a.bound().total_cmp(&b.bound()))
    }
}

fn place(k: usize, samples: usize) -> f64 {
    k as f64 / (samples + 1) as f64
}

/// The order in which the points 1..=`samples` are taken: the middle (rounded down) of all; then, level by level and from left
/// to right, the middles of the gaps that are left. For 10: 5, 2, 8, 1, 3, 6, 9, 4, 7, 10.
pub fn order(samples: usize) -> Vec<usize> {
    let mut order = Vec::with_capacity(samples);
    let mut gaps = VecDeque::from([(1, samples)]);
    while let Some((first, last)) = gaps.pop_front() {
        if first > last {
            continue;
        }
        let middle = usize::midpoint(first, last);
        order.push(middle);
        gaps.push_back((first, middle - 1));
        gaps.push_back((middle + 1, last));
    }
    order
}

/// Adds to `state` what it takes to decide whether the line from `ends[0]` to `ends[1]` stays at or under `threshold`;
/// nothing, if it is decided. Raising the threshold in between, however often, leaves the state that the last one
/// gives alone.
///
/// # Errors
/// [`Error::Interrupted`], or what the surface says; a loss that is not finite is no error.
pub fn check(
    surface: &impl Surface,
    ends: [&Theta; 2],
    threshold: f64,
    state: LineState,
    stop: &dyn Interrupt,
) -> Result<LineState> {
    let mut state = state;
    if state.verdict(threshold).is_some() {
        return Ok(state);
    }
    for k in order(state.samples()) {
        if let Some(Found::Loss(_)) = state.points[k - 1] {
            continue;
        }
        let theta = Theta::interpolate(ends[0], ends[1], place(k, state.samples()))?;
        let found = match surface.value_until(&theta, threshold, stop) {
            Ok(Bounded::Within(loss)) => Found::Loss(loss),
            Ok(Bounded::Exceeded(bound)) => Found::AtLeast(bound),
            Err(Error::NotFinite { .. }) => Found::AtLeast(f64::MAX),
            Err(other) => return Err(other),
        };
        state.points[k - 1] = Some(found);
        if found.bound() > threshold {
            break;
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ml::landscape::quadratic::{Quadratic, point};
    use crate::ml::objective::NoInterrupt;

    /// From (1, −1) to (1, 1) over ½ (θ₁² + 8 θ₂²), seen at t = 1/4, 1/2, 3/4: losses 1.5, 0.5, 1.5.
    fn checked(surface: &Quadratic, threshold: f64, state: LineState) -> LineState {
        let ends = [&point(&[1.0, -1.0]), &point(&[1.0, 1.0])];
        check(surface, ends, threshold, state, &NoInterrupt).unwrap()
    }

    fn valley() -> Quadratic {
        Quadratic::new(&[1.0, 8.0])
    }

    #[test]
    fn the_middle_comes_first_and_then_the_middles_of_what_is_left() {
        assert_eq!(order(10), [5, 2, 8, 1, 3, 6, 9, 4, 7, 10]);
        assert_eq!(order(3), [2, 1, 3]);
        assert_eq!(order(1), [1]);
        assert!(order(0).is_empty());
    }

    #[test]
    fn losses_at_the_interior_points_are_those_of_the_closed_form() {
        let state = checked(&valley(), 10.0, LineState::new(3));
        let points: Vec<_> = state.points().collect();
        let expected = [(0.25, 1.5), (0.5, 0.5), (0.75, 1.5)].map(|(t, loss)| (t, Some(Found::Loss(loss))));
        assert_eq!(points, expected);
        assert_eq!(state.verdict(10.0), Some(true));
        assert_eq!(state.verdict(1.5), Some(true));
        assert_eq!(state.verdict(1.49), Some(false));
    }

    #[test]
    fn it_stops_at_the_first_point_and_the_first_partial_sum_that_exceeds() {
        let surface = valley();
        let state = checked(&surface, 0.4, LineState::new(3));
        let known: Vec<_> = state.points().map(|(_, found)| found).collect();
        assert_eq!(known, [None, Some(Found::AtLeast(0.5)), None]);
        assert_eq!((state.verdict(0.4), surface.passes.get()), (Some(false), 1));
    }

    #[test]
    fn within_a_point_it_stops_at_the_first_partial_sum_that_exceeds() {
        // With the terms the other way round the point at t = 1/4 is 1 after the first term and 1.5 in all.
        let surface = Quadratic::new(&[8.0, 1.0]);
        let ends = [&point(&[-1.0, 1.0]), &point(&[1.0, 1.0])];
        let state = check(&surface, ends, 0.7, LineState::new(3), &NoInterrupt).unwrap();
        assert_eq!(state.highest(), Some((0.25, Found::AtLeast(1.0))));
        assert_eq!(surface.passes.get(), 2);
    }

    #[test]
    fn a_lower_threshold_is_read_off_and_a_decided_line_costs_no_pass() {
        let surface = valley();
        let state = checked(&surface, 1.0, LineState::new(3));
        assert_eq!((state.verdict(1.0), state.verdict(0.3), state.verdict(1.6)), (Some(false), Some(false), None));
        let passes = surface.passes.get();
        assert_eq!(checked(&surface, 0.3, state.clone()), state);
        assert_eq!(surface.passes.get(), passes);
    }

    #[test]
    fn a_higher_threshold_repeats_no_whole_point() {
        let surface = valley();
        let state = checked(&surface, 1.0, LineState::new(3));
        assert_eq!(surface.passes.get(), 2);
        let state = checked(&surface, 2.0, state);
        // The middle is known; the point that stopped is taken again, and the last for the first time.
        assert_eq!(surface.passes.get(), 4);
        assert_eq!(state.verdict(2.0), Some(true));
    }

    #[test]
    fn a_loss_that_is_not_finite_exceeds_every_threshold() {
        let surface = Quadratic::new(&[f64::INFINITY, 1.0]);
        let state = checked(&surface, 1e300, LineState::new(3));
        assert_eq!(state.highest(), Some((0.5, Found::AtLeast(f64::MAX))));
        assert_eq!(state.verdict(1e300), Some(false));
    }

    #[test]
    fn a_line_without_points_is_connected() {
        assert_eq!(LineState::new(0).verdict(0.0), Some(true));
        assert_eq!(LineState::new(0).highest(), None);
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation_that_starts_in_the_middle(samples in 1usize..200) {
            let mut points = order(samples);
            prop_assert_eq!(points[0], samples.div_ceil(2));
            points.sort_unstable();
            prop_assert_eq!(points, (1..=samples).collect::<Vec<_>>());
        }

        #[test]
        fn raising_the_threshold_by_degrees_gives_the_state_of_the_last_one(
            mut thresholds in prop::collection::vec(0.0f64..2.0, 1..5),
            samples in 1usize..12,
        ) {
            thresholds.sort_by(f64::total_cmp);
            let surface = valley();
            let by_degrees = thresholds.iter().fold(LineState::new(samples), |state, &threshold| checked(&surface, threshold, state));
            let last = *thresholds.last().unwrap();
            let direct = checked(&surface, last, LineState::new(samples));
            prop_assert!(direct.verdict(last).is_some());
            prop_assert_eq!(&by_degrees, &direct);
            let json = serde_json::to_string(&direct).unwrap();
            prop_assert_eq!(serde_json::from_str::<LineState>(&json).unwrap(), direct);
        }
    }
}
