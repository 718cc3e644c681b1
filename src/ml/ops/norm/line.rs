//! Derivatives of a normalised batch along a line, x + tx′ + ½t²x″ with weight and bias likewise, at t = 0.
//!
//! With r = (var + ε)^(−½), A = w·r, and x̂, x̂′, x̂″ less their means: y′ = Ax̂′ + A′x̂ + b′ and y″ = Ax̂″ + 2A′x̂′ + A″x̂ + b″, where
//! var′ = 2⟨x̂x̂′⟩, var″ = 2⟨x̂′² + x̂x̂″⟩, r′ = −½r³var′, r″ = ¾r⁵var′² − ½r³var″.

use std::ops::Range;

use crate::ml::tensor::Tensor;

use super::super::card;
use super::super::channels::{OverRows, tile};
use super::super::lanes::{self, Simd, WithSimd};
use super::super::tiles;
use super::{Constants, Known, Moments, Read, Real, Then, dispatch, in_dtype, in_f64, shape, shares, sizes};
use crate::ml::Result;
use crate::ml::ops::real::tensor;

/// First and second derivatives of what a batch norm is made of; `None` is zero.
#[derive(Clone, Copy, Debug)]
pub struct Along<'a> {
    /// x′, of the shape of x.
    pub first: &'a Tensor,
    /// x″, of the shape of x.
    pub second: Option<&'a Tensor>,
    /// w′ and w″, `[C]`.
    pub weight: [Option<&'a Tensor>; 2],
    /// b′ and b″, `[C]`.
    pub bias: [Option<&'a Tensor>; 2],
}

impl Along<'_> {
    /// That these are derivatives of a batch `x` of so many channels.
    pub(super) fn check(&self, operation: &'static str, x: &Tensor, channels: usize) -> Result<()> {
        let large = std::iter::once(self.first).chain(self.second);
        let small = || self.weight.into_iter().chain(self.bias).flatten();
        if large.clone().all(|t| t.dims() == x.dims()) && small().all(|t| t.dims() == [channels]) {
            return Ok(());
        }
        let found: Vec<&Tensor> = std::iter::once(x).chain(large).chain(small()).collect();
        Err(shape(operation, "a batch and derivatives of the shapes of what they are of", &found))
    }
}

/// What a line says about each channel, `[C]` in f64.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The mean of x′.
    pub(in crate::ml::ops) mean: Tensor,
    /// var′.
    pub(in crate::ml::ops) variance: Tensor,
}

