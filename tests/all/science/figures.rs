//! Figures: the same bytes from an empty cache, and files that other programs can open.

use super::lab::{Lab, TINY};

/// Checks that tags nest and attributes are quoted; the names of all elements, in order.
fn elements(svg: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut names = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>') && text.matches('&').count() == entities(text), "text {text:?}");
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('?') || tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        let name = tag.split([' ', '\n', '/']).next().unwrap().to_owned();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag:?}");
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        names.push(name);
    }
    assert!(open.is_empty(), "left open: {open:?}");
    names
}

fn entities(text: &str) -> usize {
    ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().map(|entity| text.matches(entity).count()).sum()
}

#[test]
fn a_figure_drawn_again_from_an_empty_cache_is_the_same_and_well_formed() {
    let manifest = TINY.replace(
        "kind = \"plot\"",
        "kind = \"plot\"\ntitle = \"SGD < GD & \\\"noise\\\"\"\nnote = \"digits → valley\"",
    );
    let manifest = manifest.replace("epochs = 6", "epochs = 2");
    let (a, b) = (Lab::new(&manifest), Lab::new(&manifest));
    a.run(&["--jobs 1"]);
    b.run(&["--jobs 3"]);
    for name in ["figure.svg", "figure.png", "figure.csv"] {
        assert!(a.result(name) == b.result(name), "{name}");
    }
    let svg = String::from_utf8(a.result("figure.svg")).unwrap();
    let names = elements(&svg);
    assert_eq!(names[0], "svg");
    assert!(names.len() > 20, "{names:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf\""));
    let png = a.result("figure.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert!(frame.width > 600 && frame.height > 300, "{frame:?}");
    let dark = pixels.chunks(frame.line_size / frame.width as usize).filter(|pixel| pixel[0] < 100).count();
    assert!(dark > 500, "something is drawn");
    let inside = String::from_utf8(a.result("figure.csv")).unwrap();
    assert_eq!(inside.lines().count(), 1 + a.table("trace.csv").len());
}

/// Two panels over the segments of a path, with all that went wrong, and a stage that belongs to one panel.
const PANELS: &str = r#"
study = "tiny"

[stage.data]
kind = "dataset"
subset = 200

[stage.train]
kind = "train"
data = "data"
batch = 50
momentum = 0.9
labels = "sampled"
epochs = 6

[stage.train.matrix.model]
narrow = { architecture = "mlp", hidden = [4] }
wide = { architecture = "mlp", hidden = [8] }

[stage.project]
kind = "gd-project"
from = "train"
until_loss = 0.2
max_steps = 250

[stage.connect]
kind = "connectedness-bisect"
from = "project"
samples = 5
threshold = 0.2
depth = 1

[stage.other]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
batch = 50
epochs = 2

[stage.figure]
kind = "plot"
panel = "model"
panels = { wide = "eight", narrow = "four" }
x = { label = "epoch" }
y = { label = "excess loss", unit = "nats", low = 0 }
layers = [
  { from = "connect", table = "path", only = ["reached", "yes"], x = "epoch", y = "loss", style = "points", label = "minima" },
  { from = "connect", table = "path", only = ["reached", "no"], x = "epoch", y = "loss", style = "points", hollow = true, label = "at the cap" },
  { from = "connect", x = "exceeds_epoch", y = "exceeds_loss", style = "points", marker = "cross", at_edge = true, label = "not connected" },
  { from = "other", panel = "wide", x = "epoch", y = "training_loss", style = "line-points" },
]
marks = [{ kind = "horizontal", of = "connect", column = "threshold", label = "threshold" }]
inset = { x = { label = "epoch" }, y = { label = "loss" }, layers = [
  { from = "train", x = "epoch", y = "training_loss" },
  { from = "train", x = "epoch", y = "validation_loss", dashed = true, band = "running_loss" },
] }

[stage.claim]
kind = "claim"
says = "the path is connected"
statistic = "fraction-connected"
from = "connect"
after_epoch = 3
at_least = 0
"#;

/// How many times a text is written in a picture.
fn written(lab: &Lab, text: &str) -> usize {
    String::from_utf8(lab.result("figure.svg")).unwrap().matches(&format!("aria-label=\"{text}\"")).count()
}

#[test]
fn segments_that_are_not_connected_and_descents_at_their_cap_are_drawn_and_told_again() {
    let lab = Lab::new(PANELS);
    let ran = lab.run(&[]);
    let tables = ["narrow", "wide"].map(|model| {
        let segments = lab.table_of_quoted(&format!("connect.model={model}.csv"));
        let path = lab.table(&format!("connect.model={model}.path.csv"));
        let broken = segments.texts("ending").iter().filter(|&&ending| ending != "connected").count();
        let capped = path.texts("reached").iter().filter(|&&reached| reached == "no").count();
        assert_eq!(segments.numbers("threshold"), vec![0.2; segments.len()]);
        (broken, capped, path.len() - capped)
    });
    let (broken, capped) = (tables[0].0 + tables[1].0, tables[0].1 + tables[1].1);
    assert!(broken > 0 && capped > 0, "{tables:?}");
    let drawn = lab.table("figure.csv");
    let count = |series: &str, panel: &str| {
        let rows = drawn.texts("series").into_iter().zip(drawn.texts("panel"));
        rows.filter(|row| *row == (series, panel)).count()
    };
    for (model, (broken, capped, reached)) in ["narrow", "wide"].into_iter().zip(tables) {
        let counted = ["not connected", "at the cap", "minima"].map(|series| count(series, model));
        assert_eq!(counted, [broken, capped, reached], "{model}");
    }
    assert!(written(&lab, "not connected") > 0 && written(&lab, "at the cap") > 0);
    // What `project` has told of its states, `connect` does not repeat.
    for line in ran.words.lines().filter(|line| line.contains("loss") && line.contains("steps")) {
        assert_eq!(ran.words.matches(line.trim()).count(), 1, "{line}");
    }
    let again = lab.run(&[]);
    let detail = again.report["claims"][0]["detail"].as_str().unwrap();
    let numbers = &again.report["claims"][0]["numbers"];
    let of = |name: &str| numbers[name].as_f64().unwrap() as usize;
    let late = of("segments") - of("connected");
    assert_eq!((late + of("early_segments_not_connected"), of("descents_at_cap")), (broken, capped));
    assert!(detail.contains(&format!("{capped} of {} descents hit the cap", of("descents"))), "{detail}");
    assert!(again.words.contains(detail), "{}", again.words);
}

