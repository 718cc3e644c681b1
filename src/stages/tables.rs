//! Tables as stages hand them on and as people open them: CSV, one file an instance.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::index::Minimum;
use crate::execute::{Failure, Place, StageContext};
use crate::key::{Output, Record};
use crate::plot::{Cell, Column, Table};

/// A table whose columns are named, with units in parentheses: `distance (1)`.
pub fn table(columns: &[(&str, &str)]) -> Table {
    let column = |&(name, unit): &(&str, &str)| {
        let column = Column::new(name);
        if unit.is_empty() { column } else { column.unit(unit) }
    };
    Table::new(columns.iter().map(column).collect())
}

/// A number, or nothing.
pub fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::Empty, Cell::Number)
}

/// A count.
pub fn count(value: u64) -> Cell {
    Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The columns of [`ending`], with their units.
pub const ENDING: [(&str, &str); 3] = [("loss", "nats"), ("descent_steps", ""), ("reached", "")];

/// The loss at a point, and how the descent to it ended, where there was one.
pub fn ending(minimum: Option<&Minimum>, loss: Option<f64>) -> [Cell; 3] {
    let reached = |minimum: &Minimum| Cell::Text(if minimum.reached { "yes" } else { "no" }.to_owned());
    [number(loss), minimum.map_or(Cell::Empty, |minimum| count(minimum.steps)), minimum.map_or(Cell::Empty, reached)]
}

/// The bytes of a table, kept.
///
/// # Errors
/// If the store cannot keep them.
pub fn keep(cx: &StageContext<'_>, table: &Table) -> Result<Output, Failure> {
    cx.keep(table.to_csv().map_err(Failure::work)?.as_bytes())
}

/// What an action wrote as JSON, however long.
///
/// # Errors
/// If its bytes are absent and cannot be made again, or do not read.
pub fn json<T: DeserializeOwned>(cx: &StageContext<'_>, record: &Record, name: &str) -> Result<T, Failure> {
    let unread = |problem: String| {
        let (kind, key) = (&record.fingerprint.kind, record.key.short());
        Failure::Work(format!("`{name}` of `{kind}` {key} does not read: {problem}"))
    };
    let output = record.outputs.get(name).ok_or_else(|| unread("it made none".to_owned()))?;
    serde_json::from_slice(&cx.read(output)?).map_err(|error| unread(error.to_string()))
}

/// Where the table of an instance is put for people: `trace.csv`, `trace.model=mlp.csv`.
pub fn place(instance: &str) -> Vec<(String, Place)> {
    vec![("table".to_owned(), Place::Result(file(instance, "csv")))]
}

/// A file of an instance: `train[model=mlp,seed=0]` has `train.model=mlp,seed=0.csv`.
pub fn file(instance: &str, extension: &str) -> PathBuf {
    let stem = instance.trim_end_matches(']').replacen('[', ".", 1);
    let safe = |c: char| if c.is_alphanumeric() || "._-=,+".contains(c) { c } else { '_' };
    PathBuf::from(format!("{}.{extension}", stem.chars().map(safe).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_file_name_that_any_system_takes() {
        assert_eq!(file("train", "csv"), PathBuf::from("train.csv"));
        assert_eq!(file("train[model=mlp,seed=0]", "csv"), PathBuf::from("train.model=mlp,seed=0.csv"));
        assert_eq!(file("x[a=../b]", "svg"), PathBuf::from("x.a=.._b.svg"));
    }
}