/// y′ and, if `second` is asked for, y″ of `batch_norm(x, w, b, then)`, with what [`batch_norm_first_adjoint`](super::batch_norm_first_adjoint) needs. `moments` are those
/// of `x`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for derivatives of other shapes than what they are of, or moments of other channels; otherwise
/// those of [`batch_norm`](super::batch_norm).
pub fn batch_norm_line(
    x: &Tensor,
    [w, b]: [&Tensor; 2],
    along: Along<'_>,
    moments: &Moments,
    then: Then,
    second: bool,
) -> Result<(Tensor, Option<Tensor>, Lines)> {
    const NAME: &str = "batch_norm_line";
    let sizes @ [_, channels] = sizes(NAME, x, w, b)?;
    moments.check(NAME, channels)?;
    along.check(NAME, x, channels)?;
    dispatch!(NAME, x, T => {
        let locked = along.second.filter(|_| second).map(|t| Read::<T>::of(t, NAME)).transpose()?;
        let (x0, x1) = (Read::<T>::of(x, NAME)?, Read::<T>::of(along.first, NAME)?);
        let batch = Batch { x: &x0, first: &x1, second: locked.as_deref(), square: second };
        let (w, b) = (Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let moments = moments.read()?;
        let by = Constants::of(&moments, &w, &b, then);
        let w = in_f64::<T>(&w);
        let averages = averages(&batch, sizes, &moments);
        let value = |t: Option<&Tensor>| -> Result<Vec<f64>> {
            let Some(t) = t else { return Ok(vec![0.0; channels]) };
            Ok(in_f64::<T>(&Read::of(t, NAME)?))
        };
        let [w1, w2, b1, b2] = [value(along.weight[0])?, value(along.weight[1])?, value(along.bias[0])?, value(along.bias[1])?];
        let (mut slope, mut bend) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for c in 0..channels {
            let (r, w) = (moments.slope(c), w[c]);
            let (v1, v2) = (averages.first[c], averages.second[c]);
            let r1 = -0.5 * r.powi(3) * v1;
            let r2 = 0.75 * r.powi(5) * v1 * v1 - 0.5 * r.powi(3) * v2;
            slope.push(w1[c] * r + w * r1);
            bend.push(w2[c] * r + 2.0 * w1[c] * r1 + w * r2);
        }
        let by = &Derivatives {
            by,
            means: [in_dtype(&averages.means[0]), in_dtype(&averages.means[1])],
            slope: in_dtype(&slope),
            bend: in_dtype(&bend),
            bias: [in_dtype(&b1), in_dtype(&b2)],
        };
        let (length, flops) = (tile(channels), 12 * x0.len());
        let lines = Lines {
            mean: tensor(averages.means[0].clone(), &[channels])?,
            variance: tensor(averages.first, &[channels])?,
        };
        if second {
            let (y1, y2) = tiles::make_two(x0.len(), length, flops, |index, out, bent| {
                lanes::run(Derive { by, batch: batch.from(index * length), out, bent: Some(bent) });
            });
            return Ok((tensor(y1, x.dims())?, Some(tensor(y2, x.dims())?), lines));
        }
        let y1 = tiles::make(x0.len(), length, flops, |index, out| {
            lanes::run(Derive { by, batch: batch.from(index * length), out, bent: None });
        });
        Ok((tensor(y1, x.dims())?, None, lines))
    }, card => card::norm::line(NAME, [x, w, b], sizes, along, (moments, then), second))
}

/// A batch and its derivatives.
#[derive(Clone, Copy)]
struct Batch<'a, T> {
    x: &'a [T],
    first: &'a [T],
    second: Option<&'a [T]>,
    /// Whether ⟨x̂′²⟩ is asked for.
    square: bool,
}

impl<T> Batch<'_, T> {
    fn from(&self, at: usize) -> Self {
        Self { x: &self.x[at..], first: &self.first[at..], second: self.second.map(|t| &t[at..]), ..*self }
    }
}

/// What each channel averages to: the means of x′ and x″, var′ and var″.
struct Averages {
    means: [Vec<f64>; 2],
    first: Vec<f64>,
    second: Vec<f64>,
}

fn averages<T: Real>(batch: &Batch<'_, T>, sizes: [usize; 2], moments: &Known<'_>) -> Averages {
    let [count, channels] = sizes;
    let tiles = shares(sizes, &Products { batch, mean: &moments.mean });
    let zero = || vec![0.0; channels];
    let (mut means, mut first, mut second) = ([zero(), zero()], zero(), zero());
    for (rows, [_, m1, m2, ..]) in &tiles {
        for c in 0..channels {
            means[0][c] += m1[c] * (*rows as f64 / count as f64);
            means[1][c] += m2[c] * (*rows as f64 / count as f64);
        }
    }
    for (rows, [d, m1, m2, p1, q1, p2]) in &tiles {
        for c in 0..channels {
            let (off1, off2) = (m1[c] - means[0][c], m2[c] - means[1][c]);
            first[c] += 2.0 * (p1[c] + off1 * d[c]) / count as f64;
            second[c] += 2.0 * (q1[c] + off1 * off1 * *rows as f64 + p2[c] + off2 * d[c]) / count as f64;
        }
    }
    Averages { means, first, second }
}

/// Of some rows, with x less its mean over all: Σ x, the means of x′ and x″, and Σ xx′, Σ x′², Σ xx″ with x′ and x″ less those means.
struct Products<'a, T> {
    batch: &'a Batch<'a, T>,
    mean: &'a [f64],
}

