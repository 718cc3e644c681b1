//! Axes swapped, channels put side by side and taken apart.

use super::{alike, counts, of_dims, on};
use crate::ml::Result;
use crate::ml::card::{Argument, Fault, Geometry};
use crate::ml::tensor::{OnCard, Tensor};

/// Each sample's matrix of rows and columns transposed; the result has the sizes `to`.
pub(in crate::ml::ops) fn transposed(
    operation: &'static str,
    x: &Tensor,
    matrices: [usize; 3],
    to: &[usize],
) -> Result<Tensor> {
    let [x] = on(operation, [x])?;
    Ok(Tensor::Card(transpose(x, matrices, to)?))
}

/// Matrices that one launch transposes, at most.
const DEEP: u32 = 65_535;

/// As [`transposed`].
pub(super) fn transpose(x: &OnCard, matrices: [usize; 3], to: &[usize]) -> Result<OnCard> {
    let [samples, rows, columns] = counts(matrices)?;
    let out = of_dims(x, to)?;
    let matrix = matrices[1] * matrices[2] * x.dtype().size_in_bytes();
    // A grid has places for so many matrices at a time.
    for first in (0..samples).step_by(DEEP as usize) {
        let at = |tensor: &OnCard| Argument::Address(tensor.address() + u64::from(first) * matrix as u64);
        let geometry = Geometry::tiles(DEEP.min(samples - first), rows, columns)?;
        let arguments = [at(&out), at(x), Argument::U32(rows), Argument::U32(columns)];
        x.card().launch(&x.kernel("transpose"), geometry, &arguments)?;
    }
    Ok(out)
}

/// `[…, A]` and `[…, B]` as `[…, A + B]`.
pub(in crate::ml::ops) fn concat(operation: &'static str, a: &Tensor, b: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let widths = [a, b].map(|x| x.dims()[x.rank() - 1]);
    let [a, b] = on(operation, [a, b])?;
    let ([left, right], out) = (counts(widths)?, of_dims(a, dims)?);
    let sizes = [left, right, out.count()].map(Argument::U32);
    let arguments = [&[out.argument(), a.argument(), b.argument()][..], &sizes].concat();
    a.card().launch(&a.kernel("concat"), Geometry::over(out.count()), &arguments)?;
    Ok(Tensor::Card(out))
}

/// The channels of `x` without the first `skip`, after `before` of zeros: as many as the last of `dims`, zeros where there are none.
pub(in crate::ml::ops) fn window(
    operation: &'static str,
    x: &Tensor,
    (skip, before): (usize, usize),
    dims: &[usize],
) -> Result<Tensor> {
    let far = |_| Fault::Refused(format!("`{operation}` by {skip} and {before} channels is more than a card takes"));
    let from = i32::try_from(skip).map_err(far)? - i32::try_from(before).map_err(far)?;
    let [channels, width] = counts([x.dims()[x.rank() - 1], dims[dims.len() - 1]])?;
    let [x] = alike(operation, [x])?;
    let out = of_dims(x, dims)?;
    let sizes = [Argument::I32(from), Argument::U32(channels), Argument::U32(width), Argument::U32(out.count())];
    let arguments = [&[out.argument(), x.argument()][..], &sizes].concat();
    x.card().launch(&x.kernel("window"), Geometry::over(out.count()), &arguments)?;
    Ok(Tensor::Card(out))
}
