//! Tiles of images and of gradients on their way to the other domain, and products on their way back.

use super::super::super::lanes::{Simd, WithSimd, lanes_of, run, vectors, vectors_mut};
use super::super::outer::SLACK;
use super::super::sweep::Sweep;
use super::transforms::{input, output, spread};
use super::{BLOCK, Kernels, POINTS, Plan, SIDE, TILE};
use crate::ml::ops::real::Real;

/// Some images in the other domain: `[points, tiles, channels]`, with a little more behind.
pub(super) struct Carried<T> {
    pub(super) tiles: usize,
    values: Vec<T>,
}

impl<T: Real> Carried<T> {
    /// Input images.
    pub(super) fn inputs(plan: &Plan, images: &[T]) -> Self {
        let (count, frame) = (images.len() / plan.input(), plan.frame());
        let mut framed = vec![T::zero(); count * frame.len()];
        frame.fill(images, &mut framed);
        let tiles = count * plan.count();
        let mut values = vec![T::zero(); POINTS * tiles * plan.inputs + SLACK];
        run(Over { plan, images: &framed, tiles, to: &mut values, of_inputs: true });
        Self { tiles, values }
    }

    /// Gradients of output images.
    pub(super) fn gradients(plan: &Plan, images: &[T]) -> Self {
        let tiles = images.len() / plan.output() * plan.count();
        let mut values = vec![T::zero(); POINTS * tiles * plan.outputs];
        run(Over { plan, images, tiles, to: &mut values, of_inputs: false });
        Self { tiles, values }
    }

    /// The tiles at a point, `[tiles, channels]`.
    pub(super) fn at(&self, point: usize, channels: usize) -> &[T] {
        &self.values[point * self.tiles * channels..][..self.tiles * channels]
    }

    /// As [`at`](Self::at), with a little more behind.
    pub(super) fn from(&self, point: usize, channels: usize) -> &[T] {
        &self.values[point * self.tiles * channels..][..self.tiles * channels + SLACK]
    }
}

/// Carries images over.
struct Over<'a, T> {
    plan: &'a Plan,
    images: &'a [T],
    tiles: usize,
    to: &'a mut [T],
    of_inputs: bool,
}

impl<T: Real> WithSimd for Over<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, images, tiles, to, of_inputs } = self;
        for place in 0..tiles {
            let (image, tile) = (place / plan.count(), place % plan.count());
            if of_inputs {
                let framed = &images[image * plan.frame().len()..];
                inputs::<S, T>(simd, plan, framed, tile, &mut to[..POINTS * tiles * plan.inputs], (place, tiles));
            } else {
                let g = &images[image * plan.output()..][..plan.output()];
                gradients::<S, T>(simd, plan, g, tile, to, (place, tiles));
            }
        }
    }
}

/// What one thread keeps between blocks.
pub(super) struct Buffers<T> {
    framed: Vec<T>,
    inputs: Vec<T>,
    products: Vec<T>,
    starts: (Vec<usize>, Vec<usize>),
}

impl<T: Real> Buffers<T> {
    pub(super) fn new(plan: &Plan, images: usize) -> Self {
        Self {
            framed: vec![T::zero(); images * plan.frame().len()],
            inputs: vec![T::zero(); POINTS * BLOCK * plan.inputs],
            products: vec![T::zero(); POINTS * BLOCK * plan.outputs],
            starts: plan.starts(BLOCK),
        }
    }
}

/// The convolution of some images, a block of tiles at a time.
pub(super) struct Convolve<'a, T> {
    pub(super) plan: &'a Plan,
    pub(super) x: &'a [T],
    pub(super) kernels: &'a [Kernels<T>],
    pub(super) buffers: &'a mut Buffers<T>,
    pub(super) out: &'a mut [T],
}

impl<T: Real> WithSimd for Convolve<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, x, kernels, buffers, out } = self;
        let (per_image, frame, length) = (plan.count(), plan.frame(), plan.output());
        frame.fill(x, &mut buffers.framed);
        let all = x.len() / plan.input() * per_image;
        let (c, o) = (plan.inputs, plan.outputs);
        for first in (0..all).step_by(BLOCK) {
            let n = BLOCK.min(all - first);
            for t in 0..n {
                let (image, tile) = ((first + t) / per_image, (first + t) % per_image);
                let framed = &buffers.framed[image * frame.len()..];
                inputs::<S, T>(simd, plan, framed, tile, &mut buffers.inputs, (t, BLOCK));
            }
            for point in 0..POINTS {
                let source = &buffers.inputs[point * BLOCK * c..][..n * c];
                let products = &mut buffers.products[point * BLOCK * o..][..n * o];
                let (sources, targets) = (&buffers.starts.0[..n], &buffers.starts.1[..n]);
                for kernels in kernels {
                    let (panel, first, out) = (kernels.at(point, c), kernels.cut.0, &mut *products);
                    let sweep = Sweep { source, sources, targets, pitch: 0, run: c, panel, first, outputs: o, out };
                    sweep.with_simd(simd);
                }
            }
            for t in 0..n {
                let (image, tile) = ((first + t) / per_image, (first + t) % per_image);
                let products = &buffers.products;
                let at = |point: usize| &products[(point * BLOCK + t) * o..][..o];
                outputs::<S, T>(simd, plan, at, tile, &mut out[image * length..][..length]);
            }
        }
    }
}

