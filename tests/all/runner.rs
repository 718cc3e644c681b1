//! What the runner does with stages that are commands: what runs again, what does not, and what is said.

use std::fs;
use std::time::Duration;

use crate::project::Project;

/// `a` and `b` from a file each, `c` from both, `d` from `c`.
const DIAMOND: &str = r#"
study = "diamond"

[stage.a]
kind = "command"
program = "sh"
args = ["-c", "tr a-z A-Z < one.txt > a.txt"]
inputs = ["one.txt"]
outputs = ["a.txt"]

[stage.b]
kind = "command"
program = "sh"
args = ["-c", "wc -c < two.txt > b.txt"]
inputs = ["two.txt"]
outputs = ["b.txt"]

[stage.c]
kind = "command"
program = "sh"
args = ["-c", "cat a.txt b.txt > c.txt; head -c 4000 /dev/zero >> c.txt"]
from = ["a", "b"]
outputs = ["c.txt"]

[stage.d]
kind = "command"
program = "sh"
args = ["-c", "wc -c < c.txt > out/d.txt"]
from = "c"
outputs = ["out/d.txt"]
"#;

fn diamond() -> Project {
    let project = Project::with(DIAMOND);
    project.file("one.txt", "one\n").file("two.txt", "two\n");
    project.run().succeeds().ran(&["a", "b", "c", "d"]);
    project
}

#[test]
fn a_second_run_does_nothing() {
    let project = diamond();
    let (results, outputs) = (project.results(), project.read("out/d.txt"));
    let again = project.run();
    assert_eq!(again.succeeds().actions(), 0);
    assert_eq!(again.stages("fresh").len(), 4);
    assert_eq!((project.results(), project.read("out/d.txt")), (results, outputs));
}

#[test]
fn comments_and_order_are_no_change_and_an_edit_undone_runs_nothing() {
    let project = diamond();
    let blocks: Vec<&str> = DIAMOND.split("\n\n").collect();
    let reordered = [blocks[0], blocks[4], "# a comment", blocks[2], blocks[3], blocks[1]].join("\n\n\n");
    project.file("study.toml", &reordered);
    assert_eq!(project.run().succeeds().actions(), 0);
    project.edit("wc -c < c.txt", "wc  -c < c.txt");
    project.run().succeeds().ran(&["d"]);
    project.edit("wc  -c < c.txt", "wc -c < c.txt");
    assert_eq!(project.run().succeeds().actions(), 0);
}

#[test]
fn an_edited_file_reruns_what_reads_it_and_stops_where_the_bytes_are_the_same() {
    let project = diamond();
    project.file("two.txt", "TWO\n");
    project.run().succeeds().ran(&["b"]);
    project.file("one.txt", "ONE\n");
    project.run().succeeds().ran(&["a"]);
    project.file("one.txt", "uno\n");
    project.run().succeeds().ran(&["a", "c", "d"]).says("a gave other bytes");
    project.file("two.txt", "three\n");
    project.run().succeeds().ran(&["b", "c", "d"]);
}

#[test]
fn an_output_deleted_or_edited_is_restored_without_an_action() {
    let project = diamond();
    fs::remove_file(project.path("out/d.txt")).unwrap();
    project.file("a.txt", "someone's own words\n");
    let ran = project.run();
    assert_eq!(ran.succeeds().actions(), 0);
    assert_eq!(ran.stages("restored"), ["a", "d"]);
    assert_eq!(project.read("a.txt"), "ONE\n");
}

#[test]
fn with_every_blob_gone_nothing_runs_until_something_needs_one() {
    let project = diamond();
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    assert_eq!(project.run().succeeds().actions(), 0);
    project.edit("wc -c < c.txt", "wc -l < c.txt");
    let ran = project.run();
    ran.succeeds().ran(&["d"]).says("remade");
    assert_eq!(project.read("out/d.txt").trim(), "2");
}

#[test]
fn a_failure_skips_what_is_below_and_nothing_beside() {
    let project = diamond();
    project.edit("tr a-z A-Z < one.txt > a.txt", "echo first; echo the reason >&2; exit 3");
    project.edit("wc -c < two.txt", "wc -l < two.txt");
    let ran = project.run();
    ran.exits(1).ran(&["b"]).says("exited with status 3").says("the reason");
    assert_eq!((ran.stages("failed"), ran.stages("skipped")), (vec!["a".into()], vec!["c".into(), "d".into()]));
}

