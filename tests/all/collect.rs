//! Collecting the cache, reading it whole, and looking at one that may not be written: nothing reached goes without being asked, whatever is
//! damaged.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Project, Ran};

/// `a` makes a blob from a file, `b` reads it, `c` stands apart; `b`'s and `c`'s outputs are blobs too.
const STUDY: &str = r#"
study = "kept"
[stage.a]
kind = "command"
program = "sh"
args = ["-c", "(cat x.txt; head -c 3000 /dev/zero) > a"]
inputs = ["x.txt"]
outputs = ["a"]
[stage.b]
kind = "command"
program = "sh"
args = ["-c", "(wc -c < a; head -c 4000 /dev/zero) > b"]
from = "a"
outputs = ["b"]
[stage.c]
kind = "command"
program = "sh"
args = ["-c", "head -c 5000 /dev/zero > c"]
outputs = ["c"]
"#;

fn kept() -> Project {
    let project = Project::with(STUDY);
    project.file("x.txt", "one\n").run().succeeds();
    project
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Every blob and every record, but for what was set aside.
fn content(project: &Project) -> Vec<PathBuf> {
    let files = project.files("cache/blobs").into_keys().chain(project.files("cache/records").into_keys());
    files.collect()
}

fn gc(project: &Project, words: &[&str]) -> Ran {
    project.call(&[&["cache", "gc"], words].concat())
}

#[test]
fn a_damaged_root_keeps_gc_from_collecting_until_the_whole_study_has_run() {
    let project = kept();
    let before = content(&project);
    let root = project.path("cache/roots/kept/small.json");
    let length = fs::read(&root).unwrap().len();
    flip(&root, length - 20);
    // The second finds the damage set aside already, and knows no more than the first.
    gc(&project, &[])
        .exits(4)
        .says("damaged root")
        .says("cache/roots/kept/small.json")
        .says("run of that study as a whole");
    gc(&project, &["--reached"]).exits(4).says("cache/roots/kept/small.json");
    assert_eq!(content(&project), before);
    project.run_with(&["a"]).succeeds();
    gc(&project, &[]).exits(4).says("is not known");
    assert_eq!(project.run().succeeds().actions(), 0);
    gc(&project, &[]).succeeds();
    assert_eq!(content(&project), before);
    assert_eq!(project.run().succeeds().actions(), 0);
}

#[test]
fn a_damaged_or_missing_list_and_a_damaged_stage_record_keep_gc_from_collecting_until_a_run() {
    let damages: [fn(&Path); 3] = [
        |record| flip(&record.with_extension("list"), 90),
        |record| fs::remove_file(record.with_extension("list")).unwrap(),
        |record| flip(record, 200),
    ];
    for damage in damages {
        let project = kept();
        let before = content(&project);
        let list = before.iter().find(|path| path.extension().is_some_and(|end| end == "list")).unwrap();
        damage(&project.path(list.with_extension("").to_str().unwrap()));
        for _ in 0..2 {
            gc(&project, &["--reached"]).exits(4).says("there is no whole record of its stage").says("is not known");
        }
        let ran = project.run();
        assert_eq!((ran.succeeds().actions(), ran.stages("ran").len()), (0, 1), "{}", ran.err);
        gc(&project, &[]).succeeds();
        assert_eq!(content(&project), before);
    }
}

#[test]
fn verify_names_damaged_roots_lists_and_hints() {
    let project = kept();
    let list = content(&project).into_iter().find(|path| path.extension().is_some_and(|end| end == "list")).unwrap();
    project.file(&format!("cache/hints/ab/{}", "ab".repeat(32)), "thalweg-hints 1 of no use\n[]\n");
    flip(&project.path("cache/roots/kept/small.json"), 30);
    flip(&project.path(list.to_str().unwrap()), 90);
    let verified = project.call(&["cache", "verify"]);
    verified.exits(4).says("4 files damaged and set aside").says("damaged hints").says("damaged root");
    verified.says("damaged list of a stage's actions").says("the list of this stage's actions is damaged");
    assert_eq!(project.files("cache/quarantine").len(), 4);
    project.call(&["cache", "verify"]).succeeds().says("all whole");
    gc(&project, &[]).exits(4).says("is not known");
    assert_eq!(project.run().succeeds().actions(), 0);
    gc(&project, &[]).succeeds();
    project.call(&["cache", "verify"]).succeeds();
}

#[test]
fn without_any_root_everything_goes_only_when_asked() {
    let project = kept();
    let before = content(&project);
    fs::remove_dir_all(project.path("cache/roots")).unwrap();
    gc(&project, &["--dry-run"]).succeeds().says("remove");
    gc(&project, &[]).exits(2).says("no study says what it reaches").says("--all");
    assert_eq!(content(&project), before);
    gc(&project, &["--all"]).succeeds().says("freed");
    assert_eq!(content(&project), Vec::<PathBuf>::new());
    gc(&project, &[]).succeeds();
}

#[test]
fn what_gc_is_asked_for_is_checked_and_answered_in_whole_lines() {
    let project = kept();
    gc(&project, &["--reached", "--keep", "comand"]).exits(2).says("no kind `comand`").says("command");
    let kept = gc(&project, &["--max-size", "0B", "--reached", "--keep", "command"]);
    kept.succeeds().says("; the limit cannot be met: the rest is what");
    assert!(!kept.out.contains("--reached"), "{}", kept.out);
    let short = gc(&project, &["--max-size", "0B", "--dry-run"]);
    assert!(short.succeeds().out.lines().all(|line| !line.starts_with(';')), "{}", short.out);
    short.says("; the limit cannot be met without `--reached`");
}

#[test]
fn gc_waits_for_a_run_that_goes_on_and_takes_nothing_from_it() {
    let project = kept();
    project.edit("(wc -c < a;", "sleep 1.5; (wc -c < a;").edit("head -c 5000", "sleep 1.5; head -c 5001");
    let run = project.start();
    std::thread::sleep(Duration::from_millis(500));
    gc(&project, &["--max-size", "0B"]).succeeds().says("a run uses the cache; waiting for it").says("from");
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(project.run().succeeds().actions(), 0);
    project.edit("(wc -c < a;", "(wc -m < a;").run().succeeds().ran(&["b"]);
}

#[test]
fn whoever_waits_for_gc_says_so_and_hears_an_interruption() {
    let project = kept();
    let lock = File::open(project.path("cache/locks/gc")).unwrap();
    lock.lock().unwrap();
    let run = project.start();
    std::thread::sleep(Duration::from_millis(400));
    let start = Instant::now();
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is being collected; waiting for that"));
    for words in [&["plan", "study.toml"][..], &["show", "study.toml", "a"], &["cache", "stats"], &["cache", "verify"]]
    {
        let mut command = project.command(words);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        lock.unlock().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is being collected; waiting for that"), "{words:?}: {said}");
        lock.lock().unwrap();
    }
}

/// Gives or takes the right to write below a folder.
fn writable(folder: &Path, may: bool) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            writable(&path, may);
        } else {
            fs::set_permissions(&path, PermissionsExt::from_mode(if may { 0o644 } else { 0o444 })).unwrap();
        }
    }
    fs::set_permissions(folder, PermissionsExt::from_mode(if may { 0o755 } else { 0o555 })).unwrap();
}

