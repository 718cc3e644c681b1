//! Fingerprints: everything that can change the bytes of a result. One walk over the ingredients feeds both the key and its
//! explanation, so they cannot drift.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::value::feed;
use super::{Digest, Identity, Ingredients, Key, Sort, Value, Walk};

/// Whether a fingerprint is a stage's or an action's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A stage of the manifest: its record names its outputs.
    Stage,
    /// A unit of work: its record holds what it produced.
    Action,
}

/// Kind, version, parameters and the digests of the inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// A stage's or an action's.
    pub level: Level,
    /// The kind of stage or action.
    pub kind: String,
    /// The version of that kind: it changes when the code changes what it computes.
    pub version: u32,
    /// Identity parameters that differ from their defaults, and positions; for a stage, its horizons too.
    pub params: BTreeMap<String, Value>,
    /// Inputs by content.
    pub inputs: BTreeMap<String, Digest>,
}

/// Receives the ingredients of a fingerprint in their one order.
pub trait Visitor {
    /// Level, kind and version.
    fn kind(&mut self, level: Level, kind: &str, version: u32);
    /// One parameter.
    fn param(&mut self, name: &str, value: &Value);
    /// One input.
    fn input(&mut self, name: &str, digest: &Digest);
}

impl Fingerprint {
    /// An action of `kind`, without parameters or inputs yet.
    pub fn action(kind: &str, version: u32) -> Self {
        Self { level: Level::Action, kind: kind.to_owned(), version, params: BTreeMap::new(), inputs: BTreeMap::new() }
    }

    /// A stage of `kind`, without parameters or inputs yet.
    pub fn stage(kind: &str, version: u32) -> Self {
        Self { level: Level::Stage, ..Self::action(kind, version) }
    }

    /// With an identity parameter. Horizons and execution parameters have no way in.
    #[must_use]
    pub fn with<T: Serialize + PartialEq>(mut self, name: &str, value: &Identity<T>) -> Self {
        if let Some(value) = value.ingredient() {
            self.params.insert(name.to_owned(), value);
        }
        self
    }

    /// With several identity parameters.
    #[must_use]
    pub fn with_all(mut self, ingredients: &Ingredients) -> Self {
        self.params.extend(ingredients.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// With a position in a series: an epoch, an offset, a probe's index.
    #[must_use]
    pub fn position(mut self, name: &str, position: u64) -> Self {
        self.params.insert(name.to_owned(), Value::of(&position));
        self
    }

    /// With an input, by content.
    #[must_use]
    pub fn input(mut self, name: &str, digest: Digest) -> Self {
        self.inputs.insert(name.to_owned(), digest);
        self
    }

    /// The typed value of a parameter, or `default` where it was left out.
    ///
    /// # Errors
    /// If the recorded value is not a `T`.
    pub fn param<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T, serde_json::Error> {
        self.params.get(name).map_or(Ok(default), Value::to)
    }

    /// Shows every ingredient to `visitor`, in the one order.
    pub fn walk(&self, visitor: &mut dyn Visitor) {
        visitor.kind(self.level, &self.kind, self.version);
        self.params.iter().for_each(|(name, value)| visitor.param(name, value));
        self.inputs.iter().for_each(|(name, digest)| visitor.input(name, digest));
    }

    /// The BLAKE3 of the ingredients.
    pub fn key(&self) -> Key {
        let mut hasher = Hashing(blake3::Hasher::new_derive_key("thalweg 2026 fingerprint"));
        self.walk(&mut hasher);
        Key::new(Digest::from_hasher(&hasher.0))
    }

    /// The ingredients in words.
    pub fn explain(&self) -> Explanation {
        let mut explanation = Explanation::default();
        self.walk(&mut explanation);
        explanation
    }

    /// What differs from `old`, ingredient by ingredient.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if (self.level, &self.kind) != (old.level, &old.kind) {
            changes.push(Change::Kind { old: old.kind.clone(), new: self.kind.clone() });
        } else if self.version != old.version {
            changes.push(Change::Version { kind: self.kind.clone(), old: old.version, new: self.version });
        }
        for name in names(&old.params, &self.params) {
            narrow(name.clone(), old.params.get(name), self.params.get(name), &mut changes);
        }
        for name in names(&old.inputs, &self.inputs) {
            let (old, new) = (old.inputs.get(name).copied(), self.inputs.get(name).copied());
            if old != new {
                changes.push(Change::Input { name: name.clone(), old, new });
            }
        }
        changes
    }
}

