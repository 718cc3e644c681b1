//! Kills, damage, full disks, two runs at once: nothing that was finished is lost, and nobody unlocks anything.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::project::{Project, is_record};

/// Ten short stages, each of which notes that it ran in a log outside its scratch folder.
fn ten_stages(project: &Project) -> String {
    let log = project.path("log.txt").display().to_string();
    let mut manifest = "study = \"ten\"\n".to_owned();
    for i in 0..10 {
        let from = if i > 1 { format!("from = \"s{}\"\n", i - 2) } else { String::new() };
        let output = format!("out/s{i}.txt");
        let script = format!(
            "sleep 0.2; cat out/* 2>/dev/null | wc -c > n; (cat n; head -c 2000 /dev/zero) > {output}; echo s{i} >> {log}"
        );
        writeln!(
            manifest,
            "[stage.s{i}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script:?}]\n{from}outputs = [{output:?}]"
        )
        .unwrap();
    }
    manifest
}

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// A small linear congruential generator: the moments are random, and can be had again from the printed seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn kill_nine_at_thirty_moments_loses_nothing_and_repeats_nothing() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    eprintln!("seed {seed}");
    let mut moments = Moments(seed);
    let undisturbed = Project::new();
    undisturbed.file("study.toml", &ten_stages(&undisturbed));
    undisturbed.run().succeeds();
    let expected = undisturbed.files("out");
    let mut project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    for kill in 0..30 {
        let mut child = project.start();
        std::thread::sleep(Duration::from_millis(moments.next(700)));
        child.kill().unwrap();
        child.wait().unwrap();
        if kill % 5 == 4 {
            project.run().succeeds();
            assert_eq!(project.files("out"), expected, "after kill {kill}");
            assert_eq!(project.run().succeeds().actions(), 0);
            project.call(&["cache", "verify"]).succeeds();
            // A record is written after its command noted that it ran, so a kill may cost one repetition of each stage that was running.
            let running = std::thread::available_parallelism().unwrap().get();
            let noted = project.read("log.txt").lines().count();
            assert!(noted <= 10 + 5 * running, "{noted} commands ran for ten stages and five kills");
            project = Project::new();
            project.file("study.toml", &ten_stages(&project));
        }
    }
}

#[test]
fn a_finished_action_never_runs_twice_however_the_run_is_killed() {
    let project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    let mut finished: Vec<String> = Vec::new();
    for _ in 0..6 {
        let mut child = project.start();
        std::thread::sleep(Duration::from_millis(450));
        child.kill().unwrap();
        child.wait().unwrap();
        let ran = project.call(&["plan", "study.toml", "--json"]);
        let plan: serde_json::Value = serde_json::from_str(&ran.succeeds().out).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        let fresh = stages.iter().filter(|stage| stage["state"] == "fresh");
        for stage in fresh.map(|stage| stage["stage"].as_str().unwrap().to_owned()) {
            if !finished.contains(&stage) {
                finished.push(stage);
            }
        }
    }
    let before = project.read("log.txt");
    project.run().succeeds();
    let after = project.read("log.txt");
    for stage in &finished {
        let count = |log: &str| log.lines().filter(|line| line == stage).count();
        assert_eq!(count(&after), count(&before), "{stage} was finished and ran again");
    }
}

#[test]
fn no_process_is_left_behind_by_a_killed_run() {
    let project = Project::with(
        "study = \"long\"\n[stage.long]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", \"sleep 98761 & sleep 98761\"]\n",
    );
    let mut child = project.start();
    let sleepers = || {
        let of = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.ok()?.path().join("cmdline")).ok();
        fs::read_dir("/proc").unwrap().filter_map(of).filter(|line| line.starts_with(b"sleep\098761")).count()
    };
    let start = Instant::now();
    while sleepers() == 0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sleepers() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while sleepers() > 0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sleepers(), 0);
}

#[test]
fn an_interruption_stops_within_two_seconds_and_keeps_what_is_finished() {
    for signal in ["-INT", "-TERM"] {
        let project = Project::new();
        project.file("study.toml", &ten_stages(&project));
        let child = project.start();
        std::thread::sleep(Duration::from_millis(700));
        let start = Instant::now();
        send(signal, child.id());
        let output = child.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let ran = project.run();
        ran.succeeds();
        assert!(!ran.stages("fresh").is_empty() && !ran.stages("ran").is_empty());
    }
}

#[test]
fn two_runs_at_once_share_the_work() {
    let project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    let (one, two) = (project.start(), project.start());
    for child in [one, two] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let log = project.read("log.txt");
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!((lines.len(), log.lines().count()), (10, 10));
}

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
        undisturbed.call(&["cache", "verify"]).exits(4).says("set aside");
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
fn a_cache_that_cannot_be_written_is_said() {
    let project = Project::with("study = \"x\"\n[stage.a]\nkind = \"command\"\nprogram = \"true\"\n");
    fs::remove_dir(project.path("cache")).unwrap();
    project.file("cache", "in the way\n").file(".git/HEAD", "");
    let ran = project.call(&["run", "study.toml", "--cache", "cache"]);
    ran.exits(4).says("cache");
}

#[test]
fn a_full_disk_is_said_and_what_is_finished_is_kept() {
    let project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=1000", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("this machine mounts no tmpfs: a full disk is tested with the store's double alone");
        return;
    }
    let full = project.run_with(&["--cache", "disk/cache"]);
    let enlarged = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&disk).status().unwrap().success();
    let then = project.run_with(&["--cache", "disk/cache"]);
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    full.exits(4).says("no space left on device");
    assert!(enlarged);
    then.succeeds();
    assert!(!then.stages("fresh").is_empty(), "{}", then.err);
}
