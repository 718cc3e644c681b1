//! Pooling over windows that do not overlap; rows and columns that fill no whole window are left out, as PyTorch does.

use crate::ml::tensor::{Device, Tensor};
use candle_core::WithDType;

use super::card;
use super::lanes::{self, Simd, WithSimd};
use super::real::{Read, Real, dispatch, elements, shape, tensor};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// Height and width of a window.
pub type Window = (usize, usize);

/// Channels that are looked at together, where so many are left.
const TOGETHER: usize = 8;

/// Which pixel of its window each output of a max pool is.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Its number in the window, row by row: u32, of the sizes of the outputs.
    pixels: Tensor,
    sizes: Sizes,
}

/// The sizes of one pool.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    samples: usize,
    image: (usize, usize),
    channels: usize,
    window: Window,
}

impl Sizes {
    fn of(dims: &[usize], window: Window) -> Option<Self> {
        let &[samples, height, width, channels] = dims else { return None };
        let fits = window.0 > 0 && window.1 > 0 && height >= window.0 && width >= window.1 && channels > 0;
        elements(dims).filter(|_| fits).map(|_| Self { samples, image: (height, width), channels, window })
    }

    fn from(&self) -> [usize; 4] {
        [self.samples, self.image.0, self.image.1, self.channels]
    }

    fn to(&self) -> [usize; 4] {
        [self.samples, self.image.0 / self.window.0, self.image.1 / self.window.1, self.channels]
    }

    /// The same, as a card wants it.
    fn windows(&self) -> card::pool::Windows {
        let [samples, height, width, channels] = self.from();
        [samples, height, width, channels, self.window.0, self.window.1]
    }

    /// Elements of one input image.
    fn input(&self) -> usize {
        self.image.0 * self.image.1 * self.channels
    }

    /// Elements of one output image.
    fn output(&self) -> usize {
        self.to()[1..].iter().product()
    }

    /// Elements of all input images.
    fn inputs(&self) -> usize {
        self.samples * self.input()
    }

    /// Images whose larger side has about as many elements as an elementwise tile.
    fn together(&self) -> usize {
        (ELEMENTS / self.input()).max(1)
    }

    /// The inputs of the images of a tile.
    fn inputs_of<'a, T>(&self, x: &'a [T], tile: usize) -> &'a [T] {
        let start = tile * self.together() * self.input();
        &x[start..x.len().min(start + self.together() * self.input())]
    }

    /// The outputs of the images of a tile.
    fn outputs_of<'a, T>(&self, y: &'a [T], tile: usize) -> &'a [T] {
        let start = tile * self.together() * self.output();
        &y[start..y.len().min(start + self.together() * self.output())]
    }

    /// Calls the body for some neighbouring channels of each window of some images, until all have had their turn.
    #[inline(always)]
    fn visit(&self, images: usize, mut body: impl OverWindows) {
        let [_, rows, columns, channels] = self.to();
        let (height, width) = self.window;
        let line = self.image.1 * channels;
        for image in 0..images {
            for y in 0..rows {
                for x in 0..columns {
                    let output = image * self.output() + (y * columns + x) * channels;
                    let corner = image * self.input() + y * height * line + x * width * channels;
                    let mut at = At { output, corner, line, channels, window: self.window };
                    let end = output + channels;
                    while at.output + TOGETHER <= end {
                        body.window::<TOGETHER>(at);
                        at = at.next(TOGETHER);
                    }
                    while at.output < end {
                        body.window::<1>(at);
                        at = at.next(1);
                    }
                }
            }
        }
    }
}

/// Where the channels of a window lie that are looked at.
#[derive(Clone, Copy)]
struct At {
    /// In the outputs.
    output: usize,
    /// In the inputs, at the window's first pixel.
    corner: usize,
    /// Input elements from one row to the next.
    line: usize,
    /// Input elements from one pixel to the next.
    channels: usize,
    window: Window,
}

impl At {
    #[inline(always)]
    fn next(self, channels: usize) -> Self {
        Self { output: self.output + channels, corner: self.corner + channels, ..self }
    }

    /// Where a pixel of the window lies in the inputs, and its number, row by row.
    #[inline(always)]
    fn pixel(&self, y: usize, x: usize) -> (usize, u32) {
        (self.corner + y * self.line + x * self.channels, (y * self.window.1 + x) as u32)
    }
}

/// What is done with `N` channels of each window.
trait OverWindows {
    fn window<const N: usize>(&mut self, at: At);
}

/// `N` elements of a slice.
#[inline(always)]
fn few<T, const N: usize>(values: &[T], at: usize) -> &[T; N] {
    &values[at..at + N].as_chunks::<N>().0[0]
}

/// `N` elements of a slice, to write to.
#[inline(always)]
fn few_mut<T, const N: usize>(values: &mut [T], at: usize) -> &mut [T; N] {
    &mut values[at..at + N].as_chunks_mut::<N>().0[0]
}

