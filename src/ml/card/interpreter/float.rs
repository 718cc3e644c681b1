//! Floating-point instructions by name: `f32` and `f64` natively, other roundings and formats through `rounding`.
//!
//! `.ftz` flushes subnormal operands and results of `f32` to zeros of their sign. A NaN result of an `f32` instruction
//! is the hardware's canonical one, `0x7fffffff`; `f64` keeps what the host makes. The `.approx` instructions compute
//! in `f64` and round to `f32`: closer to the truth than the hardware's tables, never the same bits by promise.

use super::conversion::flush32;
use super::instruction::{Binary, Quaternary, Ternary, Unary};
use super::rounding::{BF16, F16, F32, F64, Format, Rounding};

fn d(slot: u64) -> f64 {
    f64::from_bits(slot)
}

fn s(slot: u64) -> f32 {
    f32::from_bits(slot as u32)
}

/// An operand under `.ftz`.
fn z(slot: u64) -> f32 {
    f32::from_bits(flush32(slot as u32))
}

fn from_d(value: f64) -> u64 {
    value.to_bits()
}

fn from_s(value: f32) -> u64 {
    if value.is_nan() { 0x7fff_ffff } else { u64::from(value.to_bits()) }
}

/// A result under `.ftz`.
fn from_z(value: f32) -> u64 {
    u64::from(flush32(from_s(value) as u32))
}

