//! The three sorts of parameter, told apart by type so that the wrong sort cannot reach a key.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Value;

/// A parameter that says *what* is computed: it enters every key below it, unless it has its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity<T> {
    value: T,
    default: Option<T>,
}

impl<T> Identity<T> {
    /// A parameter without a default: it always enters the key.
    pub fn required(value: T) -> Self {
        Self { value, default: None }
    }

    /// A parameter that is left out of the key where it equals `default`. Changing a default bumps the kind's version.
    pub fn with_default(value: T, default: T) -> Self {
        Self { value, default: Some(default) }
    }
}

impl<T: Serialize + PartialEq> Identity<T> {
    /// Its canonical value, or `None` where it has its default.
    pub fn ingredient(&self) -> Option<Value> {
        (self.default.as_ref() != Some(&self.value)).then(|| Value::of(&self.value))
    }
}

impl<T> Deref for Identity<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Identity parameters on their way to actions of several kinds: what a training was, for whoever replays it. Only identities get in,
/// each under the name that it has in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ingredients(BTreeMap<String, Value>);

impl Ingredients {
    /// With one more.
    #[must_use]
    pub fn with<T: Serialize + PartialEq>(mut self, name: &str, value: &Identity<T>) -> Self {
        if let Some(value) = value.ingredient() {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// Only those called `names`.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let named = |(name, _): &(&String, &Value)| names.contains(&name.as_str());
        Self(self.0.iter().filter(named).map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Those not called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// These, with those of `others` of the same name put in their place.
    #[must_use]
    pub fn overlaid(mut self, others: &Self) -> Self {
        self.0.extend(others.0.clone());
        self
    }

    /// Their names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    /// The typed value of one, or `default` where it was left out.
    ///
    /// # Errors
    /// If the value is not a `T`.
    pub fn param<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T, serde_json::Error> {
        self.0.get(name).map_or(Ok(default), Value::to)
    }
}

/// A parameter that says *how far*: it enters its stage's own key and none of its actions'.
#[derive(Clone, Debug, PartialEq)]
pub struct Horizon<T>(pub T);

impl<T> Deref for Horizon<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A parameter that says only *where* or *how fast*: never in a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution<T>(pub T);

impl<T> Deref for Execution<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Which of the three a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Says what.
    Identity,
    /// Says how far.
    Horizon,
    /// Says where.
    Execution,
}

/// Receives a kind's parameters one by one; how a stage's parameters are listed, hashed and explained.
pub trait Walk {
    /// One parameter: its name in the manifest, its sort, its value (`None`: an identity that has its default).
    fn parameter(&mut self, name: &'static str, sort: Sort, value: Option<Value>);
}

impl dyn Walk + '_ {
    /// An identity parameter.
    pub fn identity<T: Serialize + PartialEq>(&mut self, name: &'static str, value: &Identity<T>) -> &mut Self {
        self.parameter(name, Sort::Identity, value.ingredient());
        self
    }

    /// A horizon.
    pub fn horizon<T: Serialize>(&mut self, name: &'static str, value: &Horizon<T>) -> &mut Self {
        self.parameter(name, Sort::Horizon, Some(Value::of(&value.0)));
        self
    }

    /// An execution parameter.
    pub fn execution<T: Serialize>(&mut self, name: &'static str, value: &Execution<T>) -> &mut Self {
        self.parameter(name, Sort::Execution, Some(Value::of(&value.0)));
        self
    }
}