/// A body for the windows of some images, as one for the machine's vectors.
struct Pass<'a, B> {
    sizes: &'a Sizes,
    images: usize,
    body: B,
}

impl<B: OverWindows> WithSimd for Pass<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.sizes.visit(self.images, self.body);
    }
}

/// The maximum of each window of `x`, `[S, H, W, C]`, and which pixel it is: the first of equal ones in row-major order. A NaN is greater
/// than all numbers.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is images that hold a window, of fewer than 2³² pixels.
pub fn max_pool(x: &Tensor, window: Window) -> Result<(Tensor, Selection)> {
    const NAME: &str = "max_pool";
    let sizes = sizes(NAME, x, window)?;
    if u32::try_from(window.0 * window.1).is_err() {
        return Err(shape(NAME, "windows of fewer than 2³² pixels", &[x]));
    }
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let (count, length) = (sizes.samples * sizes.output(), sizes.together() * sizes.output());
        let (largest, pixels) = tiles::make_two(count, length, x.len(), |tile, largest: &mut [T], pixels: &mut [u32]| {
            let images = largest.len() / sizes.output();
            lanes::run(Pass { sizes: &sizes, images, body: Largest { x: sizes.inputs_of(x, tile), values: largest, pixels } });
        });
        let pixels = Tensor::from_vec(pixels, &sizes.to()[..], &Device::Cpu)?;
        Ok((tensor(largest, &sizes.to())?, Selection { pixels, sizes }))
    }, card => {
        let (largest, pixels) = card::pool::max_pool(NAME, x, sizes.windows(), &sizes.to())?;
        Ok((largest, Selection { pixels, sizes }))
    })
}

struct Largest<'a, T> {
    x: &'a [T],
    values: &'a mut [T],
    pixels: &'a mut [u32],
}

impl<T: Real> OverWindows for Largest<'_, T> {
    #[inline(always)]
    fn window<const N: usize>(&mut self, at: At) {
        let mut largest = *few::<T, N>(self.x, at.corner);
        let mut pixels = [0; N];
        for y in 0..at.window.0 {
            for x in 0..at.window.1 {
                let (start, pixel) = at.pixel(y, x);
                let next = few::<T, N>(self.x, start);
                for c in 0..N {
                    // What is no number is not exceeded, and exceeds all numbers.
                    let exceeds = (next[c] > largest[c]) | (Real::is_nan(next[c]) & !Real::is_nan(largest[c]));
                    largest[c] = if exceeds { next[c] } else { largest[c] };
                    pixels[c] = if exceeds { pixel } else { pixels[c] };
                }
            }
        }
        *few_mut(self.values, at.output) = largest;
        *few_mut(self.pixels, at.output) = pixels;
    }
}

/// The selected elements of `x`, whose shape is that of the selection's input.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if it is not.
pub fn select(x: &Tensor, selection: &Selection) -> Result<Tensor> {
    const NAME: &str = "select";
    let sizes = &selection.sizes;
    if x.dims() != sizes.from() {
        return Err(shape(NAME, format!("the selection's input, {:?}", sizes.from()), &[x]));
    }
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let pixels = Read::<u32>::of(&selection.pixels, NAME)?;
        let (count, length) = (pixels.len(), sizes.together() * sizes.output());
        let out = tiles::make(count, length, x.len(), |tile, out| {
            let (x, pixels) = (sizes.inputs_of(x, tile), sizes.outputs_of(&pixels, tile));
            lanes::run(Pass { sizes, images: out.len() / sizes.output(), body: Selected { x, pixels, out } });
        });
        tensor(out, &sizes.to())
    }, card => card::pool::with_pixels(NAME, x, &selection.pixels, sizes.windows(), &sizes.to()))
}

struct Selected<'a, T> {
    x: &'a [T],
    pixels: &'a [u32],
    out: &'a mut [T],
}

impl<T: Real> OverWindows for Selected<'_, T> {
    #[inline(always)]
    fn window<const N: usize>(&mut self, at: At) {
        let pixels = *few::<u32, N>(self.pixels, at.output);
        let mut out = [T::zero(); N];
        for y in 0..at.window.0 {
            for x in 0..at.window.1 {
                let (start, pixel) = at.pixel(y, x);
                let x = few::<T, N>(self.x, start);
                for c in 0..N {
                    out[c] = if pixels[c] == pixel { x[c] } else { out[c] };
                }
            }
        }
        *few_mut(self.out, at.output) = out;
    }
}

