//! Sums and products per channel of `[S, C, …]`: what a bias and a batch norm are made of. Broadcast and sum are each
//! other's adjoint, and so the set is closed under differentiation.

use candle_core::{Tensor, WithDType};

use super::real::{Read, Real, dispatch, shape, tensor};
use super::reduce::{sum, sum_of_products};
use super::tiles;
use crate::ml::Result;

/// `[samples, channels, pixels]` of a tensor `[S, C, …]`.
pub(super) fn planes(operation: &'static str, x: &Tensor) -> Result<[usize; 3]> {
    match x.dims() {
        [samples, channels, rest @ ..] => Ok([*samples, *channels, rest.iter().product()]),
        _ => Err(shape(operation, "samples and channels, `[S, C, …]`", &[x])),
    }
}

/// `x + b`, where `b`, `[C]`, is the same for every sample and pixel.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `b` has one value a channel of `x`.
pub fn add_channels(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch!("add_channels", x, T => with_channels::<T>("add_channels", x, b, |x, b| x + b))
}

/// `c·x`, where `c`, `[C]`, is the same for every sample and pixel.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `c` has one value a channel of `x`.
pub fn mul_channels(x: &Tensor, c: &Tensor) -> Result<Tensor> {
    dispatch!("mul_channels", x, T => with_channels::<T>("mul_channels", x, c, |x, c| x * c))
}

/// `c`, `[C]`, repeated to `dims`, `[S, C, …]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `c` has one value a channel of `dims`.
pub fn broadcast_channels(c: &Tensor, dims: &[usize]) -> Result<Tensor> {
    const NAME: &str = "broadcast_channels";
    let (&[_, channels, ref rest @ ..], true) = (dims, c.rank() == 1) else {
        return Err(shape(NAME, "one value a channel", &[c]));
    };
    if c.dims() != [channels] {
        return Err(shape(NAME, format!("{channels} values"), &[c]));
    }
    let pixels: usize = rest.iter().product();
    dispatch!(NAME, c, T => {
        let c = Read::<T>::of(c, NAME)?;
        let c: &[T] = &c;
        let mut out = vec![0.0 as T; dims.iter().product()];
        let flops = out.len();
        tiles::fill(&mut out, tile(channels * pixels), flops, |_, tile| {
            for image in tile.chunks_exact_mut(channels * pixels) {
                for (plane, &c) in image.chunks_exact_mut(pixels).zip(c) {
                    plane.fill(c);
                }
            }
        });
        tensor(out, dims)
    })
}

/// Σ over samples and pixels of `x`: `[C]`, summed in f64.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is `[S, C, …]`.
pub fn sum_channels(x: &Tensor) -> Result<Tensor> {
    let sizes = planes("sum_channels", x)?;
    dispatch!("sum_channels", x, T => {
        let x = Read::<T>::of(x, "sum_channels")?;
        let x: &[T] = &x;
        let sums = if sizes[2] == 1 {
            rows(sizes, |at| x[at].to_f64())
        } else {
            columns(sizes, |_, plane| sum(&x[plane]))
        };
        rounded::<T>(&sums)
    })
}

/// Σ over samples and pixels of `x·y`: `[C]`, summed in f64.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` and `y` are `[S, C, …]` of one shape.
pub fn dot_channels(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    const NAME: &str = "dot_channels";
    let sizes = planes(NAME, x)?;
    if x.dims() != y.dims() {
        return Err(shape(NAME, "tensors of one shape", &[x, y]));
    }
    dispatch!(NAME, x, T => {
        let (x, y) = (Read::<T>::of(x, NAME)?, Read::<T>::of(y, NAME)?);
        let (x, y): (&[T], &[T]) = (&x, &y);
        let sums = if sizes[2] == 1 {
            rows(sizes, |at| x[at].to_f64() * y[at].to_f64())
        } else {
            columns(sizes, |_, plane| sum_of_products(&x[plane.clone()], &y[plane]))
        };
        rounded::<T>(&sums)
    })
}

/// Σ over samples of `value(index)` for each channel, where each sample has one value a channel.
fn rows([samples, channels, _]: [usize; 3], value: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for sample in 0..samples {
        for (channel, sum) in sums.iter_mut().enumerate() {
            *sum += value(sample * channels + channel);
        }
    }
    sums
}

/// Σ over samples of `value(channel, plane)` for each channel, where `plane` is the range of its pixels in a sample.
pub(super) fn columns<F>([samples, channels, pixels]: [usize; 3], value: F) -> Vec<f64>
where
    F: Fn(usize, std::ops::Range<usize>) -> f64 + Sync,
{
    tiles::map(channels, 2 * samples * channels * pixels, |channel| {
        let start = |sample: usize| (sample * channels + channel) * pixels;
        (0..samples).map(|sample| value(channel, start(sample)..start(sample) + pixels)).sum()
    })
}

/// Whole samples, about as many elements as an elementwise tile has.
pub(super) fn tile(sample: usize) -> usize {
    sample.max(1) * (tiles::ELEMENTS / sample.max(1)).max(1)
}

fn rounded<T: Real>(sums: &[f64]) -> Result<Tensor> {
    let values: Vec<T> = sums.iter().map(|&sum| T::from_f64(sum)).collect();
    tensor(values, &[sums.len()])
}

fn with_channels<T: Real>(
    operation: &'static str,
    x: &Tensor,
    c: &Tensor,
    f: impl Fn(T, T) -> T + Sync,
) -> Result<Tensor> {
    let [_, channels, pixels] = planes(operation, x)?;
    if c.dims() != [channels] {
        return Err(shape(operation, format!("{channels} values, one a channel"), &[x, c]));
    }
    let (values, c) = (Read::<T>::of(x, operation)?, Read::<T>::of(c, operation)?);
    let (values, c): (&[T], &[T]) = (&values, &c);
    let mut out = vec![T::zero(); values.len()];
    let length = tile(channels * pixels);
    tiles::fill(&mut out, length, values.len(), |index, tile| {
        let from = values[index * length..].chunks_exact(channels * pixels);
        for (to, from) in tile.chunks_exact_mut(channels * pixels).zip(from) {
            if pixels == 1 {
                to.iter_mut().zip(from).zip(c).for_each(|((to, &x), &c)| *to = f(x, c));
                continue;
            }
            for ((to, from), &c) in to.chunks_exact_mut(pixels).zip(from.chunks_exact(pixels)).zip(c) {
                to.iter_mut().zip(from).for_each(|(to, &x)| *to = f(x, c));
            }
        }
    });
    tensor(out, x.dims())
}
