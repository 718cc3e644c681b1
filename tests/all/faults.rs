//! Kills, damage, full disks, two runs at once: nothing that was finished is lost, and nobody unlocks anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::endings::script;
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

/// Sends a signal.
pub fn send(signal: &str, pid: u32) {
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
fn kill_nine_at_random_moments_loses_nothing_and_repeats_nothing() {
    // Thirty, unless `THALWEG_KILLS` says more.
    let kills: u64 = std::env::var("THALWEG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    eprintln!("seed {seed}");
    let undisturbed = Project::new();
    undisturbed.file("study.toml", &ten_stages(&undisturbed));
    undisturbed.run().succeeds();
    let expected = (undisturbed.files("out"), undisturbed.results());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (mut moments, expected) = (Moments(seed + thread), &expected);
            scope.spawn(move || (0..kills / 3).for_each(|_| kill_once_and_run(moments.next(1100), expected)));
        }
    });
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A run killed outright at a moment, in milliseconds, and a run after it: it ends as one that nobody disturbed, and no stage that
/// had a record runs again.
fn kill_once_and_run(moment: u64, expected: &(Files, Files)) {
    let project = Project::new();
    project.file("study.toml", &ten_stages(&project));
    let events = fs::File::create(project.path("events")).unwrap();
    let mut command = project.command(&["run", "study.toml", "--events", "jsonl"]);
    let mut child = command.stdout(events).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(moment));
    child.kill().unwrap();
    child.wait().unwrap();
    let told = project.read("events");
    let told = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let recorded: Vec<String> = told
        .filter(|event| event["event"] == "stage-finished")
        .map(|event| event["stage"].as_str().unwrap().to_owned())
        .collect();
    let ran = project.run();
    ran.succeeds();
    assert_eq!((&project.files("out"), &project.results()), (&expected.0, &expected.1), "killed after {moment} ms");
    let log = project.read("log.txt");
    for stage in &recorded {
        assert!(!ran.stages("ran").contains(stage), "{stage} had a record after {moment} ms and ran again");
        assert_eq!(log.lines().filter(|line| line == stage).count(), 1, "{stage}, killed after {moment} ms");
    }
    // A record is written after its command noted that it ran, so a kill may cost one repetition of each stage that was running.
    let running = std::thread::available_parallelism().unwrap().get();
    let noted = log.lines().count();
    assert!((10..=10 + running).contains(&noted), "{noted} commands ran for ten stages and a kill");
    assert_eq!(project.run().succeeds().actions(), 0);
    project.call(&["cache", "verify"]).succeeds();
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

/// Every action of a small study, by how often it ran, as runs told it.
fn finished(events: &str) -> Vec<String> {
    let told = events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    told.filter(|event| event["event"] == "action-finished")
        .map(|event| event["key"].as_str().unwrap().to_owned())
        .collect()
}

