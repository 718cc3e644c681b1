//! Operations on each element by itself. Operands have one shape, which is the result's.

use crate::ml::tensor::Tensor;
use candle_core::{CpuStorage, InplaceOp2, Layout, WithDType};

use super::card;
use super::lanes::{self, Simd, WithSimd};
use super::real::{Read, Real, dispatch, elsewhere, shape, tensor};
use super::tiles::{self, ELEMENTS, Room};
use crate::ml::Result;

/// A function of one element.
trait OfOne<T>: Copy + Sync {
    fn of(self, x: T) -> T;
}

/// A function of two elements.
pub(super) trait OfTwo<T>: Copy + Sync {
    fn of(self, x: T, y: T) -> T;
}

/// Functions as types, so that their bodies are inlined into the loops over the machine's vectors.
macro_rules! functions {
    ($($name:ident($($c:ident)?) = $($x:ident),+ => $trait:ident $body:expr;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $name<T> {
            $($c: T,)?
            dtype: std::marker::PhantomData<T>,
        }

        impl<T: Real> $name<T> {
            pub(super) fn new($($c: f64)?) -> Self {
                Self { $($c: <T as WithDType>::from_f64($c),)? dtype: std::marker::PhantomData }
            }
        }

        impl<T: Real> $trait<T> for $name<T> {
            #[inline(always)]
            fn of(self, $($x: T),+) -> T {
                $(let $c = self.$c;)?
                $body
            }
        }
    )*};
}

functions! {
    AddScaled(c) = x, y => OfTwo x + c * y;
    Product() = x, y => OfTwo x * y;
    Gate() = x, t => OfTwo if x <= T::zero() { T::zero() } else { t };
    Scale(c) = x => OfOne c * x;
    Tanh() = x => OfOne Real::tanh(x);
    OneMinusSquare() = y => OfOne T::one() - y * y;
    TanhAdjoint() = y, g => OfTwo g * (T::one() - y * y);
    InverseRoot(shift) = x => OfOne T::one() / Real::sqrt(x + shift);
}

/// `a + c·b`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn add_scaled(a: &Tensor, b: &Tensor, c: f64) -> Result<Tensor> {
    dispatch!("add_scaled", a, T => of_two::<T>("add_scaled", a, b, AddScaled::new(c)), card => card::elementwise::of_two("add_scaled", a, b, c))
}

/// `a·b`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch!("mul", a, T => of_two::<T>("mul", a, b, Product::new()), card => card::elementwise::of_two("mul", a, b, 0.0))
}

/// `c·a`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn scale(a: &Tensor, c: f64) -> Result<Tensor> {
    dispatch!("scale", a, T => of_one::<T>("scale", a, 1, Scale::new(c)), card => card::elementwise::of_one("scale", a, c))
}

/// `c·a`, where c is an f64 scalar in the same place.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) for a factor elsewhere.
pub fn scale_by(a: &Tensor, factor: &Tensor) -> Result<Tensor> {
    match (a, factor) {
        (Tensor::Host(_), Tensor::Host(factor)) => scale(a, factor.to_scalar()?),
        (Tensor::Card(_), Tensor::Card(_)) => card::elementwise::scale_by(a, factor),
        _ => Err(elsewhere("scale_by")),
    }
}

/// 0 where `x ≤ 0`, else `t`: ReLU and all its derivatives, with ReLU′(0) = 0. What is not a number stays so.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn gate(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    dispatch!("gate", x, T => of_two::<T>("gate", x, t, Gate::new()), card => card::elementwise::of_two("gate", x, t, 0.0))
}

/// The hyperbolic tangent.
///
/// # Errors
/// A dtype or device without kernel.
pub fn tanh(a: &Tensor) -> Result<Tensor> {
    dispatch!("tanh", a, T => of_one::<T>("tanh", a, 30, Tanh::new()), card => card::elementwise::of_one("tanh", a, 0.0))
}

/// `1 − y²`, the slope of tanh where its value is `y`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn one_minus_square(y: &Tensor) -> Result<Tensor> {
    dispatch!("one_minus_square", y, T => of_one::<T>("one_minus_square", y, 2, OneMinusSquare::new()), card => card::elementwise::of_one("one_minus_square", y, 0.0))
}

