//! The weight's gradient in the other domain: at each point, a product of matrices that is summed over all tiles.

use rayon::prelude::*;

use super::super::super::lanes::{self, lanes};
use super::super::outer::Outer;
use super::kernels::Return;
use super::tiles::{Carried, pitch};
use super::{POINTS, Plan, work};
use crate::ml::ops::real::Real;

/// Tiles that are summed together, at least.
const SUMMED: usize = 48;

/// Partial gradients, each over some samples, where there are few kernels.
const PARTIALS: usize = 8;

/// Input channels whose sums at all points are kept near.
const NEAR: usize = 48;

impl Plan {
    /// The gradient of ⟨g, convolution of x⟩ with respect to the kernels: `[outputs, inputs, 3, 3]`.
    pub(in super::super) fn weight_gradient<T: Real>(&self, g: &[T], x: &[T]) -> Vec<T> {
        if self.by_panels::<T>() { self.gradient_by_panels(g, x) } else { self.gradient_by_samples(g, x) }
    }

    /// Each thread takes some samples, a few at a time, for all kernels; their gradients are added in order.
    fn gradient_by_samples<T: Real>(&self, g: &[T], x: &[T]) -> Vec<T> {
        let few = SUMMED.div_ceil(self.count());
        let share = self.samples.div_ceil(PARTIALS).max(few);
        let cuts = self.cuts::<T>();
        let partial = |index: usize| {
            let samples = index * share..self.samples.min((index + 1) * share);
            let x = &x[samples.start * self.input()..samples.end * self.input()];
            let g = &g[samples.start * self.output()..samples.end * self.output()];
            let mut sums = vec![T::zero(); POINTS * self.inputs * self.outputs];
            let places = few.min(samples.len()) * self.count();
            let (mut inputs, mut gradients) = (Carried::room(places, self.inputs), Carried::room(places, self.outputs));
            for (x, g) in x.chunks(few * self.input()).zip(g.chunks(few * self.output())) {
                inputs.take_inputs(self, x);
                gradients.take_gradients(self, g);
                let (x, g) = (&inputs, &gradients);
                let sources: Vec<usize> = (0..x.places).map(|tile| tile * pitch(self.inputs)).collect();
                let mut rest = &mut sums[..];
                for &(first, width) in &cuts {
                    let (panel, others) = rest.split_at_mut(POINTS * self.inputs * width);
                    rest = others;
                    for (point, sums) in panel.chunks_exact_mut(self.inputs * width).enumerate() {
                        lanes::run(Outer {
                            source: x.at(point),
                            sources: &sources,
                            pitch: 0,
                            run: self.inputs,
                            gradients: g.at(point),
                            stride: pitch(self.outputs),
                            first,
                            width,
                            sums,
                        });
                    }
                }
            }
            let mut weight = vec![T::zero(); self.outputs * self.inputs * 9];
            for &(first, width) in &cuts {
                let sums = &sums[POINTS * self.inputs * first..][..POINTS * self.inputs * width];
                let to = &mut weight[first * self.inputs * 9..][..width * self.inputs * 9];
                lanes::run(Return { sums, width, inputs: 0..self.inputs, all: self.inputs, to });
            }
            weight
        };
        let mut partials = work::map(self.samples.div_ceil(share), self.flops(), partial).into_iter();
        let mut weight = partials.next().unwrap_or_else(|| vec![T::zero(); self.outputs * self.inputs * 9]);
        for partial in partials {
            weight.iter_mut().zip(partial).for_each(|(weight, partial)| *weight += partial);
        }
        weight
    }

    /// Images and gradients are carried over, a group at a time; then each thread takes some panels of output channels all the way.
    fn gradient_by_panels<T: Real>(&self, g: &[T], x: &[T]) -> Vec<T> {
        let mut weight = vec![T::zero(); self.outputs * self.inputs * 9];
        let group = self.group::<T>(self.inputs + self.outputs);
        for (x, g) in x.chunks(group * self.input()).zip(g.chunks(group * self.output())) {
            let share = SUMMED.div_ceil(self.count());
            let inputs: Vec<Carried<T>> =
                x.par_chunks(share * self.input()).map(|images| Carried::inputs(self, images)).collect();
            let gradients: Vec<Carried<T>> =
                g.par_chunks(share * self.output()).map(|images| Carried::gradients(self, images)).collect();
            let widest = 2 * lanes::<T>();
            weight.par_chunks_mut(widest * self.inputs * 9).enumerate().for_each(|(index, to)| {
                let width = to.len() / (self.inputs * 9);
                self.add_panel(&inputs, &gradients, (index * widest, width), to);
            });
        }
        weight
    }

    /// Adds what some carried images say of one panel to its `[width, C, 3, 3]`, some input channels at a time.
    fn add_panel<T: Real>(
        &self,
        inputs: &[Carried<T>],
        gradients: &[Carried<T>],
        (first, width): (usize, usize),
        to: &mut [T],
    ) {
        let mut sums = vec![T::zero(); POINTS * NEAR * width];
        for start in (0..self.inputs).step_by(NEAR) {
            let run = NEAR.min(self.inputs - start);
            let sums = &mut sums[..POINTS * run * width];
            sums.fill(T::zero());
            for (x, g) in inputs.iter().zip(gradients) {
                let sources: Vec<usize> = (0..x.places).map(|tile| tile * pitch(self.inputs) + start).collect();
                for (point, sums) in sums.chunks_exact_mut(run * width).enumerate() {
                    let (source, gradients, stride) = (x.at(point), g.at(point), pitch(self.outputs));
                    lanes::run(Outer {
                        source,
                        sources: &sources,
                        pitch: 0,
                        run,
                        gradients,
                        stride,
                        first,
                        width,
                        sums,
                    });
                }
            }
            lanes::run(Return { sums, width, inputs: start..start + run, all: self.inputs, to: &mut *to });
        }
    }
}
