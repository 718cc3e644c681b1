//! The kernel of convolutions that keep one result a pixel: a small block of output pixels times a panel of output channels stays in
//! registers while all products are added to it. Patches are never copied: with channels last, a patch is a few runs of memory.

use std::ops::Range;

use super::super::lanes::{Lanes, Simd, WithSimd, elements, elements_mut, lanes_of, vectors, vectors_mut};
use super::super::real::Real;
use super::super::tiles;
use super::taps::{Taps, are_short};

/// Operations that one element of the weights is worth when it is packed.
const PACKING: usize = 8;

/// Output channels side by side: two registers of them where that many are left, else one.
#[derive(Clone, Debug)]
pub(super) struct Panels<T> {
    /// Panel by panel: `[depth, width]`, zeros beyond the last channel.
    values: Vec<T>,
    /// Products an element is the sum of.
    depth: usize,
    /// Output channels.
    pub(super) outputs: usize,
    lanes: usize,
}

/// The panels that `outputs` channels are cut into, by first channel and width.
pub(super) fn cuts(outputs: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outputs).step_by(2 * lanes).map(move |first| (first, if outputs - first > lanes { 2 * lanes } else { lanes }))
}

impl<T: Real> Panels<T> {
    /// Panels of the matrix of `depth` products by `outputs` channels whose element for product `k` and channel `o` is
    /// `factor·w[start(k) + o·stride]`.
    pub(super) fn of(
        w: &[T],
        factor: T,
        (depth, outputs, stride): (usize, usize, usize),
        lanes: usize,
        start: impl Fn(usize) -> usize + Sync,
    ) -> Self {
        let length = depth * 2 * lanes;
        let count = depth * outputs.next_multiple_of(lanes);
        let values = tiles::make(count, length, PACKING * count, |panel, values| {
            let (first, width) = (panel * 2 * lanes, values.len() / depth);
            for (k, values) in values.chunks_exact_mut(width).enumerate() {
                let from = &w[start(k) + first * stride..];
                for (to, &from) in values.iter_mut().zip(from.iter().step_by(stride)).take(outputs - first) {
                    *to = factor * from;
                }
            }
        });
        Self { values, depth, outputs, lanes }
    }

    /// Each panel and its first channel.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[T])> {
        let mut rest = &self.values[..];
        cuts(self.outputs, self.lanes).map(move |(first, width)| {
            let (panel, others) = rest.split_at(self.depth * width);
            rest = others;
            (first, panel)
        })
    }
}

/// One sweep over some output pixels by one panel of output channels: `out[target] = Σ panel·patch(source)`. A patch is some runs, `pitch` apart.
pub(super) struct Sweep<'a, T> {
    /// What patches are read from, padded.
    pub(super) source: &'a [T],
    /// Where the patch of each output pixel starts.
    pub(super) sources: &'a [usize],
    /// Where each output pixel's channels start.
    pub(super) targets: &'a [usize],
    /// Distance from a run to the next.
    pub(super) pitch: usize,
    /// Elements of a run.
    pub(super) run: usize,
    /// The weights: `[products, width]`, where the width is one or two registers.
    pub(super) panel: &'a [T],
    /// The panel's first output channel.
    pub(super) first: usize,
    /// Output channels of all panels.
    pub(super) outputs: usize,
    /// Whether `out` is added to.
    pub(super) add: bool,
    /// What is written.
    pub(super) out: &'a mut [T],
}

impl<T: Lanes> WithSimd for Sweep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = lanes_of::<S, T>();
        let is_wide = self.outputs - self.first > lanes;
        let depth = self.panel.len() / if is_wide { 2 * lanes } else { lanes };
        match (is_wide, are_short(depth, self.run)) {
            (true, false) => self.by_runs::<S, 6, 2>(simd),
            (false, false) => self.by_runs::<S, 12, 1>(simd),
            (true, true) => self.by_taps::<S, 4, 2>(simd),
            (false, true) => self.by_taps::<S, 8, 1>(simd),
        }
    }
}

impl<T: Lanes> Sweep<'_, T> {
    /// All pixels, `R` at a time, by the panel's `V` registers.
    #[inline(always)]
    fn by_runs<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        let Self { source, pitch, run, add, out, .. } = self;
        let (panel, _) = vectors::<S, T>(self.panel).as_chunks::<V>();
        let channels = self.first..self.outputs.min(self.first + V * lanes_of::<S, T>());
        for (sources, targets) in self.sources.chunks(R).zip(self.targets.chunks(R)) {
            let mut sums = begun::<S, T, R, V>(simd, add, targets, channels.clone(), out);
            for (segment, panel) in panel.chunks_exact(run).enumerate() {
                let from = &source[segment * pitch..];
                add_products::<S, T, R, V>(simd, rows(from, starts(sources), run), panel, &mut sums);
            }
            write::<S, T, R, V>(&sums, targets, channels.clone(), out);
        }
    }

    /// The same where runs are short.
    #[inline(always)]
    fn by_taps<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        let Self { source, pitch, run, add, out, .. } = self;
        let (panel, _) = vectors::<S, T>(self.panel).as_chunks::<V>();
        let channels = self.first..self.outputs.min(self.first + V * lanes_of::<S, T>());
        let taps = Taps::of(panel.len(), run, pitch);
        for (sources, targets) in self.sources.chunks(R).zip(self.targets.chunks(R)) {
            let mut sums = begun::<S, T, R, V>(simd, add, targets, channels.clone(), out);
            let starts = starts::<R>(sources);
            if is_line::<R, 1>(starts) {
                add_line::<S, T, R, V, 1>(simd, &source[starts[0]..], &taps, panel, &mut sums);
            } else if is_line::<R, 3>(starts) {
                add_line::<S, T, R, V, 3>(simd, &source[starts[0]..], &taps, panel, &mut sums);
            } else {
                add_taps::<S, T, R, V>(simd, rows(source, starts, taps.reach()), &taps, panel, &mut sums);
            }
            write::<S, T, R, V>(&sums, targets, channels.clone(), out);
        }
    }
}

