//! `plot`: tables to a figure, as SVG and PNG, with the CSV of what was drawn. Everything that the manifest says of the figure is an
//! ingredient of the plot's key alone: a title changed runs the plot and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::tables;
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Identity, Input, Outputs, Walk};
use crate::manifest::{Kind, Params, Reader};
use crate::plot::{
    Axis, Cell, Color, Figure, Inset, Legend, Mark, Panel, Placement, Scale, Series, Style, Table, TopAxis,
};

/// Dots per inch of the PNG.
const DOTS_PER_INCH: u32 = 300;

/// Width and height of an inset in parts of its panel's axes, where the manifest does not say.
const INSET_SIZE: [f64; 2] = [0.5, 0.42];

/// The kind.
pub struct Plot;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct PlotParams {
    spec: Spec,
}

/// What the manifest says of a figure, field by field.
#[derive(Clone, Debug)]
struct Spec {
    title: Identity<Option<String>>,
    note: Identity<Option<String>>,
    width: Identity<String>,
    height: Identity<Option<f64>>,
    panel: Identity<Option<String>>,
    panels: Identity<BTreeMap<String, String>>,
    main: PanelSpec,
    inset: Identity<Option<PanelSpec>>,
    inset_size: Identity<Vec<f64>>,
}

/// Axes, layers and marks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PanelSpec {
    x: AxisSpec,
    y: AxisSpec,
    layers: Vec<LayerSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<MarkSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct AxisSpec {
    label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    log: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Columns of a table as one series for each instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LayerSpec {
    /// The reference field that its instances come through.
    field: String,
    table: String,
    x: String,
    y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    label: String,
    style: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    color: Option<String>,
    /// Only rows whose cell in this column is this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MarkSpec {
    Horizontal { at: f64, label: String },
    Vertical { at: f64, label: String },
    Span { from: f64, to: f64, label: String },
}

impl Kind for Plot {
    fn name(&self) -> &'static str {
        "plot"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Draws tables as a figure: SVG, PNG, and the CSV behind it."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let widths = [("single", "single".to_owned()), ("double", "double".to_owned())];
        let panels_doc = "titles of the panels, by value of the axis `panel`; the others have the value as title";
        let inset_doc = "a second, smaller set of axes in each panel";
        let spec = Spec {
            title: reader.text("title", "above the figure").optional().identity(),
            note: reader.text("note", "below the figure").optional().identity(),
            width: reader
                .choice("width", "a journal's column, or two", &widths)
                .default("double".to_owned())
                .identity(),
            height: reader
                .float("height", "in millimetres; by default it suits the width")
                .positive()
                .optional()
                .identity(),
            inset_size: reader
                .floats("inset_size", "width and height of an inset in parts of its panel's axes")
                .default(INSET_SIZE.to_vec())
                .above(0)
                .below(1)
                .check(|size| if size.len() == 2 { Ok(()) } else { Err("expected width and height".to_owned()) })
                .identity(),
            panel: reader.text("panel", "the matrix axis whose values have a panel each").optional().identity(),
            panels: reader.map("panels", panels_doc).default(BTreeMap::new()).identity(),
            inset: Identity::with_default(reader.table("inset", inset_doc, read_panel).optional().value(), None),
            main: read_panel(reader),
        };
        Arc::new(PlotParams { spec })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["table", "lines", "path", "probes"]
    }
}

fn read_panel(reader: &mut Reader<'_>) -> PanelSpec {
    PanelSpec {
        x: reader.table("x", "the horizontal axis", read_axis).required().value(),
        y: reader.table("y", "the vertical axis", read_axis).required().value(),
        layers: reader
            .tables("layers", "what is drawn, from the back to the front", read_layer)
            .required()
            .not_empty()
            .value(),
        marks: reader.tables("marks", "lines and spans with a name", read_mark).default(Vec::new()).value(),
    }
}

fn read_axis(reader: &mut Reader<'_>) -> AxisSpec {
    let scales = [("linear", false), ("log", true)];
    AxisSpec {
        label: reader.text("label", "its name").required().value(),
        unit: reader.text("unit", "in parentheses after the name").optional().value(),
        log: reader.choice("scale", "linear or logarithmic", &scales).default(false).value(),
        low: reader.float("low", "its lower end").optional().value(),
        high: reader.float("high", "its upper end").optional().value(),
    }
}

