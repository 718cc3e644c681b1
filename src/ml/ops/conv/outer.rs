//! The kernel of weight gradients: a small block of the weight stays in registers while the outer products of patch and gradient are
//! added to it, pixel by pixel.

use super::super::lanes::{Lanes, Simd, WithSimd, lanes_of, vectors, vectors_mut};
use super::taps::{Taps, are_short};

/// Rows of a block of one register, at most.
const ROWS: usize = 9;

/// Elements that a source must hold beyond its last patch.
pub(super) const SLACK: usize = ROWS;

/// `sums[k][o] += Σ over pixels of patch[k]·gradient[o]` for the products `k` of a patch, run by run, and `o` in one panel of channels.
pub(super) struct Outer<'a, T> {
    /// What patches are read from, padded, with [`SLACK`] elements more.
    pub(super) source: &'a [T],
    /// Where each pixel's first run starts.
    pub(super) sources: &'a [usize],
    /// Distance from a run to the next.
    pub(super) pitch: usize,
    /// Elements of a run.
    pub(super) run: usize,
    /// Gradients, one row of `stride` elements a pixel.
    pub(super) gradients: &'a [T],
    /// Elements of a row.
    pub(super) stride: usize,
    /// The first channel of the panel.
    pub(super) first: usize,
    /// Channels of the panel: one or two registers.
    pub(super) width: usize,
    /// `[runs, run, width]`.
    pub(super) sums: &'a mut [T],
}

impl<T: Lanes> WithSimd for Outer<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let depth = self.sums.len() / self.width;
        match (self.width / lanes_of::<S, T>(), self.run) {
            (1, run) if are_short(depth, run) => self.taps::<S, 9, 1>(simd),
            (_, run) if are_short(depth, run) => self.taps::<S, 6, 2>(simd),
            (1, _) => self.runs::<S, 8, 1>(simd),
            (_, 8) => self.runs::<S, 4, 2>(simd),
            _ => self.runs::<S, 6, 2>(simd),
        }
    }
}

impl<T: Lanes> Outer<'_, T> {
    /// Run by run, `R` products at a time.
    #[inline(always)]
    fn runs<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        for (segment, sums) in self.sums.chunks_exact_mut(self.run * self.width).enumerate() {
            let (sums, _) = vectors_mut::<S, T>(sums).as_chunks_mut::<V>();
            for (block, sums) in sums.chunks_mut(R).enumerate() {
                let mut own = [[T::splat(simd, T::default()); V]; R];
                own[..sums.len()].copy_from_slice(sums);
                let gradients = self.gradients.chunks_exact(self.stride);
                for (&source, gradient) in self.sources.iter().zip(gradients) {
                    let patch = &self.source[source + segment * self.pitch + block * R..][..R];
                    let gradient = vectors::<S, T>(&gradient[self.first..][..self.width]);
                    for r in 0..R {
                        let x = T::splat(simd, patch[r]);
                        for v in 0..V {
                            own[r][v] = T::mul_add(simd, x, gradient[v], own[r][v]);
                        }
                    }
                }
                sums.copy_from_slice(&own[..sums.len()]);
            }
        }
    }

    /// All runs at once, `R` products at a time.
    #[inline(always)]
    fn taps<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        let taps = Taps::of(self.sums.len() / self.width, self.run, self.pitch);
        let (sums, _) = vectors_mut::<S, T>(self.sums).as_chunks_mut::<V>();
        for (sums, taps_of_block) in sums.chunks_mut(R).zip(taps.all().chunks(R)) {
            let mut own = [[T::splat(simd, T::default()); V]; R];
            own[..sums.len()].copy_from_slice(sums);
            // Where fewer than R products are left, the first is taken again.
            let mut block = [0; R];
            block[..taps_of_block.len()].copy_from_slice(taps_of_block);
            let gradients = self.gradients.chunks_exact(self.stride);
            for (&source, gradient) in self.sources.iter().zip(gradients) {
                let patch = &self.source[source..][..taps.reach()];
                let gradient = vectors::<S, T>(&gradient[self.first..][..self.width]);
                for r in 0..R {
                    let x = T::splat(simd, patch[block[r]]);
                    for v in 0..V {
                        own[r][v] = T::mul_add(simd, x, gradient[v], own[r][v]);
                    }
                }
            }
            sums.copy_from_slice(&own[..sums.len()]);
        }
    }
}
