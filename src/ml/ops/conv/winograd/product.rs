//! The product of tiles and kernels at one point where channels are few: so short that looking up where each row starts would cost as much
//! as the products, so the compiler is told all sizes.

use super::super::super::lanes::{Lanes, Simd, WithSimd, lanes_of, vectors, vectors_mut};

/// Whether there is a body for so many input and output channels.
#[inline(always)]
pub(super) fn is_small<S: Simd, T: Lanes>(inputs: usize, outputs: usize) -> bool {
    matches!(inputs, 8 | 16) && outputs <= 2 * lanes_of::<S, T>()
}

/// `out[tile][o] = Σ source[tile][c]·panel[c][o]`.
pub(super) struct Product<'a, T> {
    /// `[tiles, inputs]`.
    pub(super) source: &'a [T],
    /// `[inputs, outputs]`: one or two registers of outputs.
    pub(super) panel: &'a [T],
    pub(super) inputs: usize,
    /// Whether `out` is added to.
    pub(super) add: bool,
    /// `[tiles, outputs]`.
    pub(super) out: &'a mut [T],
}

impl<T: Lanes> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let outputs = self.panel.len() / self.inputs;
        match (self.inputs, outputs / lanes_of::<S, T>()) {
            (8, 1) => self.of::<S, 8, 1, 12>(simd),
            (8, _) => self.of::<S, 8, 2, 6>(simd),
            (_, 1) => self.of::<S, 16, 1, 12>(simd),
            _ => self.of::<S, 16, 2, 6>(simd),
        }
    }
}

impl<T: Lanes> Product<'_, T> {
    /// `C` input channels and `V` registers of outputs, `R` tiles at a time and then one at a time.
    #[inline(always)]
    fn of<S: Simd, const C: usize, const V: usize, const R: usize>(self, simd: S) {
        let panel = &vectors::<S, T>(self.panel).as_chunks::<V>().0.as_chunks::<C>().0[0];
        let (groups, rest) = self.source.as_chunks::<C>().0.as_chunks::<R>();
        let (outs, others) = vectors_mut::<S, T>(self.out).as_chunks_mut::<V>().0.as_chunks_mut::<R>();
        for (tiles, out) in groups.iter().zip(outs) {
            add_tiles::<S, T, C, V, R>(simd, tiles, panel, self.add, out);
        }
        for (tile, out) in rest.as_chunks::<1>().0.iter().zip(others.as_chunks_mut::<1>().0) {
            add_tiles::<S, T, C, V, 1>(simd, tile, panel, self.add, out);
        }
    }
}

#[inline(always)]
fn add_tiles<S: Simd, T: Lanes, const C: usize, const V: usize, const R: usize>(
    simd: S,
    tiles: &[[T; C]; R],
    panel: &[[T::Vector<S>; V]; C],
    add: bool,
    out: &mut [[T::Vector<S>; V]; R],
) {
    let mut sums = if add { *out } else { [[T::splat(simd, T::default()); V]; R] };
    for c in 0..C {
        for r in 0..R {
            let x = T::splat(simd, tiles[r][c]);
            for v in 0..V {
                sums[r][v] = T::mul_add(simd, x, panel[c][v], sums[r][v]);
            }
        }
    }
    *out = sums;
}
