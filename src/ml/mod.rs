//! The science: losses, their exact derivatives, and what a landscape study asks of them. It knows no cache, no manifest
//! and no stage, and imports nothing else of this crate.
//!
//! Reading order: `error`, `tensor/` and `card/` (where numbers are, and what a GPU does), `params` (θ and its fixed order), `rng` (counter-based draws), `data/`, `ops/` (kernels), `tape`
//! (reverse mode), `jet` (forward mode), `loss`, `models/`, `objective` (the hinge: model, loss and data as one function
//! of θ), `optim/`, `curvature/`, `landscape/`, `statistics`.

pub mod card;
pub mod curvature;
pub mod data;
mod error;
pub mod jet;
pub mod landscape;
pub mod loss;
pub mod models;
pub mod objective;
pub mod ops;
pub mod optim;
#[cfg(test)]
mod oracle_tests;
pub mod params;
pub mod rng;
#[cfg(test)]
mod second_opinion;
pub mod statistics;
pub mod tape;
pub mod tensor;
pub mod toy;

pub use error::{Error, Result};
