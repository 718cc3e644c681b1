//! Sums and products per channel of `[…, C]`: what a bias and a batch norm are made of. Broadcast and sum are each
//! other's adjoint, and so the set is closed under differentiation.

use candle_core::{Tensor, WithDType};

use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// `[rows, channels]` of a tensor `[…, C]`.
pub(super) fn rows(operation: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    match x.dims() {
        [rest @ .., channels] if !rest.is_empty() && *channels > 0 => Ok([rest.iter().product(), *channels]),
        _ => Err(shape(operation, "samples and channels, `[…, C]`", &[x])),
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

/// `c`, `[C]`, repeated to `dims`, `[…, C]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `c` has one value a channel of `dims`.
pub fn broadcast_channels(c: &Tensor, dims: &[usize]) -> Result<Tensor> {
    const NAME: &str = "broadcast_channels";
    if dims.last() != c.dims().first() || c.rank() != 1 {
        return Err(shape(NAME, format!("one value a channel of {dims:?}"), &[c]));
    }
    dispatch!(NAME, c, T => {
        let c = Read::<T>::of(c, NAME)?;
        let c: &[T] = &c;
        let mut out = vec![0.0 as T; dims.iter().product()];
        let flops = out.len();
        tiles::fill(&mut out, tile(c.len()), flops, |_, tile| {
            tile.chunks_exact_mut(c.len()).for_each(|row| row.copy_from_slice(c));
        });
        tensor(out, dims)
    })
}

/// Σ over samples and pixels of `x`: `[C]`, summed in f64.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is `[…, C]`.
pub fn sum_channels(x: &Tensor) -> Result<Tensor> {
    const NAME: &str = "sum_channels";
    let sizes = rows(NAME, x)?;
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let [sums] = sums(sizes, |row, [sums]: [&mut [f64]; 1]| {
            sums.iter_mut().zip(&x[row]).for_each(|(sum, x)| *sum += x.to_f64());
        });
        rounded::<T>(&sums)
    })
}

/// Σ over samples and pixels of `x·y`: `[C]`, summed in f64.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` and `y` are `[…, C]` of one shape.
pub fn dot_channels(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    const NAME: &str = "dot_channels";
    let sizes = rows(NAME, x)?;
    if x.dims() != y.dims() {
        return Err(shape(NAME, "tensors of one shape", &[x, y]));
    }
    dispatch!(NAME, x, T => {
        let (x, y) = (Read::<T>::of(x, NAME)?, Read::<T>::of(y, NAME)?);
        let (x, y): (&[T], &[T]) = (&x, &y);
        let [sums] = sums(sizes, |row, [sums]: [&mut [f64]; 1]| {
            let pairs = x[row.clone()].iter().zip(&y[row]);
            sums.iter_mut().zip(pairs).for_each(|(sum, (x, y))| *sum += x.to_f64() * y.to_f64());
        });
        rounded::<T>(&sums)
    })
}

/// Several sums a channel at once, each over all rows: `add` adds one row, given by its range, to each of them. Tiles of rows are
/// summed in order, and so are their sums.
pub(super) fn sums<const N: usize, F>([rows, channels]: [usize; 2], add: F) -> [Vec<f64>; N]
where
    F: Fn(std::ops::Range<usize>, [&mut [f64]; N]) + Sync,
{
    let share = (ELEMENTS / channels).max(1);
    let partials = tiles::map(rows.div_ceil(share), 2 * N * rows * channels, |index| {
        let mut sums = [(); N].map(|()| vec![0.0; channels]);
        for row in index * share..rows.min((index + 1) * share) {
            add(row * channels..(row + 1) * channels, sums.each_mut().map(|sums| &mut sums[..]));
        }
        sums
    });
    let mut total = [(); N].map(|()| vec![0.0; channels]);
    for partial in partials {
        for (total, partial) in total.iter_mut().zip(partial) {
            total.iter_mut().zip(partial).for_each(|(total, partial)| *total += partial);
        }
    }
    total
}

/// Whole rows, about as many elements as an elementwise tile has.
pub(super) fn tile(row: usize) -> usize {
    row.max(1) * (ELEMENTS / row.max(1)).max(1)
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
    let [_, channels] = rows(operation, x)?;
    if c.dims() != [channels] {
        return Err(shape(operation, format!("{channels} values, one a channel"), &[x, c]));
    }
    let (values, c) = (Read::<T>::of(x, operation)?, Read::<T>::of(c, operation)?);
    let (values, c): (&[T], &[T]) = (&values, &c);
    let mut out = vec![T::zero(); values.len()];
    let length = tile(channels);
    tiles::fill(&mut out, length, values.len(), |index, tile| {
        let from = values[index * length..].chunks_exact(channels);
        for (to, from) in tile.chunks_exact_mut(channels).zip(from) {
            to.iter_mut().zip(from).zip(c).for_each(|((to, &x), &c)| *to = f(x, c));
        }
    });
    tensor(out, x.dims())
}
