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
