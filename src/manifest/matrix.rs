//! The matrix of one stage: its axes, and the tables that they make of the stage's table. It knows no other stages.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use super::mention::{is_label, is_name};
use super::source::Origin;
use super::tree::{Entry, Node, Table, Tree};

/// The most instances that one stage may have: what a person or a machine can still look through.
pub(super) const MOST: usize = 10_000;

/// An axis: which field, and the values it takes.
#[derive(Debug)]
pub(super) struct Axis {
    pub name: String,
    pub origin: Origin,
    values: Vec<(String, Node)>,
}

/// One combination of an own value on each axis.
#[derive(Debug)]
pub(super) struct Variant {
    /// The label on each axis, in the order of their declaration.
    pub labels: Vec<(String, String)>,
    /// The stage's table with these values in their fields, and no matrix.
    pub table: Table,
}

/// The axes that `table` declares.
pub(super) fn axes(table: &Table, problems: &mut Vec<Diagnostic>) -> Vec<Axis> {
    let Some(matrix) = table.entry("matrix") else { return Vec::new() };
    let Some(declared) = matrix.node.table() else {
        let found = format!("found {}", matrix.node.found());
        let diagnostic = Diagnostic::new(matrix.node.origin, "`matrix` must be a table of axes", found);
        problems.push(diagnostic.help("write `matrix = { seed = [0, 1, 2] }`"));
        return Vec::new();
    };
    if declared.0.is_empty() {
        let diagnostic = Diagnostic::new(matrix.key_origin, "an empty matrix", "it has no axis");
        problems.push(diagnostic.help("name a field and its values: `seed = [0, 1, 2]`"));
    }
    let axes: Vec<Axis> = declared.0.iter().filter_map(|entry| axis(entry, problems)).collect();
    let combinations = axes.iter().fold(1, |product: usize, axis| product.saturating_mul(axis.values.len()));
    if combinations > MOST {
        problems.push(too_many(matrix.key_origin, "this matrix"));
        return Vec::new();
    }
    axes
}

/// What is said of a stage of which there would be too many instances.
pub(super) fn too_many(origin: Origin, what: &str) -> Diagnostic {
    let message = format!("{what} makes more than {MOST} instances of its stage");
    Diagnostic::new(origin, message, "too many").help("name fewer values, or make several studies of it")
}

fn axis(entry: &Entry, problems: &mut Vec<Diagnostic>) -> Option<Axis> {
    let name = &entry.key;
    if !is_name(name) || name == "kind" || name == "matrix" {
        let message = format!("`{name}` cannot be an axis");
        problems.push(Diagnostic::new(entry.key_origin, message, "expected a field of the stage"));
        return None;
    }
    let values = values(name, &entry.node, problems)?;
    if values.is_empty() {
        problems.push(Diagnostic::new(entry.key_origin, format!("the axis `{name}` is empty"), "it has no value"));
        return None;
    }
    let mut seen = BTreeMap::new();
    for (label, origin, _) in &values {
        let first = *seen.entry(label).or_insert(*origin);
        if first != *origin {
            let message = format!("the axis `{name}` has the value `{label}` twice");
            problems.push(Diagnostic::new(*origin, message, "again here").also(first, "first here"));
        }
        if !is_label(label) {
            let message = format!("`{label}` cannot name a value of the axis `{name}`");
            let diagnostic = Diagnostic::new(*origin, message, "expected letters, digits, `-`, `_`, `.` and `+`");
            problems.push(diagnostic.help(format!("a table can name each value: `{name} = {{ short-name = … }}`")));
        }
    }
    let values = values.into_iter().map(|(label, _, node)| (label, node)).collect();
    Some(Axis { name: name.clone(), origin: entry.key_origin, values })
}

/// The values of an axis, each with its label and where that is written; nothing if they cannot be told.
fn values(axis: &str, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Vec<(String, Origin, Node)>> {
    let nodes = match &node.value {
        Tree::Table(table) => {
            let named = table.0.iter().map(|value| (value.key.clone(), value.key_origin, value.node.clone()));
            return Some(named.collect());
        }
        Tree::List(nodes) => nodes,
        _ => {
            let message = format!("the axis `{axis}` must be a list of values, or a table that names them");
            problems.push(Diagnostic::new(node.origin, message, format!("found {}", node.found())));
            return None;
        }
    };
    let mut values = Vec::new();
    for node in nodes {
        let Some(label) = label(node) else {
            let message = format!("a value of the axis `{axis}` needs a name");
            let diagnostic = Diagnostic::new(node.origin, message, format!("found {}", node.found()));
            let table = format!("`{axis} = {{ small = …, large = … }}`");
            problems.push(diagnostic.help(format!("write the axis as a table that names each value: {table}")));
            return None;
        };
        values.push((label, node.origin, node.clone()));
    }
    Some(values)
}

/// A value as text: numbers in one form however they were written.
fn label(node: &Node) -> Option<String> {
    match &node.value {
        Tree::Flag(flag) => Some(flag.to_string()),
        Tree::Integer(integer) => integer.map(|integer| integer.to_string()),
        Tree::Float(float) => Some(float.to_string()),
        Tree::Text(text) => Some(text.clone()),
        Tree::Date | Tree::List(_) | Tree::Table(_) => None,
    }
}

/// Every combination of values, the last axis fastest.
pub(super) fn variants(table: &Table, axes: &[Axis]) -> Vec<Variant> {
    let mut table = table.clone();
    table.remove("matrix");
    let mut variants = vec![Variant { labels: Vec::new(), table }];
    for axis in axes {
        let each = variants.iter().flat_map(|variant| axis.values.iter().map(move |value| (variant, value)));
        let each = each.map(|(variant, (label, node))| {
            let mut table = variant.table.clone();
            table.put(Entry { key: axis.name.clone(), key_origin: axis.origin, node: node.clone() });
            let own = (axis.name.clone(), label.clone());
            Variant { labels: variant.labels.iter().cloned().chain([own]).collect(), table }
        });
        variants = each.collect();
    }
    variants
}
