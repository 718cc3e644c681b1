//! From text to instances.

use proptest::prelude::*;

use super::{BASE, Labels, Layer, Model, PlotParams, ProjectParams, Study, TrainParams, errors, study};
use crate::key::{Sort, Value, Walk};
use crate::manifest::InputEdge;

fn names(study: &Study) -> Vec<&str> {
    study.instances.iter().map(|instance| instance.name.as_str()).collect()
}

fn train<'a>(study: &'a Study, name: &str) -> &'a TrainParams {
    study.instance(name).unwrap().1.params.of()
}

#[test]
fn a_matrix_is_expanded_and_inherited() {
    let study = study(BASE, None, &[]);
    let expected = [
        "digits",
        "train[seed=0,model=mlp]",
        "train[seed=0,model=convnet]",
        "train[seed=1,model=mlp]",
        "train[seed=1,model=convnet]",
        "project[seed=0,model=mlp]",
        "project[seed=0,model=convnet]",
        "project[seed=1,model=mlp]",
        "project[seed=1,model=convnet]",
    ];
    assert_eq!(names(&study), expected);
    assert_eq!((study.name.as_str(), study.profile.as_str()), ("toy", "small"));
    assert_eq!(study.profiles, ["smoke", "small", "paper"]);
    let (_, project) = study.instance("project[seed=1,model=mlp]").unwrap();
    assert_eq!(project.inputs, [InputEdge { field: "from".into(), upstream: vec![3], gathered: false }]);
    let convnet = train(&study, "train[seed=1,model=convnet]");
    assert_eq!((*convnet.seed, *convnet.epochs, *convnet.lr), (1, 60, 0.1));
    assert_eq!(*convnet.model, Model::Convnet { channels: vec![8, 16], width: 1.0 });
    assert_eq!(convnet.data.field, "data");
    assert_eq!((convnet.device.as_str(), *convnet.labels), ("auto", Labels::Soft));
}

#[test]
fn fields_know_where_they_are_written() {
    let study = study(BASE, None, &["stage.train.epochs=70"]);
    let (_, mlp) = study.instance("train[seed=0,model=mlp]").unwrap();
    assert_eq!(mlp.origins["data"], "m.toml:9:8");
    assert_eq!(mlp.origins["epochs"], "--set stage.train.epochs=70");
    assert_eq!(mlp.origins["seed"], "m.toml:13:9");
    assert_eq!(mlp.origins["model.hidden"], "m.toml:16:40");
    assert!(!mlp.origins.contains_key("lr"));
}

