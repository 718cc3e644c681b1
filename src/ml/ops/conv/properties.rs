//! The convolution triple over random shapes against the loops that define it, each of the three ways it is done: directly, by Winograd
//! a block of tiles at a time, and by Winograd a panel of kernels at a time.
//!
//! In f32, u = 2⁻²⁴: a sum of n products added up one by one is off by at most n·u times the sum of their magnitudes (Higham 2002, §3.1; to
//! first order). Winograd's transforms mix the pixels of a tile, so its bound is of the largest such sum of the whole result.

use crate::ml::tensor::{DType, Device, Tensor};
use proptest::prelude::*;

use super::*;
use crate::ml::rng::Stream;

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / (1u64 << 24) as f64;

/// Roundoffs of the largest sum of magnitudes that a result of Winograd's is off by, at most.
const WINOGRAD: f64 = 128.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Direct,
    Blocks,
    Panels,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    w: [usize; 4],
    geometry: Geometry,
    seed: u64,
}

impl Case {
    fn sizes(&self) -> Option<Sizes> {
        Sizes::of(self.x, self.w, self.geometry)
    }

    fn way<T: Real>(&self) -> Way {
        match Plan::forward(&self.sizes().unwrap(), lanes::<T>()) {
            None => Way::Direct,
            Some(plan) if plan.by_panels::<T>() => Way::Panels,
            Some(_) => Way::Blocks,
        }
    }
}

/// Images, kernels, strides and paddings of any sort; small enough that Winograd is never taken.
fn direct() -> impl Strategy<Value = Case> {
    let images = (1usize..5, 1usize..10, 1usize..10, 1usize..8);
    let kernels = (1usize..20, 1usize..5, 1usize..5);
    (images, kernels, 1usize..5, 0usize..4, any::<u64>())
        .prop_map(|((s, h, w, c), (o, kh, kw), stride, padding, seed)| Case {
            x: [s, h, w, c],
            w: [o, c, kh, kw],
            geometry: Geometry { stride, padding },
            seed,
        })
        .prop_filter("a kernel that fits", |case| case.sizes().is_some())
}

/// Kernels of 3 × 3 at stride 1 between channels of which there are one of these numbers of eights.
fn winograd(inputs: &'static [usize], outputs: &'static [usize], samples: usize) -> impl Strategy<Value = Case> {
    let channels = (prop::sample::select(inputs), prop::sample::select(outputs));
    (1..=samples, 3usize..8, 3usize..8, channels, 0usize..3, any::<u64>())
        .prop_map(|(s, h, w, (c, o), padding, seed)| Case {
            x: [s, h, w, 8 * c],
            w: [8 * o, 8 * c, 3, 3],
            geometry: Geometry { stride: 1, padding },
            seed,
        })
        .prop_filter("three outputs down and across", |case| {
            case.sizes().is_some_and(|sizes| sizes.out.0.min(sizes.out.1) >= 3)
        })
}

/// Values that are exact in f32.
fn drawn(count: usize, seed: u64, purpose: &str) -> Vec<f64> {
    let mut draws = Stream::new(seed, purpose).at(0, 0);
    (0..count).map(|_| f64::from(draws.normal() as f32)).collect()
}

/// The three results by their definitions, all in one loop over the products: y += xw, x̄ += gw, w̄ += gx.
fn defined(sizes: &Sizes, [x, w, g]: [&[f64]; 3]) -> [Vec<f64>; 3] {
    let Sizes { samples, image: (height, width), inputs, outputs, kernel: (kh, kw), out: (rows, columns), geometry } =
        *sizes;
    let Geometry { stride, padding } = geometry;
    let (mut y, mut to_x, mut to_w) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    let pixels = (0..samples).flat_map(|s| (0..rows).flat_map(move |r| (0..columns).map(move |c| (s, r, c))));
    for (pixel, (s, row, column)) in pixels.enumerate() {
        for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
            let (down, across) = (row * stride + i, column * stride + j);
            if down < padding || across < padding || down - padding >= height || across - padding >= width {
                continue;
            }
            let from = ((s * height + down - padding) * width + across - padding) * inputs;
            for o in 0..outputs {
                let to = pixel * outputs + o;
                for c in 0..inputs {
                    let tap = ((o * inputs + c) * kh + i) * kw + j;
                    y[to] += x[from + c] * w[tap];
                    to_x[from + c] += g[to] * w[tap];
                    to_w[tap] += g[to] * x[from + c];
                }
            }
        }
    }
    [y, to_x, to_w]
}

