//! What a manifest says of axes, layers and marks, and how it is read.

use serde::{Deserialize, Serialize};

use crate::manifest::Reader;
use crate::plot::{Axis, Color, Marker, Scale};

/// The tables of stages that can be drawn.
pub const TABLES: [&str; 8] = ["table", "lines", "path", "probes", "layers", "top", "density", "runs"];

/// Axes, layers and marks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PanelSpec {
    pub(super) x: AxisSpec,
    pub(super) y: AxisSpec,
    pub(super) layers: Vec<LayerSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) marks: Vec<MarkIn>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AxisSpec {
    pub(super) label: String,
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
pub(super) struct LayerSpec {
    /// The reference field that its instances come through.
    pub(super) field: String,
    pub(super) table: String,
    pub(super) x: String,
    pub(super) y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) band: Option<String>,
    pub(super) label: String,
    pub(super) style: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) color: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) marker: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) hollow: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) dashed: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) at_edge: bool,
    /// Only in the panel of this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) panel: Option<String>,
    /// Only rows whose cell in this column is this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) only: Option<(String, String)>,
}

/// A mark, and the panel that it is for; in all of them where there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MarkIn {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) panel: Option<String>,
    #[serde(flatten)]
    pub(super) mark: MarkSpec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MarkSpec {
    Horizontal { at: At, label: String },
    Vertical { at: At, label: String },
    Span { from: f64, to: f64, label: String },
}

/// Where a marked line lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum At {
    /// As the manifest says.
    Number(f64),
    /// At the value in a column of the tables that come through a reference field.
    Column { field: String, column: String },
}

impl MarkSpec {
    /// The reference field and the column that say where it lies, where no number does.
    pub(super) fn column(&self) -> Option<(&str, &str)> {
        match self {
            Self::Horizontal { at: At::Column { field, column }, .. }
            | Self::Vertical { at: At::Column { field, column }, .. } => Some((field, column)),
            _ => None,
        }
    }
}

impl PanelSpec {
    /// The reference fields of its layers and marks, each with the table that is read of what they lead to.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let layers = self.layers.iter().map(|layer| (layer.field.as_str(), layer.table.as_str()));
        layers.chain(self.marks.iter().filter_map(|mark| mark.mark.column()).map(|(field, _)| (field, "table")))
    }
}

pub(super) fn read_panel(reader: &mut Reader<'_>) -> PanelSpec {
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
        table: reader.choice("table", "which of their tables", &named(&TABLES)).default("table".to_owned()).value(),
        x: reader.text("x", "the column along").required().value(),
        y: reader.text("y", "the column up").required().value(),
        error: reader.text("error", "the column with the half length of error bars").optional().value(),
        band: reader.text("band", "the column with the half width of a shaded band").optional().value(),
        label: reader
            .text(
                "label",
                "its name in the legend; `{probes}` stands for what the column `probes` holds, to four digits",
            )
            .default("")
            .value(),
        style: reader
            .choice("style", "how it is drawn", &named(&["line", "points", "line-points", "step"]))
            .default("line".to_owned())
            .value(),
        color: reader.text("color", "of the palette, or `#rrggbb`").optional().check(colour).value(),
        marker: reader
            .choice("marker", "the shape of its points; by default each layer has another", &named(&Marker::NAMES))
            .optional()
            .value(),
        hollow: reader.flag("hollow", "points are rings").default(false).value(),
        dashed: reader.flag("dashed", "lines are dashed").default(false).value(),
        at_edge: reader
            .flag("at_edge", "points beyond the axes are drawn at their ends, and stretch no axis")
            .default(false)
            .value(),
        panel: reader.text("panel", "draw it in the panel of this value, or of this name, alone").optional().value(),
        only: reader
            .texts("only", "a column and a text: only rows that have that text there")
            .check(|pair| if pair.len() == 2 { Ok(()) } else { Err("expected a column and a text".to_owned()) })
            .optional()
            .value()
            .and_then(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))),
    }
}

fn read_mark(reader: &mut Reader<'_>) -> MarkIn {
    let label = reader.text("label", "its name").default("").value();
    let panel = reader.text("panel", "draw it in this panel alone").optional().value();
    let mark = reader.variant("kind", "what it is", &["horizontal", "vertical", "span"], |name, reader| {
        let label = label.clone();
        match name {
            "horizontal" => MarkSpec::Horizontal { at: read_at(reader, "at which y"), label },
            "vertical" => MarkSpec::Vertical { at: read_at(reader, "at which x"), label },
            _ => MarkSpec::Span {
                from: reader.float("from", "from which x").required().value(),
                to: reader.float("to", "to which x").required().value(),
                label,
            },
        }
    });
    MarkIn { panel, mark }
}

fn read_at(reader: &mut Reader<'_>, doc: &'static str) -> At {
    let at = reader.float("at", doc).optional().value();
    let of = reader.references_if_any("of", "in place of `at`: stages whose tables say where", &[]);
    let column = reader.text("column", "with `of`: the column that says where").optional().value();
    match (at, of, column) {
        (None, Some(of), Some(column)) => return At::Column { field: of.field, column },
        (Some(at), None, None) => return At::Number(at),
        (None, Some(_), None) => reader.problem("column", "`of` needs a `column`"),
        _ => reader.problem("at", "give either `at`, or `of` with a `column`"),
    }
    At::Number(0.0)
}

impl AxisSpec {
    pub(super) fn axis(&self) -> Axis {
        let scale = if self.log { Scale::Log } else { Scale::Linear };
        let (label, unit) = (self.label.clone(), self.unit.clone());
        Axis { label, unit, scale, low: self.low, high: self.high }
    }
}
