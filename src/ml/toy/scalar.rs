//! Numbers that an expression can be evaluated in: a few runs side by side, and duals of any such numbers, whose slope is the exact
//! derivative. A dual of duals has second derivatives, and so on (Fike and Alonso 2011).

use std::ops::{Add, Mul, Neg, Sub};

/// Runs side by side.
pub const LANES: usize = 8;

/// What an expression is evaluated in.
pub trait Scalar: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self> {
    /// A number that nothing depends on.
    fn constant(x: f64) -> Self;

    /// 1/x.
    fn recip(self) -> Self;

    /// The exponential.
    fn exp(self) -> Self;

    /// The natural logarithm.
    fn ln(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// The sine.
    fn sin(self) -> Self;

    /// The cosine.
    fn cos(self) -> Self;

    /// The hyperbolic tangent.
    fn tanh(self) -> Self;

    /// `x^p`, where x is not negative.
    fn powf(self, p: f64) -> Self;

    /// The sign, 0 at 0, as a number that nothing depends on.
    fn sign(self) -> Self;

    /// |x|, with slope 0 at 0.
    fn abs(self) -> Self {
        self * self.sign()
    }

    /// `c·x`.
    fn scale(self, c: f64) -> Self {
        self * Self::constant(c)
    }

    /// xⁿ by repeated squaring.
    fn power(self, n: i32) -> Self {
        let (mut power, mut square, mut rest) = (Self::constant(1.0), self, n.unsigned_abs());
        while rest > 0 {
            if rest & 1 == 1 {
                power = power * square;
            }
            rest >>= 1;
            if rest > 0 {
                square = square * square;
            }
        }
        if n < 0 { power.recip() } else { power }
    }
}

/// The same number of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lanes(pub [f64; LANES]);

impl Lanes {
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self(self.0.map(f))
    }

    fn zip(mut self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        self
    }
}

impl Add for Lanes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for Lanes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for Lanes {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl Neg for Lanes {
    type Output = Self;
    fn neg(self) -> Self {
        self.map(|a| -a)
    }
}

impl Scalar for Lanes {
    fn constant(x: f64) -> Self {
        Self([x; LANES])
    }

    fn recip(self) -> Self {
        self.map(|x| 1.0 / x)
    }

    fn exp(self) -> Self {
        self.map(libm::exp)
    }

    fn ln(self) -> Self {
        self.map(libm::log)
    }

    fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }

    fn sin(self) -> Self {
        self.map(libm::sin)
    }

    fn cos(self) -> Self {
        self.map(libm::cos)
    }

    fn tanh(self) -> Self {
        self.map(libm::tanh)
    }

    fn powf(self, p: f64) -> Self {
        self.map(|x| libm::pow(x, p))
    }

    fn sign(self) -> Self {
        self.map(|x| if x == 0.0 { 0.0 } else { x.signum() })
    }
}

/// A number and its derivative in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Dual<S> {
    pub value: S,
    pub slope: S,
}

impl<S: Scalar> Dual<S> {
    /// f(x), given f(value) and f′(value).
    fn through(self, value: S, slope: S) -> Self {
        Self { value, slope: slope * self.slope }
    }
}

impl<S: Scalar> Add for Dual<S> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl<S: Scalar> Sub for Dual<S> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
}

impl<S: Scalar> Mul for Dual<S> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { value: self.value * other.value, slope: self.slope * other.value + self.value * other.slope }
    }
}

impl<S: Scalar> Neg for Dual<S> {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl<S: Scalar> Scalar for Dual<S> {
    fn constant(x: f64) -> Self {
        Self { value: S::constant(x), slope: S::constant(0.0) }
    }

    fn recip(self) -> Self {
        let r = self.value.recip();
        self.through(r, -(r * r))
    }

    fn exp(self) -> Self {
        let y = self.value.exp();
        self.through(y, y)
    }

    fn ln(self) -> Self {
        self.through(self.value.ln(), self.value.recip())
    }

    fn sqrt(self) -> Self {
        let y = self.value.sqrt();
        self.through(y, y.recip().scale(0.5))
    }

    fn sin(self) -> Self {
        self.through(self.value.sin(), self.value.cos())
    }

    fn cos(self) -> Self {
        self.through(self.value.cos(), -self.value.sin())
    }

    fn tanh(self) -> Self {
        let y = self.value.tanh();
        self.through(y, S::constant(1.0) - y * y)
    }

    fn powf(self, p: f64) -> Self {
        self.through(self.value.powf(p), self.value.powf(p - 1.0).scale(p))
    }

    fn sign(self) -> Self {
        Self { value: self.value.sign(), slope: S::constant(0.0) }
    }
}
