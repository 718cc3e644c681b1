//! Operations on each element by itself. Operands have one shape, which is the result's.

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// `a + c·b`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn add_scaled(a: &Tensor, b: &Tensor, c: f64) -> Result<Tensor> {
    dispatch!("add_scaled", a, T => {
        let c = <T as candle_core::WithDType>::from_f64(c);
        binary::<T>("add_scaled", a, b, |x, y| x + c * y)
    })
}

/// `a·b`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch!("mul", a, T => binary::<T>("mul", a, b, |x, y| x * y))
}

/// `c·a`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn scale(a: &Tensor, c: f64) -> Result<Tensor> {
    dispatch!("scale", a, T => {
        let c = <T as candle_core::WithDType>::from_f64(c);
        unary::<T>("scale", a, 1, |x| c * x)
    })
}

/// 0 where `x ≤ 0`, else `t`: ReLU and all its derivatives, with ReLU′(0) = 0. What is not a number stays so.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn gate(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    dispatch!("gate", x, T => binary::<T>("gate", x, t, |x, t| if x <= 0.0 { 0.0 } else { t }))
}

/// The hyperbolic tangent.
///
/// # Errors
/// A dtype or device without kernel.
pub fn tanh(a: &Tensor) -> Result<Tensor> {
    dispatch!("tanh", a, T => unary::<T>("tanh", a, 30, Real::tanh))
}

/// `1 − y²`, the slope of tanh where its value is `y`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn one_minus_square(y: &Tensor) -> Result<Tensor> {
    dispatch!("one_minus_square", y, T => unary::<T>("one_minus_square", y, 2, |y| 1.0 - y * y))
}

/// `g·(1 − y²)`, the adjoint of tanh where its value is `y`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn tanh_adjoint(y: &Tensor, g: &Tensor) -> Result<Tensor> {
    dispatch!("tanh_adjoint", y, T => binary::<T>("tanh_adjoint", y, g, |y, g| g * (1.0 - y * y)))
}

/// `1/√(a + shift)`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn inverse_root(a: &Tensor, shift: f64) -> Result<Tensor> {
    dispatch!("inverse_root", a, T => {
        let shift = <T as candle_core::WithDType>::from_f64(shift);
        unary::<T>("inverse_root", a, 20, |x| 1.0 / (x + shift).sqrt())
    })
}

/// `a += b`, in the storage of `a`, which nothing else may read.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn accumulate(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        return Err(shape("accumulate", "tensors of one shape and dtype", &[a, b]));
    }
    dispatch!("accumulate", a, T => Ok(a.inplace_op2(b, &Accumulate::<T>(std::marker::PhantomData))?))
}

struct Accumulate<T>(std::marker::PhantomData<T>);

/// Addition into a slice, for each dtype.
trait Storable: Real {
    fn slice(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Storable for f32 {
    fn slice(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F32(values) = storage { Some(values) } else { None }
    }
}

impl Storable for f64 {
    fn slice(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F64(values) = storage { Some(values) } else { None }
    }
}

impl<T: Storable> InplaceOp2 for Accumulate<T> {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, to: &Layout, b: &CpuStorage, from: &Layout) -> candle_core::Result<()> {
        let (Some((start, end)), Some((from, until))) = (to.contiguous_offsets(), from.contiguous_offsets()) else {
            candle_core::bail!("`accumulate` takes contiguous tensors");
        };
        let b = &T::cpu_storage_as_slice(b)?[from..until];
        let Some(a) = T::slice(a) else {
            candle_core::bail!("`accumulate` takes tensors of one dtype");
        };
        tiles::fill(&mut a[start..end], ELEMENTS, b.len(), |index, tile| {
            for (a, &b) in tile.iter_mut().zip(&b[index * ELEMENTS..]) {
                *a += b;
            }
        });
        Ok(())
    }
}

fn unary<T: Real>(operation: &'static str, a: &Tensor, flops: usize, f: impl Fn(T) -> T + Sync) -> Result<Tensor> {
    let input = Read::<T>::of(a, operation)?;
    let mut out = vec![T::zero(); input.len()];
    let input: &[T] = &input;
    tiles::fill(&mut out, ELEMENTS, flops * input.len(), |index, tile| {
        for (out, &x) in tile.iter_mut().zip(&input[index * ELEMENTS..]) {
            *out = f(x);
        }
    });
    tensor(out, a.dims())
}

fn binary<T: Real>(operation: &'static str, a: &Tensor, b: &Tensor, f: impl Fn(T, T) -> T + Sync) -> Result<Tensor> {
    if a.dims() != b.dims() {
        return Err(shape(operation, "tensors of one shape", &[a, b]));
    }
    let (left, right) = (Read::<T>::of(a, operation)?, Read::<T>::of(b, operation)?);
    let (left, right): (&[T], &[T]) = (&left, &right);
    let mut out = vec![T::zero(); left.len()];
    tiles::fill(&mut out, ELEMENTS, left.len(), |index, tile| {
        let at = index * ELEMENTS;
        for ((out, &x), &y) in tile.iter_mut().zip(&left[at..]).zip(&right[at..]) {
            *out = f(x, y);
        }
    });
    tensor(out, a.dims())
}
