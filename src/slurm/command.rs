//! One call of Slurm: with a limit on how long it may take, and again and again while the controller is not there.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a call may still take when nobody waits any longer.
const GRACE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often a call is looked after.
const TICK: Duration = Duration::from_millis(5);
/// The longest answer that is taken: a line for each of some million tasks.
const LONGEST_ANSWER_BYTES: u64 = 256 << 20;
/// What Slurm says where the same call may succeed later: its own words for a controller that is not there or dies while it is asked
/// (`src/common/slurm_errno.c`), the system's for the same, and those of a queue that is full. Of that it says that a limit on jobs is
/// reached; of a job that is larger than it may ever be it says much the same in other words.
const PASSING: [&str; 22] = [
    "unable to contact slurm controller",
    "unable to contact the slurm controller",
    "communication connection failure",
    "communications connection failure",
    "communication shutdown failure",
    "zero bytes were transmitted",
    "header lengths are longer than data received",
    "socket timed out",
    "in standby",
    "send failure",
    "receive failure",
    "connection refused",
    "connection timed out",
    "connection reset",
    "transport endpoint is not connected",
    "broken pipe",
    "no route to host",
    "network is unreachable",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "maxsubmitjob",
    "grpsubmitjob",
];

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The controller is not there, or takes no more for now: the same call may succeed later.
    #[error("{0}")]
    Passing(String),
    /// Slurm refused.
    #[error("{0}")]
    Refused(String),
    /// There is no Slurm here.
    #[error("{0}")]
    NotThere(String),
    /// Nobody waits any longer.
    #[error("interrupted")]
    Cancelled,
}

/// How Slurm is called.
pub struct Commands<'a> {
    /// Whether nobody waits any longer.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Told once each time the controller turns out not to be there, with what Slurm said; and with nothing when it is there again.
    pub waiting: &'a (dyn Fn(Option<&str>) + Sync),
}

impl Commands<'_> {
    /// What a program of Slurm's prints, called again while the controller is not there.
    ///
    /// # Errors
    /// [`Error::Refused`], and [`Error::Cancelled`].
    pub fn call(&self, program: &str, args: &[impl AsRef<OsStr>]) -> Result<String, Error> {
        self.patiently(|| self.once(program, args))
    }

    /// Does something that calls Slurm, again while the controller is not there.
    ///
    /// # Errors
    /// Those of `attempt` but [`Error::Passing`], and [`Error::Cancelled`].
    pub fn patiently<T: PartialEq>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            match attempt() {
                Err(Error::Passing(problem)) => {
                    if !told {
                        (self.waiting)(Some(&problem));
                        told = true;
                    }
                    self.sleep(pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => {
                    if told && answer != Err(Error::Cancelled) {
                        (self.waiting)(None);
                    }
                    return answer;
                }
            }
        }
    }

    /// Waits, unless nobody waits any longer.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn sleep(&self, pause: Duration) -> Result<(), Error> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        if (self.cancelled)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// What a program of Slurm's prints, called once.
    ///
    /// # Errors
    /// As it says; a program that is not there, or that takes too long.
    pub fn once(&self, program: &str, args: &[impl AsRef<OsStr>]) -> Result<String, Error> {
        once_within(LIMIT, self.cancelled, program, args)
    }
}

/// What a program prints that ends within a limit, and soon where nobody waits any longer.
fn once_within(
    limit: Duration,
    cancelled: &dyn Fn() -> bool,
    program: &str,
    args: &[impl AsRef<OsStr>],
) -> Result<String, Error> {
    let spawned =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::NotThere(format!("there is no `{program}` here; is this a machine from which jobs are submitted?"))
        }
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::OutOfMemory => Error::Passing(error.to_string()),
        _ => Error::Refused(format!("failed to run `{program}`: {error}")),
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = (Reader::of(out), Reader::of(err));
    let status = wait(&mut child, limit, cancelled, program)?;
    if status.is_none() && cancelled() {
        return Err(Error::Cancelled);
    }
    if status.is_none() {
        let said = words(&err.text(), "");
        let said = if said.is_empty() { said } else { format!(": {said}") };
        return Err(Error::Passing(format!("`{program}` did not end within {} s{said}", limit.as_secs())));
    }
    let (out, err) = (out.text(), err.text());
    let Some(status) = status.filter(|status| !status.success()) else { return Ok(out) };
    let said = words(&err, &out);
    let lower = said.to_lowercase();
    let problem =
        if said.is_empty() { format!("`{program}` failed: {status}") } else { format!("`{program}`: {said}") };
    Err(if PASSING.iter().any(|words| lower.contains(words)) {
        Error::Passing(problem)
    } else {
        Error::Refused(problem)
    })
}