fn computed(case: &Case, dims: [usize; 4], [x, w, g]: [&[f64]; 3], dtype: DType) -> [Vec<f64>; 3] {
    let tensor = |values: &[f64], dims: &[usize]| {
        Tensor::from_slice(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let (x, w, g) = (tensor(x, &case.x), tensor(w, &case.w), tensor(g, &dims));
    [
        conv2d(&x, &w, case.geometry).unwrap(),
        conv2d_input(&g, &w, case.x, case.geometry).unwrap(),
        conv2d_weight(&g, &x, case.w, case.geometry).unwrap(),
    ]
    .map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
}

fn check(case: &Case) {
    let sizes = case.sizes().unwrap();
    let dims = [sizes.samples, sizes.out.0, sizes.out.1, sizes.outputs];
    let count = |dims: [usize; 4]| dims.iter().product::<usize>();
    let [x, w, g] = [(case.x, "x"), (case.w, "w"), (dims, "g")].map(|(dims, name)| drawn(count(dims), case.seed, name));
    let values = [&x[..], &w[..], &g[..]];
    let magnitudes = values.map(|values| values.iter().map(|x| x.abs()).collect::<Vec<_>>());
    let exact = defined(&sizes, values);
    let magnitudes = defined(&sizes, magnitudes.each_ref().map(|values| &values[..]));
    // Products that an element of each result is the sum of, at most.
    let (kernel, pixels) = (sizes.kernel.0 * sizes.kernel.1, sizes.samples * sizes.out.0 * sizes.out.1);
    let terms = [kernel * sizes.inputs, kernel * sizes.outputs, pixels];
    for (dtype, roundoff, way) in
        [(DType::F64, 0.5 * f64::EPSILON, case.way::<f64>()), (DType::F32, ROUNDOFF, case.way::<f32>())]
    {
        let found = computed(case, dims, values, dtype);
        for (which, ((found, exact), magnitudes)) in found.iter().zip(&exact).zip(&magnitudes).enumerate() {
            let largest = magnitudes.iter().copied().fold(0.0, f64::max);
            assert_eq!(found.len(), exact.len());
            for (at, (found, exact)) in found.iter().zip(exact).enumerate() {
                // The definition's own sum in f64 is off by as much again.
                let sum = (terms[which] + 1) as f64 * (roundoff + 0.5 * f64::EPSILON) * magnitudes[at];
                let bound = if way == Way::Direct { sum } else { sum + WINOGRAD * roundoff * largest };
                assert!(
                    (found - exact).abs() <= bound,
                    "{dtype:?}, {way:?}, result {which}, element {at}: {found} is not {exact}"
                );
            }
        }
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let whole = inner(&g, &found[0]);
        let scale = inner(&magnitudes[1], &x.iter().map(|x| x.abs()).collect::<Vec<_>>());
        for other in [inner(&found[1], &x), inner(&found[2], &w)] {
            let bound = (terms.iter().sum::<usize>() as f64 + WINOGRAD) * roundoff * scale;
            assert!((whole - other).abs() <= bound, "{dtype:?}, {way:?}: ⟨g, y⟩ is {whole} and {other}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn direct_convolutions_are_their_definition_over_random_shapes(case in direct()) {
        prop_assert_eq!((case.way::<f32>(), case.way::<f64>()), (Way::Direct, Way::Direct));
        check(&case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn convolutions_by_winograd_block_by_block_are_their_definition_over_random_shapes(case in winograd(&[1, 2, 3, 6], &[1, 2, 5, 6], 3)) {
        prop_assert_eq!((case.way::<f32>(), case.way::<f64>()), (Way::Blocks, Way::Blocks));
        check(&case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn convolutions_by_winograd_panel_by_panel_are_their_definition_over_random_shapes(case in winograd(&[18, 21], &[20, 23], 2)) {
        prop_assert_eq!((case.way::<f32>(), case.way::<f64>()), (Way::Panels, Way::Panels));
        check(&case);
    }
}
