//! What reading a table brings to light besides its values: references, mistakes, and where things are written.

use std::collections::BTreeMap;

use serde::Serialize;

use super::diagnostic::Diagnostic;
use super::source::Origin;

/// A field that leads to one upstream instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Reference {
    /// The field's path in the stage's table: `data`, `layers.0.data`.
    pub field: String,
}

/// A field that gathers upstream instances.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct References {
    /// The field's path in the stage's table.
    pub field: String,
}

impl AsRef<str> for Reference {
    fn as_ref(&self) -> &str {
        &self.field
    }
}

impl AsRef<str> for References {
    fn as_ref(&self) -> &str {
        &self.field
    }
}

/// A reference as it was written.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    pub field: String,
    pub text: String,
    pub origin: Origin,
    pub gathers: bool,
    pub accepts: Vec<&'static str>,
}

/// What reading a table brings to light besides its values.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Diagnostic>,
    pub mentions: Vec<Mention>,
    /// Where each field that was given is written, by its path.
    pub origins: BTreeMap<String, Origin>,
}