/// What a process prints, read by a thread of its own.
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn of(from: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let Some(from) = from else { return };
            let (mut from, mut buffer) = (from.take(LONGEST_ANSWER_BYTES), vec![0; 1 << 16]);
            // What could be read of it is what there is.
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
            }
        });
        Self { bytes, thread }
    }

    /// All that was printed, once the process has ended. What that started may hold on to where it printed, and is not waited for.
    fn text(self) -> String {
        let until = Instant::now() + GRACE;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// How a process ended; nothing where it had to be ended, since it took too long.
fn wait(
    child: &mut Child,
    limit: Duration,
    cancelled: &dyn Fn() -> bool,
    program: &str,
) -> Result<Option<ExitStatus>, Error> {
    let mut until = Instant::now() + limit;
    loop {
        if cancelled() {
            // What is nearly done may end.
            until = until.min(Instant::now() + GRACE);
        }
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if Instant::now() < until => std::thread::sleep(TICK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(None);
            }
            Err(error) => return Err(Error::Refused(format!("failed to wait for `{program}`: {error}"))),
        }
    }
}

/// What Slurm said, on one line, without what it puts before every line.
fn words(err: &str, out: &str) -> String {
    let said = if err.trim().is_empty() { out } else { err };
    let plain = |line: &str| {
        let line = line.trim();
        let line =
            line.split_once(": ").filter(|(who, _)| ["sbatch", "squeue", "scontrol", "scancel", "sacct"].contains(who));
        line.map_or_else(String::new, |(_, rest)| rest.trim_start_matches("error: ").to_owned())
    };
    let lines: Vec<String> = said
        .lines()
        .map(|line| Some(plain(line)).filter(|plain| !plain.is_empty()).unwrap_or_else(|| line.trim().to_owned()))
        .collect();
    lines.iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(script: &str) -> Result<String, Error> {
        let commands = Commands { cancelled: &|| false, waiting: &|_| () };
        commands.once("sh", &["-c", script])
    }

    #[test]
    fn an_answer_a_refusal_and_a_controller_that_is_not_there_are_told_apart() {
        assert_eq!(call("echo 12"), Ok("12\n".to_owned()));
        let refused = call("echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1");
        assert_eq!(refused, Err(Error::Refused("`sh`: invalid partition specified: nope".into())));
        let gone = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)";
        assert_eq!(call(&format!("echo '{gone}' >&2; exit 1")), Err(Error::Passing(format!("`sh`: {gone}"))));
        assert!(matches!(call("exit 3"), Err(Error::Refused(_))));
        for died_while_asked in ["Connection reset by peer", "Zero Bytes were transmitted or received"] {
            let said = format!("sbatch: error: Batch job submission failed: {died_while_asked}");
            assert!(matches!(call(&format!("echo '{said}' >&2; exit 1")), Err(Error::Passing(_))), "{said}");
        }
        let commands = Commands { cancelled: &|| false, waiting: &|_| () };
        let missing = commands.once("no-such-program-of-slurm", &[""; 0]).unwrap_err().to_string();
        assert!(missing.starts_with("there is no `no-such-program-of-slurm` here"), "{missing}");
    }

    #[test]
    fn a_call_that_does_not_end_is_ended_and_what_it_said_is_told() {
        let script =
            "echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2; exec sleep 60";
        let ended = once_within(Duration::from_secs(1), &|| false, "sh", &["-c", script]);
        let expected = "`sh` did not end within 1 s: Slurm temporarily unable to accept job, sleeping and retrying";
        assert_eq!(ended, Err(Error::Passing(expected.to_owned())));
    }

    #[test]
    fn what_a_call_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        assert_eq!(call("sleep 60 & echo 7"), Ok("7\n".to_owned()));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_call_that_hangs_does_not_keep_who_waits_no_longer() {
        let start = Instant::now();
        let ended = once_within(LIMIT, &|| true, "sh", &["-c", "exec sleep 60"]);
        assert_eq!(ended, Err(Error::Cancelled));
        assert!(start.elapsed() < LIMIT / 2);
    }

    #[test]
    fn a_job_that_is_larger_than_it_may_ever_be_is_not_waited_for() {
        let policy = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
        let said = |limit: &str| {
            call(&format!(
                "echo 'sbatch: error: {limit}' >&2; echo \"sbatch: error: Batch job submission failed: {policy}\" >&2; exit 1"
            ))
        };
        assert!(matches!(said("QOSMaxWallDurationPerJobLimit"), Err(Error::Refused(_))));
        assert!(matches!(said("QOSMaxSubmitJobPerUserLimit"), Err(Error::Passing(_))));
    }

    #[test]
    fn a_long_answer_does_not_stop_a_call() {
        assert_eq!(call("head -c 300000 /dev/zero | tr '\\0' x").unwrap().len(), 300_000);
    }

    #[test]
    fn a_controller_that_is_not_there_is_waited_for_and_told_once() {
        let told = Mutex::new(Vec::new());
        let commands = Commands {
            cancelled: &|| false,
            waiting: &|problem| told.lock().unwrap().push(problem.map(str::to_owned)),
        };
        let mut left = 2;
        let answer = commands.patiently(|| {
            left -= 1;
            if left >= 0 { Err(Error::Passing("gone".into())) } else { Ok(7) }
        });
        assert_eq!((answer, told.into_inner().unwrap()), (Ok(7), vec![Some("gone".into()), None]));
        let commands = Commands { cancelled: &|| true, waiting: &|_| () };
        assert_eq!(commands.patiently(|| Err::<(), _>(Error::Passing("gone".into()))), Err(Error::Cancelled));
    }
}
