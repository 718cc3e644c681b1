//! What a stage sees while it runs, and how one action is run.
//!
//! A stage holds neither lock nor lease: it calls actions. An action materialises its inputs, reserves its key, reads the record once
//! more, takes a lease on a device, runs, commits; whoever holds a lease waits for nothing. This room knows neither manifests nor
//! plans, nor which stage runs when, nor what any kind computes.
//!
//! Reading order: `failure`, `cancel`, `device`, `action` (the unit the cache knows), `engine` (how one is run) with `leased` (on a device), `remake` (absent bytes
//! are no miss) with `derive` (in what order), `memo` (decoded inputs, kept while they are used), `stage` (what a stage sees), `arithmetic`,
//! `guard` (commands).

mod action;
mod arithmetic;
mod cancel;
mod derive;
mod device;
mod engine;
mod failure;
pub mod guard;
mod leased;
mod memo;
mod remake;
mod stage;

pub use action::{Action, ActionContext, ActionKind, Payload, Produced, Source, alone};
pub use arithmetic::arithmetic;
pub use cancel::Cancel;
pub use device::{Device, Devices, Footprint, Lease, Means, Wanted};
pub use engine::{Caller, Engine, Share};
pub use failure::Failure;
pub use memo::Memo;
pub use remake::Remaking;
pub use stage::{Place, StageContext, Work};
