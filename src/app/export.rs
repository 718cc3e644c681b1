//! `thalweg cache export`: a state of a study as a file for PyTorch.

use std::sync::Arc;

use super::project::Project;
use super::run::{engine, listen_for_signals, works};
use super::world::Here;
use super::{Exit, Problem, Streams, inspect};
use crate::cli::ExportArgs;
use crate::execute::{Engine, Failure};
use crate::key::Outputs;
use crate::manifest::Instance;
use crate::plan::Graph;
use crate::remote::WriteBack;
use crate::report::words;
use crate::schedule::Schedule;
use crate::stages::{Exportable, Exported, Position, Read, table_file};
use crate::store::Store;

/// How many positions an error names.
const NAMED: usize = 20;

/// Writes a point of a stage that is up to date.
///
/// # Errors
/// If there is no such stage or point, it has not been made, or the file cannot be written.
pub fn export(args: &ExportArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(&args.study)?;
    let (i, instance) = project.only(&args.stage)?.ok_or_else(|| {
        let names = project.study.instances.iter().map(|instance| instance.name.as_str());
        let help = format!("there are {}", words::list(names, NAMED));
        Problem::usage_with_help(format!("there is no stage `{}`", args.stage), help)
    })?;
    let cancel = listen_for_signals()?;
    let events = streams.teller();
    let store = Arc::new(project.open_store(WriteBack::Never, &events, &cancel)?);
    let record = inspect::fresh_record(&project, &store, i)?;
    let engine = engine(&project, &store, 1, (events, cancel));
    let last = store.read_root(&project.study.name, &project.study.profile)?.unwrap_or_default();
    let here = Here::of(&project, &store, last);
    let works = works(&project);
    let needed = Graph::new(&project.study).with_all_above(&[i]);
    // All is fresh, so this runs nothing; it learns what each stage made, by which lost bytes are made again.
    let schedule = Schedule::new((&project.study, &works), needed, &engine, &here, 1);
    schedule.run();
    match point(args, instance, &record.outputs, &engine, &|output| schedule.bytes(output)) {
        Ok(point) => write(args, &instance.name, &point, &store, streams),
        Err(Unmet::Wrong(problem)) => Err(problem),
        Err(Unmet::Failed(Failure::Interrupted)) => Err(Problem::Interrupted),
        Err(Unmet::Failed(Failure::Work(problem))) => {
            writeln!(streams.err, "error: {problem}")?;
            Ok(Exit::StageFailed)
        }
        Err(Unmet::Failed(failure)) => Err(Problem::Machine(failure.to_string())),
    }
}

/// Why there is nothing to write.
enum Unmet {
    /// What was asked for is not there.
    Wrong(Problem),
    /// It cannot be had.
    Failed(Failure),
}

impl From<Problem> for Unmet {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

impl From<Failure> for Unmet {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The point that the command line names, as a file for PyTorch.
fn point(
    args: &ExportArgs,
    instance: &Instance,
    outputs: &Outputs,
    engine: &Engine,
    read: &Read<'_>,
) -> Result<(Position, Exported), Unmet> {
    let points = Exportable::of(outputs, read)?.ok_or_else(|| {
        let (name, kind) = (&instance.name, instance.kind.name());
        let help = "`train`, `checkpoint` and `import` give states, `gd-project` and `connectedness-bisect` minima";
        Problem::usage_with_help(format!("`{name}` is a `{kind}` and gives no states"), help)
    })?;
    let positions = points.positions();
    let place = chosen(args, &instance.name, &positions)?;
    Ok((positions[place], points.file(place, engine, read)?))
}

fn write(
    args: &ExportArgs,
    name: &str,
    (Position { iteration, epoch }, Exported { bytes, parameters, norms }): &(Position, Exported),
    store: &Store,
    streams: &mut Streams<'_>,
) -> Result<Exit, Problem> {
    let path = args.to.clone().unwrap_or_else(|| table_file(name, &format!("{iteration}.safetensors")));
    if path.is_dir() {
        return Err(Problem::usage(format!("`{}` is a folder", path.display())));
    }
    store.write_to(bytes, &std::path::absolute(&path)?)?;
    let statistics = match *norms as u64 {
        0 => String::new(),
        norms => format!("; the statistics of {} are those of the training set", words::count(norms, "batch norm")),
    };
    let (shown, count) = (path.display(), words::count(*parameters as u64, "parameter"));
    writeln!(streams.err, "wrote {shown}: `{name}` at iteration {iteration} (epoch {epoch}), {count}{statistics}")?;
    Ok(Exit::Done)
}

/// The place of the point that the command line names; the last one where it names none.
fn chosen(args: &ExportArgs, name: &str, positions: &[Position]) -> Result<usize, Problem> {
    let wanted = |at: &Position| {
        args.iteration.is_none_or(|iteration| at.iteration == iteration)
            && args.epoch.is_none_or(|epoch| (at.epoch - epoch).abs() < 1e-9)
    };
    positions.iter().rposition(wanted).ok_or_else(|| {
        let named = match (args.iteration, args.epoch) {
            (Some(iteration), _) => format!(" at iteration {iteration}"),
            (_, Some(epoch)) => format!(" at epoch {epoch}"),
            (None, None) => String::new(),
        };
        let at: Vec<String> = positions.iter().map(|at| format!("{} ({})", at.iteration, at.epoch)).collect();
        let help = format!("by iteration (and epoch) there are {}", words::list(at.iter().map(String::as_str), NAMED));
        Problem::usage_with_help(format!("`{name}` has no state{named}"), help)
    })
}
