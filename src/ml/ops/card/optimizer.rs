//! Flat vectors, in one launch each: a step of SGD, a point of a line, a distance, signs.

use super::super::real::{elsewhere, shape as unfit};
use super::reduce::over_both;
use super::{alike, counts, like, on, or_none};
use crate::ml::Result;
use crate::ml::card::{Argument, Card, Geometry};
use crate::ml::optim::Sgd;
use crate::ml::tensor::{DType, OnCard, Tensor};

/// The step of [`Sgd::step`] for vectors of one length, type and card.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for vectors that differ in length, type or place; a card without room.
pub fn sgd(
    sgd: &Sgd,
    lr: f64,
    theta: &Tensor,
    gradient: &Tensor,
    buffer: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    const NAME: &str = "sgd";
    let [theta, gradient] = alike(NAME, [theta, gradient])?;
    let buffer = buffer.map(|buffer| Ok::<_, crate::ml::Error>(on(NAME, [buffer])?[0])).transpose()?;
    if buffer.is_some_and(|buffer| buffer.dims() != theta.dims() || buffer.dtype() != theta.dtype()) {
        return Err(unfit(NAME, "vectors of one length", &[]));
    }
    let (moved, kept) = (like(theta)?, if sgd.momentum == 0.0 { None } else { Some(like(theta)?) });
    let tensors = [moved.argument(), or_none(kept.as_ref()), theta.argument(), gradient.argument(), or_none(buffer)];
    let scalars = [lr, sgd.momentum, 1.0 - sgd.dampening, sgd.weight_decay].map(Argument::F64);
    let last = [u32::from(sgd.nesterov), theta.count()].map(Argument::U32);
    let arguments = [&tensors[..], &scalars, &last].concat();
    theta.card().launch(&theta.kernel(NAME), Geometry::over(theta.count()), &arguments)?;
    Ok((Tensor::Card(moved), kept.map(Tensor::Card)))
}

/// (1 − t)·a + t·b, in f64 and rounded once.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for vectors that differ in length, type or place; a card without room.
pub fn interpolate(a: &Tensor, b: &Tensor, t: f64) -> Result<Tensor> {
    super::elementwise::of_two("interpolate", a, b, t)
}

/// ‖a − b‖², an f64 scalar on the card.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for vectors that differ in length, type or place; a card without room.
pub fn square_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    over_both("square_distance", a, b)
}

/// +1 and −1 by bits on the card, u32: `count` of them from bit `skip` on, the first the lowest of the first word.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for bits elsewhere; a card without room.
pub fn signs(card: &Card, words: &Tensor, skip: usize, count: usize, dtype: DType) -> Result<Tensor> {
    let words = words.on_card().filter(|words| words.card() == card).ok_or_else(|| elsewhere("signs"))?;
    let (out, [skip]) = (OnCard::room(card, &[count], dtype)?, counts([skip])?);
    let arguments = [out.argument(), words.argument(), Argument::U32(skip), Argument::U32(out.count())];
    card.launch(&out.kernel("signs"), Geometry::over(out.count()), &arguments)?;
    Ok(Tensor::Card(out))
}
