//! Conversions, directed rounding, half-width formats, structures, module tables, and what a warp can ask.

#![expect(clippy::float_cmp, reason = "the same bits are what is asked for")]

use super::super::{Argument, Geometry};
use super::support::{Card, ORDERS, uniform, uniform_f32};

const PTX: &str = include_str!("ptx/conversions.ptx");

#[test]
fn doubles_become_integers_of_every_kind() {
    let mut xs: Vec<f64> = uniform(40, 1).iter().map(|x| x * 1000.0).collect();
    xs.extend([0.5, 1.5, 2.5, -0.5, -2.5, 1e12, -1e12, 3e9, 2_147_483_647.5, 9e18]);
    let n = xs.len();
    let mut card = Card::new(PTX);
    let x = card.put(&xs);
    let (i, u) = (card.room::<i32>(4 * n), card.room::<u32>(2 * n));
    let (l, d) = (card.room::<u64>(3 * n), card.room::<f64>(4 * n));
    card.launch("to_integers", &Geometry::linear(1, 64), &[&x, &i, &u, &l, &d, &Argument::U32(n as u32)]);
    let (i, u) = (card.get::<i32>(&i, 4 * n), card.get::<u32>(&u, 2 * n));
    let (l, d) = (card.get::<u64>(&l, 3 * n), card.get::<f64>(&d, 4 * n));
    for (k, &a) in xs.iter().enumerate() {
        let narrow = i32::from(a as i32 as i8);
        assert_eq!(i[4 * k..4 * k + 4], [a as i32, a.ceil() as i32, (a as f32).floor() as i32, narrow], "{a}");
        assert_eq!(u[2 * k], a as u32, "{a}");
        assert_eq!(u[2 * k + 1], u32::from(a as i64 as u8), "{a}");
        assert_eq!(l[3 * k..3 * k + 3], [a as i64 as u64, a.round_ties_even() as i64 as u64, a.abs() as u64], "{a}");
        assert_eq!(d[4 * k..4 * k + 4], [a as i64 as f64, a.ceil(), a.trunc(), f64::from(a as u32)], "{a}");
    }
}

#[test]
fn directed_results_bracket_the_nearest() {
    let (xs, ys) = (uniform(60, 2), uniform(60, 3));
    let mut card = Card::new(PTX);
    let (x, y, d, f) = (card.put(&xs), card.put(&ys), card.room::<f64>(360), card.room::<f32>(120));
    card.launch("directed", &Geometry::linear(1, 64), &[&x, &y, &d, &f, &Argument::U32(60)]);
    let (d, f) = (card.get::<f64>(&d, 360), card.get::<f32>(&f, 120));
    for (k, (&a, &b)) in xs.iter().zip(&ys).enumerate() {
        for (pair, nearest) in d[6 * k..].chunks(2).zip([a + b, a * b, a / b]) {
            assert!(pair[0] <= nearest && nearest <= pair[1], "{a} {b}: {pair:?} {nearest}");
            assert!(pair[0] == pair[1] || pair[0].next_up() == pair[1], "{a} {b}: {pair:?}");
        }
        let pair = &f[2 * k..2 * k + 2];
        assert!(f64::from(pair[0]) <= a && a <= f64::from(pair[1]) && pair[0].next_up() == pair[1], "{a}: {pair:?}");
    }
}

/// The nearest bf16, ties to even.
fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

#[test]
fn bf16_arithmetic_rounds_once() {
    let (xs, ys) = (uniform_f32(60, 4), uniform_f32(60, 5));
    let mut card = Card::new(PTX);
    let (x, y, z) = (card.put(&xs), card.put(&ys), card.room::<f32>(300));
    card.launch("halves", &Geometry::linear(1, 64), &[&x, &y, &z, &Argument::U32(60)]);
    let found = card.get::<f32>(&z, 300);
    for (k, (&x, &y)) in xs.iter().zip(&ys).enumerate() {
        let (a, b) = (bf16(x), bf16(y));
        // Sums and products of numbers with eight significant bits and like exponents are exact in `f32`.
        let expected = [bf16(a + b), bf16(a * b), a.max(b), f32::from(u8::from(a < b))];
        assert_eq!(found[5 * k..5 * k + 4], expected, "{x} {y}");
        assert!((found[5 * k + 4] - x).abs() <= x.abs() / 2048.0 + 3e-8, "{x}");
    }
}

#[test]
fn structures_go_through_calls_and_back() {
    let mut pair = 1.5f64.to_le_bytes().to_vec();
    pair.extend([10i32, 20, 30, 40].iter().flat_map(|value| value.to_le_bytes()));
    let mut card = Card::new(PTX);
    let y = card.room::<u64>(6);
    card.launch("structures", &Geometry::linear(1, 2), &[&Argument::Bytes(pair), &y]);
    for found in card.get::<u64>(&y, 6).chunks(3) {
        assert_eq!(f64::from_bits(found[0]), 31.5);
        assert_eq!(found[1..], [(20 << 32) + 9, (40 << 32) + 30]);
    }
}

#[test]
fn module_variables_hold_their_tables_and_pointers() {
    let mut card = Card::new(PTX);
    let y = card.room::<f64>(4);
    card.launch("tables", &Geometry::linear(1, 4), &[&y]);
    assert_eq!(card.get::<f64>(&y, 4), [2.5, 4.5, 4.5, 7.0]);
}

#[test]
fn warps_vote_shuffle_and_reduce() {
    let xs: Vec<u32> = (0..64).map(|i| i * 7 % 41).collect();
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (x, y) = (card.put(&xs), card.room::<u32>(640));
        card.launch("meetings", &Geometry::linear(1, 64), &[&x, &y]);
        let found = card.get::<u32>(&y, 640);
        for (i, &a) in xs.iter().enumerate() {
            let (lane, warp) = (i % 32, &xs[i / 32 * 32..i / 32 * 32 + 32]);
            let expected = [
                warp.iter().enumerate().fold(0, |mask, (lane, a)| mask | (a & 1) << lane),
                u32::from(warp.iter().any(|&a| a > 30)),
                u32::from(warp.iter().all(|&a| a > 30)),
                warp[5],
                warp[if lane % 8 < 2 { lane } else { lane - 2 }],
                warp.iter().sum(),
                xs.iter().filter(|&&a| a > 2).count() as u32,
                0,
                if a == 0 { 0 } else { a.trailing_zeros() + 1 },
                // Selector 0x5140 takes bytes 0, 4, 1 and 5 of the two words together.
                (a & 0xff) | 0xdd << 8 | (a >> 8 & 0xff) << 16 | 0xcc << 24,
            ];
            assert_eq!(found[10 * i..10 * i + 10], expected, "{i}");
        }
    }
}
