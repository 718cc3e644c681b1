//! Vectors of the machine's width, for f32 and f64 alike, and the dispatch on what the machine has (`pulp`). What is generic
//! over [`Simd`] is compiled once for each sort of machine and must be inlined into one [`WithSimd`] body to gain by it.

use std::fmt::Debug;

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};
pub(super) use pulp::{Simd, WithSimd};

/// A floating-point type that machines have vectors of.
pub(super) trait Lanes: Pod + PartialOrd + Default + Send + Sync {
    /// As many elements as a register holds.
    type Vector<S: Simd>: Pod + Copy + Debug + Send + Sync;

    /// A small whole number.
    fn small(x: i8) -> Self;

    /// `x` in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;

    /// a·b + c, rounded once where the machine can.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;

    /// a + b.
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// a − b.
    fn sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
}

macro_rules! lanes {
    ($t:ty, $vector:ident, $splat:ident, $mul_add:ident, $add:ident, $sub:ident) => {
        impl Lanes for $t {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn small(x: i8) -> Self {
                x.into()
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
        }
    };
}
lanes!(f32, f32s, splat_f32s, mul_add_e_f32s, add_f32s, sub_f32s);
lanes!(f64, f64s, splat_f64s, mul_add_e_f64s, add_f64s, sub_f64s);

/// How many elements of `T` a register of this machine holds.
pub(super) fn lanes<T: Lanes>() -> usize {
    struct Count<T>(std::marker::PhantomData<T>);
    impl<T: Lanes> WithSimd for Count<T> {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            lanes_of::<S, T>()
        }
    }
    run(Count::<T>(std::marker::PhantomData))
}

/// How many elements of `T` a register holds.
#[inline(always)]
pub(super) const fn lanes_of<S: Simd, T: Lanes>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// Run a body with the best vectors that this machine has.
pub(super) fn run<W: WithSimd>(body: W) -> W::Output {
    pulp::Arch::new().dispatch(body)
}

/// A slice as vectors; its length is a multiple of the lanes.
#[inline(always)]
pub(super) fn vectors<S: Simd, T: Lanes>(values: &[T]) -> &[T::Vector<S>] {
    cast_slice(values)
}

/// A slice as vectors to write to; its length is a multiple of the lanes.
#[inline(always)]
pub(super) fn vectors_mut<S: Simd, T: Lanes>(values: &mut [T]) -> &mut [T::Vector<S>] {
    cast_slice_mut(values)
}

/// Vectors as their elements, to write to.
#[inline(always)]
pub(super) fn elements_mut<S: Simd, T: Lanes>(vectors: &mut [T::Vector<S>]) -> &mut [T] {
    cast_slice_mut(vectors)
}

/// Vectors as their elements.
#[inline(always)]
pub(super) fn elements<S: Simd, T: Lanes>(vectors: &[T::Vector<S>]) -> &[T] {
    cast_slice(vectors)
}