fn read_layer(reader: &mut Reader<'_>) -> LayerSpec {
    let named = |names: &[&'static str]| -> Vec<(&'static str, String)> {
        names.iter().map(|&name| (name, name.to_owned())).collect()
    };
    let colour = |name: &Option<String>| {
        if name.as_deref().is_none_or(|name| Color::named(name).is_some()) {
            Ok(())
        } else {
            Err("expected a colour's name, such as `blue`, or `#rrggbb`".to_owned())
        }
    };
    LayerSpec {
        field: reader.references("from", "the stages whose tables are drawn", &[]).field,
        table: reader
            .choice("table", "which of their tables", &named(&["table", "lines", "path", "probes"]))
            .default("table".to_owned())
            .value(),
        x: reader.text("x", "the column along").required().value(),
        y: reader.text("y", "the column up").required().value(),
        error: reader.text("error", "the column with the half length of error bars").optional().value(),
        label: reader.text("label", "its name in the legend").default("").value(),
        style: reader
            .choice("style", "how it is drawn", &named(&["line", "points", "line-points", "step"]))
            .default("line".to_owned())
            .value(),
        color: reader.text("color", "of the palette, or `#rrggbb`").optional().check(colour).value(),
        only: reader
            .texts("only", "a column and a text: only rows that have that text there")
            .check(|pair| if pair.len() == 2 { Ok(()) } else { Err("expected a column and a text".to_owned()) })
            .optional()
            .value()
            .and_then(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))),
    }
}

fn read_mark(reader: &mut Reader<'_>) -> MarkSpec {
    let label = reader.text("label", "its name").default("").value();
    reader.variant("kind", "what it is", &["horizontal", "vertical", "span"], |name, reader| {
        let label = label.clone();
        match name {
            "horizontal" => MarkSpec::Horizontal { at: reader.float("at", "at which y").required().value(), label },
            "vertical" => MarkSpec::Vertical { at: reader.float("at", "at which x").required().value(), label },
            _ => MarkSpec::Span {
                from: reader.float("from", "from which x").required().value(),
                to: reader.float("to", "to which x").required().value(),
                label,
            },
        }
    })
}

impl Params for PlotParams {
    fn walk(&self, walk: &mut dyn Walk) {
        let spec = &self.spec;
        walk.identity("title", &spec.title)
            .identity("note", &spec.note)
            .identity("width", &spec.width)
            .identity("panel", &spec.panel)
            .identity("panels", &spec.panels)
            .identity("x", &Identity::required(spec.main.x.clone()))
            .identity("y", &Identity::required(spec.main.y.clone()))
            .identity("layers", &Identity::required(spec.main.layers.clone()))
            .identity("marks", &Identity::with_default(spec.main.marks.clone(), Vec::new()))
            .identity("inset", &spec.inset)
            .identity("height", &spec.height)
            .identity("inset_size", &spec.inset_size);
    }
}

/// An upstream table as the action knows it: by its place among the inputs, with its instance's labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Given {
    field: String,
    input: String,
    labels: Vec<(String, String)>,
}

impl Work for PlotParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let spec = &self.spec;
        let mut action = Action::new(&Draw)
            .with("title", &spec.title)
            .with("note", &spec.note)
            .with("width", &spec.width)
            .with("panel", &spec.panel)
            .with("panels", &spec.panels)
            .with("figure", &Identity::required(spec.main.clone()))
            .with("inset", &spec.inset)
            .with("height", &spec.height)
            .with("inset_size", &spec.inset_size);
        let mut given = Vec::new();
        let inset = spec.inset.iter().flat_map(|inset| &inset.layers);
        for layer in spec.main.layers.iter().chain(inset) {
            for (n, input) in cx.inputs(&layer.field).iter().enumerate() {
                let name = format!("{}#{n}", layer.field);
                action = action.input(&name, table_of(input, &layer.table)?);
                given.push(Given { field: layer.field.clone(), input: name, labels: input.labels.clone() });
            }
        }
        Ok(cx.call(action.with("given", &Identity::required(given)))?.outputs)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let place = |name: &str| (name.to_owned(), Place::Result(tables::file(instance, name)));
        vec![place("svg"), place("png"), place("csv")]
    }
}

fn table_of<'i>(input: &'i Input, table: &str) -> Result<&'i crate::key::Output, Failure> {
    let none = || Failure::Work(format!("`{}` has no table `{table}`", input.instance));
    input.outputs.get(table).ok_or_else(none)
}

