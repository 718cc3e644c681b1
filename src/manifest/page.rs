//! The reference of all kinds and their fields as a Markdown page, made of what kinds declare to a recording reader.

use serde_json::Value as Json;

use super::kind::Kinds;
use super::reader::Reader;
use super::settings::Slurm;
use super::shape::{Field, Need, Shape};
use crate::key::Sort;

/// A Markdown section for each kind with a table of its fields; the fields of nested tables follow them by their paths.
pub fn reference_page(kinds: &Kinds) -> String {
    const HEAD: &str = "| field | value | sort | default | what it is |\n| --- | --- | --- | --- | --- |\n";
    let mut page = format!("## Every kind\n\nWhere a stage's work runs on a cluster.\n\n{HEAD}");
    rows(&Slurm::declared(), ("", Some(Sort::Execution)), &mut page);
    page.push('\n');
    for kind in kinds.iter() {
        let heading = format!("## `{}`\n\n{} (version {})\n\n", kind.name(), sentence(kind.about()), kind.version());
        page.push_str(&heading);
        page.push_str(HEAD);
        rows(&Reader::declared(kind.as_ref()), ("", None), &mut page);
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// Rows for `fields`, whose paths begin with `prefix`; nested fields have the sort of the table around them.
fn rows(fields: &[Field], (prefix, outer): (&str, Option<Sort>), page: &mut String) {
    for field in fields {
        let (path, sort) = (format!("{prefix}{}", field.name), field.sort.or(outer));
        let default = match &field.need {
            Need::Required => "required".to_owned(),
            Need::Optional => "none".to_owned(),
            Need::Default(Json::Null) => "built in".to_owned(),
            Need::Default(default) => format!("`{default}`"),
        };
        let when = field.when.map(|(tag, name)| format!(" (where `{tag}` is `{name}`)")).unwrap_or_default();
        let cells =
            [format!("`{path}`"), value(&field.shape), sorted(field, sort), default, format!("{}{when}", field.doc)];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        page.extend(["| ", &cells.join(" | "), " |\n"]);
        match &field.shape {
            Shape::Table(fields) => rows(fields, (&format!("{path}."), sort), page),
            Shape::List { of, .. } => {
                if let Shape::Table(fields) = of.as_ref() {
                    rows(fields, (&format!("{path}[]."), sort), page);
                }
            }
            _ => {}
        }
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::List { of, .. } if matches!(of.as_ref(), Shape::Table(_)) => "a list of tables".to_owned(),
        shape => shape.describe(),
    }
}

fn sorted(field: &Field, sort: Option<Sort>) -> String {
    match (&field.shape, sort) {
        (Shape::Reference { .. }, _) => "input",
        (_, None) => "–",
        (_, Some(Sort::Identity)) => "identity",
        (_, Some(Sort::Horizon)) => "horizon",
        (_, Some(Sort::Execution)) => "execution",
    }
    .to_owned()
}

/// `text` with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}
