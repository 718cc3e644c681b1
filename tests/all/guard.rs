//! The guard of commands, through the binary: what it starts, and that nothing of it is left.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thalweg::execute::guard::{CommandSpec, Exit, Guard, GuardError};

const GUARD: &str = env!("CARGO_BIN_EXE_thalweg");

fn start() -> Guard {
    Guard::start(Path::new(GUARD)).unwrap()
}

fn command(program: &str, args: &[&str], directory: &Path) -> CommandSpec {
    CommandSpec {
        program: program.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        directory: directory.to_owned(),
        stdout: directory.join("out"),
        stderr: directory.join("err"),
    }
}

fn shell(script: &str, directory: &Path) -> CommandSpec {
    command("sh", &["-c", script], directory)
}

fn run(guard: &Guard, spec: &CommandSpec) -> Result<Exit, GuardError> {
    guard.run(spec, &|| false)
}

/// Waits for what another program is to bring about.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The numbers of programs that a file names, one a line; none until all `count` are there.
fn numbers(path: &Path, count: usize) -> Option<Vec<u32>> {
    let text = fs::read_to_string(path).ok()?;
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    (numbers.len() == count && text.ends_with('\n')).then_some(numbers)
}

fn lives(number: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn an_exit_status_is_told_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    for status in [0, 1, 7, 255] {
        let spec = shell(&format!("exit {status}"), directory.path());
        assert_eq!(run(&guard, &spec), Ok(Exit::Code(status)));
    }
}

#[test]
fn the_signal_that_ended_a_command_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    for (name, number) in [("TERM", 15), ("INT", 2), ("KILL", 9), ("PIPE", 13)] {
        let spec = shell(&format!("kill -{name} $$; exit 3"), directory.path());
        assert_eq!(run(&guard, &spec), Ok(Exit::Signal(number)), "{name}");
    }
}

#[test]
fn output_is_kept_in_the_files_named_or_in_one_file_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    let mut spec = shell("pwd; echo wrong >&2; echo right", directory.path());
    run(&guard, &spec).unwrap();
    let within = directory.path().canonicalize().unwrap();
    assert_eq!(fs::read_to_string(&spec.stdout).unwrap(), format!("{}\nright\n", within.display()));
    assert_eq!(fs::read_to_string(&spec.stderr).unwrap(), "wrong\n");
    spec.args[1] = "echo 1; echo 2 >&2; echo 3".to_owned();
    spec.stderr = spec.stdout.clone();
    run(&guard, &spec).unwrap();
    assert_eq!(fs::read_to_string(&spec.stdout).unwrap(), "1\n2\n3\n");
}

#[test]
fn the_environment_is_what_was_named_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    let mut spec = command("env", &[], directory.path());
    spec.env.clear();
    run(&guard, &spec).unwrap();
    assert_eq!(fs::read_to_string(&spec.stdout).unwrap(), "");
    spec.env = BTreeMap::from([("A".to_owned(), "1 = \"one\"".to_owned()), ("ÖL".to_owned(), String::new())]);
    run(&guard, &spec).unwrap();
    assert_eq!(fs::read_to_string(&spec.stdout).unwrap(), "A=1 = \"one\"\nÖL=\n");
}

#[test]
fn what_cannot_be_started_is_named_with_the_systems_words() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    let problem = |spec: &CommandSpec| run(&guard, spec).unwrap_err().to_string();
    let spec = command("no-such-program", &[], directory.path());
    assert_eq!(problem(&spec), "failed to start `no-such-program`: No such file or directory (os error 2)");
    let spec = command("./out", &[], directory.path());
    assert_eq!(problem(&spec), "failed to start `./out`: Permission denied (os error 13)");
    let absent = directory.path().join("absent");
    let mut spec = command("true", &[], &absent);
    let expected = format!("failed to enter `{}`: No such file or directory (os error 2)", absent.display());
    assert_eq!(problem(&spec), expected);
    spec.directory = directory.path().to_owned();
    let expected = format!("failed to make `{}`: No such file or directory (os error 2)", spec.stdout.display());
    assert_eq!(problem(&spec), expected);
    assert_eq!(run(&guard, &command("true", &[], directory.path())), Ok(Exit::Code(0)), "it goes on afterwards");
}

#[test]
fn cancelling_ends_grandchildren_too_and_other_commands_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let guard = start();
    std::thread::scope(|scope| {
        let script = "setsid sh -c 'echo $$ > far; exec sleep 2' & sleep 1.5; cat far";
        let undisturbed = scope.spawn(|| run(&guard, &shell(script, other.path())));
        let numbers_of = || numbers(&directory.path().join("out"), 4);
        let script =
            "echo $$; sleep 100 & echo $!; (sleep 100 & echo $!); setsid sh -c 'echo $$; exec sleep 100' & wait";
        let since = Instant::now();
        let ended = guard.run(&shell(script, directory.path()), &|| numbers_of().is_some());
        assert_eq!(ended, Err(GuardError::Interrupted));
        assert!(since.elapsed() < Duration::from_millis(1400), "no grace is needed: {:?}", since.elapsed());
        for number in numbers_of().unwrap() {
            assert!(!lives(number), "{number} is left");
        }
        assert_eq!(undisturbed.join().unwrap(), Ok(Exit::Code(0)));
        assert!(numbers(&other.path().join("out"), 1).is_some());
    });
}