/// Carries the products of one image back; `products[point]` is `[tiles, outputs]` for all images.
pub(super) struct Back<'a, T> {
    pub(super) plan: &'a Plan,
    pub(super) products: &'a [Vec<T>],
    pub(super) image: usize,
    pub(super) out: &'a mut [T],
}

impl<T: Real> WithSimd for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let o = self.plan.outputs;
        for tile in 0..self.plan.count() {
            let place = self.image * self.plan.count() + tile;
            let at = |point: usize| &self.products[point][place * o..][..o];
            outputs::<S, T>(simd, self.plan, at, tile, self.out);
        }
    }
}

/// The corner of a tile: row and column of its first output.
#[inline(always)]
fn corner(plan: &Plan, tile: usize) -> (usize, usize) {
    let (_, across) = plan.tiles();
    (tile / across * TILE, tile % across * TILE)
}

/// Carries one tile of an image to place `place` of `places` at every point.
#[inline(always)]
fn inputs<S: Simd, T: Real>(
    simd: S,
    plan: &Plan,
    framed: &[T],
    tile: usize,
    to: &mut [T],
    (place, places): (usize, usize),
) {
    let registers = plan.inputs / lanes_of::<S, T>();
    let (frame, (down, across)) = (plan.frame(), corner(plan, tile));
    let to = vectors_mut::<S, T>(to);
    for register in 0..registers {
        let mut half = [[T::splat(simd, T::zero()); SIDE]; SIDE];
        for (y, half) in half.iter_mut().enumerate() {
            let row = vectors::<S, T>(&framed[frame.at(down + y, across)..][..SIDE * plan.inputs]);
            *half = input::<S, T>(simd, std::array::from_fn(|x| row[x * registers + register]));
        }
        for x in 0..SIDE {
            let column = input::<S, T>(simd, std::array::from_fn(|y| half[y][x]));
            for (y, value) in column.into_iter().enumerate() {
                to[((y * SIDE + x) * places + place) * registers + register] = value;
            }
        }
    }
}

/// Carries the products of one tile, `at(point)`, back to its outputs.
#[inline(always)]
fn outputs<'p, S: Simd, T: Real>(simd: S, plan: &Plan, at: impl Fn(usize) -> &'p [T], tile: usize, out: &mut [T]) {
    let registers = plan.outputs / lanes_of::<S, T>();
    let ((rows, columns), (down, across)) = (plan.out, corner(plan, tile));
    let out = vectors_mut::<S, T>(out);
    for register in 0..registers {
        let mut half = [[T::splat(simd, T::zero()); SIDE]; TILE];
        for x in 0..SIDE {
            let column = |y: usize| vectors::<S, T>(at(y * SIDE + x))[register];
            let column = output::<S, T>(simd, std::array::from_fn(column));
            (0..TILE).for_each(|y| half[y][x] = column[y]);
        }
        for (y, half) in half.into_iter().enumerate().take(rows - down) {
            let row = output::<S, T>(simd, half);
            for (x, value) in row.into_iter().enumerate().take(columns - across) {
                out[((down + y) * columns + across + x) * registers + register] = value;
            }
        }
    }
}

/// Carries one tile of gradients to place `place` of `places` at every point.
#[inline(always)]
fn gradients<S: Simd, T: Real>(
    simd: S,
    plan: &Plan,
    g: &[T],
    tile: usize,
    to: &mut [T],
    (place, places): (usize, usize),
) {
    let registers = plan.outputs / lanes_of::<S, T>();
    let ((rows, columns), (down, across)) = (plan.out, corner(plan, tile));
    let (g, to) = (vectors::<S, T>(g), vectors_mut::<S, T>(to));
    let zero = T::splat(simd, T::zero());
    for register in 0..registers {
        let at = |y: usize, x: usize| {
            let inside = down + y < rows && across + x < columns;
            if inside { g[((down + y) * columns + across + x) * registers + register] } else { zero }
        };
        let mut half = [[zero; SIDE]; TILE];
        for (y, half) in half.iter_mut().enumerate() {
            *half = spread::<S, T>(simd, std::array::from_fn(|x| at(y, x)));
        }
        for x in 0..SIDE {
            let column = spread::<S, T>(simd, std::array::from_fn(|y| half[y][x]));
            for (y, value) in column.into_iter().enumerate() {
                to[((y * SIDE + x) * places + place) * registers + register] = value;
            }
        }
    }
}
