//! The weight's gradient, put together of outer products: by groups of samples whose partial gradients are added in order where the
//! weight is small, else with output channels of its own for each tile of work.

use std::borrow::Cow;

use super::super::lanes::{self, lanes};
use super::super::real::Real;
use super::super::tiles;
use super::Sizes;
use super::outer::{Outer, SLACK};
use super::sweep::cuts;

/// Weights up to which partial gradients are kept by groups of samples; above, each tile has output channels of its own.
const SMALL_WEIGHT: usize = 1 << 16;

/// Partial gradients of a small weight.
const PARTIALS: usize = 8;

/// Pixels that are added to a block of the weight's gradient before the next block's turn.
const CHUNK: usize = 128;

/// The gradient of ⟨g, convolution of x⟩ with respect to the weight, `[O, C, h, w]`.
pub(super) fn gradient<T: Real>(sizes: &Sizes, g: &[T], x: &[T]) -> Vec<T> {
    let lanes = lanes::<T>();
    let cuts: Vec<(usize, usize)> = cuts(sizes.outputs, lanes).collect();
    let width: usize = cuts.iter().map(|(_, width)| width).sum();
    let gradient = Gradient { sizes, lanes };
    let total = if sizes.patch() * sizes.outputs > SMALL_WEIGHT {
        let (framed, widened) = (gradient.framed(x), gradient.widened(g));
        let panel = |index: usize| {
            let mut sums = vec![T::zero(); sizes.patch() * cuts[index].1];
            gradient.add(&framed, &widened, &cuts[index..=index], &mut sums);
            sums
        };
        tiles::map(cuts.len(), sizes.flops(), panel).concat()
    } else {
        let share = sizes.samples.div_ceil(PARTIALS).max(1);
        let partial = |index: usize| {
            let samples = index * share..sizes.samples.min((index + 1) * share);
            let mut sums = vec![T::zero(); sizes.patch() * width];
            let framed = gradient.framed(&x[samples.start * sizes.input()..samples.end * sizes.input()]);
            let widened = gradient.widened(&g[samples.start * sizes.output()..samples.end * sizes.output()]);
            gradient.add(&framed, &widened, &cuts, &mut sums);
            sums
        };
        let mut partials = tiles::map(sizes.samples.div_ceil(share), sizes.flops(), partial).into_iter();
        let mut total = partials.next().unwrap_or_else(|| vec![T::zero(); sizes.patch() * width]);
        for partial in partials {
            total.iter_mut().zip(partial).for_each(|(total, sum)| *total += sum);
        }
        total
    };
    gradient.unpacked(&cuts, &total)
}

/// How a weight's gradient is put together.
struct Gradient<'a> {
    sizes: &'a Sizes,
    lanes: usize,
}

impl Gradient<'_> {
    /// The images in their frames, with a little more behind.
    fn framed<T: Real>(&self, x: &[T]) -> Vec<T> {
        self.sizes.frame().framed(x, SLACK)
    }

    /// The rows of `g` with zeros up to whole registers.
    fn widened<'g, T: Real>(&self, g: &'g [T]) -> Cow<'g, [T]> {
        let (outputs, stride) = (self.sizes.outputs, self.stride());
        if outputs == stride {
            return g.into();
        }
        let mut widened = vec![T::zero(); g.len() / outputs * stride];
        for (to, from) in widened.chunks_exact_mut(stride).zip(g.chunks_exact(outputs)) {
            to[..outputs].copy_from_slice(from);
        }
        widened.into()
    }

    fn stride(&self) -> usize {
        self.sizes.outputs.next_multiple_of(self.lanes)
    }

    /// Adds the products of some images, a chunk of pixels at a time, to the panels `cuts` of the gradient.
    fn add<T: Real>(&self, framed: &[T], gradients: &[T], cuts: &[(usize, usize)], sums: &mut [T]) {
        let (sizes, frame, stride) = (self.sizes, self.sizes.frame(), self.sizes.geometry.stride);
        let (rows, columns) = sizes.out;
        let place = |y| (0..columns).map(move |x| frame.at(y * stride, x * stride));
        let places: Vec<usize> = (0..rows).flat_map(place).collect();
        let images = gradients.len() / (places.len() * self.stride());
        let in_image = |image| places.iter().map(move |place| image * frame.len() + place);
        let starts: Vec<usize> = (0..images).flat_map(in_image).collect();
        for (starts, gradients) in starts.chunks(CHUNK).zip(gradients.chunks(CHUNK * self.stride())) {
            let mut rest = &mut sums[..];
            for &(first, width) in cuts {
                let (sums, others) = rest.split_at_mut(sizes.patch() * width);
                rest = others;
                lanes::run(Outer {
                    source: framed,
                    sources: starts,
                    pitch: frame.pitch(),
                    run: sizes.kernel.1 * sizes.inputs,
                    gradients,
                    stride: self.stride(),
                    first,
                    width,
                    sums,
                });
            }
        }
    }

    /// Panels as a weight `[O, C, h, w]`.
    fn unpacked<T: Real>(&self, cuts: &[(usize, usize)], panels: &[T]) -> Vec<T> {
        let sizes = self.sizes;
        let mut weight = vec![T::zero(); sizes.outputs * sizes.patch()];
        let mut rest = panels;
        for &(first, width) in cuts {
            let (panel, others) = rest.split_at(sizes.patch() * width);
            rest = others;
            for (k, row) in panel.chunks_exact(width).enumerate() {
                let (position, c) = sizes.product(k);
                for (o, &value) in (first..sizes.outputs).zip(row) {
                    weight[sizes.weight(o, c, position)] = value;
                }
            }
        }
        weight
    }
}
