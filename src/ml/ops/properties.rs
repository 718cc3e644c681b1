//! Operations over random shapes: against their definitions in f64, and each linear one against its adjoint, ⟨g, Ax⟩ = ⟨Aᵀg, x⟩, which no
//! wrong index survives. The convolutions' are in `conv/`.
//!
//! With u = 2⁻²⁴, the unit roundoff of f32, a sum of n products is off by at most n·u times the sum of their magnitudes, to first order
//! (Higham 2002, §3.1).

use crate::ml::tensor::{DType, Device, Tensor};
use proptest::prelude::*;

use super::norm::{self, Along, Then};
use super::softmax::Targets;
use super::{axes, channels, concat, elementwise, matmul, pool, softmax};
use crate::ml::rng::Stream;

const ROUNDOFF: f64 = 1.0 / (1u64 << 24) as f64;

/// Tensors of one seed, each drawn from a stream of its own name.
struct Drawn(u64);

impl Drawn {
    /// Normal values that are exact in f32.
    fn values(&self, name: &str, count: usize) -> Vec<f64> {
        let mut draws = Stream::new(self.0, name).at(0, 0);
        (0..count).map(|_| f64::from(draws.normal() as f32)).collect()
    }

    fn tensor(&self, name: &str, dims: &[usize]) -> Tensor {
        of(self.values(name, dims.iter().product()), dims)
    }
}

fn of(values: Vec<f64>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

fn single(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::F32).unwrap()
}

