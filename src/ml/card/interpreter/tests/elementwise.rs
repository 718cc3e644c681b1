//! Elementwise kernels against the same arithmetic in Rust, to the bit.

#![expect(clippy::cast_possible_wrap, reason = "the kernels read the same bits with and without a sign")]
#![expect(clippy::float_cmp, reason = "the same bits are what is asked for")]

use super::super::{Argument, Geometry};
use super::support::{Card, ORDERS, uniform, uniform_f32};

const PTX: &str = include_str!("ptx/elementwise.ptx");

#[test]
fn a_grid_stride_loop_covers_every_element_in_any_order() {
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (xs, ys) = (uniform_f32(1000, 1), uniform_f32(1000, 2));
        let (x, y) = (card.put(&xs), card.put(&ys));
        card.launch("axpy_f32", &Geometry::linear(3, 96), &[&x, &y, &Argument::F32(0.7), &Argument::U32(1000)]);
        let expected: Vec<f32> = xs.iter().zip(&ys).map(|(x, y)| 0.7f32.mul_add(*x, *y)).collect();
        assert_eq!(card.get::<f32>(&y, 1000), expected);
    }
}

#[test]
fn double_arithmetic_is_the_hosts() {
    let mut card = Card::new(PTX);
    let mut xs = uniform(100, 3);
    let mut ys = uniform(100, 4);
    xs.extend([0.0, f64::NAN, 1e308, 5e-324, -7.5]);
    ys.extend([-0.0, 1.0, 1e308, 3.0, f64::INFINITY]);
    let n = xs.len();
    let (x, y, out) = (card.put(&xs), card.put(&ys), card.room::<f64>(8 * n));
    card.launch("arithmetic_f64", &Geometry::linear(1, 128), &[&x, &y, &out, &Argument::U32(n as u32)]);
    let found = card.get::<f64>(&out, 8 * n);
    for (i, (&a, &b)) in xs.iter().zip(&ys).enumerate() {
        let minimum = if a == 0.0 { -0.0 } else { a.min(b) };
        let maximum = if a == 0.0 { 0.0 } else { a.max(b) };
        let expected = [a + b, a * b, a / b, a.abs().sqrt(), minimum, maximum, a.mul_add(b, a), a.floor()];
        for (found, expected) in found[8 * i..].iter().zip(expected) {
            assert!(found == &expected || (found.is_nan() && expected.is_nan()), "{a} {b}: {found} {expected}");
        }
    }
}

#[test]
fn single_arithmetic_is_the_hosts() {
    let mut card = Card::new(PTX);
    let (xs, ys) = (uniform_f32(200, 5), uniform_f32(200, 6));
    let (x, y, out) = (card.put(&xs), card.put(&ys), card.room::<f32>(1600));
    card.launch("arithmetic_f32", &Geometry::linear(2, 128), &[&x, &y, &out, &Argument::U32(200)]);
    let found = card.get::<f32>(&out, 1600);
    for (i, (&a, &b)) in xs.iter().zip(&ys).enumerate() {
        let root = (1.0 / f64::from(a.abs()).sqrt()) as f32;
        let expected = [a + b, a * b, a / b, a.abs().sqrt(), a.min(b), a.max(b), root, a.round_ties_even()];
        assert_eq!(found[8 * i..8 * i + 8], expected, "{a} {b}");
    }
}

#[test]
fn integer_arithmetic_is_the_hosts() {
    let mut card = Card::new(PTX);
    let values = [1, -1, 7, -7, 123_456_789, i32::MIN, i32::MAX, 0x00ff_ff00, -987_654_321];
    let pairs: Vec<(i32, i32)> = values.iter().flat_map(|&a| values.map(|b| (a, b))).collect();
    let (xs, ys): (Vec<i32>, Vec<i32>) = pairs.iter().copied().filter(|pair| *pair != (i32::MIN, -1)).unzip();
    let n = xs.len();
    let (x, y, out) = (card.put(&xs), card.put(&ys), card.room::<i32>(12 * n));
    card.launch("integers", &Geometry::linear(1, 96), &[&x, &y, &out, &Argument::U32(n as u32)]);
    let found = card.get::<i32>(&out, 12 * n);
    for (i, (&a, &b)) in xs.iter().zip(&ys).enumerate() {
        let (ua, ub) = (a as u32, b as u32);
        let expected = [
            a / b,
            a % b,
            (ua / ub) as i32,
            (ua % ub) as i32,
            ((i64::from(a) * i64::from(b)) >> 32) as i32,
            ((u64::from(ua) * u64::from(ub)) >> 32) as i32,
            a.count_ones() as i32,
            b.leading_zeros() as i32,
            a.reverse_bits(),
            (a << (ub & 31)) ^ (a >> 3),
            (((u64::from(ub) << 32 | u64::from(ua)) << 7) >> 32) as i32,
            a.min(b).wrapping_add((a & 0xff00) >> 8),
        ];
        assert_eq!(found[12 * i..12 * i + 12], expected, "{a} {b}");
    }
}

#[test]
fn bf16_widens_exactly_and_narrows_to_nearest_even() {
    let mut card = Card::new(PTX);
    let mut xs = uniform_f32(60, 7);
    xs.extend([1.003_906_3, 1.011_718_8, f32::INFINITY, 3.4e38]);
    let (x, y, z) = (card.put(&xs), card.room::<u16>(64), card.room::<f32>(64));
    card.launch("narrow_bf16", &Geometry::linear(1, 32), &[&x, &y, &Argument::U32(16)]);
    card.launch("widen_bf16", &Geometry::linear(1, 64), &[&y, &z, &Argument::U32(64)]);
    for (i, &x) in xs.iter().enumerate() {
        let bits = x.to_bits();
        let nearest = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        assert_eq!(card.get::<u16>(&y, 64)[i], nearest, "{x}");
        assert_eq!(card.get::<f32>(&z, 64)[i].to_bits(), u32::from(nearest) << 16, "{x}");
    }
}

#[test]
fn a_structure_passes_by_value() {
    let mut card = Card::new(PTX);
    let xs = uniform_f32(12, 8);
    let (x, y) = (card.put(&xs), card.room::<f64>(12));
    let mut shape = 3u64.to_le_bytes().to_vec();
    shape.extend(4u32.to_le_bytes());
    shape.extend(2.5f32.to_le_bytes());
    shape.extend(0.125f64.to_le_bytes());
    card.launch("affine_struct", &Geometry::linear(1, 32), &[&x, &y, &Argument::Bytes(shape)]);
    let expected: Vec<f64> = xs.iter().map(|x| f64::from(x * 2.5) + 0.125).collect();
    assert_eq!(card.get::<f64>(&y, 12), expected);
}
