//! Pooling over windows that do not overlap.

use super::{counts, of_dims, on};
use crate::ml::card::{Argument, Geometry};
use crate::ml::tensor::{DType, OnCard, Tensor};
use crate::ml::{Error, Result};

/// Where things lie: samples, height, width, channels, and the sides of a window.
pub(in crate::ml::ops) type Windows = [usize; 6];

fn windows(by: Windows) -> Result<Argument> {
    let mut all = [0; 10];
    all[..6].copy_from_slice(&counts(by)?);
    Ok(Argument::Counts(all, 6))
}

/// The largest of each window, and which pixel of it that is, u32.
pub(in crate::ml::ops) fn max_pool(
    name: &'static str,
    x: &Tensor,
    by: Windows,
    to: &[usize],
) -> Result<(Tensor, Tensor)> {
    let [x] = on(name, [x])?;
    let (out, pixels) = (of_dims(x, to)?, OnCard::room(x.card(), to, DType::U32)?);
    let arguments = [out.argument(), pixels.argument(), x.argument(), windows(by)?];
    x.card().launch(&x.kernel(name), Geometry::over(out.count()), &arguments)?;
    Ok((Tensor::Card(out), Tensor::Card(pixels)))
}

/// `kernel(x, pixels)`: a tensor of the sizes `to`.
pub(in crate::ml::ops) fn with_pixels(
    name: &'static str,
    x: &Tensor,
    pixels: &Tensor,
    by: Windows,
    to: &[usize],
) -> Result<Tensor> {
    let [x] = on(name, [x])?;
    let pixels = pixels.on_card().filter(|pixels| pixels.card() == x.card()).ok_or_else(|| {
        let found = "a tensor on a card and a selection elsewhere".to_owned();
        Error::Shape { operation: name, expected: "a selection that was made where the tensor is".to_owned(), found }
    })?;
    let out = of_dims(x, to)?;
    let arguments = [out.argument(), x.argument(), pixels.argument(), windows(by)?];
    x.card().launch(&x.kernel(name), Geometry::over(out.count()), &arguments)?;
    Ok(Tensor::Card(out))
}

/// `kernel(x)`: a tensor of the sizes `to`.
pub(in crate::ml::ops) fn averaged(name: &'static str, x: &Tensor, by: Windows, to: &[usize]) -> Result<Tensor> {
    let [x] = on(name, [x])?;
    let out = of_dims(x, to)?;
    x.card().launch(&x.kernel(name), Geometry::over(out.count()), &[out.argument(), x.argument(), windows(by)?])?;
    Ok(Tensor::Card(out))
}
