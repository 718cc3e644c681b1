//! Each kernel against the loop that defines it, at odd sizes.

use crate::ml::tensor::{DType, Device, Tensor};

use super::conv::{Geometry, conv2d, conv2d_input, conv2d_weight};
use super::softmax::Targets;
use super::{channels, concat, elementwise, matmul, pool, reduce, softmax};

/// Values without pattern that need no generator.
pub(super) fn values(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| (1.7 * i as f64 + phase).sin() + 0.3 * (0.37 * i as f64).cos()).collect()
}

pub(super) fn tensor(dims: &[usize], phase: f64) -> Tensor {
    Tensor::from_vec(values(dims.iter().product(), phase), dims, &Device::Cpu).unwrap()
}

pub(super) fn list(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |scale, x| scale.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * scale, "element {index}: {found} is not {expected}");
    }
}

/// ⟨a, b⟩ by a plain loop.
pub(super) fn inner(a: &Tensor, b: &Tensor) -> f64 {
    list(a).iter().zip(list(b)).map(|(a, b)| a * b).sum()
}

#[test]
fn a_product_is_the_sum_over_the_inner_index_whatever_is_transposed() {
    let (m, k, n) = (300, 5, 7);
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let a = tensor(&if ta { [k, m] } else { [m, k] }, 0.1);
        let b = tensor(&if tb { [n, k] } else { [k, n] }, 0.2);
        let (left, right) = (list(&a), list(&b));
        let mut expected = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                for l in 0..k {
                    let x = if ta { left[l * m + i] } else { left[i * k + l] };
                    let y = if tb { right[j * k + l] } else { right[l * n + j] };
                    expected[i * n + j] += x * y;
                }
            }
        }
        assert_close(&list(&matmul::matmul(&a, &b, ta, tb).unwrap()), &expected, 1e-14);
        let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
        assert_close(&list(&matmul::matmul(&single(&a), &single(&b), ta, tb).unwrap()), &expected, 1e-6);
    }
    assert!(matmul::matmul(&tensor(&[2, 3], 0.0), &tensor(&[2, 3], 0.0), false, false).is_err());
}

#[test]
fn channel_operations_are_their_loops() {
    for dims in [vec![5, 3], vec![4, 2, 5, 3], vec![13_000, 7, 1, 3]] {
        let (x, y, c) = (tensor(&dims, 0.1), tensor(&dims, 0.9), tensor(&[3], 0.5));
        let channel = |index: usize| index % 3;
        let (xs, ys, cs) = (list(&x), list(&y), list(&c));
        let with = |f: &dyn Fn(usize) -> f64| (0..xs.len()).map(f).collect::<Vec<_>>();
        let per_channel = |f: &dyn Fn(usize) -> f64| {
            (0..3).map(|k| (0..xs.len()).filter(|&i| channel(i) == k).map(f).sum()).collect::<Vec<f64>>()
        };
        assert_close(&list(&channels::add_channels(&x, &c).unwrap()), &with(&|i| xs[i] + cs[channel(i)]), 1e-15);
        assert_close(&list(&channels::mul_channels(&x, &c).unwrap()), &with(&|i| xs[i] * cs[channel(i)]), 1e-15);
        assert_close(&list(&channels::broadcast_channels(&c, &dims).unwrap()), &with(&|i| cs[channel(i)]), 1e-15);
        assert_close(&list(&channels::sum_channels(&x).unwrap()), &per_channel(&|i| xs[i]), 1e-13);
        assert_close(&list(&channels::dot_channels(&x, &y).unwrap()), &per_channel(&|i| xs[i] * ys[i]), 1e-13);
    }
    assert!(channels::add_channels(&tensor(&[2, 3], 0.0), &tensor(&[2], 0.0)).is_err());
}

