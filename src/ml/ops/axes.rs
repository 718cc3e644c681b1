//! Channels last, as the kernels want images, and channels first, as PyTorch numbers their elements.

use crate::ml::tensor::Tensor;

use super::card;
use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles;
use crate::ml::Result;

/// Images `[S, H, W, C]` as `[S, C, H, W]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` has four axes.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    let [samples, height, width, channels] = images("channels_first", x)?;
    let (pixels, to) = (height * width, [samples, channels, height, width]);
    dispatch!("channels_first", x, T => transposed::<T>("channels_first", x, (pixels, channels), &to),
        card => card::shape::transposed("channels_first", x, [samples, pixels, channels], &to))
}

/// Images `[S, C, H, W]` as `[S, H, W, C]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` has four axes.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    let [samples, channels, height, width] = images("channels_last", x)?;
    let (pixels, to) = (height * width, [samples, height, width, channels]);
    dispatch!("channels_last", x, T => transposed::<T>("channels_last", x, (channels, pixels), &to),
        card => card::shape::transposed("channels_last", x, [samples, channels, pixels], &to))
}

fn images(operation: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    x.dims().try_into().map_err(|_| shape(operation, "images with four axes", &[x]))
}

/// Each sample's matrix of this many rows and columns, transposed.
fn transposed<T: Real>(
    operation: &'static str,
    x: &Tensor,
    (rows, columns): (usize, usize),
    to: &[usize],
) -> Result<Tensor> {
    if rows == 1 || columns == 1 {
        return x.reshape(to);
    }
    let values = Read::<T>::of(x, operation)?;
    let values: &[T] = &values;
    let sample = rows * columns;
    let out = tiles::make(values.len(), sample.max(1), values.len(), |index, out: &mut [T]| {
        let from = &values[index * sample..][..sample];
        for (column, out) in out.chunks_exact_mut(rows).enumerate() {
            out.iter_mut().zip(from[column..].iter().step_by(columns)).for_each(|(to, &from)| *to = from);
        }
    });
    tensor(out, to)
}