fn clamp01(value: f32) -> f32 {
    // A NaN saturates to zero, as does a negative zero to a positive one.
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// The smaller, a NaN counting as absent and −0 as below +0.
fn min_d(a: f64, b: f64) -> f64 {
    if a.is_nan() {
        return b;
    }
    if b.is_nan() || a < b || (a == b && a.is_sign_negative()) { a } else { b }
}

fn max_d(a: f64, b: f64) -> f64 {
    -min_d(-a, -b)
}

/// `f32` values are exact in `f64`, so the comparison is the same.
fn min_s(a: f32, b: f32) -> f32 {
    min_d(f64::from(a), f64::from(b)) as f32
}

fn max_s(a: f32, b: f32) -> f32 {
    max_d(f64::from(a), f64::from(b)) as f32
}

fn nan_or(a: f32, b: f32, value: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { value }
}

/// A function of `f32` through `f64`, rounded once more.
fn approximate(slot: u64, function: fn(f64) -> f64) -> f32 {
    function(f64::from(s(slot))) as f32
}

fn approximate_z(slot: u64, function: fn(f64) -> f64) -> u64 {
    from_z(function(f64::from(z(slot))) as f32)
}

/// The hardware's coarse reciprocals of `f64` look at the upper word and return an upper word only.
fn coarse(slot: u64, function: fn(f64) -> f64) -> u64 {
    let upper = slot & 0xffff_ffff_0000_0000;
    let upper = if upper & 0x7ff0_0000_0000_0000 == 0 { upper & 1 << 63 } else { upper };
    let value = function(d(upper));
    if value.is_nan() { from_d(value) } else { from_d(value) & 0xffff_ffff_0000_0000 }
}

fn reciprocal(x: f64) -> f64 {
    1.0 / x
}

fn reciprocal_root(x: f64) -> f64 {
    1.0 / x.sqrt()
}

/// Instructions of one operand.
pub fn unary(name: &str) -> Option<Unary> {
    Some(match name {
        "neg.f64" => |a| a ^ 1 << 63,
        "abs.f64" => |a| a & !(1 << 63),
        "neg.f32" => |a| (a ^ 1 << 31) & 0xffff_ffff,
        "abs.f32" => |a| a & 0x7fff_ffff,
        "neg.ftz.f32" => |a| u64::from(flush32(a as u32 ^ 1 << 31)),
        "abs.ftz.f32" => |a| u64::from(flush32(a as u32 & !(1 << 31))),
        "neg.bf16" | "neg.f16" => |a| (a ^ 1 << 15) & 0xffff,
        "abs.bf16" | "abs.f16" => |a| a & 0x7fff,
        "neg.bf16x2" | "neg.f16x2" => |a| (a ^ 0x8000_8000) & 0xffff_ffff,
        "abs.bf16x2" | "abs.f16x2" => |a| a & 0x7fff_7fff,
        "sqrt.rn.f64" => |a| from_d(d(a).sqrt()),
        "sqrt.rn.f32" => |a| from_s(s(a).sqrt()),
        "sqrt.rn.ftz.f32" => |a| from_z(z(a).sqrt()),
        "rcp.rn.f64" => |a| from_d(1.0 / d(a)),
        "rcp.rn.f32" => |a| from_s(1.0 / s(a)),
        "rcp.rn.ftz.f32" => |a| from_z(1.0 / z(a)),
        "rcp.approx.ftz.f64" => |a| coarse(a, reciprocal),
        "rsqrt.approx.ftz.f64" => |a| coarse(a, reciprocal_root),
        "rsqrt.approx.f64" => |a| from_d(reciprocal_root(d(a))),
        "rcp.approx.f32" => |a| from_s(approximate(a, reciprocal)),
        "rcp.approx.ftz.f32" => |a| approximate_z(a, reciprocal),
        "sqrt.approx.f32" => |a| from_s(s(a).sqrt()),
        "sqrt.approx.ftz.f32" => |a| from_z(z(a).sqrt()),
        "rsqrt.approx.f32" => |a| from_s(approximate(a, reciprocal_root)),
        "rsqrt.approx.ftz.f32" => |a| approximate_z(a, reciprocal_root),
        "ex2.approx.f32" => |a| from_s(approximate(a, f64::exp2)),
        "ex2.approx.ftz.f32" => |a| approximate_z(a, f64::exp2),
        "lg2.approx.f32" => |a| from_s(approximate(a, f64::log2)),
        "lg2.approx.ftz.f32" => |a| approximate_z(a, f64::log2),
        "sin.approx.f32" => |a| from_s(approximate(a, f64::sin)),
        "sin.approx.ftz.f32" => |a| approximate_z(a, f64::sin),
        "cos.approx.f32" => |a| from_s(approximate(a, f64::cos)),
        "cos.approx.ftz.f32" => |a| approximate_z(a, f64::cos),
        "tanh.approx.f32" => |a| from_s(approximate(a, f64::tanh)),
        "testp.finite.f64" => |a| u64::from(d(a).is_finite()),
        "testp.infinite.f64" => |a| u64::from(d(a).is_infinite()),
        "testp.number.f64" => |a| u64::from(!d(a).is_nan()),
        "testp.notanumber.f64" => |a| u64::from(d(a).is_nan()),
        "testp.normal.f64" => |a| u64::from(d(a).is_normal()),
        "testp.subnormal.f64" => |a| u64::from(d(a).is_subnormal()),
        "testp.finite.f32" => |a| u64::from(s(a).is_finite()),
        "testp.infinite.f32" => |a| u64::from(s(a).is_infinite()),
        "testp.number.f32" => |a| u64::from(!s(a).is_nan()),
        "testp.notanumber.f32" => |a| u64::from(s(a).is_nan()),
        "testp.normal.f32" => |a| u64::from(s(a).is_normal()),
        "testp.subnormal.f32" => |a| u64::from(s(a).is_subnormal()),
        _ => return None,
    })
}

/// Instructions of two operands. Without a rounding modifier `add`, `sub` and `mul` round to nearest.
pub fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "add.f64" | "add.rn.f64" => |a, b| from_d(d(a) + d(b)),
        "sub.f64" | "sub.rn.f64" => |a, b| from_d(d(a) - d(b)),
        "mul.f64" | "mul.rn.f64" => |a, b| from_d(d(a) * d(b)),
        "div.rn.f64" => |a, b| from_d(d(a) / d(b)),
        "min.f64" => |a, b| from_d(min_d(d(a), d(b))),
        "max.f64" => |a, b| from_d(max_d(d(a), d(b))),
        "copysign.f64" => |a, b| a & 1 << 63 | b & !(1 << 63),
        "add.f32" | "add.rn.f32" => |a, b| from_s(s(a) + s(b)),
        "sub.f32" | "sub.rn.f32" => |a, b| from_s(s(a) - s(b)),
        "mul.f32" | "mul.rn.f32" => |a, b| from_s(s(a) * s(b)),
        "add.ftz.f32" | "add.rn.ftz.f32" => |a, b| from_z(z(a) + z(b)),
        "sub.ftz.f32" | "sub.rn.ftz.f32" => |a, b| from_z(z(a) - z(b)),
        "mul.ftz.f32" | "mul.rn.ftz.f32" => |a, b| from_z(z(a) * z(b)),
        "add.sat.f32" | "add.rn.sat.f32" => |a, b| from_s(clamp01(s(a) + s(b))),
        "sub.sat.f32" | "sub.rn.sat.f32" => |a, b| from_s(clamp01(s(a) - s(b))),
        "mul.sat.f32" | "mul.rn.sat.f32" => |a, b| from_s(clamp01(s(a) * s(b))),
        "add.ftz.sat.f32" | "add.rn.ftz.sat.f32" => |a, b| from_z(clamp01(z(a) + z(b))),
        "sub.ftz.sat.f32" | "sub.rn.ftz.sat.f32" => |a, b| from_z(clamp01(z(a) - z(b))),
        "mul.ftz.sat.f32" | "mul.rn.ftz.sat.f32" => |a, b| from_z(clamp01(z(a) * z(b))),
        "div.rn.f32" | "div.approx.f32" | "div.full.f32" => |a, b| from_s(s(a) / s(b)),
        "div.rn.ftz.f32" | "div.approx.ftz.f32" | "div.full.ftz.f32" => |a, b| from_z(z(a) / z(b)),
        "min.f32" => |a, b| from_s(min_s(s(a), s(b))),
        "max.f32" => |a, b| from_s(max_s(s(a), s(b))),
        "min.ftz.f32" => |a, b| from_z(min_s(z(a), z(b))),
        "max.ftz.f32" => |a, b| from_z(max_s(z(a), z(b))),
        "min.NaN.f32" => |a, b| from_s(nan_or(s(a), s(b), min_s(s(a), s(b)))),
        "max.NaN.f32" => |a, b| from_s(nan_or(s(a), s(b), max_s(s(a), s(b)))),
        "min.ftz.NaN.f32" => |a, b| from_z(nan_or(s(a), s(b), min_s(z(a), z(b)))),
        "max.ftz.NaN.f32" => |a, b| from_z(nan_or(s(a), s(b), max_s(z(a), z(b)))),
        "copysign.f32" => |a, b| a & 1 << 31 | b & 0x7fff_ffff,
        _ => return half_binary(name),
    })
}