/// The adjoint of [`select`]: `g` at the selected elements, 0 elsewhere.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` has not the shape of the selection's output.
pub fn scatter(g: &Tensor, selection: &Selection) -> Result<Tensor> {
    const NAME: &str = "scatter";
    let sizes = &selection.sizes;
    if g.dims() != sizes.to() {
        return Err(shape(NAME, format!("the selection's output, {:?}", sizes.to()), &[g]));
    }
    dispatch!(NAME, g, T => {
        let g = Read::<T>::of(g, NAME)?;
        let g: &[T] = &g;
        let pixels = Read::<u32>::of(&selection.pixels, NAME)?;
        let out = tiles::make(sizes.inputs(), sizes.together() * sizes.input(), sizes.inputs(), |tile, out| {
            let (g, pixels) = (sizes.outputs_of(g, tile), sizes.outputs_of(&pixels, tile));
            lanes::run(Pass { sizes, images: out.len() / sizes.input(), body: Scattered { g, pixels, out } });
        });
        tensor(out, &sizes.from())
    }, card => card::pool::with_pixels(NAME, g, &selection.pixels, sizes.windows(), &sizes.from()))
}

struct Scattered<'a, T> {
    g: &'a [T],
    pixels: &'a [u32],
    out: &'a mut [T],
}

impl<T: Real> OverWindows for Scattered<'_, T> {
    #[inline(always)]
    fn window<const N: usize>(&mut self, at: At) {
        let (g, pixels) = (*few::<T, N>(self.g, at.output), *few::<u32, N>(self.pixels, at.output));
        for y in 0..at.window.0 {
            for x in 0..at.window.1 {
                let (start, pixel) = at.pixel(y, x);
                let out = few_mut::<T, N>(self.out, start);
                for c in 0..N {
                    out[c] = if pixels[c] == pixel { g[c] } else { T::zero() };
                }
            }
        }
    }
}

/// The mean of each window of `x`, `[S, H, W, C]`; a window as large as the image gives the global average.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` holds a window.
pub fn avg_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    const NAME: &str = "avg_pool";
    let sizes = sizes(NAME, x, window)?;
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let (count, length) = (sizes.samples * sizes.output(), sizes.together() * sizes.output());
        let out = tiles::make(count, length, x.len(), |tile, out| {
            let body = Mean { x: sizes.inputs_of(x, tile), share: share(window), out };
            lanes::run(Pass { sizes: &sizes, images: body.out.len() / sizes.output(), body });
        });
        tensor(out, &sizes.to())
    }, card => card::pool::averaged(NAME, x, sizes.windows(), &sizes.to()))
}

struct Mean<'a, T> {
    x: &'a [T],
    share: T,
    out: &'a mut [T],
}

impl<T: Real> OverWindows for Mean<'_, T> {
    #[inline(always)]
    fn window<const N: usize>(&mut self, at: At) {
        let mut sums = [T::zero(); N];
        for y in 0..at.window.0 {
            for x in 0..at.window.1 {
                let x = few::<T, N>(self.x, at.pixel(y, x).0);
                for c in 0..N {
                    sums[c] += x[c];
                }
            }
        }
        for sum in &mut sums {
            *sum *= self.share;
        }
        *few_mut(self.out, at.output) = sums;
    }
}

/// The adjoint of [`avg_pool`] on images of shape `from`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` is not of the shape that such a pool gives.
pub fn avg_pool_adjoint(g: &Tensor, from: [usize; 4], window: Window) -> Result<Tensor> {
    const NAME: &str = "avg_pool_adjoint";
    let expected = || format!("the gradient of images {from:?} pooled over windows of {} × {}", window.0, window.1);
    let fitting = Sizes::of(&from, window).filter(|sizes| g.dims() == sizes.to());
    let sizes = fitting.ok_or_else(|| shape(NAME, expected(), &[g]))?;
    dispatch!(NAME, g, T => {
        let g = Read::<T>::of(g, NAME)?;
        let g: &[T] = &g;
        let out = tiles::make(sizes.inputs(), sizes.together() * sizes.input(), sizes.inputs(), |tile, out| {
            let body = Shared { g: sizes.outputs_of(g, tile), share: share(window), out };
            lanes::run(Pass { sizes: &sizes, images: body.out.len() / sizes.input(), body });
        });
        tensor(out, &from)
    }, card => card::pool::averaged(NAME, g, sizes.windows(), &from))
}

struct Shared<'a, T> {
    g: &'a [T],
    share: T,
    out: &'a mut [T],
}

impl<T: Real> OverWindows for Shared<'_, T> {
    #[inline(always)]
    fn window<const N: usize>(&mut self, at: At) {
        let mut g = *few::<T, N>(self.g, at.output);
        for g in &mut g {
            *g *= self.share;
        }
        for y in 0..at.window.0 {
            for x in 0..at.window.1 {
                *few_mut(self.out, at.pixel(y, x).0) = g;
            }
        }
    }
}

fn share<T: Real>(window: Window) -> T {
    <T as WithDType>::from_f64(1.0 / (window.0 * window.1) as f64)
}

fn sizes(operation: &'static str, x: &Tensor, window: Window) -> Result<Sizes> {
    let expected = || format!("images `[S, H, W, C]` that hold a window of {} × {}", window.0, window.1);
    Sizes::of(x.dims(), window).ok_or_else(|| shape(operation, expected(), &[x]))
}
