//! Products and the convolution triple: by the vendor's libraries, and where they have no deterministic algorithm for a convolution, as a
//! product with the patches that each output pixel sees.

use super::super::conv::{After, Gate};
use super::channels::elementwise;
use super::shape::transpose;
use super::{counts, of_dims, on, or_none};
use crate::ml::Result;
use crate::ml::card::{Argument, Convolution, Geometry, Product, Sizes, Triple, count};
use crate::ml::tensor::{OnCard, Tensor};

/// Elements of patches that are laid out at once, at most.
const PATCHES: usize = 1 << 26;

/// `op(a)·op(b)` of matrices whose sizes `[m, k, n]` fit.
pub(in crate::ml::ops) fn matmul(
    name: &'static str,
    a: &Tensor,
    b: &Tensor,
    sizes: [usize; 3],
    transposed: [bool; 2],
) -> Result<Tensor> {
    let [a, b] = on(name, [a, b])?;
    let out = of_dims(a, &[sizes[0], sizes[2]])?;
    multiply([a.address(), b.address(), out.address()], a, sizes, transposed, false)?;
    Ok(Tensor::Card(out))
}

fn multiply(at: [u64; 3], like: &OnCard, sizes: [usize; 3], transposed: [bool; 2], add: bool) -> Result<()> {
    let (card, dtype) = (like.card(), like.dtype());
    if sizes[0] == 0 || sizes[2] == 0 {
        return Ok(());
    }
    if sizes[1] == 0 {
        let bytes = sizes[0] * sizes[2] * dtype.size_in_bytes();
        return if add { Ok(()) } else { Ok(card.clear(at[2], bytes)?) };
    }
    Ok(card.multiply(&Product { sizes, transposed, dtype, numeric: card.numeric(), at, add })?)
}

/// Σ factor·conv(x, w) over terms of one shape, and what follows.
pub(in crate::ml::ops) fn forward(
    name: &'static str,
    terms: &[(&Tensor, &Tensor, f64)],
    after: &After<'_>,
    sizes: Sizes,
) -> Result<Tensor> {
    let [x, _] = on(name, [terms[0].0, terms[0].1])?;
    let dims = [sizes.samples, sizes.result[0], sizes.result[1], sizes.outputs];
    let beside = |tensor: &'_ Tensor| -> Result<OnCard> { Ok(on(name, [terms[0].0, tensor])?[1].clone()) };
    let out = of_dims(x, &dims)?;
    let mut add = false;
    if let Some(plus) = after.plus {
        let plus = beside(plus)?;
        x.card().copy(out.address(), plus.address(), plus.bytes())?;
        add = true;
    }
    for &(x, w, factor) in terms {
        let [x, w] = on(name, [x, w])?;
        let w = channels_last(w, sizes)?;
        convolve(Triple::Forward, sizes, [x, &w, &out], factor, add)?;
        add = true;
    }
    let (bias, mask) =
        (after.bias.map(beside).transpose()?, if let Gate::Of(mask) = after.gate { Some(beside(mask)?) } else { None });
    let gate = match after.gate {
        Gate::Open => 0,
        Gate::Relu => 1,
        Gate::Of(_) => 2,
    };
    if gate > 0 || bias.is_some() {
        let tensors = [out.argument(), or_none(bias.as_ref()), or_none(mask.as_ref()), Argument::U32(gate)];
        let rows = dims[..3].iter().product();
        elementwise("after", [rows, sizes.outputs], x, &tensors)?;
    }
    Ok(Tensor::Card(out))
}

/// The gradient in x.
pub(in crate::ml::ops) fn to_input(name: &'static str, g: &Tensor, w: &Tensor, sizes: Sizes) -> Result<Tensor> {
    let [g, w] = on(name, [g, w])?;
    let out = of_dims(g, &[sizes.samples, sizes.image[0], sizes.image[1], sizes.inputs])?;
    convolve(Triple::Input, sizes, [g, &channels_last(w, sizes)?, &out], 1.0, false)?;
    Ok(Tensor::Card(out))
}

/// The gradient in w.
pub(in crate::ml::ops) fn to_weight(name: &'static str, g: &Tensor, x: &Tensor, sizes: Sizes) -> Result<Tensor> {
    let [g, x] = on(name, [g, x])?;
    let [height, width] = sizes.kernel;
    let out = of_dims(g, &[sizes.outputs, height, width, sizes.inputs])?;
    convolve(Triple::Weight, sizes, [g, x, &out], 1.0, false)?;
    let dims = [sizes.outputs, sizes.inputs, height, width];
    if height * width == 1 || sizes.inputs == 1 {
        return Tensor::Card(out).reshape(&dims[..]);
    }
    Ok(Tensor::Card(transpose(&out, [sizes.outputs, height * width, sizes.inputs], &dims)?))
}

