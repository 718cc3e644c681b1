//! The convolution triple: forward, gradient with respect to the input, gradient with respect to the weight. Each is
//! bilinear, and each one's derivatives are the other two.
//!
//! A few images at a time are unrolled into a small buffer of patches (one column an output pixel), so that each member
//! of the triple is a product of matrices; the whole batch is never unrolled.

use std::ops::Range;

use candle_core::Tensor;

use super::matmul::{Matrix, product};
use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles;
use crate::ml::Result;

/// Elements of the buffer of patches, unless one image alone needs more.
const BUFFER: usize = 32_768;

/// Above this many weights, fewer partial gradients are kept at a time.
const LARGE_WEIGHT: usize = 1 << 18;

/// How a kernel moves over an image: the same stride and zero padding in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels from one output to the next, at least 1.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

/// The sizes of one convolution.
#[derive(Clone, Copy)]
struct Sizes {
    samples: usize,
    inputs: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel: (usize, usize),
    out: (usize, usize),
    geometry: Geometry,
}

impl Sizes {
    fn of(x: [usize; 4], w: [usize; 4], geometry: Geometry) -> Option<Self> {
        let [samples, inputs, height, width] = x;
        let [outputs, channels, kh, kw] = w;
        let Geometry { stride, padding } = geometry;
        let fits = channels == inputs && stride > 0 && height + 2 * padding >= kh && width + 2 * padding >= kw;
        let out = |size: usize, kernel: usize| (size + 2 * padding - kernel) / stride + 1;
        fits.then(|| Self {
            samples,
            inputs,
            height,
            width,
            outputs,
            kernel: (kh, kw),
            out: (out(height, kh), out(width, kw)),
            geometry,
        })
    }

    /// Elements of one input image.
    fn image(&self) -> usize {
        self.inputs * self.height * self.width
    }

    /// Pixels of one output channel.
    fn pixels(&self) -> usize {
        self.out.0 * self.out.1
    }

    /// Elements of one patch.
    fn patch(&self) -> usize {
        self.inputs * self.kernel.0 * self.kernel.1
    }

    /// Images unrolled at a time.
    fn images(&self) -> usize {
        (BUFFER / (self.patch() * self.pixels()).max(1)).clamp(1, self.samples.max(1))
    }

    fn flops(&self) -> usize {
        2 * self.samples * self.outputs * self.patch() * self.pixels()
    }

    /// Visit each row of the buffer: `(row, channel, row of the kernel, column of the kernel)`.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, (usize, usize))> + use<> {
        let (inputs, (kh, kw)) = (self.inputs, self.kernel);
        (0..inputs * kh * kw).map(move |row| (row, row / (kh * kw), (row / kw % kh, row % kw)))
    }

    /// The output positions `first..last` along an axis that meet the image when the kernel's element `k` does, and where
    /// the first of them meets it.
    fn meeting(&self, k: usize, size: usize, out: usize) -> (Range<usize>, usize) {
        let Geometry { stride, padding } = self.geometry;
        let first = padding.saturating_sub(k).div_ceil(stride).min(out);
        let last = (size + padding).saturating_sub(k).div_ceil(stride).clamp(first, out);
        (first..last, (first * stride + k).saturating_sub(padding))
    }

    /// Whether output rows are as wide as input rows and follow them pixel by pixel, so that a plane of patches is a
    /// shifted plane of the image but for the columns that come from the padding.
    fn keeps_width(&self) -> bool {
        self.geometry.stride == 1 && self.out.1 == self.width
    }
}

/// Write the patches of the images in `x` into `patches`, `[patch, images·pixels]`, whatever was in it.
fn unroll<T: Real>(sizes: &Sizes, x: &[T], patches: &mut [T]) {
    let (plane, pixels, stride) = (sizes.height * sizes.width, sizes.pixels(), sizes.geometry.stride);
    let (width, images) = (sizes.out.1, x.len() / sizes.image());
    for ((_, channel, (ki, kj)), row) in sizes.rows().zip(patches.chunks_exact_mut(images * pixels)) {
        let (down, y) = sizes.meeting(ki, sizes.height, sizes.out.0);
        let (across, left) = sizes.meeting(kj, sizes.width, width);
        if down.is_empty() || across.is_empty() {
            row.fill(T::zero());
            continue;
        }
        let lines = down.start * width..down.end * width;
        let run = lines.start + across.start..lines.end - width + across.end;
        let first = y * sizes.width + left;
        for (to, image) in row.chunks_exact_mut(pixels).zip(x.chunks_exact(sizes.image())) {
            let from = &image[channel * plane..][..plane];
            to[..lines.start].fill(T::zero());
            to[lines.end..].fill(T::zero());
            if sizes.keeps_width() {
                to[run.clone()].copy_from_slice(&from[first..][..run.len()]);
                continue;
            }
            for (index, line) in to[lines.clone()].chunks_exact_mut(width).enumerate() {
                let from = from[first + index * stride * sizes.width..].iter().step_by(stride);
                line[across.clone()].iter_mut().zip(from).for_each(|(to, &from)| *to = from);
            }
        }
        clear_edges(row, width, &across);
    }
}

