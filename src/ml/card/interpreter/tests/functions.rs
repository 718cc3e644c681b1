//! The functions of libdevice, as nvcc inlines them, against the host's. CUDA promises at most 2 units in the last
//! place for these in `double`; the host's own are within one.

#![expect(clippy::float_cmp, reason = "the same bits are what is asked for")]

use super::super::{Argument, Geometry};
use super::support::{Card, uniform};

const PTX: &str = include_str!("ptx/functions.ptx");

/// The host's function.
type Function = fn(f64) -> f64;

fn units(found: f64, expected: f64) -> f64 {
    if found == expected || (found.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    (found - expected).abs() / (expected.abs().next_up() - expected.abs())
}

/// CUDA counts the units from the correctly rounded result.
fn units_f32(found: f32, expected: f64) -> f32 {
    let nearest = expected as f32;
    if found == nearest || (found.is_nan() && nearest.is_nan()) {
        return 0.0;
    }
    (found - nearest).abs() / (nearest.abs().next_up() - nearest.abs())
}

#[test]
fn double_functions_are_within_two_units_of_the_hosts() {
    let mut card = Card::new(PTX);
    let mut xs: Vec<f64> = uniform(200, 1).iter().map(|x| x * 30.0).collect();
    xs.extend(uniform(100, 2).iter().map(|x| x * 1e-3));
    xs.extend([0.0, 1.0, 2.0, 700.0, -700.0, 710.0, -760.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310]);
    let n = xs.len();
    let (x, y) = (card.put(&xs), card.room::<f64>(6 * n));
    card.launch("functions_f64", &Geometry::linear(3, 128), &[&x, &y, &Argument::U32(n as u32)]);
    let found = card.get::<f64>(&y, 6 * n);
    let functions: [(&str, Function); 6] = [
        ("exp", f64::exp),
        ("log", f64::ln),
        ("log1p", f64::ln_1p),
        ("expm1", f64::exp_m1),
        ("tanh", f64::tanh),
        ("rsqrt", |x| 1.0 / x.sqrt()),
    ];
    for (k, (name, function)) in functions.iter().enumerate() {
        for (i, &x) in xs.iter().enumerate() {
            let (found, expected) = (found[k * n + i], function(x));
            assert!(units(found, expected) <= 2.0, "{name}({x}) = {found}, the host says {expected}");
        }
    }
}

#[test]
fn single_functions_are_within_their_documented_error() {
    let mut card = Card::new(PTX);
    let mut xs: Vec<f32> = uniform(300, 3).iter().map(|x| (x * 20.0) as f32).collect();
    xs.extend([0.0, 1.0, 88.0, -100.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let n = xs.len();
    let (x, y) = (card.put(&xs), card.room::<f32>(7 * n));
    card.launch("functions_f32", &Geometry::linear(3, 128), &[&x, &y, &Argument::U32(n as u32)]);
    let found = card.get::<f32>(&y, 7 * n);
    let functions: [(&str, f32, Function); 5] = [
        ("exp", 2.0, f64::exp),
        ("log", 1.0, f64::ln),
        ("log1p", 1.0, f64::ln_1p),
        ("expm1", 1.0, f64::exp_m1),
        ("tanh", 2.0, f64::tanh),
    ];
    for (k, (name, bound, function)) in functions.iter().enumerate() {
        for (i, &x) in xs.iter().enumerate() {
            let (found, expected) = (found[k * n + i], function(f64::from(x)));
            assert!(units_f32(found, expected) <= *bound, "{name}({x}) = {found}, the host says {expected}");
        }
    }
}

#[test]
fn sine_and_cosine_reduce_large_arguments_through_their_table_and_a_called_function() {
    let mut card = Card::new(PTX);
    let mut xs: Vec<f64> = uniform(100, 4).iter().map(|x| x * 10.0).collect();
    xs.extend([1e6, 1e10, 1e15, -1e22, 1e300]);
    let n = xs.len();
    let (x, y) = (card.put(&xs), card.room::<f64>(2 * n));
    card.launch("sines", &Geometry::linear(1, 128), &[&x, &y, &Argument::U32(n as u32)]);
    let found = card.get::<f64>(&y, 2 * n);
    for (i, &x) in xs.iter().enumerate() {
        assert!(units(found[i], x.sin()) <= 2.0, "sin({x}) = {}", found[i]);
        assert!(units(found[n + i], x.cos()) <= 2.0, "cos({x}) = {}", found[n + i]);
    }
}