#[test]
fn elementwise_operations_are_their_formulas() {
    let n = 40_001;
    let (a, b) = (tensor(&[n], 0.1), tensor(&[n], 0.2));
    let (xs, ys) = (list(&a), list(&b));
    let by = |f: &dyn Fn(f64, f64) -> f64| xs.iter().zip(&ys).map(|(&x, &y)| f(x, y)).collect::<Vec<_>>();
    assert_close(&list(&elementwise::add_scaled(&a, &b, -0.3).unwrap()), &by(&|x, y| x - 0.3 * y), 1e-15);
    assert_close(&list(&elementwise::mul(&a, &b).unwrap()), &by(&|x, y| x * y), 1e-15);
    assert_close(&list(&elementwise::scale(&a, 3.0).unwrap()), &by(&|x, _| 3.0 * x), 1e-15);
    assert_close(&list(&elementwise::tanh(&a).unwrap()), &by(&|x, _| x.tanh()), 1e-15);
    assert_close(&list(&elementwise::gate(&a, &b).unwrap()), &by(&|x, y| if x > 0.0 { y } else { 0.0 }), 1e-15);
    assert_close(&list(&elementwise::tanh_adjoint(&a, &b).unwrap()), &by(&|x, y| y * (1.0 - x * x)), 1e-15);
    let square = elementwise::mul(&a, &a).unwrap();
    assert_close(
        &list(&elementwise::inverse_root(&square, 0.1).unwrap()),
        &by(&|x, _| (x * x + 0.1).powf(-0.5)),
        1e-14,
    );
    assert!((reduce::dot(&a, &b).unwrap() - by(&|x, y| x * y).iter().sum::<f64>()).abs() < 1e-9);
    let sum = tensor(&[n], 0.1);
    elementwise::accumulate(&sum, &b).unwrap();
    assert_close(&list(&sum), &by(&|x, y| x + y), 1e-15);
    assert!(elementwise::mul(&a, &tensor(&[3], 0.0)).is_err());
    assert!(elementwise::mul(&a, &b.to_dtype(DType::F32).unwrap()).is_err());
    let undefined = Tensor::new(&[f64::NAN, -1.0], &Device::Cpu).unwrap();
    let gated = list(&elementwise::gate(&undefined, &undefined).unwrap());
    assert!(gated[0].is_nan() && gated[1] == 0.0, "{gated:?}");
    let zeros = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    assert_eq!(list(&elementwise::gate(&zeros, &tensor(&[3], 0.0)).unwrap()), [0.0; 3]);
}

#[test]
fn a_max_pool_takes_the_first_maximum_and_leaves_out_the_remainder() {
    #[rustfmt::skip]
    let image = vec![
        1.0, 1.0, 2.0, 3.0, 9.0,
        1.0, 1.0, 3.0, 3.0, 9.0,
        -1.0, -2.0, 0.0, f64::NAN, 9.0,
        -1.0, -1.0, 5.0, 0.0, 9.0,
        9.0, 9.0, 9.0, 9.0, 9.0,
    ];
    let x = Tensor::from_vec(image, (1, 5, 5, 1), &Device::Cpu).unwrap();
    let (_, selection) = pool::max_pool(&x, (2, 2)).unwrap();
    let positions: Vec<f64> = (0..25).map(f64::from).collect();
    let positions = Tensor::from_vec(positions, (1, 5, 5, 1), &Device::Cpu).unwrap();
    assert_eq!(list(&pool::select(&positions, &selection).unwrap()), [0.0, 3.0, 10.0, 13.0]);
    let g = tensor(&[1, 2, 2, 1], 0.5);
    let spread = list(&pool::scatter(&g, &selection).unwrap());
    assert_eq!([spread[0], spread[3], spread[10], spread[13]].as_slice(), list(&g));
    assert_eq!(spread.iter().filter(|x| **x != 0.0).count(), 4);
}

#[test]
fn an_average_pool_is_its_loop_and_its_adjoint() {
    let dims = [2, 5, 7, 3];
    let x = tensor(&dims, 0.2);
    for window in [(2, 2), (5, 7), (2, 3)] {
        let y = pool::avg_pool(&x, window).unwrap();
        let (rows, columns) = (5 / window.0, 7 / window.1);
        let xs = list(&x);
        let mut expected = vec![];
        for (image, at) in (0..2).flat_map(|image| (0..rows * columns).map(move |at| (image, at))) {
            for c in 0..3 {
                let inside = (0..35).filter(|i| (i / 7 / window.0, i % 7 / window.1) == (at / columns, at % columns));
                let sum: f64 = inside.map(|i| xs[(image * 35 + i) * 3 + c]).sum();
                expected.push(sum / (window.0 * window.1) as f64);
            }
        }
        assert_close(&list(&y), &expected, 1e-14);
        let g = tensor(&[2, rows, columns, 3], 0.9);
        let back = pool::avg_pool_adjoint(&g, dims, window).unwrap();
        assert!((inner(&back, &x) - inner(&g, &y)).abs() < 1e-12);
    }
}

fn classes_of(labels: &[u32]) -> Tensor {
    Tensor::new(labels, &Device::Cpu).unwrap()
}

