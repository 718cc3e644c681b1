//! Patches whose runs are so short that going from run to run would cost more than the products: those of the first layers, whose images
//! have few channels. There each product's place in the patch is looked up instead.

/// The most products of a patch that are looked up.
const MOST: usize = 64;

/// Elements from which on a run is long.
const LONG: usize = 8;

/// Whether the products of such patches are looked up.
#[inline(always)]
pub(super) fn are_short(depth: usize, run: usize) -> bool {
    run < LONG && run < depth && depth <= MOST
}

/// Where the products of a patch lie in it, in order.
pub(super) struct Taps {
    places: [usize; MOST],
    depth: usize,
}

impl Taps {
    /// Of `depth` products in runs of `run`, from each of which to the next it is `pitch`.
    #[inline(always)]
    pub(super) fn of(depth: usize, run: usize, pitch: usize) -> Self {
        let mut places = [0; MOST];
        for (k, place) in places.iter_mut().enumerate().take(depth) {
            *place = k / run * pitch + k % run;
        }
        Self { places, depth }
    }

    #[inline(always)]
    pub(super) fn all(&self) -> &[usize] {
        &self.places[..self.depth]
    }

    /// Elements from a patch's first to its last.
    #[inline(always)]
    pub(super) fn reach(&self) -> usize {
        self.places[self.depth - 1] + 1
    }
}
