//! Sums and products per channel of `[…, C]`: what a bias and a batch norm are made of. Broadcast and sum are each
//! other's adjoint, and so the set is closed under differentiation.

use std::ops::Range;

use crate::ml::tensor::Tensor;

use super::card;
use super::elementwise::{AddScaled, OfTwo, Product};
use super::lanes::{self, Simd, WithSimd};
use super::real::{Read, Real, dispatch, elements, shape, tensor};
use super::tiles::{self, ELEMENTS, Room};
use crate::ml::Result;

/// Rows that are summed by one tile, at least: its sums, one a channel, must be few beside them.
const ROWS: usize = 64;

/// Elements that a loop over channels should have at least.
pub(super) const WIDE: usize = 64;

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
    dispatch!("add_channels", x, T => with_channels::<T>("add_channels", x, b, AddScaled::new(1.0)), card => on_card("add_channels", x, b))
}

/// `c·x`, where `c`, `[C]`, is the same for every sample and pixel.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `c` has one value a channel of `x`.
pub fn mul_channels(x: &Tensor, c: &Tensor) -> Result<Tensor> {
    dispatch!("mul_channels", x, T => with_channels::<T>("mul_channels", x, c, Product::new()), card => on_card("mul_channels", x, c))
}

/// `c`, `[C]`, repeated to `dims`, `[…, C]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `c` has one value a channel of `dims`, or for more elements than memory holds.
pub fn broadcast_channels(c: &Tensor, dims: &[usize]) -> Result<Tensor> {
    const NAME: &str = "broadcast_channels";
    let fits = c.rank() == 1 && dims.last() == c.dims().first();
    let Some(count) = elements(dims).filter(|_| fits) else {
        return Err(shape(NAME, format!("one value a channel of {dims:?}"), &[c]));
    };
    dispatch!(NAME, c, T => {
        let c = Read::<T>::of(c, NAME)?;
        let c: &[T] = &c;
        let out = tiles::make(count, tile(c.len()), count, |_, tile| {
            tile.chunks_exact_mut(c.len()).for_each(|row| row.copy_from_slice(c));
        });
        tensor(out, dims)
    }, card => card::channels::broadcast(NAME, c, dims))
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
        let [total] = sums(sizes, &Values(&x));
        rounded::<T>(&total)
    }, card => card::channels::dot(NAME, x, None))
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
        let [total] = sums(sizes, &Products(&x, &y));
        rounded::<T>(&total)
    }, card => card::channels::dot(NAME, x, Some(y)))
}

/// What is summed over the rows of `[rows, C]`: `N` sums a channel.
pub(super) trait OverRows<const N: usize>: Sync {
    /// Adds the rows in this range, which are `channels` elements each, to sums that are zero.
    fn add(&self, rows: Range<usize>, channels: usize, sums: &mut [Vec<f64>; N]);
}

struct Values<'a, T>(&'a [T]);

impl<T: Real> OverRows<1> for Values<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [sums]: &mut [Vec<f64>; 1]) {
        let sums = &mut sums[..channels];
        let mut groups = self.0[rows.start * channels..rows.end * channels].chunks_exact(TOGETHER * channels);
        for group in &mut groups {
            let [a, b, c, d] = four(group, channels);
            for k in 0..channels {
                sums[k] += (a[k].to_f64() + b[k].to_f64()) + (c[k].to_f64() + d[k].to_f64());
            }
        }
        for row in groups.remainder().chunks_exact(channels) {
            for k in 0..channels {
                sums[k] += row[k].to_f64();
            }
        }
    }
}

/// Rows that are added up before their sum is added to the rest, so that sums need not wait for each other.
pub(super) const TOGETHER: usize = 4;

/// [`TOGETHER`] rows.
#[inline(always)]
pub(super) fn four<T>(group: &[T], channels: usize) -> [&[T]; TOGETHER] {
    let (a, rest) = group.split_at(channels);
    let (b, rest) = rest.split_at(channels);
    let (c, d) = rest.split_at(channels);
    [a, b, c, &d[..channels]]
}