#[test]
fn the_excess_is_the_cross_entropy_less_the_entropy_of_the_target() {
    let (samples, classes) = (600, 5);
    let z = tensor(&[samples, classes], 0.3);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i * 7 % 5).collect();
    for smoothing in [0.0, 0.1] {
        let (found, residual) =
            softmax::cross_entropy(&z, Targets { labels: &classes_of(&labels), smoothing }).unwrap();
        let found = found.to_scalar::<f64>().unwrap();
        let mut expected = 0.0;
        let mut residuals = vec![];
        for (row, &label) in list(&z).chunks(classes).zip(&labels) {
            let sum: f64 = row.iter().map(|z| z.exp()).sum();
            for (class, z) in row.iter().enumerate() {
                let own = f64::from(class == label as usize);
                let q = smoothing / 5.0 + (1.0 - smoothing) * own;
                expected += if q > 0.0 { q * (q.ln() - z + sum.ln()) } else { 0.0 };
                residuals.push(z.exp() / sum - q);
            }
        }
        assert!((found - expected).abs() < 1e-11 * expected, "{found} is not {expected}");
        assert_close(&list(&residual), &residuals, 1e-14);
    }
    assert!(softmax::cross_entropy(&z, Targets { labels: &classes_of(&[5; 600]), smoothing: 0.1 }).is_err());
}

#[test]
fn the_excess_keeps_its_digits_where_it_is_nearly_nothing() {
    let q: [f64; 2] = [0.95, 0.05];
    for step in [1e-3, 1e-6, 1e-9] {
        let z = Tensor::from_vec(vec![q[0].ln() + step, q[1].ln()], (1, 2), &Device::Cpu).unwrap();
        let (found, _) = softmax::cross_entropy(&z, Targets { labels: &classes_of(&[0]), smoothing: 0.1 }).unwrap();
        let found = found.to_scalar::<f64>().unwrap();
        // KL(q‖p) = log(1 + q₀(eˢ − 1)) − q₀s ≈ q₀q₁s²/2 + q₀q₁(q₁ − q₀)s³/6.
        let expected = q[0] * q[1] * step * step / 2.0 * (1.0 + (q[1] - q[0]) * step / 3.0);
        let tolerance = step * step + 1e-15 / step;
        assert!((found / expected - 1.0).abs() < tolerance, "{found} is not {expected}");
    }
}

#[test]
fn squared_error_is_half_the_sum_of_squares() {
    let z = tensor(&[3, 2], 0.3);
    let (found, residual) =
        softmax::squared_error(&z, Targets { labels: &classes_of(&[1, 0, 1]), smoothing: 0.0 }).unwrap();
    let found = found.to_scalar::<f64>().unwrap();
    let one_hot = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
    let expected: Vec<f64> = list(&z).iter().zip(one_hot).map(|(z, y)| z - y).collect();
    assert_close(&list(&residual), &expected, 1e-15);
    assert!((found - expected.iter().map(|r| r * r / 2.0).sum::<f64>()).abs() < 1e-14);
}

#[test]
fn softmax_derivatives_are_differences() {
    let (z, t, g) = (tensor(&[2, 4], 0.3), tensor(&[2, 4], 0.5), tensor(&[2, 4], 0.9));
    let p = softmax::softmax(&z).unwrap();
    let ahead = softmax::softmax(&elementwise::add_scaled(&z, &t, 1e-5).unwrap()).unwrap();
    let behind = softmax::softmax(&elementwise::add_scaled(&z, &t, -1e-5).unwrap()).unwrap();
    let expected = list(&elementwise::scale(&elementwise::add_scaled(&ahead, &behind, -1.0).unwrap(), 5e4).unwrap());
    assert_close(&list(&softmax::softmax_tangent(&p, &t).unwrap()), &expected, 1e-9);
    let back = list(&softmax::softmax_tangent_adjoint(&p, &t, &g).unwrap());
    for (at, found) in back.iter().enumerate() {
        let moved = |step: f64| {
            let mut p = list(&p);
            p[at] += step;
            let p = Tensor::from_vec(p, (2, 4), &Device::Cpu).unwrap();
            inner(&softmax::softmax_tangent(&p, &t).unwrap(), &g)
        };
        assert!((found - (moved(1e-5) - moved(-1e-5)) / 2e-5).abs() < 1e-9);
    }
}

