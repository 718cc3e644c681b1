//! A cache that two projects share: what one made the other finds, and neither believes what it has not verified.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::project::{Project, Ran};

/// Four commands, one below the other, each of which makes more than fits in a record.
const STUDY: &str = r#"
study = "shared"
[stage.a]
kind = "command"
program = "sh"
args = ["-c", "echo a >> $LOG; (echo a; head -c 3000 /dev/zero) > a.bin"]
env = { LOG = "LOGFILE" }
outputs = ["a.bin"]
[stage.b]
kind = "command"
program = "sh"
args = ["-c", "echo b >> $LOG; (echo b; cat a.bin) > b.bin"]
env = { LOG = "LOGFILE" }
from = "a"
outputs = ["b.bin"]
[stage.c]
kind = "command"
program = "sh"
args = ["-c", "echo c >> $LOG; wc -c < b.bin > c.txt"]
env = { LOG = "LOGFILE" }
from = "b"
outputs = ["c.txt"]
"#;

/// A folder that several projects share, and a log of the commands that ran for any of them.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path beside what is shared.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// A new project that uses it.
    pub fn project(&self) -> Project {
        let project = Project::with(&STUDY.replace("LOGFILE", &self.folder.path().join("log").display().to_string()));
        project.file("thalweg.toml", &format!("[cache]\nremote = \"file://{}\"\n", self.shared().display()));
        project
    }

    /// How many commands have run.
    pub fn commands(&self) -> usize {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default().lines().count()
    }

    pub fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut objects = BTreeMap::new();
        let mut open = vec![self.shared()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    objects.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        objects
    }
}

pub fn run_with_key(project: &Project, key: &str) -> Ran {
    let output = project.command(&["run", "study.toml"]).env("THALWEG_RECORD_KEY", key).output().unwrap();
    Ran::of(project, &output)
}

pub fn is_sort(path: &Path, sort: &str) -> bool {
    path.components().any(|part| part.as_os_str().to_str().is_some_and(|part| part.starts_with(sort)))
}

#[test]
fn what_one_project_made_another_finds_and_a_run_that_finds_all_here_asks_nobody() {
    let place = Place::new();
    let (first, second) = (place.project(), place.project());
    let ran = first.run();
    ran.succeeds().says("into the shared cache `file://");
    assert_eq!(place.commands(), 3);
    let ran = second.run();
    assert_eq!((ran.succeeds().stages("fresh").len(), place.commands()), (3, 3), "{}", ran.err);
    assert_eq!(first.results(), second.results());
    assert_eq!(first.files("a.bin"), second.files("a.bin"));
    // All is here now, so nobody misses the place.
    fs::remove_dir_all(place.shared()).unwrap();
    let again = second.run();
    assert!(!again.succeeds().err.contains("shared cache"), "{}", again.err);
}

#[test]
fn a_change_downstream_fetches_only_what_it_reads() {
    let place = Place::new();
    place.project().run().succeeds();
    let second = place.project();
    second.edit("wc -c", "wc -m");
    second.run().succeeds().ran(&["c"]);
    assert_eq!(place.commands(), 4);
    second.call(&["cache", "verify"]).succeeds();
}

#[test]
fn plan_and_show_see_what_is_shared_and_a_cache_that_may_not_be_written_stays_as_it_is() {
    let place = Place::new();
    place.project().run().succeeds();
    let second = place.project();
    second.call(&["plan", "study.toml"]).succeeds().says("3 fresh");
    let alone = place.project();
    alone.call(&["plan", "study.toml", "--remote", "none"]).succeeds().says("0 fresh");
    second.call(&["show", "study.toml", "c"]).succeeds().says("c.txt");
}

#[test]
fn when_what_is_made_goes_there_is_as_asked() {
    let place = Place::new();
    let first = place.project();
    first.run_with(&["--remote-write", "never"]).succeeds();
    assert_eq!(place.objects().len(), 0);
    first.call(&["cache", "push"]).succeeds().says("into the shared cache");
    let pushed: Vec<PathBuf> = place.objects().into_keys().collect();
    first.call(&["cache", "push"]).succeeds().says("has all that is here");
    for when in ["end", "background"] {
        let other = Place::new();
        other.project().run_with(&["--remote-write", when]).succeeds();
        assert_eq!(other.objects().len(), pushed.len(), "{when}");
    }
    place.project().run_with(&["--remote-write", "sometimes"]).exits(2).says("expected `never`, `end` or `background`");
}

