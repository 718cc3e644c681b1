//! The recursive check of connectedness, over iteration numbers alone: which pairs are asked about, which iterations are
//! needed next, and when it ends. It knows neither θ nor loss; whoever drives it answers each round's pairs, all of which may
//! be worked on at once.
//!
//! ```text
//! while !bisection.is_done() {
//!     let verdicts = bisection.round().iter().map(|pair| connected(pair)).collect();
//!     for iteration in bisection.answer(&verdicts) { project(iteration) }
//! }
//! ```

use crate::ml::{Error, Result};

/// Two iterations whose minima are to be joined by a straight line, `from` before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The earlier iteration.
    pub from: u64,
    /// The later iteration.
    pub to: u64,
}

impl Segment {
    /// The iteration half-way (rounded down), or none if none lies between.
    pub fn middle(self) -> Option<u64> {
        let middle = self.from + (self.to - self.from) / 2;
        (middle > self.from).then_some(middle)
    }
}

/// How a segment that is split no further ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The line between its ends stays under the threshold.
    Connected,
    /// It does not, and no iteration lies between.
    Adjacent,
    /// It does not, and it was halved as often as allowed.
    DepthReached,
}

/// The state of the check: what is asked now, and what has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisection {
    /// Deepest halving allowed; a given segment has depth 0.
    depth_limit: u32,
    depth: u32,
    open: Vec<Segment>,
    ended: Vec<(Segment, Ending)>,
}

impl Bisection {
    /// A check of the segments between successive `iterations`, each to be halved at most `depth_limit` times over.
    ///
    /// A larger limit asks first what a smaller one asks, in the same order.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the iterations rise.
    pub fn new(iterations: &[u64], depth_limit: u32) -> Result<Self> {
        let open: Vec<Segment> = iterations.windows(2).map(|pair| Segment { from: pair[0], to: pair[1] }).collect();
        if let Some(segment) = open.iter().find(|segment| segment.from >= segment.to) {
            let Segment { from, to } = segment;
            return Err(Error::Setting(format!("iterations to be connected must rise: {to} comes after {from}")));
        }
        Ok(Self { depth_limit, depth: 0, open, ended: Vec::new() })
    }

    /// The segments whose connection is asked for now, in order of iterations. Empty when the check is done.
    pub fn round(&self) -> &[Segment] {
        &self.open
    }

    /// Whether nothing is left to ask.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a segment of this round is halved if it is not connected.
    pub fn would_halve(&self, segment: Segment) -> bool {
        self.depth < self.depth_limit && segment.middle().is_some()
    }

    /// Takes one verdict (connected or not) for each segment of the round and moves on to the next. Returns the iterations
    /// that the next round needs and no round before it had, rising.
    ///
    /// # Panics
    /// If there are not as many verdicts as segments in the round.
    pub fn answer(&mut self, verdicts: &[bool]) -> Vec<u64> {
        assert_eq!(verdicts.len(), self.open.len(), "a round is answered whole");
        let mut next = Vec::new();
        let mut middles = Vec::new();
        for (segment, &connected) in std::mem::take(&mut self.open).into_iter().zip(verdicts) {
            match (connected, segment.middle()) {
                (true, _) => self.ended.push((segment, Ending::Connected)),
                (false, None) => self.ended.push((segment, Ending::Adjacent)),
                (false, Some(_)) if self.depth == self.depth_limit => {
                    self.ended.push((segment, Ending::DepthReached));
                }
                (false, Some(middle)) => {
                    next.push(Segment { to: middle, ..segment });
                    next.push(Segment { from: middle, ..segment });
                    middles.push(middle);
                }
            }
        }
        self.open = next;
        self.depth += 1;
        self.ended.sort_by_key(|&(segment, _)| segment);
        middles
    }

    /// The segments that have ended, in order of iterations. When the check is done they cover, without gap, what was given.
    pub fn ended(&self) -> &[(Segment, Ending)] {
        &self.ended
    }