fn names<'a, T>(old: &'a BTreeMap<String, T>, new: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

/// Goes down into tables and into lists of one length, to the values that differ: `layers.0.label`, not the whole figure.
fn narrow(name: String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Table(old)), Some(Value::Table(new))) => {
            for key in names(old, new) {
                narrow(format!("{name}.{key}"), old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::List(old)), Some(Value::List(new))) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                narrow(format!("{name}.{i}"), Some(old), Some(new), changes);
            }
        }
        (old, new) => changes.push(Change::Param { name, old: old.cloned(), new: new.cloned() }),
    }
}

/// One difference between two fingerprints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// Another kind altogether.
    Kind {
        /// The kind it was.
        old: String,
        /// The kind it is.
        new: String,
    },
    /// The kind's code changed.
    Version {
        /// Which kind.
        kind: String,
        /// The version it was.
        old: u32,
        /// The version it is.
        new: u32,
    },
    /// A parameter changed; `None` is its default, or a parameter that is new or gone.
    Param {
        /// Its name.
        name: String,
        /// What it was.
        old: Option<Value>,
        /// What it is.
        new: Option<Value>,
    },
    /// An input's content changed.
    Input {
        /// Its name.
        name: String,
        /// What it was.
        old: Option<Digest>,
        /// What it is.
        new: Option<Digest>,
    },
}

struct Hashing(blake3::Hasher);

impl Visitor for Hashing {
    fn kind(&mut self, level: Level, kind: &str, version: u32) {
        feed(&mut self.0, b'k', if level == Level::Stage { b"stage" } else { b"action" });
        feed(&mut self.0, b'k', kind.as_bytes());
        feed(&mut self.0, b'v', &version.to_le_bytes());
    }

    fn param(&mut self, name: &str, value: &Value) {
        feed(&mut self.0, b'p', name.as_bytes());
        value.feed(&mut self.0);
    }

    fn input(&mut self, name: &str, digest: &Digest) {
        feed(&mut self.0, b'd', name.as_bytes());
        self.0.update(digest.as_bytes());
    }
}

/// A fingerprint in words: one line an ingredient, in the order in which they are hashed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// The ingredients.
    pub lines: Vec<Line>,
}

/// One ingredient in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `kind`, `version`, `param NAME`, `input NAME`.
    pub ingredient: String,
    /// Its value as text.
    pub value: String,
}

impl Explanation {
    fn line(&mut self, ingredient: String, value: String) {
        self.lines.push(Line { ingredient, value });
    }
}

impl Visitor for Explanation {
    fn kind(&mut self, level: Level, kind: &str, version: u32) {
        let level = if level == Level::Stage { "stage" } else { "action" };
        self.line("kind".into(), format!("{level} {kind}"));
        self.line("version".into(), version.to_string());
    }

    fn param(&mut self, name: &str, value: &Value) {
        self.line(format!("param {name}"), value.to_string());
    }

    fn input(&mut self, name: &str, digest: &Digest) {
        self.line(format!("input {name}"), digest.to_string());
    }
}

