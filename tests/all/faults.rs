//! Damage, full disks, places that cannot be written: an error that says so, and all that was finished is kept.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::endings::script;
use crate::project::{Project, Ran, is_record, ten_stages};

#[test]
fn a_flipped_byte_in_any_blob_or_record_is_found_and_mended() {
    let undisturbed = Project::new();
    undisturbed.file("study.toml", &ten_stages(&undisturbed));
    undisturbed.run().succeeds();
    let expected = undisturbed.files("out");
    let cached: Vec<_> = undisturbed.files("cache").into_keys().collect();
    let targets: Vec<_> = cached.iter().filter(|path| path.starts_with("cache/blobs") || is_record(path)).collect();
    assert!(targets.len() >= 20, "{targets:?}");
    let step = (targets.len() / 6).max(1);
    for (n, target) in targets.iter().step_by(step).enumerate() {
        let path = undisturbed.path(target.to_str().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let at = (n * 7919) % bytes.len();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        // Every other one is left to whoever reads it.
        if n % 2 == 0 {
            undisturbed.call(&["cache", "verify"]).exits(4).says("set aside");
        }
        for i in 0..10 {
            let _ = fs::remove_file(undisturbed.path(&format!("out/s{i}.txt")));
        }
        undisturbed.run().succeeds();
        assert_eq!(undisturbed.files("out"), expected, "{target:?}");
    }
}

#[test]
fn two_results_on_one_arithmetic_are_an_error_that_keeps_both() {
    let project = Project::with(
        r#"
study = "dice"
[stage.a]
kind = "command"
program = "sh"
args = ["-c", "head -c 3000 /dev/urandom > a.bin"]
outputs = ["a.bin"]
[stage.b]
kind = "command"
program = "sh"
args = ["-c", "wc -c < a.bin > b.txt"]
from = "a"
outputs = ["b.txt"]
"#,
    );
    project.run().succeeds();
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    project.edit("wc -c", "wc -m");
    project.run().exits(4).says("gave other bytes for `a.bin` when it was run again on the same arithmetic");
    assert!(project.files("cache/records").keys().any(|path| path.display().to_string().contains("diverged")));
}

#[test]
fn a_folder_in_the_place_of_a_cached_file_is_set_aside() {
    let project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    project.run().succeeds();
    let expected = project.files("out");
    let cached = project.files("cache");
    for target in cached.keys().filter(|path| path.starts_with("cache/blobs") || is_record(path)).step_by(5) {
        let path = project.path(target.to_str().unwrap());
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("inside")).unwrap();
    }
    fs::remove_dir_all(project.path("out")).unwrap();
    project.run().succeeds().says("set aside");
    assert_eq!(project.files("out"), expected);
    assert_eq!(project.run().succeeds().actions(), 0);
}

/// A small disk in memory, as a folder of a project.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Of so much room and so many files; nothing on a machine that lets nobody have one.
    fn of(project: &Project, options: &str) -> Option<Self> {
        let path = project.path("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { path });
        }
        eprintln!("this machine mounts no tmpfs: a full disk is tested with the store's double alone");
        None
    }

    fn enlarge(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.path).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Runs a study with its cache on a disk that is too small, and again on it when it is large enough: the study ends as one that had room from
/// the beginning.
fn fills(small: &str, enough: &str) -> Option<Ran> {
    // Half of what they make fits, and each output is a blob.
    let study = |project: &Project| ten_stages(project).replace("2000", "400000");
    let project = Project::new();
    project.file("study.toml", &study(&project));
    let disk = SmallDisk::of(&project, small)?;
    let full = project.run_with(&["--cache", "disk/cache"]);
    disk.enlarge(enough);
    let then = project.run_with(&["--cache", "disk/cache"]);
    then.succeeds();
    assert!(!then.stages("fresh").is_empty(), "{}", then.err);
    project.call(&["cache", "verify", "--cache", "disk/cache"]).succeeds();
    let undisturbed = Project::new();
    undisturbed.file("study.toml", &study(&undisturbed));
    undisturbed.run().succeeds();
    let (made, right) = (project.files("out"), undisturbed.files("out"));
    assert_eq!(made.len(), 10);
    // Not compared as bytes: they are too many to be shown.
    let differing: Vec<_> =
        made.iter().filter(|(path, bytes)| right.get(*path) != Some(bytes)).map(|(path, _)| path).collect();
    assert!(differing.is_empty(), "{differing:?} were cut short on the full disk and kept");
    Some(full)
}

#[test]
fn a_full_disk_is_said_and_what_is_finished_is_kept() {
    if let Some(full) = fills("size=3m,nr_inodes=1000", "size=64m") {
        full.exits(4).says("no space left on device");
    }
}

#[test]
fn a_disk_without_a_free_inode_is_said_and_what_is_finished_is_kept() {
    if let Some(full) = fills("size=64m,nr_inodes=60", "nr_inodes=1000") {
        full.exits(4).says("no space left on device");
    }
}

#[test]
fn a_truncated_output_of_a_script_that_goes_on_is_not_kept_on_a_full_disk() {
    let project = Project::new();
    let stage = script(
        "a",
        "head -c 1900000 /dev/zero > big; head -c 600006 /dev/zero > cut; sleep 0.2; rm big",
        "outputs = [\"cut\"]",
    );
    project.file("study.toml", &format!("study = \"s\"\n{stage}"));
    let Some(disk) = SmallDisk::of(&project, "size=2m,nr_inodes=1000") else { return };
    let full = project.run_with(&["--cache", "disk/cache"]);
    disk.enlarge("size=8m");
    let then = project.run_with(&["--cache", "disk/cache"]);
    full.exits(4).says("`sh` had no space left on device").says("its result is not kept");
    then.succeeds().ran(&["a"]);
    assert_eq!(fs::metadata(project.path("cut")).unwrap().len(), 600_006);
}

#[test]
fn an_output_of_a_script_that_goes_on_beyond_its_quota_is_not_kept() {
    let project = Project::new();
    // What a program prints whose write came back with this error; there is room on the disk.
    let stage = script("a", "echo cut > cut; echo 'sh: write error: Disk quota exceeded' >&2", "outputs = [\"cut\"]");
    project.file("study.toml", &format!("study = \"s\"\n{stage}"));
    let words = "`sh` had no space left in its user's disk quota";
    project.run().exits(4).says(words).says("its result is not kept");
    assert!(!project.path("cut").exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_said() {
    let project = Project::with("study = \"x\"\n[stage.a]\nkind = \"command\"\nprogram = \"true\"\n");
    fs::remove_dir(project.path("cache")).unwrap();
    project.file("cache", "in the way\n").file(".git/HEAD", "");
    let ran = project.call(&["run", "study.toml", "--cache", "cache"]);
    ran.exits(4).says("cache");
}