#[test]
fn a_file_edited_while_a_command_reads_it_gives_a_result_that_is_not_kept() {
    let project = Project::with(
        r#"
study = "race"
[stage.slow]
kind = "command"
program = "sh"
args = ["-c", "cat src.txt > out.txt; sleep 1"]
inputs = ["src.txt"]
outputs = ["out.txt"]
"#,
    );
    project.file("src.txt", "old\n");
    let child = project.start();
    std::thread::sleep(Duration::from_millis(500));
    project.file("src.txt", "new\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("was edited while"));
    project.run().succeeds().ran(&["slow"]);
    assert_eq!(project.read("out.txt"), "new\n");
}

#[test]
fn a_command_sees_its_inputs_and_its_environment_and_nothing_else() {
    let project = Project::with(
        r#"
study = "bare"
[stage.look]
kind = "command"
program = "sh"
args = ["-c", "ls > ls.txt; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort > env.txt; echo spoilt >> src.txt"]
env = { WHO = "thalweg" }
inputs = ["src.txt"]
outputs = ["ls.txt", "env.txt"]
"#,
    );
    project.file("src.txt", "mine\n").file("other.txt", "hidden\n");
    project.run().succeeds();
    assert_eq!(project.read("ls.txt"), "ls.txt\nsrc.txt\n");
    assert_eq!(project.read("env.txt"), "WHO=thalweg\n");
    assert_eq!(project.read("src.txt"), "mine\n", "inputs are copied, never linked");
}

#[test]
fn one_stage_can_be_asked_for_and_other_files_are_left_alone() {
    let project = Project::with(DIAMOND);
    project.file("one.txt", "one\n").file("two.txt", "two\n");
    project.run_with(&["a"]).succeeds().ran(&["a"]);
    assert!(!project.path("b.txt").exists());
    project.run_with(&["c"]).succeeds().ran(&["b", "c"]);
    project.run_with(&["nought"]).exits(2).says("no stage `nought`");
}

#[test]
fn plan_explain_graph_and_show_tell_what_is_there() {
    let project = diamond();
    project.call(&["plan", "study.toml"]).succeeds().says("4 stages, 4 fresh");
    project.edit("wc -c < c.txt", "wc -m < c.txt");
    let plan = project.call(&["plan", "study.toml"]);
    plan.succeeds().says("stage.d.args.1:").says("at study.toml:28:8");
    let json = project.call(&["plan", "study.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.succeeds().out).unwrap();
    assert_eq!(json["stages"][3]["state"], "stale");
    project.call(&["explain", "study.toml", "d"]).succeeds().says("d is stale").says("input from c.txt");
    project.call(&["explain", "study.toml", "--json"]).succeeds().says("\"ingredients\"");
    insta::assert_snapshot!(project.call(&["graph", "study.toml"]).succeeds().out, @r"
    a  command
    b  command
    c  command  ← a, b
    d  command  ← c
    ");
    project.call(&["graph", "study.toml", "--format", "dot"]).succeeds().says("n0 -> n2;");
    project.call(&["show", "study.toml", "c"]).succeeds().says("output   c.txt");
    assert_eq!(project.call(&["show", "study.toml", "a", "a.txt"]).succeeds().out, "ONE\n");
    project.call(&["show", "study.toml", "d"]).exits(2).says("not up to date");
}

#[test]
fn events_are_json_lines_in_order() {
    let project = Project::with(DIAMOND);
    project.file("one.txt", "one\n").file("two.txt", "two\n");
    let ran = project.run_with(&["--events", "jsonl"]);
    let events: Vec<serde_json::Value> =
        ran.succeeds().out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("run-started", "run-finished"));
    assert_eq!(names.iter().filter(|&&name| name == "action-finished").count(), 4);
    let place = |name: &str, stage: &str| {
        events.iter().position(|event| event["event"] == name && event["stage"] == stage).unwrap()
    };
    assert!(place("stage-finished", "a") < place("stage-started", "c"));
}

#[test]
fn the_cache_is_counted_checked_and_shrunk() {
    let project = diamond();
    project.call(&["cache", "stats"]).succeeds().says("action command");
    project.call(&["cache", "verify"]).succeeds().says("all whole");
    project.call(&["cache", "gc", "--dry-run"]).succeeds();
    assert_eq!(project.run().succeeds().actions(), 0, "gc removes nothing that is reached");
    project.call(&["cache", "gc", "--reached"]).succeeds().says("freed");
    assert_eq!(project.run().succeeds().actions(), 0, "a fresh stage needs no blob");
    project.call(&["cache", "gc", "--max-size", "lots"]).exits(2).says("lots");
}

#[test]
fn a_new_manifest_is_right_as_it_is() {
    let project = Project::new();
    project.call(&["new", "pipelines/mine.toml"]).succeeds().says("pipelines/mine.toml");
    project.call(&["check", "pipelines/mine.toml"]).succeeds();
    project.call(&["new", "pipelines/mine.toml"]).exits(2).says("there already");
}
