//! Landscapes of a few coordinates, written as expressions, and walks down them under noise of a chosen covariance: what the theory says of
//! a valley, without a network. They know neither tensors nor data.
//!
//! The coordinates are of two sorts: in the *steep* ones the loss has its minimum at 0 wherever the others are, and the others run along the
//! valley's floor. The eigenvalues of the steep coordinates' Hessian, taken on the floor, are what a walk is watched by: T, their sum, and
//! the logarithm of their product.
//!
//! Reading order: `scalar` (numbers and their exact derivatives), `expression` (what a manifest writes), `landscape` (gradient, eigenvalues and
//! how they change along the floor), `noise` (covariances), `walk` (many runs at once).

pub mod expression;
pub mod landscape;
pub mod noise;
mod scalar;
#[cfg(test)]
mod tests;
pub mod walk;