#[test]
fn a_cache_that_may_not_be_written_can_be_looked_at() {
    let project = kept();
    let before = project.files("cache");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    writable(&project.path("cache"), false);
    fs::set_permissions(project.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let look = |words: &[&str]| {
        let mut command = project.command(words);
        if is_root {
            // Rights bind everybody but root; the program is read through a copy, since not everybody may look into its folder.
            let program = project.path("thalweg");
            if !program.exists() {
                fs::copy(env!("CARGO_BIN_EXE_thalweg"), &program).unwrap();
            }
            let directory = project.path("");
            command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).args(words);
            command.current_dir(directory).stdin(Stdio::null());
        }
        command.output().map(|output| Ran::of(&project, &output))
    };
    if look(&["--version"]).map_or(true, |ran| ran.code != Some(0)) {
        writable(&project.path("cache"), true);
        eprintln!(
            "this machine lets root not become another user: a read-only cache is tested with the store's double alone"
        );
        return;
    }
    let look = |words: &[&str]| look(words).unwrap();
    look(&["plan", "study.toml"]).succeeds().says("3 fresh");
    look(&["explain", "study.toml", "b"]).succeeds().says("b is fresh");
    look(&["show", "study.toml", "b"]).succeeds().says("output   b");
    look(&["cache", "stats"]).succeeds().says("action command");
    look(&["cache", "verify"]).succeeds().says("all whole");
    look(&["run", "study.toml"]).exits(4).says("cannot be written");
    look(&["cache", "gc"]).exits(4).says("cannot be written");
    assert_eq!(project.files("cache"), before);
    let blob = project.files("cache/blobs").into_keys().next().unwrap();
    let blob = project.path(blob.to_str().unwrap());
    fs::set_permissions(&blob, PermissionsExt::from_mode(0o644)).unwrap();
    flip(&blob, 99);
    look(&["cache", "verify"]).exits(4).says("1 file damaged, and left there");
    assert!(blob.exists());
    writable(&project.path("cache"), true);
}