struct Products<'a, T>(&'a [T], &'a [T]);

impl<T: Real> OverRows<1> for Products<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [sums]: &mut [Vec<f64>; 1]) {
        let range = rows.start * channels..rows.end * channels;
        let pairs = self.0[range.clone()].chunks_exact(channels).zip(self.1[range].chunks_exact(channels));
        for (x, y) in pairs {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum += x.to_f64() * y.to_f64();
            }
        }
    }
}

/// One tile's sums.
struct Share<'a, R, const N: usize> {
    of: &'a R,
    rows: Range<usize>,
    channels: usize,
}

impl<R: OverRows<N>, const N: usize> WithSimd for Share<'_, R, N> {
    type Output = [Vec<f64>; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let mut sums = [(); N].map(|()| vec![0.0; self.channels]);
        self.of.add(self.rows, self.channels, &mut sums);
        sums
    }
}

/// The sums of each tile of rows, in order, with how many rows it has.
pub(super) fn shares<const N: usize>(
    [rows, channels]: [usize; 2],
    of: &impl OverRows<N>,
) -> Vec<(usize, [Vec<f64>; N])> {
    let share = (ELEMENTS / channels).max(ROWS);
    tiles::map(rows.div_ceil(share), 2 * N * rows * channels, |index| {
        let rows = index * share..rows.min((index + 1) * share);
        (rows.len(), lanes::run(Share { of, rows, channels }))
    })
}

/// Sums over all rows: tiles of rows are summed in order, and so are their sums.
pub(super) fn sums<const N: usize>(sizes: [usize; 2], of: &impl OverRows<N>) -> [Vec<f64>; N] {
    let mut total = [(); N].map(|()| vec![0.0; sizes[1]]);
    for (_, partial) in shares(sizes, of) {
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

/// Sums as a tensor `[C]`.
pub(super) fn rounded<T: Real>(sums: &[f64]) -> Result<Tensor> {
    let values: Vec<T> = sums.iter().map(|&sum| T::from_f64(sum)).collect();
    tensor(values, &[sums.len()])
}

/// `out = f(x, c)`, row by row.
struct Rows<'a, T, F> {
    f: F,
    x: &'a [T],
    /// One value a channel, or that several times over: a few rows at a time.
    c: &'a [T],
    out: Room<'a, T>,
}

impl<T: Real, F: OfTwo<T>> WithSimd for Rows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let length = self.c.len();
        for (out, x) in self.out.chunks_mut(length).zip(self.x.chunks(length)) {
            for ((out, &x), &c) in out.iter_mut().zip(x).zip(self.c) {
                out.write(self.f.of(x, c));
            }
        }
    }
}

/// That `c` has one value a channel of `x`; the number of channels.
fn one_a_channel(operation: &'static str, x: &Tensor, c: &Tensor) -> Result<usize> {
    let [_, channels] = rows(operation, x)?;
    if c.dims() != [channels] {
        return Err(shape(operation, format!("{channels} values, one a channel"), &[x, c]));
    }
    Ok(channels)
}

fn on_card(operation: &'static str, x: &Tensor, c: &Tensor) -> Result<Tensor> {
    one_a_channel(operation, x, c)?;
    card::channels::with_channels(operation, x, c)
}

#[expect(unsafe_code, reason = "memory is written once")]
fn with_channels<T: Real>(operation: &'static str, x: &Tensor, c: &Tensor, f: impl OfTwo<T>) -> Result<Tensor> {
    let channels = one_a_channel(operation, x, c)?;
    let (values, c) = (Read::<T>::of(x, operation)?, Read::<T>::of(c, operation)?);
    let (values, c): (&[T], &[T]) = (&values, &c.repeat(WIDE.div_ceil(channels)));
    let length = tile(channels);
    let fill = |index: usize, out: Room<'_, T>| lanes::run(Rows { f, x: &values[index * length..], c, out });
    // SAFETY: tiles are whole rows, and from the tile's start on `values` has a row for each of them.
    let out = unsafe { tiles::make_raw(values.len(), length, values.len(), fill) };
    tensor(out, x.dims())
}