#[test]
fn the_table_behind_a_figure_tells_series_apart_and_names_its_columns() {
    let lab = Lab::new(PANELS);
    lab.run(&[]);
    let drawn = lab.table("figure.csv");
    let rows = || drawn.texts("axes").into_iter().zip(drawn.texts("series")).zip(drawn.texts("y_column"));
    assert!(rows().any(|row| row == (("inset", "training_loss"), "training_loss (nats)")));
    assert!(rows().any(|row| row == (("inset", "validation_loss"), "validation_loss (nats)")));
    assert!(drawn.texts("x_column").contains(&"exceeds_epoch"));
    let panels = drawn.texts("panel").into_iter().zip(drawn.texts("instance")).zip(drawn.texts("series"));
    let lone: Vec<_> = panels.filter(|row| row.0.1.is_empty() || row.0.1 == "\"\"").collect();
    assert_eq!(lone, vec![(("wide", "\"\""), "training_loss"); 3]);
    let svg = String::from_utf8(lab.result("figure.svg")).unwrap();
    assert!(svg.contains("<title>excess loss against epoch: four; eight</title>"), "{}", &svg[..400]);
}

#[test]
fn a_legend_and_a_mark_follow_the_tables_that_they_speak_of() {
    let manifest = TINY.replace("label = \"Tr H\" }]", "label = \"{probes} probes\" }]\nmarks = [{ kind = \"horizontal\", of = \"connect\", column = \"threshold\", label = \"here\" }]");
    let lab = Lab::new(&manifest);
    lab.run(&[]);
    assert_eq!((written(&lab, "4 probes"), written(&lab, "here")), (1, 1));
    let before = lab.result("figure.svg");
    lab.run(&["stage.connect.threshold=0.4"]);
    assert!(lab.result("figure.svg") != before, "the mark moved");
    lab.run(&["stage.trace.probes=5"]);
    assert_eq!((written(&lab, "4 probes"), written(&lab, "5 probes")), (0, 1));
}

#[test]
fn a_plot_of_a_column_or_a_panel_that_is_not_there_says_what_is() {
    let lab = Lab::new(&TINY.replace("y = \"trace\"", "y = \"tracee\""));
    let ran = lab.try_run(&[]);
    assert_eq!(ran.in_state("failed"), ["figure"]);
    let message = "the table of `trace`: there is no column `tracee`; did you mean `trace`?";
    assert!(ran.words.contains(message), "{}", ran.words);
    lab.write(&TINY.replace("error = \"sd\"", "panel = \"mlp\""));
    let ran = lab.try_run(&[]);
    assert!(ran.words.contains("a layer asks for the panel `mlp`: the figure has one panel"), "{}", ran.words);
    let neither = TINY.replace("label = \"Tr H\" }]", "label = \"Tr H\" }]\nmarks = [{ kind = \"vertical\" }]");
    lab.write(&neither);
    let ran = lab.try_run(&[]);
    assert!(ran.code == 2 && ran.words.contains("give either `at`, or `of` with a `column`"), "{}", ran.words);
}

#[test]
fn layers_and_marks_may_name_panels_of_their_own() {
    let panels =
        "y = { label = \"trace\", unit = \"nats\" }\npanels = { second = \"B\", first = \"A\", unused = \"C\" }";
    let layers = r#"layers = [
  { from = "trace", panel = "first", x = "epoch", y = "trace" },
  { from = "trace", panel = "second", x = "epoch", y = "sd" },
  { from = "trace", x = "epoch", y = "stderr", only = ["probes", "4"] },
]
marks = [{ kind = "horizontal", at = 1, panel = "second", label = "here" }]"#;
    let manifest = TINY.replace("y = { label = \"trace\", unit = \"nats\" }", panels);
    let start = manifest.find("layers = [").unwrap();
    let end = start + manifest[start..].find('\n').unwrap();
    let lab = Lab::new(&format!("{}{layers}{}", &manifest[..start], &manifest[end..]));
    lab.run(&[]);
    let table = lab.table("figure.csv");
    let drawn: Vec<(&str, &str)> = table.texts("panel").into_iter().zip(table.texts("y_column")).collect();
    let count = |panel, column| drawn.iter().filter(|row| **row == (panel, column)).count();
    assert_eq!([count("first", "trace (nats)"), count("second", "sd (nats)"), drawn.len()], [7, 7, 28], "{drawn:?}");
    assert_eq!([count("first", "stderr (nats)"), count("second", "stderr (nats)")], [7, 7], "{drawn:?}");
    let svg = String::from_utf8(lab.result("figure.svg")).unwrap();
    assert!(!elements(&svg).is_empty());
}

#[test]
fn points_that_a_given_axis_leaves_out_are_warned_of() {
    let lab = Lab::new(&TINY.replace("unit = \"nats\" }", "unit = \"nats\", low = 0, high = 1 }"));
    let ran = lab.run(&[]);
    assert!(ran.words.contains("figure  panel 1: 7 points of `Tr H` are outside the axes"), "{}", ran.words);
}