/// A training, descents and probes of a network that is small enough for a run to take a second.
const VALLEY: &str = r#"
study = "valley"
[stage.data]
kind = "dataset"
source = "digits"
subset = 200
[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
lr = 0.1
batch = 50
epochs = 30
[stage.project]
kind = "gd-project"
from = "train"
every = 3
max_steps = 100
until_loss = 0.3
[stage.trace]
kind = "trace-estimate"
from = "project"
probes = 16
"#;

/// Several runners at once on one cache, each killed outright at random moments and begun again, for so many seconds: `THALWEG_SOAK` makes it
/// longer. An action that was told as finished is finished, so it is told once by all of them together.
#[test]
fn runners_at_once_with_random_kills_make_no_action_twice_and_no_byte_wrong() {
    const RUNNERS: u64 = 8;
    let seconds = std::env::var("THALWEG_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    eprintln!("seed {seed}, {seconds} s");
    let undisturbed = Project::with(VALLEY);
    undisturbed.run().succeeds();
    let expected = undisturbed.results();
    let start = Instant::now();
    let (mut rounds, mut kills) = (0, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let project = Project::with(VALLEY);
        let killed: usize = std::thread::scope(|scope| {
            let runners: Vec<_> = (0..RUNNERS)
                .map(|runner| {
                    let (project, mut moments) = (&project, Moments(seed + rounds * RUNNERS + runner));
                    scope.spawn(move || run_until_done(project, runner, &mut moments))
                })
                .collect();
            runners.into_iter().map(|runner| runner.join().unwrap()).sum()
        });
        kills += killed;
        rounds += 1;
        assert_eq!(project.results(), expected);
        let told: Vec<String> =
            (0..RUNNERS).flat_map(|runner| finished(&project.read(&format!("events-{runner}")))).collect();
        let mut once = told.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(told.len(), once.len(), "an action that was finished ran again");
        assert_eq!(project.run().succeeds().actions(), 0);
        project.call(&["cache", "verify"]).succeeds();
        let left = project.files("cache").into_keys().filter(|path| path.starts_with("cache/tmp")).count();
        assert_eq!(left, 0, "nothing is left of runs that were killed");
    }
    eprintln!("{rounds} rounds, {kills} kills");
}

/// Runs a study until a run comes to its end; how often one was killed before.
fn run_until_done(project: &Project, runner: u64, moments: &mut Moments) -> usize {
    for kills in 0.. {
        let events =
            fs::File::options().create(true).append(true).open(project.path(&format!("events-{runner}"))).unwrap();
        let mut command = project.command(&["run", "study.toml", "--jobs", "2", "--events", "jsonl"]);
        let mut child = command.stdout(events).stderr(Stdio::null()).spawn().unwrap();
        let moment = Duration::from_millis(moments.next(400));
        let begun = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            // After some kills it is let be, so that the round ends.
            if begun.elapsed() > moment && kills < 6 {
                break None;
            }
            assert!(begun.elapsed() < Duration::from_mins(2), "a runner waits for ever");
            std::thread::sleep(Duration::from_millis(5));
        };
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(0));
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    unreachable!("it was let be")
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

#[test]
fn a_truncated_output_of_a_script_that_goes_on_is_not_kept_on_a_full_disk() {
    let project = Project::new();
    let stage = script(
        "a",
        "head -c 1900000 /dev/zero > big; head -c 600006 /dev/zero > cut; sleep 0.2; rm big",
        "outputs = [\"cut\"]",
    );
    project.file("study.toml", &format!("study = \"s\"\n{stage}"));
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m,nr_inodes=1000", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return;
    }
    let full = project.run_with(&["--cache", "disk/cache"]);
    let enlarged = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&disk).status().unwrap().success();
    let then = project.run_with(&["--cache", "disk/cache"]);
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    full.exits(4).says("`sh` had no space left on device").says("its result is not kept");
    assert!(enlarged);
    then.succeeds().ran(&["a"]);
    assert_eq!(fs::metadata(project.path("cut")).unwrap().len(), 600_006);
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
    // Half of what they make fits.
    let large = |project: &Project| ten_stages(project).replace("2000", "400000");
    project.file("study.toml", &large(&project));
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m,nr_inodes=1000", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("this machine mounts no tmpfs: a full disk is tested with the store's double alone");
        return;
    }
    let full = project.run_with(&["--cache", "disk/cache"]);
    let enlarged = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk).status().unwrap().success();
    let then = project.run_with(&["--cache", "disk/cache"]);
    let made = project.files("out");
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    full.exits(4).says("no space left on device");
    assert!(enlarged);
    then.succeeds();
    assert!(!then.stages("fresh").is_empty(), "{}", then.err);
    let undisturbed = Project::new();
    undisturbed.file("study.toml", &large(&undisturbed));
    undisturbed.run().succeeds();
    let right = undisturbed.files("out");
    assert_eq!(made.len(), 10);
    // Not compared as bytes: they are too many to be shown.
    let differing: Vec<_> =
        made.iter().filter(|(path, bytes)| right.get(*path) != Some(bytes)).map(|(path, _)| path).collect();
    assert!(differing.is_empty(), "{differing:?} were cut short on the full disk and kept");
}
