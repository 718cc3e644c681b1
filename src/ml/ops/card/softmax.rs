//! Softmax, its derivative, and the losses: a thread a row.

use super::reduce::sum;
use super::{alike, counts, doubles, like, on};
use crate::ml::card::{Argument, Geometry};
use crate::ml::tensor::{DType, OnCard, Tensor};
use crate::ml::{Error, Result};

/// Each row of the result from the same row of the operands, `[S, K]`.
pub(in crate::ml::ops) fn map_rows<const N: usize>(name: &'static str, operands: [&Tensor; N]) -> Result<Tensor> {
    let own = alike(name, operands)?;
    let out = like(own[0])?;
    let from: Vec<Argument> = std::iter::once(&out).chain(own).map(OnCard::argument).collect();
    over_rows(name, own[0], &from)?;
    Ok(Tensor::Card(out))
}

/// The loss, an f64 scalar, and the residuals; `targets` are the shares of another class and of the label's own.
pub(in crate::ml::ops) fn loss(
    name: &'static str,
    z: &Tensor,
    labels: &Tensor,
    targets: [f64; 2],
) -> Result<(Tensor, Tensor)> {
    let [z] = on(name, [z])?;
    let labels = of_rows(name, z, labels)?;
    let (losses, residual) = (doubles(z, z.dims()[0])?, like(z)?);
    let tensors = [&losses, &residual, z, labels].map(OnCard::argument);
    over_rows(name, z, &[&tensors[..], &targets.map(Argument::F64)].concat())?;
    Ok((sum(&losses)?, Tensor::Card(residual)))
}

/// How many rows have their first largest logit at their label; waits for the card.
pub(in crate::ml::ops) fn count_correct(name: &'static str, z: &Tensor, labels: &Tensor) -> Result<usize> {
    let [z] = on(name, [z])?;
    let labels = of_rows(name, z, labels)?;
    let hits = doubles(z, z.dims()[0])?;
    over_rows("correct", z, &[&hits, z, labels].map(OnCard::argument))?;
    Ok(sum(&hits)?.to_scalar::<f64>()? as usize)
}

fn over_rows(kernel: &str, z: &OnCard, arguments: &[Argument]) -> Result<()> {
    let [rows, classes] = counts([z.dims()[0], z.dims()[1]])?;
    let arguments = [arguments, &[rows, classes].map(Argument::U32)].concat();
    Ok(z.card().launch(&z.kernel(kernel), Geometry::over(rows), &arguments)?)
}

/// One label a row. Whether it is one of the classes is not looked at: a label that is none is no row's own class.
fn of_rows<'a>(name: &'static str, z: &OnCard, labels: &'a Tensor) -> Result<&'a OnCard> {
    let own = labels.on_card().filter(|own| own.card() == z.card() && own.dtype() == DType::U32);
    own.filter(|own| own.dims() == [z.dims()[0]]).ok_or_else(|| Error::Shape {
        operation: name,
        expected: format!("one label for each of {} samples, on the same card", z.dims()[0]),
        found: format!("{:?}", labels.dims()),
    })
}
