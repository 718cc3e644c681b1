//! What lies over the manifest: the profile in force, then each `--set`. It knows tables, not kinds.

use super::diagnostic::{Diagnostic, listed};
use super::mention::is_name;
use super::source::{Origin, Sources};
use super::tree::{Entry, Node, Table, Tree, parse_value};

/// The profile in force where none is asked for.
const DEFAULT: &str = "small";
/// Profiles that need no declaration.
const ALWAYS: [&str; 3] = ["smoke", "small", "paper"];

/// A stage as declared, with everything that lies over it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub name: String,
    /// Where its name is written first.
    pub origin: Origin,
    pub table: Table,
}

/// The stages under a profile, and the profiles there are.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub stages: Vec<Declared>,
    pub profile: String,
    pub profiles: Vec<String>,
}

/// The stages of the manifest `root` with the profile `wanted` over them, which was asked for at its origin.
pub(super) fn lay(root: &Table, wanted: Option<(&str, Origin)>, problems: &mut Vec<Diagnostic>) -> Layers {
    let mut stages = Vec::new();
    for (entry, table) in stage_tables(root, problems) {
        if !is_name(&entry.key) {
            problems.push(misnamed("stage", entry));
        }
        stages.push(Declared { name: entry.key.clone(), origin: entry.key_origin, table: table.clone() });
    }
    let profiles = tables(root, "profile", problems);
    let mut names: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
    names.extend(profiles.iter().map(|(entry, _)| &entry.key).filter(|key| !ALWAYS.contains(&key.as_str())).cloned());
    if let Some((wanted, origin)) = wanted
        && !names.iter().any(|name| name == wanted)
    {
        let diagnostic =
            Diagnostic::new(origin, format!("no profile `{wanted}`"), "not among the profiles of this manifest");
        problems.push(diagnostic.offer(wanted, "its profiles are", names.iter().map(String::as_str)));
    }
    let wanted = wanted.map_or(DEFAULT, |(name, _)| name);
    let base: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    for (entry, table) in profiles {
        if !is_name(&entry.key) {
            problems.push(misnamed("profile", entry));
        }
        let known = ["stage", "description"];
        for other in table.0.iter().filter(|other| !known.contains(&other.key.as_str())) {
            problems.push(unknown(other, "a profile has no such key", &known));
        }
        for (over, table) in stage_tables(table, problems) {
            if !base.contains(&over.key) && table.node("kind").is_none() {
                let label = format!("profile `{}` lies over a stage that is not there", entry.key);
                let names = base.iter().map(String::as_str);
                let diagnostic = Diagnostic::new(over.key_origin, format!("no stage `{}`", over.key), label);
                problems.push(diagnostic.offer(&over.key, "the stages are", names));
            } else if entry.key == wanted {
                cover(&mut stages, over, table);
            }
        }
    }
    Layers { stages, profile: wanted.to_owned(), profiles: names }
}

/// Lays one stage's overlay over it: keys are replaced whole, `matrix` axis by axis.
fn cover(stages: &mut Vec<Declared>, over: &Entry, table: &Table) {
    let Some(stage) = stages.iter_mut().find(|stage| stage.name == over.key) else {
        let (name, table) = (over.key.clone(), table.clone());
        stages.push(Declared { name, origin: over.key_origin, table });
        return;
    };
    for entry in &table.0 {
        let matrix = stage.table.0.iter_mut().find(|old| old.key == "matrix" && entry.key == "matrix");
        match (matrix.map(|old| &mut old.node.value), entry.node.table()) {
            (Some(Tree::Table(axes)), Some(over)) => over.0.iter().for_each(|axis| axes.put(axis.clone())),
            _ => stage.table.put(entry.clone()),
        }
    }
}