/// Takes a stage's identities and horizons into its fingerprint, and leaves its execution parameters out.
impl Walk for Fingerprint {
    fn parameter(&mut self, name: &'static str, sort: Sort, value: Option<Value>) {
        if let (Sort::Identity | Sort::Horizon, Some(value)) = (sort, value) {
            self.params.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Execution, Horizon};
    use super::*;

    fn example() -> Fingerprint {
        Fingerprint::action("epoch", 1)
            .with("lr", &Identity::with_default(0.05, 0.1))
            .with("momentum", &Identity::with_default(0.9, 0.9))
            .position("epoch", 3)
            .input("theta", Digest::of(b"theta"))
    }

    #[test]
    fn one_key_is_pinned() {
        // If this fails, every cache in the world is emptied: say so in CHANGELOG.md under its own heading.
        insta::assert_snapshot!(example().key(), @"d768fea1d02b104f9db26fcf62549f2a32a1bdd2dad948db56a083e177c27614");
    }

    #[test]
    fn a_default_is_left_out_and_a_horizon_enters_only_the_stage() {
        assert!(!example().params.contains_key("momentum"));
        let mut stage = Fingerprint::stage("train", 1);
        let walk: &mut dyn Walk = &mut stage;
        walk.identity("lr", &Identity::with_default(0.1, 0.1))
            .horizon("epochs", &Horizon(60))
            .execution("device", &Execution("cpu"));
        assert_eq!(stage.params.keys().collect::<Vec<_>>(), ["epochs"]);
    }

    #[test]
    fn every_ingredient_changes_the_key() {
        let mut others = vec![example(); 7];
        others[0].level = Level::Stage;
        others[1].kind = "init".into();
        others[2].version = 2;
        others[3].params.insert("lr".into(), Value::Float(0.06));
        others[4].params.remove("lr");
        others[5].inputs.insert("theta".into(), Digest::of(b"other"));
        others[6].inputs.insert("buffer".into(), Digest::of(b"theta"));
        let mut keys: Vec<Key> = others.iter().map(Fingerprint::key).chain([example().key()]).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 8);
        for other in &others {
            assert_eq!(example().changes_since(other).len(), 1, "{other:?}");
        }
    }

    #[test]
    fn a_change_inside_a_table_is_named_by_its_path() {
        let with = |label: &str, low: Option<f64>| {
            let mut axis = BTreeMap::from([("label".to_owned(), Value::Text(label.into()))]);
            axis.extend(low.map(|low| ("low".to_owned(), Value::Float(low))));
            let mut fingerprint = example();
            fingerprint.params.insert("axes".into(), Value::List(vec![Value::Table(axis)]));
            fingerprint
        };
        let changes = with("b", None).changes_since(&with("a", Some(0.5)));
        let text = |text: &str| Some(Value::Text(text.into()));
        let label = Change::Param { name: "axes.0.label".into(), old: text("a"), new: text("b") };
        let low = Change::Param { name: "axes.0.low".into(), old: Some(Value::Float(0.5)), new: None };
        assert_eq!(changes, [label, low]);
    }

    #[test]
    fn whole_floats_are_integers_and_minus_zero_is_zero() {
        let with = |value: Value| {
            let mut fingerprint = example();
            fingerprint.params.insert("x".into(), value);
            (fingerprint.key(), fingerprint)
        };
        for (a, b) in [(Value::Integer(1), Value::Float(1.0)), (Value::Float(0.0), Value::Float(-0.0))] {
            let ((key_a, a), (key_b, b)) = (with(a), with(b));
            assert_eq!(key_a, key_b);
            assert_eq!(a.changes_since(&b), []);
        }
        assert_ne!(with(Value::Float(0.5)).0, with(Value::Float(0.25)).0);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-1e300f64..1e300).prop_map(Value::Float),
            ".*".prop_map(Value::Text),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::btree_map(".*", inner, 0..4).prop_map(Value::Table),
            ]
        })
    }

    proptest! {
        #[test]
        fn keys_agree_exactly_where_values_do(a in values(), b in values()) {
            let key = |value: &Value| {
                let mut fingerprint = example();
                fingerprint.params.insert("x".into(), value.clone());
                fingerprint.key()
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            let read_back: Value = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
            prop_assert_eq!(key(&a), key(&read_back));
        }
    }
}
