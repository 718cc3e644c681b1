//! The manifest: TOML in, an expanded list of stage instances out, or everything that is wrong with it at once.
//!
//! It knows no machine learning, no file's content and no cache. A kind of stage ([`Kind`]) declares its fields once, to a [`Reader`].
//!
//! Reading order: `source` (texts and places in them), `diagnostic`, `tree` (TOML with places), `kind` (what a kind is to the runner),
//! `forecast`, `reader` and `field` (how a kind reads its table), `shape` (what values may be); then from a text to a study: `overlay`
//! (profiles and `--set`), `matrix`, `mention` (how references are written), `stage`, `graph` (references and cycles), `expand` (the
//! join), `study`; and for people and editors `schema` and `page`.

mod diagnostic;
mod expand;
mod field;
mod forecast;
mod graph;
mod kind;
mod matrix;
mod mention;
mod overlay;
mod reader;
mod shape;
mod source;
mod stage;
mod study;
mod tree;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use field::{Field, Numeric};
pub use forecast::{Count, Forecast};
pub use kind::{Kind, Kinds, NamedFile, Params, Place, Root};
pub use reader::{Reader, Reference, References};
pub use source::{Located, Origin, Source, Sources};
pub use study::{InputEdge, Instance, Study, load};
