//! `--executor slurm` on a real Slurm: three nodes on this machine, which `scripts/test-slurm` starts and whose parts these tests kill. They
//! run one after the other (`--test-threads=1`): a controller that one of them kills is everybody's.
#![expect(clippy::print_stderr, reason = "a test says what it measured")]

#[path = "../all/project.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use more of it")]
mod project;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use project::{Project, Ran, VALLEY};

/// The folder of the cluster.
fn cluster() -> String {
    std::env::var("THALWEG_TEST_SLURM").expect("run these by `scripts/test-slurm`, which starts a cluster")
}

/// Does something to a part of the cluster: `crash`, `start`, `stop`.
fn cluster_part(deed: &str, part: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-test-cluster");
    let status = Command::new(script).args([deed, &cluster(), part]).status().unwrap();
    assert!(status.success(), "{deed} {part}");
}

fn slurm(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every job that is left from a test before, and every node that is not idle, would be in the way.
fn settle() {
    slurm("scancel", &["--user=root", "--quiet"]);
    let start = Instant::now();
    loop {
        // A node drains itself where it is given a number that it runs already, as after a controller that forgot.
        for node in ["n1", "n2", "n3"] {
            slurm("scontrol", &["update", &format!("nodename={node}"), "state=resume"]);
        }
        let queue = slurm("squeue", &["--noheader"]);
        let nodes = slurm("sinfo", &["--noheader", "--format=%T %D"]);
        if queue.trim().is_empty() && nodes.trim() == "idle 3" {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "the cluster does not settle: {queue}{nodes}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The `run` of a project's study on the cluster.
fn command(project: &Project, words: &[&str]) -> Command {
    project.command(&[&["run", "study.toml", "--executor", "slurm"], words].concat())
}

fn run(project: &Project) -> Ran {
    Ran::of(project, &command(project, &[]).output().unwrap())
}

fn start(project: &Project) -> Child {
    command(project, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(project: &Project, child: Child) -> Ran {
    Ran::of(project, &child.wait_with_output().unwrap())
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} did not come", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// So many commands one below the other, each of which notes that it began and that it is done; the first waits for a file `go`.
fn chain(count: usize) -> Project {
    let project = Project::new();
    let folder = project.path("").display().to_string();
    let mut manifest = "study = \"chain\"\n".to_owned();
    for i in 0..count {
        let wait = if i == 0 { format!("while [ ! -e {folder}/go ]; do sleep 0.05; done; ") } else { String::new() };
        let script =
            format!("echo {i} >> {folder}/begun; {wait}head -c 3000 /dev/zero > s{i}.bin; echo {i} >> {folder}/done");
        let from = if i > 0 { format!("from = \"s{}\"\n", i - 1) } else { String::new() };
        manifest += &format!(
            "[stage.s{i}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script:?}]\noutputs = [\"s{i}.bin\"]\n{from}"
        );
    }
    project.file("study.toml", &manifest);
    project
}

fn lines(project: &Project, name: &str) -> usize {
    fs::read_to_string(project.path(name)).unwrap_or_default().lines().count()
}

/// The small study, over all the digits and in shards.
fn wide() -> String {
    let all = VALLEY.replace("subset = 200\n", "").replace("until_loss = 0.3", "until_loss = 0.3\nshards = 3");
    all.replace("probes = 16", "probes = 24\nshards = 6")
}

#[test]
fn a_study_on_the_cluster_has_the_results_of_one_by_itself() {
    settle();
    let (project, local) = (Project::with(&wide()), Project::with(&wide()));
    let ran = run(&project);
    ran.succeeds();
    let alone = local.run();
    alone.succeeds();
    assert_eq!((project.results(), ran.actions()), (local.results(), alone.actions()), "{}", ran.err);
    run(&project).succeeds().says("nothing to run");
    project.edit("probes = 24", "probes = 30");
    let more = run(&project);
    more.succeeds().ran(&["trace"]);
    local.edit("probes = 24", "probes = 30");
    assert_eq!(more.actions(), local.run().succeeds().actions());
}

#[test]
fn a_stage_on_a_gpu_asks_for_one_and_uses_what_it_is_given() {
    settle();
    let project = Project::with(&wide().replace("epochs = 30", "epochs = 2\ndevice = \"cuda:1\""));
    let ran = Ran::of(&project, &command(&project, &["--cards", "simulated:1:256"]).output().unwrap());
    ran.succeeds();
    let cpu = Project::with(&wide().replace("epochs = 30", "epochs = 2"));
    run(&cpu).succeeds();
    assert_ne!(project.results(), cpu.results(), "a card rounds otherwise");
}

#[test]
fn the_controller_dies_just_after_a_submission_and_while_a_job_runs() {
    settle();
    let project = chain(4);
    let child = start(&project);
    wait_for(&project.path("begun"));
    cluster_part("crash", "ctld");
    project.file("go", "");
    std::thread::sleep(Duration::from_secs(3));
    cluster_part("start", "ctld");
    let ran = end(&project, child);
    ran.succeeds().ran(&["s0", "s1", "s2", "s3"]);
    assert_eq!((lines(&project, "begun"), lines(&project, "done")), (4, 4), "{}", ran.err);
    // Killed at moments around a submission, a few times.
    for pause in [0, 30, 80, 150, 400] {
        settle();
        let project = chain(2);
        project.file("go", "");
        let child = start(&project);
        std::thread::sleep(Duration::from_millis(pause));
        cluster_part("crash", "ctld");
        std::thread::sleep(Duration::from_millis(500));
        cluster_part("start", "ctld");
        let ran = end(&project, child);
        ran.succeeds();
        // A job that was taken and forgotten before the controller kept it may still have been begun by nobody, or was submitted anew.
        assert_eq!(lines(&project, "done"), 2, "{pause} ms: {}", ran.err);
    }
}

#[test]
fn a_node_that_dies_gives_its_job_to_another_and_the_study_goes_on() {
    settle();
    let project = chain(3);
    let child = start(&project);
    wait_for(&project.path("begun"));
    let node = slurm("squeue", &["--noheader", "--format=%N"]);
    cluster_part("crash", node.trim());
    project.file("go", "");
    std::thread::sleep(Duration::from_secs(12));
    cluster_part("start", node.trim());
    let ran = end(&project, child);
    ran.succeeds().ran(&["s0", "s1", "s2"]);
    // What was begun on the node that died was begun once more.
    assert_eq!((lines(&project, "begun"), lines(&project, "done")), (4, 3), "{}", ran.err);
}

#[test]
fn a_job_that_is_requeued_goes_on_where_it_was() {
    settle();
    let manifest = wide().replace("epochs = 30", "epochs = 400");
    let project = Project::with(&manifest);
    let child = start(&project);
    let job = running("train");
    std::thread::sleep(Duration::from_millis(400));
    slurm("scontrol", &["requeue", &job]);
    let ran = end(&project, child);
    ran.succeeds();
    let local = Project::with(&manifest);
    let alone = local.run();
    alone.succeeds();
    assert_eq!(project.results(), local.results());
    // A group of actions that was running is lost, and what was finished is not made again.
    assert_eq!(ran.actions(), alone.actions(), "{}", ran.err);
}

#[test]
fn a_job_whose_time_is_over_is_requeued_and_goes_on_until_it_is_done() {
    settle();
    // Slurm counts in minutes, looks twice a minute, and gives notice a minute before the end: some half of one minute's limit is left. The job is
    // stopped for that long; Slurm has it go on when it gives notice.
    let manifest = wide().replace("epochs = 30", "epochs = 1000\nslurm = { time = \"1\" }");
    let project = Project::with(&manifest);
    let child = start(&project);
    let worker = worker_of(&project, "train");
    std::thread::sleep(Duration::from_millis(300));
    kill_process(worker, Signal::STOP).unwrap();
    let ran = end(&project, child);
    ran.succeeds();
    let job =
        ran.err.split("train: submitted job ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let shown = slurm("scontrol", &["show", "job", job.unwrap(), "--oneliner"]);
    let restarts = shown.split(" Restarts=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    eprintln!("{restarts:?} restarts");
    assert!(restarts.is_some_and(|restarts| restarts > 0), "{shown}");
    let local = Project::with(&manifest);
    let alone = local.run();
    alone.succeeds();
    assert_eq!((project.results(), ran.actions()), (local.results(), alone.actions()), "{}", ran.err);
}

/// The number of the job of a stage, once it runs.
fn running(stage: &str) -> String {
    let start = Instant::now();
    loop {
        let queue = slurm("squeue", &["--noheader", "--states=RUNNING", "--format=%i %j"]);
        if let Some(line) = queue.lines().find(|line| line.contains(&format!(" {stage}."))) {
            return line.split(' ').next().unwrap().to_owned();
        }
        assert!(start.elapsed() < Duration::from_mins(1), "no job of {stage} begins");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process of the job of a stage, once there is one.
fn worker_of(project: &Project, stage: &str) -> Pid {
    let folder = project.path("cache/slurm").display().to_string();
    let stage = format!("\"stage\":\"{stage}\"");
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_mins(1), "no job begins");
        std::thread::sleep(Duration::from_millis(20));
        let number = |entry: fs::DirEntry| {
            let words = String::from_utf8(fs::read(entry.path().join("cmdline")).ok()?).ok()?;
            let job = words.split('\0').skip_while(|word| *word != "__work").nth(1)?;
            let spec = fs::read_to_string(Path::new(job).join("spec.json")).ok()?;
            let is_it = job.starts_with(&folder) && spec.contains(&stage);
            entry.file_name().to_str().filter(|_| is_it)?.parse::<i32>().ok()
        };
        if let Some(pid) = fs::read_dir("/proc").unwrap().flatten().find_map(number).and_then(Pid::from_raw) {
            return pid;
        }
    }
}

/// The controller with other settings, until this is dropped.
struct Configured {
    path: String,
    before: String,
}

impl Configured {
    fn with(change: impl FnOnce(&str) -> String) -> Self {
        let path = std::env::var("SLURM_CONF").unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let after = change(&before);
        assert_ne!(after, before);
        fs::write(&path, after).unwrap();
        Self::restart();
        Self { path, before }
    }

    fn restart() {
        cluster_part("stop", "ctld");
        cluster_part("start", "ctld");
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        fs::write(&self.path, &self.before).unwrap();
        Self::restart();
    }
}

#[test]
fn a_full_queue_is_waited_for_and_the_user_told() {
    settle();
    // One job that nobody begins is all that there may be.
    slurm("sbatch", &["--hold", "--output=/dev/null", "--wrap=true"]);
    let small = Configured::with(|conf| format!("{conf}MaxJobCount=1\n"));
    let project = chain(2);
    project.file("go", "");
    let child = start(&project);
    // `sbatch` tries again by itself for longer than it is waited for.
    std::thread::sleep(Duration::from_secs(35));
    assert_eq!(lines(&project, "begun"), 0);
    drop(small);
    slurm("scancel", &["--user=root", "--state=PENDING"]);
    let ran = end(&project, child);
    ran.succeeds().says("waiting for Slurm").says("Slurm answers again").ran(&["s0", "s1"]);
    eprintln!("{}", ran.err);
    assert_eq!((lines(&project, "begun"), lines(&project, "done")), (2, 2));
}

#[test]
fn a_job_cancelled_from_outside_fails_its_stage_and_the_same_command_goes_on() {
    settle();
    let project = chain(2);
    let child = start(&project);
    wait_for(&project.path("begun"));
    slurm("scancel", &["--user=root"]);
    let ran = end(&project, child);
    ran.exits(1).says("was cancelled by somebody else");
    project.file("go", "");
    run(&project).succeeds().ran(&["s0", "s1"]);
}

#[test]
fn a_run_that_is_killed_leaves_its_jobs_and_the_next_attaches_to_them() {
    settle();
    let project = chain(3);
    let mut child = start(&project);
    wait_for(&project.path("begun"));
    child.kill().unwrap();
    child.wait().unwrap();
    let second = start(&project);
    std::thread::sleep(Duration::from_millis(500));
    project.file("go", "");
    let ran = end(&project, second);
    ran.succeeds().says("s0: attached to job");
    assert_eq!((lines(&project, "begun"), lines(&project, "done")), (3, 3), "{}", ran.err);
}

#[test]
fn jobs_submitted_at_once_run_by_themselves_and_write_the_results() {
    settle();
    let project = Project::with(&wide());
    let ran = Ran::of(&project, &command(&project, &["--detach"]).output().unwrap());
    ran.succeeds().says("results: job");
    let start = Instant::now();
    while !slurm("squeue", &["--noheader"]).trim().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(200));
    }
    let local = Project::with(&wide());
    local.run().succeeds();
    assert_eq!(project.results(), local.results());
    run(&project).succeeds().says("nothing to run");
}

#[test]
fn a_chain_below_a_failed_job_does_not_wait_for_ever() {
    settle();
    let project = chain(3);
    project.edit("head -c 3000 /dev/zero > s0.bin", "exit 7; head -c 3000 /dev/zero > s0.bin").file("go", "");
    Ran::of(&project, &command(&project, &["--detach"]).output().unwrap()).succeeds();
    let start = Instant::now();
    while !slurm("squeue", &["--noheader"]).trim().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", slurm("squeue", &[]));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!((lines(&project, "begun"), lines(&project, "done")), (1, 0));
}

#[test]
fn a_thousand_shards_lose_no_action_and_repeat_none() {
    settle();
    let count = 1000;
    let manifest = wide().replace("probes = 24\nshards = 6", &format!("probes = 240\nshards = {count}"));
    let project = Project::with(&manifest);
    let start = Instant::now();
    let ran = run(&project);
    ran.succeeds();
    eprintln!("{count} shards: {:?}", start.elapsed());
    let local = Project::with(&manifest);
    let alone = local.run();
    alone.succeeds();
    assert_eq!((project.results(), ran.actions()), (local.results(), alone.actions()));
    project.call(&["cache", "verify"]).succeeds();
}