    /// Every iteration that was an end of a segment, rising: the points of the path.
    pub fn iterations(&self) -> Vec<u64> {
        let segments = self.ended.iter().map(|(segment, _)| segment).chain(&self.open);
        let mut iterations: Vec<u64> = segments.flat_map(|segment| [segment.from, segment.to]).collect();
        iterations.sort_unstable();
        iterations.dedup();
        iterations
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs a check to its end and returns it with the rounds asked and the midpoints announced.
    fn drive(
        iterations: &[u64],
        depth_limit: u32,
        connected: impl Fn(Segment) -> bool,
    ) -> (Bisection, Vec<Vec<Segment>>, Vec<u64>) {
        let mut bisection = Bisection::new(iterations, depth_limit).unwrap();
        let (mut rounds, mut middles) = (Vec::new(), Vec::new());
        while !bisection.is_done() {
            rounds.push(bisection.round().to_vec());
            let verdicts: Vec<bool> = bisection.round().iter().map(|&segment| connected(segment)).collect();
            let halved = bisection.round().iter().zip(&verdicts);
            let halved = halved.filter(|&(&segment, &connected)| !connected && bisection.would_halve(segment)).count();
            let announced = bisection.answer(&verdicts);
            assert_eq!(announced.len(), halved, "a round says beforehand what it would halve");
            middles.extend(announced);
        }
        (bisection, rounds, middles)
    }

    #[test]
    fn a_segment_is_halved_until_it_is_short_enough() {
        let (done, rounds, middles) = drive(&[0, 10], u32::MAX, |segment| segment.to - segment.from <= 3);
        assert_eq!(middles, [5, 2, 7]);
        assert_eq!(rounds.len(), 3);
        assert_eq!(done.iterations(), [0, 2, 5, 7, 10]);
        assert!(done.ended().iter().all(|&(_, ending)| ending == Ending::Connected));
    }

    #[test]
    fn what_cannot_be_connected_ends_at_adjacent_iterations() {
        let (done, _, _) = drive(&[4, 8], u32::MAX, |_| false);
        let expected: Vec<_> = (4..8).map(|from| (Segment { from, to: from + 1 }, Ending::Adjacent)).collect();
        assert_eq!(done.ended(), expected);
    }

    #[test]
    fn depth_0_halves_nothing_and_one_point_asks_nothing() {
        let (done, rounds, middles) = drive(&[0, 100, 101], 0, |_| false);
        assert_eq!((rounds.len(), middles.len()), (1, 0));
        let endings: Vec<Ending> = done.ended().iter().map(|&(_, ending)| ending).collect();
        assert_eq!(endings, [Ending::DepthReached, Ending::Adjacent]);
        assert!(Bisection::new(&[7], 3).unwrap().is_done());
        assert!(Bisection::new(&[], 3).unwrap().is_done());
    }

    #[test]
    fn iterations_that_do_not_rise_are_refused() {
        let message = Bisection::new(&[1, 5, 5], 9).unwrap_err().to_string();
        assert_eq!(message, "iterations to be connected must rise: 5 comes after 5");
        assert!(Bisection::new(&[5, 1], 9).is_err());
    }

    /// A verdict for every segment, from a fixed mixing of its ends.
    fn verdict(seed: u64, segment: Segment) -> bool {
        let mixed =
            (segment.from ^ seed.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ segment.to.rotate_left(31);
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 62 == 0
    }

    proptest! {
        #[test]
        fn the_ended_segments_cover_what_was_given_and_end_for_their_reason(
            given in prop::collection::btree_set(0u64..500, 2..8),
            depth_limit in 0u32..12,
            seed in any::<u64>(),
        ) {
            let given: Vec<u64> = given.into_iter().collect();
            let (done, rounds, middles) = drive(&given, depth_limit, |segment| verdict(seed, segment));
            prop_assert!(rounds.len() <= depth_limit as usize + 1);
            prop_assert_eq!(done.ended()[0].0.from, given[0]);
            prop_assert_eq!(done.ended().last().unwrap().0.to, *given.last().unwrap());
            prop_assert!(done.ended().windows(2).all(|pair| pair[0].0.to == pair[1].0.from));
            for &(segment, ending) in done.ended() {
                prop_assert_eq!(ending == Ending::Connected, verdict(seed, segment));
                prop_assert_eq!(ending == Ending::Adjacent, !verdict(seed, segment) && segment.to == segment.from + 1);
            }
            let announced: BTreeSet<u64> = given.iter().chain(&middles).copied().collect();
            prop_assert_eq!(announced.len(), given.len() + middles.len());
            prop_assert_eq!(announced.into_iter().collect::<Vec<_>>(), done.iterations());
        }

        #[test]
        fn a_larger_depth_asks_first_what_a_smaller_one_asks(seed in any::<u64>(), depth in 0u32..8) {
            let (_, shallow, _) = drive(&[0, 300, 700], depth, |segment| verdict(seed, segment));
            let (_, deep, _) = drive(&[0, 300, 700], depth + 3, |segment| verdict(seed, segment));
            prop_assert_eq!(&shallow[..], &deep[..shallow.len()]);
        }
    }
}