#[test]
fn a_command_that_does_not_listen_is_killed_within_two_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    let script = "trap 'echo asked' TERM; echo $$; while :; do sleep 0.05; done";
    let out = directory.path().join("out");
    let since = Instant::now();
    let is_trapped = || fs::read_to_string(&out).is_ok_and(|text| !text.is_empty());
    assert_eq!(guard.run(&shell(script, directory.path()), &is_trapped), Err(GuardError::Interrupted));
    assert!((1400..2500).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("asked"), "it was asked first");
    assert!(!lives(text.lines().next().unwrap().parse().unwrap()));
}

#[test]
fn a_daemon_is_ended_when_its_command_ends() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    // Twice forked, in a session of its own, deaf to SIGTERM, in another directory, with all files closed: a daemon.
    let daemon = "cd /; trap '' TERM HUP; while :; do sleep 0.05; done";
    let script = format!(
        "(setsid sh -c \"echo \\$\\$ > $PWD/daemon; {daemon}\" <&- >&- 2>&- &); \
                          while ! [ -s daemon ]; do sleep 0.01; done; exit 4"
    );
    assert_eq!(run(&guard, &shell(&script, directory.path())), Ok(Exit::Code(4)));
    let daemon = numbers(&directory.path().join("daemon"), 1).unwrap()[0];
    assert!(!lives(daemon));
}

#[test]
fn a_thousand_commands_in_sequence_and_many_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    let spec = command("/bin/true", &[], directory.path());
    for _ in 0..1000 {
        assert_eq!(run(&guard, &spec), Ok(Exit::Code(0)));
    }
    std::thread::scope(|scope| {
        for status in 0..40 {
            let (guard, directory) = (&guard, directory.path());
            scope.spawn(move || {
                let mut spec = shell(&format!("sleep 0.2; echo {status}; exit {status}"), directory);
                spec.stdout = directory.join(format!("out{status}"));
                assert_eq!(run(guard, &spec), Ok(Exit::Code(status)));
                assert_eq!(fs::read_to_string(&spec.stdout).unwrap(), format!("{status}\n"));
            });
        }
    });
}

#[test]
fn a_guard_that_dies_is_named_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let guard = start();
    // The shell's parent is the guard.
    let script = "trap '' TERM; echo $$; sleep 100 & echo $!; (setsid sh -c 'echo $$; exec sleep 100' &); sleep 0.3; \
                  kill -KILL $PPID; while :; do sleep 0.05; done";
    let spec = shell(script, directory.path());
    let gone = run(&guard, &spec).unwrap_err();
    assert_eq!(gone.to_string(), "the guard of commands is gone (signal: 9 (SIGKILL)): `sh` was ended");
    for number in numbers(&directory.path().join("out"), 3).unwrap() {
        assert!(!lives(number), "{number} is left");
    }
    assert!(matches!(run(&guard, &spec), Err(GuardError::Gone { .. })));
}

#[test]
fn a_program_that_is_no_guard_is_told_from_one() {
    let problem = Guard::start(Path::new("/bin/echo")).unwrap_err().to_string();
    assert_eq!(problem, "`/bin/echo` is no guard of commands: it does not answer as a guard does");
    assert!(Guard::start(Path::new("/no/such/program")).is_err());
}

#[test]
fn closing_the_pipe_while_a_command_runs_ends_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let mut guard = Command::new(GUARD).arg("__guard").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let spec = shell("trap '' TERM; echo $$; sleep 100 & wait", directory.path());
    let request = serde_json::json!({ "Run": { "id": 0, "spec": spec } });
    let mut requests = guard.stdin.take().unwrap();
    writeln!(requests, "{request}").unwrap();
    let numbers_of = || numbers(&directory.path().join("out"), 1);
    wait_until("the command runs", || numbers_of().is_some());
    drop(requests);
    assert!(guard.wait().unwrap().success());
    assert!(!lives(numbers_of().unwrap()[0]), "nothing is left when the guard is through");
}

const OWNED: &str = "THALWEG_TEST_OWNER_DIRECTORY";

/// Not a test: the runner that the next test kills.
#[test]
#[ignore = "run by `a_runner_killed_outright_leaves_nothing_behind`"]
fn owner() {
    let Some(directory) = std::env::var_os(OWNED) else { return };
    let script =
        "trap '' TERM HUP INT; echo $$; echo $PPID; sleep 100 & echo $!; setsid sh -c 'echo $$; exec sleep 100' & wait";
    let ended = run(&start(), &shell(script, Path::new(&directory)));
    unreachable!("the command outlived its runner: {ended:?}");
}

#[test]
fn a_runner_killed_outright_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--exact", "guard::owner", "--ignored"]).env(OWNED, directory.path());
    let mut owner = owner.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let numbers_of = || numbers(&directory.path().join("out"), 4);
    wait_until("the command runs", || numbers_of().is_some());
    let numbers = numbers_of().unwrap();
    assert!(numbers.iter().all(|&number| lives(number)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("all are gone", || !numbers.iter().any(|&number| lives(number)));
}
