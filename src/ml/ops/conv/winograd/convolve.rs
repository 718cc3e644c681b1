//! Convolutions in the other domain: forward, and the input's gradient, which is a convolution with the kernel turned round.

use rayon::prelude::*;

use super::super::super::lanes::{self, Simd, WithSimd};
use super::super::after::Last;
use super::super::sweep::Sweep;
use super::super::{Following, Term};
use super::kernels::{Carry, Facing, Weight};
use super::product::{Product, is_small};
use super::tiles::{Back, Carried, Over, pitch};
use super::{POINTS, Plan, work};
use crate::ml::ops::real::Real;

/// Tiles whose products one thread takes together.
const BLOCK: usize = 24;

/// Tiles that are carried together, at least.
const FEW: usize = 24;

impl Plan {
    /// The sum of the terms' convolutions, and what follows.
    pub(in super::super) fn convolve<T: Real>(&self, terms: &[Term<'_, T>], after: Following<'_, T>) -> Vec<T> {
        self.facing(terms, after, Facing::Forward)
    }

    /// The convolution with the weight turned round.
    pub(in super::super) fn convolve_turned<T: Real>(&self, term: Term<'_, T>) -> Vec<T> {
        self.facing(&[term], (None, Last::NOTHING), Facing::Turned)
    }

    fn facing<T: Real>(&self, terms: &[Term<'_, T>], after: Following<'_, T>, facing: Facing) -> Vec<T> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let weights: Vec<Weight<'_, T>> =
            terms.iter().map(|term| Weight { values: term.w, factor: term.factor, facing, inputs, outputs }).collect();
        let images: Vec<&[T]> = terms.iter().map(|term| term.x).collect();
        if self.by_panels::<T>() {
            self.panel_by_panel(&images, &weights, after)
        } else {
            self.block_by_block(&images, &weights, after)
        }
    }

    /// Each thread takes some images all the way, a block of tiles at a time, with all kernels.
    fn block_by_block<T: Real>(&self, x: &[&[T]], weights: &[Weight<'_, T>], (plus, last): Following<'_, T>) -> Vec<T> {
        let cuts = self.cuts::<T>();
        let kernels: Vec<Vec<Kernels<T>>> =
            weights.iter().map(|&weight| cuts.par_iter().map(|&cut| Kernels::of(weight, cut)).collect()).collect();
        let images = (2 * BLOCK).div_ceil(self.count()).clamp(1, self.samples.max(1));
        let buffers = || Buffers::new(self, images, x.len());
        let count = self.samples * self.output();
        work::make_with(count, images * self.output(), self.flops(), buffers, |buffers, index, out| {
            let count = out.len() / self.output();
            for (framed, x) in buffers.framed.iter_mut().zip(x) {
                self.frame().fill(&x[index * images * self.input()..][..count * self.input()], framed);
            }
            let plus = plus.map(|plus| &plus[index * images * self.output()..][..out.len()]);
            let tiles = count * self.count();
            lanes::run(Blocks { plan: self, tiles, kernels: &kernels, buffers, plus, out: &mut *out });
            last.apply(index * images * self.output(), out);
        })
    }

    /// Images are carried over, a group at a time; then each thread takes some panels of output channels all the way.
    fn panel_by_panel<T: Real>(&self, x: &[&[T]], weights: &[Weight<'_, T>], (plus, last): Following<'_, T>) -> Vec<T> {
        let (cuts, pixels) = (self.cuts::<T>(), self.out.0 * self.out.1);
        let mut out = plus.map_or_else(|| vec![T::zero(); self.samples * self.output()], <[T]>::to_vec);
        let group = self.group::<T>(self.inputs * x.len());
        for (index, outs) in out.chunks_mut(group * self.output()).enumerate() {
            let share = FEW.div_ceil(self.count());
            let range = index * group * self.input()..self.samples.min((index + 1) * group) * self.input();
            let carry = |x: &&[T]| {
                let images = x[range.clone()].par_chunks(share * self.input());
                images.map(|images| Carried::inputs(self, images)).collect()
            };
            let carried: Vec<Vec<Carried<T>>> = x.iter().map(carry).collect();
            let panel = |&cut: &(usize, usize)| self.panel(&carried, weights, cut);
            let panels: Vec<Vec<T>> = cuts.par_iter().map(panel).collect();
            outs.par_chunks_mut(self.output()).enumerate().for_each(|(image, out)| {
                for (panel, &(first, width)) in panels.iter().zip(&cuts) {
                    let from = panel[image * pixels * width..].chunks_exact(width);
                    for (to, from) in out.chunks_exact_mut(self.outputs).zip(from) {
                        for (to, &from) in to[first..first + width].iter_mut().zip(from) {
                            *to += from;
                        }
                    }
                }
                last.apply((index * group + image) * self.output(), out);
            });
        }
        out
    }

    /// One panel of the outputs of all carried images: `[images, H, W, width]`.
    fn panel<T: Real>(&self, terms: &[Vec<Carried<T>>], weights: &[Weight<'_, T>], cut: (usize, usize)) -> Vec<T> {
        let width = cut.1;
        let places = terms[0].iter().map(|group| group.places).sum::<usize>();
        let mut products = vec![T::zero(); POINTS * places * width];
        for (term, (carried, &weight)) in terms.iter().zip(weights).enumerate() {
            let kernels = Kernels::of(weight, cut);
            for (point, products) in products.chunks_exact_mut(places * width).enumerate() {
                let mut rest = products;
                for group in carried {
                    let (out, others) = rest.split_at_mut(group.places * width);
                    rest = others;
                    let (sources, targets) = starts(group.places, (pitch(self.inputs), width));
                    lanes::run(Sweep {
                        source: group.at(point),
                        sources: &sources,
                        targets: &targets,
                        pitch: 0,
                        run: self.inputs,
                        panel: kernels.at(point, self.inputs),
                        first: 0,
                        outputs: width,
                        add: term > 0,
                        out,
                    });
                }
            }
        }
        let images = places / self.count();
        let mut out = vec![T::zero(); images * self.out.0 * self.out.1 * width];
        let (products, tiles) = (&products[..], 0..places);
        lanes::run(Back { plan: self, products, places, tiles, width, plus: None, out: &mut out });
        out
    }
}

/// Where the inputs and the outputs of each of `tiles` tiles start at one point.
fn starts(tiles: usize, (source, target): (usize, usize)) -> (Vec<usize>, Vec<usize>) {
    (0..tiles).map(|tile| (tile * source, tile * target)).unzip()
}

/// The kernels of one panel in the other domain: `[points, inputs, width]`.
struct Kernels<T> {
    /// First output channel, and how many.
    cut: (usize, usize),
    values: Vec<T>,
}

impl<T: Real> Kernels<T> {
    fn of(weight: Weight<'_, T>, cut: (usize, usize)) -> Self {
        let mut values = vec![T::zero(); POINTS * weight.inputs * cut.1];
        lanes::run(Carry { weight, cut, to: &mut values });
        Self { cut, values }
    }

    #[inline(always)]
    fn at(&self, point: usize, inputs: usize) -> &[T] {
        let length = inputs * self.cut.1;
        &self.values[point * length..][..length]
    }
}

/// What one thread keeps between blocks.
struct Buffers<T> {
    /// The images of each term.
    framed: Vec<Vec<T>>,
    carried: Carried<T>,
    products: Vec<T>,
    starts: (Vec<usize>, Vec<usize>),
}

impl<T: Real> Buffers<T> {
    fn new(plan: &Plan, images: usize, terms: usize) -> Self {
        Self {
            framed: vec![vec![T::zero(); images * plan.frame().len()]; terms],
            carried: Carried::room(BLOCK, plan.inputs),
            products: vec![T::zero(); POINTS * BLOCK * plan.outputs],
            starts: starts(BLOCK, (pitch(plan.inputs), plan.outputs)),
        }
    }
}

/// The convolution of some framed images, a block of tiles at a time.
struct Blocks<'a, T> {
    plan: &'a Plan,
    /// Tiles of all these images.
    tiles: usize,
    /// The kernels of each term.
    kernels: &'a [Vec<Kernels<T>>],
    buffers: &'a mut Buffers<T>,
    plus: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, tiles: all, kernels, buffers, plus, out } = self;
        let (c, o) = (plan.inputs, plan.outputs);
        for first in (0..all).step_by(BLOCK) {
            let tiles = first..all.min(first + BLOCK);
            let n = tiles.len();
            for (term, kernels) in kernels.iter().enumerate() {
                let (images, to) = (&buffers.framed[term][..], &mut buffers.carried);
                Over { plan, images, tiles: tiles.clone(), to, of_inputs: true }.with_simd(simd);
                for point in 0..POINTS {
                    let source = buffers.carried.at(point);
                    let products = &mut buffers.products[point * BLOCK * o..][..n * o];
                    let (sources, targets) = (&buffers.starts.0[..n], &buffers.starts.1[..n]);
                    if is_small::<S, T>(c, o) {
                        let (add, panel) = (term > 0, kernels[0].at(point, c));
                        Product { source: &source[..n * c], panel, inputs: c, add, out: products }.with_simd(simd);
                        continue;
                    }
                    for kernels in kernels {
                        Sweep {
                            source,
                            sources,
                            targets,
                            pitch: 0,
                            run: c,
                            panel: kernels.at(point, c),
                            first: kernels.cut.0,
                            outputs: o,
                            add: term > 0,
                            out: &mut *products,
                        }
                        .with_simd(simd);
                    }
                }
            }
            let products = &buffers.products[..];
            Back { plan, products, places: BLOCK, tiles, width: o, plus, out: &mut *out }.with_simd(simd);
        }
    }
}
