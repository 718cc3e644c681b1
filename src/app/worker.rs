//! What a job on a cluster runs: one stage of a study, or a share of it, over the cache that all jobs have.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGUSR1;

use super::project::Project;
use super::world::Here;
use super::{Exit, Problem, Streams, run, shared};
use crate::cli::{self, Cli, RunArgs, Verb};
use crate::event::Sink;
use crate::execute::Share;
use crate::plan::Graph;
use crate::report::{Fan, JsonLines, Tally};
use crate::schedule::{Outcome, Schedule};
use crate::slurm::{self, Commands, End, Folder};
use crate::store::Signer;

/// The file in a job's folder that says what the job is to do.
const SPEC: &str = "spec.json";
/// The word by which a job's program is started.
pub const VERB: &str = "__work";

/// What a job is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// A command line of `run`, each word by its bytes.
    pub words: Vec<Vec<u8>>,
    /// The manifest as it was when the job was asked for.
    pub text: String,
    /// The stage instance; all that the words name, found rather than run, where only its results are to be written.
    pub stage: Option<String>,
    /// The backend of what names none.
    pub backend: String,
    /// How many jobs share the stage.
    pub tasks: u64,
    /// Who signs the records that are believed, where anybody does.
    pub signer: Option<String>,
}

impl Spec {
    /// Puts it into a job's folder.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// Never: a specification serialises.
    pub fn write(&self, folder: &Folder) -> std::io::Result<()> {
        folder.write(SPEC, &serde_json::to_vec(self).expect("invariant: a specification serialises"))
    }

    fn read(folder: &Path) -> Result<Self, Problem> {
        let path = folder.join(SPEC);
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let spec = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        spec.map_err(|error| Problem::Machine(format!("failed to read `{}`: {error}", path.display())))
    }

    /// The project, where this job believes the same records as the run that asked for it.
    fn is_for(&self, project: Project) -> Result<Project, Problem> {
        let signer = if project.remote.is_some() { shared::signer()? } else { None };
        if signer.as_ref().map(Signer::name) == self.signer.as_deref() {
            return Ok(project);
        }
        let what = "the job has another `THALWEG_RECORD_KEY` than the run that asked for it, or none";
        let why = "`sbatch` passes it on unless `--export` or `SBATCH_EXPORT` say otherwise";
        Err(Problem::Machine(format!("{what}; {why}")))
    }

    fn run_args(&self) -> Result<RunArgs, Problem> {
        let words = self.words.iter().map(|word| OsString::from_vec(word.clone()));
        match Cli::try_parse_from(words).map(|cli| cli.verb) {
            Ok(Verb::Run(args)) => Ok(args),
            _ => Err(Problem::Machine("a job's command line is not one of `run`".to_owned())),
        }
    }
}

/// Runs what a job's folder says, as one of its tasks.
///
/// # Errors
/// What kept it from beginning; it is also said in the folder.
pub fn work(path: &Path, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let folder =
        Folder::find(path).ok_or_else(|| Problem::Machine(format!("there is no folder `{}`", path.display())))?;
    let (job, token) = (cli::slurm_job(), folder.token().unwrap_or_default());
    let exit = |end, message: String, tally: &Tally| {
        let actions = tally.counts().all_actions();
        let exit = slurm::Exit { token: token.clone(), end, message, hit: actions.hit, ran: actions.ran };
        folder.write_exit(job.task, &exit)
    };
    let begun = Spec::read(path).and_then(|spec| Ok((spec.run_args()?, spec)));
    let (args, spec) = match begun {
        Ok(begun) => begun,
        Err(problem) => {
            exit(End::Machine, words_of(&problem), &Tally::new())?;
            return Err(problem);
        }
    };
    let Some(stage) = &spec.stage else {
        let project = Project::of(&args.study, spec.text.clone()).and_then(|project| spec.is_for(project));
        let done = project.and_then(|project| run::run_of(&project, &args, streams));
        let end = match &done {
            Ok(Exit::Done | Exit::ClaimFails) => Some((End::Done, String::new())),
            Ok(Exit::StageFailed) => Some((End::Work, "a stage failed".to_owned())),
            Ok(Exit::Machine) => Some((End::Machine, "the cache or the machine failed".to_owned())),
            Ok(_) | Err(Problem::Interrupted) => None,
            Err(problem) => Some((End::Machine, words_of(problem))),
        };
        if let Some((end, message)) = end {
            exit(end, message, &Tally::new())?;
        }
        return done;
    };
    let tally = Arc::new(Tally::new());
    let out_of_time = Arc::new(AtomicBool::new(false));
    let task = Task { args: &args, spec: &spec, stage, job: &job, folder: &folder, out_of_time: &out_of_time };
    let told_before = folder.told_by_others(job.task);
    let done = task.run(&tally);
    let ended = match &done {
        Err(Problem::Interrupted) => None,
        Err(problem) => Some((End::Machine, words_of(problem))),
        Ok(outcome) => end_of(outcome),
    };
    match ended {
        Some((end, message)) => exit(end, message, &tally)?,
        // What was done is kept. Whoever goes before this job, or cancelled it, knows what becomes of it; where only its time is over, it
        // goes back into the queue, unless it would get no further then either.
        None if out_of_time.load(Ordering::Relaxed) => {
            // One that only waited for others goes on waiting as long as these get on.
            let waits_for_others = folder.told_by_others(job.task) != told_before;
            if tally.counts().all_actions().ran == 0 && !waits_for_others {
                exit(
                    End::Work,
                    "its time limit is over before one action was done; give it more `time`".to_owned(),
                    &tally,
                )?;
            } else if let Some(id) = &job.id {
                let commands = Commands { cancelled: &|| false, waiting: &|_| () };
                slurm::requeue(id, &commands).map_err(|error| Problem::Machine(error.to_string()))?;
            }
        }
        None => {}
    }
    done.map(|outcome| run::exit(&outcome, &tally.counts()))
}

