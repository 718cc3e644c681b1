//! Kernels whose threads meet: trees, shuffles, tickets.

#![expect(clippy::float_cmp, reason = "the same bits are what is asked for")]

use super::super::{Argument, Geometry};
use super::support::{Card, ORDERS, uniform_f32};

const PTX: &str = include_str!("ptx/reductions.ptx");

#[test]
fn a_tree_in_dynamic_shared_memory_sums_the_same_in_any_order() {
    let xs = uniform_f32(1000, 1);
    let mut first = None;
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (x, y) = (card.put(&xs), card.room::<f64>(3));
        let geometry = Geometry { shared_bytes: 8 * 128, ..Geometry::linear(3, 128) };
        let counts = card.launch("tree_sum_f32", &geometry, &[&x, &y, &Argument::U32(1000)]);
        assert_eq!(counts.barriers, 3 * 8);
        let found = card.get::<f64>(&y, 3);
        let sum: f64 = xs.iter().map(|&x| f64::from(x)).sum();
        assert!((found.iter().sum::<f64>() - sum).abs() < 1e-12);
        assert_eq!(*first.get_or_insert(found.clone()), found);
    }
}

#[test]
fn cross_entropy_and_its_gradient_match_the_closed_form() {
    let (rows, columns) = (5usize, 77usize);
    let xs: Vec<f32> = uniform_f32(rows * columns, 2).iter().map(|x| 8.0 * x).collect();
    let labels = [0u32, 5, 76, 33, 12];
    let mut first = None;
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (x, l) = (card.put(&xs), card.put(&labels));
        let (loss, gradient) = (card.room::<f64>(rows), card.room::<f32>(rows * columns));
        let arguments = [&x, &l, &loss, &gradient, &Argument::U32(columns as u32)];
        card.launch("cross_entropy", &Geometry::linear(rows as u32, 64), &arguments);
        let (losses, gradients) = (card.get::<f64>(&loss, rows), card.get::<f32>(&gradient, rows * columns));
        for (r, row) in xs.chunks(columns).enumerate() {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let expected = sum.ln() - f64::from(row[labels[r] as usize]);
            assert!((losses[r] - expected).abs() < 1e-13 * expected.abs().max(1.0), "{} {expected}", losses[r]);
            for (c, &x) in row.iter().enumerate() {
                let expected = f64::from(x).exp() / sum - f64::from(u8::from(c == labels[r] as usize));
                assert!((f64::from(gradients[r * columns + c]) - expected).abs() < 1e-7);
            }
        }
        assert_eq!(*first.get_or_insert(losses.clone()), losses);
    }
}

#[test]
fn batch_norm_leaves_mean_zero_and_variance_one() {
    let (batch, channels, area) = (4u32, 3u32, 25u32);
    let count = (batch * channels * area) as usize;
    let mut card = Card::new(PTX);
    let xs: Vec<f32> = uniform_f32(count, 3).iter().map(|x| 3.0 * x + 5.0).collect();
    let (x, y) = (card.put(&xs), card.room::<f32>(count));
    let (gamma, beta) = (card.put(&[1f32; 3]), card.put(&[0f32; 3]));
    let sizes = [batch, channels, area].map(Argument::U32);
    let arguments = [&x, &gamma, &beta, &y, &sizes[0], &sizes[1], &sizes[2], &Argument::F64(0.0)];
    card.launch("batch_norm", &Geometry::linear(channels, 64), &arguments);
    let found = card.get::<f32>(&y, count);
    for c in 0..channels {
        let of_channel = (0..count as u32).filter(|i| i / area % channels == c).map(|i| f64::from(found[i as usize]));
        let (sum, square) = of_channel.fold((0.0, 0.0), |(sum, square), y| (sum + y, square + y * y));
        let n = f64::from(batch * area);
        assert!((sum / n).abs() < 1e-6 && (square / n - 1.0).abs() < 1e-6);
    }
}

#[test]
fn the_last_block_to_take_a_ticket_may_read_what_the_others_wrote() {
    let xs = uniform_f32(5000, 4);
    let mut first = None;
    for order in ORDERS {
        let mut card = Card::order(PTX, order);
        let (x, part, total) = (card.put(&xs), card.room::<f64>(7), card.room::<f64>(1));
        for _ in 0..2 {
            // The counter wraps to zero, so a second launch finds it as the first did.
            let counts =
                card.launch("last_block_sum", &Geometry::linear(7, 64), &[&x, &part, &total, &Argument::U32(5000)]);
            assert_eq!(counts.atomics, 7);
        }
        let found = card.get::<f64>(&total, 1)[0];
        assert!((found - xs.iter().map(|&x| f64::from(x)).sum::<f64>()).abs() < 1e-11);
        assert_eq!(*first.get_or_insert(found), found);
    }
}

#[test]
fn a_butterfly_gives_every_lane_the_maximum() {
    let mut card = Card::new(PTX);
    let xs = uniform_f32(64, 5);
    let (x, y) = (card.put(&xs), card.room::<f32>(64));
    card.launch("butterfly", &Geometry::linear(1, 64), &[&x, &y]);
    let found = card.get::<f32>(&y, 64);
    for (xs, found) in xs.chunks(32).zip(found.chunks(32)) {
        let most = xs.iter().copied().fold(f32::MIN, f32::max);
        assert!(found.iter().all(|y| *y == most));
    }
}
