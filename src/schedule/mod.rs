//! Running a plan: which stage when, and what follows from its end.
//!
//! The strategy in plain words. A stage is *wanted* until everything above it is done, then *ready*. A ready stage's inputs are known,
//! so its key is: if its record is there it is *done* at once, on this thread, having read that record and nothing else. Otherwise it is
//! *queued*, and *running* once one of `jobs` workers is free. When it ends, its record is written and those below may become ready; if it
//! failed, those below are skipped and everything else goes on. An interruption or a failing machine starts nothing further and waits
//! for what is running to stop.
//!
//! It knows neither what any kind computes nor how results are shown. Reading order: `ready`, `pool`, `run`,
//! `again` (bytes that are gone).

mod again;
mod pool;
mod ready;
mod run;

pub use pool::{Gpu, Gpus, Place, Pool};
pub use ready::{Ready, State};
pub use run::{Elsewhere, Ended, Errand, Errands, Outcome, Schedule};
