//! Reads a stage's table field by field. Each field is declared once: what it is called, what it is for, what it may be, its default
//! and its sort. Without a table the same declarations record themselves, for the schema and the documentation.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, nearest};
use super::field::{Ask, Field, Read, Scalar};
use super::findings::{Findings, Mention, Reference, References};
use super::kind::Kind;
use super::shape::{self, Bounds, End, Need, Shape};
use super::source::{Located, Origin};
use super::tree::{Node, Table};

/// Reads a table, or records what would be read.
pub struct Reader<'n> {
    table: Option<&'n Table>,
    origin: Origin,
    whose: String,
    prefix: String,
    asked: Vec<&'static str>,
    when: Option<(&'static str, &'static str)>,
    fields: Vec<shape::Field>,
    /// Fields that must be given and are not.
    lacking: Vec<(&'static str, Diagnostic)>,
    /// Whether fields were never asked because the one that chooses among them is wrong.
    cut_short: bool,
    findings: &'n mut Findings,
}

impl<'n> Reader<'n> {
    /// Reads `table`, which is written at `origin` and belongs to `whose`, as diagnostics say.
    pub(super) fn over(table: &'n Table, origin: Origin, whose: &str, findings: &'n mut Findings) -> Self {
        Self { table: Some(table), origin, whose: whose.to_owned(), ..Self::recording(findings) }
    }

    /// Reads nothing and records what is asked.
    pub(super) fn recording(findings: &'n mut Findings) -> Self {
        let origin = Origin { source: 0, start: 0, end: 0 };
        let (whose, prefix) = (String::new(), String::new());
        let (asked, fields, lacking) = (Vec::new(), Vec::new(), Vec::new());
        Self { table: None, origin, whose, prefix, asked, when: None, fields, lacking, cut_short: false, findings }
    }

    /// The fields of a kind, as it declares them.
    pub(super) fn declared(kind: &dyn Kind) -> Vec<shape::Field> {
        let mut unheard = Findings::default();
        let mut reader = Reader::recording(&mut unheard);
        kind.read(&mut reader);
        reader.close()
    }

    /// A number.
    pub fn float<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, f64> {
        self.scalar(name, doc, Shape::Number(Bounds::default()))
    }

    /// A list of numbers.
    pub fn floats<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, Vec<f64>> {
        self.scalar(name, doc, list(Shape::Number(Bounds::default())))
    }

    /// A whole number of at least 0.
    pub fn count<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, u64> {
        self.scalar(name, doc, Shape::Whole(from_zero()))
    }

    /// A list of whole numbers of at least 0.
    pub fn counts<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, Vec<u64>> {
        self.scalar(name, doc, list(Shape::Whole(from_zero())))
    }

    /// A whole number.
    pub fn integer<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, i64> {
        self.scalar(name, doc, Shape::Whole(Bounds::default()))
    }

    /// `true` or `false`.
    pub fn flag<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, bool> {
        self.scalar(name, doc, Shape::Flag)
    }

