//! Integer, bit and comparison instructions by name.
//!
//! Every function takes operands in 64-bit slots, looks only at the bits its type has, and returns a zero-extended
//! result.

use super::conversion::{low, signed};
use super::instruction::{Binary, Quaternary, Ternary, Unary};

/// Picks the instance of a generic function for an integer type, `b` types being unsigned.
macro_rules! by_type {
    ($name:expr, $function:ident) => {
        match $name {
            "u16" | "b16" => $function::<u16>,
            "u32" | "b32" => $function::<u32>,
            "u64" | "b64" => $function::<u64>,
            "s16" => $function::<i16>,
            "s32" => $function::<i32>,
            "s64" => $function::<i64>,
            _ => return None,
        }
    };
}

/// The integers of PTX, as far as its instructions differ by them.
trait Integer: Copy + Ord {
    const BITS: u32;
    fn of(slot: u64) -> Self;
    fn slot(self) -> u64;
    fn wide(self) -> i128;
    fn wrap(wide: i128) -> Self;
}

macro_rules! integers {
    ($($signed:ty, $unsigned:ty);*) => {$(
        impl Integer for $signed {
            const BITS: u32 = <$signed>::BITS;
            fn of(slot: u64) -> Self { slot as Self }
            fn slot(self) -> u64 { u64::from(self as $unsigned) }
            fn wide(self) -> i128 { i128::from(self) }
            fn wrap(wide: i128) -> Self { wide as Self }
        }
        impl Integer for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;
            fn of(slot: u64) -> Self { slot as Self }
            fn slot(self) -> u64 { u64::from(self) }
            fn wide(self) -> i128 { i128::from(self) }
            fn wrap(wide: i128) -> Self { wide as Self }
        }
    )*};
}
integers!(i16, u16; i32, u32; i64, u64);

fn add<T: Integer>(a: u64, b: u64) -> u64 {
    low(a.wrapping_add(b), T::BITS)
}

fn sub<T: Integer>(a: u64, b: u64) -> u64 {
    low(a.wrapping_sub(b), T::BITS)
}

fn add_saturated<T: Integer>(a: u64, b: u64) -> u64 {
    let half = 1 << (T::BITS - 1);
    T::wrap((T::of(a).wide() + T::of(b).wide()).clamp(-half, half - 1)).slot()
}

fn sub_saturated<T: Integer>(a: u64, b: u64) -> u64 {
    let half = 1 << (T::BITS - 1);
    T::wrap((T::of(a).wide() - T::of(b).wide()).clamp(-half, half - 1)).slot()
}

fn mul_lo<T: Integer>(a: u64, b: u64) -> u64 {
    low(a.wrapping_mul(b), T::BITS)
}

fn mul_hi<T: Integer>(a: u64, b: u64) -> u64 {
    // The product of two unsigned 64-bit numbers overflows an i128 by its sign bit only, which the shift puts right.
    T::wrap((T::of(a).wide().wrapping_mul(T::of(b).wide()) as u128 >> T::BITS) as i128).slot()
}

fn mul_wide<T: Integer>(a: u64, b: u64) -> u64 {
    low(T::of(a).wide().wrapping_mul(T::of(b).wide()) as u64, 2 * T::BITS)
}

fn div<T: Integer>(a: u64, b: u64) -> u64 {
    // By zero the hardware returns all ones.
    let quotient = T::of(a).wide().checked_div(T::of(b).wide()).unwrap_or(-1);
    T::wrap(quotient).slot()
}

fn rem<T: Integer>(a: u64, b: u64) -> u64 {
    T::wrap(T::of(a).wide().checked_rem(T::of(b).wide()).unwrap_or(T::of(a).wide())).slot()
}

fn min<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).min(T::of(b)).slot()
}

fn max<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).max(T::of(b)).slot()
}

fn neg<T: Integer>(a: u64) -> u64 {
    low(a.wrapping_neg(), T::BITS)
}

fn abs<T: Integer>(a: u64) -> u64 {
    T::wrap(T::of(a).wide().abs()).slot()
}

