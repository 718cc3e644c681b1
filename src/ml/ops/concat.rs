//! Channels put side by side and taken apart again: what a dense block is made of. Taking some and padding with zeros are each other's
//! adjoint, and so the set is closed under differentiation.

use crate::ml::tensor::Tensor;

use super::card;
use super::channels::{rows, tile};
use super::real::{Read, Real, dispatch, elements, shape, tensor};
use super::tiles;
use crate::ml::Result;

/// The channels of `a`, `[…, A]`, and after them those of `b`, `[…, B]`: `[…, A + B]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the two differ in their channels at most.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const NAME: &str = "concat";
    let ([_, left], [_, right]) = (rows(NAME, a)?, rows(NAME, b)?);
    let (samples, others) = (&a.dims()[..a.rank() - 1], &b.dims()[..b.rank() - 1]);
    if samples != others {
        return Err(shape(NAME, "tensors that differ in their channels at most", &[a, b]));
    }
    let dims = [samples, &[left + right]].concat();
    dispatch!(NAME, a, T => {
        let (a, b) = (Read::<T>::of(a, NAME)?, Read::<T>::of(b, NAME)?);
        let (a, b): (&[T], &[T]) = (&a, &b);
        tensor(by_rows(dims.iter().product(), left + right, |row, out: &mut [T]| {
            out[..left].copy_from_slice(&a[row * left..][..left]);
            out[left..].copy_from_slice(&b[row * right..][..right]);
        }), &dims)
    }, card => card::shape::concat(NAME, a, b, &dims))
}

/// `count` channels of `x`, `[…, C]`, from channel `first` on: `[…, count]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `x` has not so many channels, or none are taken.
pub fn take_channels(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    const NAME: &str = "take_channels";
    let [_, channels] = rows(NAME, x)?;
    if count == 0 || first.checked_add(count).is_none_or(|end| end > channels) {
        return Err(shape(NAME, format!("at least one channel, and as many as to take {count} from {first} on"), &[x]));
    }
    let dims = [&x.dims()[..x.rank() - 1], &[count]].concat();
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        tensor(by_rows(dims.iter().product(), count, |row, out: &mut [T]| {
            out.copy_from_slice(&x[row * channels + first..][..count]);
        }), &dims)
    }, card => card::shape::window(NAME, x, (first, 0), &dims))
}

/// The channels of `x`, `[…, C]`, after `before` channels of zeros and before `after` more: `[…, before + C + after]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is `[…, C]`, or for more channels than memory holds.
pub fn pad_channels(x: &Tensor, before: usize, after: usize) -> Result<Tensor> {
    const NAME: &str = "pad_channels";
    let [_, channels] = rows(NAME, x)?;
    let width = before.checked_add(channels).and_then(|width| width.checked_add(after));
    let dims = width.map(|width| [&x.dims()[..x.rank() - 1], &[width]].concat());
    let (Some(width), Some(dims)) = (width, dims.filter(|dims| elements(dims).is_some())) else {
        let expected = format!("no more channels than memory holds, not {before} before and {after} after");
        return Err(shape(NAME, expected, &[x]));
    };
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        tensor(by_rows(dims.iter().product(), width, |row, out: &mut [T]| {
            out[before..][..channels].copy_from_slice(&x[row * channels..][..channels]);
        }), &dims)
    }, card => card::shape::window(NAME, x, (0, before), &dims))
}

/// A tensor's elements, zero at first, filled row by row.
fn by_rows<T: Real>(elements: usize, width: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let length = tile(width);
    tiles::make(elements, length, elements, |index, out: &mut [T]| {
        let first = index * length / width;
        out.chunks_exact_mut(width).enumerate().for_each(|(at, out)| fill(first + at, out));
    })
}
