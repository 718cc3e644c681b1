//! Binary floating point by integers: every format, every rounding mode, one rounding routine.
//!
//! The host rounds to nearest only, and knows no `bf16` and no `f16`. Whatever it cannot do natively comes through
//! here: a value is taken apart into an integer and a power of two, the operation is done exactly (or with a sticky
//! last bit), and [`Format::encode`] rounds once.

/// A binary interchange format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Stored bits of the significand, without the hidden one.
    pub fraction: u32,
    /// Bits of the exponent.
    pub exponent: u32,
}

/// IEEE binary64.
pub const F64: Format = Format { fraction: 52, exponent: 11 };
/// IEEE binary32.
pub const F32: Format = Format { fraction: 23, exponent: 8 };
/// The upper half of a binary32.
pub const BF16: Format = Format { fraction: 7, exponent: 8 };
/// IEEE binary16.
pub const F16: Format = Format { fraction: 10, exponent: 5 };

/// The four modes of PTX: `.rn`, `.rz`, `.rm`, `.rp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Toward zero.
    Zero,
    /// Toward negative infinity.
    Down,
    /// Toward positive infinity.
    Up,
}

impl Rounding {
    /// The mode as a number, for an instruction whose operand it is.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The inverse of [`Rounding::code`].
    pub fn from_code(code: u64) -> Self {
        [Self::Nearest, Self::Zero, Self::Down, Self::Up][(code & 3) as usize]
    }

    /// Whether a remainder of `rest` out of `one` moves a magnitude up.
    pub(super) fn steps_up(self, negative: bool, odd: bool, rest: u128, half: u128) -> bool {
        match self {
            Self::Nearest => rest > half || (rest == half && odd),
            Self::Zero => false,
            Self::Down => negative && rest != 0,
            Self::Up => !negative && rest != 0,
        }
    }
}

/// A number taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Any NaN.
    Nan,
    /// An infinity and whether it is negative.
    Infinite(bool),
    /// `(-1)^negative · magnitude · 2^exponent`; a zero keeps its sign.
    Finite(Finite),
}

/// `(-1)^negative · magnitude · 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finite {
    /// The sign.
    pub negative: bool,
    /// The integer.
    pub magnitude: u128,
    /// The power of two.
    pub exponent: i32,
}

impl Format {
    /// The quiet NaN that the hardware writes: all ones but the sign, except for binary64.
    pub fn nan(self) -> u64 {
        if self == F64 { 0x7ff8_0000_0000_0000 } else { self.sign() - 1 }
    }

    fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    /// The bits of an infinity.
    pub fn infinity(self, negative: bool) -> u64 {
        (u64::from(negative) << (self.fraction + self.exponent)) | (((1 << self.exponent) - 1) << self.fraction)
    }

    /// The exponent of the last bit of a subnormal.
    fn least(self) -> i32 {
        2 - (1 << (self.exponent - 1)) - self.fraction as i32
    }

    /// Takes `bits` apart.
    pub fn decode(self, bits: u64) -> Parts {
        let negative = bits & self.sign() != 0;
        let fraction = bits & ((1 << self.fraction) - 1);
        let exponent = (bits >> self.fraction) & ((1 << self.exponent) - 1);
        if exponent == (1 << self.exponent) - 1 {
            return if fraction == 0 { Parts::Infinite(negative) } else { Parts::Nan };
        }
        let magnitude = u128::from(if exponent == 0 { fraction } else { fraction | (1 << self.fraction) });
        Parts::Finite(Finite { negative, magnitude, exponent: self.least() + (exponent.max(1) as i32 - 1) })
    }

    /// Rounds a finite number into the format.
    pub fn encode(self, value: Finite, rounding: Rounding) -> u64 {
        let Finite { negative, magnitude, exponent } = value;
        let sign = u64::from(negative) << (self.fraction + self.exponent);
        if magnitude == 0 {
            return sign;
        }
        let bits = 128 - magnitude.leading_zeros() as i32;
        let last = (exponent + bits - 1 - self.fraction as i32).max(self.least());
        let shift = last - exponent;
        let (kept, rest, half) = match shift {
            ..=0 => (magnitude << -shift, 0, 1),
            1..=127 => (magnitude >> shift, magnitude & ((1 << shift) - 1), 1 << (shift - 1)),
            128 => (0, magnitude, 1 << 127),
            _ => (0, 1, 2),
        };
        let kept = kept as u64 + u64::from(rounding.steps_up(negative, kept & 1 == 1, rest, half));
        // A carry out of the significand walks into the exponent field, which is what it ought to do.
        let biased = ((last - self.least()) as u64).min(1 << self.exponent);
        let result = (biased << self.fraction) + kept;
        if result < self.infinity(false) {
            return sign | result;
        }
        let finite = match rounding {
            Rounding::Nearest => false,
            Rounding::Zero => true,
            Rounding::Down => !negative,
            Rounding::Up => negative,
        };
        self.infinity(negative) - u64::from(finite)
    }