#[test]
fn a_place_that_cannot_be_reached_is_a_warning_and_the_run_goes_on() {
    let place = Place::new();
    let project = place.project();
    project.file("in-the-way", "no folder");
    let address = format!("file://{}/below", project.path("in-the-way").display());
    let ran = project.run_with(&["--remote", &address]);
    ran.succeeds().says("cannot be used, so it is done without").says("thalweg cache push");
    assert_eq!((place.commands(), ran.err.matches("cannot be used, so").count()), (3, 1), "{}", ran.err);
    project.call(&["cache", "push", "--remote", &address]).exits(4);
    for (wrong, words) in
        [("cache", "is no address"), ("file://x", "begins with `/`"), ("s3://k:secret@b/p", "no bucket")]
    {
        let ran = project.run_with(&["--remote", wrong]);
        ran.exits(2).says(words);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
    project.file("thalweg.toml", "[cache]\nremot = \"file:///x\"\n");
    project.run().exits(2).says("remote").says("thalweg.toml");
}

#[test]
fn every_object_there_may_go_be_cut_or_change_and_the_results_stay_right() {
    let place = Place::new();
    let first = place.project();
    first.run().succeeds();
    let expected = first.files("b.bin");
    for (path, bytes) in place.objects() {
        let changes: [Option<Vec<u8>>; 4] = [
            None,
            Some(bytes[..bytes.len() / 2].to_vec()),
            Some(bytes.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == bytes.len() / 2)).collect()),
            Some([&bytes[..], b"more"].concat()),
        ];
        for change in changes {
            match &change {
                Some(changed) => fs::write(&path, changed).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let second = place.project();
            second.edit("wc -c", "wc -m");
            second.run().succeeds();
            assert_eq!(second.files("b.bin"), expected, "{path:?}");
            second.call(&["cache", "verify"]).succeeds();
            fs::write(&path, &bytes).unwrap();
        }
    }
}