/// Instructions of three operands.
pub fn ternary(name: &str) -> Option<Ternary> {
    const NEAREST: Rounding = Rounding::Nearest;
    Some(match name {
        "fma.rn.f64" | "mad.rn.f64" => |a, b, c| from_d(d(a).mul_add(d(b), d(c))),
        "fma.rn.f32" | "mad.rn.f32" => |a, b, c| from_s(s(a).mul_add(s(b), s(c))),
        "fma.rn.ftz.f32" | "mad.rn.ftz.f32" => |a, b, c| from_z(z(a).mul_add(z(b), z(c))),
        "fma.rn.sat.f32" => |a, b, c| from_s(clamp01(s(a).mul_add(s(b), s(c)))),
        "fma.rn.ftz.sat.f32" => |a, b, c| from_z(clamp01(z(a).mul_add(z(b), z(c)))),
        "fma.rn.bf16" => |a, b, c| BF16.fma(a, b, c, NEAREST),
        "fma.rn.f16" => |a, b, c| F16.fma(a, b, c, NEAREST),
        "fma.rn.bf16x2" => |a, b, c| twice(a, b, |x, y, half| BF16.fma(x, y, c >> half, NEAREST)),
        "fma.rn.f16x2" => |a, b, c| twice(a, b, |x, y, half| F16.fma(x, y, c >> half, NEAREST)),
        _ => return None,
    })
}

/// Added to a rounding's code under `.ftz`.
const FLUSH: u64 = 4;

/// A directed operation in `f32`, its operands and result flushed if `mode` says so.
fn single(operands: [u64; 3], mode: u64, function: fn([u64; 3], Rounding) -> u64) -> u64 {
    let rounding = Rounding::from_code(mode);
    if mode & FLUSH == 0 {
        return function(operands, rounding);
    }
    u64::from(flush32(function(operands.map(|slot| u64::from(flush32(slot as u32))), rounding) as u32))
}

