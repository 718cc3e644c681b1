//! Actions: the unit that the cache knows. An action is its fingerprint and where its inputs are; the code that runs it is found by its
//! kind, so that a record alone is enough to run it again.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Device, Engine, Failure, Means};
use crate::key::{Digest, Fingerprint, Identity, Ingredients, Key, Output};

/// Where an input's bytes are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// In the store, or inline.
    Kept(Output),
    /// A file of the user's, with the digest it had when its stage was about to start.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it held.
        digest: Digest,
    },
}

impl Source {
    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Kept(output) => output.digest,
            Self::File { digest, .. } => *digest,
        }
    }
}

/// One unit of work: what it is, and where its inputs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub(super) fingerprint: Fingerprint,
    pub(super) inputs: BTreeMap<String, Source>,
}

impl Action {
    /// An action of `kind`, without parameters or inputs yet.
    pub fn new(kind: &dyn ActionKind) -> Self {
        Self { fingerprint: Fingerprint::action(kind.name(), kind.version()), inputs: BTreeMap::new() }
    }

    /// With an identity parameter.
    #[must_use]
    pub fn with<T: Serialize + PartialEq>(mut self, name: &str, value: &Identity<T>) -> Self {
        self.fingerprint = self.fingerprint.with(name, value);
        self
    }

    /// With several identity parameters.
    #[must_use]
    pub fn with_all(mut self, ingredients: &Ingredients) -> Self {
        self.fingerprint = self.fingerprint.with_all(ingredients);
        self
    }

    /// With a position in a series.
    #[must_use]
    pub fn position(mut self, name: &str, position: u64) -> Self {
        self.fingerprint = self.fingerprint.position(name, position);
        self
    }

    /// With bytes that another action or stage made.
    #[must_use]
    pub fn input(self, name: &str, output: &Output) -> Self {
        self.source(name, Source::Kept(output.clone()))
    }

    /// With a file of the user's.
    #[must_use]
    pub fn file(self, name: &str, path: &Path, digest: Digest) -> Self {
        self.source(name, Source::File { path: path.to_owned(), digest })
    }

    fn source(mut self, name: &str, source: Source) -> Self {
        self.fingerprint = self.fingerprint.input(name, source.digest());
        self.inputs.insert(name.to_owned(), source);
        self
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Its key.
    pub fn key(&self) -> Key {
        self.fingerprint.key()
    }
}

/// What an action made, by name.
pub type Produced = BTreeMap<String, Payload>;

/// The bytes of one output.
#[derive(Clone, Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Vec<u8>),
    /// In the store already: files that a command wrote, however large.
    Kept(Output),
}

/// The code of one kind of action.
pub trait ActionKind: Send + Sync {
    /// Its name, as in keys and in `run.json`.
    fn name(&self) -> &'static str;

    /// Its version: raised when the code changes what it computes.
    fn version(&self) -> u32 {
        1
    }

    /// Runs one action.
    ///
    /// # Errors
    /// What went wrong; it is reported, never recorded.
    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure>;

    /// Runs several that belong together under one lease. The bytes must not depend on the grouping.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        group.iter().map(|cx| self.run(cx)).collect()
    }
}

/// One action by itself, of a kind whose work is written for groups.
///
/// # Errors
/// Those of [`ActionKind::run_group`].
pub fn alone(kind: &dyn ActionKind, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
    Ok(kind.run_group(std::slice::from_ref(cx))?.remove(0))
}

/// What an action sees while it runs.
pub struct ActionContext<'a> {
    pub(super) action: &'a Action,
    pub(super) engine: &'a Engine,
    pub(super) device: Device,
    pub(super) means: Option<Arc<dyn Means>>,
}

impl ActionContext<'_> {
    /// Its fingerprint.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.action.fingerprint
    }

    /// The device it holds a lease on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What its place on the device is, where it is a `T`.
    pub fn means<T: Means>(&self) -> Option<&T> {
        let means: &dyn Any = &**self.means.as_ref()?;
        means.downcast_ref()
    }

    /// A parameter, or `default` where it was left out of the key.
    ///
    /// # Errors
    /// If the recorded value has another type, which only a record of another program can have.
    pub fn param<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T, Failure> {
        self.fingerprint().param(name, default).map_err(|error| Failure::Work(format!("parameter `{name}`: {error}")))
    }

    /// A parameter or position that is always in the key.
    ///
    /// # Errors
    /// If it is not there or has another type.
    pub fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let value = self.fingerprint().params.get(name);
        let value = value.ok_or_else(|| Failure::Work(format!("parameter `{name}` is not in the fingerprint")))?;
        value.to().map_err(|error| Failure::Work(format!("parameter `{name}`: {error}")))
    }

    /// Whether it has an input of this name.
    pub fn has(&self, name: &str) -> bool {
        self.action.inputs.contains_key(name)
    }

    /// Where an input is.
    ///
    /// # Panics
    /// If the action was built without it, which is a bug of its kind.
    pub fn source(&self, name: &str) -> &Source {
        self.action.inputs.get(name).unwrap_or_else(|| panic!("invariant: the action has an input `{name}`"))
    }

    /// The bytes of an input, verified.
    ///
    /// # Errors
    /// [`Failure::Absent`] where they are gone, which the engine mends; a file of the user's that cannot be read.
    pub fn input(&self, name: &str) -> Result<Vec<u8>, Failure> {
        match self.source(name) {
            Source::Kept(output) => self.engine.read_kept(output),
            Source::File { path, .. } => std::fs::read(path)
                .map_err(|error| Failure::Work(format!("failed to read `{}`: {error}", path.display()))),
        }
    }

    /// Puts an input at `place`, by reflink or copy.
    ///
    /// # Errors
    /// As [`input`](Self::input), and where `place` cannot be written.
    pub fn place_input(&self, name: &str, place: &Path) -> Result<(), Failure> {
        match self.source(name) {
            Source::Kept(output) => {
                let placed = self.engine.store().copy_to(output, place)?;
                placed.then_some(()).ok_or_else(|| Failure::Absent(output.clone()))
            }
            Source::File { path, .. } => reflink_copy::reflink_or_copy(path, place).map(|_| ()).map_err(|error| {
                Failure::Work(format!("failed to copy `{}` into the scratch folder: {error}", path.display()))
            }),
        }
    }

    /// Something decoded from the inputs, shared with every action that asks under the same name.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn memo<T: Send + Sync + 'static>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Arc<T>, Failure> {
        self.engine.memo().get(name, make)
    }

    /// Whether the run is to stop; polled often enough that it stops within 2 s.
    pub fn cancelled(&self) -> bool {
        self.engine.cancel().raised()
    }

    /// The engine, for kinds that need the machine: a scratch folder, the command guard.
    pub fn engine(&self) -> &Engine {
        self.engine
    }
}
