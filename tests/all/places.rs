//! Where stages write and what they read: one writer for each file, whatever it is called, and nothing of the runner's.

use std::fs;
use std::os::unix::fs::symlink;

use crate::endings::script;
use crate::project::Project;

/// A project of a data set, a training with its table, and these stages.
fn with(stages: &str) -> Project {
    Project::with(&format!(
        "study = \"s\"\n[stage.d]\nkind = \"dataset\"\n[stage.t]\nkind = \"train\"\ndata = \"d\"\n\
         model = {{ architecture = \"mlp\", hidden = [8] }}\nepochs = 1\n{stages}"
    ))
}

/// What is said of a stage that writes, or reads, at these paths.
fn refused(field: &str, paths: &str, words: &str) {
    let project = with(&script("a", "true", &format!("{field} = {paths}")));
    project.file("x.txt", "x\n").call(&["check", "study.toml"]).exits(2).says(words);
}

#[test]
fn no_stage_writes_what_another_or_the_runner_writes() {
    refused("outputs", "[\"results/s/t.csv\"]", "`t` and `a` both write `results/s/t.csv`");
    refused("outputs", "[\"study.toml\"]", "`a` writes `study.toml`, which is the manifest");
    refused("outputs", "[\"results/s/run.json\"]", "`results/s/run.json`, which is written by every run");
    refused("outputs", "[\"results/s/claims.json\"]", "`results/s/claims.json`, which is written by every run");
    refused("outputs", "[\"cache/x\"]", "`a` writes `cache/x`, which is the cache");
    refused("outputs", "[\"cache\"]", "`a` writes `cache`, which is the cache");
    refused("outputs", "[\"results\"]", "`results`, which is written by every run");
    refused("outputs", "[\"out\", \"out/x\"]", "`a` writes `out/x`, and `a` writes `out`, which cannot be its folder");
    refused("outputs", "[\"x\", \"./x\"]", "`./x` is named twice");
    refused("outputs", "[\".\"]", "expected a path inside the project, found `.`");
    let two = script("a", "true", "outputs = [\"out\"]") + &script("b", "true", "outputs = [\"out/x\"]");
    with(&two).call(&["check", "study.toml"]).exits(2).says("`b` writes `out/x`, and `a` writes `out`");
}

#[test]
fn another_folder_of_results_moves_what_may_not_be_written() {
    let project = with(&script("a", "true", "outputs = [\"there/s/t.csv\"]"));
    project.call(&["check", "study.toml"]).succeeds();
    let there = project.path("there").display().to_string();
    project.call(&["check", "study.toml", "--results", &there]).exits(2).says("both write");
}

#[test]
fn what_a_stage_makes_is_no_input_of_the_users_however_it_is_called() {
    refused("inputs", "[\"results/s/t.csv\"]", "`results/s/t.csv` is made by stage `t`");
    let stages = script("a", "true", "outputs = [\"x.txt\"]") + &script("b", "true", "inputs = [\"./x.txt\"]");
    let project = with(&stages);
    project.file("x.txt", "x\n").call(&["check", "study.toml"]).exits(2).says("from = \"a\"");
    let own = with(&script("a", "true", "inputs = [\"x.txt\"]\noutputs = [\"x.txt\"]"));
    own.file("x.txt", "x\n").call(&["check", "study.toml"]).exits(2).says("cannot change a file in its place");
}

#[test]
fn links_neither_lead_out_of_the_project_nor_make_one_file_two() {
    let outside = tempfile::tempdir().unwrap();
    let stages = script("a", "true", "outputs = [\"out/x\"]") + &script("b", "true", "outputs = [\"real/x\"]");
    let project = with(&stages);
    fs::create_dir(project.path("real")).unwrap();
    symlink(project.path("real"), project.path("out")).unwrap();
    project.call(&["check", "study.toml"]).exits(2).says("`a` and `b` both write `real/x`");
    fs::remove_file(project.path("out")).unwrap();
    symlink(outside.path(), project.path("out")).unwrap();
    project.call(&["check", "study.toml"]).exits(2).says("`a` writes `out/x`, which a link leads out of the project");
}

#[test]
fn a_folder_is_no_input() {
    let project = with(&script("a", "true", "inputs = [\"data\"]"));
    project.file("data/x", "").call(&["check", "study.toml"]).exits(2).says("names a folder as a file: `data`");
}

/// Renames a stage and everything that refers to it.
fn rename(project: &Project, old: &str, new: &str) {
    project.edit(&format!("[stage.{old}]"), &format!("[stage.{new}]"));
    project.edit(&format!("from = \"{old}\""), &format!("from = \"{new}\""));
}

#[test]
fn renaming_a_stage_reruns_a_command_that_sees_its_name_and_no_other() {
    let list = script("list", "find . -type f | sort > l", "from = \"d\"\noutputs = [\"l\"]");
    let project = Project::with(&format!("study = \"s\"\n[stage.d]\nkind = \"dataset\"\n{list}"));
    project.run().succeeds();
    assert!(project.read("l").contains("./d/"), "{}", project.read("l"));
    rename(&project, "d", "e");
    project.run().succeeds().ran(&["list"]);
    assert!(project.read("l").contains("./e/") && !project.read("l").contains("./d/"), "{}", project.read("l"));
    rename(&project, "e", "d");
    assert_eq!(project.run().succeeds().actions(), 0);

    let stages =
        script("a", "echo a > a", "outputs = [\"a\"]") + &script("b", "find . > b", "from = \"a\"\noutputs = [\"b\"]");
    let project = Project::with(&format!("study = \"s\"\n{stages}"));
    project.run().succeeds().ran(&["a", "b"]);
    rename(&project, "a", "z");
    assert_eq!(project.run().succeeds().actions(), 0, "a command's outputs lie where it wrote them");
}

#[test]
fn a_profile_can_add_stages_and_make_others_read_them() {
    let base = script("a", "cat b 2>/dev/null > a; echo a >> a", "outputs = [\"a\"]");
    let more = script("b", "echo b > b", "outputs = [\"b\"]").replace("[stage.b]", "[profile.more.stage.b]");
    let project = Project::with(&format!("study = \"s\"\n{base}\n[profile.more.stage.a]\nfrom = \"b\"\n{more}"));
    project.run().succeeds().ran(&["a"]);
    assert_eq!(project.read("a"), "a\n");
    project.run_with(&["--profile", "more"]).succeeds().ran(&["a", "b"]);
    assert_eq!(project.read("a"), "b\na\n");
    project.run_with(&["b"]).exits(2).says("no stage `b`");
    let back = project.run();
    assert_eq!((back.succeeds().actions(), back.stages("restored")), (0, vec!["a".to_owned()]));
    assert_eq!(project.read("a"), "a\n");
}
