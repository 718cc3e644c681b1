//! The convolution triple: forward, gradient with respect to the input, gradient with respect to the weight. Each is
//! bilinear, and each one's derivatives are the other two.
//!
//! Images have their channels last, so a patch is a few runs of memory and is never copied: the kernels read it where it lies, in images
//! that are framed by zeros a few at a time. The weights, `[O, C, h, w]` as PyTorch's, are packed once a call.
//!
//! Reading order: this file (what can be asked), `frame`, `sweep` (forward and input gradient), `outer` and `weight` (weight gradient), `taps` (few channels), `winograd` (kernels of
//! 3 × 3 with a quarter of the products).

mod after;
mod frame;
mod outer;
#[cfg(test)]
mod properties;
mod sweep;
mod taps;
#[cfg(test)]
mod tests;
mod weight;
mod winograd;

use crate::ml::tensor::Tensor;
use candle_core::WithDType;

use super::card;
use super::lanes::{self, lanes};
use super::real::{Read, Real, dispatch, elements, shape, tensor};
use super::tiles;
use crate::ml::{Error, Result};
use after::{Last, Locked};
use frame::Frame;
use sweep::{Panels, Sweep};
use winograd::Plan;

pub use after::{After, Gate};

/// Elements of framed images that a tile of work reads, unless one image alone has more.
const FRAMED: usize = 1 << 16;

/// Output pixels that a tile has at least, so that reading the weights pays, and at most, unless one image alone has more.
const PIXELS: std::ops::Range<usize> = 96..4096;

/// How a kernel moves over an image: the same stride and zero padding in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels from one output to the next, at least 1.
    pub stride: usize,
    /// Zeros added on each side: no more than the larger side of image and kernel.
    pub padding: usize,
}

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    samples: usize,
    image: (usize, usize),
    inputs: usize,
    outputs: usize,
    kernel: (usize, usize),
    out: (usize, usize),
    geometry: Geometry,
}

impl Sizes {
    /// The same, as a card wants it.
    fn on_card(&self) -> crate::ml::card::Sizes {
        let pair = |(height, width): (usize, usize)| [height, width];
        crate::ml::card::Sizes {
            samples: self.samples,
            image: pair(self.image),
            inputs: self.inputs,
            kernel: pair(self.kernel),
            result: pair(self.out),
            outputs: self.outputs,
            stride: self.geometry.stride,
            padding: self.geometry.padding,
        }
    }

    fn of(x: [usize; 4], w: [usize; 4], geometry: Geometry) -> Option<Self> {
        let [samples, height, width, inputs] = x;
        let [outputs, channels, kh, kw] = w;
        let Geometry { stride, padding } = geometry;
        let holds_something = [height, width, inputs, outputs, kh, kw].iter().all(|&size| size > 0);
        let is_near = padding <= height.max(width).max(kh).max(kw);
        if !holds_something || channels != inputs || stride == 0 || !is_near {
            return None;
        }
        let out = |size: usize, kernel: usize| {
            Some(size.checked_add(padding.checked_mul(2)?)?.checked_sub(kernel)? / stride + 1)
        };
        let out = (out(height, kh)?, out(width, kw)?);
        let lists = [x, w, [samples, out.0, out.1, outputs], [1, height + 2 * padding, width + 2 * padding, inputs]];
        let fits = lists.iter().all(|dims| elements(dims).is_some());
        fits.then_some(Self { samples, image: (height, width), inputs, outputs, kernel: (kh, kw), out, geometry })
    }

    /// Elements of one input image.
    fn input(&self) -> usize {
        self.image.0 * self.image.1 * self.inputs
    }

    /// Elements of one output image.
    fn output(&self) -> usize {
        self.out.0 * self.out.1 * self.outputs
    }

    /// Products that an output is the sum of.
    fn patch(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.inputs
    }

    fn flops(&self) -> usize {
        2 * self.samples * self.output() * self.patch()
    }

    /// The frame of the input.
    fn frame(&self) -> Frame {
        let margin = (self.geometry.padding, self.geometry.padding);
        Frame { image: self.image, channels: self.inputs, before: margin, after: margin }
    }

    /// Where the weight of output `o`, input `c` and kernel position `(i, j)` lies.
    fn weight(&self, o: usize, c: usize, (i, j): (usize, usize)) -> usize {
        ((o * self.inputs + c) * self.kernel.0 + i) * self.kernel.1 + j
    }

