//! Why a stage is stale: typed, with the old and the new, against the record that this stage last had.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::World;
use crate::key::{Change, Fingerprint, Input, Value};
use crate::manifest::{InputEdge, Study, default_of};

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// It has not run in this study and profile.
    NeverRan,
    /// It ran before and nothing differs, but its record is gone from the cache.
    RecordGone,
    /// An ingredient of its key differs.
    Changed {
        /// The declared stage.
        stage: String,
        /// What differs.
        change: Change,
        /// Where the manifest says so: `fig3.toml:14:10`.
        origin: Option<String>,
        /// For an input: the instance that makes it.
        upstream: Option<String>,
    },
}

impl Reason {
    /// Why instance `i`, which would have `fingerprint`, is stale.
    pub fn find(study: &Study, i: usize, fingerprint: &Fingerprint, world: &dyn World) -> Vec<Self> {
        let instance = &study.instances[i];
        let Some(last) = world.last(&instance.name) else { return vec![Self::NeverRan] };
        let Some(record) = world.record(&last) else { return vec![Self::RecordGone] };
        let changes = fingerprint.changes_since(&record.fingerprint);
        if changes.is_empty() {
            return vec![Self::RecordGone];
        }
        let default = |name: &str| Some(Value::of(&default_of(&*instance.kind, name)?));
        let reason = |mut change: Change| {
            if let Change::Param { name, old, new } = &mut change {
                *old = old.take().or_else(|| default(name));
                *new = new.take().or_else(|| default(name));
            }
            let origin = match &change {
                Change::Param { name, .. } => origin_of(&instance.origins, name),
                _ => None,
            };
            let upstream = match &change {
                Change::Input { name, .. } => maker(study, i, name).or_else(|| placed(study, i, name, world)),
                _ => None,
            };
            Self::Changed { stage: instance.stage.clone(), change, origin, upstream }
        };
        changes.into_iter().map(reason).collect()
    }

    /// Reasons in words, each once: an upstream that gives other bytes through several references is one reason.
    pub fn in_words(reasons: &[Self]) -> Vec<String> {
        let mut words: Vec<String> = Vec::with_capacity(reasons.len());
        for reason in reasons.iter().map(ToString::to_string) {
            if !words.contains(&reason) {
                words.push(reason);
            }
        }
        words
    }
}

/// Where a value is written: at its own path, or at that of the table or list around it.
fn origin_of(origins: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let mut path = name;
    loop {
        if let Some(origin) = origins.get(path) {
            return Some(origin.clone());
        }
        path = path.rsplit_once('.')?.0;
    }
}

/// The instance behind an input such as `from.states` or `layers.2.from#0.table`; the names of outputs may have dots.
fn maker(study: &Study, i: usize, input: &str) -> Option<String> {
    let upstream = study.instances[i].inputs.iter().find_map(|edge| {
        let rest = input.strip_prefix(edge.field.as_str())?;
        let place = match rest.strip_prefix('#') {
            Some(rest) => rest.split('.').next()?.parse().ok()?,
            None => rest.starts_with('.').then_some(0)?,
        };
        edge.upstream.get::<usize>(place)
    })?;
    Some(study.instances[*upstream].name.clone())
}

/// The instance whose output lies where an input's name says, such as `from out/x.txt`; it is looked up in the instance's last record.
fn placed(study: &Study, i: usize, input: &str, world: &dyn World) -> Option<String> {
    let instance = &study.instances[i];
    let makes = |edge: &InputEdge, upstream: usize| {
        let above = &study.instances[upstream];
        let at = input.strip_prefix(edge.field.as_str())?.strip_prefix(' ')?;
        let record = world.record(&world.last(&above.name)?)?;
        let (stage, kind, labels) = (above.stage.clone(), above.kind.name().to_owned(), above.labels.clone());
        let given = Input { instance: above.name.clone(), stage, kind, labels, outputs: record.outputs };
        let lies = |output: &String| instance.kind.place(&edge.field, &given, output).as_deref() == Some(at);
        given.outputs.keys().any(lies).then(|| above.name.clone())
    };
    instance.inputs.iter().find_map(|edge| edge.upstream.iter().find_map(|&upstream| makes(edge, upstream)))
}

fn or_default(value: Option<&Value>) -> String {
    value.map_or_else(|| "default".to_owned(), Value::to_string)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Changed { stage, change, origin, upstream } = self else {
            return write!(f, "{}", if *self == Self::NeverRan { "never ran" } else { "its record is gone" });
        };
        match change {
            Change::Kind { old, new } => write!(f, "stage {stage} is of kind {new}, was {old}")?,
            Change::Version { kind, old, new } => write!(f, "kind {kind} is version {new}, was {old}")?,
            Change::Param { name, old, new } => {
                let (old, new) = (or_default(old.as_ref()), or_default(new.as_ref()));
                write!(f, "stage.{stage}.{name}: {old} → {new}")?;
            }
            Change::Input { name, old, new } => match (name.strip_prefix("file "), upstream, old, new) {
                (Some(file), ..) => write!(f, "file `{file}` changed")?,
                (None, Some(upstream), Some(_), Some(_)) => write!(f, "{upstream} gave other bytes")?,
                (None, Some(upstream), None, _) => write!(f, "{upstream} is new among its inputs")?,
                (None, ..) => write!(f, "an input is gone")?,
            },
        }
        origin.as_ref().map_or(Ok(()), |origin| write!(f, " at {origin}"))
    }
}
