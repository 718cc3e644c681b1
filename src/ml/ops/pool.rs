//! Pooling over windows that do not overlap; rows and columns that fill no whole window are left out, as PyTorch does.

use std::sync::Arc;

use candle_core::{Tensor, WithDType};

use super::lanes::{self, Simd, WithSimd};
use super::real::{Read, Real, dispatch, elements, shape, tensor};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// Height and width of a window.
pub type Window = (usize, usize);

/// Where each output of a max pool lies in its input image.
#[derive(Clone, Debug)]
pub struct Selection {
    indices: Arc<Vec<u32>>,
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

    /// Elements of one input image.
    fn input(&self) -> usize {
        self.image.0 * self.image.1 * self.channels
    }

    /// Elements of one output image.
    fn output(&self) -> usize {
        self.to()[1..].iter().product()
    }

    /// Visits the windows of an image: `(start of the output's channels, starts of the window's pixels)`.
    fn windows(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize>)> {
        let ((height, width), (_, line), channels) = (self.window, self.image, self.channels);
        let [_, rows, columns, _] = self.to();
        (0..rows * columns).map(move |at| {
            let corner = at / columns * height * line + at % columns * width;
            let pixels = (0..height * width).map(move |p| (corner + p / width * line + p % width) * channels);
            (at * channels, pixels)
        })
    }

    /// `count` images of `image` elements, filled one by one; `fill` gets the image's index, and the image full of zeros.
    fn make<T>(count: usize, image: usize, flops: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T>
    where
        T: Copy + Default + Send,
    {
        let images = (ELEMENTS / image.max(1)).max(1);
        tiles::make(count * image, images * image.max(1), flops, |index, tile| {
            tile.chunks_exact_mut(image).enumerate().for_each(|(at, out)| fill(index * images + at, out));
        })
    }
}

/// The position of the first maximum of each window of `x`, `[S, H, W, C]`, in row-major order. A NaN is greater than all
/// numbers.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is images that hold a window, of fewer than 2³² elements each.
pub fn maxima(x: &Tensor, window: Window) -> Result<Selection> {
    const NAME: &str = "max_pool";
    let sizes = sizes(NAME, x, window)?;
    if u32::try_from(sizes.input()).is_err() {
        return Err(shape(NAME, "images of fewer than 2³² elements", &[x]));
    }
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let indices = Sizes::make(sizes.samples, sizes.output(), x.len(), |image, out: &mut [u32]| {
            let x = &x[image * sizes.input()..][..sizes.input()];
            lanes::run(Largest { x, sizes: &sizes, out });
        });
        Ok(Selection { indices: Arc::new(indices), sizes })
    })
}

/// Where the largest element of each window of one image lies.
struct Largest<'a, T> {
    x: &'a [T],
    sizes: &'a Sizes,
    out: &'a mut [u32],
}

impl<T: Real> WithSimd for Largest<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.sizes.channels;
        let mut largest = vec![T::zero(); channels];
        for (start, pixels) in self.sizes.windows() {
            let out = &mut self.out[start..start + channels];
            for (n, pixel) in pixels.enumerate() {
                let x = &self.x[pixel..pixel + channels];
                for c in 0..channels {
                    let (a, b) = (x[c], largest[c]);
                    let is_next = n == 0 || a > b || (a.is_nan() && !b.is_nan());
                    largest[c] = if is_next { a } else { b };
                    out[c] = if is_next { (pixel + c) as u32 } else { out[c] };
                }
            }
        }
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
        let out = Sizes::make(sizes.samples, sizes.output(), selection.indices.len(), |image, out: &mut [T]| {
            let x = &x[image * sizes.input()..][..sizes.input()];
            let indices = &selection.indices[image * sizes.output()..][..sizes.output()];
            out.iter_mut().zip(indices).for_each(|(out, &index)| *out = x[index as usize]);
        });
        tensor(out, &sizes.to())
    })
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
        let out = Sizes::make(sizes.samples, sizes.input(), sizes.samples * sizes.input(), |image, out: &mut [T]| {
            let range = image * sizes.output()..(image + 1) * sizes.output();
            for (&g, &index) in g[range.clone()].iter().zip(&selection.indices[range]) {
                out[index as usize] += g;
            }
        });
        tensor(out, &sizes.from())
    })
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
        let share = share::<T>(window);
        let out = Sizes::make(sizes.samples, sizes.output(), x.len(), |image, out: &mut [T]| {
            let x = &x[image * sizes.input()..][..sizes.input()];
            for (start, pixels) in sizes.windows() {
                let out = &mut out[start..start + sizes.channels];
                for pixel in pixels {
                    out.iter_mut().zip(&x[pixel..]).for_each(|(sum, &x)| *sum += x);
                }
                for sum in out {
                    *sum *= share;
                }
            }
        });
        tensor(out, &sizes.to())
    })
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
        let share = share::<T>(window);
        let out = Sizes::make(sizes.samples, sizes.input(), sizes.samples * sizes.input(), |image, out: &mut [T]| {
            let g = &g[image * sizes.output()..][..sizes.output()];
            for (start, pixels) in sizes.windows() {
                for pixel in pixels {
                    let out = &mut out[pixel..pixel + sizes.channels];
                    out.iter_mut().zip(&g[start..]).for_each(|(out, &g)| *out = share * g);
                }
            }
        });
        tensor(out, &from)
    })
}

fn share<T: Real>(window: Window) -> T {
    <T as WithDType>::from_f64(1.0 / (window.0 * window.1) as f64)
}

fn sizes(operation: &'static str, x: &Tensor, window: Window) -> Result<Sizes> {
    let expected = || format!("images `[S, H, W, C]` that hold a window of {} × {}", window.0, window.1);
    Sizes::of(x.dims(), window).ok_or_else(|| shape(operation, expected(), &[x]))
}
