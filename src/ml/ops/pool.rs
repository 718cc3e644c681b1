//! Pooling over windows that do not overlap; rows and columns that fill no whole window are left out, as PyTorch does.

use std::sync::Arc;

use candle_core::{Tensor, WithDType};

use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// Height and width of a window.
pub type Window = (usize, usize);

/// Where each output of a max pool lies in its input plane.
#[derive(Clone, Debug)]
pub struct Selection {
    indices: Arc<Vec<u32>>,
    from: [usize; 4],
    to: [usize; 4],
}

/// The position of the first maximum of each window in row-major order. A NaN is greater than all numbers.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` is `[S, C, H, W]` and holds a window.
pub fn maxima(x: &Tensor, window: Window) -> Result<Selection> {
    const NAME: &str = "max_pool";
    let (from, to) = sizes(NAME, x, window)?;
    let [.., height, width] = from;
    let [_, _, rows, columns] = to;
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let mut indices = vec![0u32; to.iter().product()];
        fill_planes(&mut indices, rows * columns, x.len(), |plane, out| {
            let x = &x[plane * height * width..(plane + 1) * height * width];
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                for (column, out) in out.iter_mut().enumerate() {
                    *out = first_maximum(x, width, row * window.0 * width + column * window.1, window) as u32;
                }
            }
        });
        Ok(Selection { indices: Arc::new(indices), from, to })
    })
}

/// The position of the first maximum in the window at `corner` of a plane.
fn first_maximum<T: Real>(x: &[T], width: usize, corner: usize, window: Window) -> usize {
    let (mut best, mut most) = (corner, x[corner]);
    for start in (0..window.0).map(|row| corner + row * width) {
        for (index, &value) in x[start..start + window.1].iter().enumerate() {
            if value > most || (value.is_nan() && !most.is_nan()) {
                (best, most) = (start + index, value);
            }
        }
    }
    best
}

/// The selected elements of `x`, whose shape is that of the selection's input.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if it is not.
pub fn select(x: &Tensor, selection: &Selection) -> Result<Tensor> {
    const NAME: &str = "select";
    if x.dims() != selection.from {
        return Err(shape(NAME, format!("the selection's input, {:?}", selection.from), &[x]));
    }
    let (source, pixels) = (selection.from[2] * selection.from[3], selection.to[2] * selection.to[3]);
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let mut out = vec![0.0 as T; selection.indices.len()];
        fill_planes(&mut out, pixels, selection.indices.len(), |plane, out| {
            let x = &x[plane * source..(plane + 1) * source];
            let indices = &selection.indices[plane * pixels..(plane + 1) * pixels];
            out.iter_mut().zip(indices).for_each(|(out, &index)| *out = x[index as usize]);
        });
        tensor(out, &selection.to)
    })
}

/// The adjoint of [`select`]: `g` at the selected elements, 0 elsewhere.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` has not the shape of the selection's output.
pub fn scatter(g: &Tensor, selection: &Selection) -> Result<Tensor> {
    const NAME: &str = "scatter";
    if g.dims() != selection.to {
        return Err(shape(NAME, format!("the selection's output, {:?}", selection.to), &[g]));
    }
    let (source, pixels) = (selection.from[2] * selection.from[3], selection.to[2] * selection.to[3]);
    dispatch!(NAME, g, T => {
        let g = Read::<T>::of(g, NAME)?;
        let g: &[T] = &g;
        let mut out = vec![0.0 as T; selection.from.iter().product()];
        let flops = out.len();
        fill_planes(&mut out, source, flops, |plane, out| {
            let range = plane * pixels..(plane + 1) * pixels;
            for (&g, &index) in g[range.clone()].iter().zip(&selection.indices[range]) {
                out[index as usize] += g;
            }
        });
        tensor(out, &selection.from)
    })
}

/// The mean of each window of `x`, `[S, C, H, W]`; a window as large as the image gives the global average.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless `x` holds a window.
pub fn avg_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    const NAME: &str = "avg_pool";
    let ([.., height, width], to @ [_, _, rows, columns]) = sizes(NAME, x, window)?;
    dispatch!(NAME, x, T => {
        let x = Read::<T>::of(x, NAME)?;
        let x: &[T] = &x;
        let share = share::<T>(window);
        let mut out = vec![0.0 as T; to.iter().product()];
        fill_planes(&mut out, rows * columns, x.len(), |plane, out| {
            let x = &x[plane * height * width..(plane + 1) * height * width];
            for (at, out) in out.iter_mut().enumerate() {
                let corner = at / columns * window.0 * width + at % columns * window.1;
                let lines = (0..window.0).map(|row| &x[corner + row * width..corner + row * width + window.1]);
                *out = share * lines.flatten().fold(0.0, |sum, &x| sum + x);
            }
        });
        tensor(out, &to)
    })
}

/// The adjoint of [`avg_pool`] on images of shape `from`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) if `g` is not of the shape that such a pool gives.
pub fn avg_pool_adjoint(g: &Tensor, from: [usize; 4], window: Window) -> Result<Tensor> {
    const NAME: &str = "avg_pool_adjoint";
    let [samples, channels, height, width] = from;
    let (rows, columns) = (height / window.0, width / window.1);
    if g.dims() != [samples, channels, rows, columns] {
        return Err(shape(NAME, format!("the gradient of pooled images {from:?}"), &[g]));
    }
    dispatch!(NAME, g, T => {
        let g = Read::<T>::of(g, NAME)?;
        let g: &[T] = &g;
        let share = share::<T>(window);
        let mut out = vec![0.0 as T; from.iter().product()];
        let flops = out.len();
        fill_planes(&mut out, height * width, flops, |plane, out| {
            for (at, &g) in g[plane * rows * columns..(plane + 1) * rows * columns].iter().enumerate() {
                let corner = at / columns * window.0 * width + at % columns * window.1;
                for row in 0..window.0 {
                    let start = corner + row * width;
                    out[start..start + window.1].fill(share * g);
                }
            }
        });
        tensor(out, &from)
    })
}

fn share<T: Real>(window: Window) -> T {
    <T as WithDType>::from_f64(1.0 / (window.0 * window.1) as f64)
}

fn sizes(operation: &'static str, x: &Tensor, window: Window) -> Result<([usize; 4], [usize; 4])> {
    match x.dims() {
        &[samples, channels, height, width]
            if window.0 > 0 && window.1 > 0 && height >= window.0 && width >= window.1 =>
        {
            Ok(([samples, channels, height, width], [samples, channels, height / window.0, width / window.1]))
        }
        _ => Err(shape(operation, format!("images that hold a window of {} × {}", window.0, window.1), &[x])),
    }
}

/// Fill `out` plane by plane; `fill` gets the plane's index.
fn fill_planes<T: Send>(out: &mut [T], plane: usize, flops: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    let planes = (ELEMENTS / plane.max(1)).max(1);
    tiles::fill(out, planes * plane, flops, |index, tile| {
        tile.chunks_exact_mut(plane).enumerate().for_each(|(at, out)| fill(index * planes + at, out));
    });
}
