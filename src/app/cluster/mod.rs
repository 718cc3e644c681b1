//! `--executor slurm`: each stale stage becomes a job, which this program submits, watches (`watch`) and speaks for (`voice`), or with `--detach` leaves to itself (`detach`).

mod detach;
mod voice;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use watch::Ended;

use super::project::Project;
use super::worker::{self, Spec};
use super::{Problem, Streams};
use crate::cli::{OnInterrupt, RunArgs};
use crate::event::{Event, Sink};
use crate::execute::{Cancel, Failure};
use crate::key::{Digest, Key};
use crate::manifest::{Instance, Slurm};
use crate::report::words;
use crate::schedule::{Elsewhere, Errand, Errands};
use crate::slurm::{Commands, Error, Fate, Folder, Job, Queue, Request, State};
use crate::store::Store;

/// Stages that have jobs at once; the others wait here.
pub const AT_ONCE: usize = 1000;
/// How often a job's files are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How seldom the queue is asked about a job in the end.
const LONGEST_ASK: Duration = Duration::from_secs(15);
/// How long a record may take to be seen here that another machine wrote.
const UNSEEN: Duration = Duration::from_mins(1);
/// Whoever watches a job sees its end well before this is over.
const UNWATCHED: Duration = Duration::from_mins(5);
/// A job that ended without a word for a reason that is not its own is submitted again so often.
const RESUBMISSIONS: u32 = 3;
/// The reason of a job that waits for one that failed.
const NEVER: &str = "DependencyNeverSatisfied";
/// Slurm's remarks on a job that waits are told when it has waited this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster, for one run.
pub struct Cluster<'a> {
    project: &'a Project,
    args: &'a RunArgs,
    store: &'a Store,
    events: &'a dyn Sink,
    cancel: Cancel,
    queue: Queue,
    program: PathBuf,
    /// Jobs that this run waits for, by their names.
    live: Mutex<BTreeMap<String, Job>>,
}