    /// Rounds anything into the format.
    pub fn encode_parts(self, parts: Parts, rounding: Rounding) -> u64 {
        match parts {
            Parts::Nan => self.nan(),
            Parts::Infinite(negative) => self.infinity(negative),
            Parts::Finite(value) => self.encode(value, rounding),
        }
    }

    /// `a + b`, rounded once.
    pub fn add(self, a: u64, b: u64, rounding: Rounding) -> u64 {
        self.encode_parts(sum(self.decode(a), self.decode(b), rounding), rounding)
    }

    /// `a · b`, rounded once.
    pub fn mul(self, a: u64, b: u64, rounding: Rounding) -> u64 {
        self.encode_parts(product(self.decode(a), self.decode(b)), rounding)
    }

    /// `a · b + c`, rounded once.
    pub fn fma(self, a: u64, b: u64, c: u64, rounding: Rounding) -> u64 {
        self.encode_parts(sum(product(self.decode(a), self.decode(b)), self.decode(c), rounding), rounding)
    }

    /// `a / b`, rounded once.
    pub fn div(self, a: u64, b: u64, rounding: Rounding) -> u64 {
        self.encode_parts(quotient(self.decode(a), self.decode(b)), rounding)
    }

    /// `√a`, rounded once.
    pub fn sqrt(self, a: u64, rounding: Rounding) -> u64 {
        let root = match self.decode(a) {
            Parts::Finite(value) if value.magnitude == 0 => return a,
            Parts::Finite(Finite { negative: false, magnitude, exponent }) => {
                // Scaled to 120-odd bits and an even exponent, the integer root has 60 bits and a sticky one.
                let shift = magnitude.leading_zeros() as i32 - 2;
                let shift = shift - ((exponent - shift) & 1);
                let scaled = magnitude << shift;
                let root = scaled.isqrt();
                let sticky = u128::from(root * root != scaled);
                Parts::Finite(Finite {
                    negative: false,
                    magnitude: root << 1 | sticky,
                    exponent: (exponent - shift) / 2 - 1,
                })
            }
            Parts::Infinite(false) => Parts::Infinite(false),
            _ => Parts::Nan,
        };
        self.encode_parts(root, rounding)
    }
}

/// The exact product of two numbers of at most 64 significant bits each.
fn product(a: Parts, b: Parts) -> Parts {
    match (a, b) {
        (Parts::Nan, _) | (_, Parts::Nan) => Parts::Nan,
        (Parts::Finite(a), Parts::Finite(b)) => Parts::Finite(Finite {
            negative: a.negative != b.negative,
            magnitude: a.magnitude * b.magnitude,
            exponent: a.exponent + b.exponent,
        }),
        (Parts::Infinite(n), Parts::Infinite(m)) => Parts::Infinite(n != m),
        (Parts::Infinite(n), Parts::Finite(f)) | (Parts::Finite(f), Parts::Infinite(n)) => {
            if f.magnitude == 0 {
                Parts::Nan
            } else {
                Parts::Infinite(n != f.negative)
            }
        }
    }
}

fn quotient(a: Parts, b: Parts) -> Parts {
    match (a, b) {
        (Parts::Nan, _) | (_, Parts::Nan) | (Parts::Infinite(_), Parts::Infinite(_)) => Parts::Nan,
        (Parts::Infinite(n), Parts::Finite(f)) => Parts::Infinite(n != f.negative),
        (Parts::Finite(f), Parts::Infinite(n)) => {
            Parts::Finite(Finite { negative: n != f.negative, magnitude: 0, exponent: 0 })
        }
        (Parts::Finite(a), Parts::Finite(b)) => {
            let negative = a.negative != b.negative;
            match (a.magnitude, b.magnitude) {
                (0, 0) => Parts::Nan,
                (0, _) => Parts::Finite(Finite { negative, magnitude: 0, exponent: 0 }),
                (_, 0) => Parts::Infinite(negative),
                (x, y) => {
                    let shift = x.leading_zeros() as i32 - 1;
                    let scaled = x << shift;
                    let sticky = u128::from(!scaled.is_multiple_of(y));
                    let magnitude = (scaled / y) << 1 | sticky;
                    Parts::Finite(Finite { negative, magnitude, exponent: a.exponent - shift - b.exponent - 1 })
                }
            }
        }
    }
}