/// One task of a job.
struct Task<'a> {
    args: &'a RunArgs,
    spec: &'a Spec,
    stage: &'a str,
    job: &'a cli::SlurmJob,
    folder: &'a Folder,
    out_of_time: &'a Arc<AtomicBool>,
}

impl Task<'_> {
    fn run(&self, tally: &Arc<Tally>) -> Result<Outcome, Problem> {
        let mut project = self.spec.is_for(Project::of(&self.args.study, self.spec.text.clone())?)?;
        if project.ordinal().is_some() {
            "cuda".clone_into(&mut project.device);
        }
        let (i, _) = project
            .study
            .instance(self.stage)
            .ok_or_else(|| Problem::Machine(format!("the study has no stage `{}`", self.stage)))?;
        let cancel = run::listen_for_signals()?;
        for flag in [cancel.flag(), Arc::clone(self.out_of_time)] {
            let listening = signal_hook::flag::register(SIGUSR1, flag);
            listening.map_err(|error| Problem::Machine(format!("failed to listen for signals: {error}")))?;
        }
        let jobs = self.job.cpus.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
        // A node has more cores than the job may use; where it was set before, that stands.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(jobs).build_global();
        let path = self.folder.events(self.job.task);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| Problem::Machine(format!("failed to write `{}`: {error}", path.display())))?;
        let events: Arc<dyn Sink> =
            Arc::new(Fan::new(vec![Arc::clone(tally) as Arc<dyn Sink>, Arc::new(JsonLines::new(file))]));
        let write_back = self.args.remote_write.or(project.settings.remote_write).unwrap_or_default();
        let store = Arc::new(project.open_store(write_back, &events, &cancel)?);
        let engine = run::engine(&project, &store, jobs, (Arc::clone(&events), cancel.clone()));
        let here = Here::of(
            &project,
            &store,
            store.read_root(&project.study.name, &project.study.profile)?.unwrap_or_default(),
        );
        let here = here.computing_on(&self.spec.backend);
        let works = run::works(&project);
        let wanted = Graph::new(&project.study).with_all_above(&[i]);
        let share = Share { task: self.job.task, of: self.spec.tasks };
        let schedule =
            Schedule::new((&project.study, &works), wanted, &engine, &here, jobs).sharing(share).on_what_is_given();
        let outcome = schedule.run();
        run::remember(&store, &project, &outcome, false)?;
        store.flush()?;
        // Whether all of the stage is there is for the run that asked for it to see: it asks once, not each task.
        run::share(&project, &store, &[], &*events, &cancel)?;
        Ok(outcome)
    }
}

/// How a task ended; nothing where it was interrupted.
fn end_of(outcome: &Outcome) -> Option<(End, String)> {
    if outcome.interrupted {
        return None;
    }
    let failed = outcome.stages.iter().find(|ended| ended.state == crate::schedule::State::Failed);
    let why = failed.map(|ended| ended.reason.clone()).unwrap_or_default();
    Some(match (&outcome.machine, &outcome.lost) {
        (Some(problem), _) => (End::Machine, problem.clone()),
        (None, Some(problem)) => (End::Lost, problem.clone()),
        (None, None) if outcome.failed() => (End::Work, why),
        (None, None) => (End::Done, String::new()),
    })
}

fn words_of(problem: &Problem) -> String {
    match problem {
        Problem::Usage(reports) => reports.iter().map(|report| format!("{report}")).collect::<Vec<_>>().join("; "),
        Problem::Machine(message) => message.clone(),
        Problem::Interrupted => "interrupted".to_owned(),
        Problem::Closed => "nobody reads".to_owned(),
    }
}

/// Words as a specification has them.
pub fn bytes_of(words: Vec<OsString>) -> Vec<Vec<u8>> {
    words.into_iter().map(OsString::into_vec).collect()
}

/// The command line of a run with these arguments, for a job: the same study, cache and results, wherever it begins.
pub fn words(args: &RunArgs, project: &Project) -> Vec<OsString> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    let study = &args.study;
    let mut words: Vec<OsString> = ["thalweg", "run", "--executor", "local"].map(OsString::from).to_vec();
    let mut option = |name: &str, value: OsString| words.extend([OsString::from(name), value]);
    option("--profile", study.profile.clone().into());
    study.sets.iter().for_each(|set| option("--set", set.into()));
    option("--cache", absolute(&project.cache));
    option("--results", absolute(&project.results));
    option("--remote", project.remote.clone().unwrap_or_else(|| "none".to_owned()).into());
    option("--device", study.device.clone().into());
    if let Some(cards) = study.cards.as_ref().and_then(cli::cards_word) {
        option("--cards", cards.into());
    }
    if let Some(when) = args.remote_write {
        option("--remote-write", when.name().into());
    }
    words.extend(["--".into(), PathBuf::from(&study.manifest).into_os_string()]);
    words
}
