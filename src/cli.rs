//! The command line, as clap sees it, and the only place where the environment is read.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ml::card::{Cards, Simulation};
use crate::remote::WriteBack;

/// Runs loss-landscape studies declared in TOML, incremental to the action.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Colour in what is written for people.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a study: whatever is stale, and nothing else.
    Run(RunArgs),
    /// Say what a run would do, and why; runs nothing.
    Plan(PlanArgs),
    /// Check a manifest; reads no cache and runs nothing.
    Check(StudyArgs),
    /// Say what a stage's key is made of, and what changed since it last ran.
    Explain(ExplainArgs),
    /// Print the graph of stages in Graphviz' language, or as text.
    Graph(GraphArgs),
    /// Show what a stage has made, or what a record holds.
    Show(ShowArgs),
    /// Print the claims of studies with their numbers and verdicts, as a table in Markdown; runs nothing.
    Report(ReportArgs),
    /// Write a first manifest that runs as it is.
    New(NewArgs),
    /// Look after the cache.
    Cache(CacheArgs),
    /// Print the JSON Schema of manifests, or the reference page of all kinds.
    Schema(SchemaArgs),
    /// A task of a job on a cluster; started by Slurm, not by people.
    #[command(name = "__work", hide = true)]
    Work {
        /// The job's folder.
        folder: PathBuf,
    },
    /// The process that commands run under; started by a run, not by people.
    #[command(name = "__guard", hide = true)]
    Guard,
}

/// Which study.
#[derive(Clone, Debug, Args)]
pub struct StudyArgs {
    /// The manifest.
    pub manifest: PathBuf,
    /// Which size of the study: `smoke`, `small`, `paper`, or one that the manifest declares.
    #[arg(long, default_value = "small")]
    pub profile: String,
    /// Change a value for this run: `stage.train.epochs=20`.
    #[arg(long = "set", value_name = "STAGE.FIELD=VALUE")]
    pub sets: Vec<String>,
    /// The cache [default: `cache` in the project's root].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// The results [default: `results` in the project's root].
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// The cache that is shared with others.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Where to compute: `auto`, `cpu`, `cuda`, `cuda:0`; stages that name a device keep theirs.
    #[arg(long, default_value = "auto", env = "THALWEG_DEVICE")]
    pub device: String,
    /// Cards in the machine's memory in place of its own, so many with so many MiB each, for tests: `simulated:2:64`. The first is lost
    /// after so many launches with `:lost-after=500`; `:seed=7` runs blocks and threads in an order of that seed.
    #[arg(long, hide = true, value_name = "CARDS", value_parser = parse_cards)]
    pub cards: Option<Cards>,
}

/// Which cache is shared with others.
#[derive(Clone, Debug, Default, Args)]
pub struct RemoteArgs {
    /// A cache that is shared with others: `s3://bucket/prefix`, `file:///folder`, or `none` [default: what `thalweg.toml` or the manifest says].
    #[arg(long, value_name = "ADDRESS", env = "THALWEG_REMOTE", hide_env_values = true)]
    pub remote: Option<String>,
}

/// The address of the shared cache as the environment says it, where no option does.
///
/// # Errors
/// What is no text.
pub fn remote() -> Result<Option<String>, String> {
    Ok(variable("THALWEG_REMOTE")?.filter(|address| !address.is_empty()))
}

