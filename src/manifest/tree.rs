//! The manifest as a tree in which every value and every key knows where it was written. It knows no stages.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::{Origin, Source};
use super::syntax;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Tree,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Flag(bool),
    /// `None`: outside 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Text(String),
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// A key, where it was written, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

/// Entries in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub Vec<Entry>);

impl Table {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub fn node(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Puts an entry in the place of the one with its key, or at the end.
    pub fn put(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|old| old.key == entry.key) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at))
    }
}

impl Node {
    pub fn table(&self) -> Option<&Table> {
        if let Tree::Table(table) = &self.value { Some(table) } else { None }
    }

    pub fn list(&self) -> Option<&[Node]> {
        if let Tree::List(nodes) = &self.value { Some(nodes) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Tree::Text(text) = &self.value { Some(text) } else { None }
    }

    /// What it is, in words, for `found …`.
    pub fn found(&self) -> String {
        match &self.value {
            Tree::Flag(flag) => format!("`{flag}`"),
            Tree::Integer(Some(integer)) => format!("{integer}"),
            Tree::Integer(None) => "a number that 64 bits do not hold".to_owned(),
            Tree::Float(float) if float.is_finite() => format!("{float:?}"),
            Tree::Float(float) => format!("`{}`", float.to_string().to_lowercase()),
            Tree::Text(text) if text.is_empty() => "empty text".to_owned(),
            Tree::Text(text) => format!("the text `{text}`"),
            Tree::Date => "a date".to_owned(),
            Tree::List(nodes) if nodes.is_empty() => "an empty list".to_owned(),
            Tree::List(_) => "a list".to_owned(),
            Tree::Table(_) => "a table".to_owned(),
        }
    }
}

/// A manifest's tree as far as it could be read, what is wrong with its syntax, and whether nothing but repeated keys is.
pub(super) struct Parsed {
    pub root: Node,
    pub problems: Vec<Diagnostic>,
    pub whole: bool,
}

pub(super) fn parse(number: usize, source: &Source) -> Parsed {
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    let root = Node { origin: Origin::new(number, root.span()), value: Tree::Table(table(number, 0, root.get_ref())) };
    let (problems, whole) = syntax::problems(&root, number, &source.text, &errors);
    Parsed { root, problems, whole }
}

/// The value in a part of a source that begins at byte `at`, or nothing where it is none.
pub(super) fn parse_value(number: usize, at: usize, text: &str) -> Option<Node> {
    let parsed = DeValue::parse(text).ok()?;
    Some(node(number, at, parsed.span(), parsed.get_ref()))
}

fn table(number: usize, at: usize, from: &DeTable<'_>) -> Table {
    let shifted = |span: Range<usize>| Origin::new(number, span.start + at..span.end + at);
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| Entry {
        key: std::borrow::Cow::<str>::to_string(key.get_ref()),
        key_origin: shifted(key.span()),
        node: node(number, at, value.span(), value.get_ref()),
    };
    let mut entries: Vec<Entry> = from.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_origin);
    Table(entries)
}

fn node(number: usize, at: usize, span: Range<usize>, from: &DeValue<'_>) -> Node {
    let value = match from {
        DeValue::String(text) => Tree::Text(text.to_string()),
        DeValue::Integer(integer) => Tree::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::Float(float) => Tree::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Tree::Flag(*flag),
        DeValue::Datetime(_) => Tree::Date,
        DeValue::Array(nodes) => {
            Tree::List(nodes.iter().map(|inner| node(number, at, inner.span(), inner.get_ref())).collect())
        }
        DeValue::Table(inner) => Tree::Table(table(number, at, inner)),
    };
    Node { value, origin: Origin::new(number, span.start + at..span.end + at) }
}
