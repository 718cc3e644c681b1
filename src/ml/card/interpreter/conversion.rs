//! `cvt` between all types, in all rounding modes.

use super::rounding::{BF16, F16, F32, F64, Finite, Format, Parts, Rounding};

/// A scalar type of PTX as far as a conversion sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `.u8` to `.u64`.
    Unsigned(u32),
    /// `.s8` to `.s64`.
    Signed(u32),
    /// `.f16`, `.bf16`, `.f32`, `.f64`.
    Float(Format),
}

impl Number {
    /// The type of that name, without the dot.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "f64" => Self::Float(F64),
            "f32" => Self::Float(F32),
            "f16" => Self::Float(F16),
            "bf16" => Self::Float(BF16),
            _ => {
                let bits = name.get(1..)?.parse().ok().filter(|bits| matches!(bits, 8 | 16 | 32 | 64))?;
                match name.as_bytes()[0] {
                    b'u' | b'b' => Self::Unsigned(bits),
                    b's' => Self::Signed(bits),
                    _ => return None,
                }
            }
        })
    }

    /// Its width.
    pub fn bits(self) -> u32 {
        match self {
            Self::Unsigned(bits) | Self::Signed(bits) => bits,
            Self::Float(format) => 1 + format.exponent + format.fraction,
        }
    }
}

/// A conversion with all its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The destination's type.
    pub to: Number,
    /// The source's type.
    pub from: Number,
    /// How to round, `.rn` or `.rni` and their like.
    pub rounding: Rounding,
    /// Whether a float is rounded to an integral value.
    pub integral: bool,
    /// `.sat`.
    pub saturate: bool,
    /// `.ftz`.
    pub flush: bool,
    /// The destination register's bits, which a signed result fills with its sign.
    pub register: u32,
}

/// The lower `bits` bits.
pub fn low(value: u64, bits: u32) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

/// The lower `bits` bits, their sign extended.
pub fn signed(value: u64, bits: u32) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