/// `g·(1 − y²)`, the adjoint of tanh where its value is `y`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn tanh_adjoint(y: &Tensor, g: &Tensor) -> Result<Tensor> {
    dispatch!("tanh_adjoint", y, T => of_two::<T>("tanh_adjoint", y, g, TanhAdjoint::new()), card => card::elementwise::of_two("tanh_adjoint", y, g, 0.0))
}

/// `1/√(a + shift)`.
///
/// # Errors
/// A dtype or device without kernel.
pub fn inverse_root(a: &Tensor, shift: f64) -> Result<Tensor> {
    dispatch!("inverse_root", a, T => of_one::<T>("inverse_root", a, 20, InverseRoot::new(shift)), card => card::elementwise::of_one("inverse_root", a, shift))
}

/// `a += b`, in the storage of `a`, which nothing else may read.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype; [`Error::Tensor`](crate::ml::Error::Tensor)
/// where they share their storage.
pub fn accumulate(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        return Err(shape("accumulate", "tensors of one shape and dtype", &[a, b]));
    }
    if !a.is_contiguous() || !b.is_contiguous() {
        return Err(shape("accumulate", "contiguous tensors", &[a, b]));
    }
    dispatch!("accumulate", a, T => {
        let (Tensor::Host(to), Tensor::Host(from)) = (a, b) else { return Err(elsewhere("accumulate")) };
        Ok(to.inplace_op2(from, &Accumulate::<T>(std::marker::PhantomData))?)
    }, card => card::elementwise::accumulate(a, b))
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
        tiles::change(&mut a[start..end], ELEMENTS, b.len(), |index, tile| {
            lanes::run(Add { to: tile, from: &b[index * ELEMENTS..] });
        });
        Ok(())
    }
}

/// `to += from`.
struct Add<'a, T> {
    to: &'a mut [T],
    from: &'a [T],
}

impl<T: Real> WithSimd for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to += from;
        }
    }
}

/// `out = f(x)`.
struct One<'a, T, F> {
    f: F,
    x: &'a [T],
    out: Room<'a, T>,
}

impl<T: Real, F: OfOne<T>> WithSimd for One<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            out.write(self.f.of(x));
        }
    }
}

/// `out = f(x, y)`.
struct Two<'a, T, F> {
    f: F,
    x: &'a [T],
    y: &'a [T],
    out: Room<'a, T>,
}

impl<T: Real, F: OfTwo<T>> WithSimd for Two<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((out, &x), &y) in self.out.iter_mut().zip(self.x).zip(self.y) {
            out.write(self.f.of(x, y));
        }
    }
}

#[expect(unsafe_code, reason = "memory is written once")]
fn of_one<T: Real>(operation: &'static str, a: &Tensor, flops: usize, f: impl OfOne<T>) -> Result<Tensor> {
    let values = Read::<T>::of(a, operation)?;
    let values: &[T] = &values;
    let fill = |index: usize, out: Room<'_, T>| lanes::run(One { f, x: &values[index * ELEMENTS..], out });
    // SAFETY: from the tile's start on, `values` has an element for each of the tile.
    let out = unsafe { tiles::make_raw(values.len(), ELEMENTS, flops * values.len(), fill) };
    tensor(out, a.dims())
}

#[expect(unsafe_code, reason = "memory is written once")]
fn of_two<T: Real>(operation: &'static str, a: &Tensor, b: &Tensor, f: impl OfTwo<T>) -> Result<Tensor> {
    if a.dims() != b.dims() {
        return Err(shape(operation, "tensors of one shape", &[a, b]));
    }
    let (left, right) = (Read::<T>::of(a, operation)?, Read::<T>::of(b, operation)?);
    let (left, right): (&[T], &[T]) = (&left, &right);
    let fill = |index: usize, out: Room<'_, T>| {
        let at = index * ELEMENTS;
        lanes::run(Two { f, x: &left[at..], y: &right[at..], out });
    };
    // SAFETY: from the tile's start on, both operands, of one shape, have an element for each of the tile.
    let out = unsafe { tiles::make_raw(left.len(), ELEMENTS, left.len(), fill) };
    tensor(out, a.dims())
}