/// The secret with which records in the shared cache are signed. It is no option, since anybody on the machine can read those.
///
/// # Errors
/// What is no secret: whoever sets one wants to be protected by it.
pub fn record_key() -> Result<Option<String>, String> {
    match variable("THALWEG_RECORD_KEY")? {
        Some(secret) if secret.is_empty() => Err("`THALWEG_RECORD_KEY` is set and empty".to_owned()),
        secret => Ok(secret),
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    let text = std::env::var_os(name).map(std::ffi::OsString::into_string).transpose();
    text.map_err(|_| format!("`{name}` is no text in UTF-8"))
}

fn parse_write_back(text: &str) -> Result<WriteBack, String> {
    let named = WriteBack::NAMED.iter().find(|(name, _)| *name == text).map(|(_, when)| *when);
    named.ok_or_else(|| "expected `never`, `end` or `background`".to_owned())
}

/// The word that stands for simulated cards; none for those of the machine.
pub fn cards_word(cards: &Cards) -> Option<String> {
    let Cards::Simulated(cards) = cards else { return None };
    let more = |name: &str, value: Option<u64>| value.map_or_else(String::new, |value| format!(":{name}={value}"));
    let (lost, seed) = (more("lost-after", cards.lost_after), more("seed", cards.seed));
    Some(format!("simulated:{}:{}{lost}{seed}", cards.count(), cards.bytes() >> 20))
}

fn parse_cards(text: &str) -> Result<Cards, String> {
    let expected = || "expected `simulated:COUNT:MIB`, and behind it `:lost-after=LAUNCHES` or `:seed=SEED`".to_owned();
    let mut parts = text.split(':');
    if parts.next() != Some("simulated") {
        return Err(expected());
    }
    let mut size = || parts.next().and_then(|part| part.parse::<usize>().ok()).ok_or_else(expected);
    let (count, mebibytes) = (size()?, size()?);
    if count > 64 || mebibytes > 1 << 20 {
        return Err("expected 64 cards and 1,048,576 MiB at most".to_owned());
    }
    let mut cards = Simulation::new(count, mebibytes << 20);
    for part in parts {
        let (name, number) = part.split_once('=').ok_or_else(expected)?;
        let number = Some(number.parse().map_err(|_| expected())?);
        match name {
            "lost-after" => cards.lost_after = number,
            "seed" => cards.seed = number,
            _ => return Err(expected()),
        }
    }
    Ok(Cards::Simulated(cards))
}

/// How to run a study.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// Only these stages and what they need: `trace`, or one instance, `trace[model=mlp]`.
    pub stages: Vec<String>,
    /// How many actions run side by side on the CPU [default: its cores].
    #[arg(long, short)]
    pub jobs: Option<NonZeroUsize>,
    /// Where stages run: `local`, in this program, or `slurm`, each as a job of its own.
    #[arg(long, value_enum, default_value_t = Executor::Local, env = "THALWEG_EXECUTOR")]
    pub executor: Executor,
    /// Submit all jobs at once, each to run when those above it are done, and end. For `--executor slurm`.
    #[arg(long)]
    pub detach: bool,
    /// What becomes of jobs when this program is interrupted: `ask`, where there is a terminal, `cancel` or `leave`.
    #[arg(long, value_enum, default_value_t = OnInterrupt::Ask)]
    pub on_interrupt: OnInterrupt,
    /// When what is made goes to the shared cache: `never`, `end`, `background` [default: what is set, else `background`].
    #[arg(long, value_name = "WHEN", value_parser = parse_write_back)]
    pub remote_write: Option<WriteBack>,
    /// Write events to the standard output, one JSON object a line.
    #[arg(long, value_enum)]
    pub events: Option<Events>,
    /// Say more: fresh stages and single actions.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Where stages run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// In this program.
    Local,
    /// As jobs of Slurm.
    Slurm,
}

/// What becomes of jobs when the program that watches them is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInterrupt {
    /// Somebody at the terminal says it; without one they are left.
    Ask,
    /// They are cancelled.
    Cancel,
    /// They go on.
    Leave,
}

/// The job that this program runs in, as Slurm says.
#[derive(Clone, Debug, Default)]
pub struct SlurmJob {
    /// By what it can be named: its number, and with an array's the task's.
    pub id: Option<String>,
    /// Which task of an array; 0 where it is none.
    pub task: u64,
    /// How many CPUs it may use.
    pub cpus: Option<NonZeroUsize>,
}