    /// Product `k` of a patch as kernel position and channel: row of the kernel, column, channel.
    fn product(&self, k: usize) -> ((usize, usize), usize) {
        ((k / self.inputs / self.kernel.1, k / self.inputs % self.kernel.1), k % self.inputs)
    }
}

/// The convolution (cross-correlation, as PyTorch's) of `x`, `[S, H, W, C]`, with `w`, `[O, C, h, w]`: `[S, H′, W′, O]`,
/// where H′ = (H + 2·padding − h)/stride + 1.
///
/// # Errors
/// [`Error::Shape`] if channels differ, the kernel is larger than the padded image, or the padding larger than both; for a stride of 0, and for
/// sizes of 0 other than S: no sample gives none.
pub fn conv2d(x: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Tensor> {
    conv2d_sum(&[(x, w, 1.0)], &After::default(), geometry)
}

/// Σ factor·`conv2d(x, w)` over terms `(x, w, factor)` of one shape, such as the derivatives of a convolution are, and what follows:
/// nothing of the single terms is written, nor of what is between the sum and the result.
///
/// # Errors
/// [`Error::Shape`] for no term, terms whose shapes differ, an `after` that does not fit the result, and as [`conv2d`].
pub fn conv2d_sum(terms: &[(&Tensor, &Tensor, f64)], after: &After<'_>, geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d";
    let &[(x, w, _), ..] = terms else { return Err(shape(NAME, "at least one image and kernel", &[])) };
    let sizes = sizes(NAME, x, w, geometry)?;
    if let Some((other, kernel, _)) = terms.iter().find(|term| term.0.dims() != x.dims() || term.1.dims() != w.dims()) {
        return Err(shape(NAME, "terms of one shape", &[x, w, other, kernel]));
    }
    let dims = [sizes.samples, sizes.out.0, sizes.out.1, sizes.outputs];
    after.check(NAME, dims)?;
    dispatch!(NAME, x, T => {
        let mut locked = Vec::with_capacity(terms.len());
        for &(x, w, factor) in terms {
            locked.push((Read::<T>::of(x, NAME)?, Read::<T>::of(w, NAME)?, <T as WithDType>::from_f64(factor)));
        }
        let terms: Vec<Term<'_, T>> = locked.iter().map(|(x, w, factor)| Term { x, w, factor: *factor }).collect();
        let after = Locked::<T>::of(after, sizes.outputs, NAME)?;
        tensor(forward::<T>(&sizes, &terms, after.parts()), &dims)
    }, card => card::conv::forward(NAME, terms, after, sizes.on_card()))
}

/// One term of a sum of convolutions.
#[derive(Clone, Copy)]
struct Term<'a, T> {
    x: &'a [T],
    w: &'a [T],
    factor: T,
}

/// What is added to a sum of convolutions, and what is done then.
type Following<'a, T> = (Option<&'a [T]>, Last<'a, T>);

/// The gradient of ⟨g, conv2d(x, w)⟩ with respect to x, whose shape is `x_dims`.
///
/// # Errors
/// [`Error::Shape`] if `g` is not of the shape that such a convolution gives.
pub fn conv2d_input(g: &Tensor, w: &Tensor, x_dims: [usize; 4], geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d_input";
    let sizes = sizes_of_gradient(NAME, g, x_dims, w.dims(), geometry)?;
    dispatch!(NAME, g, T => {
        let (g, w) = (Read::<T>::of(g, NAME)?, Read::<T>::of(w, NAME)?);
        tensor(to_input::<T>(&sizes, &g, &w), &x_dims)
    }, card => card::conv::to_input(NAME, g, w, sizes.on_card()))
}

/// The gradient of ⟨g, conv2d(x, w)⟩ with respect to w, whose shape is `w_dims`.
///
/// # Errors
/// [`Error::Shape`] if `g` is not of the shape that such a convolution gives.
pub fn conv2d_weight(g: &Tensor, x: &Tensor, w_dims: [usize; 4], geometry: Geometry) -> Result<Tensor> {
    const NAME: &str = "conv2d_weight";
    let Ok(x_dims) = x.dims().try_into() else {
        return Err(shape(NAME, "images `[S, H, W, C]`", &[x]));
    };
    let sizes = sizes_of_gradient(NAME, g, x_dims, &w_dims, geometry)?;
    dispatch!(NAME, g, T => {
        let (g, x) = (Read::<T>::of(g, NAME)?, Read::<T>::of(x, NAME)?);
        tensor(to_weight::<T>(&sizes, &g, &x), &w_dims)
    }, card => card::conv::to_weight(NAME, g, x, sizes.on_card()))
}

