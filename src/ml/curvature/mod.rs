//! What the curvature of an objective looks like: traces by random probes, spectra by Lanczos, and, for small models, the
//! whole matrix; and the covariance of the gradient's noise beside it.
//!
//! Knows an [`Objective`](crate::ml::objective::Objective) and its exact products; knows no model, no data and no
//! differences. The algorithms know only a [`SymmetricOperator`](operator::SymmetricOperator).
//!
//! Reading order: `operator` (matrices that are known by their products), `vectors` (arithmetic of flat tensors), `dense`
//! (a whole matrix and its eigenvalues); then the trace: `trace` (probes and estimates), `xtrace`, `deflation`, `layers`;
//! the spectrum: `lanczos`, `quadrature`; `noise` (covariances of gradients), `alignment` (how near they are to the Hessian) and `drift` (where they drive its trace).

pub mod alignment;
pub mod deflation;
pub mod dense;
pub mod drift;
pub mod lanczos;
pub mod layers;
pub mod noise;
pub mod operator;
pub mod quadrature;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;
mod vectors;
pub mod xtrace;
