//! What a kind of stage is to the runner: a name, a version, a way to read its table, a forecast. How it runs is not known here.

use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::forecast::{Forecast, Foresight};
use super::reader::Reader;
use super::source::Origin;
use crate::key::{Input, Walk};

/// A kind of stage.
pub trait Kind: Send + Sync {
    /// Its name in manifests, as in `kind = "train"`.
    fn name(&self) -> &'static str;

    /// The version of its code: raised when the code changes what it computes, or a default changes.
    fn version(&self) -> u32;

    /// What it does, in one sentence.
    fn about(&self) -> &'static str;

    /// Reads a stage's table. What is wrong goes to the reader, which hands out stand-ins, so that everything wrong is found at once;
    /// the same function, run by a recording reader, is the documentation and the schema.
    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params>;

    /// Which outputs of the stages behind a reference field enter this stage's key; all of them where none is named.
    fn uses(&self, _field: &str) -> &'static [&'static str] {
        &[]
    }

    /// Where an output of a stage behind a gathering reference lies for this stage, if that can change what the stage makes: then it enters
    /// the key under that place, and else under its number in the reference.
    fn place(&self, _field: &str, _input: &Input, _output: &str) -> Option<String> {
        None
    }

    /// How many actions would run and how many would be found, exactly or at least so many.
    fn forecast(&self, _params: &dyn Params, _foresight: &Foresight<'_>) -> Forecast {
        Forecast::unknown()
    }
}

/// The parameters of a stage of some kind.
pub trait Params: Any + Send + Sync + Debug {
    /// Shows every parameter with its sort.
    fn walk(&self, walk: &mut dyn Walk);

    /// Files that the user names as input; each must exist before anything runs.
    fn files(&self) -> Vec<NamedFile> {
        Vec::new()
    }

    /// Places that the stage writes to; no two stages may write to one.
    fn places(&self) -> Vec<Place> {
        Vec::new()
    }
}

impl dyn Params {
    /// The parameters as what they are.
    ///
    /// # Panics
    /// If they are not a `T`: a kind was given the parameters of another.
    pub fn of<T: Params>(&self) -> &T {
        let any: &dyn Any = self;
        any.downcast_ref().expect("invariant: a kind is given the parameters that it read")
    }
}

/// A file that the user names as input.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedFile {
    /// The name under which its content enters keys.
    pub name: String,
    /// Its path as written.
    pub path: PathBuf,
    /// Where it is named.
    pub origin: Option<Origin>,
    /// Where it is published, for files that are: these may also lie there gzipped.
    pub published: Option<&'static str>,
}

impl NamedFile {
    /// The paths at which it may lie, the first by preference.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let packed = self.published.map(|_| gzipped(&self.path));
        std::iter::once(self.path.clone()).chain(packed)
    }
}

/// The path of a file's gzipped form: `.gz` after its name.
pub fn gzipped(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    PathBuf::from(name)
}

/// What a place is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// The project's folder.
    Project,
    /// The study's folder of results.
    Results,
}

/// A file or folder that a stage writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// What `path` is relative to.
    pub root: Root,
    /// Its path as written.
    pub path: PathBuf,
    /// Where it is named.
    pub origin: Option<Origin>,
}

/// The kinds there are.
#[derive(Clone, Default)]
pub struct Kinds(Vec<Arc<dyn Kind>>);

impl Kinds {
    /// These kinds, in the order in which documentation lists them.
    pub fn new(kinds: Vec<Arc<dyn Kind>>) -> Self {
        Self(kinds)
    }

    /// The kind called `name`.
    pub fn kind(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.0.iter().find(|kind| kind.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Kind>> {
        self.0.iter()
    }
}
