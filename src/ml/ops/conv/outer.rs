//! The kernel of weight gradients: a small block of the weight stays in registers while the outer products of patch and gradient are
//! added to it, pixel by pixel.

use super::super::lanes::{Lanes, Simd, WithSimd, lanes_of, vectors, vectors_mut};

/// Rows of a block.
const ROWS: usize = 6;

/// Elements that a source must hold beyond its last patch.
pub(super) const SLACK: usize = ROWS;

/// `sums[k][o] += Σ over pixels of source[source + k]·gradient[o]` for `k` in a run and `o` in one panel of channels.
pub(super) struct Outer<'a, T> {
    /// What patches are read from, padded, with [`SLACK`] elements more.
    pub(super) source: &'a [T],
    /// Where the run starts for each pixel.
    pub(super) sources: &'a [usize],
    /// Gradients, one row of `stride` elements a pixel.
    pub(super) gradients: &'a [T],
    /// Elements of a row.
    pub(super) stride: usize,
    /// The first channel of the panel.
    pub(super) first: usize,
    /// Elements of a run.
    pub(super) run: usize,
    /// `[run, width]`, where the width is one or two registers.
    pub(super) sums: &'a mut [T],
}

impl<T: Lanes> WithSimd for Outer<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.sums.len() == self.run * lanes_of::<S, T>() {
            self.blocks::<S, 1>(simd);
        } else {
            self.blocks::<S, 2>(simd);
        }
    }
}

impl<T: Lanes> Outer<'_, T> {
    #[inline(always)]
    fn blocks<S: Simd, const V: usize>(self, simd: S) {
        let width = V * lanes_of::<S, T>();
        let (sums, _) = vectors_mut::<S, T>(self.sums).as_chunks_mut::<V>();
        for (block, sums) in sums.chunks_mut(ROWS).enumerate() {
            let mut own = [[T::splat(simd, T::default()); V]; ROWS];
            own[..sums.len()].copy_from_slice(sums);
            let gradients = self.gradients.chunks_exact(self.stride);
            for (&source, gradient) in self.sources.iter().zip(gradients) {
                let patch = &self.source[source + block * ROWS..][..ROWS];
                let gradient = vectors::<S, T>(&gradient[self.first..][..width]);
                for r in 0..ROWS {
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
