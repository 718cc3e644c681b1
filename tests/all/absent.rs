//! Bytes that are gone and that several actions have made: one of those that can still do it makes them again.

use std::fs;

use crate::project::Project;

/// The first study that `thalweg new` writes, smaller, with states that are below the target before their descent takes a step.
fn first_study() -> Project {
    let project = Project::new();
    project.call(&["new", "study.toml"]).succeeds();
    let smaller = [
        ("hidden = [64]", "hidden = [8]"),
        ("epochs = 20", "epochs = 4"),
        ("every = 5", "every = 1"),
        ("probes = 10", "probes = 3"),
        ("until_loss = 0.02", "until_loss = 0.5"),
    ];
    for (old, new) in smaller {
        project.edit(old, new);
    }
    project
}

#[test]
fn a_descent_that_took_no_step_is_not_taken_for_the_maker_of_its_state() {
    let (project, whole) = (first_study(), first_study());
    project.run().succeeds();
    whole.run().succeeds();
    for edit in [("probes = 3", "probes = 5"), ("epochs = 4", "epochs = 5"), ("until_loss = 0.5", "until_loss = 0.3")] {
        fs::remove_dir_all(project.path("cache/blobs")).unwrap();
        project.edit(edit.0, edit.1).run().succeeds().says("remade");
        whole.edit(edit.0, edit.1).run().succeeds();
        assert_eq!(project.results(), whole.results(), "{edit:?}");
    }
}

#[test]
fn a_state_whose_record_is_lost_too_is_made_again_by_running_its_stage_once_more() {
    let (project, whole) = (first_study(), first_study());
    project.run().succeeds();
    whole.run().succeeds();
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    let epochs = project.files("cache/records").into_iter().filter(|(_, bytes)| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.contains("\"level\":\"action\"") && text.contains("\"kind\":\"epoch\"")
    });
    let lost = epochs.map(|(path, _)| fs::remove_file(project.path(path.to_str().unwrap())).unwrap()).count();
    assert!(lost >= 4, "{lost} epochs");
    project.edit("probes = 3", "probes = 5").run().succeeds();
    whole.edit("probes = 3", "probes = 5").run().succeeds();
    assert_eq!(project.results(), whole.results());
}

/// `a` gives the number of bytes of a file, so that edits of it give the same; `b` reads that.
const COUNTED: &str = r#"
study = "counted"
[stage.a]
kind = "command"
program = "sh"
args = ["-c", "wc -c < x.txt > a; head -c 3000 /dev/zero >> a"]
inputs = ["x.txt"]
outputs = ["a"]
[stage.b]
kind = "command"
program = "sh"
args = ["-c", "wc -l < a > b"]
from = "a"
outputs = ["b"]
"#;

#[test]
fn an_edited_file_is_no_failure_while_another_action_makes_the_same_bytes() {
    for edited in ["5\n", "7\n", "9\n"] {
        let project = Project::with(COUNTED);
        project.file("x.txt", "1\n").run().succeeds();
        project.file("x.txt", edited).run().succeeds().ran(&["a"]);
        fs::remove_dir_all(project.path("cache/blobs")).unwrap();
        project.edit("wc -l", "wc -m").run().succeeds().ran(&["b"]).says("remade");
        assert_eq!(project.read("b").trim(), "3002");
    }
}

#[test]
fn a_maker_that_fails_now_is_no_failure_while_another_makes_the_same_bytes() {
    let project = Project::new();
    let flag = project.path("flag").display().to_string();
    // The first is the cheaper, and so the first to be tried.
    let script = format!("[ $N = 1 ] && [ -e {flag} ] && exit 9; [ $N = 1 ] || sleep 0.4; wc -c");
    let counted =
        COUNTED.replace("\"wc -c", &format!("\"{script}")).replace("inputs = [", "env = { N = \"1\" }\ninputs = [");
    project.file("study.toml", &counted).file("x.txt", "1\n").run().succeeds();
    project.edit("N = \"1\"", "N = \"2\"").run().succeeds().ran(&["a"]);
    project.file("flag", "");
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    project.edit("wc -l", "wc -m").run().succeeds().ran(&["b"]);
    assert_eq!(project.read("b").trim(), "3002");
}

#[test]
fn where_the_only_maker_read_a_file_that_was_edited_it_is_named() {
    let waiting = "[stage.wait]\nkind = \"command\"\nprogram = \"sleep\"\nargs = [\"1.5\"]\n[stage.b]";
    let project =
        Project::with(&COUNTED.replace("[stage.b]", waiting).replace("from = \"a\"", "from = [\"a\", \"wait\"]"));
    project.file("x.txt", "1\n").run_with(&["a"]).succeeds();
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    // `a` is found by its record at once; its file is edited before `b` asks for the bytes.
    let child = project.start();
    std::thread::sleep(std::time::Duration::from_millis(700));
    project.file("x.txt", "22\n");
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("x.txt` was edited: it is needed to make a lost result again"), "{words}");
}

#[test]
fn a_project_that_moved_and_a_second_clone_make_lost_bytes_again() {
    let project = Project::with(COUNTED);
    project.file("x.txt", "1\n").run().succeeds();
    let clone = Project::with(COUNTED);
    clone.file("x.txt", "1\n");
    let cache = project.path("cache").display().to_string();
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    let moved = project.path("elsewhere");
    fs::create_dir(&moved).unwrap();
    fs::rename(project.path("x.txt"), moved.join("x.txt")).unwrap();
    // The first project's file is where it is no more; the clone has its own, and the bytes.
    let ran = clone.run_with(&["--cache", &cache]);
    assert_eq!(ran.succeeds().actions(), 0);
    assert_eq!(clone.read("a").len(), 3002);
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    for name in ["study.toml", "cache", "results"] {
        fs::rename(project.path(name), moved.join(name)).unwrap();
    }
    let mut command = project.command(&["run", "study.toml"]);
    let output = command.current_dir(&moved).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(moved.join("a")).unwrap().len(), 3002);
}

#[test]
fn a_flipped_byte_is_found_by_the_run_that_reads_it() {
    let project = Project::with(COUNTED);
    project.file("x.txt", "1\n").run().succeeds();
    for (n, (path, mut bytes)) in project.files("cache/blobs").into_iter().enumerate() {
        let at = (n * 1237 + 1500) % bytes.len();
        bytes[at] ^= 0x10;
        fs::write(project.path(path.to_str().unwrap()), bytes).unwrap();
    }
    project.edit("wc -l", "wc -m");
    project.run().succeeds().ran(&["b"]).says("set aside").says("remade");
    assert_eq!(project.read("b").trim(), "3002");
    project.call(&["cache", "verify"]).succeeds().says("all whole");
    // A record that is damaged is a miss: its stage runs, and its actions are found.
    for (path, mut bytes) in project.files("cache/records") {
        let text = String::from_utf8_lossy(&bytes);
        if path.extension().is_none() && text.contains("\"level\":\"stage\"") {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(project.path(path.to_str().unwrap()), bytes).unwrap();
        }
    }
    let ran = project.run();
    ran.succeeds().ran(&["a", "b"]).says("damaged record");
    assert_eq!(ran.actions(), 0);
}
