//! `--executor slurm` against a Slurm of shell scripts that can be told to fail; the real one is `tests/slurm`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use crate::fake_slurm::Fake;
use crate::kills::{Moments, finished, kills, seed, send};
use crate::project::{Project, Ran, VALLEY};

/// Two stages, one below the other, which note that they ran; the first waits for a file `go`, if `waits`.
fn two_stages(waits: bool) -> Fake {
    let fake = Fake::with("study = \"two\"\n");
    let project = fake.project.path("").display().to_string();
    let wait = if waits {
        format!("touch {project}/begun; while [ ! -e {project}/go ]; do sleep 0.05; done; ")
    } else {
        String::new()
    };
    let stage = |name: &str, from: &str, script: &str| {
        format!(
            "[stage.{name}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script:?}]\noutputs = [\"{name}.bin\"]\n{from}"
        )
    };
    let first = stage("a", "", &format!("{wait}echo a >> {project}/log; head -c 3000 /dev/zero > a.bin"));
    let second = stage("b", "from = \"a\"\n", &format!("echo b >> {project}/log; cat a.bin a.bin > b.bin"));
    fake.project.file("study.toml", &format!("study = \"two\"\n{first}{second}"));
    fake
}

#[test]
fn each_stale_stage_is_a_job_and_the_end_is_that_of_a_run_by_itself() {
    let fake = two_stages(false);
    fake.run(&[]).succeeds().says("a: submitted job 1").says("b: submitted job 2").ran(&["a", "b"]);
    assert_eq!((fake.submitted(), fake.log()), (2, vec!["a".to_owned(), "b".to_owned()]));
    let local = Project::new();
    local.file("study.toml", &fake.project.read("study.toml"));
    local.run().succeeds();
    assert_eq!(fake.project.results(), local.results());
    assert_eq!(fs::read(fake.project.path("b.bin")).unwrap(), fs::read(local.path("b.bin")).unwrap());
    fake.run(&[]).succeeds().says("nothing to run");
    assert_eq!(fake.submitted(), 2);
    assert_eq!(fs::read_dir(fake.project.path("cache/slurm")).unwrap().count(), 0, "folders of jobs that are done go");
}

