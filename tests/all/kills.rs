//! Kills and interruptions at any moment, and runs at once: nothing that was finished is lost or made twice, and nobody unlocks anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Project, VALLEY, ten_stages};

/// Sends a signal.
pub fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// How many kills: so many, unless `THALWEG_KILLS` says more.
pub fn kills(usual: u64) -> u64 {
    std::env::var("THALWEG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Where moments begin, which is printed.
pub fn seed() -> u64 {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    eprintln!("seed {seed}");
    seed
}

/// A small linear congruential generator: the moments are random, and can be had again from the printed seed.
pub struct Moments(pub u64);

impl Moments {
    /// A number below another.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn kill_nine_at_random_moments_loses_nothing_and_repeats_nothing() {
    let (kills, seed) = (kills(30), seed());
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

/// Every action that runs told as finished.
pub fn finished(events: &str) -> Vec<String> {
    let told = events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    told.filter(|event| event["event"] == "action-finished")
        .map(|event| event["key"].as_str().unwrap().to_owned())
        .collect()
}

/// Several runners at once on one cache, each killed outright at random moments and begun again, for so many seconds: `THALWEG_SOAK` makes it
/// longer. An action that was told as finished is finished, so it is told once by all of them together.
#[test]
fn runners_at_once_with_random_kills_make_no_action_twice_and_no_byte_wrong() {
    const RUNNERS: u64 = 8;
    let seconds = std::env::var("THALWEG_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let seed = seed();
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