#[test]
fn channels_are_put_side_by_side_taken_apart_and_padded_by_their_definition() {
    // The last case has more than one tile of rows.
    for (dims, left, right) in [(vec![1], 1, 1), (vec![3, 5, 1], 2, 7), (vec![1, 2, 3], 5, 1), (vec![9, 30, 31], 3, 4)]
    {
        let side = |channels: usize, phase| tensor(&[&dims[..], &[channels]].concat(), phase);
        let (a, b) = (side(left, 0.2), side(right, 0.5));
        let rows = list(&a).len() / left;
        let expected: Vec<f64> = (0..rows)
            .flat_map(|row| [&list(&a)[row * left..][..left], &list(&b)[row * right..][..right]].concat())
            .collect();
        let both = concat::concat(&a, &b).unwrap();
        assert_eq!(both.dims(), [&dims[..], &[left + right]].concat());
        assert_eq!(list(&both), expected);
        assert_eq!(list(&concat::take_channels(&both, 0, left).unwrap()), list(&a));
        assert_eq!(list(&concat::take_channels(&both, left, right).unwrap()), list(&b));
        // Padding is the adjoint of taking: ⟨pad(b), c⟩ = ⟨b, take(c)⟩ for any c.
        let other = side(left + right, 0.9);
        let taken = concat::take_channels(&other, left, right).unwrap();
        let padded = concat::pad_channels(&b, left, 0).unwrap();
        assert_eq!(padded.dims(), both.dims());
        assert!((inner(&padded, &other) - inner(&b, &taken)).abs() < 1e-10);
        let both_sides = concat::pad_channels(&a, 1, right - 1).unwrap();
        assert!(
            (inner(&both_sides, &other) - inner(&a, &concat::take_channels(&other, 1, left).unwrap())).abs() < 1e-10
        );
        let single = concat::concat(&a.to_dtype(DType::F32).unwrap(), &b.to_dtype(DType::F32).unwrap()).unwrap();
        assert_close(&list(&single), &expected, 1e-7);
    }
    let refused = concat::concat(&tensor(&[2, 3, 1], 0.0), &tensor(&[3, 2, 1], 0.0)).unwrap_err().to_string();
    let expected = "`concat` takes tensors that differ in their channels at most, got [2, 3, 1] and [3, 2, 1]";
    assert_eq!(refused, expected);
    assert!(concat::concat(&tensor(&[2], 0.0), &tensor(&[2], 0.0)).is_err());
    assert!(concat::concat(&tensor(&[2, 1], 0.0), &tensor(&[2, 1], 0.0).to_dtype(DType::F32).unwrap()).is_err());
    assert!(concat::take_channels(&tensor(&[2, 3], 0.0), 2, 2).is_err());
    assert!(concat::take_channels(&tensor(&[2, 3], 0.0), 2, 0).is_err());
}

#[test]
fn one_and_two_threads_give_the_same_bytes() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let geometry = Geometry { stride: 1, padding: 1 };
            let x = tensor(&[70, 16, 16, 8], 0.1).to_dtype(DType::F32).unwrap();
            let w = tensor(&[8, 8, 3, 3], 0.2).to_dtype(DType::F32).unwrap();
            let y = conv2d(&x, &w, geometry).unwrap();
            let to_input = conv2d_input(&y, &w, [70, 16, 16, 8], geometry).unwrap();
            let to_weight = conv2d_weight(&y, &x, [8, 8, 3, 3], geometry).unwrap();
            // As Winograd does it: with many tiles, and with few.
            let winograd = [(96, 16, 16), (4, 8, 48)].map(|(samples, side, channels)| {
                let x = tensor(&[samples, side, side, channels], 0.1).to_dtype(DType::F32).unwrap();
                let w = tensor(&[channels, channels, 3, 3], 0.2).to_dtype(DType::F32).unwrap();
                let y = conv2d(&x, &w, geometry).unwrap();
                let to_weight = conv2d_weight(&y, &x, [channels, channels, 3, 3], geometry).unwrap();
                Tensor::cat(&[y.flatten_all().unwrap(), to_weight.flatten_all().unwrap()], 0).unwrap()
            });
            let [many, few] = winograd;
            let long = tensor(&[3_000, 700], 0.4).to_dtype(DType::F32).unwrap();
            let square = matmul::matmul(&long, &long, true, false).unwrap();
            let sums = channels::dot_channels(&long, &long).unwrap();
            let dot = reduce::dot(&long, &long).unwrap();
            let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let all = [y, to_input, to_weight, many, few, square, sums].map(|t| bits(&t));
            (all.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), dot.to_bits())
        })
    };
    assert!(with(1) == with(2));
}
