//! Winograd's F(4×4, 3×3) for kernels of 3 × 3 at stride 1 (Lavin and Gray 2016): a tile of 4 × 4 outputs takes 36 products of each
//! pair of channels in place of 144. Input tiles of 6 × 6 and kernels are carried to a domain in which the convolution is 36
//! products of matrices; so is, with the same transforms transposed, the weight's gradient.
//!
//! y = Aᵀ[(G w Gᵀ)∘(Bᵀ d B)]A at the points 0, ±1, ±2, ∞. The transforms lose a digit: in f32 a result is off by some 10⁻⁶ of the sum of
//! its products' magnitudes, five to ten times as much as when they are added up one by one.
//!
//! Reading order: this file (which convolutions, and the order of the work), `transforms` (B, A and G), `tiles` (images and their
//! gradients to the other domain and back), `kernels` (weights).

mod kernels;
mod tiles;
mod transforms;

use rayon::prelude::*;

use super::super::lanes::{self, lanes};
use super::frame::Frame;
use super::outer::Outer;
use super::sweep::{Sweep, cuts};
use super::{Sizes, tiles as work};
use crate::ml::ops::real::Real;
use kernels::{Carry, Return};
use tiles::{Carried, Convolve};

/// Side of a tile of outputs, and of the inputs that it depends on.
const TILE: usize = 4;
const SIDE: usize = TILE + 2;
const POINTS: usize = SIDE * SIDE;

/// Tiles whose products one thread takes together where there are many.
const BLOCK: usize = 48;

/// Tiles from which on each thread does blocks of its own; fewer are carried to the other domain all together, and the points are shared out.
const MANY: usize = 8 * BLOCK;

/// Tiles that are carried together, at least: for products, and for the weight's gradient.
const FEW: usize = 24;
const SUMMED: usize = 96;

