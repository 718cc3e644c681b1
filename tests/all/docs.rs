//! What the documentation says of the program is what the program says of itself.

use std::fs;
use std::path::Path;

use crate::project::Project;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_schema_and_the_reference_of_kinds_are_up_to_date() {
    let project = Project::new();
    let renew = "renew it with `just docs`";
    assert_eq!(project.call(&["schema"]).succeeds().out, file("docs/manifest.schema.json"), "{renew}");
    assert_eq!(project.call(&["schema", "--markdown"]).succeeds().out, file("docs/kinds.md"), "{renew}");
}

/// `check` looks whether named files are there, and no further: a project in which those of CIFAR and MNIST are.
fn with_names_of_data() -> Project {
    let project = Project::new();
    for batch in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        project.file(&format!("data/cifar-10-batches-bin/{batch}.bin"), "");
    }
    for part in ["train", "test"] {
        project.file(&format!("data/cifar-100-binary/{part}.bin"), "");
    }
    for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        project.file(&format!("data/mnist/{name}-ubyte"), "");
    }
    project
}

#[test]
fn every_pipeline_names_the_schema_and_is_right_under_every_profile() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = with_names_of_data();
    for entry in fs::read_dir(root.join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("#:schema ../docs/manifest.schema.json\n"), "{path:?}");
        project.file("study.toml", &text);
        for profile in ["smoke", "small", "paper"] {
            project.call(&["check", "study.toml", "--profile", profile]).succeeds();
        }
    }
}

/// In each a claim may fail, which ends it with 3; a second run finds everything.
#[test]
fn every_pipeline_runs_in_its_smoke_profile() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new();
    let mut names: Vec<_> = fs::read_dir(root.join("pipelines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 12);
    for path in names {
        let study = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file_name = format!("{study}.toml");
        project.file(&file_name, &fs::read_to_string(&path).unwrap());
        let ended = project.call(&["run", &file_name, "--profile", "smoke"]);
        assert!([Some(0), Some(3)].contains(&ended.code), "{study}: {:?} {}", ended.code, ended.err);
        let run = fs::read_to_string(project.path(&format!("results/{study}/run.json"))).unwrap();
        let run: serde_json::Value = serde_json::from_str(&run).unwrap();
        let stages = run["stages"].as_object().unwrap();
        let claims = stages.values().filter(|stage| stage["kind"] == "claim").count();
        assert!(claims > 0 && claims == run["claims"].as_array().unwrap().len(), "{study}");
        let pictures = stages.iter().filter(|(_, stage)| stage["kind"] == "plot").map(|(name, _)| name);
        pictures
            .for_each(|name| assert!(project.path(&format!("results/{study}/{name}.png")).is_file(), "{study} {name}"));
    }
}

#[test]
fn the_two_pipelines_share_their_training_and_projections() {
    let [one, three] = ["pipelines/fig1.toml", "pipelines/fig3.toml"].map(file);
    for stage in ["[stage.data]", "[stage.train]", "[stage.train.matrix.model]", "[stage.project]", "[stage.connect]"] {
        let table = |text: &str| {
            let start = text.find(stage).unwrap_or_else(|| panic!("{stage}"));
            let rest = &text[start + stage.len()..];
            rest[..rest.find("\n[").unwrap()].trim().to_owned()
        };
        assert_eq!(table(&one), table(&three), "{stage}");
    }
}
