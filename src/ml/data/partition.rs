//! How a training set is cut: into the fixed chunks over which L(θ) is summed, and into the batches of an epoch.

use std::ops::Range;

use crate::ml::rng::Stream;

/// The fixed partition of `samples` into consecutive chunks of `size`; the last one holds what remains and may be smaller.
///
/// # Panics
/// If `size` is 0.
pub fn chunks(samples: usize, size: usize) -> Vec<Range<usize>> {
    assert!(size > 0, "a chunk holds at least one sample");
    (0..samples).step_by(size).map(|start| start..samples.min(start + size)).collect()
}

/// Iterations in one epoch: the samples over the batch size, rounded up, for the remainder is kept as a smaller last batch.
///
/// # Panics
/// If `batch` is 0.
pub fn iterations_per_epoch(samples: usize, batch: usize) -> usize {
    assert!(batch > 0, "a batch holds at least one sample");
    samples.div_ceil(batch)
}

/// How the samples of a batch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Each epoch visits every sample once, in an order of its own.
    #[default]
    Reshuffled,
    /// Each batch is drawn from the whole set with replacement, independently of every other.
    Iid,
}

/// The batches of one epoch. Any of them can be had without those before it.
#[derive(Clone, Debug)]
pub struct Batches {
    stream: Stream,
    epoch: u32,
    samples: usize,
    batch: usize,
    order: Option<Vec<u32>>,
}

impl Batches {
    /// The batches of `epoch` over `samples` samples, `batch` at a time, drawn from `stream` (by custom the stream of
    /// `"shuffle"`). Reshuffled: consecutive pieces of one permutation drawn at (epoch, 0); the last piece holds what remains
    /// and may be smaller. Iid: the batch of iteration k is drawn at (epoch, k), and every batch is full.
    ///
    /// # Panics
    /// If `batch` or `samples` is 0, or there are 2³² samples or more.
    pub fn new(stream: &Stream, epoch: u32, samples: usize, batch: usize, sampling: Sampling) -> Self {
        assert!(batch > 0 && samples > 0, "a batch holds at least one sample");
        assert!(u32::try_from(samples).is_ok(), "sample indices have 32 bits");
        let order = (sampling == Sampling::Reshuffled).then(|| {
            let mut order: Vec<u32> = (0..samples as u32).collect();
            stream.at(epoch, 0).shuffle(&mut order);
            order
        });
        Self { stream: stream.clone(), epoch, samples, batch, order }
    }

    /// Number of batches in the epoch.
    pub fn len(&self) -> usize {
        iterations_per_epoch(self.samples, self.batch)
    }

    /// Never true, for there is at least one sample.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The sample indices of iteration `iteration`, counted from 0 within the epoch.
    ///
    /// # Panics
    /// If the epoch has no such iteration.
    pub fn at(&self, iteration: usize) -> Vec<u32> {
        assert!(iteration < self.len(), "the epoch has {} iterations, not {}", self.len(), iteration + 1);
        if let Some(order) = &self.order {
            let start = iteration * self.batch;
            order[start..self.samples.min(start + self.batch)].to_vec()
        } else {
            let mut draws = self.stream.at(self.epoch, iteration as u32);
            (0..self.batch).map(|_| draws.below(self.samples as u64) as u32).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_chunk_holds_what_remains() {
        assert_eq!(chunks(1050, 500), [0..500, 500..1000, 1000..1050]);
        assert_eq!(chunks(1000, 500), [0..500, 500..1000]);
        assert_eq!(chunks(3, 500), [0..3; 1]);
        assert!(chunks(0, 5).is_empty());
    }

    #[test]
    fn iid_batches_are_full_and_repeat_samples() {
        let stream = Stream::new(0, "shuffle");
        let batches = Batches::new(&stream, 3, 10, 4, Sampling::Iid);
        assert_eq!(batches.len(), 3);
        let all: Vec<u32> = (0..3).flat_map(|k| batches.at(k)).collect();
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|&index| index < 10));
        assert_ne!(batches.at(0), batches.at(1));
        // Each of 1,000 batches of 100 has on average 100·(1 − 0.99¹⁰⁰) = 63.4 different samples of 100.
        let wide = Batches::new(&stream, 0, 100, 100, Sampling::Iid);
        let mut batch = wide.at(0);
        batch.sort_unstable();
        batch.dedup();
        assert!((50..77).contains(&batch.len()), "{}", batch.len());
    }

    #[test]
    fn epochs_have_orders_of_their_own() {
        let stream = Stream::new(0, "shuffle");
        let first = |epoch| Batches::new(&stream, epoch, 100, 10, Sampling::Reshuffled).at(0);
        assert_ne!(first(0), first(1));
        assert_eq!(first(1), first(1));
    }

    proptest! {
        #[test]
        fn a_reshuffled_epoch_visits_every_sample_once(samples in 1usize..200, batch in 1usize..60, epoch in 0u32..9) {
            let stream = Stream::new(5, "shuffle");
            let batches = Batches::new(&stream, epoch, samples, batch, Sampling::Reshuffled);
            let mut all: Vec<u32> = (0..batches.len()).flat_map(|k| batches.at(k)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..samples as u32).collect::<Vec<_>>());
        }
    }
}
