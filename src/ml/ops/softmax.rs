//! Softmax, its derivative, and the two losses on logits `[S, K]`. Computed in f64 whatever the dtype, rounded once.

use crate::ml::tensor::Tensor;
use candle_core::WithDType;

use super::card;
use super::real::{Read, Real, dispatch, scalar, shape, tensor};
use super::tiles;
use crate::ml::{Error, Result};

/// Samples in a tile; the loss is summed tile by tile in order.
const SAMPLES: usize = 256;

/// Floating-point operations that one exponential is worth.
const EXPONENTIAL: usize = 40;

/// What the logits of each sample should be: the class itself, or the class smoothed over all classes.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// One class a sample, u32 where the logits are.
    pub labels: &'a Tensor,
    /// ε of the target q = ε/K + (1 − ε)·onehot; 0 for the class itself.
    pub smoothing: f64,
}

impl Targets<'_> {
    /// The targets of a class that is not the label's, and of the label's own.
    fn shares(&self, classes: usize) -> [f64; 2] {
        let other = self.smoothing / classes as f64;
        [other, other + 1.0 - self.smoothing]
    }
}

/// p = softmax(z), row by row.
///
/// # Errors
/// [`Error::Shape`] unless `z` is `[S, K]`.
pub fn softmax(z: &Tensor) -> Result<Tensor> {
    let (_, classes) = rows("softmax", z)?;
    dispatch!("softmax", z, T => map_rows::<T, 1>("softmax", [z], classes, EXPONENTIAL, |[z], out| {
        let z: Vec<f64> = z.iter().map(|z| z.to_f64()).collect();
        let mut p = vec![0.0; classes];
        probabilities(&z, &mut p);
        out.iter_mut().zip(p).for_each(|(out, p)| *out = T::from_f64(p));
    }), card => card::softmax::map_rows("softmax", [z]))
}

/// J·t = p∘(t − ⟨p, t⟩), row by row, where J is the (symmetric) Jacobian of softmax at its value `p`.
///
/// # Errors
/// [`Error::Shape`] unless both are `[S, K]`.
pub fn softmax_tangent(p: &Tensor, t: &Tensor) -> Result<Tensor> {
    const NAME: &str = "softmax_tangent";
    let (_, classes) = rows(NAME, p)?;
    dispatch!(NAME, p, T => map_rows::<T, 2>(NAME, [p, t], classes, 4, |[p, t], out| {
        let mean = dot(p, t);
        for ((out, p), t) in out.iter_mut().zip(p).zip(t) {
            *out = T::from_f64(p.to_f64() * (t.to_f64() - mean));
        }
    }), card => card::softmax::map_rows(NAME, [p, t]))
}

/// The gradient of ⟨g, p∘(t − ⟨p, t⟩)⟩ with respect to p, row by row: g∘(t − ⟨p, t⟩) − ⟨g, p⟩·t.
///
/// # Errors
/// [`Error::Shape`] unless all are `[S, K]`.
pub fn softmax_tangent_adjoint(p: &Tensor, t: &Tensor, g: &Tensor) -> Result<Tensor> {
    const NAME: &str = "softmax_tangent_adjoint";
    let (_, classes) = rows(NAME, p)?;
    dispatch!(NAME, p, T => map_rows::<T, 3>(NAME, [p, t, g], classes, 6, |[p, t, g], out| {
        let (mean, pull) = (dot(p, t), dot(g, p));
        for ((out, t), g) in out.iter_mut().zip(t).zip(g) {
            *out = T::from_f64(g.to_f64() * (t.to_f64() - mean) - pull * t.to_f64());
        }
    }), card => card::softmax::map_rows(NAME, [p, t, g]))
}

/// r·⟨r, t⟩, row by row: the product with the matrix of rank one that each sample's residual `r` makes.
///
/// # Errors
/// [`Error::Shape`] unless both are `[S, K]`.
pub fn residual_square(r: &Tensor, t: &Tensor) -> Result<Tensor> {
    const NAME: &str = "residual_square";
    let (_, classes) = rows(NAME, r)?;
    dispatch!(NAME, r, T => map_rows::<T, 2>(NAME, [r, t], classes, 4, |[r, t], out| {
        let along = dot(r, t);
        for (out, r) in out.iter_mut().zip(r) {
            *out = T::from_f64(r.to_f64() * along);
        }
    }), card => card::softmax::map_rows(NAME, [r, t]))
}