#[test]
fn what_is_asked_of_slurm_is_what_is_set_and_a_stage_says_it_last() {
    let fake = two_stages(false);
    fake.project.edit("[stage.b]", "[executor.slurm]\npartition = \"mine\"\nmem = \"1G\"\n[stage.b]\nslurm = { mem = \"2G\", cpus = 3, extra = [\"--nice\"] }");
    fake.project.file("thalweg.toml", "[executor.slurm]\npartition = \"theirs\"\naccount = \"us\"\ntime = \"10\"\n");
    fake.run(&[]).succeeds();
    let calls = fs::read_to_string(fake.path("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|line| line.starts_with("sbatch ")).collect();
    for option in ["--partition=mine", "--account=us", "--time=10", "--mem=1G", "--requeue", "--signal=B:USR1@60"] {
        assert!(calls[0].contains(option), "no {option} in {}", calls[0]);
    }
    for option in ["--partition=mine", "--mem=2G", "--cpus-per-task=3", "--nice"] {
        assert!(calls[1].contains(option), "no {option} in {}", calls[1]);
    }
    assert!(!calls[0].contains("--gres"));
    let names: Vec<&str> =
        calls[0].split(' ').filter(|word| word.starts_with("--job-name=") || word.starts_with("--comment=")).collect();
    assert!(
        names[0].contains("a.thalweg-") && names[0].split('=').next_back() == names[1].split('=').next_back(),
        "{names:?}"
    );
}

#[test]
fn a_failing_stage_fails_in_its_job_as_it_would_here() {
    let fake = two_stages(false);
    fake.project.edit("cat a.bin a.bin", "echo it broke >&2; exit 3; cat a.bin");
    let ran = fake.run(&[]);
    ran.exits(1).says("it broke").ran(&["a"]);
    assert!(fake.project.path("cache/slurm").read_dir().unwrap().count() == 1, "the folder of a job that failed stays");
    fake.project.edit("echo it broke >&2; exit 3; ", "");
    fake.run(&[]).succeeds().ran(&["b"]);
}

#[test]
fn a_refusal_is_said_and_no_slurm_at_all_too() {
    let fake = two_stages(false);
    fake.set("refuse");
    fake.run(&[]).exits(1).says("invalid partition specified: nope");
    let project = Project::new();
    project.file("study.toml", &fake.project.read("study.toml"));
    let mut command = project.command(&["run", "study.toml", "--executor", "slurm"]);
    let ran = Ran::of(&project, &command.env("PATH", "/nowhere").output().unwrap());
    ran.exits(4).says("there is no `sbatch` here");
}

#[test]
fn a_controller_that_is_down_is_waited_for_and_the_user_told() {
    let fake = two_stages(false);
    fake.set("down");
    let child = fake.start(&[]);
    std::thread::sleep(Duration::from_millis(800));
    fs::remove_file(fake.path("down")).unwrap();
    let ran = Ran::of(&fake.project, &child.wait_with_output().unwrap());
    ran.succeeds().says("Unable to contact slurm controller").says("waiting for Slurm").says("Slurm answers again");
}

#[test]
fn a_submission_whose_answer_is_lost_is_found_by_its_token_and_not_made_twice() {
    let fake = two_stages(false);
    fake.set("lost");
    fake.run(&[]).succeeds().ran(&["a", "b"]);
    assert_eq!((fake.submitted(), fake.log().len()), (2, 2));
}

#[test]
fn a_job_that_the_controller_forgot_is_submitted_again_though_its_number_lives() {
    let fake = two_stages(false);
    fake.set("forgotten");
    fake.run(&[]).succeeds().says("is gone and nobody knows how it ended; it is submitted again").ran(&["a", "b"]);
    assert_eq!((fake.submitted(), fake.log().len()), (3, 2));
}

#[test]
fn a_run_that_is_killed_leaves_its_jobs_and_the_next_attaches_to_them() {
    let fake = two_stages(true);
    let mut child = fake.start(&[]);
    fake.wait_for("begun");
    child.kill().unwrap();
    child.wait().unwrap();
    let second = fake.start(&[]);
    std::thread::sleep(Duration::from_millis(700));
    fake.project.file("go", "");
    let ran = Ran::of(&fake.project, &second.wait_with_output().unwrap());
    ran.succeeds().says("a: attached to job 1").ran(&["a", "b"]);
    assert_eq!((fake.submitted(), fake.log().len()), (2, 2));
}

#[test]
fn an_interruption_leaves_the_jobs_or_cancels_them_as_asked() {
    for (how, words) in
        [("ask", "1 job left to go on"), ("leave", "1 job left to go on"), ("cancel", "cancelled job 1")]
    {
        let fake = two_stages(true);
        let child = fake.start(&["--on-interrupt", how]);
        fake.wait_for("begun");
        send("-INT", child.id());
        let ran = Ran::of(&fake.project, &child.wait_with_output().unwrap());
        ran.exits(130).says(words);
        fake.project.file("go", "");
        let ran = fake.run(&[]);
        ran.succeeds().ran(&["a", "b"]);
        assert_eq!(fake.submitted(), if how == "cancel" { 3 } else { 2 }, "{how}: {}", ran.err);
    }
}

#[test]
fn a_job_cancelled_from_outside_fails_its_stage() {
    let fake = two_stages(true);
    let child = fake.start(&[]);
    fake.wait_for("begun");
    let name = fs::read_to_string(fake.path("jobs/1")).unwrap();
    let status = Command::new(fake.project.path("bin/scancel")).arg(format!("--name={}", name.trim())).status();
    assert!(status.unwrap().success());
    let ran = Ran::of(&fake.project, &child.wait_with_output().unwrap());
    ran.exits(1).says("job 1 was cancelled by somebody else");
}

#[test]
fn a_worker_that_is_killed_outright_is_found_out_and_what_it_printed_named() {
    let fake = two_stages(true);
    let child = fake.start(&[]);
    fake.wait_for("begun");
    let pid = fs::read_to_string(fake.path("jobs/1.0")).unwrap();
    fs::write(fake.path("jobs/1.state"), "FAILED").unwrap();
    send("-KILL", pid.trim().parse().unwrap());
    let ran = Ran::of(&fake.project, &child.wait_with_output().unwrap());
    ran.exits(1).says("job 1 failed without a word");
}

/// A job's program killed outright at random moments: its stage fails, the same command goes on, and what the program told as finished is.
#[test]
fn a_worker_that_is_killed_at_any_moment_loses_nothing_that_it_finished() {
    let mut moments = Moments(seed());
    let undisturbed = Project::with(VALLEY);
    undisturbed.run().succeeds();
    let mut killed = 0;
    for _ in 0..kills(4) {
        let fake = Fake::with(VALLEY);
        let mut events = String::new();
        let runs = (0..10).find(|&run| {
            let child = fake.start_telling(&["--events", "jsonl"]);
            if run < 3 {
                std::thread::sleep(Duration::from_millis(moments.next(500)));
                killed += fake.kill_workers();
            }
            let output = child.wait_with_output().unwrap();
            events += &String::from_utf8_lossy(&output.stdout);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
            output.status.success()
        });
        assert!(runs.is_some(), "it does not come to its end");
        let told = finished(&events);
        let mut once = told.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(told.len(), once.len(), "an action that was finished ran again, in {runs:?} runs");
        assert_eq!(fake.project.results(), undisturbed.results());
        assert_eq!(fake.project.run().succeeds().actions(), 0);
        fake.project.call(&["cache", "verify"]).succeeds();
        let left = fake.project.files("cache").into_keys().filter(|path| path.starts_with("cache/tmp")).count();
        assert_eq!(left, 0, "nothing is left of workers that were killed");
    }
    eprintln!("{killed} workers were killed");
}

#[test]
fn everything_can_be_submitted_at_once_and_attached_to_later() {
    let fake = two_stages(true);
    fake.run(&["--detach"]).succeeds().says("a: job 1").says("b: job 2").says("results: job 3");
    let calls = fs::read_to_string(fake.path("calls")).unwrap();
    assert!(calls.contains("--dependency=afterok:1 --kill-on-invalid-dep=yes"), "{calls}");
    assert!(calls.contains("--dependency=afterok:1:2"), "{calls}");
    fake.run(&["--detach"]).succeeds();
    assert_eq!(fake.submitted(), 3, "the same jobs are not submitted twice");
    fake.project.file("go", "");
    fake.run(&[]).succeeds();
    assert_eq!(fake.log(), ["a", "b"]);
    fake.run(&["--detach"]).succeeds();
    assert_eq!(fake.submitted(), 3);
}

#[test]
fn what_is_submitted_at_once_is_what_was_asked_for_as_it_was_written_then() {
    let fake = two_stages(true);
    fake.run(&["a", "--detach"]).succeeds().says("a: job 1").says("results: job 2");
    assert_eq!(fake.submitted(), 2);
    // Edited while the jobs wait.
    fake.project.edit("echo a >>", "echo edited >>");
    fake.project.file("go", "");
    fake.wait_for_end();
    assert_eq!(fake.log(), ["a"]);
    assert!(fake.project.path("results/two/run.json").exists());
    // A folder of jobs that nobody watched goes with the next run, some minutes later.
    for path in fake.project.files("cache/slurm").keys() {
        let file = fs::File::options().write(true).open(fake.project.path(path.to_str().unwrap())).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_mins(10)).unwrap();
    }
    fake.project.edit("echo edited >>", "echo a >>");
    fake.run(&[]).succeeds().ran(&["b"]);
    assert_eq!(fs::read_dir(fake.project.path("cache/slurm")).unwrap().count(), 0);
}

#[test]
fn where_all_is_fresh_its_results_are_written_here() {
    let fake = two_stages(false);
    fake.run(&[]).succeeds();
    let results = fake.project.results();
    fs::remove_dir_all(fake.project.path("results")).unwrap();
    fake.run(&["--detach"]).succeeds().says("nothing to run");
    assert_eq!((fake.project.results(), fake.submitted()), (results, 2));
    fake.project.run_with(&["--detach"]).exits(2).says("`--detach` is for jobs on a cluster");
}

#[test]
fn a_job_without_the_secret_of_the_run_does_nothing() {
    let fake = two_stages(false);
    fake.set("drop");
    let address = format!("file://{}", fake.project.path("shared").display());
    let mut command = fake.command(&["--remote", &address]);
    let ran = Ran::of(&fake.project, &command.env("THALWEG_RECORD_KEY", "ours").output().unwrap());
    ran.exits(4).says("the job has another `THALWEG_RECORD_KEY`");
    assert_eq!(fake.log(), Vec::<String>::new());
    fs::remove_file(fake.path("drop")).unwrap();
    let mut command = fake.command(&["--remote", &address]);
    Ran::of(&fake.project, &command.env("THALWEG_RECORD_KEY", "ours").output().unwrap()).succeeds();
}

#[test]
fn a_project_whose_path_is_no_text_runs_on_the_cluster() {
    let fake = two_stages(false);
    let folder = fake.project.path("").join(OsStr::from_bytes(b"a 'b' %x \\ not \xff text"));
    fs::create_dir_all(folder.join("cache")).unwrap();
    fs::copy(fake.project.path("study.toml"), folder.join("study.toml")).unwrap();
    let output = fake.command(&[]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(folder.join("b.bin")).unwrap().len(), 6000);
}

#[test]
fn gpus_that_are_set_for_all_are_asked_for_where_they_are_used() {
    let fake = two_stages(false);
    fake.project.edit("[stage.b]", "[executor.slurm]\ngres = \"gpu:2\"\n[stage.b]\nslurm = { gres = \"scratch:1\" }");
    fake.run(&[]).succeeds();
    let calls = fs::read_to_string(fake.path("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|line| line.starts_with("sbatch ")).collect();
    assert!(!calls[0].contains("--gres") && calls[1].contains("--gres=scratch:1"), "{calls:?}");
}

#[test]
fn shards_share_a_stage_and_make_no_action_twice() {
    let wide = VALLEY.replace("probes = 16", "probes = 40\nshards = 4");
    let fake = Fake::with(&wide);
    let ran = fake.run(&[]);
    ran.succeeds().says("of 4 tasks");
    let local = Project::with(&wide);
    let alone = local.run();
    alone.succeeds();
    assert_eq!(ran.actions(), alone.actions(), "{}", ran.err);
    assert_eq!(fake.project.results(), local.results());
}