#[test]
fn what_was_found_wrong_there_is_put_there_anew() {
    let place = Place::new();
    place.project().run().succeeds();
    let made_by_a = |(path, bytes): &(PathBuf, Vec<u8>)| is_sort(path, "blobs") && bytes.starts_with(b"a\n");
    let (path, bytes) = place.objects().into_iter().find(made_by_a).unwrap();
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    fs::write(&path, &wrong).unwrap();
    let second = place.project();
    second.edit("cat a.bin", "cat a.bin a.bin");
    second.run().succeeds().says("its bytes do not fit its digest").says("remade");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn with_a_secret_only_what_was_signed_with_it_is_believed() {
    let place = Place::new();
    run_with_key(&place.project(), "ours").succeeds();
    assert_eq!(place.commands(), 3);
    let (same, other, none) = (place.project(), place.project(), place.project());
    run_with_key(&same, "ours").succeeds();
    none.run().succeeds();
    assert_eq!(place.commands(), 3);
    run_with_key(&other, "theirs").succeeds();
    assert_eq!(place.commands(), 6);
    // Neither stands in the other's place.
    run_with_key(&place.project(), "ours").succeeds();
    run_with_key(&place.project(), "theirs").succeeds();
    assert_eq!(place.commands(), 6);
    for file in same.files("cache").into_iter().chain(same.results()) {
        assert!(!String::from_utf8_lossy(&file.1).contains("ours"), "{:?}", file.0);
    }
}

/// A record whose checksum and key are right and whose output is not: whoever may write there can make one.
#[test]
fn a_forged_record_is_believed_only_where_there_is_no_secret() {
    let place = Place::new();
    run_with_key(&place.project(), "ours").succeeds();
    let forge = |text: &str| {
        let (head, body) = text.split_once('\n').unwrap();
        let body = body.split("\nthalweg-signed").next().unwrap().trim_end();
        let mut record: serde_json::Value = serde_json::from_str(body).unwrap();
        let output = &mut record["outputs"]["c.txt"];
        if output.is_null() {
            return None;
        }
        let lie = "1 lie\n";
        *output = serde_json::json!({"digest": blake3::hash(lie.as_bytes()).to_hex().to_string(), "length": lie.len(), "inline": lie});
        let body = record.to_string();
        let format = head.rsplit_once(' ').unwrap().0;
        Some(format!("{format} {}\n{body}\n", blake3::hash(body.as_bytes()).to_hex()))
    };
    let mut forged = 0;
    for (path, bytes) in place.objects().into_iter().filter(|(path, _)| is_sort(path, "records")) {
        let text = String::from_utf8(bytes).unwrap();
        if let Some(lie) = forge(&text) {
            let signature = text.split_once("\nthalweg-signed").unwrap().1;
            fs::write(&path, format!("{lie}thalweg-signed{signature}")).unwrap();
            forged += 1;
        }
    }
    assert!(forged > 0);
    let (trusting, wary) = (place.project(), place.project());
    trusting.run().succeeds();
    assert_eq!(trusting.read("c.txt"), "1 lie\n");
    run_with_key(&wary, "ours").succeeds().says("its signature does not fit");
    assert_eq!(wary.read("c.txt").trim(), "3004");
    // What the wary one made stands there now.
    run_with_key(&place.project(), "ours").succeeds();
    assert_eq!(place.commands(), 4);
}

#[test]
fn everything_can_be_put_up_got_and_collected_by_hand() {
    let place = Place::new();
    let first = place.project();
    first.run().succeeds();
    let second = place.project();
    second.call(&["cache", "pull", "--records"]).succeeds().says("0 blobs");
    second.call(&["cache", "pull"]).succeeds().says("2 blobs");
    second.call(&["cache", "verify"]).succeeds().says("all whole");
    second.run_with(&["--remote", "none"]).succeeds();
    assert_eq!(place.commands(), 3);

    let before = place.objects();
    second.call(&["cache", "gc", "--grace", "0", "--remote"]).succeeds();
    assert_eq!(place.objects(), before, "everything is reached");
    // A study that no longer has its last stages reaches less.
    let manifest = first.read("study.toml");
    first.file("study.toml", manifest.split("[stage.b]").next().unwrap());
    first.run().succeeds();
    second.call(&["cache", "gc", "--grace", "0", "--remote", "--dry-run"]).succeeds().says("remove");
    assert_eq!(place.objects().len(), before.len());
    let address = format!("file://{}", place.shared().display());
    second.call(&["cache", "gc", "--grace", "0", "--remote", &address, "--max-size", "100MB"]).succeeds();
    assert_eq!(place.objects().len(), before.len());
    // What was put up within a day stays, with all that it names, however old that is.
    let old = |folder: &str| {
        let yesterday = SystemTime::now() - Duration::from_hours(25);
        for path in place.objects().keys().filter(|path| path.starts_with(place.shared().join(folder))) {
            File::options().write(true).open(path).unwrap().set_modified(yesterday).unwrap();
        }
    };
    second.call(&["cache", "gc", "--remote"]).succeeds().says("put there within 24 hours, and all that is named");
    old("blobs");
    second.call(&["cache", "gc", "--remote"]).succeeds();
    assert_eq!(place.objects().len(), before.len());
    old("records.1");
    second.call(&["cache", "gc", "--remote", "--grace", "100"]).succeeds();
    assert_eq!(place.objects().len(), before.len());
    second.call(&["cache", "gc", "--remote"]).succeeds().says("freed");
    assert!(place.objects().len() < before.len());
    second.call(&["cache", "gc", "--grace", "0"]).exits(2).says("--remote");
    place.project().run().succeeds();
    assert_eq!(place.commands(), 5);

    let (third, none) = (place.project(), Project::with(STUDY));
    fs::remove_dir_all(place.shared().join("roots.1")).unwrap();
    third.call(&["cache", "gc", "--grace", "0", "--remote"]).exits(2).says("no study says what it reaches");
    none.call(&["cache", "push"]).exits(2).says("no shared cache is set");
    none.call(&["cache", "gc", "--grace", "0", "--remote"]).exits(2).says("no shared cache is set");
}