/// Set the columns outside `kept` to zero in each line.
fn clear_edges<T: Real>(lines: &mut [T], width: usize, kept: &Range<usize>) {
    for column in (0..kept.start).chain(kept.end..width) {
        lines[column..].iter_mut().step_by(width).for_each(|pixel| *pixel = T::zero());
    }
}

/// Add `patches` to the pixels that they were taken from: the adjoint of [`unroll`]. Uses up the patches.
fn roll<T: Real>(sizes: &Sizes, patches: &mut [T], x: &mut [T]) {
    let (plane, pixels, stride) = (sizes.height * sizes.width, sizes.pixels(), sizes.geometry.stride);
    let (width, images) = (sizes.out.1, x.len() / sizes.image());
    for (row, channel, (ki, kj)) in sizes.rows() {
        let (down, y) = sizes.meeting(ki, sizes.height, sizes.out.0);
        let (across, left) = sizes.meeting(kj, sizes.width, width);
        if down.is_empty() || across.is_empty() {
            continue;
        }
        for image in 0..images {
            let to = &mut x[image * sizes.image() + channel * plane..][..plane];
            let from = &mut patches[(row * images + image) * pixels..][..pixels];
            if sizes.keeps_width() {
                clear_edges(&mut from[down.start * width..down.end * width], width, &across);
                let (start, end) = (down.start * width + across.start, (down.end - 1) * width + across.end);
                let to = &mut to[y * sizes.width + left..][..end - start];
                to.iter_mut().zip(&from[start..end]).for_each(|(to, &from)| *to += from);
                continue;
            }
            for (index, line) in from[down.start * width..down.end * width].chunks_exact(width).enumerate() {
                let to = to[(y + index * stride) * sizes.width + left..].iter_mut().step_by(stride);
                to.zip(&line[across.clone()]).for_each(|(to, &from)| *to += from);
            }
        }
    }
}

/// Copy `[images, channels, pixels]` to `[channels, images, pixels]`.
fn channels_first<T: Real>(from: &[T], channels: usize, pixels: usize, to: &mut [T]) {
    let images = from.len() / (channels * pixels);
    for (index, image) in from.chunks_exact(channels * pixels).enumerate() {
        for (channel, plane) in image.chunks_exact(pixels).enumerate() {
            let at = (channel * images + index) * pixels;
            to[at..at + pixels].copy_from_slice(plane);
        }
    }
}

/// The convolution (cross-correlation, as PyTorch's) of `x`, `[S, C, H, W]`, with `w`, `[O, C, h, w]`: `[S, O, H′, W′]`,
/// where H′ = (H + 2·padding − h)/stride + 1.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if channels differ or the kernel is larger than the padded image.
pub fn conv2d(x: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d";
    let sizes = sizes(NAME, x, w, geometry)?;
    dispatch!(NAME, x, T => {
        let (x, w) = (Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?);
        let dims = [sizes.samples, sizes.outputs, sizes.out.0, sizes.out.1];
        tensor(forward::<T>(&sizes, &x, &w), &dims)
    })
}

/// The gradient of ⟨g, conv2d(x, w)⟩ with respect to x, whose shape is `x_dims`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` is not of the shape that such a convolution gives.
pub fn conv2d_input(g: &Tensor, w: &Tensor, x_dims: [usize; 4], geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d_input";
    let sizes = sizes_of_gradient(NAME, g, x_dims, w.dims(), geometry)?;
    dispatch!(NAME, g, T => {
        let (g, w) = (Read::<T>::of(g, NAME)?, Read::<T>::of(w, NAME)?);
        tensor(to_input::<T>(&sizes, &g, &w), &x_dims)
    })
}

/// The gradient of ⟨g, conv2d(x, w)⟩ with respect to w, whose shape is `w_dims`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` is not of the shape that such a convolution gives.
pub fn conv2d_weight(g: &Tensor, x: &Tensor, w_dims: [usize; 4], geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d_weight";
    let Ok(x_dims) = x.dims().try_into() else {
        return Err(shape(NAME, "images `[S, C, H, W]`", &[x]));
    };
    let sizes = sizes_of_gradient(NAME, g, x_dims, &w_dims, geometry)?;
    dispatch!(NAME, g, T => {
        let (g, x) = (Read::<T>::of(g, NAME)?, Read::<T>::of(x, NAME)?);
        tensor(to_weight::<T>(&sizes, &g, &x), &w_dims)
    })
}