fn not<T: Integer>(a: u64) -> u64 {
    low(!a, T::BITS)
}

fn cnot<T: Integer>(a: u64) -> u64 {
    u64::from(low(a, T::BITS) == 0)
}

fn and<T: Integer>(a: u64, b: u64) -> u64 {
    low(a & b, T::BITS)
}

fn or<T: Integer>(a: u64, b: u64) -> u64 {
    low(a | b, T::BITS)
}

fn xor<T: Integer>(a: u64, b: u64) -> u64 {
    low(a ^ b, T::BITS)
}

fn shl<T: Integer>(a: u64, b: u64) -> u64 {
    low(a.checked_shl(b as u32).unwrap_or(0), T::BITS)
}

fn shr<T: Integer>(a: u64, b: u64) -> u64 {
    T::wrap(T::of(a).wide() >> (b as u32).min(127)).slot()
}

fn mad_lo<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    low(a.wrapping_mul(b).wrapping_add(c), T::BITS)
}

fn mad_hi<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    add::<T>(mul_hi::<T>(a, b), c)
}

fn mad_wide<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    low(mul_wide::<T>(a, b).wrapping_add(c), 2 * T::BITS)
}

fn sad<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    low(c.wrapping_add((T::of(a).wide() - T::of(b).wide()).unsigned_abs() as u64), T::BITS)
}

fn mul24<T: Integer>(a: u64, b: u64) -> u64 {
    T::wrap(factor24::<T>(a) * factor24::<T>(b)).slot()
}

fn mad24<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    add::<T>(mul24::<T>(a, b), c)
}

fn factor24<T: Integer>(a: u64) -> i128 {
    if T::wrap(-1).wide() < 0 { i128::from(signed(a, 24)) } else { i128::from(low(a, 24)) }
}

fn popc<T: Integer>(a: u64) -> u64 {
    u64::from(low(a, T::BITS).count_ones())
}

fn clz<T: Integer>(a: u64) -> u64 {
    u64::from(low(a, T::BITS).leading_zeros() - (64 - T::BITS))
}

fn brev<T: Integer>(a: u64) -> u64 {
    low(a, T::BITS).reverse_bits() >> (64 - T::BITS)
}

/// The position of the highest bit that differs from the sign, all ones if there is none.
fn bfind<T: Integer>(a: u64) -> u64 {
    let value = T::of(a).wide();
    let magnitude = if value < 0 { !value } else { value } as u128;
    u64::from(magnitude.checked_ilog2().unwrap_or(u32::MAX))
}

fn bfind_shift<T: Integer>(a: u64) -> u64 {
    match bfind::<T>(a) {
        none if none == u64::from(u32::MAX) => none,
        position => u64::from(T::BITS) - 1 - position,
    }
}

fn bfe<T: Integer>(a: u64, start: u64, length: u64) -> u64 {
    let (start, length) = ((start & 255) as u32, (length & 255) as u32);
    if length == 0 {
        return 0;
    }
    let shifted = T::of(a).wide() >> start.min(127);
    let bits = length.min(64);
    let field = shifted as u64;
    if T::wrap(-1).wide() < 0 {
        // A field that runs past the top takes the number's sign, which the shift above brought along.
        low(signed(field, bits) as u64, T::BITS)
    } else {
        low(low(field, bits), T::BITS)
    }
}

fn bfi<T: Integer>(a: u64, into: u64, start: u64, length: u64) -> u64 {
    let (start, length) = ((start & 255) as u32, (length & 255) as u32);
    if length == 0 || start >= T::BITS {
        return low(into, T::BITS);
    }
    let mask = low(u64::MAX, length.min(64)) << start;
    low((into & !mask) | ((a << start) & mask), T::BITS)
}

fn compare<T: Integer>(name: &str) -> Option<Binary> {
    Some(match name {
        "eq" => |a, b| u64::from(T::of(a) == T::of(b)),
        "ne" => |a, b| u64::from(T::of(a) != T::of(b)),
        "lt" | "lo" => |a, b| u64::from(T::of(a) < T::of(b)),
        "le" | "ls" => |a, b| u64::from(T::of(a) <= T::of(b)),
        "gt" | "hi" => |a, b| u64::from(T::of(a) > T::of(b)),
        "ge" | "hs" => |a, b| u64::from(T::of(a) >= T::of(b)),
        _ => return None,
    })
}

