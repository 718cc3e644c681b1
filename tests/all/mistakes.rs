//! What a user is told of a mistake: at its place, with what was expected, and nothing runs.

use crate::project::Project;

/// The message for a manifest that is wrong.
fn told(manifest: &str) -> String {
    let project = Project::with(manifest);
    let ran = project.run();
    ran.exits(2);
    assert!(project.files("cache/records").is_empty() && project.files("results").is_empty(), "something ran");
    ran.err
}

const TRAIN: &str = r#"study = "s"
[stage.data]
kind = "dataset"
[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
epochs = 2
"#;

#[test]
fn syntax() {
    insta::assert_snapshot!(told("study = \"s\"\n[stage.a\nkind = 1\n"));
}

#[test]
fn an_unknown_key() {
    insta::assert_snapshot!(told(&format!("{TRAIN}momentun = 0.9\n")));
}

#[test]
fn a_wrong_type_and_a_negative_number_at_once() {
    insta::assert_snapshot!(told(&format!("{TRAIN}lr = -0.1\nmomentum = \"much\"\n")));
}

#[test]
fn not_a_number() {
    insta::assert_snapshot!(told(&format!("{TRAIN}lr = nan\n")));
}

#[test]
fn a_missing_reference() {
    insta::assert_snapshot!(told(&TRAIN.replace("data = \"data\"", "data = \"date\"")));
}

#[test]
fn a_cycle() {
    let command =
        |name: &str, from: &str| format!("[stage.{name}]\nkind = \"command\"\nprogram = \"true\"\nfrom = \"{from}\"\n");
    let manifest = format!("study = \"s\"\n{}{}{}", command("a", "c"), command("b", "a"), command("c", "b"));
    insta::assert_snapshot!(told(&manifest));
}

#[test]
fn a_duplicate_stage() {
    insta::assert_snapshot!(told(&format!("{TRAIN}[stage.data]\nkind = \"dataset\"\n")));
}

#[test]
fn an_empty_matrix() {
    insta::assert_snapshot!(told(&format!("{TRAIN}[stage.train.matrix]\nseed = []\n")));
}

#[test]
fn two_stages_with_one_output() {
    let command =
        |name: &str| format!("[stage.{name}]\nkind = \"command\"\nprogram = \"true\"\noutputs = [\"x.txt\"]\n");
    insta::assert_snapshot!(told(&format!("study = \"s\"\n{}{}", command("a"), command("b"))));
}

#[test]
fn a_data_file_that_is_missing() {
    let project =
        Project::with("study = \"s\"\n[stage.data]\nkind = \"dataset\"\nsource = \"cifar10\"\npath = \"cifar\"\n");
    insta::assert_snapshot!(project.run().exits(2).err);
}

#[test]
fn a_profile_and_a_stage_that_do_not_exist() {
    let project = Project::with(TRAIN);
    insta::assert_snapshot!(project.run_with(&["--profile", "smal"]).exits(2).err);
    insta::assert_snapshot!(project.run_with(&["trane"]).exits(2).err);
}

#[test]
fn a_setting_that_leads_nowhere() {
    let project = Project::with(TRAIN);
    insta::assert_snapshot!(project.run_with(&["--set", "stage.train.epoch=3"]).exits(2).err);
    insta::assert_snapshot!(project.run_with(&["--set", "stage.trian.epochs=3"]).exits(2).err);
}

#[test]
fn a_manifest_that_is_not_there() {
    insta::assert_snapshot!(Project::new().run().exits(2).err);
}

#[test]
fn a_device_that_there_is_not() {
    let project = Project::with(TRAIN);
    project.run_with(&["--device", "gpu"]).exits(2).says("there is no device `gpu`");
    project.run_with(&["--device", "cuda", "--cards", "simulated:0:0"]).exits(4).says("there is no device `cuda`");
}

/// A stage that is a command with these fields.
fn command(name: &str, fields: &str) -> String {
    format!("[stage.{name}]\nkind = \"command\"\nprogram = \"true\"\n{fields}\n")
}

#[test]
fn every_wrong_path_of_a_list_is_said_at_its_place() {
    let fields = "inputs = [\"here.txt\", \"../y\"]\noutputs = [\"../x\", \"/abs\", \"\", \"a\", \"./a\"]";
    insta::assert_snapshot!(told(&format!("study = \"s\"\n{}", command("a", fields))));
}

#[test]
fn every_wrong_reference_of_a_list_is_said_at_its_place() {
    let manifest = format!("study = \"s\"\n{}{}", command("a", ""), command("b", "from = [\"a\", \"zz\", 3]"));
    insta::assert_snapshot!(told(&manifest));
}

#[test]
fn a_list_of_no_references() {
    insta::assert_snapshot!(told(&format!("study = \"s\"\n{}", command("b", "from = []"))));
}

#[test]
fn a_cycle_of_thousands_is_told_in_brief() {
    let stage = |i: usize| command(&format!("s{i}"), &format!("from = \"s{}\"", (i + 1) % 3000));
    let said = told(&format!("study = \"s\"\n{}", (0..3000).map(stage).collect::<String>()));
    assert!(said.contains("2988 more"), "{said}");
    assert!(said.lines().count() < 120, "{} lines", said.lines().count());
}

#[test]
fn more_instances_than_anybody_can_look_through() {
    let list = |n: usize| format!("{:?}", (0..n).collect::<Vec<_>>());
    let matrix = |a, b| format!("matrix = {{ seed = {}, epochs = {} }}\n", list(a), list(b));
    let since = std::time::Instant::now();
    let said = told(&format!("{TRAIN}{}", matrix(1000, 3000)).replace("epochs = 2\n", ""));
    assert!(said.contains("this matrix makes more than 10000 instances of its stage"), "{said}");
    assert!(since.elapsed() < std::time::Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_first_manifest_needs_a_file_to_be_and_has_a_name_whatever_that_is_called() {
    let project = Project::new();
    project.call(&["new", "sub/"]).exits(2).says("`sub/` is a folder");
    project.call(&["new", "cache"]).exits(2).says("`cache` is a folder");
    project.call(&["new", "--", "---.toml"]).succeeds().says("thalweg run ./---.toml");
    project.call(&["check", "./---.toml"]).succeeds();
    project.call(&["new", "my study.toml"]).succeeds().says("thalweg run 'my study.toml'");
    assert!(project.read("my study.toml").starts_with("study = \"my-study\""));
}

#[test]
fn what_is_to_be_shown_is_named_as_it_is_for_run() {
    let project =
        Project::with(&format!("study = \"s\"\n{}", command("t", "matrix = { args = { x = [\"a\"], y = [\"b\"] } }")));
    project.run().succeeds();
    project.call(&["show", "study.toml", "t[args=x]"]).succeeds();
    project.call(&["show", "study.toml", "t"]).exits(2).says("`t` is 2 instances");
    project.call(&["show", "study.toml", "u"]).exits(2).says("there is no stage and no key `u`");
}
