//! `thalweg run`.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::cluster::{self, Cluster};
use super::project::Project;
use super::world::Here;
use super::{Exit, Problem, Streams, results, shared};
use crate::cli::{Events, Executor, RunArgs};
use crate::event::{Event, Sink};
use crate::execute::{Cancel, Devices, Engine, Failure, Work};
use crate::key::Key;
use crate::plan::Graph;
use crate::report::{Fan, JsonLines, Lines, Live, Manner, Summary, Tally, words};
use crate::schedule::{Outcome, Schedule, State};
use crate::stages::{self, card::Footprints};
use crate::store::{self, Store};

/// Whoever waits longer than this is told for what.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs whatever is stale.
///
/// # Errors
/// What kept it from beginning; what goes wrong later is told by events and by the exit code.
pub fn run(args: &RunArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    if args.detach && args.executor == Executor::Local {
        let help = "give `--executor slurm` too, or let the shell run it in the background";
        return Err(Problem::usage_with_help("`--detach` is for jobs on a cluster", help));
    }
    run_of(&Project::open(&args.study)?, args, streams)
}

/// The same, of a study that was read.
///
/// # Errors
/// As there.
pub fn run_of(project: &Project, args: &RunArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let start = Instant::now();
    let wanted = wanted(project, &args.stages)?;
    let cancel = listen_for_signals()?;
    let Reporters { tally, live, lines, events } = Reporters::new(args, streams);
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, usize::from);
    let write_back = args.remote_write.or(project.settings.remote_write).unwrap_or_default();
    let store = Arc::new(project.open_store(write_back, &events, &cancel)?);
    let (study, profile) = (&project.study.name, &project.study.profile);
    events.emit(Event::RunStarted { study: study.clone(), profile: profile.clone(), stages: wanted.len(), jobs });
    let engine = engine(project, &store, jobs, (Arc::clone(&events), cancel.clone()));
    let last = store.read_root(study, profile)?.unwrap_or_default();
    let mut here = Here::of(project, &store, last);
    if args.executor == Executor::Slurm {
        // What names no device runs on GPUs where jobs ask for them.
        let gpus = project.settings.slurm.gres.as_ref().is_some_and(|gres| gres.contains("gpu"));
        here = here.computing_on(if gpus { "cuda" } else { "cpu" });
    }
    let works = works(project);
    let whole = wanted.len() == project.study.instances.len();
    let cluster =
        (args.executor == Executor::Slurm).then(|| Cluster::new(project, args, &store, &*events, cancel.clone()));
    cluster.iter().for_each(Cluster::sweep);
    if let Some(cluster) = cluster.as_ref().filter(|_| args.detach) {
        match cluster.detach(&wanted, &here, streams) {
            // What is fresh already has its results written here.
            Ok(false) => {}
            Ok(true) => return Ok(Exit::Done),
            Err(failure) => return detached_in_part(cluster, failure, streams),
        }
    }
    let mut schedule = Schedule::new((&project.study, &works), wanted, &engine, &here, jobs);
    if let Some(cluster) = &cluster {
        schedule = schedule.elsewhere(cluster, cluster::AT_ONCE);
    }
    let mut outcome = schedule.run();
    let mut written = results::write(project, &schedule, (&works, &engine), &here, &mut outcome);
    outcome.interrupted |= written.failures.iter().any(|failure| matches!(failure, Failure::Interrupted));
    if let Some(message) = project.machine.complaint().filter(|_| args.study.device == "auto") {
        events.emit(Event::Warning { stage: None, message });
    }
    let remembered = remember(&store, project, &outcome, whole).and_then(|()| store.flush());
    written.failures.extend(remembered.err().map(Failure::from));
    let keys: Vec<Key> = outcome.stages.iter().filter_map(|ended| ended.key).collect();
    written.failures.extend(share(project, &store, &keys, &*events, &cancel).err().map(Failure::from));
    let seconds = start.elapsed().as_secs_f64();
    emit_end(&*events, &outcome, &tally, seconds);
    if let Some(live) = live {
        live.finish();
    }
    let counts = tally.counts();
    let run_written = results::write_run((project, &engine), &outcome, &written, &counts);
    written.failures.extend(run_written.err());
    written.failures.retain(|failure| !matches!(failure, Failure::Interrupted));
    let mut problems: Vec<String> = written.failures.iter().map(ToString::to_string).collect();
    problems.extend(lines.and_then(|lines| lines.problem()).map(|why| format!("failed to write events: {why}")));
    let folder = project.results_of_study();
    let results = folder.is_dir().then_some(folder.as_path());
    // How the run ended is told by its exit code, whether or not anybody reads the words.
    let _ = writeln!(streams.err, "{}", Summary { counts: &counts, results, colour: streams.coloured });
    for problem in &problems {
        let _ = writeln!(streams.err, "error: {problem}");
    }
    if let Some(cluster) = cluster.as_ref().filter(|_| outcome.interrupted) {
        let asks = streams.terminal && io::stdin().is_terminal();
        cluster.leave_or_cancel(streams, asks)?;
    }
    if let Some(problem) = problems.into_iter().next() {
        outcome.machine.get_or_insert(problem);
    }
    Ok(exit(&outcome, &counts))
}

/// Some jobs may have been submitted.
fn detached_in_part(cluster: &Cluster<'_>, failure: Failure, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let asks = streams.terminal && io::stdin().is_terminal();
    cluster.leave_or_cancel(streams, asks)?;
    match failure {
        Failure::Interrupted => Err(Problem::Interrupted),
        Failure::Work(problem) => {
            writeln!(streams.err, "error: {problem}")?;
            Ok(Exit::StageFailed)
        }
        failure => Err(Problem::Machine(failure.to_string())),
    }
}

