//! Reporting: events in, words out.
//!
//! It knows nothing of what runs, of the cache or of the command line: it hears [`crate::event::Event`]s, from any thread,
//! and turns them into JSON lines for programs, words for people, bars on a terminal, and counts. Whether there is a
//! terminal, and whether colours are wanted, it is told; it reads no environment.
//!
//! Reading order: `words` (counts, seconds, bytes), `paint` (colours), `narrator` (one event, its lines of words), then the
//! sinks: `json_lines`, `lines`, `live` (with `pace`, `row` and `terminal`), `errand` (what is left of a long one that is no run), `fan`, `tally`; and
//! `summary`, the last words of a run.

mod errand;
mod fan;
mod json_lines;
mod lines;
mod live;
mod narrator;
mod pace;
mod paint;
mod row;
#[cfg(test)]
mod screen;
mod summary;
mod tally;
mod terminal;
pub mod words;

pub use errand::Errand;
pub use fan::Fan;
pub use json_lines::JsonLines;
pub use lines::Lines;
pub use live::Live;
pub use narrator::Manner;
pub use summary::Summary;
pub use tally::{ActionCount, ClaimCount, Counts, StageCount, State, Tally, WarningCount};
