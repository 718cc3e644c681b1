//! Batch normalisation over `[…, C]` in training mode, forward and backward in one pass each
//! (Ioffe and Szegedy 2015): y = w·(x − mean)/√(var + ε) + b, with the biased variance of the batch itself.

use std::sync::Arc;

use candle_core::{Tensor, WithDType};

use super::channels::{rows, sums, tile};
use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles;
use crate::ml::{Error, Result};

/// ε, as PyTorch's default.
pub const EPSILON: f64 = 1e-5;

/// What a batch says about each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The biased variance of each channel.
    pub variance: Vec<f64>,
    /// How many values of a channel they were taken over.
    pub count: usize,
}

/// That a batch `[…, C]` has more than one value a channel, without which its variance says nothing.
///
/// # Errors
/// [`Error::Setting`] if it has not.
pub fn check(x: &Tensor) -> Result<()> {
    let [rows, _] = rows("batch_norm", x)?;
    if rows > 1 {
        return Ok(());
    }
    let dims = x.dims();
    Err(Error::Setting(format!(
        "batch norm over one value a channel (its input is {dims:?}); use larger chunks, or batches that leave no single sample over"
    )))
}

/// Mean and biased variance of each channel of `x`, `[…, C]`, in f64.
///
/// # Errors
/// [`Error::Setting`] for one value a channel; a dtype or device without kernel.
pub fn moments(x: &Tensor) -> Result<Moments> {
    check(x)?;
    let sizes = rows("batch_norm", x)?;
    dispatch!("batch_norm", x, T => Ok(moments_of::<T>(&Read::of(x, "batch_norm")?, sizes)))
}

/// The normalised batch, and the moments that [`batch_norm_adjoint`] needs. `w` and `b` are `[C]`.
///
/// # Errors
/// [`Error::Shape`] unless `w` and `b` have one value a channel; [`Error::Setting`] for one value a channel.
pub fn batch_norm(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<(Tensor, Arc<Moments>)> {
    const NAME: &str = "batch_norm";
    check(x)?;
    let sizes @ [_, channels] = rows(NAME, x)?;
    if w.dims() != [channels] || b.dims() != [channels] {
        return Err(shape(NAME, format!("{channels} weights and biases, one a channel"), &[x, w, b]));
    }
    dispatch!(NAME, x, T => {
        let (values, w, b) = (Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let (values, w, b): (&[T], &[T], &[T]) = (&values, &w, &b);
        let moments = moments_of(values, sizes);
        let mean: Vec<T> = moments.mean.iter().map(|&mean| <T as WithDType>::from_f64(mean)).collect();
        let scale: Vec<T> = (0..channels).map(|c| <T as WithDType>::from_f64(slope(&moments, c)) * w[c]).collect();
        let (mean, scale) = (&mean[..], &scale[..]);
        let mut out = vec![0.0 as T; values.len()];
        let length = tile(channels);
        tiles::fill(&mut out, length, 4 * values.len(), |index, tile| {
            let from = values[index * length..].chunks_exact(channels);
            for (to, from) in tile.chunks_exact_mut(channels).zip(from) {
                let (to, from) = (&mut to[..channels], &from[..channels]);
                for c in 0..channels {
                    to[c] = (from[c] - mean[c]) * scale[c] + b[c];
                }
            }
        });
        Ok((tensor(out, x.dims())?, Arc::new(moments)))
    })
}

/// The gradients of ⟨g, `batch_norm(x, w, b)`⟩ with respect to x, w and b.
///
/// # Errors
/// [`Error::Shape`] unless `g` has the shape of `x`.
pub fn batch_norm_adjoint(g: &Tensor, x: &Tensor, w: &Tensor, moments: &Moments) -> Result<[Tensor; 3]> {
    const NAME: &str = "batch_norm_adjoint";
    let sizes @ [count, channels] = rows(NAME, x)?;
    if g.dims() != x.dims() {
        return Err(shape(NAME, "tensors of one shape", &[g, x]));
    }
    dispatch!(NAME, x, T => {
        let (grads, values, w) = (Read::<T>::of(g, NAME)?, Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?);
        let (grads, values, w): (&[T], &[T], &[T]) = (&grads, &values, &w);
        let means = &moments.mean[..];
        let [bias, pull] = sums(sizes, |row, [bias, pull]: [&mut [f64]; 2]| {
            let (g, x) = (&grads[row.clone()], &values[row]);
            for c in 0..channels {
                let g = g[c].to_f64();
                bias[c] += g;
                pull[c] += g * (x[c].to_f64() - means[c]);
            }
        });
        let weight: Vec<f64> = (0..channels).map(|c| pull[c] * slope(moments, c)).collect();
        let round = |value: &dyn Fn(usize) -> f64| -> Vec<T> {
            (0..channels).map(|c| <T as WithDType>::from_f64(value(c))).collect()
        };
        let mean = round(&|c| means[c]);
        let scale = round(&|c| w[c].to_f64() * slope(moments, c));
        let shift = round(&|c| bias[c] / count as f64);
        let pull = round(&|c| weight[c] * slope(moments, c) / count as f64);
        let mut out = vec![0.0 as T; values.len()];
        let length = tile(channels);
        tiles::fill(&mut out, length, 6 * values.len(), |index, tile| {
            let at = index * length;
            let from = grads[at..].chunks_exact(channels).zip(values[at..].chunks_exact(channels));
            for (to, (g, x)) in tile.chunks_exact_mut(channels).zip(from) {
                let (to, g, x) = (&mut to[..channels], &g[..channels], &x[..channels]);
                for c in 0..channels {
                    to[c] = scale[c] * (g[c] - shift[c] - (x[c] - mean[c]) * pull[c]);
                }
            }
        });
        Ok([tensor(out, x.dims())?, tensor(round(&|c| weight[c]), &[channels])?, tensor(round(&|c| bias[c]), &[channels])?])
    })
}

/// 1/√(var + ε) of one channel.
fn slope(moments: &Moments, channel: usize) -> f64 {
    1.0 / (moments.variance[channel] + EPSILON).sqrt()
}

fn moments_of<T: Real>(values: &[T], sizes: [usize; 2]) -> Moments {
    let count = sizes[0];
    let [mut mean] = sums(sizes, |row, [sums]: [&mut [f64]; 1]| {
        sums.iter_mut().zip(&values[row]).for_each(|(sum, x)| *sum += x.to_f64());
    });
    for sum in &mut mean {
        *sum /= count as f64;
    }
    let centre = &mean[..];
    let [mut variance] = sums(sizes, |row, [squares]: [&mut [f64]; 1]| {
        for ((square, x), mean) in squares.iter_mut().zip(&values[row]).zip(centre) {
            let distance = x.to_f64() - mean;
            *square += distance * distance;
        }
    });
    for sum in &mut variance {
        *sum /= count as f64;
    }
    Moments { mean, variance, count }
}
