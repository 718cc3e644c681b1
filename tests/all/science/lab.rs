//! A study in a project of its own, what a run of it did by kind of action, and its tables and states.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;

use crate::project::Project;

/// A study of everything between digits and a claim: seven states, seven descents, six lines, four probes a point.
pub const TINY: &str = r#"
study = "tiny"

[stage.data]
kind = "dataset"
source = "digits"
subset = 200

[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
lr = 0.1
momentum = 0.9
batch = 50
labels = "sampled"
epochs = 6

[stage.project]
kind = "gd-project"
from = "train"
until_loss = 0.3

[stage.connect]
kind = "connectedness-bisect"
from = "project"
samples = 5
threshold = 0.35

[stage.trace]
kind = "trace-estimate"
from = "connect"
probes = 4

[stage.figure]
kind = "plot"
x = { label = "epoch" }
y = { label = "trace", unit = "nats" }
layers = [{ from = "trace", x = "epoch", y = "trace", error = "sd", style = "line-points", label = "Tr H" }]

[stage.claim]
kind = "claim"
says = "the path is connected"
statistic = "fraction-connected"
from = "connect"
"#;

/// A project with one study, and what can be asked of its results.
pub struct Lab {
    project: Project,
    environment: BTreeMap<String, String>,
}

/// What a run did.
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Its events, in order.
    pub events: Vec<Value>,
    /// What it said to people.
    pub words: String,
    /// `run.json`; nothing where the run did not come so far.
    pub report: Value,
}

impl Lab {
    /// A project that holds a manifest and nothing else.
    pub fn new(manifest: &str) -> Self {
        Self { project: Project::with(manifest), environment: BTreeMap::new() }
    }

    /// With a variable of the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Puts another manifest in the place of the one there.
    pub fn write(&self, manifest: &str) {
        self.project.file("study.toml", manifest);
    }