fn sizes(operation: &'static str, x: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Sizes> {
    match (x.dims().try_into(), w.dims().try_into()) {
        (Ok(x), Ok(w)) => Sizes::of(x, w, geometry),
        _ => None,
    }
    .ok_or_else(|| shape(operation, "images `[S, C, H, W]` and a kernel `[O, C, h, w]` that fits in them", &[x, w]))
}

fn sizes_of_gradient(
    operation: &'static str,
    g: &Tensor,
    x_dims: [usize; 4],
    w_dims: &[usize],
    geometry: Geometry,
) -> Result<Sizes> {
    let sizes = w_dims.try_into().ok().and_then(|w| Sizes::of(x_dims, w, geometry));
    sizes
        .filter(|sizes| g.dims() == [sizes.samples, sizes.outputs, sizes.out.0, sizes.out.1])
        .ok_or_else(|| shape(operation, format!("the gradient of {x_dims:?} convolved with {w_dims:?}"), &[g]))
}

/// Buffers for the patches of a tile's images, and for `channels` by channel.
fn buffers<T: Real>(sizes: &Sizes, channels: usize) -> (Vec<T>, Vec<T>) {
    let columns = sizes.images() * sizes.pixels();
    (vec![T::zero(); sizes.patch() * columns], vec![T::zero(); channels * columns])
}

fn forward<T: Real>(sizes: &Sizes, x: &[T], w: &[T]) -> Vec<T> {
    let (pixels, patch, outputs) = (sizes.pixels(), sizes.patch(), sizes.outputs);
    let mut out = vec![T::zero(); sizes.samples * outputs * pixels];
    let weight = Matrix::rows(w, outputs, patch);
    let length = sizes.images() * outputs * pixels;
    tiles::fill_with(
        &mut out,
        length,
        sizes.flops(),
        || buffers(sizes, outputs),
        |(patches, summed), index, tile| {
            let images = tile.len() / (outputs * pixels);
            let first = index * sizes.images() * sizes.image();
            let patches = &mut patches[..patch * images * pixels];
            unroll(sizes, &x[first..first + images * sizes.image()], patches);
            let patches = Matrix::rows(patches, patch, images * pixels);
            if images == 1 {
                return product(tile, weight, patches, false);
            }
            let by_channel = &mut summed[..tile.len()];
            product(by_channel, weight, patches, false);
            channels_first(by_channel, images, pixels, tile);
        },
    );
    out
}

fn to_input<T: Real>(sizes: &Sizes, g: &[T], w: &[T]) -> Vec<T> {
    let (pixels, patch, outputs) = (sizes.pixels(), sizes.patch(), sizes.outputs);
    let mut out = vec![T::zero(); sizes.samples * sizes.image()];
    let weight = Matrix::rows(w, outputs, patch).transposed();
    let length = sizes.images() * sizes.image();
    tiles::fill_with(
        &mut out,
        length,
        sizes.flops(),
        || buffers(sizes, outputs),
        |(patches, by_channel), index, tile| {
            let images = tile.len() / sizes.image();
            let first = index * sizes.images() * outputs * pixels;
            let g = &g[first..first + images * outputs * pixels];
            let by_channel = &mut by_channel[..g.len()];
            channels_first(g, outputs, pixels, by_channel);
            let patches = &mut patches[..patch * images * pixels];
            product(patches, weight, Matrix::rows(by_channel, outputs, images * pixels), false);
            roll(sizes, patches, tile);
        },
    );
    out
}

fn to_weight<T: Real>(sizes: &Sizes, g: &[T], x: &[T]) -> Vec<T> {
    let (pixels, patch, outputs) = (sizes.pixels(), sizes.patch(), sizes.outputs);
    let partials = if outputs * patch > LARGE_WEIGHT { 2 } else { 8 };
    let share = sizes.samples.div_ceil(partials).max(1);
    let partial = |index: usize| {
        let mut sum = vec![T::zero(); outputs * patch];
        let mut from = index * share;
        let until = sizes.samples.min(from + share);
        let most = sizes.images().min(until - from);
        let mut patches = vec![T::zero(); patch * most * pixels];
        let mut by_channel = vec![T::zero(); outputs * most * pixels];
        while from < until {
            let images = most.min(until - from);
            let columns = images * pixels;
            let patches = &mut patches[..patch * columns];
            let by_channel = &mut by_channel[..outputs * columns];
            unroll(sizes, &x[from * sizes.image()..(from + images) * sizes.image()], patches);
            let g = &g[from * outputs * pixels..(from + images) * outputs * pixels];
            channels_first(g, outputs, pixels, by_channel);
            let patches = Matrix::rows(patches, patch, columns).transposed();
            product(&mut sum, Matrix::rows(by_channel, outputs, columns), patches, true);
            from += images;
        }
        sum
    };
    let mut sums = tiles::map(sizes.samples.div_ceil(share), sizes.flops(), partial).into_iter();
    let mut total = sums.next().unwrap_or_else(|| vec![T::zero(); outputs * patch]);
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
    }
    total
}
