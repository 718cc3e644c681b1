//! Sums over all elements, in f64 and in one order.

use crate::ml::tensor::Tensor;

use super::card;
use super::real::{Read, Real, dispatch, scalar, shape};
use super::tiles::{self, ELEMENTS};
use crate::ml::Result;

/// ⟨a, b⟩ over all elements, summed in f64: tiles of 16,384 elements in order, eight interleaved sums in each.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless the operands have one shape and dtype.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    inner(a, b)?.to_scalar()
}

/// As [`dot`], an f64 scalar that stays where the operands are.
///
/// # Errors
/// Those of [`dot`].
pub fn inner(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        return Err(shape("dot", "tensors of one shape", &[a, b]));
    }
    dispatch!("dot", a, T => {
        let (a, b) = (Read::<T>::of(a, "dot")?, Read::<T>::of(b, "dot")?);
        let (a, b): (&[T], &[T]) = (&a, &b);
        let sums = tiles::map(a.len().div_ceil(ELEMENTS), 2 * a.len(), |index| {
            let range = index * ELEMENTS..a.len().min((index + 1) * ELEMENTS);
            sum_of_products(&a[range.clone()], &b[range])
        });
        scalar(sums.iter().sum())
    }, card => card::reduce::inner(a, b))
}

/// Σ aᵢbᵢ in f64, by eight interleaved sums that are added in order.
pub(super) fn sum_of_products<T: Real>(a: &[T], b: &[T]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += x[lane].to_f64() * y[lane].to_f64();
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x.to_f64() * y.to_f64()).sum();
    lanes.iter().sum::<f64>() + rest
}
