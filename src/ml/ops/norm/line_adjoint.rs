//! The adjoint of a normalised batch's first derivative along a line.
//!
//! With the letters of `line` and n values a channel: ⟨h, y′⟩ has the gradients Bĥ − (r³/n)(ρx̂ + wβx̂′) in x and Aĥ − (r³/n)wβx̂ in x′, where ĥ
//! is h less its mean, B = A′, β = Σ hx̂, and ρ = wΣ hx̂′ + w′β − (3/2)r²var′wβ is the gradient in r.

use std::ops::Range;

use crate::ml::tensor::Tensor;

use super::super::card;
use super::super::channels::{OverRows, rounded, sums, tile};
use super::super::lanes::{self, Simd, WithSimd};
use super::super::tiles;
use super::line::{Along, Lines};
use super::{Constants, Moments, Read, Real, Then, dispatch, fit, in_dtype, in_f64, shape, sizes};
use crate::ml::Result;
use crate::ml::ops::real::tensor;

/// The gradients of ⟨h, y′⟩ with respect to x, x′, w, w′ and b′, where y′ is that of [`batch_norm_line`](super::batch_norm_line).
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `h` has the shape of `x`; otherwise those of [`batch_norm_line`](super::batch_norm_line).
pub fn batch_norm_first_adjoint(
    h: &Tensor,
    x: &Tensor,
    [w, b]: [&Tensor; 2],
    along: Along<'_>,
    (moments, lines): (&Moments, &Lines),
    then: Then,
) -> Result<[Tensor; 5]> {
    const NAME: &str = "batch_norm_first_adjoint";
    let sizes @ [count, channels] = sizes(NAME, x, w, b)?;
    moments.check(NAME, channels)?;
    fit(NAME, channels, [&lines.mean, &lines.variance])?;
    along.check(NAME, x, channels)?;
    if h.dims() != x.dims() {
        return Err(shape(NAME, "tensors of one shape", &[h, x]));
    }
    dispatch!(NAME, x, T => {
        let (h, x0, x1) = (Read::<T>::of(h, NAME)?, Read::<T>::of(x, NAME)?, Read::<T>::of(along.first, NAME)?);
        let (w, b) = (Read::<T>::of(w, NAME)?, Read::<T>::of(b, NAME)?);
        let (h, x0, x1): (&[T], &[T], &[T]) = (&h, &x0, &x1);
        let w1 = match along.weight[0] {
            Some(w1) => in_f64::<T>(&Read::of(w1, NAME)?),
            None => vec![0.0; channels],
        };
        let moments = moments.read()?;
        let (mean1, variance1) = (Read::<f64>::of(&lines.mean, NAME)?, Read::<f64>::of(&lines.variance, NAME)?);
        let by = &Constants::of(&moments, &w, &b, then);
        let w = in_f64::<T>(&w);
        let [bias, over_x, over_first] = sums(sizes, &Pulls { by, h, x: x0, first: x1, means: [&moments.mean, &mean1] });
        let zero = || vec![0.0; channels];
        let [mut of_w, mut of_w1, mut slope, mut by_x, mut by_first] = [zero(), zero(), zero(), zero(), zero()];
        for c in 0..channels {
            let (r, w, v1) = (moments.slope(c), w[c], variance1[c]);
            let r1 = -0.5 * r.powi(3) * v1;
            slope[c] = w1[c] * r + w * r1;
            of_w[c] = r * over_first[c] + r1 * over_x[c];
            of_w1[c] = r * over_x[c];
            let of_r = w * over_first[c] + w1[c] * over_x[c] - 1.5 * r * r * v1 * w * over_x[c];
            by_x[c] = -r.powi(3) * of_r / count as f64;
            by_first[c] = -r.powi(3) * w * over_x[c] / count as f64;
        }
        let shift: Vec<f64> = bias.iter().map(|sum| sum / count as f64).collect();
        let to = &Pushes {
            by,
            means: [&by.mean, &in_dtype(&mean1)],
            shift: &in_dtype(&shift),
            slope: &in_dtype(&slope),
            pulls: [&in_dtype(&by_x), &in_dtype(&by_first)],
        };
        let length = tile(channels);
        let (to_x, to_first) = tiles::make_two(x0.len(), length, 12 * x0.len(), |index, out, first| {
            let at = index * length;
            lanes::run(Push { to, from: [&h[at..], &x0[at..], &x1[at..]], out, first });
        });
        let large = |values| tensor::<T>(values, x.dims());
        let small = |values: &[f64]| rounded::<T>(values);
        Ok([large(to_x)?, large(to_first)?, small(&of_w)?, small(&of_w1)?, small(&bias)?])
    }, card => card::norm::first_adjoint(NAME, [h, x, w, b], sizes, along, (moments, lines), then))
}

/// Σ h, Σ hx̂ and Σ hx̂′.
struct Pulls<'a, T> {
    by: &'a Constants<T>,
    h: &'a [T],
    x: &'a [T],
    first: &'a [T],
    means: [&'a [f64]; 2],
}

impl<T: Real> OverRows<3> for Pulls<'_, T> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, channels: usize, [bias, over_x, over_first]: &mut [Vec<f64>; 3]) {
        let range = rows.start * channels..rows.end * channels;
        let (m0, m1) = (&self.means[0][..channels], &self.means[1][..channels]);
        let gate = self.by.gate(channels);
        let (bias, over_x, over_first) = (&mut bias[..channels], &mut over_x[..channels], &mut over_first[..channels]);
        let (x, first) =
            (self.x[range.clone()].chunks_exact(channels), self.first[range.clone()].chunks_exact(channels));
        for ((h, x), first) in self.h[range].chunks_exact(channels).zip(x).zip(first) {
            for c in 0..channels {
                let h = gate.pass(c, x[c], h[c]).to_f64();
                bias[c] += h;
                over_x[c] += h * (x[c].to_f64() - m0[c]);
                over_first[c] += h * (first[c].to_f64() - m1[c]);
            }
        }
    }
}

/// What the gradients of x and x′ read of each channel.
struct Pushes<'a, T> {
    by: &'a Constants<T>,
    means: [&'a [T]; 2],
    shift: &'a [T],
    slope: &'a [T],
    pulls: [&'a [T]; 2],
}

/// Fills the gradients of x and of x′.
struct Push<'a, T> {
    to: &'a Pushes<'a, T>,
    from: [&'a [T]; 3],
    out: &'a mut [T],
    first: &'a mut [T],
}

impl<T: Real> WithSimd for Push<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { to: Pushes { by, means: [m0, m1], shift, slope, pulls: [by_x, by_first] }, from, out, first } = self;
        let channels = by.mean.len();
        let (m0, m1, scale) = (&m0[..channels], &m1[..channels], &by.scale[..channels]);
        let (shift, slope) = (&shift[..channels], &slope[..channels]);
        let (by_x, by_first) = (&by_x[..channels], &by_first[..channels]);
        let gate = by.gate(channels);
        let [h, x0, x1] = from.map(|values| values.chunks_exact(channels));
        let outs = out.chunks_exact_mut(channels).zip(first.chunks_exact_mut(channels));
        for ((out, first), ((h, x0), x1)) in outs.zip(h.zip(x0).zip(x1)) {
            for c in 0..channels {
                let h = gate.pass(c, x0[c], h[c]) - shift[c];
                let (x0, x1) = (x0[c] - m0[c], x1[c] - m1[c]);
                out[c] = slope[c] * h + by_x[c] * x0 + by_first[c] * x1;
                first[c] = scale[c] * h + by_first[c] * x0;
            }
        }
    }
}
