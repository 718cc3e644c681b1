//! A Slurm of shell scripts that can be told to fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::project::{Project, Ran};

/// Each program is called with the folder `$FAKE`, where `jobs/ID` holds a job's name and `jobs/ID.N` the process of a task. Files there make it fail:
/// `down` (no controller), `drop` (jobs have another environment), `lost` (the next submission is taken, and the answer lost), `forgotten` (the next one is answered, and the job
/// forgotten), `refuse`, `hang`.
const COMMON: &str = r#"#!/bin/sh
FAKE=@FAKE@
mkdir -p "$FAKE/jobs"
echo "$(basename "$0") $*" >> "$FAKE/calls"
[ ! -e "$FAKE/down" ] || { echo "$(basename "$0"): error: Unable to contact slurm controller (connect failure)" >&2; exit 1; }
# A number may be another's by now, and who nobody waited for has no words any more.
alive() {
  for p in "$FAKE/jobs/$1".[0-9]*; do
    { [ -e "$p" ] && tr '\0' ' ' < "/proc/$(cat "$p")/cmdline" | grep -qF "${FAKE%/*}"; } 2>/dev/null && return 0
  done
  return 1
}
"#;

const SBATCH: &str = r#"
[ ! -e "$FAKE/refuse" ] || { echo "sbatch: error: invalid partition specified: nope" >&2; exit 1; }
[ ! -e "$FAKE/drop" ] || unset THALWEG_RECORD_KEY
tasks=0 name= output=
for arg; do
  case $arg in
    --array=0-*) tasks=${arg#--array=0-} ;;
    --job-name=*) name=${arg#--job-name=} ;;
    --output=*) output=${arg#--output=} ;;
    --chdir=*) cd "${arg#--chdir=}" ;;
  esac
  script=$arg
done
id=$(($(cat "$FAKE/next" 2>/dev/null || echo 1)))
echo $((id + 1)) > "$FAKE/next"
if [ -e "$FAKE/forgotten" ]; then
  rm "$FAKE/forgotten"; echo someone-elses > "$FAKE/jobs/$id"; sleep 60 >/dev/null 2>&1 & echo $! > "$FAKE/jobs/$id.0"; echo $id; exit 0
fi
echo "$name" > "$FAKE/jobs/$id"
for task in $(seq 0 "$tasks"); do
  log=$(echo "$output" | sed "s/%a/$task/; s/%%/%/g")
  if [ "$tasks" -gt 0 ]; then export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task; fi
  SLURM_JOB_ID=$id setsid sh "$script" >> "$log" 2>&1 < /dev/null &
  echo $! > "$FAKE/jobs/$id.$task"
done
if [ -e "$FAKE/lost" ]; then rm "$FAKE/lost"; echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1; fi
echo $id
"#;

const SQUEUE: &str = r#"
only= all=
for arg; do case $arg in --name=*) only=${arg#--name=} ;; --states=all) all=1 ;; esac; done
for job in "$FAKE"/jobs/*; do
  id=$(basename "$job"); case $id in *.*|'*') continue ;; esac
  name=$(cat "$job")
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  if alive "$id"; then echo "$id|RUNNING|None|$name"; elif [ -n "$all" ]; then echo "$id|COMPLETED|None|$name"; fi
done
"#;

const SCONTROL: &str = r#"
[ "$1 $2" = "show job" ] || exit 1
[ -e "$FAKE/jobs/$3" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
state=COMPLETED; alive "$3" && state=RUNNING
[ ! -e "$FAKE/jobs/$3.state" ] || state=$(cat "$FAKE/jobs/$3.state")
echo "JobId=$3 JobName=$(cat "$FAKE/jobs/$3") JobState=$state Reason=None"
"#;

const SCANCEL: &str = r#"
for arg; do case $arg in --name=*) name=${arg#--name=} ;; --state=PENDING) exit 0 ;; esac; done
for job in "$FAKE"/jobs/*; do
  case $(basename "$job") in *.*) continue ;; esac
  [ "$(cat "$job")" = "$name" ] || continue
  echo CANCELLED > "$job.state"
  for p in "$job".[0-9]*; do kill "$(cat "$p")" 2>/dev/null; done
done
exit 0
"#;

/// A project, and a Slurm of its own.
pub struct Fake {
    pub project: Project,
}

impl Fake {
    pub fn with(manifest: &str) -> Self {
        let project = Project::with(manifest);
        let fake = Self { project };
        for (name, body) in
            [("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL), ("scancel", SCANCEL), ("sacct", "exit 1")]
        {
            let common = COMMON.replace("@FAKE@", &fake.project.path("fake").display().to_string());
            fake.project.file(&format!("bin/{name}"), &format!("{common}{body}"));
            let path = fake.project.path(&format!("bin/{name}"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(fake.path("jobs")).unwrap();
        fake
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.project.path("fake").join(name)
    }

    pub fn set(&self, fault: &str) {
        fs::write(self.path(fault), "").unwrap();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let words = [&["run", "study.toml", "--executor", "slurm"], words].concat();
        let mut command = self.project.command(&words);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.project.path("bin").display()));
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&self.project, &self.command(words).output().unwrap())
    }

    pub fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The same, with what it prints for programs.
    pub fn start_telling(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Kills every task that runs, outright, and has Slurm say that its job failed; how many there were.
    pub fn kill_workers(&self) -> usize {
        let killed = |(job, pid): &(PathBuf, Pid)| {
            fs::write(job.with_extension("state"), "FAILED").unwrap();
            kill_process(*pid, Signal::KILL).is_ok()
        };
        self.tasks().iter().filter(|task| killed(task)).count()
    }

    /// The files of the tasks that run, each with its process.
    pub fn tasks(&self) -> Vec<(PathBuf, Pid)> {
        let ours = self.project.path("").display().to_string();
        let entries = fs::read_dir(self.path("jobs")).into_iter().flatten().flatten();
        let task = |entry: fs::DirEntry| {
            let pid = fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse::<i32>().ok());
            // A number may be another's by now.
            let words = pid.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok()).unwrap_or_default();
            let pid = pid.filter(|_| String::from_utf8_lossy(&words).contains(&ours)).and_then(Pid::from_raw);
            Some((entry.path(), pid?))
        };
        entries.filter_map(task).collect()
    }

    /// How many jobs were submitted.
    pub fn submitted(&self) -> usize {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with("sbatch ")).count()
    }

    pub fn wait_for(&self, name: &str) {
        let start = Instant::now();
        while !self.project.path(name).exists() {
            assert!(start.elapsed() < Duration::from_secs(30), "{name} did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until no task runs any more.
    pub fn wait_for_end(&self) {
        let start = Instant::now();
        while !self.tasks().is_empty() {
            assert!(start.elapsed() < Duration::from_mins(1), "the jobs do not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.project.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for pid in self.tasks().into_iter().map(|(_, pid)| pid) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
