//! Convolutions against the loop that defines them, at odd sizes.

use crate::ml::tensor::{DType, Device};

use super::super::tests::{assert_close, inner, list, tensor};
use super::super::{channels, elementwise};
use super::*;

const SAME: Geometry = Geometry { stride: 1, padding: 1 };

/// The convolution from its definition.
fn naive_conv(x: &Tensor, w: &Tensor, geometry: Geometry) -> (Vec<f64>, Vec<usize>) {
    let (xs, ws) = (list(x), list(w));
    let (&[samples, height, width, inputs], &[outputs, _, kh, kw]) = (x.dims(), w.dims()) else { panic!("four axes") };
    let Geometry { stride, padding } = geometry;
    let (rows, columns) = ((height + 2 * padding - kh) / stride + 1, (width + 2 * padding - kw) / stride + 1);
    let mut out = vec![];
    for (s, oy) in (0..samples).flat_map(|s| (0..rows).map(move |oy| (s, oy))) {
        for (ox, o) in (0..columns).flat_map(|ox| (0..outputs).map(move |o| (ox, o))) {
            let mut sum = 0.0;
            for (c, (i, j)) in (0..inputs).flat_map(|c| (0..kh * kw).map(move |k| (c, (k / kw, k % kw)))) {
                let (y, x) = ((oy * stride + i).wrapping_sub(padding), (ox * stride + j).wrapping_sub(padding));
                if y < height && x < width {
                    let pixel = xs[((s * height + y) * width + x) * inputs + c];
                    sum += pixel * ws[((o * inputs + c) * kh + i) * kw + j];
                }
            }
            out.push(sum);
        }
    }
    (out, vec![samples, rows, columns, outputs])
}

#[test]
fn the_convolution_triple_is_the_definition_and_its_adjoints() {
    let cases = [
        ([3, 5, 7, 2], [4, 2, 3, 3], (1, 1)),
        ([2, 7, 6, 3], [2, 3, 3, 3], (2, 1)),
        ([5, 6, 5, 1], [3, 1, 1, 1], (2, 0)),
        ([1, 4, 4, 2], [1, 2, 4, 4], (1, 0)),
        ([2, 1, 1, 1], [2, 1, 3, 3], (2, 1)),
        ([9, 8, 9, 3], [2, 3, 2, 5], (3, 2)),
        ([1, 3, 2, 1], [1, 1, 1, 1], (1, 2)),
        ([150, 8, 8, 8], [3, 8, 3, 3], (1, 1)),
        ([2, 6, 5, 7], [19, 7, 3, 3], (1, 1)),
        ([2, 5, 6, 24], [40, 24, 3, 3], (2, 1)),
        ([7, 4, 4, 96], [80, 96, 3, 3], (1, 1)),
        ([2, 7, 10, 16], [32, 16, 3, 3], (1, 0)),
        ([3, 5, 6, 32], [16, 32, 3, 3], (1, 2)),
        ([110, 8, 8, 16], [16, 16, 3, 3], (1, 1)),
    ];
    for (x_dims, w_dims, (stride, padding)) in cases {
        let geometry = Geometry { stride, padding };
        let (x, w) = (tensor(&x_dims, 0.3), tensor(&w_dims, 0.7));
        let y = conv2d(&x, &w, geometry).unwrap();
        let (expected, dims) = naive_conv(&x, &w, geometry);
        assert_eq!(y.dims(), dims);
        assert_close(&list(&y), &expected, 1e-13);

        let g = tensor(&dims, 1.1);
        let whole = inner(&g, &y);
        let to_input = conv2d_input(&g, &w, x_dims, geometry).unwrap();
        let to_weight = conv2d_weight(&g, &x, w_dims, geometry).unwrap();
        // A bilinear form: ⟨g, x∗w⟩ by each of its arguments, and at each unit vector of a few.
        assert!((inner(&to_input, &x) - whole).abs() < 1e-10 * (1.0 + whole.abs()));
        assert!((inner(&to_weight, &w) - whole).abs() < 1e-10 * (1.0 + whole.abs()));
        let unit = |dims: &[usize], at: usize| {
            let n = dims.iter().product();
            Tensor::from_vec((0..n).map(|i| f64::from(i == at)).collect::<Vec<_>>(), dims, &Device::Cpu).unwrap()
        };
        for at in (0..x.elem_count()).step_by(1 + x.elem_count() / 7) {
            let (column, _) = naive_conv(&unit(&x_dims, at), &w, geometry);
            let expected: f64 = column.iter().zip(list(&g)).map(|(a, b)| a * b).sum();
            assert!((list(&to_input)[at] - expected).abs() < 1e-12);
        }
        for at in (0..w.elem_count()).step_by(1 + w.elem_count() / 7) {
            let (column, _) = naive_conv(&x, &unit(&w_dims, at), geometry);
            let expected: f64 = column.iter().zip(list(&g)).map(|(a, b)| a * b).sum();
            assert!((list(&to_weight)[at] - expected).abs() < 1e-11 * (1.0 + expected.abs()));
        }
    }
    let geometry = Geometry { stride: 1, padding: 0 };
    assert!(conv2d(&tensor(&[1, 4, 4, 2], 0.0), &tensor(&[1, 3, 3, 3], 0.0), geometry).is_err());
    assert!(conv2d(&tensor(&[1, 2, 4, 2], 0.0), &tensor(&[1, 2, 3, 3], 0.0), geometry).is_err());
    for (x, w) in [([1, 4, 4, 0], [1, 0, 3, 3]), ([1, 4, 4, 2], [0, 2, 3, 3]), ([1, 4, 4, 2], [1, 2, 0, 3])] {
        assert!(conv2d(&tensor(&x, 0.0), &tensor(&w, 0.0), geometry).is_err(), "{x:?} {w:?}");
    }
}

