//! Every file of a small cache, damaged in every way that a disk has, and the study in surroundings of every kind: what comes of it is always
//! right, and nothing damaged is believed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::Project;

const STUDY: &str = r#"
study = "small"

[stage.a]
kind = "command"
program = "sh"
args = ["-c", "seq 1 400 > a.txt"]
outputs = ["a.txt"]

[stage.b]
kind = "command"
program = "sh"
args = ["-c", "grep -c 7 a.txt > b.txt; tr 1 2 < a.txt > c.txt"]
from = "a"
outputs = ["b.txt", "c.txt"]
"#;

/// The files of the cache that hold anything; locks are empty.
fn cached(project: &Project) -> Vec<PathBuf> {
    let files = project.files("cache").into_keys();
    files.filter(|path| fs::metadata(project.path(path.to_str().unwrap())).unwrap().len() > 0).collect()
}

/// What a file may have become, each with a word for it: gone, cut short, longer, or with one bit turned.
fn damages(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut all = vec![("removed".to_owned(), None)];
    let cuts = [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1];
    all.extend(cuts.map(|at| (format!("cut at {at}"), Some(bytes[..at].to_vec()))));
    all.push(("longer".to_owned(), Some([bytes, b"\n"].concat())));
    for at in (0..bytes.len()).step_by(bytes.len().div_ceil(12)) {
        let mut turned = bytes.to_vec();
        turned[at] ^= 1 << (at % 8);
        all.push((format!("byte {at}"), Some(turned)));
    }
    all
}

/// Puts a file in another state, and the results away, so that a run has to look at what it says.
fn put(project: &Project, path: &Path, bytes: Option<&[u8]>) {
    let place = project.path(path.to_str().unwrap());
    match bytes {
        Some(bytes) => fs::write(place, bytes).unwrap(),
        None => fs::remove_file(place).unwrap(),
    }
}

#[test]
fn every_file_of_a_small_cache_may_go_be_cut_or_change_and_the_results_stay_right() {
    let project = Project::with(STUDY);
    project.run().succeeds();
    let expected = ["a.txt", "b.txt", "c.txt"].map(|name| (name, fs::read(project.path(name)).unwrap()));
    let files = cached(&project);
    let of = |folder: &str| files.iter().filter(|path| path.starts_with(Path::new("cache").join(folder))).count();
    assert!(of("blobs") >= 2 && of("records") >= 4 && of("roots") == 1, "{files:?}");
    for path in files {
        let Ok(bytes) = fs::read(project.path(path.to_str().unwrap())) else { continue };
        for (word, damaged) in damages(&bytes) {
            put(&project, &path, damaged.as_deref());
            for (name, _) in &expected {
                let _ = fs::remove_file(project.path(name));
            }
            let ran = project.run();
            ran.succeeds();
            for (name, bytes) in &expected {
                let found = fs::read(project.path(name)).unwrap();
                assert!(found == *bytes, "{}, {word}: `{name}` differs", path.display());
            }
            // Whatever was not read is found by whoever reads all; what was made again is whole.
            project.call(&["cache", "verify"]);
            project.call(&["cache", "verify"]).succeeds();
            project.run().succeeds();
            if fs::read(project.path(path.to_str().unwrap())).is_ok_and(|now| now == bytes) {
                continue;
            }
            put(&project, &path, Some(&bytes));
        }
    }
}

/// Runs the study in a folder of this name with variables of the environment, and again; what it made.
fn somewhere(name: &[u8], environment: &[(&str, &str)], cache: Option<&Path>) -> Vec<Vec<u8>> {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join(OsStr::from_bytes(name));
    fs::create_dir_all(folder.join(".git")).unwrap();
    fs::write(folder.join("study.toml"), STUDY).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(["run", "study.toml"]).current_dir(&folder).envs(environment.iter().copied());
        command.args(cache.map(|cache| ["--cache".as_ref(), cache.as_os_str()]).into_iter().flatten());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", folder.display());
        said
    };
    run();
    let made = ["a.txt", "b.txt", "c.txt"].map(|name| fs::read(folder.join(name)).unwrap());
    // Files whose times lie a year ahead or behind are the same files.
    for (seconds, name) in [(-31_536_000i64, "a.txt"), (31_536_000, "b.txt")] {
        let now = std::time::SystemTime::now();
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { now - by } else { now + by };
        fs::File::options().write(true).open(folder.join(name)).unwrap().set_modified(time).unwrap();
    }
    let again = run();
    assert!(again.contains("all fresh"), "{again}");
    made.to_vec()
}

#[test]
fn neither_places_nor_times_nor_tongues_change_a_byte() {
    let expected = somewhere(b"plain", &[], None);
    for name in ["two words", "θ und ß", "a'b\"c$d`e", "-rf"] {
        assert!(somewhere(name.as_bytes(), &[], None) == expected, "{name}");
    }
    assert!(somewhere(b"not \xff text", &[], None) == expected);
    for environment in
        [("TZ", "Pacific/Kiritimati"), ("TZ", "nonsense"), ("LC_ALL", "de_DE.UTF-8"), ("LC_ALL", "tr_TR"), ("LANG", "")]
    {
        assert!(somewhere(b"plain", &[environment], None) == expected, "{environment:?}");
    }
    // A file system of its own, where there is one.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let elsewhere = tempfile::tempdir_in(memory).unwrap();
        assert!(somewhere(b"plain", &[], Some(&elsewhere.path().join("cache"))) == expected);
    }
}
