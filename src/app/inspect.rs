//! The verbs that look and run nothing: plan, check, explain, graph, show.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::project::Project;
use super::run::wanted;
use super::world::Here;
use super::{Exit, Problem, Streams};
use crate::cli::{ExplainArgs, GraphArgs, GraphFormat, PlanArgs, ShowArgs, StudyArgs};
use crate::key::{Fingerprint, Output, Record};
use crate::plan::{Graph, Plan, Reason, Standing};
use crate::report::words;
use crate::store::Store;

/// Says what a run would do.
///
/// # Errors
/// A mistake in the manifest or on the command line, a failing cache.
pub fn plan(args: &PlanArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(&args.study)?;
    let store = project.open_to_look(streams)?;
    let here = here(&project, &store)?;
    let plan = Plan::make(&project.study, &wanted(&project, &args.stages)?, &here);
    if args.json {
        writeln!(streams.out, "{:#}", plan.json())?;
    } else {
        write!(streams.out, "{plan}")?;
    }
    Ok(Exit::Done)
}

fn here<'s>(project: &Project, store: &'s Store) -> Result<Here<'s>, Problem> {
    let last = store.read_root(&project.study.name, &project.study.profile)?.unwrap_or_default();
    Ok(Here::of(project, store, last))
}

/// Checks a manifest, in every way that needs no cache.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(args: &StudyArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(args)?;
    let stages = words::count(project.study.instances.len() as u64, "stage");
    writeln!(streams.err, "{} ({}): {stages}, all well", args.manifest.display(), project.study.profile)?;
    Ok(Exit::Done)
}

/// Prints the graph of stages.
///
/// # Errors
/// A mistake in the manifest.
pub fn graph(args: &GraphArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(&args.study)?;
    let graph = Graph::new(&project.study);
    let text = if args.format == GraphFormat::Dot { graph.dot() } else { graph.text() };
    write!(streams.out, "{text}")?;
    Ok(Exit::Done)
}

/// Says what a stage's key is made of, and what changed since it last ran.
///
/// # Errors
/// A mistake in the manifest or on the command line, a failing cache.
pub fn explain(args: &ExplainArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(&args.study)?;
    let store = project.open_to_look(streams)?;
    let here = here(&project, &store)?;
    let named = wanted(&project, &args.stages)?;
    let plan = Plan::make(&project.study, &named, &here);
    let mut asked = Vec::new();
    for word in &args.stages {
        asked.extend(project.study.matching(word).map_err(|diagnostics| Problem::Usage(diagnostics.into_reports()))?);
    }
    let mut explained = Vec::new();
    for (i, standing) in plan.stages.iter().filter(|(i, _)| asked.is_empty() || asked.contains(i)) {
        let fingerprint = match standing {
            Standing::Fresh { key } => store.record(key)?.map(|record| record.fingerprint),
            Standing::Stale { fingerprint, .. } => Some((**fingerprint).clone()),
            Standing::Pending { .. } => None,
        };
        explained.push((&project.study.instances[*i].name, standing, fingerprint));
    }
    if args.json {
        let stages: Vec<Value> = explained.iter().map(|(name, s, f)| explain_json(name, s, f.as_ref())).collect();
        writeln!(streams.out, "{:#}", Value::Array(stages))?;
    } else {
        for (name, standing, fingerprint) in explained {
            write!(streams.out, "{}", explain_words(name, standing, fingerprint.as_ref()))?;
        }
    }
    Ok(Exit::Done)
}

fn explain_json(name: &str, standing: &Standing, fingerprint: Option<&Fingerprint>) -> Value {
    let (state, reasons) = match standing {
        Standing::Fresh { .. } => ("fresh", Vec::new()),
        Standing::Stale { reasons, .. } => ("stale", reasons.clone()),
        Standing::Pending { .. } => ("pending", Vec::new()),
    };
    json!({
        "stage": name,
        "state": state,
        "key": fingerprint.map(Fingerprint::key),
        "ingredients": fingerprint.map(Fingerprint::explain).unwrap_or_default().lines,
        "reasons": reasons,
    })
}

