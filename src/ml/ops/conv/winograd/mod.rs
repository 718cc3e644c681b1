//! Winograd's F(4×4, 3×3) for kernels of 3 × 3 at stride 1 (Lavin and Gray 2016): a tile of 4 × 4 outputs takes 36 products of each
//! pair of channels in place of 144. Input tiles of 6 × 6 and kernels are carried to a domain in which the convolution is 36
//! products of matrices; so is, with the same transforms transposed, the weight's gradient.
//!
//! y = Aᵀ[(G w Gᵀ)∘(Bᵀ d B)]A at the points 0, ±1, ±2, ∞. The transforms lose a digit: in f32 a result is off by some 10⁻⁶ of the largest
//! sum of its products' magnitudes, several times as much as when they are added up one by one; tests bound it by 8·10⁻⁶.
//!
//! What is smaller stays near: where carried kernels are few, a thread takes blocks of tiles all the way with all kernels; where they are
//! many, it takes a panel of kernels all the way with all tiles. Neither writes kernels or products to memory beyond the cache.
//!
//! Reading order: this file (which convolutions), `transforms` (B, A and G), `tiles` (images and their gradients to the other domain and
//! back), `kernels` (weights), `product` (few channels), `convolve` (forward and input gradient), `weight` (weight gradient).

mod convolve;
mod kernels;
mod product;
mod tiles;
mod transforms;
mod weight;

use super::super::lanes::lanes;
use super::frame::Frame;
use super::sweep::cuts;
use super::{Sizes, tiles as work};
use crate::ml::ops::real::Real;

/// Side of a tile of outputs, and of the inputs that it depends on.
const TILE: usize = 4;
const SIDE: usize = TILE + 2;
const POINTS: usize = SIDE * SIDE;

/// Bytes of carried kernels from which on they are carried panel by panel.
const MANY_KERNELS: usize = 3 << 20;

/// Bytes of carried images that all panels are multiplied with in turn.
const GROUP: usize = 6 << 20;

/// A convolution that is done this way: stride 1, `outputs` from `inputs` channels, both whole registers.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    samples: usize,
    image: (usize, usize),
    out: (usize, usize),
    inputs: usize,
    outputs: usize,
    padding: usize,
}

impl Plan {
    /// The plan of a forward pass or a weight's gradient, where this way pays.
    pub(super) fn forward(sizes: &Sizes, lanes: usize) -> Option<Self> {
        let Sizes { samples, image, inputs, outputs, out, .. } = *sizes;
        let padding = sizes.geometry.padding;
        let plan = Self { samples, image, out, inputs, outputs, padding };
        let fits = sizes.kernel == (3, 3) && sizes.geometry.stride == 1 && padding <= 2;
        let pays = samples > 0 && inputs.min(outputs) >= 8 && out.0.min(out.1) >= TILE - 1;
        (fits && pays && inputs.is_multiple_of(lanes) && outputs.is_multiple_of(lanes)).then_some(plan)
    }

    /// The plan of the input's gradient: the convolution of the output's gradient with the kernel turned round.
    pub(super) fn backward(sizes: &Sizes, lanes: usize) -> Option<Self> {
        let plan = Self::forward(sizes, lanes)?;
        let (image, out, padding) = (plan.out, plan.image, 2 - plan.padding);
        Some(Self { image, out, padding, inputs: plan.outputs, outputs: plan.inputs, ..plan })
    }

    /// Tiles down and across an image.
    fn tiles(&self) -> (usize, usize) {
        (self.out.0.div_ceil(TILE), self.out.1.div_ceil(TILE))
    }

    /// Tiles of an image.
    fn count(&self) -> usize {
        self.tiles().0 * self.tiles().1
    }

    /// Elements of an input image.
    fn input(&self) -> usize {
        self.image.0 * self.image.1 * self.inputs
    }

    /// Elements of an output image.
    fn output(&self) -> usize {
        self.out.0 * self.out.1 * self.outputs
    }

    /// Images with margins so wide that every tile has all its inputs.
    fn frame(&self) -> Frame {
        let after = |tiles: usize, size: usize| (tiles * TILE + 2).saturating_sub(size + self.padding);
        let after = (after(self.tiles().0, self.image.0), after(self.tiles().1, self.image.1));
        Frame { image: self.image, channels: self.inputs, before: (self.padding, self.padding), after }
    }

    fn flops(&self) -> usize {
        2 * POINTS * self.samples * self.count() * self.inputs * self.outputs
    }

    /// Panels of output channels: the first and the width of each.
    fn cuts<T: Real>(&self) -> Vec<(usize, usize)> {
        cuts(self.outputs, lanes::<T>()).collect()
    }

    /// Whether there are so many kernels that they are carried panel by panel.
    pub(super) fn by_panels<T>(&self) -> bool {
        POINTS * self.inputs * self.outputs * size_of::<T>() > MANY_KERNELS
    }

    /// Images that all panels are multiplied with in turn, where `channels` of them are carried.
    fn group<T>(&self, channels: usize) -> usize {
        (GROUP / (POINTS * self.count() * channels * size_of::<T>())).clamp(1, self.samples.max(1))
    }
}