fn sizes(operation: &'static str, x: &Tensor, w: &Tensor, geometry: Geometry) -> Result<Sizes> {
    match (x.dims().try_into(), w.dims().try_into()) {
        (Ok(x), Ok(w)) => Sizes::of(x, w, geometry),
        _ => None,
    }
    .ok_or_else(|| unfit(operation, x.dims(), w.dims(), geometry))
}

/// The error of images and a kernel that do not go together.
fn unfit(operation: &'static str, x: &[usize], w: &[usize], Geometry { stride, padding }: Geometry) -> Error {
    Error::Shape {
        operation,
        expected: "images `[S, H, W, C]`, a kernel `[O, C, h, w]` that fits in them, a stride of at least 1 and a padding no larger than \
                   their sides"
            .to_owned(),
        found: format!("{x:?} and {w:?} at stride {stride} with padding {padding}"),
    }
}

fn sizes_of_gradient(
    operation: &'static str,
    g: &Tensor,
    x_dims: [usize; 4],
    w_dims: &[usize],
    geometry: Geometry,
) -> Result<Sizes> {
    let sizes = w_dims.try_into().ok().and_then(|w| Sizes::of(x_dims, w, geometry));
    let sizes = sizes.ok_or_else(|| unfit(operation, &x_dims, w_dims, geometry))?;
    let dims = [sizes.samples, sizes.out.0, sizes.out.1, sizes.outputs];
    if g.dims() != dims {
        let expected = format!("the gradient {dims:?} of {x_dims:?} convolved with {w_dims:?}");
        return Err(shape(operation, expected, &[g]));
    }
    Ok(sizes)
}

/// Output pixels of one image whose patches are read with the same weights, and where those lie.
struct Phase<T> {
    /// The weights of each term.
    panels: Vec<Panels<T>>,
    run: usize,
    sources: Vec<usize>,
    targets: Vec<usize>,
}

impl<T: Real> Phase<T> {
    /// Places of all pixels of one image, by what a pixel's patch starts at and where its result goes.
    fn place(&mut self, pixels: impl Iterator<Item = (usize, usize)>) {
        (self.sources, self.targets) = pixels.unzip();
    }
}

