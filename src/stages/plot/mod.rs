//! `plot`: tables to a figure, as SVG and PNG, with the CSV of what was drawn. Everything that the manifest says of the figure is an
//! ingredient of the plot's key alone: a title changed runs the plot and nothing else.
//!
//! Reading order: this file (the kind and its action), `spec` (what a manifest says of axes, layers and marks), `drawn` (tables on their
//! way to a figure).

mod drawn;
mod spec;

pub use spec::TABLES;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::drawn::{Drawn, Given, Place as In};
use self::spec::{PanelSpec, read_panel};
use super::train::{json, summary};
use super::{foresee, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Identity, Input, Inputs, Outputs, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::plot::{Figure, Inset, Placement, Table};

/// Version of the kind and of its action: raised when a figure looks otherwise.
const VERSION: u32 = 2;

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

impl Kind for Plot {
    fn name(&self) -> &'static str {
        "plot"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn about(&self) -> &'static str {
        "Draws tables as a figure: SVG, PNG, and the CSV behind it."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let widths = [("single", "single".to_owned()), ("double", "double".to_owned())];
        let panels_doc = "titles of the panels, by value of the axis `panel`; the others have the value as title. A layer's own `panel` that has a title here is a panel too, in the order of their names";
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
        &spec::TABLES
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        foresee::one(params.of::<PlotParams>().draw(foresight.inputs), foresight)
    }
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

impl Work for PlotParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let inputs = cx.all_inputs();
        let record = cx.call(self.draw(inputs)?).map_err(|failure| self.named(inputs, failure))?;
        for warning in summary::<Vec<String>>(&record, "warnings")? {
            cx.warn(warning);
        }
        let mut outputs = record.outputs;
        outputs.remove("warnings");
        Ok(outputs)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let place = |name: &str| (name.to_owned(), Place::Result(tables::file(instance, name)));
        vec![place("svg"), place("png"), place("csv")]
    }
}

impl PlotParams {
    /// The one action.
    fn draw(&self, inputs: &Inputs) -> Result<Action, Failure> {
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
        for (field, table) in self.tables() {
            for (n, input) in behind(inputs, field).iter().enumerate() {
                let name = format!("{field}#{n}");
                action = action.input(&name, table_of(input, table)?);
                given.push(Given { field: field.to_owned(), input: name, labels: input.labels.clone() });
            }
        }
        Ok(action.with("given", &Identity::required(given)))
    }

    /// The fields through which tables come, and which table of each.
    fn tables(&self) -> impl Iterator<Item = (&str, &str)> {
        let spec = &self.spec;
        std::iter::once(&spec.main).chain(spec.inset.iter()).flat_map(PanelSpec::fields)
    }

    /// An error of the action in words for people: names are in no key, so the action knows its inputs by their places.
    fn named(&self, inputs: &Inputs, failure: Failure) -> Failure {
        let Failure::Work(mut problem) = failure else { return failure };
        for (field, _) in self.tables() {
            for (n, input) in behind(inputs, field).iter().enumerate() {
                problem = problem.replace(&format!("`{field}#{n}`"), &format!("`{}`", input.instance));
            }
        }
        Failure::Work(problem)
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

    fn version(&self) -> u32 {
        VERSION
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
        let layers = std::iter::once(&main).chain(&inset).flat_map(|spec| &spec.layers);
        let asked: Vec<&String> = layers.filter_map(|layer| layer.panel.as_ref()).collect();
        let named = titles.keys().filter(|name| asked.contains(name)).cloned().collect();
        let mut drawn = Drawn::new(given, tables, (axis, named));
        for spec in std::iter::once(&main).chain(&inset) {
            drawn.check_panels(spec)?;
        }
        let mut panels = Vec::new();
        for value in drawn.panel_values() {
            let mut panel = drawn.panel(&main, In { panel: value.as_deref(), axes: "main" })?;
            panel.title = value.as_ref().map(|value| titles.get(value).unwrap_or(value).clone());
            if let Some(inset) = &inset {
                let inner = drawn.panel(inset, In { panel: value.as_deref(), axes: "inset" })?;
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
        let csv = drawn.table().to_csv().map_err(Failure::work)?;
        let png = picture.to_png(DOTS_PER_INCH).map_err(Failure::work)?;
        let outputs = [("svg", picture.to_svg().into_bytes()), ("png", png), ("csv", csv.into_bytes())];
        let mut produced: Produced =
            outputs.into_iter().map(|(name, bytes)| (name.to_owned(), Payload::Bytes(bytes))).collect();
        let warnings: Vec<String> = picture.warnings.iter().map(ToString::to_string).collect();
        produced.insert("warnings".to_owned(), json(&warnings));
        Ok(produced)
    }
}