/// `setp.<name>.<ty>` as a function to zero or one.
pub fn comparison(name: &str, ty: &str) -> Option<Binary> {
    let pick: fn(&str) -> Option<Binary> = by_type!(ty, compare);
    pick(name)
}

/// Instructions of one operand.
pub fn unary(name: &str) -> Option<Unary> {
    let (operation, ty) = name.rsplit_once('.')?;
    Some(match operation {
        "neg" => by_type!(ty, neg),
        "abs" => by_type!(ty, abs),
        "not" if ty == "pred" => |a| a ^ 1,
        "not" => by_type!(ty, not),
        "cnot" => by_type!(ty, cnot),
        "popc" => by_type!(ty, popc),
        "clz" => by_type!(ty, clz),
        "brev" => by_type!(ty, brev),
        "bfind" => by_type!(ty, bfind),
        "bfind.shiftamt" => by_type!(ty, bfind_shift),
        _ => return None,
    })
}

/// Instructions of two operands.
pub fn binary(name: &str) -> Option<Binary> {
    let (operation, ty) = name.rsplit_once('.')?;
    Some(match operation {
        "and" if ty == "pred" => |a, b| a & b,
        "or" if ty == "pred" => |a, b| a | b,
        "xor" if ty == "pred" => |a, b| a ^ b,
        "add" if ty == "u16x2" || ty == "s16x2" => |a, b| add::<u16>(a, b) | add::<u16>(a >> 16, b >> 16) << 16,
        "add" => by_type!(ty, add),
        "sub" => by_type!(ty, sub),
        "add.sat" if ty == "s32" => add_saturated::<i32>,
        "sub.sat" if ty == "s32" => sub_saturated::<i32>,
        "mul.lo" => by_type!(ty, mul_lo),
        "mul.hi" => by_type!(ty, mul_hi),
        "mul.wide" if !ty.ends_with("64") => by_type!(ty, mul_wide),
        "mul24.lo" if ty.ends_with("32") => by_type!(ty, mul24),
        "div" => by_type!(ty, div),
        "rem" => by_type!(ty, rem),
        "min" => by_type!(ty, min),
        "max" => by_type!(ty, max),
        "and" => by_type!(ty, and),
        "or" => by_type!(ty, or),
        "xor" => by_type!(ty, xor),
        "shl" => by_type!(ty, shl),
        "shr" => by_type!(ty, shr),
        _ => return None,
    })
}

/// Instructions of three operands.
pub fn ternary(name: &str) -> Option<Ternary> {
    let (operation, ty) = name.rsplit_once('.')?;
    Some(match operation {
        "mad.lo" => by_type!(ty, mad_lo),
        "mad.hi" => by_type!(ty, mad_hi),
        "mad.wide" if !ty.ends_with("64") => by_type!(ty, mad_wide),
        "mad24.lo" if ty.ends_with("32") => by_type!(ty, mad24),
        "sad" => by_type!(ty, sad),
        "bfe" if !ty.ends_with("16") => by_type!(ty, bfe),
        "prmt" if ty == "b32" => prmt,
        "shf.l.wrap" if ty == "b32" => |a, b, c| low((b << 32 | low(a, 32)) << (c & 31) >> 32, 32),
        "shf.r.wrap" if ty == "b32" => |a, b, c| low((b << 32 | low(a, 32)) >> (c & 31), 32),
        "shf.l.clamp" if ty == "b32" => |a, b, c| low((b << 32 | low(a, 32)) << low(c, 32).min(32) >> 32, 32),
        "shf.r.clamp" if ty == "b32" => |a, b, c| low((b << 32 | low(a, 32)) >> low(c, 32).min(32), 32),
        "dp4a.u32" if ty == "u32" => |a, b, c| dot4(a, b, c, false, false),
        "dp4a.s32" if ty == "s32" => |a, b, c| dot4(a, b, c, true, true),
        _ => return None,
    })
}