fn list(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// ⟨a, b⟩, and the sum of its products' magnitudes.
fn inner(a: &Tensor, b: &Tensor) -> (f64, f64) {
    assert_eq!(a.dims(), b.dims());
    let products = || list(a).into_iter().zip(list(b)).map(|(a, b)| a * b);
    (products().sum(), products().map(f64::abs).sum())
}

/// That sums of inner products agree to 10⁻¹² of their magnitudes.
fn assert_adjoint(left: &[(f64, f64)], right: &[(f64, f64)]) {
    let sum = |terms: &[(f64, f64)]| terms.iter().map(|term| term.0).sum::<f64>();
    let scale: f64 = left.iter().chain(right).map(|term| term.1).sum();
    let (a, b) = (sum(left), sum(right));
    assert!((a - b).abs() <= 1e-12 * (1.0 + scale), "{a} is not {b}");
}

fn assert_within(found: &Tensor, expected: &[f64], bound: impl Fn(usize) -> f64) {
    let found = list(found);
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= bound(at), "element {at}: {found} is not {expected} within {}", bound(at));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_product_of_matrices_is_its_sum_and_its_adjoints_are_products(
        (m, k, n) in (1usize..90, 1usize..40, 1usize..40), ta: bool, tb: bool, seed: u64,
    ) {
        let drawn = Drawn(seed);
        let a = drawn.tensor("a", &if ta { [k, m] } else { [m, k] });
        let b = drawn.tensor("b", &if tb { [n, k] } else { [k, n] });
        let (left, right) = (list(&a), list(&b));
        let (mut exact, mut magnitude) = (vec![0.0; m * n], vec![0.0; m * n]);
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            for l in 0..k {
                let x = if ta { left[l * m + i] } else { left[i * k + l] };
                let product = x * if tb { right[j * k + l] } else { right[l * n + j] };
                exact[i * n + j] += product;
                magnitude[i * n + j] += product.abs();
            }
        }
        let product = matmul::matmul(&a, &b, ta, tb).unwrap();
        assert_within(&product, &exact, |at| 1e-15 * k as f64 * magnitude[at]);
        let rounded = matmul::matmul(&single(&a), &single(&b), ta, tb).unwrap();
        assert_within(&rounded, &exact, |at| (k + 1) as f64 * ROUNDOFF * magnitude[at]);
        let g = drawn.tensor("g", &[m, n]);
        let to_a = if ta { matmul::matmul(&b, &g, tb, true) } else { matmul::matmul(&g, &b, false, !tb) }.unwrap();
        let to_b = if tb { matmul::matmul(&g, &a, true, ta) } else { matmul::matmul(&a, &g, !ta, false) }.unwrap();
        assert_adjoint(&[inner(&g, &product)], &[inner(&to_a, &a)]);
        assert_adjoint(&[inner(&g, &product)], &[inner(&to_b, &b)]);
    }

    /// Values of which many are alike, so that most windows have several maxima.
    #[test]
    fn a_max_pool_takes_the_first_of_equal_maxima_and_sends_the_gradient_there(
        (samples, rows, columns, channels) in (1usize..4, 1usize..5, 1usize..5, 1usize..20),
        (down, across) in (1usize..5, 1usize..5), (below, beside) in (0usize..4, 0usize..4), seed: u64,
    ) {
        let (height, width) = (rows * down + below % down, columns * across + beside % across);
        let dims = [samples, height, width, channels];
        let mut draws = Stream::new(seed, "levels").at(0, 0);
        let values: Vec<f64> = (0..dims.iter().product()).map(|_| draws.below(3) as f64 - 1.0).collect();
        let g = Drawn(seed).tensor("g", &[samples, rows, columns, channels]);
        let (mut largest, mut back) = (Vec::new(), vec![0.0; values.len()]);
        for (place, g) in list(&g).into_iter().enumerate() {
            let (channel, pixel) = (place % channels, place / channels);
            let (sample, row, column) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            let window = (0..down * across).map(|p| (row * down + p / across, column * across + p % across));
            let at = |(y, x): (usize, usize)| ((sample * height + y) * width + x) * channels + channel;
            let first = window.map(at).reduce(|best, next| if values[next] > values[best] { next } else { best }).unwrap();
            largest.push(values[first]);
            back[first] += g;
        }
        let x = of(values, &dims);
        for (x, g) in [(x.clone(), g.clone()), (single(&x), single(&g))] {
            let (pooled, selection) = pool::max_pool(&x, (down, across)).unwrap();
            assert_within(&pooled, &largest, |_| 0.0);
            assert_within(&pool::select(&x, &selection).unwrap(), &largest, |_| 0.0);
            assert_within(&pool::scatter(&g, &selection).unwrap(), &back, |_| 0.0);
        }
        // Along the selection of one tensor, any other.
        let (other, selection) = (Drawn(seed).tensor("other", &dims), pool::max_pool(&x, (down, across)).unwrap().1);
        let (taken, given) = (pool::select(&other, &selection).unwrap(), pool::scatter(&g, &selection).unwrap());
        assert_adjoint(&[inner(&g, &taken)], &[inner(&given, &other)]);
    }

    #[test]
    fn an_average_pool_is_the_mean_of_its_windows_and_its_adjoint_shares_the_gradient(
        (samples, rows, columns, channels) in (1usize..4, 1usize..5, 1usize..5, 1usize..20),
        (down, across) in (1usize..5, 1usize..5), (below, beside) in (0usize..4, 0usize..4), seed: u64,
    ) {
        let (height, width, window) = (rows * down + below % down, columns * across + beside % across, (down, across));
        let (drawn, dims) = (Drawn(seed), [samples, height, width, channels]);
        let (x, g) = (drawn.tensor("x", &dims), drawn.tensor("g", &[samples, rows, columns, channels]));
        let (mut mean, mut magnitude) = (vec![0.0; g.elem_count()], vec![0.0; g.elem_count()]);
        let share = 1.0 / (down * across) as f64;
        for (at, x) in list(&x).into_iter().enumerate() {
            let (channel, column, row) = (at % channels, at / channels % width / across, at / channels / width % height / down);
            if row < rows && column < columns {
                let place = ((at / (height * width * channels) * rows + row) * columns + column) * channels + channel;
                mean[place] += x * share;
                magnitude[place] += x.abs() * share;
            }
        }
        let pooled = pool::avg_pool(&x, window).unwrap();
        let terms = (down * across + 2) as f64;
        assert_within(&pooled, &mean, |at| 1e-15 * terms * magnitude[at]);
        assert_within(&pool::avg_pool(&single(&x), window).unwrap(), &mean, |at| terms * ROUNDOFF * magnitude[at]);
        assert_adjoint(&[inner(&g, &pooled)], &[inner(&pool::avg_pool_adjoint(&g, dims, window).unwrap(), &x)]);
    }

    #[test]
    fn channels_side_by_side_taken_and_padded_are_each_others_adjoints(
        (rows, left, right) in (1usize..40, 1usize..20, 1usize..20), seed: u64,
    ) {
        let drawn = Drawn(seed);
        let (a, b, g) = (drawn.tensor("a", &[rows, left]), drawn.tensor("b", &[rows, right]), drawn.tensor("g", &[rows, left + right]));
        let both = concat::concat(&a, &b).unwrap();
        let (to_a, to_b) = (concat::take_channels(&g, 0, left).unwrap(), concat::take_channels(&g, left, right).unwrap());
        assert_adjoint(&[inner(&g, &both)], &[inner(&to_a, &a), inner(&to_b, &b)]);
        let padded = concat::pad_channels(&b, left, 0).unwrap();
        assert_adjoint(&[inner(&g, &padded)], &[inner(&to_b, &b)]);
        let sum = elementwise::add_scaled(&concat::pad_channels(&a, 0, right).unwrap(), &padded, 1.0).unwrap();
        prop_assert_eq!(list(&sum), list(&both));
    }

    #[test]
    fn sums_and_products_per_channel_are_adjoints_of_what_repeats_channels(
        (samples, pixels, channels) in (1usize..9, 1usize..40, 1usize..40), seed: u64,
    ) {
        let (drawn, dims) = (Drawn(seed), [samples, pixels, channels]);
        let (x, g, c) = (drawn.tensor("x", &dims), drawn.tensor("g", &dims), drawn.tensor("c", &[channels]));
        let repeated = channels::broadcast_channels(&c, &dims).unwrap();
        assert_adjoint(&[inner(&g, &repeated)], &[inner(&channels::sum_channels(&g).unwrap(), &c)]);
        let product = channels::mul_channels(&x, &c).unwrap();
        assert_adjoint(&[inner(&g, &product)], &[inner(&channels::mul_channels(&g, &c).unwrap(), &x)]);
        assert_adjoint(&[inner(&g, &product)], &[inner(&channels::dot_channels(&g, &x).unwrap(), &c)]);
        assert_adjoint(&[inner(&g, &channels::add_channels(&x, &c).unwrap())], &[inner(&g, &x), inner(&g, &repeated)]);
        let gated = elementwise::gate(&x, &repeated).unwrap();
        assert_adjoint(&[inner(&g, &gated)], &[inner(&elementwise::gate(&x, &g).unwrap(), &repeated)]);
        let images = drawn.tensor("images", &[samples, channels, pixels, 2]);
        let last = axes::channels_last(&images).unwrap();
        prop_assert_eq!(list(&last), list(&images.host().unwrap().permute((0, 2, 3, 1)).unwrap().into()));
        prop_assert_eq!(list(&axes::channels_first(&last).unwrap()), list(&images));
    }

    /// In f32, mean and slope are rounded once, and x less its mean, the product and the sum once each.
    #[test]
    fn batch_norm_is_its_formula(
        (rows, channels) in (2usize..60, 1usize..40), relu: bool, seed: u64,
    ) {
        let (drawn, then) = (Drawn(seed), if relu { Then::Relu } else { Then::Nothing });
        let [x, w, b] = [("x", vec![rows, channels]), ("w", vec![channels]), ("b", vec![channels])].map(|(name, dims)| drawn.tensor(name, &dims));
        let (xs, ws, bs) = (list(&x), list(&w), list(&b));
        let (mut expected, mut scale) = (vec![0.0; xs.len()], vec![0.0; xs.len()]);
        for c in 0..channels {
            let own = || (0..rows).map(|row| xs[row * channels + c]);
            let mean = own().sum::<f64>() / rows as f64;
            let variance = own().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
            let slope = ws[c] / (variance + 1e-5).sqrt();
            for (row, x) in own().enumerate() {
                let y = slope * (x - mean) + bs[c];
                expected[row * channels + c] = if relu { y.max(0.0) } else { y };
                scale[row * channels + c] = slope.abs() * (x.abs() + mean.abs()) + bs[c].abs();
            }
        }
        let found = norm::batch_norm(&x, &w, &b, then).unwrap().0;
        assert_within(&found, &expected, |at| 1e-14 * rows as f64 * scale[at]);
        let found = norm::batch_norm(&single(&x), &single(&w), &single(&b), then).unwrap().0;
        assert_within(&found, &expected, |at| 7.0 * ROUNDOFF * scale[at]);
    }

    /// ⟨g, y′⟩ along d is ⟨gradients, d⟩; and of ⟨h, y′ along f⟩ the gradients along d are ⟨h, B(f, d)⟩ with the symmetric form
    /// B(f, d) = ½(y″(f + d) − y″(f) − y″(d)), in which the second derivatives have their say.
    #[test]
    fn the_adjoints_of_batch_norm_are_those_of_its_derivatives(
        (rows, channels) in (3usize..60, 1usize..40), relu: bool, seed: u64,
    ) {
        let (drawn, then) = (Drawn(seed), if relu { Then::Relu } else { Then::Nothing });
        let draw = |name: &str| {
            let dims = [("x", vec![rows, channels]), ("w", vec![channels]), ("b", vec![channels])];
            dims.map(|(which, dims)| drawn.tensor(&format!("{name} {which}"), &dims))
        };
        let ([x, w, b], d, f) = (draw("base"), draw("d"), draw("f"));
        let sum: [Tensor; 3] = std::array::from_fn(|i| elementwise::add_scaled(&d[i], &f[i], 1.0).unwrap());
        let (_, moments) = norm::batch_norm(&x, &w, &b, then).unwrap();
        let along = |[x1, w1, b1]: &'_ [Tensor; 3]| {
            let along = Along { first: x1, second: None, weight: [Some(w1), None], bias: [Some(b1), None] };
            let (first, second, lines) = norm::batch_norm_line(&x, [&w, &b], along, &moments, then, true).unwrap();
            (first, second.unwrap(), lines)
        };
        let [g, ..] = draw("g");
        let gradients = norm::batch_norm_adjoint(&g, &x, [&w, &b], &moments, then).unwrap();
        let pairs: Vec<_> = gradients.iter().zip(&d).map(|(gradient, d)| inner(gradient, d)).collect();
        assert_adjoint(&[inner(&g, &along(&d).0)], &pairs);

        let (ahead, (along_d, by_d, _), (_, by_f, lines)) = (along(&sum).1, along(&d), along(&f));
        let form = |t: &Tensor, by: f64| { let (sum, scale) = inner(&g, t); (by * sum, scale) };
        let of_f = Along { first: &f[0], second: None, weight: [Some(&f[1]), None], bias: [Some(&f[2]), None] };
        let [to_x, to_first, to_w, to_w1, to_b1] =
            norm::batch_norm_first_adjoint(&g, &x, [&w, &b], of_f, (&moments, &lines), then).unwrap();
        let expected = [form(&ahead, 0.5), form(&by_f, -0.5), form(&by_d, -0.5)];
        assert_adjoint(&expected, &[inner(&to_x, &d[0]), inner(&to_w, &d[1])]);
        assert_adjoint(&[inner(&g, &along_d)], &[inner(&to_first, &d[0]), inner(&to_w1, &d[1]), inner(&to_b1, &d[2])]);
    }

    /// In f32 all is computed in f64 and rounded once, so it is the f64 result, rounded.
    #[test]
    fn losses_are_their_formulas_and_their_derivatives_symmetric(
        (samples, classes) in (1usize..20, 1usize..12), scale in 0.1f64..40.0, smoothing in prop::sample::select(&[0.0, 0.1, 0.5][..]), seed: u64,
    ) {
        let (drawn, dims) = (Drawn(seed), [samples, classes]);
        let logits = drawn.values("z", samples * classes).into_iter().map(|z| f64::from((scale * z) as f32)).collect();
        let (z, t, g) = (of(logits, &dims), drawn.tensor("t", &dims), drawn.tensor("g", &dims));
        let mut draws = Stream::new(seed, "labels").at(0, 0);
        let labels: Vec<u32> = (0..samples).map(|_| draws.below(classes as u64) as u32).collect();
        let classes_of = Tensor::new(&labels[..], &Device::Cpu).unwrap();
        let targets = Targets { labels: &classes_of, smoothing };
        let (mut excess, mut squares, mut residuals, mut correct) = (0.0, 0.0, Vec::new(), 0);
        for (row, &label) in list(&z).chunks(classes).zip(&labels) {
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = row.iter().map(|z| (z - largest).exp()).sum();
            correct += usize::from(row.iter().position(|&z| z >= largest) == Some(label as usize));
            for (class, z) in row.iter().enumerate() {
                let q = smoothing / classes as f64 + if class == label as usize { 1.0 - smoothing } else { 0.0 };
                let log_p = z - largest - sum.ln();
                excess += if q > 0.0 { q * (q.ln() - log_p) } else { 0.0 };
                squares += 0.5 * (z - q).powi(2);
                residuals.push(log_p.exp() - q);
            }
        }
        let number = |loss: &Tensor| loss.to_scalar::<f64>().unwrap();
        let (found, residual) = softmax::cross_entropy(&z, targets).unwrap();
        let found = number(&found);
        assert!((found - excess).abs() <= 1e-13 * (1.0 + excess.abs()) * samples as f64, "{found} is not {excess}");
        assert_within(&residual, &residuals, |_| 1e-14);
        let (found_in_single, rounded) = softmax::cross_entropy(&single(&z), targets).unwrap();
        prop_assert_eq!(found.to_bits(), number(&found_in_single).to_bits());
        prop_assert_eq!(list(&rounded), list(&single(&residual)));
        let (found, residual) = softmax::squared_error(&z, targets).unwrap();
        let found = number(&found);
        assert!((found - squares).abs() <= 1e-12 * squares, "{found} is not {squares}");
        prop_assert!((inner(&residual, &residual).0 / 2.0 - found).abs() <= 1e-12 * squares);
        prop_assert_eq!(softmax::count_correct(&z, &classes_of).unwrap(), correct);

        let p = softmax::softmax(&z).unwrap();
        assert_adjoint(&[inner(&g, &softmax::softmax_tangent(&p, &t).unwrap())], &[inner(&softmax::softmax_tangent(&p, &g).unwrap(), &t)]);
        assert_adjoint(&[inner(&g, &softmax::residual_square(&p, &t).unwrap())], &[inner(&softmax::residual_square(&p, &g).unwrap(), &t)]);
        // ⟨g, p∘(t − ⟨p, t⟩)⟩ in p, which enters it twice: along d, the difference at ±1 is exact.
        let d = drawn.tensor("d", &dims);
        let at = |step: f64| inner(&g, &softmax::softmax_tangent(&elementwise::add_scaled(&p, &d, step).unwrap(), &t).unwrap());
        let ((ahead, a), (behind, b)) = (at(1.0), at(-1.0));
        let back = softmax::softmax_tangent_adjoint(&p, &t, &g).unwrap();
        assert_adjoint(&[(0.5 * ahead, a), (-0.5 * behind, b)], &[inner(&back, &d)]);
    }
}