/// A kernel `[O, C, h, w]` as `[O, h, w, C]`.
fn channels_last(w: &OnCard, sizes: Sizes) -> Result<OnCard> {
    let pixels = sizes.kernel[0] * sizes.kernel[1];
    if pixels == 1 || sizes.inputs == 1 {
        return Ok(w.clone());
    }
    transpose(w, [sizes.outputs, sizes.inputs, pixels], &[sizes.outputs, pixels, sizes.inputs])
}

fn convolve(of: Triple, sizes: Sizes, [a, b, out]: [&OnCard; 3], factor: f64, add: bool) -> Result<()> {
    let card = a.card();
    if sizes.samples == 0 {
        return if add { Ok(()) } else { Ok(card.clear(out.address(), out.bytes())?) };
    }
    let (dtype, numeric) = (a.dtype(), card.numeric());
    let (left, right) = (aligned(a)?, aligned(b)?);
    let at = [&left, &right, out].map(OnCard::address);
    if card.convolve(&Convolution { of, sizes, dtype, numeric, at, factor, add })? {
        return Ok(());
    }
    by_patches(of, sizes, [a, b, out], factor, add)
}

/// The same where libraries like it: at a multiple of what the widest loads take.
fn aligned(tensor: &OnCard) -> Result<OnCard> {
    if tensor.address().is_multiple_of(16) { Ok(tensor.clone()) } else { tensor.copied() }
}

/// A few images at a time: their patches as a matrix `[pixels, taps·C]`, or its gradient, and a product.
fn by_patches(of: Triple, sizes: Sizes, [a, b, out]: [&OnCard; 3], factor: f64, add: bool) -> Result<()> {
    let (card, bytes) = (a.card(), a.dtype().size_in_bytes());
    let taps = sizes.kernel[0] * sizes.kernel[1] * sizes.inputs;
    let pixels = sizes.result[0] * sizes.result[1];
    let image = sizes.image[0] * sizes.image[1] * sizes.inputs;
    // The factor is on the smaller operand, once.
    let scaled = super::elementwise::of_one("scale", &Tensor::Card(b.clone()), factor)?;
    let b = scaled.on_card().expect("a product of what is on a card is on it");
    let together = (PATCHES / (pixels * taps)).clamp(1, sizes.samples);
    let patches = of_dims(a, &[together * pixels, taps])?;
    for first in (0..sizes.samples).step_by(together) {
        let images = together.min(sizes.samples - first);
        let from = |tensor: &OnCard, image: usize| tensor.address() + (first * image * bytes) as u64;
        let by = Argument::Counts(
            counts([
                images,
                sizes.image[0],
                sizes.image[1],
                sizes.inputs,
                sizes.kernel[0],
                sizes.kernel[1],
                sizes.result[0],
                sizes.result[1],
                sizes.stride,
                sizes.padding,
            ])?,
            10,
        );
        let laid = images * pixels * taps;
        let spread = |kernel: &str, to: u64, from: u64, elements: usize| -> Result<()> {
            let elements = count(elements)?;
            let arguments = [Argument::Address(to), Argument::Address(from), by, Argument::U32(elements)];
            Ok(card.launch(&a.kernel(kernel), Geometry::over(elements), &arguments)?)
        };
        let rows = images * pixels;
        match of {
            Triple::Forward => {
                spread("patches", patches.address(), from(a, image), laid)?;
                let at = [patches.address(), b.address(), from(out, pixels * sizes.outputs)];
                multiply(at, a, [rows, taps, sizes.outputs], [false, true], add)?;
            }
            Triple::Input => {
                let at = [from(a, pixels * sizes.outputs), b.address(), patches.address()];
                multiply(at, a, [rows, sizes.outputs, taps], [false, false], false)?;
                spread("patches_adjoint", from(out, image), patches.address(), images * image)?;
            }
            Triple::Weight => {
                spread("patches", patches.address(), from(b, image), laid)?;
                let at = [from(a, pixels * sizes.outputs), patches.address(), out.address()];
                multiply(at, a, [sizes.outputs, rows, taps], [true, false], add || first > 0)?;
            }
        }
    }
    Ok(())
}
