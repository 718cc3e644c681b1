//! Kernels `[O, C, 3, 3]` on their way to the other domain, and their gradients on the way back.

use super::super::super::lanes::{Simd, WithSimd, lanes_of, vectors, vectors_mut};
use super::transforms::{Fractions, gathered, kernel};
use super::{POINTS, SIDE};
use crate::ml::ops::real::Real;

/// Input channels that are carried together, so that what is read and written are runs of memory.
const CHANNELS: usize = 8;

/// The most lanes of a register.
const LANES: usize = 16;

/// How the kernel of an output and an input of the convolution lies in the weight `[O, C, 3, 3]`.
#[derive(Clone, Copy)]
pub(super) enum Facing {
    /// As it is: outputs are O, inputs are C.
    Forward,
    /// Turned round: outputs are C, inputs are O, and taps run backward.
    Turned,
}

/// The weight of a convolution, and how it is read.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a, T> {
    pub(super) values: &'a [T],
    /// What it is multiplied with.
    pub(super) factor: T,
    pub(super) facing: Facing,
    /// Channels of the convolution's input and output.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl<T: Real> Weight<'_, T> {
    /// Where the kernel from input `c` to output `o` starts.
    #[inline(always)]
    fn start(&self, o: usize, c: usize) -> usize {
        match self.facing {
            Facing::Forward => (o * self.inputs + c) * 9,
            Facing::Turned => (c * self.outputs + o) * 9,
        }
    }
}

/// Carries the kernels of one panel: `[points, inputs, width]`.
pub(super) struct Carry<'a, T> {
    pub(super) weight: Weight<'a, T>,
    /// The panel's first output channel and its width.
    pub(super) cut: (usize, usize),
    pub(super) to: &'a mut [T],
}

impl<T: Real> WithSimd for Carry<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, cut: (first, width), to } = self;
        let (lanes, inputs) = (lanes_of::<S, T>(), weight.inputs);
        let by = Fractions::of::<S, T>(simd);
        let zero = T::splat(simd, T::zero());
        let mut carried = vec![T::zero(); POINTS * CHANNELS * width];
        for start in (0..inputs).step_by(CHANNELS) {
            let channels = CHANNELS.min(inputs - start);
            for c in 0..channels {
                for register in (0..width).step_by(lanes) {
                    let mut taps = [[T::zero(); LANES]; 9];
                    for lane in 0..lanes {
                        let from = &weight.values[weight.start(first + register + lane, start + c)..][..9];
                        for tap in 0..9 {
                            taps[tap][lane] = match weight.facing {
                                Facing::Forward => weight.factor * from[tap],
                                Facing::Turned => weight.factor * from[8 - tap],
                            };
                        }
                    }
                    let mut rows = [[zero; SIDE]; 3];
                    for (i, row) in rows.iter_mut().enumerate() {
                        let mut three = [zero; 3];
                        for (j, value) in three.iter_mut().enumerate() {
                            *value = vectors::<S, T>(&taps[3 * i + j][..lanes])[0];
                        }
                        *row = kernel::<S, T>(simd, &by, three);
                    }
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

/// Adds the gradients of one panel's kernels for some inputs, carried back, to `[width, C, 3, 3]`.
pub(super) struct Return<'a, T> {
    /// `[points, inputs, width]`.
    pub(super) sums: &'a [T],
    pub(super) width: usize,
    /// Which inputs these are, and how many there are in all.
    pub(super) inputs: std::ops::Range<usize>,
    pub(super) all: usize,
    pub(super) to: &'a mut [T],
}

impl<T: Real> WithSimd for Return<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, width, inputs, all, to } = self;
        let registers = width / lanes_of::<S, T>();
        let by = Fractions::of::<S, T>(simd);
        let zero = T::splat(simd, T::zero());
        let (sums, lanes) = (vectors::<S, T>(sums), lanes_of::<S, T>());
        for (place, c) in inputs.clone().enumerate() {
            for register in 0..registers {
                let mut columns = [[zero; 3]; SIDE];
                for (j, column) in columns.iter_mut().enumerate() {
                    let mut six = [zero; SIDE];
                    for (i, value) in six.iter_mut().enumerate() {
                        *value = sums[((i * SIDE + j) * inputs.len() + place) * registers + register];
                    }
                    *column = gathered::<S, T>(simd, &by, six);
                }
                let mut taps = [[T::zero(); LANES]; 9];
                for i in 0..3 {
                    let mut six = [zero; SIDE];
                    for (value, column) in six.iter_mut().zip(&columns) {
                        *value = column[i];
                    }
                    for (j, value) in gathered::<S, T>(simd, &by, six).into_iter().enumerate() {
                        vectors_mut::<S, T>(&mut taps[3 * i + j][..lanes])[0] = value;
                    }
                }
                for lane in 0..lanes {
                    let at = ((register * lanes + lane) * all + c) * 9;
                    for (to, tap) in to[at..at + 9].iter_mut().zip(&taps) {
                        *to += tap[lane];
                    }
                }
            }
        }
    }
}
