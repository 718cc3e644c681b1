//! Products of matrices, on the `gemm` crate, one thread a tile.

use crate::ml::tensor::Tensor;
use gemm::Parallelism;

use super::card;
use super::real::{Read, Real, dispatch, shape, tensor};
use super::tiles;
use crate::ml::Result;

/// Rows of the result in one tile: as many as make some tiles for the threads to share, within these bounds.
const ROWS: (usize, usize) = (32, 256);

/// Tiles that there should be.
const TILES: usize = 4;

/// A matrix in memory: its first element, and how far apart its rows and its columns are.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    /// The elements that it may read.
    pub(super) values: &'a [T],
    /// Rows and columns.
    pub(super) size: (usize, usize),
    /// Distance from a row to the next, and from a column to the next, in elements.
    pub(super) strides: (usize, usize),
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix stored row by row.
    pub(super) fn rows(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self { values, size: (rows, columns), strides: (columns, 1) }
    }

    /// Its transpose, where it lies.
    pub(super) fn transposed(self) -> Self {
        Self { size: (self.size.1, self.size.0), strides: (self.strides.1, self.strides.0), ..self }
    }

    fn fits(&self) -> bool {
        let ((rows, columns), (down, right)) = (self.size, self.strides);
        rows == 0 || columns == 0 || (rows - 1) * down + (columns - 1) * right < self.values.len()
    }
}

/// `out = left·right`, or `out += left·right` if `add`; `out` is stored row by row. One thread.
///
/// # Panics
/// If the three do not fit together: a defect of the caller.
pub(super) fn product<T: Real>(out: &mut [T], left: Matrix<'_, T>, right: Matrix<'_, T>, add: bool) {
    assert!(out.len() == left.size.0 * right.size.1, "the result of a product fits");
    product_in_rows((out, right.size.1), left, right, add);
}

/// As [`product`], with a result whose rows lie `apart` elements from each other; what is between them stays.
///
/// # Panics
/// If the three do not fit together: a defect of the caller.
#[expect(unsafe_code, reason = "the `gemm` crate takes pointers")]
pub(super) fn product_in_rows<T: Real>(
    (out, apart): (&mut [T], usize),
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    add: bool,
) {
    let ((m, k), (inner, n)) = (left.size, right.size);
    let room = m == 0 || n == 0 || (n <= apart && (m - 1) * apart + n <= out.len());
    assert!(k == inner && room && left.fits() && right.fits(), "operands of a product fit");
    let stride = usize::cast_signed;
    // SAFETY: the assertion above bounds every element that the product reads or writes by the slices that are borrowed
    // here, `out` exclusively; T is f32 or f64, which `gemm` knows.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(apart),
            add,
            left.values.as_ptr(),
            stride(left.strides.1),
            stride(left.strides.0),
            right.values.as_ptr(),
            stride(right.strides.1),
            stride(right.strides.0),
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `op(a)·op(b)`, where `op` transposes if its flag says so: `[m, k]·[k, n] → [m, n]`.
///
/// # Errors
/// [`Error::Shape`](crate::ml::Error::Shape) unless both are matrices of one dtype whose inner sizes agree.
pub fn matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool) -> Result<Tensor> {
    const NAME: &str = "matmul";
    let (&[a0, a1], &[b0, b1]) = (a.dims(), b.dims()) else {
        return Err(shape(NAME, "two matrices", &[a, b]));
    };
    let ((m, k), (inner, n)) =
        (if transpose_a { (a1, a0) } else { (a0, a1) }, if transpose_b { (b1, b0) } else { (b0, b1) });
    if k != inner {
        let expected = format!("matrices whose inner sizes agree, not {m} × {k} by {inner} × {n}");
        return Err(shape(NAME, expected, &[a, b]));
    }
    dispatch!(NAME, a, T => {
        let (left, right) = (Read::<T>::of(a, NAME)?, Read::<T>::of(b, NAME)?);
        let (left, right) = (Matrix::rows(&left, a0, a1), Matrix::rows(&right, b0, b1));
        let left = if transpose_a { left.transposed() } else { left };
        let right = if transpose_b { right.transposed() } else { right };
        let height = m.div_ceil(TILES).clamp(ROWS.0, ROWS.1);
        let out = tiles::make(m * n, height * n.max(1), 2 * m * n * k, |index, tile: &mut [T]| {
            let first = index * height;
            let rows = tile.len() / n.max(1);
            let values = &left.values[(first * left.strides.0).min(left.values.len())..];
            product(tile, Matrix { values, size: (rows, k), ..left }, right, false);
        });
        tensor(out, &[m, n])
    }, card => card::conv::matmul(NAME, a, b, [m, k, n], [transpose_a, transpose_b]))
}
