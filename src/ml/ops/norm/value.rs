//! The normalised batch, and the adjoint.

use std::ops::Range;
use std::sync::Arc;

use crate::ml::tensor::Tensor;

use super::super::card;
use super::super::channels::{OverRows, TOGETHER, four, rounded, sums, tile};
use super::super::lanes::{self, Simd, WithSimd};
use super::super::tiles::{self, Room};
use super::{Constants, Moments, Read, Real, Then, dispatch, in_dtype, in_f64, shape, shares, sizes};
use crate::ml::Result;
use crate::ml::ops::real::tensor;

/// The normalised batch, and the moments that [`batch_norm_adjoint`] needs. `w` and `b` are `[C]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `w` and `b` have one value a channel; [`Error::Setting`](crate::ml::Error::Setting)
/// for one value a channel.
#[expect(unsafe_code, reason = "memory is written once")]
pub fn batch_norm(x: &Tensor, w: &Tensor, b: &Tensor, then: Then) -> Result<(Tensor, Arc<Moments>)> {
    const NAME: &str = "batch_norm";
    let sizes @ [_, channels] = sizes(NAME, x, w, b)?;
    dispatch!(NAME, x, T => {
        let (values, w, b) = (Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let values: &[T] = &values;
        let moments = moments_of(values, sizes)?;
        let by = &Constants::of(&moments.read()?, &w, &b, then);
        let length = tile(channels);
        let fill = |index: usize, out: Room<'_, T>| lanes::run(Normalise { by, x: &values[index * length..], out });
        // SAFETY: tiles are whole rows, and from the tile's start on the batch has a row for each of them.
        let out = unsafe { tiles::make_raw(values.len(), length, 4 * values.len(), fill) };
        Ok((tensor(out, x.dims())?, Arc::new(moments)))
    }, card => card::norm::batch_norm(NAME, [x, w, b], sizes, then))
}

struct Normalise<'a, T> {
    by: &'a Constants<T>,
    x: &'a [T],
    out: Room<'a, T>,
}

impl<T: Real> WithSimd for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.by.mean.len();
        let (mean, scale, bias) = (&self.by.mean[..], &self.by.scale[..channels], &self.by.bias[..channels]);
        let relu = self.by.then == Then::Relu;
        for (out, x) in self.out.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels)) {
            for c in 0..channels {
                let y = (x[c] - mean[c]) * scale[c] + bias[c];
                out[c].write(if relu & (y <= T::zero()) { T::zero() } else { y });
            }
        }
    }
}

/// The gradients of ⟨g, `batch_norm(x, w, b, then)`⟩ with respect to x, w and b.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `g` has the shape of `x` and the moments are of as many channels; otherwise those of
/// [`batch_norm`].
#[expect(unsafe_code, reason = "memory is written once")]
pub fn batch_norm_adjoint(
    g: &Tensor,
    x: &Tensor,
    [w, b]: [&Tensor; 2],
    moments: &Moments,
    then: Then,
) -> Result<[Tensor; 3]> {
    const NAME: &str = "batch_norm_adjoint";
    let sizes @ [count, channels] = sizes(NAME, x, w, b)?;
    moments.check(NAME, channels)?;
    if g.dims() != x.dims() {
        return Err(shape(NAME, "tensors of one shape", &[g, x]));
    }
    dispatch!(NAME, x, T => {
        let (grads, values) = (Read::<T>::of(g, NAME)?, Read::<T>::of(x, NAME)?);
        let (w, b) = (Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let (grads, values): (&[T], &[T]) = (&grads, &values);
        let moments = moments.read()?;
        let by = &Constants::of(&moments, &w, &b, then);
        let [bias, pull] = sums(sizes, &Pull { by, g: grads, x: values, mean: &moments.mean });
        let weight: Vec<f64> = (0..channels).map(|c| pull[c] * moments.slope(c)).collect();
        let shift: Vec<f64> = bias.iter().map(|bias| bias / count as f64).collect();
        let pull: Vec<f64> = (0..channels).map(|c| weight[c] * moments.slope(c) / count as f64).collect();
        let (shift, pull) = (&in_dtype(&shift)[..], &in_dtype(&pull)[..]);
        let length = tile(channels);
        let fill = |index: usize, out: Room<'_, T>| {
            let at = index * length;
            lanes::run(Adjoint { by, g: &grads[at..], x: &values[at..], shift, pull, out });
        };
        // SAFETY: tiles are whole rows, and from the tile's start on batch and gradient have a row for each of them.
        let out = unsafe { tiles::make_raw(values.len(), length, 6 * values.len(), fill) };
        Ok([tensor(out, x.dims())?, rounded::<T>(&weight)?, rounded::<T>(&bias)?])
    }, card => card::norm::adjoint(NAME, [g, x, w, b], sizes, moments, then))
}

