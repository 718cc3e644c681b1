//! The runner's end of the wire.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpid, set_child_subreaper};

use super::wire::{Answer, Request, line};
use super::{ARGUMENT, CommandSpec, Exit, GRACE, GuardError, children};

/// How often a waiting command asks whether it is to stop.
const POLL: Duration = Duration::from_millis(50);

/// How long after a kill the guard's answer is waited for: its own grace, and then what the kernel may need.
const PATIENCE: Duration = Duration::from_secs(5);

/// The guard of this runner. May be used by many threads at once; each waits for its own command.
#[derive(Debug)]
pub struct Guard {
    requests: Mutex<Option<ChildStdin>>,
    board: Arc<Board>,
    next_id: AtomicU64,
    reader: Option<JoinHandle<()>>,
}

/// Where the reading thread pins up answers and the waiting threads look for theirs.
#[derive(Debug, Default)]
struct Board {
    pinned: Mutex<Pinned>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pinned {
    answers: BTreeMap<u64, Result<Exit, String>>,
    gone: Option<Gone>,
}

/// How the guard ended, and whether what it had started has ended too.
#[derive(Clone, Debug)]
struct Gone {
    how: String,
    ended: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(&self, write: impl FnOnce(&mut Pinned)) {
        write(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Guard {
    /// Starts a guard by running `executable` with [`ARGUMENT`], whose `main` must then call [`super::guard_main`] before
    /// it starts any thread. Returns when the guard listens.
    ///
    /// # Errors
    ///
    /// If the executable cannot be run, is no guard, or says that it cannot be one here.
    #[expect(clippy::missing_panics_doc, reason = "what was piped is there")]
    pub fn start(executable: &Path) -> io::Result<Self> {
        // Commands come here, and not to the system's first program, should the guard be killed.
        set_child_subreaper(Some(getpid()))?;
        let mut command = Command::new(executable);
        let mut child =
            command.arg(ARGUMENT).env_remove("PATH").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().expect("stdin is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut first = String::new();
        let problem = match answers.read_line(&mut first).map(|_| serde_json::from_str(&first)) {
            Ok(Ok(Answer::Ready)) => None,
            Ok(Ok(Answer::Broken { problem })) => Some(problem),
            Ok(_) => Some("it does not answer as a guard does".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            drop((requests, answers));
            // It is a stranger or broken: it must not outlive this call.
            let _ = child.kill();
            child.wait()?;
            return Err(io::Error::other(format!("`{}` is no guard of commands: {problem}", executable.display())));
        }
        let board = Arc::new(Board::default());
        let reader = std::thread::Builder::new().name("guard answers".to_owned()).spawn({
            let board = Arc::clone(&board);
            move || read(answers, child, &board)
        })?;
        Ok(Self { requests: Mutex::new(Some(requests)), board, next_id: AtomicU64::new(0), reader: Some(reader) })
    }

    /// Runs a command and blocks until it, and all that descends from it, is over.
    ///
    /// `cancelled` is asked at least every 50 ms. When it says yes, the command gets SIGTERM, 1.5 s later SIGKILL, and
    /// this returns [`GuardError::Interrupted`] once nothing of it is left.
    ///
    /// # Errors
    ///
    /// See [`GuardError`]. A program that exits with a status other than 0 is no error here.
    pub fn run(&self, spec: &CommandSpec, cancelled: &dyn Fn() -> bool) -> Result<Exit, GuardError> {
        if cancelled() {
            return Err(GuardError::Interrupted);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(&Request::Run { id, spec: spec.clone() }, &spec.program)?;
        let mut killed: Option<Instant> = None;
        loop {
            if let Some(answer) = self.wait(id, &spec.program)? {
                return match killed {
                    Some(_) => Err(GuardError::Interrupted),
                    None => answer.map_err(|problem| GuardError::NotStarted { problem }),
                };
            }
            match killed {
                Some(since) if since.elapsed() > PATIENCE => return Err(GuardError::Interrupted),
                None if cancelled() => {
                    self.send(&Request::Kill { id }, &spec.program)?;
                    killed = Some(Instant::now());
                }
                Some(_) | None => {}
            }
        }
    }

    /// Waits up to [`POLL`] for this command's answer.
    fn wait(&self, id: u64, program: &str) -> Result<Option<Result<Exit, String>>, GuardError> {
        let pending = |pinned: &mut Pinned| !pinned.answers.contains_key(&id) && pinned.gone.is_none();
        let waited = self.board.changed.wait_timeout_while(self.board.lock(), POLL, pending);
        let mut pinned = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (pinned.answers.remove(&id), &pinned.gone) {
            (None, Some(Gone { how, ended })) => {
                Err(GuardError::Gone { program: program.to_owned(), how: how.clone(), ended: *ended })
            }
            (answer, _) => Ok(answer),
        }
    }

    fn send(&self, request: &Request, program: &str) -> Result<(), GuardError> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = requests.as_mut().expect("the pipe is closed only by drop");
        pipe.write_all(&line(request)).map_err(|error| {
            let unknown = || Gone { how: error.to_string(), ended: false };
            let Gone { how, ended } = self.board.lock().gone.clone().unwrap_or_else(unknown);
            GuardError::Gone { program: program.to_owned(), how, ended }
        })
    }
}

impl Drop for Guard {
    /// Closes the pipe, whereupon the guard ends what still runs, and waits until it has.
    fn drop(&mut self) {
        self.requests.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Pins up answers until the guard's end of the pipe closes.
fn read(answers: BufReader<ChildStdout>, mut child: Child, board: &Board) {
    let mut last_word = None;
    for line in answers.lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Answer::Ended { id, exit }) => board.pin(|pinned| _ = pinned.answers.insert(id, Ok(exit))),
            Ok(Answer::NotStarted { id, problem }) => {
                board.pin(|pinned| _ = pinned.answers.insert(id, Err(problem)));
            }
            Ok(Answer::Broken { problem }) => last_word = Some(problem),
            Ok(Answer::Ready) => {}
            Err(error) => last_word = Some(format!("said `{line}`: {error}")),
        }
    }
    let guard = Pid::from_child(&child);
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let ended = children::end_those_of(guard, GRACE);
    board.pin(|pinned| pinned.gone = Some(Gone { how: last_word.unwrap_or(status), ended }));
}