/// Applies `--set stage.NAME.PATH=VALUE`.
pub(super) fn set(stages: &mut [Declared], sources: &Sources, number: usize) -> Result<(), Diagnostic> {
    const FLAG: usize = "--set ".len();
    let text = &sources.source(number).text;
    let span = |start: usize, end: usize| Origin { source: number, start, end };
    let help = "write `--set stage.NAME.FIELD=VALUE`";
    let equals = text[FLAG..].find('=').map_or(text.len(), |at| FLAG + at);
    let written = text.get(equals + 1..).unwrap_or_default().trim();
    if written.is_empty() {
        let at = span(FLAG, text.len());
        return Err(Diagnostic::new(at, "a setting without a value", "expected `=` and a value after it").help(help));
    }
    let mut at = FLAG;
    let mut path: Vec<(&str, Origin)> = Vec::new();
    for word in text[FLAG..equals].split('.') {
        path.push((word.trim(), span(at, at + word.len())));
        at += word.len() + 1;
    }
    if let Some((_, origin)) = path.iter().find(|(word, _)| !is_name(word)) {
        return Err(Diagnostic::new(*origin, "a setting without a path", "expected a name").help(help));
    }
    let [(first, first_origin), (name, origin), path @ ..] = path.as_slice() else {
        return Err(
            Diagnostic::new(span(FLAG, equals), "a setting that names no field of a stage", "too short").help(help)
        );
    };
    if *first != "stage" {
        return Err(Diagnostic::new(*first_origin, "a setting that is not of a stage", "expected `stage`").help(help));
    }
    let names: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    let Some(stage) = stages.iter_mut().find(|stage| stage.name == *name) else {
        let diagnostic = Diagnostic::new(*origin, format!("no stage `{name}`"), "set here");
        return Err(diagnostic.offer(name, "the stages are", names.iter().map(String::as_str)));
    };
    let Some((last, above)) = path.split_last() else {
        return Err(Diagnostic::new(*origin, "a setting that names no field of a stage", "too short").help(help));
    };
    if let [(field, origin), ..] = path
        && let Some(axis) = stage.table.node("matrix").and_then(Node::table).and_then(|axes| axes.entry(field))
    {
        let message = format!("`{field}` is an axis of the matrix of `{name}`, which would undo this");
        let diagnostic = Diagnostic::new(*origin, message, "set here").also(axis.key_origin, "the axis");
        return Err(diagnostic.help(format!("set the axis: `--set stage.{name}.matrix.{field}=[…]`")));
    }
    let start = text.len() - text[equals + 1..].trim_start().len();
    let value = parse_value(number, start, written);
    let bare = || Node { value: Tree::Text(written.to_owned()), origin: span(start, start + written.len()) };
    put(&mut stage.table, above, last, value.unwrap_or_else(bare))
}

fn put(table: &mut Table, above: &[(&str, Origin)], last: &(&str, Origin), node: Node) -> Result<(), Diagnostic> {
    let Some(((key, origin), below)) = above.split_first() else {
        table.put(Entry { key: last.0.to_owned(), key_origin: last.1, node });
        return Ok(());
    };
    if table.node(key).is_none() {
        let node = Node { value: Tree::Table(Table::default()), origin: *origin };
        table.put(Entry { key: (*key).to_owned(), key_origin: *origin, node });
    }
    let inner = table.0.iter_mut().find(|entry| entry.key == *key);
    match inner.map(|entry| &mut entry.node) {
        Some(Node { value: Tree::Table(inner), .. }) => put(inner, below, last, node),
        other => {
            let found = other.map(|node| node.found()).unwrap_or_default();
            Err(Diagnostic::new(*origin, format!("`{key}` is no table"), format!("it is {found}")))
        }
    }
}

fn stage_tables<'a>(root: &'a Table, problems: &mut Vec<Diagnostic>) -> Vec<(&'a Entry, &'a Table)> {
    tables(root, "stage", problems)
}

/// The entries of the table `key`, each of which must be a table.
fn tables<'a>(root: &'a Table, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<(&'a Entry, &'a Table)> {
    let Some(entry) = root.entry(key) else { return Vec::new() };
    let Some(table) = entry.node.table() else {
        let found = format!("found {}", entry.node.found());
        let help = format!("write `[{key}.NAME]`");
        problems.push(Diagnostic::new(entry.node.origin, format!("`{key}` must be a table"), found).help(help));
        return Vec::new();
    };
    let mut tables = Vec::new();
    for entry in &table.0 {
        match entry.node.table() {
            Some(table) => tables.push((entry, table)),
            None => problems.push(Diagnostic::new(
                entry.node.origin,
                format!("{key} `{}` must be a table", entry.key),
                format!("found {}", entry.node.found()),
            )),
        }
    }
    tables
}

fn misnamed(what: &str, entry: &Entry) -> Diagnostic {
    let message = format!("`{}` cannot name a {what}", entry.key);
    Diagnostic::new(entry.key_origin, message, "expected letters, digits, `-` and `_`")
}

/// A key that is not among the `known` ones.
pub(super) fn unknown(entry: &Entry, label: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::new(entry.key_origin, format!("unknown key `{}`", entry.key), label);
    diagnostic.offer(&entry.key, "its keys are", known.iter().copied())
}

/// The names of kinds, stages or axes in words.
pub(super) fn those<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    listed(&names.into_iter().collect::<Vec<_>>(), "and")
}
