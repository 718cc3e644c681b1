//! Tables on their way to a figure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{LayerSpec, MarkSpec, PanelSpec};
use crate::execute::Failure;
use crate::plot::{Cell, Color, Legend, Panel, Series, Style, Table, TopAxis, table};
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
    table: Table,
}

impl Drawn {
    /// Nothing is drawn yet; `axis` is the matrix axis whose values have a panel each.
    pub(super) fn new(given: Vec<Given>, tables: BTreeMap<String, Table>, axis: Option<String>) -> Self {
        let names = ["panel", "axes", "series", "x", "y", "error"];
        Self { given, tables, axis, table: tables::table(&names.map(|name| (name, ""))) }
    }

    /// What has been drawn.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The values of the panel axis in the order in which instances have them; one nameless panel where there is no such axis.
    pub(super) fn panel_values(&self) -> Vec<Option<String>> {
        let mut values = Vec::new();
        for given in &self.given {
            let value = self.value(given);
            if value.is_some() && !values.contains(&value) {
                values.push(value);
            }
        }
        if values.is_empty() { vec![None] } else { values }
    }

    fn value(&self, given: &Given) -> Option<String> {
        let axis = self.axis.as_ref()?;
        given.labels.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone())
    }

    pub(super) fn panel(&mut self, spec: &PanelSpec, value: Option<&str>, axes: &str) -> Result<Panel, Failure> {
        let mut series = Vec::new();
        for (n, layer) in spec.layers.iter().enumerate() {
            let here: Vec<Given> = self
                .given
                .iter()
                .filter(|given| given.field == layer.field)
                .filter(|given| self.value(given).is_none_or(|own| Some(own.as_str()) == value))
                .cloned()
                .collect();
            for given in &here {
                let mut one = self.series(layer, given)?;
                if layer.color.is_none() {
                    one.color = Color::Index(n);
                }
                if given.input != here[0].input {
                    // One entry in the legend stands for all instances of a layer.
                    one.label = String::new();
                }
                self.note(value, axes, &layer.label, &one);
                series.push(one);
            }
        }
        let marks = spec.marks.iter().map(MarkSpec::mark).collect();
        let (x, y) = (spec.x.axis(), spec.y.axis());
        let legend = if series.iter().all(|one| one.label.is_empty()) { Legend::None } else { Legend::Emptiest };
        let top: Option<TopAxis> = None;
        Ok(Panel { title: None, x, y, top, series, marks, inset: None, legend })
    }

    fn series(&self, layer: &LayerSpec, given: &Given) -> Result<Series, Failure> {
        let table = &self.tables[&given.input];
        let named = |error: table::Error| Failure::Work(format!("the table of `{}`: {error}", layer.label));
        let (x, y) = (table.numbers(&layer.x).map_err(named)?, table.numbers(&layer.y).map_err(named)?);
        let error = layer.error.as_ref().map(|column| table.numbers(column)).transpose().map_err(named)?;
        let kept = rows(table, layer)?;
        let style = match layer.style.as_str() {
            "points" => Style::Points,
            "line-points" => Style::LinePoints,
            "step" => Style::Step,
            _ => Style::Line,
        };
        let mut series = Series::new(style, layer.label.clone(), kept.iter().map(|&i| (x[i], y[i])).collect());
        if let Some(error) = error {
            series = series.with_errors(&kept.iter().map(|&i| error[i]).collect::<Vec<_>>());
        }
        if let Some(color) = layer.color.as_deref().and_then(Color::named) {
            series.color = color;
        }
        Ok(series)
    }

    /// Adds a series to the table behind the figure.
    fn note(&mut self, panel: Option<&str>, axes: &str, label: &str, series: &Series) {
        for (i, &(x, y)) in series.points.iter().enumerate() {
            let error = series.errors.as_ref().map(|errors| (errors[i].1 - errors[i].0) / 2.0);
            let text = |text: &str| Cell::Text(text.to_owned());
            let finite = |value: f64| tables::number(Some(value).filter(|value| value.is_finite()));
            let error = error.map_or(Cell::Empty, finite);
            self.table.rows.push(vec![text(panel.unwrap_or("")), text(axes), text(label), finite(x), finite(y), error]);
        }
    }
}

/// The rows of a table that a layer draws.
fn rows(table: &Table, layer: &LayerSpec) -> Result<Vec<usize>, Failure> {
    let Some((column, text)) = &layer.only else { return Ok((0..table.rows.len()).collect()) };
    let place = table.columns.iter().position(|known| known.name == *column);
    let place =
        place.ok_or_else(|| Failure::Work(format!("the table of `{}` has no column `{column}`", layer.label)))?;
    let kept = |&i: &usize| matches!(&table.rows[i][place], Cell::Text(cell) if cell == text);
    Ok((0..table.rows.len()).filter(kept).collect())
}