/// A subnormal binary32 becomes a zero of its sign.
pub fn flush32(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

impl Conversion {
    /// Converts the value of a register.
    pub fn apply(self, a: u64) -> u64 {
        let a = if self.flush && self.from == Number::Float(F32) { u64::from(flush32(a as u32)) } else { a };
        match (self.from, self.to) {
            (Number::Float(from), Number::Float(to)) => {
                let mut parts = from.decode(a);
                if self.integral
                    && let Parts::Finite(value) = &mut parts
                    && value.exponent < 0
                {
                    *value = Finite { magnitude: integer(*value, self.rounding), exponent: 0, ..*value };
                }
                let result = to.encode_parts(parts, self.rounding);
                let result = if self.flush && to == F32 { u64::from(flush32(result as u32)) } else { result };
                if self.saturate { saturated(to, result) } else { result }
            }
            (Number::Float(from), _) => self.to_register(match from.decode(a) {
                // The ISA's own words: zero between narrow types, otherwise the sign bit alone.
                Parts::Nan if from != F64 && self.to.bits() < 64 => 0,
                Parts::Nan => -(1i128 << (self.to.bits() - 1)),
                Parts::Infinite(negative) => self.clamp(if negative { i128::MIN } else { i128::MAX }),
                Parts::Finite(value) => {
                    let magnitude = integer(value, self.rounding).min(1 << 100) as i128;
                    self.clamp(if value.negative { -magnitude } else { magnitude })
                }
            }),
            (_, Number::Float(to)) => {
                let value = self.source(a);
                let parts = Finite { negative: value < 0, magnitude: value.unsigned_abs(), exponent: 0 };
                let result = to.encode(parts, self.rounding);
                if self.saturate { saturated(to, result) } else { result }
            }
            _ => {
                let value = self.source(a);
                self.to_register(if self.saturate { self.clamp(value) } else { value })
            }
        }
    }

    fn source(self, a: u64) -> i128 {
        match self.from {
            Number::Signed(bits) => i128::from(signed(a, bits)),
            other => i128::from(low(a, other.bits())),
        }
    }

    fn clamp(self, value: i128) -> i128 {
        match self.to {
            Number::Signed(bits) => value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            other => value.clamp(0, (1 << other.bits()) - 1),
        }
    }

    fn to_register(self, value: i128) -> u64 {
        match self.to {
            Number::Signed(bits) => low(signed(value as u64, bits) as u64, self.register.max(bits)),
            other => low(value as u64, other.bits()),
        }
    }
}

/// The magnitude rounded to an integer.
fn integer(value: Finite, rounding: Rounding) -> u128 {
    let Finite { negative, magnitude, exponent } = value;
    match -exponent {
        // A float's own significand is at most 53 bits; what would not fit clamps to the same as what fits.
        ..=0 if magnitude == 0 => 0,
        ..-70 => 1 << 100,
        shift @ ..=0 => magnitude << -shift,
        shift @ 1..=127 => {
            let (kept, rest) = (magnitude >> shift, magnitude & ((1 << shift) - 1));
            kept + u128::from(rounding.steps_up(negative, kept & 1 == 1, rest, 1 << (shift - 1)))
        }
        _ => u128::from(rounding.steps_up(negative, false, magnitude.min(1), 2)),
    }
}

/// Clamped to [0, 1], a NaN to zero.
fn saturated(format: Format, bits: u64) -> u64 {
    let one = format.encode(Finite { negative: false, magnitude: 1, exponent: 0 }, Rounding::Nearest);
    match format.decode(bits) {
        Parts::Nan | Parts::Infinite(true) | Parts::Finite(Finite { negative: true, .. }) => 0,
        _ => bits.min(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(to: &str, from: &str, rounding: Rounding, a: u64) -> u64 {
        let (to, from) = (Number::parse(to).unwrap(), Number::parse(from).unwrap());
        Conversion { to, from, rounding, integral: true, saturate: false, flush: false, register: to.bits() }.apply(a)
    }

    #[test]
    fn floats_become_integers_as_the_host_casts_them() {
        for x in [0.0, -0.4, 2.5, 3.5, -7.9, 1e10, -1e10, 1e30, 1e300, f64::INFINITY, f64::NEG_INFINITY] {
            let a = f64::to_bits(x);
            assert_eq!(convert("s32", "f64", Rounding::Zero, a), u64::from(x as i32 as u32), "{x}");
            assert_eq!(convert("u64", "f64", Rounding::Zero, a), x as u64, "{x}");
            assert_eq!(convert("s64", "f64", Rounding::Nearest, a), x.round_ties_even() as i64 as u64, "{x}");
            assert_eq!(convert("f64", "f64", Rounding::Down, a), x.floor().to_bits(), "{x}");
            assert_eq!(convert("f64", "f64", Rounding::Up, a), x.ceil().to_bits(), "{x}");
        }
    }

    #[test]
    fn a_nan_becomes_zero_or_the_sign_bit() {
        assert_eq!(convert("s32", "f32", Rounding::Zero, u64::from(f32::NAN.to_bits())), 0);
        assert_eq!(convert("s64", "f64", Rounding::Zero, f64::NAN.to_bits()), 1 << 63);
    }

    #[test]
    fn integers_extend_by_their_sign_and_truncate() {
        assert_eq!(convert("s64", "s32", Rounding::Zero, 0xffff_fffe), u64::MAX - 1);
        assert_eq!(convert("u64", "u32", Rounding::Zero, 0xffff_fffe), 0xffff_fffe);
        assert_eq!(convert("u16", "u32", Rounding::Zero, 0x1_2345), 0x2345);
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for (x, bits) in
            [(1.0f32, 0x3f80), (f32::from_bits(0x3f80_8000), 0x3f80), (f32::from_bits(0x3f81_8000), 0x3f82)]
        {
            let plain = Conversion {
                to: Number::Float(BF16),
                from: Number::Float(F32),
                rounding: Rounding::Nearest,
                integral: false,
                saturate: false,
                flush: false,
                register: 16,
            };
            assert_eq!(plain.apply(u64::from(x.to_bits())), bits);
        }
    }
}
