//! Kernels that move numbers: transposes, im2col, pooling, gathers, local arrays, called functions.

#![expect(clippy::float_cmp, reason = "the same bits are what is asked for")]

use super::super::{Argument, Geometry};
use super::support::{Card, ORDERS, uniform, uniform_f32};

const PTX: &str = include_str!("ptx/layout.ptx");

#[test]
fn a_transpose_through_a_tile_crosses_ragged_edges() {
    let (rows, columns) = (45usize, 70usize);
    let xs = uniform_f32(rows * columns, 1);
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (x, y) = (card.put(&xs), card.room::<f32>(rows * columns));
        let geometry = Geometry { grid: [3, 2, 1], block: [32, 8, 1], shared_bytes: 0 };
        let sizes = [Argument::U32(rows as u32), Argument::U32(columns as u32)];
        card.launch("transpose", &geometry, &[&x, &y, &sizes[0], &sizes[1]]);
        let found = card.get::<f32>(&y, rows * columns);
        assert!((0..rows * columns).all(|i| found[i % columns * rows + i / columns] == xs[i]));
    }
}

#[test]
fn im2col_pads_with_zeros() {
    let (channels, height, width, kernel, stride, padding) = (2i32, 5, 6, 3, 2, 1);
    let (out_h, out_w) = ((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1);
    let xs = uniform_f32((channels * height * width) as usize, 2);
    let total = (channels * kernel * kernel * out_h * out_w) as usize;
    let mut card = Card::new(PTX);
    let (x, y) = (card.put(&xs), card.room::<f32>(total));
    let sizes = [channels, height, width, kernel, stride, padding, out_h, out_w].map(|n| Argument::U32(n as u32));
    let arguments: Vec<&Argument> = [&x, &y].into_iter().chain(&sizes).collect();
    card.launch("im2col", &Geometry::linear(2, 64), &arguments);
    let found = card.get::<f32>(&y, total);
    let mut i = 0;
    for c in 0..channels {
        for (kh, kw) in (0..kernel * kernel).map(|k| (k / kernel, k % kernel)) {
            for (oh, ow) in (0..out_h * out_w).map(|o| (o / out_w, o % out_w)) {
                let (h, w) = (oh * stride - padding + kh, ow * stride - padding + kw);
                let inside = (0..height).contains(&h) && (0..width).contains(&w);
                let expected = if inside { xs[((c * height + h) * width + w) as usize] } else { 0.0 };
                assert_eq!(found[i], expected);
                i += 1;
            }
        }
    }
}

#[test]
fn pooling_remembers_where_the_maximum_was_and_a_gather_finds_it() {
    let (planes, height, width) = (3u32, 6u32, 4u32);
    let xs = uniform_f32((planes * height * width) as usize, 3);
    let n = (planes * height * width / 4) as usize;
    let mut card = Card::new(PTX);
    let (x, y, which, z) = (card.put(&xs), card.room::<f32>(n), card.room::<u32>(n), card.room::<f32>(n));
    let sizes = [planes, height, width].map(Argument::U32);
    card.launch("max_pool", &Geometry::linear(1, 32), &[&x, &y, &which, &sizes[0], &sizes[1], &sizes[2]]);
    card.launch("gather", &Geometry::linear(1, 32), &[&x, &which, &z, &Argument::U32(n as u32)]);
    let found = card.get::<f32>(&y, n);
    assert_eq!(found, card.get::<f32>(&z, n));
    let corner = [xs[0], xs[1], xs[4], xs[5]].into_iter().fold(f32::MIN, f32::max);
    assert_eq!(found[0], corner);
}

#[test]
fn a_function_that_is_not_inlined_is_called() {
    let mut card = Card::new(PTX);
    let (a, xs) = (uniform(9, 4), uniform(40, 5));
    let (coefficients, x, y) = (card.put(&a), card.put(&xs), card.room::<f64>(40));
    card.launch("called", &Geometry::linear(1, 40), &[&coefficients, &Argument::U32(9), &x, &y]);
    let expected: Vec<f64> = xs.iter().map(|&x| a.iter().fold(0.0, |sum: f64, &a| sum.mul_add(x, a))).collect();
    assert_eq!(card.get::<f64>(&y, 40), expected);
}

#[test]
fn a_local_array_counts_by_index() {
    let mut card = Card::new(PTX);
    let values: Vec<i32> = (0..50).map(|i| i * i).collect();
    let (x, y) = (card.put(&values), card.room::<i32>(16));
    card.launch("histogram", &Geometry::linear(1, 1), &[&x, &Argument::U32(50), &y]);
    let mut expected = [0; 16];
    for value in &values {
        expected[(value & 15) as usize] += 1;
    }
    assert_eq!(card.get::<i32>(&y, 16), expected);
}