/// The job that this program runs in, as Slurm says.
pub fn slurm_job() -> SlurmJob {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let task = variable("SLURM_ARRAY_TASK_ID");
    let id = match (variable("SLURM_ARRAY_JOB_ID"), &task) {
        (Some(array), Some(task)) => Some(format!("{array}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    };
    let cpus = ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"].into_iter().find_map(variable);
    SlurmJob {
        id,
        task: task.and_then(|task| task.parse().ok()).unwrap_or(0),
        cpus: cpus.and_then(|cpus| cpus.parse().ok()),
    }
}

/// The form of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Events {
    /// JSON lines.
    Jsonl,
}

/// How to plan.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// Only these stages and what they need.
    pub stages: Vec<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to explain.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// Only these stages.
    pub stages: Vec<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// How to print the graph.
#[derive(Clone, Debug, Args)]
pub struct GraphArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// `dot` for Graphviz, `text` for a terminal.
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

/// The forms of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Graphviz.
    Dot,
    /// Indented text.
    Text,
}

/// What to show.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// A stage instance, or the first digits of a key.
    pub what: String,
    /// One output of it, written out as it is.
    pub output: Option<String>,
}

/// What to report of.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The manifests, in the order of the table.
    #[arg(required = true)]
    pub manifests: Vec<PathBuf>,
    /// Which size of the studies.
    #[arg(long, default_value = "small")]
    pub profile: String,
    /// The cache [default: `cache` in the project's root].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// The cache that is shared with others.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Where the studies computed: `auto`, `cpu`, `cuda`, `cuda:0`.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// A file that holds the lines `<!-- claims -->` and `<!-- /claims -->`, between which the table is put.
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

/// What to begin with.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// The manifest to write, such as `pipelines/mine.toml`.
    pub path: PathBuf,
}

/// Which care the cache is to have.
#[derive(Clone, Debug, Args)]
pub struct CacheArgs {
    /// The cache [default: `cache` in the project's root].
    #[arg(long, value_name = "DIR", global = true)]
    pub cache: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: CacheVerb,
}

/// The verbs of `cache`.
#[derive(Clone, Debug, Subcommand)]
pub enum CacheVerb {
    /// Count records and bytes, by kind of action.
    Stats,
    /// Read every file and compare it with its digest or checksum; damaged ones are set aside.
    Verify,
    /// Remove bytes that can be made again; what is cheap to make again per byte goes first.
    Gc(GcArgs),
    /// Put up what the shared cache has not: every record here, with its blobs.
    Push(RemoteArgs),
    /// Get what the shared cache has: every record, and every blob that records here name.
    Pull(PullArgs),
    /// Write a state or minimum as a safetensors file that PyTorch's `load_state_dict` takes.
    Export(Box<ExportArgs>),
}

/// Which state is to be written, and where.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// The stage instance that gave it: `train`, `project[model=mlp]`.
    pub stage: String,
    /// The one at this iteration [default: the last].
    #[arg(long, value_name = "N", conflicts_with = "epoch")]
    pub iteration: Option<u64>,
    /// The one at this epoch.
    #[arg(long, value_name = "E")]
    pub epoch: Option<f64>,
    /// The file [default: named after the stage and the iteration, in the current folder].
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// What to get.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// The cache that is shared with others.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Records alone; a run gets the bytes that it reads.
    #[arg(long)]
    pub records: bool,
}

/// What gc may remove.
#[derive(Clone, Debug, Args)]
pub struct GcArgs {
    /// Remove until no more than this is left: `500MB`, `2GiB`.
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Keep every blob and record made by this kind of action or stage; may be given several times.
    #[arg(long, value_name = "KIND")]
    pub keep: Vec<String>,
    /// Also remove blobs that a study's last run reaches; they are made again when needed.
    #[arg(long)]
    pub reached: bool,
    /// Also where no study says any more what it reaches, so that everything goes.
    #[arg(long)]
    pub all: bool,
    /// In the shared cache rather than here; at an address, or where `thalweg.toml` says.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    pub remote: Option<String>,
    /// Keep what was put into the shared cache within so many hours, which a run that goes on may need.
    #[arg(long, value_name = "HOURS", default_value_t = 24, requires = "remote")]
    pub grace: u32,
    /// Show the plan and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// Which description.
#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Print the reference page of all kinds in Markdown instead.
    #[arg(long)]
    pub markdown: bool,
}

/// Whether words for people are coloured, given whether they go to a terminal.
pub fn coloured(choice: Colour, terminal: bool) -> bool {
    match choice {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}
