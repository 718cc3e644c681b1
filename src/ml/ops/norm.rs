//! Batch normalisation over `[S, C, …]` in training mode, forward and backward in one pass each
//! (Ioffe and Szegedy 2015): y = w·(x − mean)/√(var + ε) + b, with the biased variance of the batch itself.

use std::sync::Arc;

use candle_core::{Tensor, WithDType};

use super::channels::{columns, planes, tile};
use super::real::{Read, Real, dispatch, shape, tensor};
use super::reduce::sum;
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

/// That a batch `[S, C, …]` has more than one value a channel, without which its variance says nothing.
///
/// # Errors
/// [`Error::Setting`] if it has not.
pub fn check(x: &Tensor) -> Result<()> {
    let [samples, _, pixels] = planes("batch_norm", x)?;
    if samples * pixels > 1 {
        return Ok(());
    }
    let dims = x.dims();
    Err(Error::Setting(format!(
        "batch norm over one value a channel (its input is {dims:?}); use larger chunks, or batches that leave no single sample over"
    )))
}

/// Mean and biased variance of each channel of `x`, `[S, C, …]`, in f64.
///
/// # Errors
/// [`Error::Setting`] for one value a channel; a dtype or device without kernel.
pub fn moments(x: &Tensor) -> Result<Moments> {
    check(x)?;
    let sizes = planes("batch_norm", x)?;
    dispatch!("batch_norm", x, T => Ok(moments_of::<T>(&Read::of(x, "batch_norm")?, sizes)))
}

/// The normalised batch, and the moments that [`batch_norm_adjoint`] needs. `w` and `b` are `[C]`.
///
/// # Errors
/// [`Error::Shape`] unless `w` and `b` have one value a channel; [`Error::Setting`] for one value a channel.
pub fn batch_norm(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<(Tensor, Arc<Moments>)> {
    const NAME: &str = "batch_norm";
    check(x)?;
    let sizes @ [_, channels, pixels] = planes(NAME, x)?;
    if w.dims() != [channels] || b.dims() != [channels] {
        return Err(shape(NAME, format!("{channels} weights and biases, one a channel"), &[x, w, b]));
    }
    dispatch!(NAME, x, T => {
        let (values, w, b) = (Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let (values, w, b): (&[T], &[T], &[T]) = (&values, &w, &b);
        let moments = moments_of(values, sizes);
        let scale: Vec<T> = (0..channels).map(|c| <T as WithDType>::from_f64(slope(&moments, c))).collect();
        let mean: Vec<T> = moments.mean.iter().map(|&mean| <T as WithDType>::from_f64(mean)).collect();
        let mut out = vec![0.0 as T; values.len()];
        let length = tile(channels * pixels);
        tiles::fill(&mut out, length, 4 * values.len(), |index, tile| {
            let from = values[index * length..].chunks_exact(pixels);
            for (plane, (to, from)) in tile.chunks_exact_mut(pixels).zip(from).enumerate() {
                let c = plane % channels;
                let (mean, scale, bias) = (mean[c], scale[c] * w[c], b[c]);
                to.iter_mut().zip(from).for_each(|(to, &x)| *to = (x - mean) * scale + bias);
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
    let sizes @ [samples, channels, pixels] = planes(NAME, x)?;
    if g.dims() != x.dims() {
        return Err(shape(NAME, "tensors of one shape", &[g, x]));
    }
    dispatch!(NAME, x, T => {
        let (grads, values, w) = (Read::<T>::of(g, NAME)?, Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?);
        let (grads, values, w): (&[T], &[T], &[T]) = (&grads, &values, &w);
        let bias = columns(sizes, |_, plane| sum(&grads[plane]));
        let weight = columns(sizes, |c, plane| {
            let pairs = grads[plane.clone()].iter().zip(&values[plane]);
            pairs.map(|(&g, &x)| g.to_f64() * (x.to_f64() - moments.mean[c])).sum::<f64>() * slope(moments, c)
        });
        let count = (samples * pixels) as f64;
        let round = <T as WithDType>::from_f64;
        let terms: Vec<[T; 4]> = (0..channels)
            .map(|c| {
                let r = slope(moments, c);
                [round(moments.mean[c]), round(w[c].to_f64() * r), round(bias[c] / count), round(weight[c] * r / count)]
            })
            .collect();
        let mut out = vec![0.0 as T; values.len()];
        let length = tile(channels * pixels);
        tiles::fill(&mut out, length, 6 * values.len(), |index, tile| {
            let at = index * length;
            let from = grads[at..].chunks_exact(pixels).zip(values[at..].chunks_exact(pixels));
            for (plane, (to, (g, x))) in tile.chunks_exact_mut(pixels).zip(from).enumerate() {
                let [mean, scale, shift, pull] = terms[plane % channels];
                for ((to, &g), &x) in to.iter_mut().zip(g).zip(x) {
                    *to = scale * (g - shift - (x - mean) * pull);
                }
            }
        });
        let channel = |sums: &[f64]| tensor(sums.iter().map(|&sum| round(sum)).collect::<Vec<T>>(), &[channels]);
        Ok([tensor(out, x.dims())?, channel(&weight)?, channel(&bias)?])
    })
}

/// 1/√(var + ε) of one channel.
fn slope(moments: &Moments, channel: usize) -> f64 {
    1.0 / (moments.variance[channel] + EPSILON).sqrt()
}

fn moments_of<T: Real>(values: &[T], sizes: [usize; 3]) -> Moments {
    let count = sizes[0] * sizes[2];
    let mean: Vec<f64> = columns(sizes, |_, plane| sum(&values[plane])).iter().map(|sum| sum / count as f64).collect();
    let squares = columns(sizes, |c, plane| values[plane].iter().map(|x| (x.to_f64() - mean[c]).powi(2)).sum());
    let variance = squares.iter().map(|sum| sum / count as f64).collect();
    Moments { mean, variance, count }
}
