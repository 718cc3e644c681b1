//! Forward mode: θ + tv carried through a model to order 0, 1 or 2 in t, along any number of directions v at once.
//!
//! A [`Jet`] is f(0) with f′(0) and f″(0) along each direction; `None` is zero. Directions share the value pass and are
//! otherwise computed one by one, so that what one gives does not depend on which others ride along. Every rule is made of
//! tape primitives, so reverse mode over order 1 gives Hv and over order 2 gives ∇(vᵀHv); without leaves nothing is
//! recorded and each activation is freed with its last use (Griewank and Walther 2008, chapter 13).
//!
//! Reading order: this file (linear and bilinear rules, from which nearly all follow), `convolution`, then `rules` (the other
//! operations of models).

mod convolution;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Activation, Norm};

use super::Result;
use super::tape::Var;

/// How far in t a jet is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The value alone.
    Zero,
    /// The value and f′.
    One,
    /// The value, f′ and f″.
    Two,
}

/// The derivatives along one direction; `None` is zero.
#[derive(Clone, Debug, Default)]
pub struct Tangent {
    /// f′(0).
    pub first: Option<Var>,
    /// f″(0), not halved.
    pub second: Option<Var>,
}

/// A value and its derivatives along some directions.
#[derive(Clone, Debug)]
pub struct Jet {
    value: Var,
    tangents: Vec<Tangent>,
    order: Order,
}

impl Jet {
    /// A value that does not depend on t.
    pub fn constant(value: Var) -> Self {
        Self { value, tangents: Vec::new(), order: Order::Zero }
    }

    /// `value + t·direction` for each direction, carried to `order`.
    pub fn line(value: Var, directions: impl IntoIterator<Item = Var>, order: Order) -> Self {
        let along = |direction| Tangent { first: Some(direction), second: None };
        Self { value, tangents: directions.into_iter().map(along).collect(), order }
    }

    /// f(0).
    pub fn value(&self) -> &Var {
        &self.value
    }

    /// The derivatives, one a direction; empty for a value that does not depend on t.
    pub fn tangents(&self) -> &[Tangent] {
        &self.tangents
    }

    /// How far in t this jet is carried.
    pub fn order(&self) -> Order {
        self.order
    }

    fn first(&self, direction: usize) -> Option<&Var> {
        self.tangents.get(direction)?.first.as_ref()
    }

    fn second(&self, direction: usize) -> Option<&Var> {
        self.tangents.get(direction)?.second.as_ref()
    }

    /// A function that is linear in this jet.
    fn linear(&self, f: impl Fn(&Var) -> Result<Var>) -> Result<Self> {
        self.linear_with(f(&self.value)?, f)
    }

    /// The same where the function of the value is known already.
    fn linear_with(&self, value: Var, f: impl Fn(&Var) -> Result<Var>) -> Result<Self> {
        let map = |part: &Option<Var>| part.as_ref().map(&f).transpose();
        let tangent = |t: &Tangent| Ok(Tangent { first: map(&t.first)?, second: map(&t.second)? });
        let tangents = self.tangents.iter().map(tangent).collect::<Result<_>>()?;
        Ok(Self { value, tangents, order: self.order })
    }

    /// A function that is linear in each of two jets: (ab)″ = a″b + 2a′b′ + ab″.
    fn bilinear(&self, other: &Self, f: impl Fn(&Var, &Var) -> Result<Var>) -> Result<Self> {
        let (a, b) = (self, other);
        let order = a.order.max(b.order);
        let value = f(&a.value, &b.value)?;
        let tangents = (0..a.tangents.len().max(b.tangents.len()))
            .map(|v| {
                let mut first = Sum::default();
                first.term(1, a.first(v), Some(&b.value), &f)?;
                first.term(1, Some(&a.value), b.first(v), &f)?;
                let mut second = Sum::default();
                if order == Order::Two {
                    second.term(1, a.second(v), Some(&b.value), &f)?;
                    second.term(2, a.first(v), b.first(v), &f)?;
                    second.term(1, Some(&a.value), b.second(v), &f)?;
                }
                Ok(Tangent { first: first.0, second: second.0 })
            })
            .collect::<Result<_>>()?;
        Ok(Self { value, tangents, order })
    }

    /// An elementwise function, given its value and its slopes f′(x) and, asked for at order 2 only, f″(x):
    /// (f∘x)″ = f″(x)x′² + f′(x)x″.
    fn elementwise(&self, value: Var, slope: &Var, curvature: impl FnOnce() -> Result<Var>) -> Result<Self> {
        let curvature = if self.order == Order::Two { Some(curvature()?) } else { None };
        let tangent = |t: &Tangent| {
            let first = t.first.as_ref().map(|x| slope.mul(x)).transpose()?;
            let mut second = Sum::default();
            second.term(1, Some(slope), t.second.as_ref(), &Var::mul)?;
            if let (Some(curvature), Some(x)) = (&curvature, &t.first) {
                second.term(1, Some(curvature), Some(&x.mul(x)?), &Var::mul)?;
            }
            Ok(Tangent { first, second: second.0 })
        };
        let tangents = self.tangents.iter().map(tangent).collect::<Result<_>>()?;
        Ok(Self { value, tangents, order: self.order })
    }

    /// `self + c·other`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn add_scaled(&self, other: &Self, c: f64) -> Result<Self> {
        let part = |a: Option<&Var>, b: Option<&Var>| match (a, b) {
            (Some(a), Some(b)) => a.add_scaled(b, c).map(Some),
            (None, Some(b)) => b.scale(c).map(Some),
            (a, None) => Ok(a.cloned()),
        };
        let tangents = (0..self.tangents.len().max(other.tangents.len()))
            .map(|v| {
                let first = part(self.first(v), other.first(v))?;
                Ok(Tangent { first, second: part(self.second(v), other.second(v))? })
            })
            .collect::<Result<_>>()?;
        let value = self.value.add_scaled(&other.value, c)?;
        Ok(Self { value, tangents, order: self.order.max(other.order) })
    }
}

/// A sum of terms of which some are zero; `None` as long as all are.
#[derive(Default)]
struct Sum(Option<Var>);

impl Sum {
    /// Add `count·f(a, b)`, unless one of them is zero.
    fn term<F>(&mut self, count: u32, a: Option<&Var>, b: Option<&Var>, f: &F) -> Result<()>
    where
        F: Fn(&Var, &Var) -> Result<Var>,
    {
        let (Some(a), Some(b)) = (a, b) else { return Ok(()) };
        let term = f(a, b)?;
        self.0 = Some(match self.0.take() {
            Some(sum) => sum.add_scaled(&term, f64::from(count))?,
            None if count == 1 => term,
            None => term.scale(f64::from(count))?,
        });
        Ok(())
    }
}