fn explain_words(name: &str, standing: &Standing, fingerprint: Option<&Fingerprint>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match standing {
        Standing::Fresh { key } => writeln!(text, "{name} is fresh under key {key}"),
        Standing::Stale { key, .. } => writeln!(text, "{name} is stale; its key would be {key}"),
        Standing::Pending { .. } => writeln!(text, "{name} waits for what is above it; its key is not known yet"),
    };
    if let Standing::Stale { reasons, forecast, .. } = standing {
        for reason in Reason::in_words(reasons) {
            let _ = writeln!(text, "  because {reason}");
        }
        let forecast = forecast.to_string();
        if !forecast.is_empty() {
            let _ = writeln!(text, "  to do: {forecast}");
        }
    }
    if let Some(fingerprint) = fingerprint {
        let lines = fingerprint.explain().lines;
        let width = lines.iter().map(|line| line.ingredient.chars().count()).max().unwrap_or(0);
        text.push_str("  made of\n");
        for line in lines {
            let _ = writeln!(text, "    {:width$}  {}", line.ingredient, line.value);
        }
        text.push_str("  defaults, horizons of actions, names, places of execution and paths (but for where a command finds its inputs) are left out\n");
    }
    text
}

/// Shows what a stage has made, or what a record holds.
///
/// # Errors
/// If there is no such thing, or it has not been made.
pub fn show(args: &ShowArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let project = Project::open(&args.study)?;
    let store = project.open_to_look(streams)?;
    let record = match stage_record(&project, &store, args)? {
        Some(record) => record,
        None => by_key(&store, &args.what)?,
    };
    let Some(name) = &args.output else {
        write!(streams.out, "{}", describe(&record))?;
        return Ok(Exit::Done);
    };
    let names: Vec<&str> = record.outputs.keys().map(String::as_str).collect();
    let none = || {
        Problem::usage_with_help(
            format!("there is no output `{name}`"),
            format!("there are {}", words::list(names.iter().copied(), 20)),
        )
    };
    let output = record.outputs.get(name).ok_or_else(none)?;
    let bytes = store.read(output)?.ok_or_else(|| gone(output))?;
    streams.out.write_all(&bytes)?;
    Ok(Exit::Done)
}

fn gone(output: &Output) -> Problem {
    let digest = output.digest.short();
    Problem::usage_with_help(
        format!("the bytes of `{digest}` are gone from the cache"),
        "a run makes them again where it needs them",
    )
}

fn stage_record(project: &Project, store: &Store, args: &ShowArgs) -> Result<Option<Record>, Problem> {
    let Some((i, _)) = project.only(&args.what)? else { return Ok(None) };
    fresh_record(project, store, i).map(Some)
}

/// The record of an instance that is up to date.
///
/// # Errors
/// If it is not, or the cache cannot be read.
pub fn fresh_record(project: &Project, store: &Store, i: usize) -> Result<Record, Problem> {
    let here = here(project, store)?;
    let needed = Graph::new(&project.study).with_all_above(&[i]);
    let plan = Plan::make(&project.study, &needed, &here);
    let record = match plan.stages.last() {
        Some((_, Standing::Fresh { key })) => store.record(key)?,
        _ => None,
    };
    let name = &project.study.instances[i].name;
    record.ok_or_else(|| Problem::usage_with_help(format!("`{name}` is not up to date"), "run it first"))
}

fn by_key(store: &Store, what: &str) -> Result<Record, Problem> {
    let found = if what.len() >= 4 { store.records_beginning(what)? } else { Vec::new() };
    match found.as_slice() {
        [key] => store.record(key)?.ok_or_else(|| Problem::usage(format!("the record {} is not whole", key.short()))),
        [] => {
            let help = "give a stage instance, such as `train[model=mlp]`, or at least four digits of a key";
            Err(Problem::usage_with_help(format!("there is no stage and no key `{what}`"), help))
        }
        several => Err(Problem::usage(format!("{} keys begin with `{what}`", several.len()))),
    }
}

fn describe(record: &Record) -> String {
    let mut text = String::new();
    let context = &record.context;
    let _ = writeln!(text, "key      {}", record.key);
    let _ = writeln!(
        text,
        "made in  {} on {} ({}) by version {}",
        words::seconds(context.seconds),
        context.machine,
        context.arithmetic.features,
        context.program
    );
    for line in record.fingerprint.explain().lines {
        let _ = writeln!(text, "         {}  {}", line.ingredient, line.value);
    }
    for (name, output) in &record.outputs {
        let _ = writeln!(text, "output   {name}  {}  {}", words::bytes(output.length), output.digest);
        if let Some(inline) = output.inline.as_ref().filter(|inline| !inline.contains('\n')) {
            let _ = writeln!(text, "           {inline}");
        }
    }
    text
}
