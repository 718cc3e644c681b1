//! Batch normalisation over `[…, C]` in training mode (Ioffe and Szegedy 2015): y = w·(x − mean)/√(var + ε) + b, with the biased
//! variance of the batch itself; alone, or with a ReLU behind it. Each result takes one pass over memory for its sums and one to write it.
//!
//! Reading order: this file (moments, and what kernels have in common), `value` (the batch and its adjoint), `line` (derivatives along a
//! line), `line_adjoint` (the adjoint of the first).

mod line;
mod line_adjoint;
#[cfg(test)]
mod tests;
mod value;

use crate::ml::tensor::Tensor;
use candle_core::WithDType;

use super::card;
use super::channels::{rows, shares};
use super::real::{Read, Real, dispatch, shape};
use crate::ml::{Error, Result};

pub use line::{Along, Lines, batch_norm_line};
pub use line_adjoint::batch_norm_first_adjoint;
pub use value::{batch_norm, batch_norm_adjoint};

/// ε, as PyTorch's default.
pub const EPSILON: f64 = 1e-5;

/// What a batch says about each channel, `[C]` in f64, where the batch is.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The mean of each channel.
    pub mean: Tensor,
    /// The biased variance of each channel.
    pub variance: Tensor,
    /// How many values of a channel they were taken over.
    pub count: usize,
}

impl Moments {
    /// That there are as many as the batch has channels.
    fn check(&self, operation: &'static str, channels: usize) -> Result<()> {
        fit(operation, channels, [&self.mean, &self.variance])
    }

    /// The same, locked for reading on the CPU.
    fn read(&self) -> Result<Known<'_>> {
        let (mean, variance) = (Read::of(&self.mean, "batch_norm")?, Read::of(&self.variance, "batch_norm")?);
        Ok(Known { mean, variance })
    }
}

/// What all batches say about each channel, in the machine's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The biased variance of each channel.
    pub variance: Vec<f64>,
    /// How many values of a channel they were taken over.
    pub count: usize,
}

/// Moments in the machine's memory.
struct Known<'a> {
    mean: Read<'a, f64>,
    variance: Read<'a, f64>,
}

impl Known<'_> {
    /// 1/√(var + ε) of one channel.
    fn slope(&self, channel: usize) -> f64 {
        1.0 / (self.variance[channel] + EPSILON).sqrt()
    }
}

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// A ReLU: 0 where y ≤ 0.
    Relu,
}

/// That a batch `[…, C]` has more than one value a channel, without which its variance says nothing.
///
/// # Errors
/// [`Error::Setting`] if it has not.
pub fn check(x: &Tensor) -> Result<()> {
    batch("batch_norm", x).map(|_| ())
}

/// `[values a channel, channels]` of a batch.
fn batch(operation: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    let sizes = rows(operation, x)?;
    if sizes[0] > 1 {
        return Ok(sizes);
    }
    let dims = x.dims();
    Err(Error::Setting(format!(
        "`{operation}` takes at least two values a channel, got {dims:?}: choose chunks, batches and subsets that leave no single sample over"
    )))
}

/// Mean and biased variance of each channel of `x`, `[…, C]`, in f64.
///
/// # Errors
/// [`Error::Setting`] for one value a channel; a dtype or device without kernel.
pub fn moments(x: &Tensor) -> Result<Moments> {
    let sizes = batch("batch_norm", x)?;
    dispatch!("batch_norm", x, T => value::moments_of::<T>(&Read::of(x, "batch_norm")?, sizes), card => card::norm::moments("batch_norm", x, sizes))
}

/// That each list has one value a channel.
fn fit(operation: &'static str, channels: usize, lists: [&Tensor; 2]) -> Result<()> {
    if lists.iter().all(|list| list.dims() == [channels]) {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        expected: format!("what is known of {channels} channels"),
        found: format!("means of {} and variances of {}", lists[0].elem_count(), lists[1].elem_count()),
    })
}

/// What the kernels read of each channel, in the dtype of the batch.
struct Constants<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    bias: Vec<T>,
    then: Then,
}

impl<T: Real> Constants<T> {
    fn of(moments: &Known<'_>, w: &[T], b: &[T], then: Then) -> Self {
        let scale = w.iter().enumerate().map(|(c, w)| <T as WithDType>::from_f64(moments.slope(c)) * *w).collect();
        Self { mean: in_dtype(&moments.mean), scale, bias: b.to_vec(), then }
    }

    /// What tells whether a ReLU lets a channel's value through.
    #[inline(always)]
    fn gate(&self, channels: usize) -> Gate<'_, T> {
        let relu = self.then == Then::Relu;
        Gate { mean: &self.mean[..channels], scale: &self.scale[..channels], bias: &self.bias[..channels], relu }
    }
}

/// The constants as slices of one length, so that the compiler sees that no index is beyond them.
#[derive(Clone, Copy)]
struct Gate<'a, T> {
    mean: &'a [T],
    scale: &'a [T],
    bias: &'a [T],
    relu: bool,
}

impl<T: Real> Gate<'_, T> {
    /// `t` where the ReLU, if there is one, lets through what channel `c` makes of `x`, else 0; what is not a number passes.
    #[inline(always)]
    fn pass(&self, c: usize, x: T, t: T) -> T {
        let is_zero = (x - self.mean[c]) * self.scale[c] + self.bias[c] <= T::zero();
        if self.relu & is_zero { T::zero() } else { t }
    }
}

fn in_dtype<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| <T as WithDType>::from_f64(value)).collect()
}

fn in_f64<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// The sizes of a batch, whose weight and bias must have one value a channel.
fn sizes(operation: &'static str, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<[usize; 2]> {
    let sizes @ [_, channels] = batch(operation, x)?;
    if w.dims() != [channels] || b.dims() != [channels] {
        return Err(shape(operation, format!("{channels} weights and biases, one a channel"), &[x, w, b]));
    }
    Ok(sizes)
}
