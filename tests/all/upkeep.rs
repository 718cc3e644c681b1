//! Kills of what looks after a cache: collecting, putting up, getting, and runs that share; what is there stays whole, and the next call ends
//! what was begun.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::kills::{Moments, kills, seed};
use crate::project::{Project, Ran, VALLEY};

type Files = BTreeMap<PathBuf, Vec<u8>>;

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

/// A call may be over before its moment comes; so often it is tried until enough were killed.
fn tries(usual: u64) -> std::ops::Range<u64> {
    0..20 * kills(usual)
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
    for _ in tries(6) {
        if cut == kills(6) {
            break;
        }
        twice.restore();
        cut += u64::from(kill_after(moment(&mut moments, length), &twice.project, &["cache", "gc"]));
        let left = kept(&twice.project).len();
        partial += u32::from(left > expected.len() && left < whole);
        twice.project.call(&["cache", "verify"]).succeeds();
        assert_eq!(twice.project.run().succeeds().actions(), 0);
        twice.project.call(&["cache", "gc"]).succeeds();
        assert!(kept(&twice.project) == expected);
    }
    assert_eq!(cut, kills(6), "{partial} of them in the midst of removing");
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
    for _ in tries(6) {
        if cut.iter().all(|cut| *cut >= kills(6)) {
            break;
        }
        twice.unshare();
        cut[0] += u64::from(kill_after(moment(&mut moments, pushing), &twice.project, &push));
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
        cut[1] += u64::from(kill_after(moment(&mut moments, pulling), &user, &pull));
        user.call(&["cache", "verify"]).succeeds();
        user.call(&pull).succeeds();
        assert!(kept(&user) == pulled);
    }
    assert!(cut.iter().all(|cut| *cut >= kills(6)), "{} pushes and {} pulls were killed", cut[0], cut[1]);
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
    // Each cache has a root of its own name; a hint may be lost by a kill before it was written.
    let names = |project: &Project| -> Vec<PathBuf> {
        let objects = project.files("shared").into_keys();
        let objects = objects.filter(|path| !is_draft(path) && !path.starts_with("shared/hints.1"));
        objects
            .map(|path| if path.starts_with("shared/roots.1") { path.parent().unwrap().to_owned() } else { path })
            .collect()
    };
    let (expected, results) = (names(&undisturbed), undisturbed.results());
    let mut cut = 0;
    for _ in tries(6) {
        if cut == kills(6) {
            break;
        }
        let project = Project::with(&few());
        let address = address(&project);
        let words = ["run", "study.toml", "--remote", &address];
        cut += u64::from(kill_after(moment(&mut moments, length), &project, &words));
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
    assert_eq!(cut, kills(6));
}