/// The instances that the words of the command line lead to, and all that they need.
pub fn wanted(project: &Project, words: &[String]) -> Result<Vec<usize>, Problem> {
    let mut named = Vec::new();
    for word in words {
        let found = project.study.matching(word);
        named.extend(found.map_err(|diagnostics| Problem::Usage(diagnostics.into_reports()))?);
    }
    let graph = Graph::new(&project.study);
    Ok(if words.is_empty() { graph.all() } else { graph.with_all_above(&named) })
}

/// The work of every instance.
pub fn works(project: &Project) -> Vec<Arc<dyn Work>> {
    project.study.instances.iter().map(|instance| stages::work(instance.kind.name(), &instance.params)).collect()
}

/// The engine of a project, with room for so many actions side by side.
pub fn engine(project: &Project, store: &Arc<Store>, jobs: usize, ears: (Arc<dyn Sink>, Cancel)) -> Engine {
    let pool: Arc<dyn Devices> = Arc::new(project.machine.pool(jobs));
    let executable = std::env::current_exe().unwrap_or_else(|_| "thalweg".into());
    Engine::new(Arc::clone(store), &stages::actions(), (pool, &Footprints), ears, (project.root.clone(), executable))
        .on_gpu(project.ordinal())
}

/// The first signal asks the run to stop; a second one ends the program at once.
pub fn listen_for_signals() -> Result<Cancel, Problem> {
    let cancel = Cancel::new();
    for signal in [SIGINT, SIGTERM] {
        // The order matters: at the first signal the flag is still down when the first of the two looks at it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, cancel.flag())
            .and_then(|_| signal_hook::flag::register(signal, cancel.flag()))
            .map_err(|error| Problem::Machine(format!("failed to listen for signals: {error}")))?;
    }
    Ok(cancel)
}

/// Who hears of a run.
struct Reporters {
    tally: Arc<Tally>,
    /// The terminal, where there is one.
    live: Option<Arc<Live>>,
    /// Whoever reads the standard output.
    lines: Option<Arc<JsonLines<io::Stdout>>>,
    /// All of them.
    events: Arc<dyn Sink>,
}

impl Reporters {
    fn new(args: &RunArgs, streams: &Streams<'_>) -> Self {
        let tally = Arc::new(Tally::new());
        let manner = Manner { colour: streams.coloured, verbose: args.verbose };
        let mut sinks: Vec<Arc<dyn Sink>> = vec![tally.clone()];
        let live = streams.terminal.then(|| Arc::new(Live::stderr(manner)));
        match &live {
            Some(live) => sinks.push(live.clone()),
            None => sinks.push(Arc::new(Lines::new(io::stderr(), manner))),
        }
        let lines = (args.events == Some(Events::Jsonl)).then(|| Arc::new(JsonLines::new(io::stdout())));
        if let Some(lines) = &lines {
            sinks.push(lines.clone());
        }
        Self { tally, live, lines, events: Arc::new(Fan::new(sinks)) }
    }
}

fn emit_end(events: &dyn Sink, outcome: &Outcome, tally: &Tally, seconds: f64) {
    let count = |state| outcome.stages.iter().filter(|ended| ended.state == state).count();
    let ran = outcome.stages.iter().filter(|ended| ended.ran).count();
    events.emit(Event::RunFinished {
        seconds,
        fresh: count(State::Done) - ran,
        ran,
        failed: count(State::Failed),
        skipped: count(State::Skipped),
        actions: tally.counts().all_actions().ran,
        interrupted: outcome.interrupted,
    });
}

/// Waits until everything that was made, and all that these stages used, is in the shared cache; says so where that takes long, and what did not get there.
pub fn share(
    project: &Project,
    store: &Store,
    stages: &[Key],
    events: &dyn Sink,
    cancel: &Cancel,
) -> Result<(), store::Error> {
    let Some(address) = &project.remote else { return Ok(()) };
    let (start, told) = (Instant::now(), Cell::new(false));
    let note = |message| events.emit(Event::Note { stage: None, message });
    let waiting = |left: u64| {
        if start.elapsed() > PATIENCE && !told.replace(true) {
            note(format!("{} still to go into the shared cache `{address}`", words::count(left, "record")));
        }
    };
    let sent = store.complete(stages, &|| cancel.raised(), &waiting)?;
    shared::sent_note(&sent, address).into_iter().for_each(note);
    if let Some(message) = shared::left_warning(&sent, address) {
        events.emit(Event::Warning { stage: None, message });
    }
    Ok(())
}

/// Notes what this run reaches; a run of the whole study forgets instances that it no longer has.
pub fn remember(store: &Store, project: &Project, outcome: &Outcome, whole: bool) -> Result<(), store::Error> {
    let (study, profile) = (&project.study.name, &project.study.profile);
    store.update_root(study, profile, |root| {
        if whole {
            root.stages.retain(|name, _| project.study.instance(name).is_some());
            root.partial &= outcome.stages.iter().any(|ended| ended.key.is_none());
        }
        for ended in &outcome.stages {
            if let Some(key) = ended.key {
                root.stages.insert(project.study.instances[ended.instance].name.clone(), key);
            }
        }
    })
}

/// Where several apply, the order is 130, 4, 1, 3.
pub fn exit(outcome: &Outcome, counts: &crate::report::Counts) -> Exit {
    if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.machine.is_some() || outcome.lost.is_some() {
        Exit::Machine
    } else if outcome.failed() {
        Exit::StageFailed
    } else if counts.claims_that("fails").is_empty() {
        Exit::Done
    } else {
        Exit::ClaimFails
    }
}