/// The cross-entropy's excess over the entropy of its targets, summed over samples to an f64 scalar, and its gradient p − q with
/// respect to the logits. The excess is KL(q‖p) = Σ q(eᵘ − 1 − u) with u = log p − log q, whose terms are all ≥ 0: no
/// difference of large numbers. Without smoothing it is −log p of the class.
///
/// # Errors
/// [`Error::Shape`] unless `z` is `[S, K]` with one label below K a sample; [`Error::Setting`] for a smoothing out of range.
pub fn cross_entropy(z: &Tensor, targets: Targets<'_>) -> Result<(Tensor, Tensor)> {
    let (_, classes) = rows("cross_entropy", z)?;
    let q = targets.shares(classes);
    let log_q = q.map(libm::log);
    loss("cross_entropy", z, targets, EXPONENTIAL, |z, label, residual| {
        let (largest, log_sum) = probabilities(z, residual);
        let mut excess = 0.0;
        for (class, (z, p)) in z.iter().zip(residual).enumerate() {
            let own = usize::from(class == label);
            let log_p = z - largest - log_sum;
            if q[0] > 0.0 {
                excess += q[own] * exponential_excess(log_p - log_q[own], *p / q[own]);
            } else if own == 1 {
                excess = -log_p;
            }
            *p -= q[own];
        }
        excess
    })
}

/// ½ Σ (z − onehot)² over classes, summed over samples to an f64 scalar, and its gradient z − onehot. With smoothing, the target is q.
///
/// # Errors
/// Those of [`cross_entropy`].
pub fn squared_error(z: &Tensor, targets: Targets<'_>) -> Result<(Tensor, Tensor)> {
    let (_, classes) = rows("squared_error", z)?;
    let q = targets.shares(classes);
    loss("squared_error", z, targets, 4, |z, label, residual| {
        for (class, (residual, z)) in residual.iter_mut().zip(z).enumerate() {
            *residual = z - q[usize::from(class == label)];
        }
        residual.iter().map(|r| 0.5 * r * r).sum()
    })
}

/// How many samples have their largest logit (the first, if several are equal) at their label; none of those that have a logit which is
/// not a number.
///
/// # Errors
/// [`Error::Shape`] unless `z` is `[S, K]` with one label below K a sample.
pub fn count_correct(z: &Tensor, labels: &Tensor) -> Result<usize> {
    let (_, classes) = rows("count_correct", z)?;
    dispatch!("count_correct", z, T => {
        let labels = read_labels("count_correct", z, labels)?;
        let z = Read::<T>::of(z, "count_correct")?;
        let first_maximum = |row: &[T]| (1..classes).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        let is_correct = |row: &[T], label: u32| {
            first_maximum(row) == label as usize && !row.iter().any(|&z| Real::is_nan(z))
        };
        Ok(z.chunks_exact(classes).zip(&*labels).filter(|(row, label)| is_correct(row, **label)).count())
    }, card => card::softmax::count_correct("count_correct", z, labels))
}

/// eᵘ − 1 − u, given also eᵘ; by its series where the difference would lose digits.
fn exponential_excess(u: f64, exponential: f64) -> f64 {
    if u.abs() > 0.5 {
        return exponential - 1.0 - u;
    }
    // Horner from u¹⁷/17!: the next term is below 2⁻⁵³ of the first for |u| ≤ ½.
    let tail = (3..=17).rev().fold(1.0, |sum, n| 1.0 + sum * u / f64::from(n));
    0.5 * u * u * tail
}

/// Fill `p` with softmax(z); the largest z, and the logarithm of Σ exp(z − largest), so that log p = z − largest − that.
fn probabilities(z: &[f64], p: &mut [f64]) -> (f64, f64) {
    let first = (1..z.len()).fold(0, |best, k| if z[k] > z[best] { k } else { best });
    let largest = z[first];
    let mut others = 0.0;
    for (class, (p, z)) in p.iter_mut().zip(z).enumerate() {
        *p = libm::exp(z - largest);
        others += if class == first { 0.0 } else { *p };
    }
    for p in p {
        *p /= 1.0 + others;
    }
    (largest, libm::log1p(others))
}

