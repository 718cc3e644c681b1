//! What is done with the sums of a convolution before they leave the cache: something is added, a bias, and a ReLU.

use crate::ml::tensor::Tensor;

use super::super::channels::WIDE;
use super::super::lanes::{self, Simd, WithSimd};
use super::super::real::{Read, Real, shape};
use crate::ml::Result;

/// What follows a sum of convolutions of tensors, or of what else can be convolved, in this order.
#[derive(Debug)]
pub struct After<'a, V = Tensor> {
    /// Added to it: of the shape of the result.
    pub plus: Option<&'a V>,
    /// Added to it: one value a channel.
    pub bias: Option<&'a V>,
    /// Where it is then made 0.
    pub gate: Gate<'a>,
}

/// Where a result is made 0.
#[derive(Clone, Copy, Debug, Default)]
pub enum Gate<'a> {
    /// Nowhere.
    #[default]
    Open,
    /// Where it is ≤ 0 itself: a ReLU. What is not a number stays so.
    Relu,
    /// Where this, of the shape of the result, is ≤ 0: a derivative behind a ReLU whose argument or value this is.
    Of(&'a Tensor),
}

impl<V> Default for After<'_, V> {
    fn default() -> Self {
        Self { plus: None, bias: None, gate: Gate::Open }
    }
}

impl After<'_> {
    /// That its tensors are of the shape of the result, or of its channels.
    pub(super) fn check(&self, operation: &'static str, dims: [usize; 4]) -> Result<()> {
        let mask = if let Gate::Of(mask) = self.gate { Some(mask) } else { None };
        for (tensor, name) in [(self.plus, "an addend"), (mask, "a mask")] {
            if let Some(tensor) = tensor.filter(|tensor| tensor.dims() != dims) {
                return Err(shape(operation, format!("{name} of the result's shape, {dims:?}"), &[tensor]));
            }
        }
        match self.bias.filter(|bias| bias.dims() != [dims[3]]) {
            Some(bias) => Err(shape(operation, format!("{} values of a bias, one a channel", dims[3]), &[bias])),
            None => Ok(()),
        }
    }
}

/// The same, locked for reading.
pub(super) struct Locked<'a, T> {
    plus: Option<Read<'a, T>>,
    /// The bias several times over: a few rows at a time.
    bias: Vec<T>,
    gate: Shut<'a, T>,
}

enum Shut<'a, T> {
    Open,
    Relu,
    Of(Read<'a, T>),
}

impl<'a, T: Real> Locked<'a, T> {
    pub(super) fn of(after: &After<'a>, channels: usize, operation: &'static str) -> Result<Self> {
        let read = |tensor: &'a Tensor| Read::<T>::of(tensor, operation);
        let gate = match after.gate {
            Gate::Open => Shut::Open,
            Gate::Relu => Shut::Relu,
            Gate::Of(mask) => Shut::Of(read(mask)?),
        };
        let bias = match after.bias {
            Some(bias) => read(bias)?.repeat(WIDE.div_ceil(channels)),
            None => vec![T::zero(); if matches!(gate, Shut::Open) { 0 } else { WIDE }],
        };
        Ok(Self { plus: after.plus.map(read).transpose()?, bias, gate })
    }
}

impl<T: Real> Locked<'_, T> {
    /// What is added, and what is done then.
    pub(super) fn parts(&self) -> (Option<&[T]>, Last<'_, T>) {
        let mask = if let Shut::Of(mask) = &self.gate { Some(&**mask) } else { None };
        (self.plus.as_deref(), Last { bias: &self.bias, is_relu: matches!(self.gate, Shut::Relu), mask })
    }
}

/// What is done with sums last: bias and gate.
#[derive(Clone, Copy)]
pub(super) struct Last<'a, T> {
    /// Whole rows of channels; empty where nothing is done.
    bias: &'a [T],
    is_relu: bool,
    mask: Option<&'a [T]>,
}

impl<T: Real> Last<'_, T> {
    /// Nothing.
    pub(super) const NOTHING: Self = Self { bias: &[], is_relu: false, mask: None };

    /// Does it to whole rows of the result, the first of which starts at `start`.
    pub(super) fn apply(&self, start: usize, out: &mut [T]) {
        if !self.bias.is_empty() {
            let mask = self.mask.map(|mask| &mask[start..start + out.len()]);
            lanes::run(Rows { last: Self { mask, ..*self }, out });
        }
    }
}

struct Rows<'a, 'b, T> {
    last: Last<'a, T>,
    out: &'b mut [T],
}

impl<T: Real> WithSimd for Rows<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Last { bias, is_relu, mask } = self.last;
        for (row, out) in self.out.chunks_mut(bias.len()).enumerate() {
            if let Some(mask) = mask {
                for ((out, &b), &m) in out.iter_mut().zip(bias).zip(&mask[row * bias.len()..]) {
                    *out = if m <= T::zero() { T::zero() } else { *out + b };
                }
            } else if is_relu {
                for (out, &b) in out.iter_mut().zip(bias) {
                    let sum = *out + b;
                    *out = if sum <= T::zero() { T::zero() } else { sum };
                }
            } else {
                for (out, &b) in out.iter_mut().zip(bias) {
                    *out += b;
                }
            }
        }
    }
}
