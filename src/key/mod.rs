//! Keys: what may change the bytes of a result, and nothing else.
//!
//! It knows neither files nor stages nor machine learning; it imports nothing of this crate.
//!
//! # The ingredients of a key
//!
//! | ingredient | why it is in |
//! | --- | --- |
//! | kind | two kinds with the same parameters do different work |
//! | version of the kind | the code changed what it computes |
//! | identity parameters that differ from their default | they say *what* is computed |
//! | positions (epoch, offset, probe index) | they say *which* of a series is computed |
//! | digests of the inputs | content, not provenance: an upstream rerun that gives the same bytes stops there |
//! | seed, dtype, backend, numeric mode | they change bits; they are identity parameters like any other |
//! | horizons, in a stage's own key only | how far, not what: no action's key holds them, so a larger one goes on |
//! | the threshold of a line, a horizon, in its action's key too | it decides where the check stops; another goes on through a hint |
//!
//! | left out | why |
//! | --- | --- |
//! | names of studies, stages, profiles, matrix instances | a rename is no new work |
//! | paths, inodes, times | the same content elsewhere is the same content |
//! | thread counts, device ordinals, log levels | execution parameters: the bytes are the same |
//! | a parameter equal to its default | a field added later with a default empties no cache |
//! | titles, labels, colours, where only numbers are made | they are the plot's parameters, not the trace's |
//!
//! Reading order: `digest`, `value` (canonical values), `sorts` (identity, horizon, execution), `fingerprint` (the one walk, the
//! visitor that hashes and the one that explains), `record`, `inputs`.

mod digest;
mod fingerprint;
mod inputs;
mod outline;
mod record;
mod sorts;
mod value;

pub use digest::{Digest, Key, ParseDigestError};
pub use fingerprint::{Change, Explanation, Fingerprint, Level, Line, Visitor};
pub use inputs::{Input, Inputs, Outputs, behind};
pub use outline::Outline;
pub use record::{Arithmetic, Context, Output, Record, RecordError, Records};
pub use sorts::{Execution, Horizon, Identity, Ingredients, Sort, Walk};
pub use value::Value;
