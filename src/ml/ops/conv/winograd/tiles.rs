//! Tiles of images and of gradients on their way to the other domain, and products on their way back.

use super::super::super::lanes::{Lanes, Simd, WithSimd, lanes_of, run, vectors, vectors_mut};
use super::super::outer::SLACK;
use super::transforms::{input, output, spread};
use super::{POINTS, Plan, SIDE, TILE};
use crate::ml::ops::real::Real;

/// Elements between the channels of two tiles where there are many: with a large power of two from tile to tile, all would compete for one
/// place in the cache.
const GAP: usize = 16;

/// Channels from which on there is a gap.
const MANY: usize = 128;

/// Distance from a tile to the next of so many channels.
pub(super) const fn pitch(channels: usize) -> usize {
    if channels < MANY { channels } else { channels + GAP }
}

/// Tiles in the other domain, `[points, places, channels]`, with gaps between tiles and a little more behind.
pub(super) struct Carried<T> {
    pub(super) places: usize,
    channels: usize,
    values: Vec<T>,
}

impl<T: Real> Carried<T> {
    /// Room for so many tiles.
    pub(super) fn room(places: usize, channels: usize) -> Self {
        Self { places, channels, values: vec![T::zero(); POINTS * places * pitch(channels) + SLACK] }
    }

    /// Input images.
    pub(super) fn inputs(plan: &Plan, images: &[T]) -> Self {
        let mut carried = Self::room(images.len() / plan.input() * plan.count(), plan.inputs);
        carried.take_inputs(plan, images);
        carried
    }

    /// Gradients of output images.
    pub(super) fn gradients(plan: &Plan, images: &[T]) -> Self {
        let mut carried = Self::room(images.len() / plan.output() * plan.count(), plan.outputs);
        carried.take_gradients(plan, images);
        carried
    }

    /// Takes in input images, for which there is room.
    pub(super) fn take_inputs(&mut self, plan: &Plan, images: &[T]) {
        self.places = images.len() / plan.input() * plan.count();
        let framed = plan.frame().framed(images, 0);
        run(Over { plan, images: &framed, tiles: 0..self.places, to: self, of_inputs: true });
    }

    /// Takes in gradients of output images, for which there is room.
    pub(super) fn take_gradients(&mut self, plan: &Plan, images: &[T]) {
        self.places = images.len() / plan.output() * plan.count();
        run(Over { plan, images, tiles: 0..self.places, to: self, of_inputs: false });
    }

    /// The tiles at a point, and whatever follows.
    #[inline(always)]
    pub(super) fn at(&self, point: usize) -> &[T] {
        &self.values[point * self.places * pitch(self.channels)..]
    }
}

/// Carries some tiles of framed images or of gradients over, to the places from the first on.
pub(super) struct Over<'a, T> {
    pub(super) plan: &'a Plan,
    pub(super) images: &'a [T],
    pub(super) tiles: std::ops::Range<usize>,
    pub(super) to: &'a mut Carried<T>,
    pub(super) of_inputs: bool,
}

impl<T: Real> WithSimd for Over<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, images, tiles, to, of_inputs } = self;
        for (place, tile) in tiles.enumerate() {
            let (image, tile) = (tile / plan.count(), tile % plan.count());
            if of_inputs {
                inputs::<S, T>(simd, plan, &images[image * plan.frame().len()..], tile, to, place);
            } else {
                gradients::<S, T>(simd, plan, &images[image * plan.output()..][..plan.output()], tile, to, place);
            }
        }
    }
}

/// Carries products, `[points, places, width]`, back to `width` channels of outputs.
pub(super) struct Back<'a, T> {
    pub(super) plan: &'a Plan,
    pub(super) products: &'a [T],
    pub(super) places: usize,
    pub(super) tiles: std::ops::Range<usize>,
    pub(super) width: usize,
    /// What is added to the outputs.
    pub(super) plus: Option<&'a [T]>,
    pub(super) out: &'a mut [T],
}