/// The sum, exact or with a sticky last bit far below anything a format keeps.
fn sum(a: Parts, b: Parts, rounding: Rounding) -> Parts {
    let (a, b) = match (a, b) {
        (Parts::Nan, _) | (_, Parts::Nan) => return Parts::Nan,
        (Parts::Infinite(n), Parts::Infinite(m)) => return if n == m { Parts::Infinite(n) } else { Parts::Nan },
        (Parts::Infinite(n), _) | (_, Parts::Infinite(n)) => return Parts::Infinite(n),
        (Parts::Finite(a), Parts::Finite(b)) => (a, b),
    };
    if a.magnitude == 0 && b.magnitude == 0 {
        let negative = if a.negative == b.negative { a.negative } else { rounding == Rounding::Down };
        return Parts::Finite(Finite { negative, magnitude: 0, exponent: 0 });
    }
    let (x, y) = (raised(a), raised(b));
    let (x, mut y) = if y.magnitude == 0 || (x.magnitude != 0 && x.exponent >= y.exponent) { (x, y) } else { (y, x) };
    let shift = x.exponent - y.exponent;
    y.magnitude = match shift {
        _ if y.magnitude == 0 => 0,
        0..=127 => y.magnitude >> shift | u128::from(y.magnitude & ((1 << shift) - 1) != 0),
        _ => 1,
    };
    if x.negative == y.negative {
        return Parts::Finite(Finite { magnitude: x.magnitude + y.magnitude, ..x });
    }
    if x.magnitude == y.magnitude {
        return Parts::Finite(Finite { negative: rounding == Rounding::Down, magnitude: 0, exponent: 0 });
    }
    let negative = if x.magnitude > y.magnitude { x.negative } else { y.negative };
    Parts::Finite(Finite { negative, magnitude: x.magnitude.abs_diff(y.magnitude), exponent: x.exponent })
}

/// The same number with its leading bit at 2^126, which leaves room for a carry; at most 106 bits come in, so twenty
/// guard bits stay below them.
fn raised(value: Finite) -> Finite {
    if value.magnitude == 0 {
        return value;
    }
    let shift = value.magnitude.leading_zeros() as i32 - 1;
    Finite { magnitude: value.magnitude << shift, exponent: value.exponent - shift, ..value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut values = vec![0, 1 << 63, 1, f64::MAX.to_bits(), f64::MIN_POSITIVE.to_bits(), f64::INFINITY.to_bits()];
        for _ in 0..300 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            values.push(state);
            // Exponents near one another, so that sums cancel and round.
            values.push(state & 0x800f_ffff_ffff_ffff | (0x3f0 + (state >> 52 & 31)) << 52);
        }
        values
    }

    fn same(ours: u64, hosts: f64) -> bool {
        ours == hosts.to_bits() || (hosts.is_nan() && f64::from_bits(ours).is_nan())
    }

    #[test]
    fn rounding_to_nearest_agrees_with_the_host() {
        let values = samples();
        for (i, &a) in values.iter().enumerate() {
            let (x, b) = (f64::from_bits(a), values[(i * 7 + 3) % values.len()]);
            let (y, c) = (f64::from_bits(b), values[(i * 13 + 5) % values.len()]);
            assert!(same(F64.add(a, b, Rounding::Nearest), x + y), "{x} + {y}");
            assert!(same(F64.mul(a, b, Rounding::Nearest), x * y), "{x} * {y}");
            assert!(same(F64.div(a, b, Rounding::Nearest), x / y), "{x} / {y}");
            assert!(same(F64.sqrt(a, Rounding::Nearest), x.sqrt()), "sqrt {x}");
            assert!(same(F64.fma(a, b, c, Rounding::Nearest), x.mul_add(y, f64::from_bits(c))), "{x} * {y} + {c}");
            let narrow = F32.encode_parts(F64.decode(a), Rounding::Nearest);
            let host = x as f32;
            assert!(narrow == u64::from(host.to_bits()) || host.is_nan(), "{x} as f32");
        }
    }

    #[test]
    fn directed_modes_bracket_the_exact_result_by_one_unit() {
        for (i, &a) in samples().iter().enumerate() {
            let b = samples()[(i * 7 + 3) % 600];
            let low = f64::from_bits(F64.mul(a, b, Rounding::Down));
            let high = f64::from_bits(F64.mul(a, b, Rounding::Up));
            if low.is_finite() && high.is_finite() {
                assert!(low == high || low.next_up() == high, "{low} {high}");
                let zero = f64::from_bits(F64.mul(a, b, Rounding::Zero));
                assert_eq!(zero.abs(), low.abs().min(high.abs()));
            }
        }
    }
}
