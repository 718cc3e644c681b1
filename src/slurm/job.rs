//! A job, from its submission to its end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::command::{Commands, Error};
use super::folder::{End, Exit, Folder, Ticket};
use super::state::{QUEUE_FORMAT, Queued, State, accounted, queued, shown};

/// A job is told this long before its time is over that it is to stop.
const NOTICE_SECONDS: u64 = 60;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the job is for, as people know it.
    pub what: String,
    /// How many tasks it has; with more than one it is an array.
    pub tasks: u64,
    /// Options of `sbatch`.
    pub options: Vec<String>,
    /// The program that each task runs.
    pub program: PathBuf,
    /// What it is told, before the folder's path.
    pub verb: &'static str,
    /// The folder that it begins in.
    pub directory: PathBuf,
    /// Jobs that must have ended well before.
    pub after: Vec<u64>,
}

/// A job that was submitted.
#[derive(Clone, Debug)]
pub struct Job {
    folder: Folder,
    ticket: Ticket,
    exits: BTreeMap<u64, Exit>,
}

/// What is known of a job that is not in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may still run.
    Alive(State),
    /// Its tasks ended so.
    Ended(Vec<State>),
    /// Nobody knows it any more.
    Unknown,
}

/// The queue as it was a moment ago, asked for once for all jobs.
#[derive(Debug, Default)]
pub struct Queue(Mutex<Option<(Instant, Vec<Queued>)>>);

impl Queue {
    /// The state of the jobs called `name` that the queue holds, from a look at it that is no older than `age`.
    ///
    /// # Errors
    /// Those of Slurm.
    pub fn states(&self, name: &str, age: Duration, commands: &Commands<'_>) -> Result<Vec<State>, Error> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(seen, _)| seen.elapsed() > age) {
            *last = Some((Instant::now(), look(None, commands)?));
        }
        let jobs = last.iter().flat_map(|(_, jobs)| jobs);
        Ok(jobs.filter(|job| job.name == name).map(|job| job.state.clone()).collect())
    }
}

/// What the queue holds of this user's jobs, or of those with one name.
fn look(name: Option<&str>, commands: &Commands<'_>) -> Result<Vec<Queued>, Error> {
    let user = rustix::process::getuid().as_raw();
    let mut args = vec!["--noheader".to_owned(), format!("--user={user}"), format!("--format={QUEUE_FORMAT}")];
    // Of one job it is also told that it ended a moment ago.
    args.extend(name.into_iter().flat_map(|name| [format!("--name={name}"), "--states=all".to_owned()]));
    commands.call("squeue", &args).map(|answer| queued(&answer))
}

impl Job {
    /// The job that a folder is of, whether or not it still is.
    pub fn find(folder: Folder) -> Option<Self> {
        let ticket = folder.ticket()?;
        Some(Self { folder, ticket, exits: BTreeMap::new() })
    }

    /// Submits a job. The ticket is written before, so that whatever ends this program, the job is found by its token.
    ///
    /// # Errors
    /// Those of Slurm; a folder that cannot be written.
    pub fn submit(folder: Folder, request: &Request, commands: &Commands<'_>) -> Result<Self, Error> {
        let here =
            |error: std::io::Error| Error::Refused(format!("failed to write `{}`: {error}", folder.path().display()));
        folder.clear();
        let token = token();
        let name = format!("{}.thalweg-{token}", plain(&request.what));
        let mut ticket = Ticket { token, name, tasks: request.tasks, id: None };
        folder.write_ticket(&ticket).map_err(here)?;
        let script = script(&request.program, request.verb, folder.path());
        folder.write("script", &script).map_err(here)?;
        let args = arguments(&folder, &ticket, request);
        let mut tried = false;
        let id = commands.patiently(|| {
            // What a call without an answer submitted all the same is in the queue.
            if tried && let Some(job) = look(Some(&ticket.name), commands)?.first() {
                return Ok(job.id);
            }
            tried = true;
            let answer = commands.once("sbatch", &args)?;
            let id = answer.trim().split(';').next().and_then(|id| id.parse().ok());
            id.ok_or_else(|| Error::Refused(format!("`sbatch` answered `{}`, which is no job's number", answer.trim())))
        })?;
        ticket.id = Some(id);
        folder.write_ticket(&ticket).map_err(here)?;
        Ok(Self { folder, ticket, exits: BTreeMap::new() })
    }

