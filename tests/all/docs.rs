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

#[test]
fn every_pipeline_is_right_under_the_profiles_that_need_no_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new();
    for entry in fs::read_dir(root.join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        assert!(fs::read_to_string(&path).unwrap().starts_with("#:schema ../docs/manifest.schema.json\n"), "{path:?}");
        for profile in ["smoke", "small"] {
            project.call(&["check", path.to_str().unwrap(), "--profile", profile]).succeeds();
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