/// Instructions of four operands.
pub fn quaternary(name: &str) -> Option<Quaternary> {
    Some(match name {
        "bfi.b32" => bfi::<u32>,
        "bfi.b64" => bfi::<u64>,
        "lop3.b32" => lop3,
        _ => return None,
    })
}

fn lop3(a: u64, b: u64, c: u64, table: u64) -> u64 {
    let bits = (0..8).filter(|row| table >> row & 1 == 1).fold(0, |sum, row: u64| {
        let pick = |value: u64, bit: u64| if row >> bit & 1 == 1 { value } else { !value };
        sum | (pick(a, 2) & pick(b, 1) & pick(c, 0))
    });
    low(bits, 32)
}

fn prmt(a: u64, b: u64, selector: u64) -> u64 {
    let bytes = b << 32 | low(a, 32);
    (0..4).fold(0, |sum, i| {
        let pick = selector >> (4 * i) & 15;
        let byte = bytes >> (8 * (pick & 7)) & 255;
        let byte = if pick & 8 == 0 { byte } else { 255 * (byte >> 7) };
        sum | byte << (8 * i)
    })
}

fn dot4(a: u64, b: u64, c: u64, sign_a: bool, sign_b: bool) -> u64 {
    let part = |value: u64, i: u32, sign| {
        let byte = value >> (8 * i);
        if sign { signed(byte, 8) } else { low(byte, 8) as i64 }
    };
    let sum: i64 = (0..4).map(|i| part(a, i, sign_a) * part(b, i, sign_b)).sum();
    low(c.wrapping_add(sum as u64), 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_quotients_agree_with_the_host() {
        let values = [0u64, 1, 2, 3, 7, 0xffff_ffff, 0x8000_0000, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0];
        for a in values {
            for b in values {
                let (x, y) = (a as i32, b as i32);
                assert_eq!(binary("mul.hi.u64").unwrap()(a, b), ((u128::from(a) * u128::from(b)) >> 64) as u64);
                assert_eq!(binary("mul.wide.s32").unwrap()(a, b), (i64::from(x) * i64::from(y)) as u64);
                if y != 0 {
                    assert_eq!(binary("div.s32").unwrap()(a, b), u64::from(x.wrapping_div(y) as u32));
                    assert_eq!(binary("rem.s32").unwrap()(a, b), u64::from(x.wrapping_rem(y) as u32));
                }
                if b != 0 {
                    assert_eq!(binary("div.u64").unwrap()(a, b), a / b);
                }
            }
        }
    }

    #[test]
    fn fields_permutations_and_truth_tables_follow_the_manual() {
        assert_eq!(ternary("bfe.u32").unwrap()(0xabcd, 4, 8), 0xbc);
        assert_eq!(ternary("bfe.s32").unwrap()(0xabcd, 4, 8), 0xffff_ffbc);
        assert_eq!(quaternary("bfi.b32").unwrap()(0xff, 0, 8, 4), 0xf00);
        assert_eq!(ternary("prmt.b32").unwrap()(0x3322_1100, 0x7766_5544, 0x4321), 0x4433_2211);
        assert_eq!(quaternary("lop3.b32").unwrap()(0xf0, 0xcc, 0xaa, 0x96), 0xf0 ^ 0xcc ^ 0xaa);
        assert_eq!(ternary("shf.l.wrap.b32").unwrap()(0x8000_0000, 1, 1), 3);
        assert_eq!(ternary("shf.r.clamp.b32").unwrap()(1, 2, 40), 2);
        assert_eq!(binary("shr.s32").unwrap()(0x8000_0000, 40), 0xffff_ffff);
        assert_eq!(binary("shl.b32").unwrap()(1, 32), 0);
        assert_eq!(unary("bfind.shiftamt.u32").unwrap()(1), 31);
        assert_eq!(unary("clz.b32").unwrap()(1), 31);
    }
}