fn forward<T: Real>(sizes: &Sizes, terms: &[Term<'_, T>], after: Following<'_, T>) -> Vec<T> {
    if let Some(plan) = Plan::forward(sizes, lanes::<T>()) {
        return plan.convolve(terms, after);
    }
    let start = |k: usize| {
        let (position, c) = sizes.product(k);
        sizes.weight(0, c, position)
    };
    let matrix = (sizes.patch(), sizes.outputs, sizes.patch());
    let panels = terms.iter().map(|term| Panels::of(term.w, term.factor, matrix, lanes::<T>(), start)).collect();
    let run = sizes.kernel.1 * sizes.inputs;
    let mut phase = Phase { panels, run, sources: Vec::new(), targets: Vec::new() };
    let (frame, (rows, columns), stride) = (sizes.frame(), sizes.out, sizes.geometry.stride);
    let pixels = (0..rows * columns).map(|p| (p / columns, p % columns, p));
    phase.place(pixels.map(|(y, x, p)| (frame.at(y * stride, x * stride), p * sizes.outputs)));
    let images: Vec<&[T]> = terms.iter().map(|term| term.x).collect();
    sweep(sizes, frame, &[phase], (&images, after), sizes.output())
}

fn to_input<T: Real>(sizes: &Sizes, g: &[T], w: &[T]) -> Vec<T> {
    if let Some(plan) = Plan::backward(sizes, lanes::<T>()) {
        return plan.convolve_turned(Term { x: g, w, factor: T::one() });
    }
    let Geometry { stride, padding } = sizes.geometry;
    let ((kh, kw), (height, width)) = (sizes.kernel, sizes.image);
    // An input pixel y + padding = stride·m + a meets kernel rows i = a + stride·t at output rows m − t.
    let taps = |kernel: usize, a: usize| kernel.saturating_sub(a).div_ceil(stride);
    let before = (taps(kh, 0).saturating_sub(1), taps(kw, 0).saturating_sub(1));
    let beyond = |size: usize, out: usize| ((size + padding - 1) / stride + 1).saturating_sub(out);
    let after = (beyond(height, sizes.out.0), beyond(width, sizes.out.1));
    let frame = Frame { image: sizes.out, channels: sizes.outputs, before, after };
    let mut phases = Vec::new();
    // Beyond the kernel's sides there are no taps, however large the stride.
    for (a, b) in (0..stride.min(kh)).flat_map(|a| (0..stride.min(kw)).map(move |b| (a, b))) {
        let (down, across) = (taps(kh, a), taps(kw, b));
        let start = |k: usize| {
            let (o, tap) = (k % sizes.outputs, k / sizes.outputs);
            let (s, t) = (down - 1 - tap / across, across - 1 - tap % across);
            sizes.weight(o, 0, (a + stride * s, b + stride * t))
        };
        let matrix = (down * across * sizes.outputs, sizes.inputs, kh * kw);
        let panels = vec![Panels::of(w, T::one(), matrix, lanes::<T>(), start)];
        let run = across * sizes.outputs;
        let mut phase = Phase { panels, run, sources: Vec::new(), targets: Vec::new() };
        let own = |size: usize, a: usize| (0..size).filter(move |y| (y + padding) % stride == a);
        let start = |y: usize, taps: usize, before: usize| (y + padding) / stride + before + 1 - taps;
        let pixels = own(height, a).flat_map(|y| own(width, b).map(move |x| (y, x)));
        let source = |y, x| frame.at(start(y, down, before.0), start(x, across, before.1));
        phase.place(pixels.map(|(y, x)| (source(y, x), (y * width + x) * sizes.inputs)));
        phases.push(phase);
    }
    sweep(sizes, frame, &phases, (&[g], (None, Last::NOTHING)), sizes.input())
}

/// All phases over the images of all terms, a few images at a time, and what follows; `output` is the length of one result.
fn sweep<T: Real>(
    sizes: &Sizes,
    frame: Frame,
    phases: &[Phase<T>],
    (from, (plus, last)): (&[&[T]], Following<'_, T>),
    output: usize,
) -> Vec<T> {
    let pixels: usize = phases.iter().map(|phase| phase.targets.len()).sum();
    let most = (FRAMED / frame.len().max(1)).min(PIXELS.end / pixels.max(1));
    let images = most.max(PIXELS.start.div_ceil(pixels.max(1))).clamp(1, sizes.samples.max(1));
    let tables: Vec<(Vec<usize>, Vec<usize>)> = phases
        .iter()
        .map(|phase| {
            let repeated = |places: &[usize], length: usize| {
                (0..images).flat_map(|image| places.iter().map(move |place| image * length + place)).collect()
            };
            (repeated(&phase.sources, frame.len()), repeated(&phase.targets, output))
        })
        .collect();
    let input = frame.image.0 * frame.image.1 * frame.channels;
    let buffer = || if frame.is_bare() { Vec::new() } else { vec![T::zero(); images * frame.len()] };
    tiles::make_with(sizes.samples * output, images * output.max(1), sizes.flops(), buffer, |framed, index, tile| {
        let count = tile.len() / output;
        if let Some(plus) = plus {
            tile.copy_from_slice(&plus[index * images * output..][..tile.len()]);
        }
        for (term, from) in from.iter().enumerate() {
            let mut source = &from[index * images * input..][..count * input];
            if !frame.is_bare() {
                frame.fill(source, framed);
                source = framed;
            }
            for (phase, (sources, targets)) in phases.iter().zip(&tables) {
                let (places, panels) = (count * phase.targets.len(), &phase.panels[term]);
                for (first, panel) in panels.iter() {
                    lanes::run(Sweep {
                        source,
                        sources: &sources[..places],
                        targets: &targets[..places],
                        pitch: frame.pitch(),
                        run: phase.run,
                        panel,
                        first,
                        outputs: panels.outputs,
                        add: term > 0 || plus.is_some(),
                        out: tile,
                    });
                }
            }
        }
        last.apply(index * images * output, tile);
    })
}

fn to_weight<T: Real>(sizes: &Sizes, g: &[T], x: &[T]) -> Vec<T> {
    match Plan::forward(sizes, lanes::<T>()) {
        Some(plan) => plan.weight_gradient(g, x),
        None => weight::gradient(sizes, g, x),
    }
}