    /// Asks Slurm for its number, where its submission ended before that was written down.
    ///
    /// # Errors
    /// Those of Slurm.
    pub fn learn_id(&mut self, commands: &Commands<'_>) -> Result<(), Error> {
        if self.ticket.id.is_none() {
            self.ticket.id = look(Some(&self.ticket.name), commands)?.first().map(|job| job.id);
        }
        Ok(())
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether all its tasks said that they did what they had to.
    pub fn is_done(&mut self) -> bool {
        let tasks = self.tasks();
        let exits = self.exits();
        exits.len() as u64 == tasks && exits.values().all(|exit| exit.end == End::Done)
    }

    /// Its name, in which its token is.
    pub fn name(&self) -> &str {
        &self.ticket.name
    }

    /// Its number, where Slurm said it.
    pub fn id(&self) -> Option<u64> {
        self.ticket.id
    }

    /// How many tasks it has.
    pub fn tasks(&self) -> u64 {
        self.ticket.tasks
    }

    /// How its tasks ended that did.
    pub fn exits(&mut self) -> &BTreeMap<u64, Exit> {
        let new = self.folder.exits(&self.ticket.token, &self.exits);
        self.exits.extend(new);
        &self.exits
    }

    /// What some task printed last.
    pub fn last_words(&self) -> Option<String> {
        self.folder.last_words()
    }

    /// What is known of it beyond the queue: what the controller remembers of its number, if that is still its own, and what accounting
    /// knows of its name, where there is any.
    ///
    /// # Errors
    /// Those of Slurm.
    pub fn fate(&self, commands: &Commands<'_>) -> Result<Fate, Error> {
        if let Some(job) = look(Some(&self.ticket.name), commands)?.into_iter().find(|job| job.state.is_alive()) {
            return Ok(Fate::Alive(job.state));
        }
        let Some(id) = self.ticket.id else { return Ok(Fate::Unknown) };
        let args = ["show", "job", &id.to_string(), "--oneliner"];
        let known = match commands.call("scontrol", &args) {
            Ok(answer) => shown(&answer, &self.ticket.name),
            Err(Error::Refused(_) | Error::NotThere(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let known = if known.is_empty() { self.accounted(id, commands)? } else { known };
        Ok(match known.iter().find(|state| state.is_alive()) {
            Some(alive) => Fate::Alive(alive.clone()),
            None if known.is_empty() => Fate::Unknown,
            None => Fate::Ended(known),
        })
    }

    fn accounted(&self, id: u64, commands: &Commands<'_>) -> Result<Vec<State>, Error> {
        let job = format!("--jobs={id}");
        let args = [&job, "--parsable2", "--noheader", "--allocations", "--format=JobName%200,State"];
        match commands.once("sacct", &args) {
            Ok(answer) => Ok(accounted(&answer, &self.ticket.name)),
            Err(Error::Cancelled) => Err(Error::Cancelled),
            // Many clusters have no accounting.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Cancels it, or only its tasks that wait.
    ///
    /// # Errors
    /// Those of Slurm.
    pub fn cancel(&self, waiting_only: bool, commands: &Commands<'_>) -> Result<(), Error> {
        let user = rustix::process::getuid().as_raw();
        let mut args = vec!["--quiet".to_owned(), format!("--user={user}"), format!("--name={}", self.ticket.name)];
        args.extend(waiting_only.then(|| "--state=PENDING".to_owned()));
        commands.call("scancel", &args)?;
        if !waiting_only {
            // Whoever looks for a job next is to find none that is about to end.
            self.folder.forget_ticket();
        }
        Ok(())
    }
}

/// Has the job that this program runs in go back into the queue: it runs again from its beginning, and finds what it did.
///
/// # Errors
/// Those of Slurm.
pub fn requeue(id: &str, commands: &Commands<'_>) -> Result<(), Error> {
    commands.call("scontrol", &["requeue", id]).map(drop)
}

fn arguments(folder: &Folder, ticket: &Ticket, request: &Request) -> Vec<OsString> {
    let mut output = b"--output=".to_vec();
    for &byte in folder.log("").as_os_str().as_bytes() {
        output.extend(std::iter::repeat_n(byte, if b"\\%".contains(&byte) { 2 } else { 1 }));
    }
    output.extend_from_slice(if ticket.tasks > 1 { b"%a" } else { b"0" });
    let chdir = [b"--chdir=", request.directory.as_os_str().as_bytes()].concat();
    let mut args = vec![
        "--parsable".to_owned(),
        format!("--job-name={}", ticket.name),
        format!("--comment={}", ticket.name),
        "--requeue".to_owned(),
        "--open-mode=append".to_owned(),
        format!("--signal=B:USR1@{NOTICE_SECONDS}"),
    ];
    if ticket.tasks > 1 {
        args.push(format!("--array=0-{}", ticket.tasks - 1));
    }
    if !request.after.is_empty() {
        let ids: Vec<String> = request.after.iter().map(u64::to_string).collect();
        args.push(format!("--dependency=afterok:{}", ids.join(":")));
        args.push("--kill-on-invalid-dep=yes".to_owned());
    }
    args.extend(request.options.iter().cloned());
    let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
    args.extend([output, chdir].map(OsString::from_vec));
    args.push(folder.path().join("script").into_os_string());
    args
}

/// The program becomes the job's first process, so that signals reach it.
fn script(program: &Path, verb: &str, folder: &Path) -> Vec<u8> {
    let mut script = b"#!/bin/sh\nexec ".to_vec();
    for word in [program.as_os_str(), OsStr::new(verb), folder.as_os_str()] {
        script.push(b'\'');
        for &byte in word.as_bytes() {
            if byte == b'\'' { script.extend_from_slice(b"'\\''") } else { script.push(byte) }
        }
        script.extend_from_slice(b"' ");
    }
    script.push(b'\n');
    script
}

/// What no other job has.
fn token() -> String {
    let mut bytes = [0; 6];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        bytes.copy_from_slice(&(now ^ u128::from(std::process::id())).to_le_bytes()[..6]);
    }
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:012x}")
}

/// A name without what separates words and names in Slurm's answers.
fn plain(what: &str) -> String {
    const LONGEST: usize = 60;
    what.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.=".contains(c) { c } else { '_' }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_quotes_whatever_a_path_holds() {
        let script = script(Path::new("/a b/it's"), "__work", Path::new("/cache/$x"));
        assert_eq!(String::from_utf8(script).unwrap(), "#!/bin/sh\nexec '/a b/it'\\''s' '__work' '/cache/$x' \n");
    }

    #[test]
    fn tokens_are_not_repeated_and_names_hold_no_separators() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 12);
        assert_eq!(plain("train[model=mlp,seed=0] é|x"), "train_model=mlp_seed=0____x");
    }

    #[test]
    fn a_wide_job_is_an_array_and_percent_signs_in_paths_stay() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("50%")).unwrap();
        let ticket = Ticket { token: "t".into(), name: "a.thalweg-t".into(), tasks: 8, id: None };
        let request = Request {
            what: "a".into(),
            tasks: 8,
            options: vec!["--mem=1G".into()],
            program: "/bin/true".into(),
            verb: "__work",
            directory: "/".into(),
            after: vec![3, 4],
        };
        let args = arguments(&folder, &ticket, &request);
        assert!(args.contains(&"--array=0-7".into()) && args.contains(&"--dependency=afterok:3:4".into()));
        let texts: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert!(texts.iter().any(|arg| arg.starts_with("--output=") && arg.ends_with("/50%%/log-%a")), "{args:?}");
        assert!(texts.iter().position(|arg| *arg == "--mem=1G") < texts.iter().position(|arg| arg.ends_with("script")));
        // A path is bytes.
        let folder = Folder::at(&place.path().join(OsStr::from_bytes(b"not \xff text"))).unwrap();
        let args = arguments(&folder, &ticket, &request);
        assert!(args.iter().any(|arg| arg.as_bytes().ends_with(b"not \xff text/log-%a")), "{args:?}");
    }
}