/// Directly, strided, by Winograd panel by panel and block by block.
#[test]
fn a_sum_of_convolutions_is_the_sum_of_its_terms() {
    for (dims, outputs, stride) in
        [([3, 5, 4, 3], 5, 1), ([2, 8, 8, 16], 24, 2), ([3, 8, 7, 16], 16, 1), ([2, 4, 4, 128], 96, 1)]
    {
        let geometry = Geometry { stride, padding: 1 };
        let kernel = [outputs, dims[3], 3, 3];
        let (x, y) = (tensor(&dims, 0.1), tensor(&dims, 0.9));
        let (v, w) = (tensor(&kernel, 0.4), tensor(&kernel, 0.7));
        let plain = conv2d_sum(&[(&x, &v, 1.0), (&y, &w, 2.0), (&y, &v, -0.5)], &After::default(), geometry).unwrap();
        let single = |x, w| list(&conv2d(x, w, geometry).unwrap());
        let (a, b, c) = (single(&x, &v), single(&y, &w), single(&y, &v));
        let expected: Vec<f64> = (0..a.len()).map(|i| a[i] + 2.0 * b[i] - 0.5 * c[i]).collect();
        assert_close(&list(&plain), &expected, 1e-11);
        let plus = tensor(plain.dims(), 0.3);
        let found = conv2d_sum(&[(&y, &v, 1.0)], &After { plus: Some(&plus), ..After::default() }, geometry).unwrap();
        let expected: Vec<f64> = list(&plus).iter().zip(&c).map(|(plus, c)| plus + c).collect();
        assert_close(&list(&found), &expected, 1e-11);
        assert!(conv2d_sum(&[(&y, &v, 1.0)], &After { plus: Some(&v), ..After::default() }, geometry).is_err());
        assert!(conv2d_sum(&[(&x, &v, 1.0), (&y, &found, 1.0)], &After::default(), geometry).is_err());
    }
    assert!(conv2d_sum(&[], &After::default(), Geometry { stride: 1, padding: 1 }).is_err());
}