/// Where the patches of `R` pixels start; where fewer are left, the last is taken again.
#[inline(always)]
fn starts<const R: usize>(sources: &[usize]) -> [usize; R] {
    let mut starts = [0; R];
    for r in 0..R {
        starts[r] = sources[r.min(sources.len() - 1)];
    }
    starts
}

/// Whether it is `STEP` elements from each start to the next.
#[inline(always)]
fn is_line<const R: usize, const STEP: usize>(starts: [usize; R]) -> bool {
    let mut all = true;
    for r in 0..R {
        all &= starts[r] == starts[0] + r * STEP;
    }
    all
}

/// Slices of one length.
#[inline(always)]
fn rows<T, const R: usize>(source: &[T], starts: [usize; R], length: usize) -> [&[T]; R] {
    let mut rows = [&source[..0]; R];
    for r in 0..R {
        rows[r] = &source[starts[r]..][..length];
    }
    rows
}

/// The sums of some pixels before a panel is added: what is there, or zero.
#[inline(always)]
fn begun<S: Simd, T: Lanes, const R: usize, const V: usize>(
    simd: S,
    add: bool,
    targets: &[usize],
    channels: Range<usize>,
    out: &[T],
) -> [[T::Vector<S>; V]; R] {
    let mut sums = [[T::splat(simd, T::default()); V]; R];
    if add {
        for (sums, &target) in sums.iter_mut().zip(targets) {
            let from = &out[target + channels.start..target + channels.end];
            elements_mut::<S, T>(sums)[..from.len()].copy_from_slice(from);
        }
    }
    sums
}

#[inline(always)]
fn write<S: Simd, T: Lanes, const R: usize, const V: usize>(
    sums: &[[T::Vector<S>; V]; R],
    targets: &[usize],
    channels: Range<usize>,
    out: &mut [T],
) {
    for (sums, &target) in sums.iter().zip(targets) {
        let to = &mut out[target + channels.start..target + channels.end];
        if to.len() == V * lanes_of::<S, T>() {
            vectors_mut::<S, T>(to)[..V].copy_from_slice(sums);
        } else {
            to.copy_from_slice(&elements::<S, T>(sums)[..to.len()]);
        }
    }
}

/// `sums[r] += Σ rows[r][k]·panel[k]`.
#[inline(always)]
fn add_products<S: Simd, T: Lanes, const R: usize, const V: usize>(
    simd: S,
    rows: [&[T]; R],
    panel: &[[T::Vector<S>; V]],
    sums: &mut [[T::Vector<S>; V]; R],
) {
    // Slices of one length: the compiler sees that no index is beyond them.
    let length = panel.len();
    let mut trimmed = rows;
    for r in 0..R {
        trimmed[r] = &rows[r][..length];
    }
    let rows = trimmed;
    let mut own = *sums;
    for k in 0..length {
        let factors = panel[k];
        for r in 0..R {
            let x = T::splat(simd, rows[r][k]);
            for v in 0..V {
                own[r][v] = T::mul_add(simd, x, factors[v], own[r][v]);
            }
        }
    }
    *sums = own;
}

/// `sums[r] += Σ rows[r][tap k]·panel[k]`.
#[inline(always)]
fn add_taps<S: Simd, T: Lanes, const R: usize, const V: usize>(
    simd: S,
    rows: [&[T]; R],
    taps: &Taps,
    panel: &[[T::Vector<S>; V]],
    sums: &mut [[T::Vector<S>; V]; R],
) {
    let mut own = *sums;
    for (&tap, factors) in taps.all().iter().zip(panel) {
        for r in 0..R {
            let x = T::splat(simd, rows[r][tap]);
            for v in 0..V {
                own[r][v] = T::mul_add(simd, x, factors[v], own[r][v]);
            }
        }
    }
    *sums = own;
}

/// `sums[r] += Σ source[r·STEP + tap k]·panel[k]`: of neighbours in a row of pixels.
#[inline(always)]
fn add_line<S: Simd, T: Lanes, const R: usize, const V: usize, const STEP: usize>(
    simd: S,
    source: &[T],
    taps: &Taps,
    panel: &[[T::Vector<S>; V]],
    sums: &mut [[T::Vector<S>; V]; R],
) {
    let mut own = *sums;
    for (&tap, factors) in taps.all().iter().zip(panel) {
        let from = &source[tap..][..=(R - 1) * STEP];
        for r in 0..R {
            let x = T::splat(simd, from[r * STEP]);
            for v in 0..V {
                own[r][v] = T::mul_add(simd, x, factors[v], own[r][v]);
            }
        }
    }
    *sums = own;
}