/// The action: tables to pictures.
pub struct Draw;

impl ActionKind for Draw {
    fn name(&self) -> &'static str {
        "plot"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let given: Vec<Given> = cx.required("given")?;
        let mut tables = BTreeMap::new();
        for given in &given {
            let text = String::from_utf8(cx.input(&given.input)?).map_err(Failure::work)?;
            tables.insert(given.input.clone(), Table::from_csv(&text).map_err(Failure::work)?);
        }
        let axis: Option<String> = cx.param("panel", None)?;
        let titles: BTreeMap<String, String> = cx.param("panels", BTreeMap::new())?;
        let (main, inset): (PanelSpec, Option<PanelSpec>) = (cx.required("figure")?, cx.param("inset", None)?);
        let size = cx.param("inset_size", INSET_SIZE.to_vec())?;
        let mut drawn = Drawn { given, tables, axis, table: drawn_table() };
        let mut panels = Vec::new();
        for value in drawn.panel_values() {
            let mut panel = drawn.panel(&main, value.as_deref(), "main")?;
            panel.title = value.as_ref().map(|value| titles.get(value).unwrap_or(value).clone());
            if let Some(inset) = &inset {
                let inner = drawn.panel(inset, value.as_deref(), "inset")?;
                let placement = Placement::Emptiest { width: size[0], height: size[1] };
                panel.inset = Some(Inset { panel: Box::new(inner), placement });
            }
            panels.push(panel);
        }
        let mut figure = Figure::new(panels);
        figure.title = cx.param("title", None)?;
        figure.note = cx.param("note", None)?;
        figure.height_mm = cx.param("height", None)?;
        if cx.param("width", "double".to_owned())? == "single" {
            figure.width_mm = crate::plot::SINGLE_COLUMN_MM;
            figure.columns = Some(1);
        }
        let picture = figure.draw().map_err(Failure::work)?;
        let csv = drawn.table.to_csv().map_err(Failure::work)?;
        let png = picture.to_png(DOTS_PER_INCH).map_err(Failure::work)?;
        let outputs = [("svg", picture.to_svg().into_bytes()), ("png", png), ("csv", csv.into_bytes())];
        Ok(outputs.into_iter().map(|(name, bytes)| (name.to_owned(), Payload::Bytes(bytes))).collect())
    }
}

fn drawn_table() -> Table {
    let names = ["panel", "axes", "series", "x", "y", "error"];
    tables::table(&names.map(|name| (name, "")))
}

/// Tables on their way to a figure, and what has been drawn of them.
struct Drawn {
    given: Vec<Given>,
    tables: BTreeMap<String, Table>,
    axis: Option<String>,
    table: Table,
}

impl Drawn {
    /// The values of the panel axis in the order in which instances have them; one nameless panel where there is no such axis.
    fn panel_values(&self) -> Vec<Option<String>> {
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

    fn panel(&mut self, spec: &PanelSpec, value: Option<&str>, axes: &str) -> Result<Panel, Failure> {
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
        let marks = spec.marks.iter().map(mark).collect();
        let (x, y) = (axis_of(&spec.x), axis_of(&spec.y));
        let legend = if series.iter().all(|one| one.label.is_empty()) { Legend::None } else { Legend::Emptiest };
        let top: Option<TopAxis> = None;
        Ok(Panel { title: None, x, y, top, series, marks, inset: None, legend })
    }

    fn series(&self, layer: &LayerSpec, given: &Given) -> Result<Series, Failure> {
        let table = &self.tables[&given.input];
        let named =
            |error: crate::plot::table::Error| Failure::Work(format!("the table of `{}`: {error}", layer.label));
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

fn axis_of(spec: &AxisSpec) -> Axis {
    let scale = if spec.log { Scale::Log } else { Scale::Linear };
    Axis { label: spec.label.clone(), unit: spec.unit.clone(), scale, range: spec.low.zip(spec.high) }
}

fn mark(spec: &MarkSpec) -> Mark {
    match spec {
        MarkSpec::Horizontal { at, label } => Mark::horizontal(*at, label),
        MarkSpec::Vertical { at, label } => Mark::vertical(*at, label),
        MarkSpec::Span { from, to, label } => Mark::span(*from, *to, label),
    }
}