/// Instructions of one to three operands that round otherwise than to nearest: a function whose fourth operand is the
/// mode, how many operands it has without, and the mode.
pub fn directed(name: &str) -> Option<(Quaternary, usize, u64)> {
    let (name, flush) = match name.strip_suffix(".ftz.f32") {
        Some(rest) => (format!("{rest}.f32"), FLUSH),
        None => (name.to_owned(), 0),
    };
    let parts: Vec<&str> = name.split('.').collect();
    let &[operation, rounding, ty] = parts.as_slice() else { return None };
    let rounding = match rounding {
        "rz" => Rounding::Zero,
        "rm" => Rounding::Down,
        "rp" => Rounding::Up,
        _ => return None,
    };
    let (function, operands): (Quaternary, usize) = match (operation, ty) {
        ("add", "f64") => (|a, b, _, mode| F64.add(a, b, Rounding::from_code(mode)), 2),
        ("sub", "f64") => (|a, b, _, mode| F64.add(a, b ^ 1 << 63, Rounding::from_code(mode)), 2),
        ("mul", "f64") => (|a, b, _, mode| F64.mul(a, b, Rounding::from_code(mode)), 2),
        ("div", "f64") => (|a, b, _, mode| F64.div(a, b, Rounding::from_code(mode)), 2),
        ("fma" | "mad", "f64") => (|a, b, c, mode| F64.fma(a, b, c, Rounding::from_code(mode)), 3),
        ("sqrt", "f64") => (|a, _, _, mode| F64.sqrt(a, Rounding::from_code(mode)), 1),
        ("rcp", "f64") => (|a, _, _, mode| F64.div(1f64.to_bits(), a, Rounding::from_code(mode)), 1),
        ("add", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, b, _], r| F32.add(a, b, r)), 2),
        ("sub", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, b, _], r| F32.add(a, b ^ 1 << 31, r)), 2),
        ("mul", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, b, _], r| F32.mul(a, b, r)), 2),
        ("div", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, b, _], r| F32.div(a, b, r)), 2),
        ("fma" | "mad", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, b, c], r| F32.fma(a, b, c, r)), 3),
        ("sqrt", "f32") => (|a, b, c, mode| single([a, b, c], mode, |[a, ..], r| F32.sqrt(a, r)), 1),
        ("rcp", "f32") => {
            (|a, b, c, mode| single([a, b, c], mode, |[a, ..], r| F32.div(u64::from(1f32.to_bits()), a, r)), 1)
        }
        _ => return None,
    };
    Some((function, operands, rounding.code() | flush))
}

/// Applies a function to both halves of packed operands.
fn twice(a: u64, b: u64, function: impl Fn(u64, u64, u32) -> u64) -> u64 {
    function(a & 0xffff, b & 0xffff, 0) | function(a >> 16 & 0xffff, b >> 16 & 0xffff, 16) << 16
}

/// Picks an instance for `bf16` or `f16`, alone or packed.
macro_rules! half {
    ($ty:expr, $function:expr) => {
        match $ty {
            "bf16" => |a, b| $function(BF16, a, b),
            "f16" => |a, b| $function(F16, a, b),
            "bf16x2" => |a, b| twice(a, b, |x, y, _| $function(BF16, x, y)),
            "f16x2" => |a, b| twice(a, b, |x, y, _| $function(F16, x, y)),
            _ => return None,
        }
    };
}

fn half_binary(name: &str) -> Option<Binary> {
    let (operation, ty) = name.rsplit_once('.')?;
    Some(match operation {
        "add" | "add.rn" => half!(ty, |f: Format, a, b| f.add(a, b, Rounding::Nearest)),
        "sub" | "sub.rn" => half!(ty, |f: Format, a, b: u64| f.add(a, b ^ 0x8000, Rounding::Nearest)),
        "mul" | "mul.rn" => half!(ty, |f: Format, a, b| f.mul(a, b, Rounding::Nearest)),
        "min" => half!(ty, |f, a, b| narrow(f, min_d(widen(f, a), widen(f, b)))),
        "max" => half!(ty, |f, a, b| narrow(f, max_d(widen(f, a), widen(f, b)))),
        _ => return None,
    })
}

/// A value of a narrower format as `f64`, which is exact.
fn widen(format: Format, a: u64) -> f64 {
    d(F64.encode_parts(format.decode(a), Rounding::Nearest))
}

fn narrow(format: Format, value: f64) -> u64 {
    format.encode_parts(F64.decode(value.to_bits()), Rounding::Nearest)
}

/// The common conversions as plain functions; all others go through `conversion`.
pub fn conversion(name: &str) -> Option<Unary> {
    Some(match name {
        "cvt.f64.f32" => |a| from_d(f64::from(s(a))),
        "cvt.rn.f32.f64" => |a| from_s(d(a) as f32),
        "cvt.rn.f32.s32" => |a| from_s(a as i32 as f32),
        "cvt.rn.f32.u32" => |a| from_s(a as u32 as f32),
        "cvt.rn.f64.s32" => |a| from_d(f64::from(a as i32)),
        "cvt.rn.f64.u32" => |a| from_d(f64::from(a as u32)),
        "cvt.rn.f64.s64" => |a| from_d(a as i64 as f64),
        "cvt.rn.f64.u64" => |a| from_d(a as f64),
        "cvt.f32.bf16" => |a| a << 16 & 0xffff_0000,
        _ => return None,
    })
}

