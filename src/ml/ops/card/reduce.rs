//! Sums over all elements.

use super::{alike, doubles};
use crate::ml::Result;
use crate::ml::card::{Argument, Geometry};
use crate::ml::tensor::{OnCard, Tensor};

/// The sum that `kernel(x, y)` makes shares of: an f64 scalar on the card.
pub(super) fn over_both(kernel: &'static str, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let [x, y] = alike(kernel, [x, y])?;
    let geometry = Geometry::shares(x.count());
    let shares = doubles(x, geometry.grid[0] as usize)?;
    let arguments = [shares.argument(), x.argument(), y.argument(), Argument::U32(x.count())];
    x.card().launch(&x.kernel(kernel), geometry, &arguments)?;
    sum(&shares)
}

/// The sum of f64 numbers: a scalar on the card.
pub(super) fn sum(values: &OnCard) -> Result<Tensor> {
    let total = OnCard::room(values.card(), &[], values.dtype())?;
    let arguments = [total.argument(), values.argument(), Argument::U32(values.count())];
    values.card().launch("sum_f64", Geometry::one(), &arguments)?;
    Ok(Tensor::Card(total))
}

/// ⟨x, y⟩.
pub(in crate::ml::ops) fn inner(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    over_both("dot", x, y)
}