/// Elements of transformed images that are kept at a time for a weight's gradient.
const KEPT: usize = 1 << 21;

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
        let pays = samples > 0 && inputs.min(outputs) >= 16 && out.0.min(out.1) >= TILE - 1;
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

    fn cuts<T: Real>(&self) -> Vec<(usize, usize)> {
        cuts(self.outputs, lanes::<T>()).collect()
    }

    /// The convolution of `x` with the kernels `w(o, c)`.
    pub(super) fn convolve<T: Real>(&self, x: &[T], w: impl Fn(usize, usize) -> [T; 9] + Sync) -> Vec<T> {
        let kernels = self.kernels(w);
        let mut out = vec![T::zero(); self.samples * self.output()];
        if self.samples * self.count() < MANY {
            self.by_points(x, &kernels, &mut out);
        } else {
            self.by_blocks(x, &kernels, &mut out);
        }
        out
    }

    /// Each thread takes some images all the way, a block of tiles at a time.
    fn by_blocks<T: Real>(&self, x: &[T], kernels: &[Kernels<T>], out: &mut [T]) {
        let images = BLOCK.div_ceil(self.count()).clamp(1, self.samples.max(1));
        let buffers = || tiles::Buffers::new(self, images);
        work::fill_with(out, images * self.output(), self.flops(), buffers, |buffers, index, out| {
            let count = out.len() / self.output();
            let x = &x[index * images * self.input()..][..count * self.input()];
            lanes::run(Convolve { plan: self, x, kernels, buffers, out });
        });
    }

    /// All images are carried over, then each thread takes some points, then all are carried back.
    fn by_points<T: Real>(&self, x: &[T], kernels: &[Kernels<T>], out: &mut [T]) {
        let groups = self.carried(x, FEW, self.input(), Carried::inputs);
        let point = |point: usize| {
            let mut products = vec![T::zero(); self.samples * self.count() * self.outputs];
            let mut rest = &mut products[..];
            for group in &groups {
                let (out, others) = rest.split_at_mut(group.tiles * self.outputs);
                rest = others;
                let (sources, targets) = self.starts(group.tiles);
                for kernels in kernels {
                    lanes::run(Sweep {
                        source: group.at(point, self.inputs),
                        sources: &sources,
                        targets: &targets,
                        pitch: 0,
                        run: self.inputs,
                        panel: kernels.at(point, self.inputs),
                        first: kernels.cut.0,
                        outputs: self.outputs,
                        out,
                    });
                }
            }
            products
        };
        let products: Vec<Vec<T>> = (0..POINTS).into_par_iter().map(point).collect();
        out.par_chunks_mut(self.output()).enumerate().for_each(|(image, out)| {
            lanes::run(tiles::Back { plan: self, products: &products, image, out });
        });
    }

    /// Where the inputs and the outputs of each of `tiles` tiles start at one point.
    fn starts(&self, tiles: usize) -> (Vec<usize>, Vec<usize>) {
        (0..tiles).map(|tile| (tile * self.inputs, tile * self.outputs)).unzip()
    }

    /// Images, of `length` elements each, in the other domain: in groups that have `least` tiles.
    fn carried<T: Real>(
        &self,
        images: &[T],
        least: usize,
        length: usize,
        carry: fn(&Self, &[T]) -> Carried<T>,
    ) -> Vec<Carried<T>> {
        let share = least.div_ceil(self.count());
        images.par_chunks(share * length).map(|images| carry(self, images)).collect()
    }

    /// The kernels in the other domain, panel by panel.
    fn kernels<T: Real>(&self, w: impl Fn(usize, usize) -> [T; 9] + Sync) -> Vec<Kernels<T>> {
        let panel = |cut: (usize, usize)| {
            let mut values = vec![T::zero(); POINTS * self.inputs * cut.1];
            lanes::run(Carry { w: &w, cut, inputs: self.inputs, to: &mut values });
            Kernels { cut, values }
        };
        self.cuts::<T>().into_par_iter().map(panel).collect()
    }

    /// The gradient of ⟨g, convolution of x⟩ with respect to the kernels: `[outputs, inputs, 3, 3]`.
    pub(super) fn weight_gradient<T: Real>(&self, g: &[T], x: &[T]) -> Vec<T> {
        let cuts = self.cuts::<T>();
        let kept = KEPT / (POINTS * (self.inputs + self.outputs) * self.count());
        let images = kept.max(SUMMED.div_ceil(self.count())).clamp(1, self.samples.max(1));
        let mut sums = vec![T::zero(); POINTS * self.inputs * self.outputs];
        for (x, g) in x.chunks(images * self.input()).zip(g.chunks(images * self.output())) {
            let inputs = self.carried(x, SUMMED, self.input(), Carried::inputs);
            let gradients = self.carried(g, SUMMED, self.output(), Carried::gradients);
            sums.par_chunks_mut(self.inputs * self.outputs).enumerate().for_each(|(point, sums)| {
                for (x, g) in inputs.iter().zip(&gradients) {
                    let (sources, _) = self.starts(x.tiles);
                    let mut rest = &mut sums[..];
                    for &(first, width) in &cuts {
                        let (sums, others) = rest.split_at_mut(self.inputs * width);
                        rest = others;
                        lanes::run(Outer {
                            source: x.from(point, self.inputs),
                            sources: &sources,
                            gradients: g.at(point, self.outputs),
                            stride: self.outputs,
                            first,
                            run: self.inputs,
                            sums,
                        });
                    }
                }
            });
        }
        let mut weight = vec![T::zero(); self.outputs * self.inputs * 9];
        let widest = cuts.first().map_or(1, |cut| cut.1);
        weight.par_chunks_mut(widest * self.inputs * 9).zip(&cuts).for_each(|(to, &(first, width))| {
            let length = self.inputs * width;
            let at = |point: usize| &sums[point * self.inputs * self.outputs + first * self.inputs..][..length];
            lanes::run(Return { at, width, inputs: self.inputs, to });
        });
        weight
    }
}

/// The kernels of one panel in the other domain: `[points, inputs, width]`.
struct Kernels<T> {
    /// First output channel, and how many.
    cut: (usize, usize),
    values: Vec<T>,
}

impl<T> Kernels<T> {
    fn at(&self, point: usize, inputs: usize) -> &[T] {
        let length = inputs * self.cut.1;
        &self.values[point * length..][..length]
    }
}
