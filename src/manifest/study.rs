//! A manifest as a whole: from its text to the instances of its stages, or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::expand::{Expanded, pick};
use super::graph::order;
use super::kind::{Kind, Kinds, Params, Place};
use super::mention::Target;
use super::overlay::{Layers, lay, set, unknown};
use super::settings::{Settings, Slurm};
use super::source::{Origin, Source, Sources};
use super::stage::{Stage, read};
use super::tree::{Node, Table, parse};

/// A study: its stages' instances under one profile.
#[derive(Debug)]
pub struct Study {
    /// Its name, which names the folder of its results.
    pub name: String,
    /// What people call it.
    pub title: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// The profile in force.
    pub profile: String,
    /// All profiles there are.
    pub profiles: Vec<String>,
    /// Every instance, each after those it takes from.
    pub instances: Vec<Instance>,
    /// Where its work runs and where its results are kept, as far as it says.
    pub settings: Settings,
    /// The texts it was read from.
    pub sources: Arc<Sources>,
}

/// A stage at one value on each of its axes.
#[derive(Clone)]
pub struct Instance {
    /// `train[model=mlp,seed=0]`, or the stage's name where it has no axes.
    pub name: String,
    /// The stage's name.
    pub stage: String,
    /// Its value on each axis: inherited axes first, then the stage's own.
    pub labels: Vec<(String, String)>,
    /// Its kind.
    pub kind: Arc<dyn Kind>,
    /// Its parameters.
    pub params: Arc<dyn Params>,
    /// How its jobs are asked for, as far as the stage says.
    pub slurm: Slurm,
    /// Where it takes from.
    pub inputs: Vec<InputEdge>,
    /// Where the stage is declared.
    pub origin: Origin,
    /// Where each field that was given is written, by its path (`epochs`, `model.width`), as `file:line:column`.
    pub origins: BTreeMap<String, String>,
}

/// The upstream instances of one reference field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputEdge {
    /// The field's path: `data`, `layers.0.data`.
    pub field: String,
    /// Which instances, by their number in the study; exactly one where it does not gather.
    pub upstream: Vec<usize>,
    /// Whether the field gathers instances.
    pub gathered: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.params, self.inputs)
    }
}

impl Study {
    /// The instance called `name`.
    pub fn instance(&self, name: &str) -> Option<(usize, &Instance)> {
        self.instances.iter().enumerate().find(|(_, instance)| instance.name == name)
    }

    /// The instances that a word of the command line leads to: a stage's name, or one with a filter, as references are written.
    ///
    /// # Errors
    /// If it is no reference, or leads to none.
    pub fn matching(&self, word: &str) -> Result<Vec<usize>, Diagnostics> {
        let mut sources = Sources::default();
        let source = sources.add(Source::new("the command line", format!("`{word}`")));
        let origin = Origin { source, start: 0, end: word.len() + 2 };
        let found = Target::parse(word, origin).and_then(|target| {
            let mut stages: Vec<&str> = self.instances.iter().map(|instance| instance.stage.as_str()).collect();
            stages.dedup();
            if stages.contains(&target.stage.as_str()) {
                let of_stage = (0..self.instances.len()).filter(|&i| self.instances[i].stage == target.stage).collect();
                return pick(&self.instances, of_stage, &target);
            }
            let diagnostic =
                Diagnostic::new(target.stage_origin, format!("no stage `{}`", target.stage), "asked for here");
            Err(diagnostic.offer(&target.stage, "the stages are", stages))
        });
        found.map_err(|diagnostic| Diagnostics::new(Arc::new(sources), vec![diagnostic]))
    }

    /// Diagnostics of one's own about places in this study, such as a named file that is missing.
    pub fn diagnostics(&self, diagnostics: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::new(self.sources.clone(), diagnostics)
    }
}

