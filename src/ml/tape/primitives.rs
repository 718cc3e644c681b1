//! The elementwise operations and losses that a tape records, each with its adjoint. The kernels say which shapes they take.

use crate::ml::tensor::{DType, Tensor};

use super::Var;
use crate::ml::ops::softmax::{self, Targets};
use crate::ml::ops::{elementwise, reduce};
use crate::ml::{Error, Result};

/// Elementwise operations and sums.
impl Var {
    /// `self + c·other`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn add_scaled(&self, other: &Self, c: f64) -> Result<Self> {
        let value = elementwise::add_scaled(&self.value, &other.value, c)?;
        let (a, b) = (self.index(), other.index());
        Ok(Self::record(&[self, other], value, move |g, to| {
            to.add(b, || elementwise::scale(&g.tensor, c))?;
            to.pass(a, g)
        }))
    }

    /// `self + other`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let value = elementwise::add_scaled(&self.value, &other.value, 1.0)?;
        let (a, b) = (self.index(), other.index());
        Ok(Self::record(&[self, other], value, move |g, to| {
            let both = a.is_some() && b.is_some();
            let shared = super::Gradient { tensor: g.tensor.clone(), owned: g.owned && !both };
            to.pass(b, shared)?;
            to.pass(a, super::Gradient { owned: g.owned && !both, ..g })
        }))
    }

    /// `self∘other`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let value = elementwise::mul(&self.value, &other.value)?;
        let (a, b) = (self.index(), other.index());
        let (left, right) = (self.value.clone(), other.value.clone());
        Ok(Self::record(&[self, other], value, move |g, to| {
            to.add(a, || elementwise::mul(&g.tensor, &right))?;
            to.add(b, || elementwise::mul(&g.tensor, &left))
        }))
    }

    /// `c·self`.
    ///
    /// # Errors
    /// A dtype or device without kernel.
    pub fn scale(&self, c: f64) -> Result<Self> {
        let a = self.index();
        Ok(Self::record(&[self], elementwise::scale(&self.value, c)?, move |g, to| {
            to.add(a, || elementwise::scale(&g.tensor, c))
        }))
    }

    /// `self` where `mask > 0`, else 0. The mask is no operand: its derivative is 0 almost everywhere.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn gate(&self, mask: &Tensor) -> Result<Self> {
        let (a, kept) = (self.index(), mask.clone());
        Ok(Self::record(&[self], elementwise::gate(mask, &self.value)?, move |g, to| {
            to.add(a, || elementwise::gate(&kept, &g.tensor))
        }))
    }

    /// tanh.
    ///
    /// # Errors
    /// A dtype or device without kernel.
    pub fn tanh(&self) -> Result<Self> {
        let (a, y) = (self.index(), elementwise::tanh(&self.value)?);
        let kept = y.clone();
        Ok(Self::record(&[self], y, move |g, to| to.add(a, || elementwise::tanh_adjoint(&kept, &g.tensor))))
    }

    /// `1 − self²`.
    ///
    /// # Errors
    /// A dtype or device without kernel.
    pub fn one_minus_square(&self) -> Result<Self> {
        let (a, kept) = (self.index(), self.value.clone());
        Ok(Self::record(&[self], elementwise::one_minus_square(&self.value)?, move |g, to| {
            to.add(a, || elementwise::scale(&elementwise::mul(&g.tensor, &kept)?, -2.0))
        }))
    }

    /// `1/√(self + shift)`.
    ///
    /// # Errors
    /// A dtype or device without kernel.
    pub fn inverse_root(&self, shift: f64) -> Result<Self> {
        let (a, r) = (self.index(), elementwise::inverse_root(&self.value, shift)?);
        let kept = r.clone();
        Ok(Self::record(&[self], r, move |g, to| {
            to.add(a, || {
                let cube = elementwise::mul(&elementwise::mul(&kept, &kept)?, &kept)?;
                elementwise::scale(&elementwise::mul(&g.tensor, &cube)?, -0.5)
            })
        }))
    }

    /// ⟨self, other⟩ over all elements: an f64 scalar.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn dot(&self, other: &Self) -> Result<Self> {
        let value = reduce::inner(&self.value, &other.value)?;
        let (a, b) = (self.index(), other.index());
        let (left, right) = (self.value.clone(), other.value.clone());
        Ok(Self::record(&[self, other], value, move |g, to| {
            to.add(a, || elementwise::scale_by(&right, &g.tensor))?;
            to.add(b, || elementwise::scale_by(&left, &g.tensor))
        }))
    }

    /// The same elements in another shape. Copies nothing.
    ///
    /// # Errors
    /// A shape with another number of elements.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        let (a, from) = (self.index(), self.dims().to_vec());
        Ok(Self::record(&[self], self.value.reshape(dims)?, move |g, to| {
            to.pass(a, super::Gradient { tensor: g.tensor.reshape(from)?, owned: g.owned })
        }))
    }
}

