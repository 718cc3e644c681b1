//! The default of a field by its path, for those who say what a value was before it was written.

use serde_json::Value as Json;

use super::kind::Kind;
use super::reader::Reader;
use super::shape::{Field, Need, Shape};

/// What a field of a kind is where a manifest does not give it, if it is anything: `lr`, `layers.0.style`. Fields that several choices
/// have in common are looked up in each of them.
pub fn default_of(kind: &dyn Kind, path: &str) -> Option<Json> {
    let fields = Reader::declared(kind);
    let segments: Vec<&str> = path.split('.').collect();
    // The parts of an identity that several fields make up stand in the manifest by themselves: `statistic.alpha` is `alpha`.
    found(&fields, &segments).or_else(|| found(&fields, segments.get(1..)?))
}

fn found(fields: &[Field], path: &[&str]) -> Option<Json> {
    let (name, rest) = path.split_first()?;
    let named = fields.iter().filter(|field| field.name == *name);
    let default = |field: &Field| match (&field.shape, &field.need, rest) {
        (_, Need::Default(default), []) if !default.is_null() => Some(default.clone()),
        (Shape::Table(inner), _, [_, ..]) => found(inner, rest),
        (Shape::List { of, .. }, _, [_, rest @ ..]) => match of.as_ref() {
            Shape::Table(inner) => found(inner, rest),
            _ => None,
        },
        _ => None,
    };
    let mut defaults = named.map(default);
    let first = defaults.next()??;
    // Where choices differ, no one value is the default.
    defaults.all(|other| other.as_ref() == Some(&first)).then_some(first)
}