    /// A path in the folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.project.path(path)
    }

    /// Runs the program, whatever comes of it.
    pub fn program(&self, args: &[&str]) -> Output {
        self.project.command(args).envs(&self.environment).output().unwrap()
    }

    /// Starts a run and leaves it to the caller.
    pub fn start(&self) -> Child {
        self.project.start()
    }

    /// Runs the program behind a word to the shell, such as a limit.
    pub fn limited(&self, word: &str, args: &[&str]) -> Output {
        let plain = self.project.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{word}; exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(args);
        command.current_dir(self.path(".")).envs(&self.environment).output().unwrap()
    }

    /// What the program writes; it must succeed.
    pub fn says(&self, args: &[&str]) -> String {
        String::from_utf8(self.bytes(args)).unwrap()
    }

    fn bytes(&self, args: &[&str]) -> Vec<u8> {
        let output = self.program(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs the study, whatever comes of it. A word with a `=` sets a field; others are arguments.
    pub fn try_run(&self, sets: &[&str]) -> Ran {
        let args = [&["run", "study.toml", "--events", "jsonl"], &words(sets)[..]].concat();
        let study = self.study();
        let report = self.path(&format!("results/{study}/run.json"));
        drop(fs::remove_file(&report));
        let output = self.program(&args);
        let lines = String::from_utf8(output.stdout).unwrap();
        Ran {
            code: output.status.code().unwrap(),
            events: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            words: String::from_utf8(output.stderr).unwrap(),
            report: fs::read(report).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap()),
        }
    }

    /// As [`try_run`](Self::try_run); it must succeed.
    pub fn run(&self, sets: &[&str]) -> Ran {
        let ran = self.try_run(sets);
        assert_eq!(ran.code, 0, "{}", ran.words);
        ran
    }

    /// The stages of a plan, in their order; words are those of [`try_run`](Self::try_run).
    pub fn plan(&self, sets: &[&str]) -> Vec<Value> {
        let plan = self.says(&[&["plan", "study.toml", "--json"], &words(sets)[..]].concat());
        let mut plan: Value = serde_json::from_str(&plan).unwrap();
        serde_json::from_value(plan["stages"].take()).unwrap()
    }

    /// What a plan foretells of a stage that is stale, by kind of action.
    pub fn forecast(&self, stage: &str, sets: &[&str]) -> BTreeMap<String, Foretold> {
        let plan = self.plan(sets);
        let planned = plan.iter().find(|planned| planned["stage"] == stage).unwrap();
        assert_eq!(planned["state"], "stale", "{stage}");
        Foretold::all(planned)
    }

    fn study(&self) -> String {
        let manifest = self.project.read("study.toml");
        let line = manifest.lines().find_map(|line| line.strip_prefix("study = ")).unwrap();
        line.trim_matches('"').to_owned()
    }

    /// The study's results, but for `run.json`, which tells of a run and not of the study.
    pub fn results(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = self.path("results").join(self.study());
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        files.filter(|path| named(path) != "run.json").map(|path| (named(&path), fs::read(&path).unwrap())).collect()
    }

    /// A file of the study's results.
    pub fn result(&self, name: &str) -> Vec<u8> {
        let path = self.path("results").join(self.study()).join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A table of the study's results.
    pub fn table(&self, name: &str) -> Csv {
        Csv::read(&String::from_utf8(self.result(name)).unwrap())
    }

    /// A table of the study's results whose words may hold commas.
    pub fn table_of_quoted(&self, name: &str) -> Csv {
        let text = String::from_utf8(self.result(name)).unwrap();
        Csv::read(&text.replace("not connected, ", "not connected: "))
    }

    /// An output of a stage, as JSON.
    pub fn output(&self, stage: &str, name: &str) -> Value {
        serde_json::from_str(&self.says(&["show", "study.toml", stage, name])).unwrap()
    }

    /// As [`output`](Self::output), with a field set.
    pub fn output_set(&self, stage: &str, name: &str, set: &str) -> Value {
        serde_json::from_str(&self.says(&["show", "study.toml", stage, name, "--set", set])).unwrap()
    }

    /// The bytes that an index names.
    pub fn blob(&self, output: &Value) -> Vec<u8> {
        let digest = output["digest"].as_str().unwrap();
        fs::read(self.path("cache/blobs").join(&digest[..2]).join(digest)).unwrap()
    }
}

impl Ran {
    fn of<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |line| line["event"] == event)
    }

    /// How many actions of each kind ran; the events and `run.json` must agree on it.
    pub fn ran(&self) -> BTreeMap<String, u64> {
        let mut ran = BTreeMap::new();
        for event in self.of("action-finished") {
            *ran.entry(event["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let reported = self.report["actions"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "stage");
        let reported = reported.map(|(kind, count)| (kind.clone(), count["ran"].as_u64().unwrap()));
        assert_eq!(reported.filter(|(_, ran)| *ran > 0).collect::<BTreeMap<_, _>>(), ran, "{}", self.report);
        ran
    }

    /// How many actions of each kind ran and were found, as `run.json` has it; without the records of fresh stages.
    pub fn actions(&self) -> BTreeMap<String, (u64, u64)> {
        let number = |count: &Value, which: &str| count[which].as_u64().unwrap();
        let actions = self.report["actions"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "stage");
        actions.map(|(kind, count)| (kind.clone(), (number(count, "ran"), number(count, "hit")))).collect()
    }

    /// How many actions of a kind were found.
    pub fn hit(&self, kind: &str) -> u64 {
        self.report["actions"][kind]["hit"].as_u64().unwrap_or(0)
    }

    /// The keys of the actions of a kind that ran.
    pub fn keys(&self, kind: &str) -> BTreeSet<String> {
        let finished = self.of("action-finished").filter(|event| event["kind"] == kind);
        finished.map(|event| event["key"].as_str().unwrap().to_owned()).collect()
    }

    /// The keys of all actions that ran.
    pub fn all_keys(&self) -> BTreeSet<String> {
        self.of("action-finished").map(|event| event["key"].as_str().unwrap().to_owned()).collect()
    }

    /// How many blobs were made again, by the kind of action that did.
    pub fn remade(&self) -> BTreeMap<String, u64> {
        let mut remade = BTreeMap::new();
        for event in self.of("remade") {
            *remade.entry(event["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        remade
    }

    /// What became of a stage: `ran`, `fresh`, `failed`, …
    pub fn state(&self, stage: &str) -> &str {
        self.report["stages"][stage]["state"].as_str().unwrap_or_else(|| panic!("no stage {stage}: {}", self.report))
    }

    /// The stages in a state, in their names' order.
    pub fn in_state(&self, state: &str) -> Vec<&str> {
        let stages = self.report["stages"].as_object().unwrap();
        let mut names: Vec<&str> =
            stages.iter().filter(|(_, stage)| stage["state"] == state).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// What a plan foretells of one kind of action.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Foretold {
    /// How many run.
    pub to_run: u64,
    /// How many are found.
    pub reused: u64,
    /// Whether more may run.
    pub at_least: bool,
    /// How long those to run take, in seconds; 0 where nothing tells.
    pub seconds_to_spend: f64,
    /// How long those found took.
    pub seconds_reused: f64,
}

impl Foretold {
    /// Of a planned stage, by kind of action.
    pub fn all(planned: &Value) -> BTreeMap<String, Self> {
        let one = |count: &Value| Self {
            to_run: count["to_run"].as_u64().unwrap(),
            reused: count["reused"].as_u64().unwrap(),
            at_least: count["at_least"].as_bool().unwrap(),
            seconds_to_spend: count["seconds_to_spend"].as_f64().unwrap(),
            seconds_reused: count["seconds_reused"].as_f64().unwrap(),
        };
        let actions = planned["forecast"]["actions"].as_object().unwrap().iter();
        actions.map(|(kind, count)| (kind.clone(), one(count))).collect()
    }

    /// Without its seconds: to run, reused, at least.
    pub fn counts(self) -> (u64, u64, bool) {
        (self.to_run, self.reused, self.at_least)
    }
}

/// Words for the program: one with a `=` sets a field; others are arguments.
fn words<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    let mut words = Vec::new();
    for set in sets {
        if set.starts_with("--") || !set.contains('=') {
            words.extend(set.split(' '));
        } else {
            words.extend(["--set", *set]);
        }
    }
    words
}

/// Counts by kind, to be compared with [`Ran::ran`].
pub fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect()
}

/// The results with which two folders differ.
pub fn differing(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

/// A table as text.
pub struct Csv {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    fn read(text: &str) -> Self {
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let columns = lines.next().unwrap();
        let columns = columns.iter().map(|name| name.split(" (").next().unwrap().to_owned()).collect();
        Self { columns, rows: lines.collect() }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A column as text.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let at = self.columns.iter().position(|column| column == name);
        let at = at.unwrap_or_else(|| panic!("no column {name} in {:?}", self.columns));
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }

    /// A column of numbers.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.texts(name).into_iter().map(|text| text.parse().unwrap()).collect()
    }
}