/// What the losses are made of. Logits are `[S, K]`.
impl Var {
    /// softmax, row by row.
    ///
    /// # Errors
    /// A tensor that is not `[S, K]`.
    pub fn softmax(&self) -> Result<Self> {
        let (a, p) = (self.index(), softmax::softmax(&self.value)?);
        let kept = p.clone();
        Ok(Self::record(&[self], p, move |g, to| to.add(a, || softmax::softmax_tangent(&kept, &g.tensor))))
    }

    /// J·t, where J is the Jacobian of softmax at its value `self`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn softmax_tangent(&self, t: &Self) -> Result<Self> {
        let value = softmax::softmax_tangent(&self.value, &t.value)?;
        let (a, b) = (self.index(), t.index());
        let (p, tangent) = (self.value.clone(), t.value.clone());
        Ok(Self::record(&[self, t], value, move |g, to| {
            to.add(a, || softmax::softmax_tangent_adjoint(&p, &tangent, &g.tensor))?;
            to.add(b, || softmax::softmax_tangent(&p, &g.tensor))
        }))
    }

    /// The cross-entropy's excess over its least value, summed over samples: an f64 scalar.
    ///
    /// # Errors
    /// Logits that are not `[S, K]`, or a label too few or too large.
    pub fn cross_entropy(&self, targets: Targets<'_>) -> Result<Self> {
        Ok(self.loss(softmax::cross_entropy(&self.value, targets)?))
    }

    /// Half the squared distance from the targets, summed over samples: an f64 scalar.
    ///
    /// # Errors
    /// Logits that are not `[S, K]`, or a label too few or too large.
    pub fn squared_error(&self, targets: Targets<'_>) -> Result<Self> {
        Ok(self.loss(softmax::squared_error(&self.value, targets)?))
    }

    fn loss(&self, (sum, residual): (Tensor, Tensor)) -> Self {
        let a = self.index();
        Self::record(&[self], sum, move |g, to| to.add(a, || elementwise::scale_by(&residual, &g.tensor)))
    }

    /// `self − q`, where the rows of q are the targets.
    ///
    /// # Errors
    /// Rows that are not `[S, K]`, or a label too few or too large.
    pub fn sub_targets(&self, targets: Targets<'_>) -> Result<Self> {
        let (_, residual) = softmax::squared_error(&self.value, targets)?;
        let a = self.index();
        Ok(Self::record(&[self], residual, move |g, to| to.pass(a, g)))
    }

    /// That this is an f64 scalar, finite.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming it `what`; candle's, if this is no scalar.
    pub fn finite(&self, what: &str) -> Result<f64> {
        debug_assert_eq!(self.value.dtype(), DType::F64);
        let value = self.scalar()?;
        if value.is_finite() { Ok(value) } else { Err(Error::NotFinite { what: what.to_owned() }) }
    }
}
