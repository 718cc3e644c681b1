//! In what order absent things are to be made again, where several ways may lead to one of them and some lead round in a circle.
//!
//! It knows neither bytes nor actions: a way needs some things, gives others, and has a cost. This is Knuth's generalisation of Dijkstra's
//! algorithm (Inf. Process. Lett. 6, 1977): a way is open once all that it needs is settled, and the cheapest open way settles what it
//! gives. So no thing is ever made of itself, it ends after each way was looked at once, and what can be had by any ways is had by the
//! cheapest, where the cost of a way is its own and that of the dearest thing it needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// One way to make some things of others.
#[derive(Clone, Debug)]
pub(super) struct Way<T> {
    /// What it needs that is absent.
    pub(super) needs: Vec<T>,
    /// What it gives.
    pub(super) gives: Vec<T>,
    /// What it costs by itself; not negative.
    pub(super) cost: f64,
}

/// A cost in the order of a heap.
#[derive(Clone, Copy, PartialEq)]
struct Cost(f64);

impl Eq for Cost {}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The ways, by their places in `ways`, that lead to `wanted` from nothing but what `given` says is to be had; each comes after those it
/// needs. `None` where none do. Of two that cost the same the one that comes first in `ways` is taken.
pub(super) fn order<T: Copy + Ord>(wanted: T, ways: &[Way<T>], given: &dyn Fn(&T) -> bool) -> Option<Vec<usize>> {
    let mut waiting: BTreeMap<T, Vec<usize>> = BTreeMap::new();
    let mut lacks = vec![0; ways.len()];
    let mut dearest = vec![0.0_f64; ways.len()];
    let mut open = BinaryHeap::new();
    for (i, way) in ways.iter().enumerate() {
        for need in way.needs.iter().filter(|need| !given(need)) {
            lacks[i] += 1;
            waiting.entry(*need).or_default().push(i);
        }
        if lacks[i] == 0 {
            open.push(Reverse((Cost(way.cost), i)));
        }
    }
    // By which way each thing is had, in the order in which they were settled.
    let mut settled: BTreeMap<T, usize> = BTreeMap::new();
    let mut taken = Vec::new();
    while !settled.contains_key(&wanted) {
        let Reverse((Cost(cost), i)) = open.pop()?;
        taken.push(i);
        for thing in &ways[i].gives {
            if given(thing) || settled.contains_key(thing) {
                continue;
            }
            settled.insert(*thing, i);
            for &next in waiting.get(thing).into_iter().flatten() {
                lacks[next] -= 1;
                dearest[next] = dearest[next].max(cost);
                if lacks[next] == 0 {
                    open.push(Reverse((Cost(dearest[next] + ways[next].cost), next)));
                }
            }
        }
    }
    Some(only_needed(wanted, ways, &settled, &taken))
}

/// Of the ways that were taken, in their order, those that `wanted` needs.
fn only_needed<T: Copy + Ord>(wanted: T, ways: &[Way<T>], settled: &BTreeMap<T, usize>, taken: &[usize]) -> Vec<usize> {
    let mut needed = vec![false; ways.len()];
    let mut ahead = vec![wanted];
    while let Some(thing) = ahead.pop() {
        if let Some(&i) = settled.get(&thing).filter(|&&i| !needed[i]) {
            needed[i] = true;
            ahead.extend(&ways[i].needs);
        }
    }
    taken.iter().copied().filter(|&i| needed[i]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn way(needs: &[u32], gives: &[u32], cost: f64) -> Way<u32> {
        Way { needs: needs.to_vec(), gives: gives.to_vec(), cost }
    }

    #[test]
    fn a_chain_is_made_from_its_beginning_however_long_it_is() {
        let ways: Vec<Way<u32>> =
            (1..5000).rev().map(|i| way(&[i - 1], &[i], 1.0)).chain([way(&[], &[0], 1.0)]).collect();
        let order = order(4999, &ways, &|_| false).unwrap();
        assert_eq!(order, (0..5000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_circle_is_no_way_and_a_way_beside_it_is_taken() {
        let circle = [way(&[1], &[2], 0.1), way(&[2], &[1], 0.1)];
        assert_eq!(order(1, &circle, &|_| false), None);
        let beside = [&circle[..], &[way(&[0], &[1], 9.0), way(&[], &[0], 1.0)]].concat();
        assert_eq!(order(1, &beside, &|_| false), Some(vec![3, 2]));
        assert_eq!(order(2, &beside, &|_| false), Some(vec![3, 2, 0]));
    }

    #[test]
    fn the_cheapest_way_is_taken_and_what_is_given_is_not_made() {
        let ways = [way(&[1, 2], &[3], 1.0), way(&[], &[1, 2], 5.0), way(&[], &[3], 9.0), way(&[], &[2], 2.0)];
        assert_eq!(order(3, &ways, &|_| false), Some(vec![3, 1, 0]));
        assert_eq!(order(3, &ways, &|thing| *thing == 1), Some(vec![3, 0]));
        assert_eq!(order(3, &ways[..1], &|thing| *thing == 2), None);
    }

    proptest! {
        #[test]
        fn what_is_ordered_can_be_done_in_that_order_and_what_is_not_cannot_be_done(
            drawn in proptest::collection::vec((proptest::collection::vec(0u32..12, 0..3), proptest::collection::vec(0u32..12, 1..3), 0u8..5), 0..25)
        ) {
            let ways: Vec<Way<u32>> = drawn.iter().map(|(needs, gives, cost)| way(needs, gives, f64::from(*cost))).collect();
            let mut can = std::collections::BTreeSet::new();
            while let Some(more) = ways.iter().find(|way| {
                way.needs.iter().all(|need| can.contains(need)) && way.gives.iter().any(|thing| !can.contains(thing))
            }) {
                can.extend(more.gives.iter().copied());
            }
            for wanted in 0..12 {
                let order = order(wanted, &ways, &|_| false);
                prop_assert_eq!(order.is_some(), can.contains(&wanted));
                let mut there = std::collections::BTreeSet::new();
                for i in order.into_iter().flatten() {
                    prop_assert!(ways[i].needs.iter().all(|need| there.contains(need)));
                    there.extend(ways[i].gives.iter().copied());
                }
            }
        }
    }
}
