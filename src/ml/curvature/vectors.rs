//! Arithmetic of vectors `(N,)`: inner products in f64, combinations in the vectors' own dtype.

use crate::ml::tensor::{DType, Tensor};

use crate::ml::objective::Placement;
use crate::ml::ops::{elementwise, reduce};
use crate::ml::params::flat_from_values;
use crate::ml::{Error, Result};

/// A vector of f64 values, rounded to the placement's dtype.
pub fn vector(values: impl IntoIterator<Item = f64>, placement: &Placement) -> Result<Tensor> {
    flat_from_values(values, placement.dtype, &crate::ml::tensor::Device::Cpu)?.to_device(&placement.device)
}

/// The distance from 1 to the next number.
pub fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// ‖v‖.
pub fn norm(v: &Tensor) -> Result<f64> {
    let norm = reduce::dot(v, v)?.sqrt();
    if norm.is_finite() { Ok(norm) } else { Err(Error::NotFinite { what: "a vector of the iteration".to_owned() }) }
}

/// Σ cᵢvᵢ; there is at least one.
pub fn combination(coefficients: &[f64], vectors: &[Tensor]) -> Result<Tensor> {
    let mut sum = elementwise::scale(&vectors[0], coefficients[0])?;
    for (c, v) in coefficients.iter().zip(vectors).skip(1) {
        sum = elementwise::add_scaled(&sum, v, *c)?;
    }
    Ok(sum)
}

/// A vector by its part in the span of an orthonormal basis and what is left beside it.
pub struct Split {
    /// The part that was in the span, by basis vector.
    pub coefficients: Vec<f64>,
    /// What is left, orthogonal to the basis.
    pub beside: Tensor,
    /// Its norm.
    pub norm: f64,
}

/// Classical Gram–Schmidt, twice, which is enough (Giraud, Langou and Rozložník 2005).
pub fn orthogonalise(basis: &[Tensor], v: &Tensor) -> Result<Split> {
    let mut coefficients = vec![0.0; basis.len()];
    let mut rest = v.clone();
    for _ in 0..2 {
        let parts = basis.iter().map(|q| reduce::dot(q, &rest)).collect::<Result<Vec<_>>>()?;
        for ((sum, part), q) in coefficients.iter_mut().zip(parts).zip(basis) {
            *sum += part;
            rest = elementwise::add_scaled(&rest, q, -part)?;
        }
    }
    let norm = norm(&rest)?;
    Ok(Split { coefficients, beside: rest, norm })
}
