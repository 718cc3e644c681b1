//! Tables on their way to a figure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::phrase::significant;
use super::spec::{At, LayerSpec, MarkIn, MarkSpec, PanelSpec};
use crate::execute::Failure;
use crate::plot::{Cell, Color, Legend, Mark, Marker, Panel, Series, Style, Table};
use crate::stages::tables;

/// An upstream table as the action knows it: by its place among the inputs, with its instance's labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) field: String,
    pub(super) input: String,
    pub(super) labels: Vec<(String, String)>,
}

/// Tables on their way to a figure, and what has been drawn of them.
pub(super) struct Drawn {
    given: Vec<Given>,
    tables: BTreeMap<String, Table>,
    axis: Option<String>,
    /// Panels that layers name, beside those of the axis.
    named: Vec<String>,
    table: Table,
}

/// Which panel, and whether its main axes or its inset.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) panel: Option<&'a str>,
    pub(super) axes: &'static str,
}

/// The columns of the table behind a figure.
const COLUMNS: [&str; 9] = ["panel", "axes", "series", "instance", "x_column", "x", "y_column", "y", "error"];

impl Drawn {
    /// Nothing is drawn yet; `axis` is the matrix axis whose values have a panel each, and `named` are more panels.
    pub(super) fn new(
        given: Vec<Given>,
        tables: BTreeMap<String, Table>,
        (axis, named): (Option<String>, Vec<String>),
    ) -> Self {
        Self { given, tables, axis, named, table: tables::table(&COLUMNS.map(|name| (name, ""))) }
    }

    /// What has been drawn.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The values of the panel axis in the order in which instances have them, then the panels that layers name; one nameless panel where
    /// there is neither.
    pub(super) fn panel_values(&self) -> Vec<Option<String>> {
        let mut values = Vec::new();
        for given in &self.given {
            let value = self.value(given);
            if value.is_some() && !values.contains(&value) {
                values.push(value);
            }
        }
        for name in &self.named {
            if !values.contains(&Some(name.clone())) {
                values.push(Some(name.clone()));
            }
        }
        if values.is_empty() { vec![None] } else { values }
    }

    /// Whether each layer and each mark that names a panel names one that there is.
    pub(super) fn check_panels(&self, spec: &PanelSpec) -> Result<(), Failure> {
        let values: Vec<String> = self.panel_values().into_iter().flatten().collect();
        let layers = spec.layers.iter().filter_map(|layer| Some(("layer", layer.panel.as_ref()?)));
        let marks = spec.marks.iter().filter_map(|mark| Some(("mark", mark.panel.as_ref()?)));
        for (what, asked) in layers.chain(marks) {
            if !values.contains(asked) {
                let there = if values.is_empty() { "the figure has one panel".to_owned() } else { values.join(", ") };
                return Err(Failure::Work(format!("a {what} asks for the panel `{asked}`: {there}")));
            }
        }
        Ok(())
    }

