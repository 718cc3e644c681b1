//! How a run ends: by which exit code, with what said, and that one thing which cannot be written takes nothing else with it.

use std::fs::{self, File};
use std::io::pipe;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kills::send;
use crate::project::{Project, Ran};
use crate::science::lab::TINY;

/// A stage that is a shell's script.
pub fn script(name: &str, script: &str, more: &str) -> String {
    format!("[stage.{name}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script:?}]\n{more}\n")
}

/// A project of such stages.
fn scripts(stages: &[String]) -> Project {
    Project::with(&format!("study = \"s\"\n{}", stages.concat()))
}

fn two_files() -> Project {
    scripts(&[
        script("x", "echo x > x.txt", "outputs = [\"x.txt\"]"),
        script("y", "echo y > y.txt", "outputs = [\"y.txt\"]"),
    ])
}

/// Waits until something is there.
fn wait_for(project: &Project, name: &str) {
    let since = Instant::now();
    while !project.path(name).exists() {
        assert!(since.elapsed() < Duration::from_secs(20), "waited in vain for {name}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_result_that_cannot_be_written_keeps_no_other_from_being_written() {
    let project = two_files();
    fs::create_dir(project.path("x.txt")).unwrap();
    let ran = project.run();
    ran.exits(4).says("error: failed to write `PROJECT/x.txt`: is a directory").ran(&["x", "y"]);
    assert_eq!(project.read("y.txt"), "y\n");
    assert!(!project.path(".x.txt.partial").exists());
    fs::remove_dir(project.path("x.txt")).unwrap();
    assert_eq!(project.run().succeeds().actions(), 0);
    assert_eq!(project.read("x.txt"), "x\n");
}

#[test]
fn a_results_folder_that_cannot_be_made_is_said_and_not_named_as_the_place_of_results() {
    let project = two_files();
    project.file("results", "in the way\n");
    let ran = project.run();
    ran.exits(4).says("error: failed to create folder `PROJECT/results/s`: not a directory");
    assert!(!ran.err.contains("results  "), "{}", ran.err);
    assert_eq!(project.read("x.txt") + &project.read("y.txt"), "x\ny\n");
}

#[test]
fn a_run_interrupted_while_it_restores_results_says_so_in_run_json() {
    let mark = "echo > $MARK; while [ -e $WAIT ]; do sleep 0.05; done; head -c 3000 /dev/zero > x.bin";
    let project = Project::new();
    let env = format!(
        "env = {{ MARK = {:?}, WAIT = {:?}, PATH = \"/usr/bin:/bin\" }}\noutputs = [\"x.bin\"]",
        project.path("mark"),
        project.path("wait")
    );
    project.file("study.toml", &format!("study = \"s\"\n{}", script("slow", mark, &env)));
    project.run().succeeds();
    for gone in ["x.bin", "mark"] {
        fs::remove_file(project.path(gone)).unwrap();
    }
    fs::remove_dir_all(project.path("cache/blobs")).unwrap();
    project.file("wait", "");
    let child = project.start();
    wait_for(&project, "mark");
    send("-INT", child.id());
    let ran = Ran::of(&project, &child.wait_with_output().unwrap());
    ran.exits(130);
    assert_eq!(ran.run()["interrupted"], true);
    fs::remove_file(project.path("wait")).unwrap();
    project.run().succeeds();
    assert_eq!(fs::read(project.path("x.bin")).unwrap(), vec![0; 3000]);
}

#[test]
fn the_exit_code_is_the_first_that_applies_of_130_4_1_3() {
    let fails = script("bad", "exit 1", "");
    // The minima lie between 0.29 and 0.3, so at 0.294 some lines are connected and some are not, and the claim fails.
    let claim = TINY.replace("threshold = 0.35", "threshold = 0.294\ndepth = 0") + "at_least = 1\n";
    let project = Project::with(&claim);
    project.run().exits(3);
    project.file("study.toml", &format!("{claim}{fails}"));
    project.run().exits(1).says("fails  claim");
    let table = project.path("results/tiny/connect.csv");
    fs::remove_file(&table).unwrap();
    fs::create_dir(&table).unwrap();
    project.run().exits(4).says("fails  claim");

    let waits = script("waits", "echo > $MARK; sleep 30", "env = { MARK = \"MARKED\", PATH = \"/usr/bin:/bin\" }");
    let project = two_files();
    let waits = waits.replace("MARKED", &project.path("mark").display().to_string());
    fs::create_dir(project.path("x.txt")).unwrap();
    project.file("study.toml", &format!("{}{fails}{waits}", project.read("study.toml")));
    let child = project.start();
    wait_for(&project, "mark");
    send("-INT", child.id());
    let ran = Ran::of(&project, &child.wait_with_output().unwrap());
    ran.exits(130).says("error: failed to write `PROJECT/x.txt`").says("exited with status 1");
    assert_eq!(ran.run()["interrupted"], true);
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let project = Project::new();
    let deaf = "trap '' TERM INT; echo > $MARK; while :; do sleep 0.05; done";
    let env = format!("env = {{ MARK = {:?}, PATH = \"/usr/bin:/bin\" }}", project.path("mark"));
    project.file("study.toml", &format!("study = \"s\"\n{}", script("deaf", deaf, &env)));
    let mut child = project.start();
    wait_for(&project, "mark");
    send("-INT", child.id());
    std::thread::sleep(Duration::from_millis(400));
    assert!(child.try_wait().unwrap().is_none(), "the first signal asks, and this command does not listen");
    let since = Instant::now();
    send("-INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
}

/// The exit code with a standard error that nobody reads, and with one that is full.
fn unheard(project: &Project, words: &[&str]) -> [Option<i32>; 2] {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    [Stdio::from(writer), Stdio::from(full)]
        .map(|stderr| project.command(words).stderr(stderr).status().unwrap().code())
}

#[test]
fn a_standard_error_that_takes_no_words_changes_no_exit_code() {
    let project = scripts(&[script("bad", "exit 1", ""), script("good", "true", "")]);
    assert_eq!(unheard(&project, &["run", "study.toml"]), [Some(1); 2]);
    assert_eq!(unheard(&project, &["run", "study.toml", "good"]), [Some(0); 2]);
    assert_eq!(unheard(&project, &["run", "nope.toml"]), [Some(2); 2]);
    assert_eq!(unheard(&project, &["check", "study.toml"]), [Some(0); 2]);
}

#[test]
fn events_that_cannot_be_written_are_a_failure_and_a_reader_that_goes_away_is_none() {
    let project = scripts(&[script("good", "true", "")]);
    let words = ["run", "study.toml", "--events", "jsonl"];
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = project.command(&words).stdout(full).stderr(Stdio::piped()).output().unwrap();
    Ran::of(&project, &output).exits(4).says("error: failed to write events: ");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    assert_eq!(project.command(&words).stdout(writer).status().unwrap().code(), Some(0));
}

#[test]
fn the_last_words_of_a_failed_command_are_short_and_cannot_steer_a_terminal() {
    let project = scripts(&[
        script("loud", "head -c 5000000 /dev/urandom | tr '\\n' ' '; exit 1", ""),
        script("red", "printf 'one\\n\\033[31mtwo\\n'; exit 1", ""),
    ]);
    let ran = project.run();
    ran.exits(1).says("one\n").says("\\u{1b}[31mtwo");
    assert!(ran.err.len() < 20_000 && !ran.err.contains('\u{1b}'), "{} bytes", ran.err.len());
    assert!(fs::metadata(project.path("results/s/run.json")).unwrap().len() < 20_000);
}

#[test]
fn no_number_of_jobs_is_refused() {
    two_files().run_with(&["--jobs", "0"]).exits(2).says("--jobs");
}

#[test]
fn run_json_counts_the_stages_that_ran_and_that_were_found() {
    let project = two_files();
    assert_eq!(project.run().succeeds().run()["actions"]["stage"], serde_json::json!({ "hit": 0, "ran": 2 }));
    assert_eq!(project.run().succeeds().run()["actions"]["stage"], serde_json::json!({ "hit": 2, "ran": 0 }));
}

/// A study whose command leaves a folder that nobody may write, as an ordinary user sees it.
#[test]
fn a_folder_that_may_not_be_written_is_swept_and_one_of_somebody_else_is_told() {
    let project = scripts(&[
        script("locks", "mkdir -p q/r; echo > q/r/f; chmod 555 q/r q; echo c > c", "outputs = [\"c\"]"),
        script("next", "sleep 0.3; ls > d", "outputs = [\"d\"]\nfrom = \"locks\""),
    ]);
    let Some(ran) = project.call_as_ordinary_user(&["run", "study.toml"]) else { return };
    ran.succeeds();
    assert_eq!(project.read("d"), "c\nd\n");
    assert_eq!(fs::read_dir(project.path("cache/tmp")).unwrap().count(), 0, "nothing of it is left");
    // What a killed run left there.
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let left = [1, 2].map(|number| format!("cache/tmp/{machine}-{number}-0"));
    let closed = format!("{}/q", left[0]);
    for folder in [&closed, &left[1]] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    project.file(&format!("{closed}/f"), "").file(&format!("{}/alive", left[1]), "");
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(project.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(&closed, 0o555);
    mode(&left[1], 0o700);
    let another = std::os::unix::fs::chown(project.path(&left[1]), Some(65534), None).is_ok();
    let ran = project.call_as_ordinary_user(&["run", "study.toml"]).unwrap();
    ran.succeeds();
    assert!(!project.path(&left[0]).exists());
    if another {
        ran.says(&left[1]).says("permission denied");
    }
}

#[test]
fn an_output_that_cannot_be_read_fails_its_stage_and_no_other() {
    let project = scripts(&[
        script("a", "echo > b; chmod 000 b", "outputs = [\"b\"]"),
        script("c", "sleep 0.5; echo c > c", "outputs = [\"c\"]"),
        script("d", "cp c d", "outputs = [\"d\"]\nfrom = \"c\""),
    ]);
    let Some(ran) = project.call_as_ordinary_user(&["run", "study.toml", "--jobs", "1"]) else { return };
    ran.exits(1).says("wrote its output `b` so that it cannot be read: permission denied").ran(&["c", "d"]);
}

#[test]
fn what_a_command_writes_has_the_permissions_of_any_new_file_whatever_its_length() {
    use std::os::unix::fs::PermissionsExt;
    let write = "echo small > small; head -c 3000 /dev/zero > large; cp small closed; cp large shut; \
                 chmod 755 small large; chmod 400 closed shut";
    let outputs = ["small", "large", "closed", "shut"];
    let project = scripts(&[script("a", write, &format!("outputs = {outputs:?}"))]);
    project.run().succeeds();
    let mode = |name: &str| fs::metadata(project.path(name)).unwrap().permissions().mode() & 0o777;
    let any = mode("study.toml");
    assert_eq!(outputs.map(mode), [any; 4]);
}

#[test]
fn commands_are_ended_when_their_guard_is_killed() {
    let project = scripts(&[script("kills", "setsid sleep 98763 & sleep 98763 & kill -KILL $PPID; sleep 98763", "")]);
    project.run().exits(4).says("the guard of commands is gone").says("was ended");
    let left = Command::new("pgrep").args(["-f", "^sleep 98763"]).output();
    if let Ok(left) = left {
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    }
}
