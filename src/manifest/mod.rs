//! The manifest: TOML in, an expanded list of stage instances out, or everything that is wrong with it at once.
//!
//! It knows no machine learning, no file's content and no cache. A kind of stage ([`Kind`]) declares its fields once, to a [`Reader`].
//!
//! A kind reads its fields like this, and the same lines are its schema and its documentation:
//!
//! ```
//! use thalweg::key::{Horizon, Identity};
//! use thalweg::manifest::{Reader, Reference};
//!
//! fn read(r: &mut Reader<'_>) -> (Reference, Identity<f64>, Horizon<u64>, Vec<u64>) {
//!     let data = r.reference("data", "the data set", &["dataset"]);
//!     let lr = r.float("lr", "learning rate, per step").positive().default(0.1).identity();
//!     let epochs = r.count("epochs", "passes over the training set").at_least(1).required().horizon();
//!     let hidden = r.variant("model", "which network", &["mlp", "linear"], |name, r| match name {
//!         "mlp" => r.counts("hidden", "widths of its layers").at_least(1).default(vec![64]).value(),
//!         _ => Vec::new(),
//!     });
//!     (data, lr, epochs, hidden)
//! }
//! ```
//!
//! Reading order: `source` (texts and places in them), `diagnostic`, `tree` and `syntax` (TOML with places), `kind` (what a kind is to the runner),
//! `forecast`, `reader`, `field` and `findings` (how a kind reads its table), `shape` (what values may be); then from a text to a study: `overlay`
//! (profiles and `--set`), `matrix`, `mention` (how references are written), `stage`, `graph` (references and cycles), `expand` (the
//! join), `settings` (where work runs), `study`; and for people and editors `schema`, `page` and `default`.

mod default;
mod diagnostic;
mod expand;
mod field;
mod findings;
mod forecast;
mod graph;
mod kind;
mod matrix;
mod mention;
mod overlay;
mod page;
mod reader;
mod schema;
mod settings;
mod shape;
mod source;
mod stage;
mod study;
mod syntax;
mod tree;

pub use default::default_of;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use field::{Field, Numeric};
pub use findings::{Reference, References};
pub use forecast::{Count, Forecast, Foresight, Known};
pub use kind::{Kind, Kinds, NamedFile, Params, Place, Root, gzipped};
pub use page::reference_page;
pub use reader::Reader;
pub use schema::schema;
pub use settings::{Settings, Slurm};
pub use source::{Located, Origin, Source, Sources};
pub use study::{InputEdge, Instance, Study, load};

#[cfg(test)]
mod tests;
