//! `plot`: tables to a figure, as SVG and PNG, with the CSV of what was drawn. Everything that the manifest says of the figure is an
//! ingredient of the plot's key alone: a title changed runs the plot and nothing else.
//!
//! Reading order: this file (the kind and its action), `spec` (what a manifest says of axes, layers and marks), `drawn` (tables on their
//! way to a figure).

mod drawn;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::drawn::{Drawn, Given};
use self::spec::{PanelSpec, read_panel};
use super::{foresee, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Identity, Input, Inputs, Outputs, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::plot::{Figure, Inset, Placement, Table};

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
        Ok(cx.call(self.draw(cx.all_inputs())?)?.outputs)
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
        let inset = spec.inset.iter().flat_map(|inset| &inset.layers);
        for layer in spec.main.layers.iter().chain(inset) {
            for (n, input) in behind(inputs, &layer.field).iter().enumerate() {
                let name = format!("{}#{n}", layer.field);
                action = action.input(&name, table_of(input, &layer.table)?);
                given.push(Given { field: layer.field.clone(), input: name, labels: input.labels.clone() });
            }
        }
        Ok(action.with("given", &Identity::required(given)))
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
        let mut drawn = Drawn::new(given, tables, axis);
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
        let csv = drawn.table().to_csv().map_err(Failure::work)?;
        let png = picture.to_png(DOTS_PER_INCH).map_err(Failure::work)?;
        let outputs = [("svg", picture.to_svg().into_bytes()), ("png", png), ("csv", csv.into_bytes())];
        Ok(outputs.into_iter().map(|(name, bytes)| (name.to_owned(), Payload::Bytes(bytes))).collect())
    }
}
