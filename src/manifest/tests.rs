//! Manifests of toy kinds, from text to study and from mistakes to words.

use std::path::PathBuf;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use super::{
    Kind, Kinds, Located, NamedFile, Params, Place, Reader, Reference, References, Root, Source, Study, load,
    reference_page, schema,
};
use crate::key::{Execution, Horizon, Identity, Sort, Value, Walk};

mod errors;
mod expansion;

struct Dataset;
struct Train;
struct Project;
struct Plot;

#[derive(Debug)]
struct DatasetParams {
    source: Identity<String>,
    path: Option<Located>,
}

#[derive(Debug)]
struct TrainParams {
    data: Reference,
    lr: Identity<f64>,
    labels: Identity<Labels>,
    epochs: Horizon<u64>,
    seed: Identity<u64>,
    device: Execution<String>,
    model: Identity<Model>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Labels {
    Soft,
    Sampled,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Model {
    Mlp { hidden: Vec<u64> },
    Convnet { channels: Vec<u64>, width: f64 },
}

#[derive(Debug)]
struct ProjectParams {
    from: Reference,
    against: Option<Reference>,
    threshold: Identity<Option<f64>>,
}

#[derive(Debug)]
struct PlotParams {
    layers: Vec<Layer>,
    output: Located,
}

#[derive(Debug)]
struct Layer {
    from: References,
    title: String,
}

impl Kind for Dataset {
    fn name(&self) -> &'static str {
        "dataset"
    }
    fn version(&self) -> u32 {
        1
    }
    fn about(&self) -> &'static str {
        "a set of labelled images"
    }
    fn read(&self, r: &mut Reader<'_>) -> Arc<dyn Params> {
        let source = r.text("source", "where it comes from").not_empty().required().identity();
        let path = r.path("path", "the file it is read from").optional().value();
        Arc::new(DatasetParams { source, path })
    }
}

impl Params for DatasetParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("source", &self.source);
    }
    fn files(&self) -> Vec<NamedFile> {
        let file = |path: &Located| NamedFile {
            name: path.text.clone(),
            path: PathBuf::from(&path.text),
            origin: path.origin,
            published: None,
        };
        self.path.iter().map(file).collect()
    }
}

impl Kind for Train {
    fn name(&self) -> &'static str {
        "train"
    }
    fn version(&self) -> u32 {
        3
    }
    fn about(&self) -> &'static str {
        "trains a model"
    }
    fn read(&self, r: &mut Reader<'_>) -> Arc<dyn Params> {
        let params = TrainParams {
            data: r.reference("data", "the data set", &["dataset"]),
            lr: r.float("lr", "learning rate, per step").default(0.1).positive().identity(),
            labels: r
                .choice("labels", "which targets", &[("soft", Labels::Soft), ("sampled", Labels::Sampled)])
                .default(Labels::Soft)
                .identity(),
            epochs: r.count("epochs", "passes over the training set").at_least(1).required().horizon(),
            seed: r.count("seed", "of every random stream").default(0).identity(),
            device: r
                .text("device", "where it runs")
                .default("auto")
                .check(|name| ["auto", "cpu"].contains(&name.as_str()).then_some(()).ok_or("no such device".to_owned()))
                .execution(),
            model: r.table("model", "the network", model).default(Model::Mlp { hidden: vec![8] }).identity(),
        };
        if *params.epochs > 100 && r.is_given("lr") && *params.lr > 1.0 {
            r.problem("lr", "`lr` above 1 and more than 100 epochs do not go together");
        }
        Arc::new(params)
    }
}

fn model(r: &mut Reader<'_>) -> Model {
    r.variant("architecture", "which network", &["mlp", "convnet"], |name, r| match name {
        "mlp" => Model::Mlp { hidden: r.counts("hidden", "widths").at_least(1).not_empty().default(vec![64]).value() },
        _ => Model::Convnet {
            channels: r.counts("channels", "per layer").at_least(1).required().value(),
            width: r.float("width", "a factor").above(0.0).at_most(4.0).default(1.0).value(),
        },
    })
}

impl Params for TrainParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("lr", &self.lr).identity("labels", &self.labels).horizon("epochs", &self.epochs);
        walk.identity("seed", &self.seed).execution("device", &self.device).identity("model", &self.model);
    }
}

impl Kind for Project {
    fn name(&self) -> &'static str {
        "gd-project"
    }
    fn version(&self) -> u32 {
        1
    }
    fn about(&self) -> &'static str {
        "projects states to the valley floor"
    }
    fn read(&self, r: &mut Reader<'_>) -> Arc<dyn Params> {
        Arc::new(ProjectParams {
            from: r.reference("from", "what is projected", &[]),
            against: r.reference_if_any("against", "what it is compared with", &["train", "gd-project"]),
            threshold: r.float("threshold", "the loss at which it ends").positive().optional().identity(),
        })
    }
}

impl Params for ProjectParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("threshold", &self.threshold);
    }
}

impl Kind for Plot {
    fn name(&self) -> &'static str {
        "plot"
    }
    fn version(&self) -> u32 {
        1
    }
    fn about(&self) -> &'static str {
        "draws layers"
    }
    fn read(&self, r: &mut Reader<'_>) -> Arc<dyn Params> {
        let layers = r.tables("layers", "what is drawn", |r| Layer {
            from: r.references("from", "whose numbers", &["gd-project", "train"]),
            title: r.text("title", "what it is called").default("").value(),
        });
        let layers = layers.not_empty().required().value();
        Arc::new(PlotParams { layers, output: r.path("output", "the file").default("figure.svg").value() })
    }
}

impl Params for PlotParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.parameter("output", Sort::Identity, Some(Value::of(&self.output)));
    }
    fn places(&self) -> Vec<Place> {
        vec![Place { root: Root::Results, path: PathBuf::from(&self.output.text), origin: self.output.origin }]
    }
}

fn kinds() -> Kinds {
    Kinds::new(vec![Arc::new(Dataset), Arc::new(Train), Arc::new(Project), Arc::new(Plot)])
}

/// The study that `text` declares; anything wrong with it fails the test.
fn study(text: &str, profile: Option<&str>, sets: &[&str]) -> Study {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(Source::new("m.toml", text), &kinds(), profile, &sets).unwrap_or_else(|wrong| panic!("{}", render(&wrong)))
}

/// What is said about `text`; nothing being wrong with it fails the test.
fn errors(text: &str, profile: Option<&str>, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    render(&load(Source::new("m.toml", text), &kinds(), profile, &sets).expect_err("the manifest should be wrong"))
}

fn render(diagnostic: &dyn miette::Diagnostic) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110).with_links(false);
    let mut text = String::new();
    handler.render_report(&mut text, diagnostic).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The part of a manifest that most tests share.
const BASE: &str = r#"study = "toy"

[stage.digits]
kind = "dataset"
source = "digits"

[stage.train]
kind = "train"
data = "digits"
epochs = 60

[stage.train.matrix]
seed = [0, 1]

[stage.train.matrix.model]
mlp = { architecture = "mlp", hidden = [64] }
convnet = { architecture = "convnet", channels = [8, 16] }

[stage.project]
kind = "gd-project"
from = "train"
"#;

#[test]
fn the_schema_holds_every_declared_field() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema(&kinds())).unwrap());
}

#[test]
fn the_reference_page_holds_every_declared_field() {
    insta::assert_snapshot!(reference_page(&kinds()));
}
