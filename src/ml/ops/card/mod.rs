//! The operations on a card: which kernel is started over how many threads, or which call of the vendor's libraries. The formulas are those
//! of the files with the same names in `ops/`, whose functions come here when their operands are on a card.
//!
//! Nothing here waits for the card but `softmax::count_correct`: a number that an operation gives is a tensor without axes.

pub(super) mod channels;
pub(super) mod conv;
pub(super) mod elementwise;
pub(super) mod norm;
pub(super) mod optimizer;
pub(super) mod pool;
pub(super) mod reduce;
pub(super) mod shape;
pub(super) mod softmax;
#[cfg(test)]
pub(in crate::ml) mod tests;

use super::real::{elsewhere, shape as unfit};
use crate::ml::card::{Argument, count};
use crate::ml::tensor::{DType, OnCard, Tensor};
use crate::ml::{Error, Result};

pub use optimizer::{interpolate, sgd, signs, square_distance};

/// The operands, which must be on one card and of one type.
fn on<'a, const N: usize>(operation: &'static str, operands: [&'a Tensor; N]) -> Result<[&'a OnCard; N]> {
    let mut tensors = operands.map(Tensor::on_card).into_iter();
    let first = tensors.clone().next().flatten().ok_or_else(|| elsewhere(operation))?;
    if tensors.any(|tensor| tensor.is_none_or(|tensor| tensor.card() != first.card())) {
        return Err(elsewhere(operation));
    }
    if operands.iter().any(|operand| operand.dtype() != first.dtype()) || !is_number(first.dtype()) {
        let found = operands.iter().map(|operand| operand.dtype().as_str()).collect::<Vec<_>>().join(" and ");
        let expected = "tensors of one dtype, `f32`, `f64` or `bf16`".to_owned();
        return Err(Error::Shape { operation, expected, found });
    }
    Ok(operands.map(|operand| match operand {
        Tensor::Card(tensor) => tensor,
        Tensor::Host(_) => unreachable!("each was found on the card"),
    }))
}

/// As [`on`], of one shape.
fn alike<'a, const N: usize>(operation: &'static str, operands: [&'a Tensor; N]) -> Result<[&'a OnCard; N]> {
    if operands.iter().any(|operand| operand.dims() != operands[0].dims()) {
        return Err(unfit(operation, "tensors of one shape", &operands));
    }
    on(operation, operands)
}

fn is_number(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::BF16)
}

/// A fresh tensor of the shape, type and card of another.
fn like(tensor: &OnCard) -> Result<OnCard> {
    OnCard::room(tensor.card(), tensor.dims(), tensor.dtype())
}

/// A fresh tensor of the type and card of another.
fn of_dims(tensor: &OnCard, dims: &[usize]) -> Result<OnCard> {
    OnCard::room(tensor.card(), dims, tensor.dtype())
}

/// A fresh f64 vector on the card of another.
fn doubles(tensor: &OnCard, count: usize) -> Result<OnCard> {
    OnCard::room(tensor.card(), &[count], DType::F64)
}

/// An f64 tensor that is on the card of another.
fn known<'a>(operation: &'static str, tensor: &'a Tensor, beside: &OnCard) -> Result<&'a OnCard> {
    let own = tensor.on_card().filter(|own| own.card() == beside.card() && own.dtype() == DType::F64);
    own.ok_or_else(|| elsewhere(operation))
}

/// An argument that may be absent.
fn or_none(tensor: Option<&OnCard>) -> Argument {
    tensor.map_or(Argument::Address(0), OnCard::argument)
}

/// Sizes as kernels take them.
fn counts<const N: usize>(sizes: [usize; N]) -> Result<[u32; N]> {
    let mut counts = [0; N];
    for (to, size) in counts.iter_mut().zip(sizes) {
        *to = count(size)?;
    }
    Ok(counts)
}