impl<'a> Cluster<'a> {
    /// The cluster that Slurm's own configuration names.
    pub fn new(
        project: &'a Project,
        args: &'a RunArgs,
        store: &'a Store,
        events: &'a dyn Sink,
        cancel: Cancel,
    ) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| "thalweg".into());
        let (queue, live) = (Queue::default(), Mutex::default());
        Self { project, args, store, events, cancel, queue, program, live }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, stage: &str, message: impl Into<String>) {
        self.events.emit(Event::Note { stage: Some(stage.to_owned()), message: message.into() });
    }

    fn warn(&self, message: String) {
        self.events.emit(Event::Warning { stage: None, message });
    }

    /// Calls Slurm for as long as this run goes on.
    fn calling<T>(&self, call: impl FnOnce(&Commands<'_>) -> Result<T, Error>) -> Result<T, Failure> {
        let cancelled = || self.cancel.raised();
        let waiting = |problem: Option<&str>| match problem {
            Some(problem) => self.warn(format!("{problem}; waiting for Slurm")),
            None => self.events.emit(Event::Note { stage: None, message: "Slurm answers again".to_owned() }),
        };
        call(&Commands { cancelled: &cancelled, waiting: &waiting }).map_err(|error| match error {
            Error::Cancelled => Failure::Interrupted,
            Error::Refused(problem) | Error::Passing(problem) => Failure::Work(problem),
            Error::NotThere(problem) => Failure::Machine(problem),
        })
    }

    fn folder(&self, tag: &str) -> PathBuf {
        self.store.root().join("slurm").join(tag)
    }

    /// What is asked of Slurm for a stage.
    fn settings(&self, instance: &Instance) -> Slurm {
        instance.slurm.over(&self.project.settings.slurm)
    }

    fn request(&self, instance: &Instance, backend: &str, after: Vec<u64>) -> Request {
        let settings = self.settings(instance);
        Request {
            what: instance.name.clone(),
            tasks: settings.shards.unwrap_or(1),
            options: options(&settings, instance.slurm.gres.is_some(), backend),
            program: self.program.clone(),
            verb: worker::VERB,
            directory: std::env::current_dir().unwrap_or_else(|_| self.project.root.clone()),
            after,
        }
    }

    fn spec(&self, stage: Option<&str>, backend: &str, tasks: u64) -> Spec {
        let mut words = worker::words(self.args, self.project);
        if stage.is_none() {
            words.extend(self.args.stages.iter().map(OsString::from));
        }
        Spec {
            words: worker::bytes_of(words),
            text: self.project.text.clone(),
            stage: stage.map(str::to_owned),
            backend: backend.to_owned(),
            tasks,
            signer: self.store.signer().map(str::to_owned),
        }
    }

    /// The job of a stage: one that was submitted before and still goes on, or a new one; none where one has just done it.
    fn job(&self, errand: &Errand<'_>) -> Result<Option<Job>, Failure> {
        let stage = &errand.instance.name;
        let tag = tag_of(&errand.key);
        let waiting = || self.note(stage, "another run asks for the same job; waiting for it");
        let _held = self.store.lock_job(&tag, &|| self.cancel.raised(), &waiting)?;
        for tag in [tag.clone(), self.tag_before(errand.instance)] {
            if let Some(job) = self.living(&tag)? {
                self.note(stage, format!("attached to {}", said(&job)));
                return Ok(Some(job));
            }
        }
        match self.store.record(&errand.key)? {
            Some(_) => Ok(None),
            None => self.submit(errand, &tag).map(Some),
        }
    }

    /// The job of a folder, while it goes on.
    fn living(&self, tag: &str) -> Result<Option<Job>, Failure> {
        let Some(mut job) = Folder::find(&self.folder(tag)).and_then(Job::find) else { return Ok(None) };
        let (start, mut pause, mut told) = (Instant::now(), LOOK, false);
        loop {
            if job.exits().len() as u64 == job.tasks() {
                return Ok(None);
            }
            match self.calling(|commands| job.fate(commands))? {
                Fate::Alive(State::Ending) => {
                    if start.elapsed() > PATIENCE && !std::mem::replace(&mut told, true) {
                        let message = format!("{} is being ended; waiting for that", said(&job));
                        self.events.emit(Event::Note { stage: None, message });
                    }
                    self.calling(|commands| commands.sleep(pause))?;
                    pause = (pause * 2).min(LONGEST_ASK);
                }
                Fate::Alive(State::Pending(reason)) if reason.contains(NEVER) => return Ok(None),
                Fate::Alive(_) => {
                    self.calling(|commands| job.learn_id(commands))?;
                    return Ok(Some(job));
                }
                Fate::Ended(_) | Fate::Unknown => return Ok(None),
            }
        }
    }

    fn submit(&self, errand: &Errand<'_>, tag: &str) -> Result<Job, Failure> {
        let request = self.request(errand.instance, errand.backend, Vec::new());
        let spec = self.spec(Some(&errand.instance.name), errand.backend, request.tasks);
        let job = self.submit_as(tag, &spec, &request)?;
        self.note(&errand.instance.name, format!("submitted {}", said(&job)));
        Ok(job)
    }

    /// Submits a stage once more, and says why.
    fn again(&self, errand: &Errand<'_>, why: &str) -> Result<Job, Failure> {
        let stage = Some(errand.instance.name.clone());
        self.events.emit(Event::Warning { stage, message: format!("{why}; it is submitted again") });
        self.submit(errand, &tag_of(&errand.key))
    }

    fn submit_as(&self, tag: &str, spec: &Spec, request: &Request) -> Result<Job, Failure> {
        let path = self.folder(tag);
        let failed = |error: std::io::Error| {
            Failure::Machine(format!("failed to write `{}`: {}", path.display(), Failure::said(&error)))
        };
        let folder = Folder::at(&path).map_err(failed)?;
        spec.write(&folder).map_err(failed)?;
        let submitted = self.calling(|commands| Job::submit(folder, request, commands));
        if matches!(submitted, Err(Failure::Interrupted))
            && let Some(job) = Folder::find(&path).and_then(Job::find)
        {
            // Whether Slurm took it is not known.
            self.live().insert(job.name().to_owned(), job);
        }
        submitted
    }

    /// Cancels a job, or its tasks that wait; that Slurm does not is told.
    fn cancel(&self, job: &Job, waiting_only: bool) -> Result<(), Failure> {
        match self.calling(|commands| job.cancel(waiting_only, commands)) {
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(problem) => {
                self.warn(format!("{} was not cancelled: {problem}", said(job)));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Folders of jobs that did what they had to a while ago, which nobody watched, go.
    pub fn sweep(&self) {
        for entry in std::fs::read_dir(self.store.root().join("slurm")).into_iter().flatten().flatten() {
            let tag = entry.file_name().to_string_lossy().into_owned();
            // Whoever submits it anew has the lock.
            let Ok(_held) = self.store.lock_job(&tag, &|| true, &|| ()) else { continue };
            if let Some(mut job) = Folder::find(&entry.path()).and_then(Job::find)
                && job.is_done()
                && job.folder().is_older_than(UNWATCHED)
            {
                job.folder().clone().remove();
            }
        }
    }

    /// The record must be there; another machine's files may be seen a moment later.
    fn await_record(&self, errand: &Errand<'_>, job: &Job) -> Result<(), Failure> {
        let start = Instant::now();
        while self.store.record(&errand.key)?.is_none() {
            if start.elapsed() > UNSEEN {
                let (what, name) = (said(job), &errand.instance.name);
                let problem = "a file that it reads was edited meanwhile, or the job's machine has another cache";
                return Err(Failure::Work(format!("{what} is done and there is no record of `{name}`: {problem}")));
            }
            self.calling(|commands| commands.sleep(LOOK))?;
        }
        Ok(())
    }

    /// What a stage's job is found by while the stage's key is not known: the study as it is written.
    fn tag_before(&self, instance: &Instance) -> String {
        format!("ahead-{}", self.digest(&instance.name))
    }

    fn digest(&self, what: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        let words = worker::words(self.args, self.project);
        let words = words.iter().map(|word| word.as_encoded_bytes());
        for part in words.chain([self.project.text.as_bytes(), what.as_bytes()]) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Digest::from_hasher(&hasher).to_string()[..32].to_owned()
    }

    /// After an interruption: whether the jobs that go on are to be cancelled is asked, where somebody can answer.
    ///
    /// # Errors
    /// Nobody to be told.
    pub fn leave_or_cancel(&self, streams: &mut Streams<'_>, asks: bool) -> Result<(), Problem> {
        let jobs: Vec<Job> = self.live().values().cloned().collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let count = words::count(jobs.len() as u64, "job");
        let cancel = match self.args.on_interrupt {
            OnInterrupt::Cancel => true,
            OnInterrupt::Leave => false,
            OnInterrupt::Ask if !asks => false,
            OnInterrupt::Ask => {
                write!(streams.err, "cancel {count}, or leave them to go on? [cancel/LEAVE] ")?;
                streams.err.flush()?;
                let mut answer = String::new();
                let read = std::io::stdin().lock().read_line(&mut answer);
                read.is_ok() && answer.trim().to_lowercase().starts_with('c')
            }
        };
        if !cancel {
            writeln!(streams.err, "{count} left to go on; the same command attaches to them")?;
            return Ok(());
        }
        let until = Instant::now() + Duration::from_mins(1);
        let commands = Commands { cancelled: &|| Instant::now() > until, waiting: &|_| () };
        for job in &jobs {
            match job.cancel(false, &commands) {
                Ok(()) => writeln!(streams.err, "cancelled {}", said(job))?,
                Err(error) => writeln!(streams.err, "error: {} was not cancelled: {error}", said(job))?,
            }
        }
        Ok(())
    }
}

impl Elsewhere for Cluster<'_> {
    fn run(&self, errand: &Errand<'_>) -> Result<Errands, Failure> {
        let stage = &errand.instance.name;
        let mut resubmissions = 0;
        let Some(mut job) = self.job(errand)? else { return Ok(Errands::default()) };
        loop {
            self.live().insert(job.name().to_owned(), job.clone());
            let ended = self.watch(stage, &mut job);
            if !matches!(ended, Err(Failure::Interrupted)) {
                self.live().remove(job.name());
            }
            match ended? {
                Ended::Failed(failure) => return Err(failure),
                Ended::Done(errands) => {
                    self.await_record(errand, &job)?;
                    job.folder().clone().remove();
                    return Ok(errands);
                }
                // Another run that watched the same job may have seen its end and put its folder away.
                Ended::OutOfTime(_) | Ended::Again(..) if self.store.record(&errand.key)?.is_some() => {
                    return Ok(Errands::default());
                }
                Ended::OutOfTime(why) => job = self.again(errand, &why)?,
                Ended::Again(why, progressed) => {
                    resubmissions = if progressed { 1 } else { resubmissions + 1 };
                    if resubmissions > RESUBMISSIONS {
                        return Err(Failure::Machine(format!("{why}, {RESUBMISSIONS} times in a row")));
                    }
                    job = self.again(errand, &why)?;
                }
            }
        }
    }
}

fn tag_of(key: &Key) -> String {
    key.to_string()[..32].to_owned()
}

/// A job as people know it.
fn said(job: &Job) -> String {
    let id = job.id().map_or_else(|| format!("job `{}`", job.name()), |id| format!("job {id}"));
    if job.tasks() > 1 { format!("{id} of {} tasks", job.tasks()) } else { id }
}

/// Options of `sbatch`. Generic resources that are set for all stages are for those that compute on GPUs.
fn options(settings: &Slurm, gres_of_its_own: bool, backend: &str) -> Vec<String> {
    let gres = settings.gres.clone().filter(|_| gres_of_its_own || backend == "cuda");
    let gpu = (backend == "cuda").then(|| "gpu:1".to_owned());
    let given = [
        ("partition", settings.partition.clone()),
        ("account", settings.account.clone()),
        ("time", settings.time.clone()),
        ("gres", gres.or(gpu)),
        ("cpus-per-task", settings.cpus.map(|cpus| cpus.to_string())),
        ("mem", settings.mem.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
    given.chain(settings.extra.iter().cloned()).collect()
}
