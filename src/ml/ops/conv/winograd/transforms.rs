//! The transforms of F(4, 3) at the points 0, ±1, ±2, ∞ in one dimension, on vectors; in two dimensions they are applied to columns and
//! rows.

use super::super::super::lanes::{Lanes, Simd};
use super::{SIDE, TILE};
use crate::ml::ops::real::Real;

#[inline(always)]
fn times<S: Simd, T: Lanes>(simd: S, c: i8, a: T::Vector<S>, b: T::Vector<S>) -> T::Vector<S> {
    T::mul_add(simd, T::splat(simd, T::small(c)), a, b)
}

/// Bᵀd, of six values.
#[inline(always)]
pub(super) fn input<S: Simd, T: Lanes>(simd: S, d: [T::Vector<S>; SIDE]) -> [T::Vector<S>; SIDE] {
    let [d0, d1, d2, d3, d4, d5] = d;
    let (even, odd) = (times::<S, T>(simd, -4, d2, d4), times::<S, T>(simd, -4, d1, d3));
    let (near, far) = (T::sub(simd, d4, d2), T::sub(simd, d3, d1));
    [
        times::<S, T>(simd, 4, d0, times::<S, T>(simd, -5, d2, d4)),
        T::add(simd, even, odd),
        T::sub(simd, even, odd),
        times::<S, T>(simd, 2, far, near),
        times::<S, T>(simd, -2, far, near),
        times::<S, T>(simd, 4, d1, times::<S, T>(simd, -5, d3, d5)),
    ]
}

/// Aᵀm, of six values.
#[inline(always)]
pub(super) fn output<S: Simd, T: Lanes>(simd: S, m: [T::Vector<S>; SIDE]) -> [T::Vector<S>; TILE] {
    let [m0, m1, m2, m3, m4, m5] = m;
    let (near, tilt) = (T::add(simd, m1, m2), T::sub(simd, m1, m2));
    let (far, slope) = (T::add(simd, m3, m4), T::sub(simd, m3, m4));
    [
        T::add(simd, m0, T::add(simd, near, far)),
        times::<S, T>(simd, 2, slope, tilt),
        times::<S, T>(simd, 4, far, near),
        T::add(simd, times::<S, T>(simd, 8, slope, tilt), m5),
    ]
}

/// Ag, of four values: the adjoint of [`output`].
#[inline(always)]
pub(super) fn spread<S: Simd, T: Lanes>(simd: S, g: [T::Vector<S>; TILE]) -> [T::Vector<S>; SIDE] {
    let [g0, g1, g2, g3] = g;
    let (even, odd) = (T::add(simd, g0, g2), T::add(simd, g1, g3));
    let wide = times::<S, T>(simd, 4, g2, g0);
    let steep = times::<S, T>(simd, 8, g3, T::add(simd, g1, g1));
    [g0, T::add(simd, even, odd), T::sub(simd, even, odd), T::add(simd, wide, steep), T::sub(simd, wide, steep), g3]
}

/// The fractions in G.
#[derive(Clone, Copy)]
pub(super) struct Fractions<V> {
    quarter: V,
    sixth: V,
    minus_sixth: V,
    twelfth: V,
    twenty_fourth: V,
}

impl<V> Fractions<V> {
    #[inline(always)]
    pub(super) fn of<S: Simd, T: Real + Lanes<Vector<S> = V>>(simd: S) -> Self {
        Self {
            quarter: number::<S, T>(simd, 0.25),
            sixth: number::<S, T>(simd, 1.0 / 6.0),
            minus_sixth: number::<S, T>(simd, -1.0 / 6.0),
            twelfth: number::<S, T>(simd, 1.0 / 12.0),
            twenty_fourth: number::<S, T>(simd, 1.0 / 24.0),
        }
    }
}

#[inline(always)]
fn number<S: Simd, T: Real>(simd: S, x: f64) -> T::Vector<S> {
    T::splat(simd, <T as candle_core::WithDType>::from_f64(x))
}

/// Gw, of three values.
#[inline(always)]
pub(super) fn kernel<S: Simd, T: Lanes>(
    simd: S,
    by: &Fractions<T::Vector<S>>,
    [a, b, c]: [T::Vector<S>; 3],
) -> [T::Vector<S>; SIDE] {
    let zero = T::splat(simd, T::default());
    let (even, odd) =
        (T::mul_add(simd, by.minus_sixth, T::add(simd, a, c), zero), T::mul_add(simd, by.minus_sixth, b, zero));
    let wide = T::mul_add(simd, by.twenty_fourth, a, T::mul_add(simd, by.sixth, c, zero));
    let steep = T::mul_add(simd, by.twelfth, b, zero);
    [
        T::mul_add(simd, by.quarter, a, zero),
        T::add(simd, even, odd),
        T::sub(simd, even, odd),
        T::add(simd, wide, steep),
        T::sub(simd, wide, steep),
        c,
    ]
}

/// Gᵀu, of six values: the adjoint of [`kernel`].
#[inline(always)]
pub(super) fn gathered<S: Simd, T: Lanes>(
    simd: S,
    by: &Fractions<T::Vector<S>>,
    u: [T::Vector<S>; SIDE],
) -> [T::Vector<S>; 3] {
    let [u0, u1, u2, u3, u4, u5] = u;
    let zero = T::splat(simd, T::default());
    let (near, tilt) = (T::add(simd, u1, u2), T::sub(simd, u1, u2));
    let (far, slope) = (T::add(simd, u3, u4), T::sub(simd, u3, u4));
    let around = T::mul_add(simd, by.minus_sixth, near, zero);
    [
        T::mul_add(simd, by.quarter, u0, T::mul_add(simd, by.twenty_fourth, far, around)),
        T::mul_add(simd, by.minus_sixth, tilt, T::mul_add(simd, by.twelfth, slope, zero)),
        T::mul_add(simd, by.sixth, far, T::add(simd, around, u5)),
    ]
}
