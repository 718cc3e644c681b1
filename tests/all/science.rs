//! What the studies of the landscape do, through the binary: on two hundred digits and a network of eight hidden units, so that a whole
//! study takes half a second.
//!
//! Reading order: `lab` (a study in a folder of its own), `increments` (what an edit runs again), `forecasts` (what a plan
//! foretells of it), `horizons` (going on equals never having
//! stopped), `training`, `arms` (matrix and control), `absent` (blobs that are gone), `curvature` (estimators and spectra), `noise` (alignment, dynamics, drift), `figures`, `claims`, `failures`, `oracles`,
//! `data` (published formats), `curves` (twenty epochs beside PyTorch's), `exchange` (weights from PyTorch and back), `golden`.

#![expect(clippy::float_cmp, reason = "these tests are about equal bits, not about near numbers")]

mod absent;
mod arms;
mod cards;
mod claims;
mod curvature;
mod curves;
mod data;
mod exchange;
mod failures;
mod figures;
mod forecasts;
mod golden;
mod horizons;
mod increments;
pub mod lab;
mod noise;
mod oracles;
mod toys;
mod training;
