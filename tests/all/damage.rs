//! Every file of a small cache, damaged in every way that a disk has: what comes of the study is always right, and nothing damaged is believed.

use std::fs;
use std::path::{Path, PathBuf};

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
