//! The guard itself: one thread, one loop over two wake-ups, the runner's pipe and SIGCHLD.
//!
//! The program of a command is not waited for until nothing else of the command is left: until then the kernel keeps its
//! number, and with it the number of its group, from being given to anybody else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, getpgid, getpid, getrlimit, kill_process,
    kill_process_group, set_child_subreaper, setrlimit, setsid, waitid, waitpid,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::wire::{Answer, Request, line};
use super::{CommandSpec, Exit, GRACE, children};

/// How often a command that is being ended is looked at, in case a wake-up was missed.
const LOOK_ENDING: Duration = Duration::from_millis(20);

/// The same while commands run: orphans that ended unseen are waited for.
const LOOK_RUNNING: Duration = Duration::from_secs(1);

/// How long a guard without a runner tries to end what resists.
const LAST_EFFORT: Duration = Duration::from_secs(5);

/// What `thalweg __guard` runs: starts and ends commands as its standard input says until that closes, then kills what is
/// left and returns.
///
/// It must be called before the program starts any thread.
pub fn guard_main() -> ExitCode {
    let mut keeper = match Keeper::new() {
        Ok(keeper) => keeper,
        Err(error) => {
            say(&Answer::Broken { problem: error.to_string() });
            return ExitCode::FAILURE;
        }
    };
    say(&Answer::Ready);
    let ended = keeper.watch();
    keeper.end_all();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Answer::Broken { problem: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

/// Says one word to the runner; false if nobody listens.
fn say(answer: &Answer) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(&line(answer)).and_then(|()| out.flush()).is_ok()
}

/// A command that was started.
struct Started {
    /// Its program, whose number is also that of its group.
    leader: Pid,
    /// What all that descends from it bears.
    mark: u64,
    /// When it was asked to end.
    asked: Option<Instant>,
    /// The orphans out of its group that were asked too, each once.
    asked_orphans: HashSet<Pid>,
    /// How its program ended.
    exit: Option<Exit>,
}

impl Started {
    /// Whether what is left of it is to be killed now: it ended by itself, or its grace is over.
    fn is_due(&self) -> bool {
        self.asked.map_or(self.exit.is_some(), |asked| asked.elapsed() >= GRACE)
    }
}

struct Keeper {
    commands: BTreeMap<u64, Started>,
    woken: UnixStream,
    unread: Vec<u8>,
    own_limit: Rlimit,
    /// Marks count up from here.
    next_mark: u64,
    heard: bool,
}

impl Keeper {
    fn new() -> io::Result<Self> {
        // Fails if the guard leads a group already, and then it is out of the terminal's reach all the same.
        let _ = setsid();
        set_child_subreaper(Some(getpid()))?;
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
        // Caught, not ignored: commands would inherit the latter.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Self {
            commands: BTreeMap::new(),
            woken,
            unread: Vec::new(),
            own_limit: getrlimit(Resource::Locks),
            next_mark: children::first_mark(getpid()),
            heard: true,
        })
    }

    /// Serves until the runner is gone.
    fn watch(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 1 << 16];
        while self.heard {
            if self.poll()? {
                let read = rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut bytes))?;
                if read == 0 {
                    break;
                }
                self.unread.extend_from_slice(&bytes[..read]);
                self.serve()?;
            }
            self.sweep();
        }
        Ok(())
    }

    /// Sleeps until there is something to do; true if the runner has said something or is gone.
    fn poll(&mut self) -> io::Result<bool> {
        let is_ending = self.commands.values().any(|command| command.asked.is_some() || command.exit.is_some());
        let timeout = match (is_ending, self.commands.is_empty()) {
            (false, false) => Some(LOOK_RUNNING),
            (false, true) if !has_children() => None,
            _ => Some(LOOK_ENDING),
        };
        let timeout = timeout.map(|span| Timespec::try_from(span).expect("a few seconds fit"));
        let stdin = io::stdin();
        let mut wakes = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        match poll(&mut wakes, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let said = !wakes[0].revents().is_empty();
        while matches!(self.woken.read(&mut [0; 256]), Ok(256)) {}
        Ok(said)
    }

    /// Does what the whole lines among the bytes read so far ask for.
    fn serve(&mut self) -> io::Result<()> {
        let Some(end) = self.unread.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
        let rest = self.unread.split_off(end + 1);
        for request in std::mem::replace(&mut self.unread, rest).split(|&byte| byte == b'\n') {
            if request.is_empty() {
                continue;
            }
            match serde_json::from_slice(request)? {
                Request::Run { id, spec } => match self.start(&spec) {
                    Ok(started) => _ = self.commands.insert(id, started),
                    Err(problem) => self.answer(&Answer::NotStarted { id, problem }),
                },
                // It may have ended just before it was asked to: then there is nothing to do.
                Request::Kill { id } => {
                    if let Some(command) = self.commands.get_mut(&id) {
                        command.asked.get_or_insert_with(Instant::now);
                        let _ = kill_process_group(command.leader, Signal::TERM);
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer) {
        self.heard &= say(answer);
    }

    fn start(&mut self, spec: &CommandSpec) -> Result<Started, String> {
        let failed = |operation: &str, path: &Path, error: &dyn std::fmt::Display| {
            format!("failed to {operation} `{}`: {error}", path.display())
        };
        let directory = spec.directory.metadata().map_err(|error| failed("enter", &spec.directory, &error))?;
        if !directory.is_dir() {
            return Err(failed("enter", &spec.directory, &"not a directory"));
        }
        let stdout = File::create(&spec.stdout).map_err(|error| failed("make", &spec.stdout, &error))?;
        let stderr = if spec.stderr == spec.stdout { stdout.try_clone() } else { File::create(&spec.stderr) };
        let stderr = stderr.map_err(|error| failed("make", &spec.stderr, &error))?;
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).current_dir(&spec.directory).process_group(0);
        // Emptying the environment at one stroke would make the standard library fork where it could spawn, which takes
        // several times as long; so would naming `PATH`, which the runner therefore keeps from this program.
        for (name, _) in std::env::vars_os() {
            command.env_remove(name);
        }
        command.envs(&spec.env);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);

        let mark = self.next_mark;
        self.next_mark += 1;
        let marked = Rlimit { current: Some(mark), maximum: self.own_limit.maximum };
        setrlimit(Resource::Locks, marked).map_err(|error| format!("failed to mark `{}`: {error}", spec.program))?;
        let spawned = command.spawn();
        setrlimit(Resource::Locks, self.own_limit).map_err(|error| format!("failed to unmark: {error}"))?;
        let child = spawned.map_err(|error| failed("start", Path::new(&spec.program), &error))?;
        Ok(Started { leader: Pid::from_child(&child), mark, asked: None, asked_orphans: HashSet::new(), exit: None })
    }

    /// Looks at every child: waits for those that ended, kills what is left of commands that are over, answers for those of
    /// which nothing is left.
    fn sweep(&mut self) {
        for command in self.commands.values_mut().filter(|command| command.exit.is_none()) {
            command.exit = exit_of(command.leader);
        }
        let left = self.end_orphans();
        for (id, command) in &self.commands {
            if command.is_due() && (command.exit.is_none() || left.contains(id)) {
                let _ = kill_process_group(command.leader, Signal::KILL);
            }
        }
        let over: Vec<(u64, Exit)> = self
            .commands
            .iter()
            .filter(|(id, _)| !left.contains(id))
            .filter_map(|(&id, command)| Some((id, command.exit?)))
            .collect();
        for (id, exit) in over {
            if let Some(command) = self.commands.remove(&id) {
                let _ = waitpid(Some(command.leader), WaitOptions::NOHANG);
            }
            self.answer(&Answer::Ended { id, exit });
        }
    }

    /// Goes through the children that are nobody's program, and says of which commands some still live.
    fn end_orphans(&mut self) -> BTreeSet<u64> {
        let leaders: HashSet<Pid> = self.commands.values().map(|command| command.leader).collect();
        let mut left = BTreeSet::new();
        for child in children::direct() {
            if leaders.contains(&child) || !matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None)) {
                continue;
            }
            let Some((id, command)) = self.owner(child) else {
                // It is of a command that is over, or of a guard below a command, which is gone.
                let _ = kill_process(child, Signal::KILL);
                continue;
            };
            let sent = if command.is_due() {
                kill_process(child, Signal::KILL)
            } else if command.asked.is_some() && command.asked_orphans.insert(child) {
                kill_process(child, Signal::TERM)
            } else {
                Ok(())
            };
            // What may not be killed, because it took another user's rights, cannot be waited for either.
            if sent != Err(Errno::PERM) {
                left.insert(id);
            }
        }
        left
    }

    /// The command that an orphan descends from.
    fn owner(&mut self, child: Pid) -> Option<(u64, &mut Started)> {
        let group = getpgid(Some(child)).ok();
        let is_of_group = |command: &Started| Some(command.leader) == group;
        let mark = if self.commands.values().any(is_of_group) { None } else { children::mark(child) };
        let is_owner = |command: &Started| is_of_group(command) || Some(command.mark) == mark;
        self.commands.iter_mut().find(|(_, command)| is_owner(command)).map(|(&id, command)| (id, command))
    }

    /// Kills everything at once and waits until it is gone.
    fn end_all(&mut self) {
        for command in std::mem::take(&mut self.commands).into_values() {
            let _ = kill_process_group(command.leader, Signal::KILL);
        }
        let since = Instant::now();
        while has_children() && since.elapsed() < LAST_EFFORT {
            for child in children::direct() {
                if matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None)) {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether there is any child, ended or not: one may be left that the kernel's list missed.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// How a program ended, without waiting for it; `None` while it runs.
fn exit_of(leader: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(leader), options).ok().flatten()?;
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}
