//! Operations on each element.

use super::{alike, known, like, on};
use crate::ml::Result;
use crate::ml::card::{Argument, Geometry};
use crate::ml::tensor::{OnCard, Tensor};

/// `kernel(x, scalar)`.
pub(in crate::ml::ops) fn of_one(operation: &'static str, x: &Tensor, scalar: f64) -> Result<Tensor> {
    let [x] = on(operation, [x])?;
    let out = like(x)?;
    launch(operation, x, &[out.argument(), x.argument(), Argument::F64(scalar)])?;
    Ok(Tensor::Card(out))
}

/// `kernel(x, y, scalar)`.
pub(in crate::ml::ops) fn of_two(operation: &'static str, x: &Tensor, y: &Tensor, scalar: f64) -> Result<Tensor> {
    let [x, y] = alike(operation, [x, y])?;
    let out = like(x)?;
    launch(operation, x, &[out.argument(), x.argument(), y.argument(), Argument::F64(scalar)])?;
    Ok(Tensor::Card(out))
}

/// `x` times an f64 scalar on the card.
pub(in crate::ml::ops) fn scale_by(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let [x] = on("scale_by", [x])?;
    let factor = known("scale_by", factor, x)?;
    let out = like(x)?;
    launch("scale_by", x, &[out.argument(), x.argument(), factor.argument()])?;
    Ok(Tensor::Card(out))
}

/// `sum += x`.
pub(in crate::ml::ops) fn accumulate(sum: &Tensor, x: &Tensor) -> Result<()> {
    let [sum, x] = alike("accumulate", [sum, x])?;
    launch("accumulate", sum, &[sum.argument(), x.argument()])
}

/// Over all elements of `x`, whose number is the last argument.
fn launch(operation: &str, x: &OnCard, arguments: &[Argument]) -> Result<()> {
    let arguments = [arguments, &[Argument::U32(x.count())]].concat();
    Ok(x.card().launch(&x.kernel(operation), Geometry::over(x.count()), &arguments)?)
}