/// Reads a study under `profile` (`small` where none is given) with `sets`, each `stage.NAME.PATH=VALUE`.
///
/// # Errors
/// Everything that is wrong with it. A text that is no TOML gives only its syntax errors, because what is read of the rest would mislead.
pub fn load(source: Source, kinds: &Kinds, profile: Option<&str>, sets: &[String]) -> Result<Study, Diagnostics> {
    let mut sources = Sources::default();
    let parsed = parse(0, &source);
    sources.add(source);
    for set in sets {
        sources.add(Source::new("the command line", format!("--set {set}")));
    }
    let wanted = profile.map(|name| {
        let flag = "--profile ";
        let source = sources.add(Source::new("the command line", format!("{flag}{name}")));
        (name, Origin::new(source, flag.len()..flag.len() + name.len()))
    });
    let sources = Arc::new(sources);
    let mut problems = parsed.problems;
    let Some(root) = parsed.root.table().filter(|_| parsed.whole) else {
        return Err(Diagnostics::new(sources, problems));
    };
    let name = heading(root, &mut problems);
    let mut layers = lay(root, wanted, &mut problems);
    for number in 1..=sets.len() {
        problems.extend(set(&mut layers.stages, &sources, number).err());
    }
    if root.node("stage").is_none() && layers.stages.is_empty() {
        let origin = parsed.root.origin;
        problems.push(Diagnostic::new(origin, "a study without stages", "needs a `[stage.NAME]`"));
    }
    let settings = Settings::of(root, &mut problems);
    let instances = instances(&layers, kinds, &sources, &mut problems);
    if problems.is_empty() {
        problems.extend(places_taken(&instances));
    }
    if !problems.is_empty() {
        return Err(Diagnostics::new(sources, problems));
    }
    let text = |key| root.node(key).and_then(Node::text).map(str::to_owned);
    let (title, description) = (text("title"), text("description"));
    let Layers { profile, profiles, .. } = layers;
    Ok(Study { name, title, description, profile, profiles, instances, settings, sources })
}

/// The study's name; says what is wrong with what stands above the stages.
fn heading(root: &Table, problems: &mut Vec<Diagnostic>) -> String {
    let known = ["study", "title", "description", "stage", "profile", "cache", "executor"];
    let unknown_entries = root.0.iter().filter(|entry| !known.contains(&entry.key.as_str()));
    problems.extend(unknown_entries.map(|entry| unknown(entry, "a manifest has no such key", &known)));
    for key in ["title", "description"] {
        let node = root.node(key).filter(|node| node.text().is_none());
        let diagnostic = |node: &Node| {
            Diagnostic::new(node.origin, format!("`{key}` must be text"), format!("found {}", node.found()))
        };
        problems.extend(node.map(diagnostic));
    }
    let Some(node) = root.node("study") else {
        let origin = Origin { source: 0, start: 0, end: 0 };
        problems.push(Diagnostic::new(origin, "`study` is missing", "a manifest needs a name: `study = \"…\"`"));
        return String::new();
    };
    let is_plain = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let Some(name) = node.text().filter(is_plain) else {
        let diagnostic = Diagnostic::new(node.origin, "`study` must be a name", format!("found {}", node.found()));
        problems.push(diagnostic.help("lower-case letters, digits and `-`: it names the folder of results"));
        return String::new();
    };
    name.to_owned()
}

fn instances(layers: &Layers, kinds: &Kinds, sources: &Sources, problems: &mut Vec<Diagnostic>) -> Vec<Instance> {
    let declared: Vec<String> = layers.stages.iter().map(|stage| stage.name.clone()).collect();
    let stages: Vec<Stage> = layers.stages.iter().filter_map(|stage| read(stage, kinds, problems)).collect();
    let mut expanded = Expanded::default();
    for stage in order(&stages, &declared, problems) {
        let stage = &stages[stage];
        let mut targets = stage.variants.iter().flat_map(|variant| &variant.mentions);
        // What takes from a stage that could not be expanded says nothing new.
        if targets.all(|(_, target)| expanded.has(&target.stage)) {
            expanded.add(stage, sources, problems);
        }
    }
    expanded.instances
}

/// Places that two instances would write to.
fn places_taken(instances: &[Instance]) -> Vec<Diagnostic> {
    let mut taken: BTreeMap<(super::Root, std::ffi::OsString), (&Instance, Place)> = BTreeMap::new();
    let mut problems = Vec::new();
    for instance in instances {
        for place in instance.params.places() {
            let path: std::path::PathBuf = place.path.components().filter(|part| part.as_os_str() != ".").collect();
            let Entry::Occupied(known) = taken.entry((place.root, path.clone().into_os_string())) else {
                taken.insert((place.root, path.into_os_string()), (instance, place));
                continue;
            };
            let (first, other) = known.get();
            let message = format!("`{}` and `{}` both write `{}`", first.name, instance.name, path.display());
            let origin = place.origin.unwrap_or(instance.origin);
            let first_origin = other.origin.unwrap_or(first.origin);
            let diagnostic = Diagnostic::new(origin, message, format!("written by `{}`", instance.name));
            problems.push(if first_origin == origin {
                diagnostic.help("each instance needs a place of its own")
            } else {
                diagnostic.also(first_origin, format!("written by `{}`", first.name))
            });
        }
    }
    problems
}