/// Picks a comparison by name for one way of reading a slot.
macro_rules! compared {
    ($name:expr, $read:expr) => {
        Some(match $name {
            "eq" => |a, b| u64::from($read(a) == $read(b)),
            "ne" => |a, b| u64::from($read(a) < $read(b) || $read(a) > $read(b)),
            "lt" => |a, b| u64::from($read(a) < $read(b)),
            "le" => |a, b| u64::from($read(a) <= $read(b)),
            "gt" => |a, b| u64::from($read(a) > $read(b)),
            "ge" => |a, b| u64::from($read(a) >= $read(b)),
            "equ" => |a, b| u64::from(!($read(a) < $read(b) || $read(a) > $read(b))),
            "neu" => |a, b| u64::from($read(a) != $read(b)),
            "ltu" => |a, b| u64::from(!($read(a) >= $read(b))),
            "leu" => |a, b| u64::from(!($read(a) > $read(b))),
            "gtu" => |a, b| u64::from(!($read(a) <= $read(b))),
            "geu" => |a, b| u64::from(!($read(a) < $read(b))),
            "num" => |a, b| u64::from(!$read(a).is_nan() && !$read(b).is_nan()),
            "nan" => |a, b| u64::from($read(a).is_nan() || $read(b).is_nan()),
            _ => return None,
        })
    };
}

/// `setp.<name>.<ty>` as a function to zero or one; `ftz.f32` is a type of its own here.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "an unordered comparison is the negation of an ordered one")]
pub fn comparison(name: &str, ty: &str) -> Option<Binary> {
    match ty {
        "f64" => compared!(name, d),
        "f32" => compared!(name, s),
        "ftz.f32" => compared!(name, z),
        "bf16" => compared!(name, |a| widen(BF16, a)),
        "f16" => compared!(name, |a| widen(F16, a)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: f32) -> u64 {
        u64::from(value.to_bits())
    }

    #[test]
    fn a_nan_loses_against_a_number_and_negative_zero_is_least() {
        let min = binary("min.f32").unwrap();
        assert_eq!(min(of(f32::NAN), of(2.0)), of(2.0));
        assert_eq!(min(of(2.0), of(f32::NAN)), of(2.0));
        assert_eq!(min(of(f32::NAN), of(f32::NAN)), 0x7fff_ffff);
        assert_eq!(min(of(0.0), of(-0.0)), of(-0.0));
        assert_eq!(binary("max.f32").unwrap()(of(-0.0), of(0.0)), of(0.0));
        assert_eq!(binary("max.NaN.f32").unwrap()(of(1.0), of(f32::NAN)), 0x7fff_ffff);
    }

    #[test]
    fn unordered_comparisons_hold_for_a_nan_and_ordered_ones_do_not() {
        for (name, expected) in
            [("lt", 0), ("ltu", 1), ("ne", 0), ("neu", 1), ("eq", 0), ("equ", 1), ("nan", 1), ("num", 0)]
        {
            assert_eq!(comparison(name, "f64").unwrap()(f64::NAN.to_bits(), 0), expected, "{name}");
            assert_eq!(comparison(name, "f32").unwrap()(of(f32::NAN), 0), expected, "{name}");
        }
    }

    #[test]
    fn flushing_zeroes_subnormals_on_both_sides() {
        let tiny = f32::MIN_POSITIVE / 2.0;
        assert_eq!(binary("add.ftz.f32").unwrap()(of(tiny), of(tiny)), 0);
        assert_eq!(binary("mul.ftz.f32").unwrap()(of(-f32::MIN_POSITIVE), of(0.5)), of(-0.0));
        assert_eq!(binary("mul.f32").unwrap()(of(f32::MIN_POSITIVE), of(0.5)), of(tiny));
        assert_eq!(unary("ex2.approx.ftz.f32").unwrap()(of(3.0)), of(8.0));
    }

    #[test]
    fn halves_are_computed_apart() {
        let one_two = 0x4000_3f80;
        assert_eq!(binary("add.bf16x2").unwrap()(one_two, one_two), 0x4080_4000);
        assert_eq!(ternary("fma.rn.bf16").unwrap()(0x3f80, 0x4000, 0x3f80), 0x4040);
    }

    #[test]
    fn a_coarse_reciprocal_has_an_upper_word_only() {
        let rough = unary("rcp.approx.ftz.f64").unwrap()(3f64.to_bits());
        assert_eq!(rough & 0xffff_ffff, 0);
        assert!((f64::from_bits(rough) * 3.0 - 1.0).abs() < 1e-6);
    }
}