impl<T: Real> OverRows<6> for Products<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [d, m1, m2, p1, q1, p2]: &mut [Vec<f64>; 6]) {
        let range = rows.start * channels..rows.end * channels;
        let (x, first) = (&self.batch.x[range.clone()], &self.batch.first[range.clone()]);
        let second = self.batch.second.map(|t| &t[range]);
        average(first, &mut m1[..channels]);
        if let Some(second) = second {
            average(second, &mut m2[..channels]);
        }
        let (mean, m1, m2) = (&self.mean[..channels], &m1[..channels], &m2[..channels]);
        let (d, p1) = (&mut d[..channels], &mut p1[..channels]);
        for (x, first) in x.chunks_exact(channels).zip(first.chunks_exact(channels)) {
            for c in 0..channels {
                let x = x[c].to_f64() - mean[c];
                d[c] += x;
                p1[c] += x * (first[c].to_f64() - m1[c]);
            }
        }
        let q1 = &mut q1[..channels];
        if self.batch.square {
            for first in first.chunks_exact(channels) {
                for c in 0..channels {
                    let first = first[c].to_f64() - m1[c];
                    q1[c] += first * first;
                }
            }
        }
        let p2 = &mut p2[..channels];
        for (x, second) in x.chunks_exact(channels).zip(second.unwrap_or_default().chunks_exact(channels)) {
            for c in 0..channels {
                p2[c] += (x[c].to_f64() - mean[c]) * (second[c].to_f64() - m2[c]);
            }
        }
    }
}

#[inline(always)]
fn average<T: Real>(values: &[T], mean: &mut [f64]) {
    let channels = mean.len();
    for row in values.chunks_exact(channels) {
        for c in 0..channels {
            mean[c] += row[c].to_f64();
        }
    }
    let rows = (values.len() / channels) as f64;
    for mean in mean {
        *mean /= rows;
    }
}

/// What the derivatives read of each channel.
struct Derivatives<T> {
    by: Constants<T>,
    means: [Vec<T>; 2],
    slope: Vec<T>,
    bend: Vec<T>,
    bias: [Vec<T>; 2],
}

/// Fills y′, and y″ if it is asked for.
struct Derive<'a, T> {
    by: &'a Derivatives<T>,
    batch: Batch<'a, T>,
    out: &'a mut [T],
    bent: Option<&'a mut [T]>,
}

impl<T: Real> WithSimd for Derive<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { by: Derivatives { by, means: [m1, m2], slope, bend, bias: [b1, b2] }, batch, out, bent } = self;
        let channels = by.mean.len();
        let (mean, scale) = (&by.mean[..], &by.scale[..channels]);
        let (m1, m2, b1, b2) = (&m1[..channels], &m2[..channels], &b1[..channels], &b2[..channels]);
        let (slope, bend) = (&slope[..channels], &bend[..channels]);
        let (two, gate) = (T::one() + T::one(), by.gate(channels));
        let rows = batch.x.chunks_exact(channels).zip(batch.first.chunks_exact(channels));
        let Some(bent) = bent else {
            for (out, (x, first)) in out.chunks_exact_mut(channels).zip(rows) {
                for c in 0..channels {
                    let y = scale[c] * (first[c] - m1[c]) + slope[c] * (x[c] - mean[c]) + b1[c];
                    out[c] = gate.pass(c, x[c], y);
                }
            }
            return;
        };
        let outs = out.chunks_exact_mut(channels).zip(bent.chunks_exact_mut(channels));
        for (row, ((out, bent), (x, first))) in outs.zip(rows).enumerate() {
            let second = batch.second.map(|second| &second[row * channels..][..channels]);
            for c in 0..channels {
                let (x0, x1) = (x[c] - mean[c], first[c] - m1[c]);
                let x2 = match second {
                    Some(second) => second[c] - m2[c],
                    None => T::zero(),
                };
                let y1 = scale[c] * x1 + slope[c] * x0 + b1[c];
                let y2 = scale[c] * x2 + two * slope[c] * x1 + bend[c] * x0 + b2[c];
                out[c] = gate.pass(c, x[c], y1);
                bent[c] = gate.pass(c, x[c], y2);
            }
        }
    }
}