/// By looking products up, directly, strided, by Winograd panel by panel and block by block, with and without a body for so few channels.
#[test]
fn what_follows_a_convolution_gives_the_same_bytes_as_operations_of_their_own() {
    let cases = [
        ([3, 5, 9, 1], 8, 1),
        ([3, 5, 4, 5], 3, 1),
        ([2, 8, 8, 16], 24, 2),
        ([5, 8, 8, 8], 16, 1),
        ([3, 8, 7, 24], 16, 1),
        ([2, 4, 4, 128], 96, 1),
    ];
    for ((dims, outputs, stride), dtype) in cases.into_iter().flat_map(|case| [(case, DType::F32), (case, DType::F64)])
    {
        let geometry = Geometry { stride, padding: 1 };
        let of = |dims: &[usize], phase| tensor(dims, phase).to_dtype(dtype).unwrap();
        let (x, w, bias) = (of(&dims, 0.1), of(&[outputs, dims[3], 3, 3], 0.4), of(&[outputs], 0.9));
        let sum = |after| conv2d_sum(&[(&x, &w, 1.0)], &after, geometry).unwrap();
        let plain = sum(After::default());
        let (plus, mask) = (of(plain.dims(), 0.3), of(plain.dims(), 0.8));
        let added = sum(After { plus: Some(&plus), ..After::default() });
        let biased = channels::add_channels(&plain, &bias).unwrap();
        let both = channels::add_channels(&added, &bias).unwrap();
        let gated = |mask: &Tensor, x: &Tensor| elementwise::gate(mask, x).unwrap();
        let (plus, bias) = (Some(&plus), Some(&bias));
        for (after, expected) in [
            (After { bias, ..After::default() }, biased.clone()),
            (After { gate: Gate::Relu, ..After::default() }, gated(&plain, &plain)),
            (After { bias, gate: Gate::Relu, ..After::default() }, gated(&biased, &biased)),
            (After { plus, bias, gate: Gate::Relu }, gated(&both, &both)),
            (After { bias, gate: Gate::Of(&mask), ..After::default() }, gated(&mask, &biased)),
            (After { plus, gate: Gate::Of(&mask), ..After::default() }, gated(&mask, &added)),
        ] {
            let words = format!("{dims:?} to {outputs} in {dtype:?}: {:?}", after.gate);
            assert!(list(&sum(after)) == list(&expected), "{words}");
        }
    }
}

#[test]
fn what_is_no_number_passes_a_relu() {
    let x = Tensor::new(&[f64::NAN, -1.0, 2.0], &Device::Cpu).unwrap().reshape((3, 1, 1, 1)).unwrap();
    let w = Tensor::ones((1, 1, 1, 1), DType::F64, &Device::Cpu).unwrap();
    let after = After { gate: Gate::Relu, ..After::default() };
    let y = list(&conv2d_sum(&[(&x, &w, 1.0)], &after, Geometry { stride: 1, padding: 0 }).unwrap());
    assert!(y[0].is_nan() && y[1..] == [0.0, 2.0], "{y:?}");
}

/// Each result is off by a few units in the last place of the sum of its products' magnitudes, and some ten times that where Winograd's
/// transforms are taken.
#[test]
fn convolutions_in_single_precision_are_off_by_no_more_than_stated() {
    for (channels, bound) in [(12, 3e-7), (16, 2e-6), (64, 2e-6)] {
        let (x_dims, w_dims, geometry) = ([3, 9, 10, channels], [32, channels, 3, 3], SAME);
        let (x, w, g) = (tensor(&x_dims, 0.3), tensor(&w_dims, 0.7), tensor(&[3, 9, 10, 32], 1.1));
        let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        let triple = |x: &Tensor, w: &Tensor, g: &Tensor| {
            let forward = conv2d(x, w, geometry).unwrap();
            let to_input = conv2d_input(g, w, x_dims, geometry).unwrap();
            [forward, to_input, conv2d_weight(g, x, w_dims, geometry).unwrap()].map(|t| list(&t))
        };
        let (found, exact) = (triple(&single(&x), &single(&w), &single(&g)), triple(&x, &w, &g));
        let size = |t: &Tensor| Tensor::from(t.host().unwrap().abs().unwrap());
        let magnitudes = triple(&size(&x), &size(&w), &size(&g));
        for ((found, exact), magnitudes) in found.iter().zip(&exact).zip(&magnitudes) {
            for ((found, exact), magnitude) in found.iter().zip(exact).zip(magnitudes) {
                assert!((found - exact).abs() < bound * magnitude, "{channels}: {found}, {exact} of {magnitude}");
            }
        }
    }
}