fn rows(operation: &'static str, z: &Tensor) -> Result<(usize, usize)> {
    match z.dims() {
        &[samples, classes] if classes > 0 => Ok((samples, classes)),
        _ => Err(shape(operation, "logits `[S, K]`", &[z])),
    }
}

/// The labels of the S samples of `z`, `[S, K]`, of which there must be one below K for each.
fn read_labels<'a>(operation: &'static str, z: &Tensor, labels: &'a Tensor) -> Result<Read<'a, u32>> {
    let (samples, classes) = rows(operation, z)?;
    let values = Read::<u32>::of(labels, operation)?;
    let largest = values.iter().max();
    if labels.dims() == [samples] && largest.is_none_or(|&label| (label as usize) < classes) {
        return Ok(values);
    }
    let up_to = largest.map_or_else(String::new, |label| format!(" up to {label}"));
    Err(Error::Shape {
        operation,
        expected: format!("one label below {classes} for each of {samples} samples"),
        found: format!("logits {:?} and {} labels{up_to}", z.dims(), values.len()),
    })
}

/// Each row of the result from the same row of the operands.
fn map_rows<T: Real, const N: usize>(
    operation: &'static str,
    operands: [&Tensor; N],
    classes: usize,
    cost: usize,
    row: impl Fn([&[T]; N], &mut [T]) + Sync,
) -> Result<Tensor> {
    let dims = operands[0].dims();
    if operands.iter().any(|operand| operand.dims() != dims) {
        return Err(shape(operation, "tensors of one shape", &operands));
    }
    let mut locked = Vec::with_capacity(N);
    for operand in operands {
        locked.push(Read::<T>::of(operand, operation)?);
    }
    let values: [&[T]; N] = std::array::from_fn(|index| &*locked[index]);
    let count = values[0].len();
    let out = tiles::make(count, SAMPLES * classes, cost * count, |index, tile: &mut [T]| {
        for (at, out) in tile.chunks_exact_mut(classes).enumerate() {
            let start = (index * SAMPLES + at) * classes;
            row(values.map(|values| &values[start..start + classes]), out);
        }
    });
    tensor(out, dims)
}

/// The sum over samples of `sample(z, label, residual)`, which fills the residual, and the residuals.
fn loss(
    operation: &'static str,
    z: &Tensor,
    targets: Targets<'_>,
    cost: usize,
    sample: impl Fn(&[f64], usize, &mut [f64]) -> f64 + Sync,
) -> Result<(Tensor, Tensor)> {
    let (samples, classes) = rows(operation, z)?;
    if !(0.0..1.0).contains(&targets.smoothing) {
        let smoothing = targets.smoothing;
        return Err(Error::Setting(format!(
            "`{operation}` takes a smoothing of at least 0 and below 1, got {smoothing}"
        )));
    }
    dispatch!(operation, z, T => {
        let labels = read_labels(operation, z, targets.labels)?;
        let values = Read::<T>::of(z, operation)?;
        let values: &[T] = &values;
        let tiles = tiles::map(samples.div_ceil(SAMPLES), cost * values.len(), |index| {
            let first = index * SAMPLES;
            let labels = &labels[first..samples.min(first + SAMPLES)];
            let mut residuals = Vec::with_capacity(labels.len() * classes);
            let (mut row, mut residual) = (vec![0.0; classes], vec![0.0; classes]);
            let mut sum = 0.0;
            for (z, &label) in values[first * classes..].chunks_exact(classes).zip(labels) {
                row.iter_mut().zip(z).for_each(|(row, &z)| *row = z.to_f64());
                sum += sample(&row, label as usize, &mut residual);
                residuals.extend(residual.iter().map(|&r| <T as WithDType>::from_f64(r)));
            }
            (sum, residuals)
        });
        let sum = tiles.iter().map(|(sum, _)| sum).sum();
        let residuals = tiles.into_iter().flat_map(|(_, residuals)| residuals).collect();
        Ok((scalar(sum)?, tensor::<T>(residuals, z.dims())?))
    }, card => card::softmax::loss(operation, z, targets.labels, targets.shares(classes)))
}

fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}