#[test]
fn a_value_equal_to_its_default_is_no_ingredient() {
    struct Shown(Vec<(&'static str, Sort, Option<Value>)>);
    impl Walk for Shown {
        fn parameter(&mut self, name: &'static str, sort: Sort, value: Option<Value>) {
            self.0.push((name, sort, value));
        }
    }
    let walked = |sets: &[&str]| {
        let text = "study = \"toy\"\n[stage.d]\nkind = \"dataset\"\nsource = \"x\"\n[stage.train]\nkind = \"train\"\ndata = \"d\"\nepochs = 1\n";
        let mut shown = Shown(Vec::new());
        study(text, None, sets).instances[1].params.walk(&mut shown);
        shown.0
    };
    assert_eq!(walked(&[]), walked(&["stage.train.lr=0.1", "stage.train.seed=0"]));
    let changed = walked(&["stage.train.lr=1"]);
    assert_eq!(changed[0], ("lr", Sort::Identity, Some(Value::Integer(1))));
    assert_eq!(changed[2], ("epochs", Sort::Horizon, Some(Value::Integer(1))));
    assert_eq!(changed[1], ("labels", Sort::Identity, None));
}

#[test]
fn a_profile_replaces_keys_whole_and_the_matrix_axis_by_axis() {
    let text = format!(
        "{BASE}{}",
        r#"
[profile.smoke.stage.train]
epochs = 3
[profile.smoke.stage.train.matrix]
seed = [7]
[profile.smoke.stage.extra]
kind = "dataset"
source = "more"
[profile.mine]
description = "nothing but a name"
"#
    );
    let smoke = study(&text, Some("smoke"), &[]);
    let expected = [
        "digits",
        "train[seed=7,model=mlp]",
        "train[seed=7,model=convnet]",
        "project[seed=7,model=mlp]",
        "project[seed=7,model=convnet]",
        "extra",
    ];
    assert_eq!(names(&smoke), expected);
    assert_eq!(*train(&smoke, "train[seed=7,model=mlp]").epochs, 3);
    for profile in ["small", "paper", "mine"] {
        assert_eq!(names(&study(&text, Some(profile), &[])), names(&study(BASE, None, &[])), "{profile}");
    }
}

#[test]
fn settings_reach_every_instance_and_lie_over_the_profile() {
    let text = format!("{BASE}[profile.smoke.stage.train]\nepochs = 3\n");
    let sets =
        ["stage.train.epochs=5", "stage.train.matrix.seed=[4]", "stage.train.labels=sampled", "stage.train.lr = 1e-2"];
    let study = study(&text, Some("smoke"), &sets);
    assert_eq!(names(&study)[1..3], ["train[seed=4,model=mlp]", "train[seed=4,model=convnet]"]);
    for instance in &study.instances[1..3] {
        let params: &TrainParams = instance.params.of();
        assert_eq!((*params.epochs, *params.labels, *params.lr), (5, Labels::Sampled, 0.01));
    }
    let one = "stage.train.matrix.model.convnet.width=2";
    let study = super::study(BASE, None, &[one]);
    let wide = Model::Convnet { channels: vec![8, 16], width: 2.0 };
    assert_eq!(*train(&study, "train[seed=0,model=convnet]").model, wide);
}

#[test]
fn a_filter_keeps_the_instances_that_match() {
    let text = BASE.replace("from = \"train\"", "from = \"train[model=mlp]\"");
    assert_eq!(names(&study(&text, None, &[]))[5..], ["project[seed=0,model=mlp]", "project[seed=1,model=mlp]"]);
}

#[test]
fn two_references_join_on_the_axes_they_share() {
    let text = format!("{BASE}[stage.again]\nkind = \"gd-project\"\nfrom = \"project\"\nagainst = \"train[seed=1]\"\n");
    let study = study(&text, None, &[]);
    assert_eq!(names(&study)[9..], ["again[seed=1,model=mlp]", "again[seed=1,model=convnet]"]);
    let upstream: Vec<_> = study.instances[9].inputs.iter().map(|edge| edge.upstream[0]).collect();
    assert_eq!(
        upstream.iter().map(|&one| names(&study)[one]).collect::<Vec<_>>(),
        ["project[seed=1,model=mlp]", "train[seed=1,model=mlp]"]
    );
}

#[test]
fn an_axis_of_its_own_is_joined_with_one_that_is_inherited() {
    let a = "[stage.a]\nkind = \"gd-project\"\nfrom = \"train\"\nmatrix.threshold = [1, 2, 3]\n";
    let b = "[stage.b]\nkind = \"gd-project\"\nfrom = \"a\"\nmatrix.threshold = [3, 1]\n";
    let study = study(&format!("{BASE}{a}{b}"), None, &[]);
    let instances: Vec<_> = study.instances.iter().filter(|instance| instance.stage == "b").collect();
    // Two networks, two seeds, and the two of three values that both stages have.
    assert_eq!(instances.len(), 8);
    for instance in instances {
        let threshold = |params: &ProjectParams| *params.threshold;
        let above = &study.instances[instance.inputs[0].upstream[0]];
        assert_eq!(threshold(instance.params.of()), threshold(above.params.of()), "{}", instance.name);
        let mut axes: Vec<&str> = instance.labels.iter().map(|(axis, _)| axis.as_str()).collect();
        axes.sort_unstable();
        assert_eq!(axes, ["model", "seed", "threshold"], "{}", instance.name);
    }
}

#[test]
fn an_axis_held_to_two_values_is_not_inherited() {
    let text =
        format!("{BASE}[stage.line]\nkind = \"gd-project\"\nfrom = \"train[seed=0]\"\nagainst = \"train[seed=1]\"\n");
    let study = study(&text, None, &[]);
    assert_eq!(names(&study)[9..], ["line[model=mlp]", "line[model=convnet]"]);
    let params: &ProjectParams = study.instances[9].params.of();
    assert_eq!(params.against.as_ref().map(AsRef::as_ref), Some("against"));
    assert_eq!((params.from.field.as_str(), *params.threshold), ("from", None));
}

#[test]
fn a_gathering_reference_takes_all_and_inherits_nothing() {
    let layers = "[[stage.plot.layers]]\nfrom = \"train\"\n[[stage.plot.layers]]\nfrom = [\"project[seed=0]\", \"train[seed=1]\"]\n";
    let study = study(&format!("{BASE}[stage.plot]\nkind = \"plot\"\n{layers}"), None, &[]);
    let (_, plot) = study.instance("plot").unwrap();
    let expected = [("layers.0.from", vec![1, 2, 3, 4]), ("layers.1.from", vec![5, 6, 3, 4])];
    let expected = expected.map(|(field, upstream)| InputEdge { field: field.into(), upstream, gathered: true });
    assert_eq!(plot.inputs, expected);
    let PlotParams { layers, .. } = plot.params.of();
    let [_, Layer { from, title }] = layers.as_slice() else { panic!("two layers") };
    assert_eq!((from.field.as_str(), title.as_str()), ("layers.1.from", ""));
}

#[test]
fn a_reference_may_itself_be_an_axis() {
    let text = r#"study = "toy"
[stage.project]
kind = "gd-project"
matrix.from = ["a", "b"]
[stage.b]
kind = "dataset"
source = "b"
[stage.a]
kind = "dataset"
source = "a"
"#;
    let study = study(text, None, &[]);
    assert_eq!(names(&study), ["b", "a", "project[from=b]", "project[from=a]"]);
}

#[test]
fn words_of_the_command_line_lead_to_instances() {
    let study = study(BASE, None, &[]);
    assert_eq!(study.matching("project").unwrap(), [5, 6, 7, 8]);
    assert_eq!(study.matching("train[model=mlp,seed=1]").unwrap(), [3]);
    insta::assert_snapshot!(super::render(&study.matching("trian").unwrap_err()));
    insta::assert_snapshot!(super::render(&study.matching("train[model=mpl]").unwrap_err()));
}

#[test]
fn files_and_places_carry_their_origin() {
    let text = "study = \"toy\"\n[stage.d]\nkind = \"dataset\"\nsource = \"x\"\npath = \"data/x.gz\"\n";
    let study = study(text, None, &[]);
    let [file] = study.instances[0].params.files().try_into().unwrap();
    assert_eq!(file.path, std::path::Path::new("data/x.gz"));
    assert_eq!(study.sources.describe(file.origin.unwrap()), "m.toml:5:8");
}

/// A chain of stages, of which the first has a matrix with `size` values if any, written in either order.
fn chain(length: usize, size: usize, is_reversed: bool) -> String {
    let values: Vec<String> = (1..=size).map(|value| value.to_string()).collect();
    let stage = |i: usize| {
        let from = if i == 0 { "root".to_owned() } else { format!("s{}", i - 1) };
        let has_matrix = i == 0 && size > 0;
        let matrix = if has_matrix { format!("matrix.threshold = [{}]\n", values.join(",")) } else { String::new() };
        format!("[stage.s{i}]\nkind = \"gd-project\"\nfrom = \"{from}\"\n{matrix}")
    };
    let mut stages: Vec<String> = (0..length).map(stage).collect();
    if is_reversed {
        stages.reverse();
    }
    format!("study = \"toy\"\n{}[stage.root]\nkind = \"dataset\"\nsource = \"x\"\n", stages.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn instances_multiply_down_a_chain_and_come_after_what_they_take_from(
        length in 1_usize..5, size in 0_usize..4, is_reversed: bool,
    ) {
        let study = study(&chain(length, size, is_reversed), None, &[]);
        prop_assert_eq!(study.instances.len(), 1 + length * size.max(1));
        for (i, instance) in study.instances.iter().enumerate() {
            for edge in &instance.inputs {
                prop_assert!(edge.upstream.iter().all(|&upstream| upstream < i));
                let upstream = &study.instances[edge.upstream[0]];
                prop_assert!(upstream.labels.iter().all(|label| instance.labels.contains(label)));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z\\[\\]=\"{}.\n 0-9,-]{0,80}", cut in 0_usize..400) {
        let sources = [text, BASE[..cut.min(BASE.len())].to_owned()];
        for text in sources {
            let source = super::Source::new("m.toml", text);
            if let Err(wrong) = super::load(source, &super::kinds(), None, &[]) {
                prop_assert!(!super::render(&wrong).is_empty());
            }
        }
    }
}

#[test]
fn equal_mistakes_of_several_instances_are_said_once() {
    let text = BASE.replace("epochs = 60", "epochs = 0");
    assert_eq!(errors(&text, None, &[]).matches("`epochs` must be").count(), 1);
}