/// Σ g and Σ g·(x − mean).
struct Pull<'a, T> {
    by: &'a Constants<T>,
    g: &'a [T],
    x: &'a [T],
    mean: &'a [f64],
}

impl<T: Real> OverRows<2> for Pull<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [bias, pull]: &mut [Vec<f64>; 2]) {
        let range = rows.start * channels..rows.end * channels;
        let (bias, pull, mean) = (&mut bias[..channels], &mut pull[..channels], &self.mean[..channels]);
        let gate = self.by.gate(channels);
        let (g, x) = (&self.g[range.clone()], &self.x[range]);
        let (mut pairs, mut others) = (g.chunks_exact(2 * channels), x.chunks_exact(2 * channels));
        for (g, x) in (&mut pairs).zip(&mut others) {
            let ((g, h), (x, y)) = (g.split_at(channels), x.split_at(channels));
            let (g, h, x, y) = (&g[..channels], &h[..channels], &x[..channels], &y[..channels]);
            for c in 0..channels {
                let (g, h) = (gate.pass(c, x[c], g[c]).to_f64(), gate.pass(c, y[c], h[c]).to_f64());
                bias[c] += g + h;
                pull[c] += g * (x[c].to_f64() - mean[c]) + h * (y[c].to_f64() - mean[c]);
            }
        }
        for (g, x) in pairs.remainder().chunks_exact(channels).zip(others.remainder().chunks_exact(channels)) {
            for c in 0..channels {
                let g = gate.pass(c, x[c], g[c]).to_f64();
                bias[c] += g;
                pull[c] += g * (x[c].to_f64() - mean[c]);
            }
        }
    }
}

struct Adjoint<'a, T> {
    by: &'a Constants<T>,
    g: &'a [T],
    x: &'a [T],
    shift: &'a [T],
    pull: &'a [T],
    out: Room<'a, T>,
}

impl<T: Real> WithSimd for Adjoint<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.by.mean.len();
        let (mean, scale) = (&self.by.mean[..], &self.by.scale[..channels]);
        let (shift, pull) = (&self.shift[..channels], &self.pull[..channels]);
        let gate = self.by.gate(channels);
        let from = self.g.chunks_exact(channels).zip(self.x.chunks_exact(channels));
        for (out, (g, x)) in self.out.chunks_exact_mut(channels).zip(from) {
            for c in 0..channels {
                let g = gate.pass(c, x[c], g[c]);
                out[c].write(scale[c] * (g - shift[c] - (x[c] - mean[c]) * pull[c]));
            }
        }
    }
}

/// Mean and biased variance of each channel: of each tile of rows by itself, put together in order (Chan, Golub and `LeVeque` 1983).
pub(super) fn moments_of<T: Real>(values: &[T], sizes: [usize; 2]) -> Result<Moments> {
    let channels = sizes[1];
    let (mut mean, mut squares, mut count) = (vec![0.0; channels], vec![0.0; channels], 0);
    for (rows, [own_mean, own_squares]) in shares(sizes, &Spread(values)) {
        let share = rows as f64 / (count + rows) as f64;
        for c in 0..channels {
            let distance = own_mean[c] - mean[c];
            mean[c] += distance * share;
            squares[c] += own_squares[c] + distance * distance * share * count as f64;
        }
        count += rows;
    }
    let variance = squares.into_iter().map(|sum: f64| sum / count as f64).collect();
    Ok(Moments { mean: tensor(mean, &[channels])?, variance: tensor(variance, &[channels])?, count })
}

/// The mean of some rows, and Σ (x − mean)²: in one pass over x less its first row, which is near enough to the mean for no digit of the
/// difference of sums to be lost in f64 (Chan, Golub and `LeVeque` 1983).
struct Spread<'a, T>(&'a [T]);

impl<T: Real> OverRows<2> for Spread<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [mean, squares]: &mut [Vec<f64>; 2]) {
        let values = &self.0[rows.start * channels..rows.end * channels];
        let (mean, squares) = (&mut mean[..channels], &mut squares[..channels]);
        let near = in_f64(&values[..channels]);
        let near = &near[..channels];
        let mut groups = values.chunks_exact(TOGETHER * channels);
        for group in &mut groups {
            let [a, b, c, d] = four(group, channels);
            for k in 0..channels {
                let [a, b, c, d] = [a[k], b[k], c[k], d[k]].map(|x| x.to_f64() - near[k]);
                mean[k] += (a + b) + (c + d);
                squares[k] += (a * a + b * b) + (c * c + d * d);
            }
        }
        for row in groups.remainder().chunks_exact(channels) {
            for k in 0..channels {
                let distance = row[k].to_f64() - near[k];
                mean[k] += distance;
                squares[k] += distance * distance;
            }
        }
        let share = 1.0 / rows.len() as f64;
        for k in 0..channels {
            squares[k] -= mean[k] * mean[k] * share;
            mean[k] = near[k] + mean[k] * share;
        }
    }
}
