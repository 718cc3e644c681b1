//! Kills and interruptions at any moment, and runs at once: nothing that was finished is lost or made twice, and nobody unlocks anything.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Project, Ran, VALLEY, ten_stages};

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

/// The small study with fewer points and probes.
fn few() -> String {
    VALLEY.replace("every = 3", "every = 10").replace("probes = 16", "probes = 8")
}

/// A small study that has run twice, with other numbers, beside a cache that is shared: there is something to collect, to put up and to get.
struct Twice {
    project: Project,
    shared: String,
    results: Files,
    cache: Files,
}

impl Twice {
    fn new() -> Self {
        let project = Project::with(&few());
        project.run().succeeds();
        project.edit("lr = 0.1", "lr = 0.2").run().succeeds();
        let shared = format!("file://{}", project.path("shared").display());
        let (results, cache) = (project.results(), project.files("cache"));
        Self { project, shared, results, cache }
    }

    /// The project as it was, but for what is shared.
    fn restore(&self) -> &Project {
        fs::remove_dir_all(self.project.path("cache")).unwrap();
        self.cache.iter().for_each(|(path, bytes)| write(&self.project.path("").join(path), bytes));
        &self.project
    }

    /// The project, and nothing is shared any more.
    fn unshare(&self) -> &Project {
        let _ = fs::remove_dir_all(self.project.path("shared"));
        &self.project
    }

    /// Another project with the same study.
    fn beside(&self) -> Project {
        Project::with(&self.project.read("study.toml"))
    }

    /// The objects that are shared.
    fn objects(&self) -> Files {
        self.project.files("shared")
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Records, lists, roots, hints and blobs: what of a cache is not locks, and not what is being written.
fn kept(project: &Project) -> Files {
    let mut files = project.files("cache");
    files.retain(|path, bytes| !bytes.is_empty() && !path.starts_with("cache/tmp") && !path.ends_with("memo"));
    files
}

/// Kills a call outright after a moment; whether that came before its end.
fn kill_after(moment: Duration, project: &Project, words: &[&str]) -> bool {
    let mut child = project.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// How long a call takes that nobody disturbs, at its fastest, in a project made ready for it: what is killed within that is hardly ever over.
fn length_of<P: Borrow<Project>>(mut ready: impl FnMut() -> P, mut call: impl FnMut(&Project) -> Ran) -> Duration {
    let timed = |()| {
        let project = ready();
        let start = Instant::now();
        call(project.borrow()).succeeds();
        start.elapsed()
    };
    [(); 3].map(timed).into_iter().min().unwrap()
}

/// A moment of a call that takes so long.
fn moment(moments: &mut Moments, length: Duration) -> Duration {
    let microseconds = u64::try_from(length.as_micros()).unwrap();
    Duration::from_micros(moments.next(microseconds))
}

#[test]
fn a_collection_that_is_killed_at_any_moment_takes_nothing_that_is_reached_and_the_next_ends_it() {
    let (twice, mut moments) = (Twice::new(), Moments(seed()));
    let length = length_of(|| twice.restore(), |project| project.call(&["cache", "gc"]));
    let expected = kept(&twice.project);
    twice.restore();
    let whole = kept(&twice.project).len();
    assert!(expected.len() < whole);
    let (mut cut, mut partial) = (0, 0);
    for _ in 0..kills(6) {
        twice.restore();
        cut += u32::from(kill_after(moment(&mut moments, length), &twice.project, &["cache", "gc"]));
        let left = kept(&twice.project).len();
        partial += u32::from(left > expected.len() && left < whole);
        twice.project.call(&["cache", "verify"]).succeeds();
        assert_eq!(twice.project.run().succeeds().actions(), 0);
        twice.project.call(&["cache", "gc"]).succeeds();
        assert!(kept(&twice.project) == expected);
    }
    eprintln!("{cut} collections were killed, {partial} of them in the midst of removing");
}

#[test]
fn a_push_and_a_pull_that_are_killed_at_any_moment_leave_nothing_half_and_the_next_end_them() {
    let (twice, mut moments) = (Twice::new(), Moments(seed()));
    let push = ["cache", "push", "--remote", &twice.shared];
    let pull = ["cache", "pull", "--remote", &twice.shared];
    let pushing = length_of(|| twice.unshare(), |project| project.call(&push));
    let expected = twice.objects();
    let pulling = length_of(|| twice.beside(), |project| project.call(&pull));
    let other = twice.beside();
    other.call(&pull).succeeds();
    let pulled = kept(&other);
    let mut cut = [0; 2];
    for _ in 0..kills(6) {
        twice.unshare();
        cut[0] += u32::from(kill_after(moment(&mut moments, pushing), &twice.project, &push));
        // What is there is whole: whoever finds it, gets on with it.
        for (path, bytes) in twice.objects().iter().filter(|(path, _)| !is_draft(path)) {
            assert!(expected.get(path) == Some(bytes), "{}", path.display());
        }
        let user = twice.beside();
        let ran = user.run_with(&["--remote", &twice.shared, "--remote-write", "never"]);
        assert!(!ran.succeeds().err.contains("warning"), "{}", ran.err);
        assert!(user.results() == twice.results);
        twice.project.call(&push).succeeds();
        let mut objects = twice.objects();
        objects.retain(|path, _| !is_draft(path));
        assert!(objects == expected);

        let user = twice.beside();
        cut[1] += u32::from(kill_after(moment(&mut moments, pulling), &user, &pull));
        user.call(&["cache", "verify"]).succeeds();
        user.call(&pull).succeeds();
        assert!(kept(&user) == pulled);
    }
    eprintln!("{} pushes and {} pulls were killed", cut[0], cut[1]);
}

/// Whether an object is one that is only being written.
fn is_draft(path: &Path) -> bool {
    path.starts_with("shared/.partial")
}

#[test]
fn a_run_that_shares_and_is_killed_at_any_moment_shares_nothing_half_and_the_next_shares_the_rest() {
    let mut moments = Moments(seed());
    let address = |project: &Project| format!("file://{}", project.path("shared").display());
    let sharing = |project: &Project| project.run_with(&["--remote", &address(project)]);
    let length = length_of(|| Project::with(&few()), sharing);
    let undisturbed = Project::with(&few());
    sharing(&undisturbed).succeeds();
    // Each cache has a root of its own name.
    let names = |project: &Project| -> Vec<PathBuf> {
        let objects = project.files("shared").into_keys().filter(|path| !is_draft(path));
        objects
            .map(|path| if path.starts_with("shared/roots.1") { path.parent().unwrap().to_owned() } else { path })
            .collect()
    };
    let (expected, results) = (names(&undisturbed), undisturbed.results());
    let mut cut = 0;
    for _ in 0..kills(6) {
        let project = Project::with(&few());
        let address = address(&project);
        let words = ["run", "study.toml", "--remote", &address];
        cut += u32::from(kill_after(moment(&mut moments, length), &project, &words));
        let user = Project::with(&few());
        let ran = user.run_with(&["--remote", &address, "--remote-write", "never"]);
        assert!(!ran.succeeds().err.contains("warning"), "{}", ran.err);
        assert!(user.results() == results);
        sharing(&project).succeeds();
        project.call(&["cache", "push", "--remote", &address]).succeeds();
        assert!(project.results() == results);
        assert_eq!(names(&project), expected);
        project.call(&["cache", "verify"]).succeeds();
    }
    eprintln!("{cut} runs were killed");
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