    fn value(&self, given: &Given) -> Option<String> {
        let axis = self.axis.as_ref()?;
        given.labels.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone())
    }

    /// What comes through a reference field into a panel: instances of it, and those that have no panel of their own.
    fn here(&self, field: &str, panel: Option<&str>) -> Vec<Given> {
        let in_panel = |given: &&Given| self.value(given).is_none_or(|own| Some(own.as_str()) == panel);
        self.given.iter().filter(|given| given.field == field).filter(in_panel).cloned().collect()
    }

    pub(super) fn panel(&mut self, spec: &PanelSpec, place: Place<'_>) -> Result<Panel, Failure> {
        let mut series = Vec::new();
        for (n, layer) in spec.layers.iter().enumerate() {
            if layer.panel.is_some() && layer.panel.as_deref() != place.panel {
                continue;
            }
            let mut named = false;
            for given in self.here(&layer.field, place.panel) {
                let Some(mut one) = self.series((n, layer), &given, place)? else { continue };
                // One entry in the legend stands for all instances of a layer.
                if std::mem::replace(&mut named, true) {
                    one.label = String::new();
                }
                series.push(one);
            }
        }
        let mut marks = Vec::new();
        for MarkIn { mark, panel } in &spec.marks {
            if panel.is_none() || panel.as_deref() == place.panel {
                marks.extend(self.marks(mark, place.panel)?);
            }
        }
        let (x, y) = (spec.x.axis(), spec.y.axis());
        Ok(Panel { title: None, x, y, series, marks, inset: None, legend: Legend::Emptiest })
    }

    /// One series of a layer; none where the layer has no row in this table, as one that draws what went wrong.
    fn series(
        &mut self,
        (n, layer): (usize, &LayerSpec),
        given: &Given,
        place: Place<'_>,
    ) -> Result<Option<Series>, Failure> {
        let table = &self.tables[&given.input];
        let numbers = |column: &str| numbers(table, column, given);
        let (x, y) = (numbers(&layer.x)?, numbers(&layer.y)?);
        let spread = |column: &Option<String>| column.as_deref().map(numbers).transpose();
        let (error, band) = (spread(&layer.error)?, spread(&layer.band)?);
        let kept = rows(table, layer, given)?;
        if kept.is_empty() {
            return Ok(None);
        }
        let chosen = |values: &[f64]| kept.iter().map(|&i| values[i]).collect::<Vec<f64>>();
        let style = match layer.style.as_str() {
            "points" => Style::Points,
            "line-points" => Style::LinePoints,
            "step" => Style::Step,
            _ => Style::Line,
        };
        let label = filled(&layer.label, table, &kept, given)?;
        let mut series = Series::new(style, label, chosen(&x).into_iter().zip(chosen(&y)).collect());
        let error = error.as_deref().map(chosen);
        if let Some(error) = &error {
            series = series.with_errors(error);
        }
        if let Some(band) = band.as_deref().map(chosen) {
            series = series.with_band(&band);
        }
        series.color = layer.color.as_deref().and_then(Color::named).unwrap_or(Color::Index(n));
        series.marker = Some(layer.marker.as_deref().and_then(Marker::named).unwrap_or(Marker::of(n)));
        (series.hollow, series.dashed, series.at_edge) = (layer.hollow, layer.dashed, layer.at_edge);
        let names = [&layer.x, &layer.y].map(|name| header(table, name));
        let name = if series.label.is_empty() { layer.y.clone() } else { series.label.clone() };
        let labels: Vec<String> = given.labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        let text = |text: &str| Cell::Text(text.to_owned());
        let finite = |value: f64| tables::number(Some(value).filter(|value| value.is_finite()));
        for (i, &(x, y)) in series.points.iter().enumerate() {
            self.table.rows.push(vec![
                text(place.panel.unwrap_or("")),
                text(place.axes),
                text(&name),
                text(&labels.join(",")),
                text(&names[0]),
                finite(x),
                text(&names[1]),
                finite(y),
                error.as_ref().map_or(Cell::Empty, |error| finite(error[i])),
            ]);
        }
        Ok(Some(series))
    }

    /// A mark; where a column says where it lies, one for each value that stands there.
    fn marks(&self, spec: &MarkSpec, panel: Option<&str>) -> Result<Vec<Mark>, Failure> {
        let mut values: Vec<f64> = Vec::new();
        if let Some((field, column)) = spec.column() {
            for given in self.here(field, panel) {
                values.extend(numbers(&self.tables[&given.input], column, &given)?);
            }
            values.sort_by(f64::total_cmp);
            values.dedup();
        }
        let each = |at: &At, mark: fn(f64, String) -> Mark, label: &String| match at {
            At::Number(at) => vec![mark(*at, label.clone())],
            At::Column { .. } => values.iter().map(|&at| mark(at, label.clone())).collect(),
        };
        Ok(match spec {
            MarkSpec::Horizontal { at, label } => each(at, Mark::horizontal, label),
            MarkSpec::Vertical { at, label } => each(at, Mark::vertical, label),
            MarkSpec::Span { from, to, label } => vec![Mark::span(*from, *to, label)],
        })
    }
}

/// A column of numbers; the stage puts its instance's name in the place of the input's.
fn numbers(table: &Table, column: &str, given: &Given) -> Result<Vec<f64>, Failure> {
    table.numbers(column).map_err(|error| Failure::Work(format!("the table of `{}`: {error}", given.input)))
}

fn column(table: &Table, name: &str, given: &Given) -> Result<usize, Failure> {
    table.column(name).map_err(|error| Failure::Work(format!("the table of `{}`: {error}", given.input)))
}

/// A column's name with its unit.
fn header(table: &Table, name: &str) -> String {
    table.columns.iter().find(|column| column.name == name).map_or_else(String::new, crate::plot::Column::header)
}

/// The rows of a table that a layer draws: a row that has nothing in x or y has no place.
fn rows(table: &Table, layer: &LayerSpec, given: &Given) -> Result<Vec<usize>, Failure> {
    let only = match &layer.only {
        Some((name, text)) => Some((column(table, name, given)?, text)),
        None => None,
    };
    let places = [column(table, &layer.x, given)?, column(table, &layer.y, given)?];
    let kept = |&i: &usize| {
        let row = &table.rows[i];
        let asked = only.is_none_or(|(at, text)| row[at].reads_as(text));
        asked && places.iter().all(|&at| row[at] != Cell::Empty)
    };
    Ok((0..table.rows.len()).filter(kept).collect())
}

/// A label whose `{column}` is replaced by what that column holds in the rows drawn: one number, or the least and the greatest.
fn filled(label: &str, table: &Table, kept: &[usize], given: &Given) -> Result<String, Failure> {
    let Some((before, (name, after))) = label.split_once('{').and_then(|(a, b)| Some((a, b.split_once('}')?))) else {
        return Ok(label.to_owned());
    };
    let values = numbers(table, name, given)?;
    let of = |pick: fn(f64, f64) -> f64| kept.iter().map(|&i| values[i]).fold(f64::NAN, pick);
    let (low, high) = (of(f64::min), of(f64::max));
    let value = if low < high { format!("{} to {}", significant(low), significant(high)) } else { significant(low) };
    Ok(format!("{before}{value}{}", filled(after, table, kept, given)?))
}