impl<T: Real> WithSimd for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, products, places, tiles, width, plus, out } = self;
        let registers = width / lanes_of::<S, T>();
        let (products, out) = (vectors::<S, T>(products), vectors_mut::<S, T>(out));
        let (rows, columns) = plan.out;
        for (place, tile) in tiles.enumerate() {
            let (image, tile) = (tile / plan.count(), tile % plan.count());
            let (down, across) = corner(plan, tile);
            let start = image * rows * columns * registers;
            let out = &mut out[start..start + rows * columns * registers];
            let plus = plus.map(|plus| &vectors::<S, T>(plus)[start..start + rows * columns * registers]);
            for register in 0..registers {
                let mut half = [[T::splat(simd, T::zero()); SIDE]; TILE];
                for x in 0..SIDE {
                    let mut column = [T::splat(simd, T::zero()); SIDE];
                    for (y, value) in column.iter_mut().enumerate() {
                        *value = products[((y * SIDE + x) * places + place) * registers + register];
                    }
                    let column = output::<S, T>(simd, column);
                    for y in 0..TILE {
                        half[y][x] = column[y];
                    }
                }
                for (y, half) in half.into_iter().enumerate().take(rows - down) {
                    let row = output::<S, T>(simd, half);
                    for (x, value) in row.into_iter().enumerate().take(columns - across) {
                        let at = ((down + y) * columns + across + x) * registers + register;
                        out[at] = match plus {
                            Some(plus) => <T as Lanes>::add(simd, value, plus[at]),
                            None => value,
                        };
                    }
                }
            }
        }
    }
}

/// The corner of a tile: row and column of its first output.
#[inline(always)]
fn corner(plan: &Plan, tile: usize) -> (usize, usize) {
    let (_, across) = plan.tiles();
    (tile / across * TILE, tile % across * TILE)
}

/// Carries one tile of an image to a place at every point.
#[inline(always)]
fn inputs<S: Simd, T: Real>(simd: S, plan: &Plan, framed: &[T], tile: usize, to: &mut Carried<T>, place: usize) {
    let lanes = lanes_of::<S, T>();
    let registers = plan.inputs / lanes;
    let (frame, (down, across)) = (plan.frame(), corner(plan, tile));
    let (places, pitch) = (to.places, pitch(plan.inputs) / lanes);
    let length = POINTS * places * pitch;
    let to = &mut vectors_mut::<S, T>(&mut to.values[..length * lanes])[..length];
    for register in 0..registers {
        let mut half = [[T::splat(simd, T::zero()); SIDE]; SIDE];
        for (y, half) in half.iter_mut().enumerate() {
            let row = vectors::<S, T>(&framed[frame.at(down + y, across)..][..SIDE * plan.inputs]);
            let mut pixels = [T::splat(simd, T::zero()); SIDE];
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = row[x * registers + register];
            }
            *half = input::<S, T>(simd, pixels);
        }
        for x in 0..SIDE {
            let mut column = [T::splat(simd, T::zero()); SIDE];
            for (value, half) in column.iter_mut().zip(&half) {
                *value = half[x];
            }
            for (y, value) in input::<S, T>(simd, column).into_iter().enumerate() {
                to[((y * SIDE + x) * places + place) * pitch + register] = value;
            }
        }
    }
}

/// Carries one tile of gradients to a place at every point.
#[inline(always)]
fn gradients<S: Simd, T: Real>(simd: S, plan: &Plan, g: &[T], tile: usize, to: &mut Carried<T>, place: usize) {
    let lanes = lanes_of::<S, T>();
    let registers = plan.outputs / lanes;
    let ((rows, columns), (down, across)) = (plan.out, corner(plan, tile));
    let (places, pitch) = (to.places, pitch(plan.outputs) / lanes);
    let length = POINTS * places * pitch;
    let (g, to) = (vectors::<S, T>(g), &mut vectors_mut::<S, T>(&mut to.values[..length * lanes])[..length]);
    let zero = T::splat(simd, T::zero());
    for register in 0..registers {
        let mut half = [[zero; SIDE]; TILE];
        for (y, half) in half.iter_mut().enumerate() {
            let mut pixels = [zero; TILE];
            for (x, pixel) in pixels.iter_mut().enumerate() {
                if down + y < rows && across + x < columns {
                    *pixel = g[((down + y) * columns + across + x) * registers + register];
                }
            }
            *half = spread::<S, T>(simd, pixels);
        }
        for x in 0..SIDE {
            let mut column = [zero; TILE];
            for (value, half) in column.iter_mut().zip(&half) {
                *value = half[x];
            }
            for (y, value) in spread::<S, T>(simd, column).into_iter().enumerate() {
                to[((y * SIDE + x) * places + place) * pitch + register] = value;
            }
        }
    }
}
