//! Kernels `[O, C, 3, 3]` on their way to the other domain and back, a panel of output channels at a time.

use super::super::super::lanes::{Simd, WithSimd, lanes_of, vectors, vectors_mut};
use super::transforms::{Fractions, gathered, kernel};
use super::{POINTS, SIDE};
use crate::ml::ops::real::Real;

/// Input channels that are carried together, so that what is read and written are runs of memory.
const CHANNELS: usize = 8;

/// The most lanes of a register.
const LANES: usize = 16;

/// Carries the kernels `w(o, c)` of one panel: `[points, inputs, width]`.
pub(super) struct Carry<'a, T, W> {
    pub(super) w: W,
    /// The panel's first output channel and its width.
    pub(super) cut: (usize, usize),
    pub(super) inputs: usize,
    pub(super) to: &'a mut [T],
}

impl<T: Real, W: Fn(usize, usize) -> [T; 9]> WithSimd for Carry<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { w, cut: (first, width), inputs, to } = self;
        let lanes = lanes_of::<S, T>();
        let by = Fractions::of::<S, T>(simd);
        let mut carried = vec![T::zero(); POINTS * CHANNELS * width];
        for start in (0..inputs).step_by(CHANNELS) {
            let channels = CHANNELS.min(inputs - start);
            for c in 0..channels {
                for register in (0..width).step_by(lanes) {
                    let mut taps = [[T::zero(); LANES]; 9];
                    for lane in 0..lanes {
                        let w = w(first + register + lane, start + c);
                        (0..9).for_each(|tap| taps[tap][lane] = w[tap]);
                    }
                    let tap = |k: usize| vectors::<S, T>(&taps[k][..lanes])[0];
                    let row = |i: usize| kernel::<S, T>(simd, &by, [tap(3 * i), tap(3 * i + 1), tap(3 * i + 2)]);
                    let rows = [row(0), row(1), row(2)];
                    for j in 0..SIDE {
                        let column = kernel::<S, T>(simd, &by, [rows[0][j], rows[1][j], rows[2][j]]);
                        for (i, value) in column.into_iter().enumerate() {
                            let at = ((i * SIDE + j) * CHANNELS + c) * width + register;
                            vectors_mut::<S, T>(&mut carried[at..at + lanes])[0] = value;
                        }
                    }
                }
            }
            for (point, from) in carried.chunks_exact(CHANNELS * width).enumerate() {
                let at = (point * inputs + start) * width;
                to[at..at + channels * width].copy_from_slice(&from[..channels * width]);
            }
        }
    }
}

/// Carries the gradients of one panel's kernels back to `[O, C, 3, 3]`; `at(point)` is the panel at a point, `[inputs, width]`.
pub(super) struct Return<'a, T, A> {
    pub(super) at: A,
    pub(super) width: usize,
    pub(super) inputs: usize,
    pub(super) to: &'a mut [T],
}

impl<'p, T: Real, A: Fn(usize) -> &'p [T]> WithSimd for Return<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { at, width, inputs, to } = self;
        let lanes = lanes_of::<S, T>();
        let by = Fractions::of::<S, T>(simd);
        let mut gathering = vec![T::zero(); POINTS * CHANNELS * width];
        for start in (0..inputs).step_by(CHANNELS) {
            let channels = CHANNELS.min(inputs - start);
            for (point, to) in gathering.chunks_exact_mut(CHANNELS * width).enumerate() {
                to[..channels * width].copy_from_slice(&at(point)[start * width..][..channels * width]);
            }
            for c in 0..channels {
                for register in (0..width).step_by(lanes) {
                    let point = |i: usize, j: usize| {
                        let at = ((i * SIDE + j) * CHANNELS + c) * width + register;
                        vectors::<S, T>(&gathering[at..at + lanes])[0]
                    };
                    let column = |j: usize| gathered::<S, T>(simd, &by, std::array::from_fn(|i| point(i, j)));
                    let columns: [_; SIDE] = std::array::from_fn(column);
                    let mut taps = [[T::zero(); LANES]; 9];
                    for i in 0..3 {
                        let row = gathered::<S, T>(simd, &by, std::array::from_fn(|j| columns[j][i]));
                        for (j, value) in row.into_iter().enumerate() {
                            vectors_mut::<S, T>(&mut taps[3 * i + j][..lanes])[0] = value;
                        }
                    }
                    for lane in 0..lanes {
                        let at = ((register + lane) * inputs + start + c) * 9;
                        let to = &mut to[at..at + 9];
                        (0..9).for_each(|tap| to[tap] = taps[tap][lane]);
                    }
                }
            }
        }
    }
}
