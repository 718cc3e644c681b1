//! Batch norm against its formula in f64, and against differences of that formula.

use crate::ml::tensor::{DType, Device};

use super::*;

const CHANNELS: usize = 3;

/// x, w and b.
type Arguments = [Vec<f64>; 3];

/// Numbers without pattern; no two arguments share a seed.
fn numbers(count: usize, seed: f64) -> Vec<f64> {
    (0..count).map(|i| (i as f64 * 1.7 + seed * 11.3).sin() + 0.3 * seed).collect()
}

fn arguments(rows: usize, seed: f64) -> Arguments {
    [numbers(rows * CHANNELS, seed), numbers(CHANNELS, seed + 0.1), numbers(CHANNELS, seed + 0.2)]
}

fn tensors([x, w, b]: &Arguments, dtype: DType) -> [Tensor; 3] {
    let tensor = |values: &[f64], dims: &[usize]| {
        Tensor::from_slice(values, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    [tensor(x, &[x.len() / CHANNELS, CHANNELS]), tensor(w, &[CHANNELS]), tensor(b, &[CHANNELS])]
}

fn list(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The definition; `open` says which outputs a ReLU lets through, or is empty for no ReLU.
fn formula([x, w, b]: &Arguments, open: &[bool]) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for c in 0..CHANNELS {
        let own: Vec<usize> = (c..x.len()).step_by(CHANNELS).collect();
        let n = own.len() as f64;
        let mean = own.iter().map(|&i| x[i]).sum::<f64>() / n;
        let variance = own.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / n;
        for &i in &own {
            let y = w[c] * (x[i] - mean) / (variance + 1e-5).sqrt() + b[c];
            out[i] = if open.get(i).copied().unwrap_or(true) { y } else { 0.0 };
        }
    }
    out
}

/// Which outputs are positive, for differences that stay on one side of the kink.
fn open(arguments: &Arguments, then: Then) -> Vec<bool> {
    match then {
        Then::Nothing => Vec::new(),
        Then::Relu => formula(arguments, &[]).iter().map(|&y| y > 0.0).collect(),
    }
}

fn moved(base: &Arguments, by: &[(&Arguments, f64)]) -> Arguments {
    let mut moved = base.clone();
    for (along, t) in by {
        for (to, along) in moved.iter_mut().zip(along.iter()) {
            to.iter_mut().zip(along).for_each(|(to, along)| *to += t * along);
        }
    }
    moved
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = tolerance * (1.0 + expected.abs());
        assert!((found - expected).abs() <= bound, "element {at}: {found} is not {expected}");
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

const BOTH: [Then; 2] = [Then::Nothing, Then::Relu];

#[test]
fn batch_norm_is_its_formula_over_few_rows_and_over_several_tiles() {
    for (rows, then) in [2, 5, 36, 12_345].into_iter().flat_map(|rows| BOTH.map(|then| (rows, then))) {
        let base = arguments(rows, 0.4);
        let expected = formula(&base, &open(&base, then));
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
            let [x, w, b] = tensors(&base, dtype);
            let (y, _) = batch_norm(&x, &w, &b, then).unwrap();
            assert_near(&list(&y), &expected, tolerance);
        }
    }
    assert!(moments(&tensors(&arguments(1, 0.0), DType::F64)[0]).is_err());
}

/// Far from zero, a difference of sums of squares would have no digit left.
#[test]
fn the_variance_keeps_its_digits_where_the_mean_is_large() {
    let mut base = arguments(9_000, 0.2);
    base[0].iter_mut().for_each(|x| *x += 1e7);
    let variance = moments(&tensors(&base, DType::F64)[0]).unwrap().variance;
    let mut near = base.clone();
    near[0].iter_mut().for_each(|x| *x -= 1e7);
    let expected = moments(&tensors(&near, DType::F64)[0]).unwrap().variance;
    assert_near(&list(&variance), &list(&expected), 1e-8);
}

#[test]
fn gradients_of_batch_norm_are_differences() {
    for (rows, then) in [(5, Then::Nothing), (36, Then::Relu)] {
        let (base, g) = (arguments(rows, 0.1), numbers(rows * CHANNELS, 0.8));
        let open = open(&base, then);
        let [x, w, b] = tensors(&base, DType::F64);
        let [cotangent, ..] = tensors(&[g.clone(), base[1].clone(), base[2].clone()], DType::F64);
        let (_, moments) = batch_norm(&x, &w, &b, then).unwrap();
        let gradients = batch_norm_adjoint(&cotangent, &x, [&w, &b], &moments, then).unwrap();
        for (which, gradient) in gradients.iter().enumerate() {
            for (at, found) in list(gradient).into_iter().enumerate() {
                let at_step = |step: f64| {
                    let mut moved = base.clone();
                    moved[which][at] += step;
                    inner(&formula(&moved, &open), &g)
                };
                let expected = (at_step(1e-5) - at_step(-1e-5)) / 2e-5;
                assert!((found - expected).abs() < 1e-8, "argument {which}, element {at}: {found} is not {expected}");
            }
        }
    }
}

/// y′ and y″ of the kernel.
fn line(base: &Arguments, first: &Arguments, second: &Arguments, then: Then) -> [Vec<f64>; 2] {
    let ([x, w, b], [x1, w1, b1], [x2, w2, b2]) =
        (tensors(base, DType::F64), tensors(first, DType::F64), tensors(second, DType::F64));
    let along = Along { first: &x1, second: Some(&x2), weight: [Some(&w1), Some(&w2)], bias: [Some(&b1), Some(&b2)] };
    let moments = moments(&x).unwrap();
    let (y1, y2, _) = batch_norm_line(&x, [&w, &b], along, &moments, then, true).unwrap();
    [list(&y1), list(&y2.unwrap())]
}

#[test]
fn derivatives_along_a_line_are_differences_of_the_formula() {
    for (rows, then) in [4, 36, 12_345].into_iter().flat_map(|rows| BOTH.map(|then| (rows, then))) {
        let [base, first, second] = [0.4, 0.9, 1.3].map(|seed| arguments(rows, seed));
        let open = open(&base, then);
        let at = |t: f64| formula(&moved(&base, &[(&first, t), (&second, 0.5 * t * t)]), &open);
        let step = 1e-4;
        let (before, here, after) = (at(-step), at(0.0), at(step));
        let slope: Vec<f64> = after.iter().zip(&before).map(|(a, b)| (a - b) / (2.0 * step)).collect();
        let bend: Vec<f64> = (0..here.len()).map(|i| (after[i] - 2.0 * here[i] + before[i]) / (step * step)).collect();
        let [y1, y2] = line(&base, &first, &second, then);
        assert_near(&y1, &slope, 1e-6);
        assert_near(&y2, &bend, 1e-5);
        // Along x alone, and to first order alone.
        let zero = arguments(rows, 0.0).map(|values| vec![0.0; values.len()]);
        let only: Arguments = [first[0].clone(), zero[1].clone(), zero[2].clone()];
        let ([x, w, b], [x1, ..]) = (tensors(&base, DType::F64), tensors(&only, DType::F64));
        let along = Along { first: &x1, second: None, weight: [None; 2], bias: [None; 2] };
        let moments = moments(&x).unwrap();
        let [y1, y2] = line(&base, &only, &zero, then);
        let (alone, none, _) = batch_norm_line(&x, [&w, &b], along, &moments, then, false).unwrap();
        assert!(none.is_none());
        assert_near(&list(&alone), &y1, 1e-12);
        let (_, bent, _) = batch_norm_line(&x, [&w, &b], along, &moments, then, true).unwrap();
        assert_near(&list(&bent.unwrap()), &y2, 1e-12);
    }
}

#[test]
fn gradients_of_the_first_derivative_are_differences_of_it() {
    for (rows, then) in [(5, Then::Nothing), (36, Then::Relu)] {
        let (base, first, h) = (arguments(rows, 0.1), arguments(rows, 0.7), numbers(rows * CHANNELS, 1.1));
        let zero = first.clone().map(|values| vec![0.0; values.len()]);
        let ([x, w, b], [x1, w1, b1]) = (tensors(&base, DType::F64), tensors(&first, DType::F64));
        let [cotangent, ..] = tensors(&[h.clone(), base[1].clone(), base[2].clone()], DType::F64);
        let along = Along { first: &x1, second: None, weight: [Some(&w1), None], bias: [Some(&b1), None] };
        let moments = moments(&x).unwrap();
        let (_, _, lines) = batch_norm_line(&x, [&w, &b], along, &moments, then, false).unwrap();
        let found = batch_norm_first_adjoint(&cotangent, &x, [&w, &b], along, (&moments, &lines), then).unwrap();
        // x, x′, w, w′, b′: which of the two lists of arguments, and which argument of it.
        for (gradient, (of_first, which)) in found.iter().zip([(false, 0), (true, 0), (false, 1), (true, 1), (true, 2)])
        {
            for (at, found) in list(gradient).into_iter().enumerate() {
                let at_step = |step: f64| {
                    let (mut base, mut first) = (base.clone(), first.clone());
                    let moved = if of_first { &mut first } else { &mut base };
                    moved[which][at] += step;
                    inner(&line(&base, &first, &zero, then)[0], &h)
                };
                let expected = (at_step(1e-5) - at_step(-1e-5)) / 2e-5;
                let bound = 1e-7 * (1.0 + expected.abs());
                assert!((found - expected).abs() < bound, "argument {which}, element {at}: {found} is not {expected}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let ([x, w, b], [short, ..]) = (tensors(&arguments(5, 0.1), DType::F64), tensors(&arguments(4, 0.1), DType::F64));
    let moments = moments(&x).unwrap();
    assert!(batch_norm(&x, &short, &b, Then::Relu).is_err());
    assert!(batch_norm_adjoint(&short, &x, [&w, &b], &moments, Then::Nothing).is_err());
    let along = Along { first: &short, second: None, weight: [None; 2], bias: [None; 2] };
    let error = batch_norm_line(&x, [&w, &b], along, &moments, Then::Nothing, true).unwrap_err().to_string();
    assert!(error.contains("batch_norm_line") && error.contains("[4, 3]"), "{error}");
}