    /// Text.
    pub fn text<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, String, &'static str> {
        self.scalar(name, doc, Shape::Text { filled: false })
    }

    /// A list of texts.
    pub fn texts<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, Vec<String>> {
        self.scalar(name, doc, list(Shape::Text { filled: false }))
    }

    /// A table of texts, such as an environment.
    pub fn map<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, BTreeMap<String, String>> {
        self.scalar(name, doc, Shape::Texts)
    }

    /// A path, as written and with its place in the manifest. What it is relative to is the kind's to say.
    pub fn path<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, Located, &'static str> {
        self.scalar(name, doc, Shape::Path)
    }

    /// A list of paths.
    pub fn paths<'r>(&'r mut self, name: &'static str, doc: &'static str) -> Field<'r, 'n, Vec<Located>> {
        self.scalar(name, doc, list(Shape::Path))
    }

    /// One of several names, each of which stands for a value.
    pub fn choice<'r, T: Clone + PartialEq + 'r>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
    ) -> Field<'r, 'n, T> {
        let (names, choices) = (choices.iter().map(|choice| choice.0).collect(), choices.to_vec());
        let shown = choices.clone();
        let read = move |ask: Ask<'_>, _: &str, _: &mut Findings| chosen(&choices, ask);
        Field::new(self, (name, doc), Shape::Choice(names), move |value| name_of(&shown, value), Box::new(read))
    }

    /// A list of such names.
    pub fn choices<'r, T: Clone + PartialEq + 'r>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
    ) -> Field<'r, 'n, Vec<T>> {
        let (names, choices) = (choices.iter().map(|choice| choice.0).collect(), choices.to_vec());
        let shown = choices.clone();
        let show = move |values: &Vec<T>| values.iter().map(|value| name_of(&shown, value)).collect();
        let read = move |ask: Ask<'_>, _: &str, _: &mut Findings| match ask {
            Ask::StandIn => Some(Vec::new()),
            Ask::Value(node) => node.list()?.iter().map(|node| chosen(&choices, Ask::Value(node))).collect(),
        };
        Field::new(self, (name, doc), list(Shape::Choice(names)), show, Box::new(read))
    }

    /// A table, read by a reader of its own. The value of the whole enters a key where the field is an identity; fields added to it
    /// later keep old keys only if they serialise to nothing at their default.
    pub fn table<'r, T: 'r>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Reader<'_>) -> T + 'r,
    ) -> Field<'r, 'n, T> {
        let shape = Shape::Table(self.recorded(&mut read));
        Field::new(self, (name, doc), shape, |_| Json::Null, nested(name, read))
    }

    /// A list of tables, each read by a reader of its own.
    pub fn tables<'r, T: 'r>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Reader<'_>) -> T + 'r,
    ) -> Field<'r, 'n, Vec<T>> {
        let shape = list(Shape::Table(self.recorded(&mut read)));
        let mut one = nested(name, read);
        let read: Read<'r, Vec<T>> = Box::new(move |ask, path, findings| {
            let Ask::Value(node) = ask else { return Some(Vec::new()) };
            let each = node.list()?.iter().enumerate();
            each.map(|(i, node)| one(Ask::Value(node), &format!("{path}.{i}"), findings)).collect()
        });
        let show = |values: &Vec<T>| if values.is_empty() { Json::Array(Vec::new()) } else { Json::Null };
        Field::new(self, (name, doc), shape, show, read)
    }

    /// A field of this table that says which others it has: `read` is given the name and reads those. The name enters no key by itself:
    /// what `read` returns has to.
    pub fn variant<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        names: &[&'static str],
        read: impl FnMut(&str, &mut Reader<'_>) -> T,
    ) -> T {
        self.variant_of(name, doc, names, (None, read))
    }

    /// [`variant`](Self::variant) with the name that is taken where none is given.
    pub fn variant_or<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        (names, default): (&[&'static str], &'static str),
        read: impl FnMut(&str, &mut Reader<'_>) -> T,
    ) -> T {
        self.variant_of(name, doc, names, (Some(default), read))
    }

    /// The name of a stage: the instance has one upstream instance here and inherits its axes. It is of one of the kinds `accepts`;
    /// of any, where that is empty.
    pub fn reference(&mut self, name: &'static str, doc: &'static str, accepts: &[&'static str]) -> Reference {
        self.mention(name, doc, (accepts, false)).required().value();
        Reference { field: self.path_of(name) }
    }

    /// A [`reference`](Self::reference) that may be left out.
    pub fn reference_if_any(
        &mut self,
        name: &'static str,
        doc: &'static str,
        accepts: &[&'static str],
    ) -> Option<Reference> {
        let given = self.mention(name, doc, (accepts, false)).optional().value();
        given.map(|()| Reference { field: self.path_of(name) })
    }

    /// The name of a stage, or several: all their instances are gathered here, and no axis is inherited.
    pub fn references(&mut self, name: &'static str, doc: &'static str, accepts: &[&'static str]) -> References {
        self.mention(name, doc, (accepts, true)).required().value();
        References { field: self.path_of(name) }
    }

    /// [`references`](Self::references) that may be left out.
    pub fn references_if_any(
        &mut self,
        name: &'static str,
        doc: &'static str,
        accepts: &[&'static str],
    ) -> Option<References> {
        let given = self.mention(name, doc, (accepts, true)).optional().value();
        given.map(|()| References { field: self.path_of(name) })
    }

    /// Says that the field `name` does not go with the others: `message` is the error, said at its value, or at the table where the
    /// field is not given.
    pub fn problem(&mut self, name: &str, message: impl Into<String>) {
        let Some(table) = self.table else { return };
        let node = table.node(name);
        let (origin, label) = match node {
            Some(node) => (node.origin, format!("found {}", node.found())),
            None => (self.origin, format!("`{name}` is not given here")),
        };
        self.findings.problems.push(Diagnostic::new(origin, message, label));
    }

    /// Whether the field `name` is given in this table.
    pub fn is_given(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.node(name).is_some())
    }

    /// Says which keys were given and never asked for; returns what was recorded.
    pub(super) fn close(self) -> Vec<shape::Field> {
        let Self { table, whose, asked, fields, mut lacking, cut_short, findings, .. } = self;
        let entries = table.filter(|_| !cut_short).map_or(&[][..], |table| &table.0);
        for entry in entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let label = format!("{whose} has no such field");
            let diagnostic = Diagnostic::new(entry.key_origin, format!("unknown key `{}`", entry.key), label);
            findings.problems.push(diagnostic.offer(&entry.key, "its fields are", asked.iter().copied()));
            // A field that was misspelt is not missing as well.
            let meant = nearest(&entry.key, &asked);
            lacking.retain(|(name, _)| meant != Some(name));
        }
        findings.problems.extend(lacking.into_iter().map(|(_, diagnostic)| diagnostic));
        fields
    }

    pub(super) fn is_recording(&self) -> bool {
        self.table.is_none()
    }

    pub(super) fn record(&mut self, field: shape::Field) {
        self.asked.push(field.name);
        self.fields.push(shape::Field { when: self.when, ..field });
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn findings(&mut self) -> &mut Findings {
        self.findings
    }

    /// The node of a field, noting where it is written.
    pub(super) fn take(&mut self, name: &str) -> Option<&'n Node> {
        let node = self.table?.node(name)?;
        self.findings.origins.insert(self.path_of(name), node.origin);
        Some(node)
    }

    pub(super) fn missing(&mut self, name: &'static str, shape: &Shape) {
        let message = format!("`{name}` is missing");
        let label = format!("{} needs `{name}`: {}", self.whose, shape.describe());
        self.lacking.push((name, Diagnostic::new(self.origin, message, label)));
    }

    fn scalar<'r, T: Scalar + 'r, D>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        shape: Shape,
    ) -> Field<'r, 'n, T, D> {
        let read = |ask: Ask<'_>, _: &str, _: &mut Findings| match ask {
            Ask::StandIn => Some(T::stand_in()),
            Ask::Value(node) => T::of(node),
        };
        let show = |value: &T| serde_json::to_value(value).unwrap_or(Json::Null);
        Field::new(self, (name, doc), shape, show, Box::new(read))
    }

    fn mention<'r>(
        &'r mut self,
        name: &'static str,
        doc: &'static str,
        (accepts, gathers): (&[&'static str], bool),
    ) -> Field<'r, 'n, ()> {
        let accepts = accepts.to_vec();
        let shape = Shape::Reference { gathers, accepts: accepts.clone() };
        let read = move |ask: Ask<'_>, path: &str, findings: &mut Findings| {
            let Ask::Value(node) = ask else { return Some(()) };
            for node in node.list().unwrap_or(std::slice::from_ref(node)) {
                let (field, text, origin) = (path.to_owned(), node.text()?.to_owned(), node.origin);
                findings.mentions.push(Mention { field, text, origin, gathers, accepts: accepts.clone() });
            }
            Some(())
        };
        Field::new(self, (name, doc), shape, |()| Json::Null, Box::new(read))
    }

    fn variant_of<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        names: &[&'static str],
        (default, mut read): (Option<&'static str>, impl FnMut(&str, &mut Reader<'_>) -> T),
    ) -> T {
        let need = default.map_or(Need::Required, |default| Need::Default(default.into()));
        let shape = Shape::Choice(names.to_vec());
        self.record(shape::Field { name, doc, shape: shape.clone(), sort: None, need, when: None });
        let outer = self.when;
        if self.is_recording() {
            let mut first = None;
            for &choice in names {
                self.when = Some((name, choice));
                let value = read(choice, self);
                first.get_or_insert(value);
            }
            self.when = outer;
            return first.expect("invariant: a variant has names");
        }
        let node = self.take(name);
        let fits = node.is_none_or(|node| shape.check(name, node, &mut self.findings.problems));
        if node.is_none() && default.is_none() {
            self.missing(name, &shape);
        }
        if let Some(chosen) = node.map_or(default, Node::text).filter(|_| fits) {
            return read(chosen, self);
        }
        self.cut_short = true;
        let mut unheard = Findings::default();
        read(names[0], &mut Reader::recording(&mut unheard))
    }

    /// What `read` declares, in a recording; a plain reading has no use for it.
    fn recorded<T>(&self, read: &mut impl FnMut(&mut Reader<'_>) -> T) -> Vec<shape::Field> {
        if !self.is_recording() {
            return Vec::new();
        }
        let mut unheard = Findings::default();
        let mut reader = Reader::recording(&mut unheard);
        read(&mut reader);
        reader.close()
    }
}

fn list(of: Shape) -> Shape {
    Shape::List { of: Box::new(of), filled: false }
}

fn from_zero() -> Bounds {
    Bounds { low: Some(End { value: 0.0, included: true }), high: None }
}

fn chosen<T: Clone>(choices: &[(&str, T)], ask: Ask<'_>) -> Option<T> {
    let wanted = |(name, _): &&(&str, T)| match ask {
        Ask::StandIn => true,
        Ask::Value(node) => node.text() == Some(name),
    };
    choices.iter().find(wanted).map(|(_, value)| value.clone())
}

fn name_of<T: PartialEq>(choices: &[(&str, T)], value: &T) -> Json {
    choices.iter().find(|choice| choice.1 == *value).map_or(Json::Null, |choice| choice.0.into())
}

fn nested<'r, T>(name: &'static str, mut read: impl FnMut(&mut Reader<'_>) -> T + 'r) -> Read<'r, T> {
    Box::new(move |ask, path, findings| {
        let Ask::Value(node) = ask else {
            let mut unheard = Findings::default();
            return Some(read(&mut Reader::recording(&mut unheard)));
        };
        let mut reader = Reader::over(node.table()?, node.origin, &format!("`{name}`"), findings);
        reader.prefix = format!("{path}.");
        let value = read(&mut reader);
        reader.close();
        Some(value)
    })
}
