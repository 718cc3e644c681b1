//! What planning asks, answered by the store and by the last run.

use std::path::{Path, PathBuf};

use super::machine::Machine;
use super::project::Project;
use crate::key::{Digest, Key, Output, Record, Records};
use crate::manifest::Known;
use crate::plan::World;
use crate::store::{Root, Store};

/// The store, the last run of this study and profile, and the device that the command line asks for.
pub struct Here<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the last run reached.
    pub last: Root,
    /// The folder that the manifest's paths are relative to.
    pub root: PathBuf,
    /// `--device`.
    pub device: String,
    /// The machine, which is asked what runs where nothing says.
    pub machine: Machine,
    /// The backend of what names none, where it is not this machine that computes.
    elsewhere: Option<&'static str>,
}

impl<'a> Here<'a> {
    /// What planning is told of a project.
    pub fn of(project: &Project, store: &'a Store, last: Root) -> Self {
        let (root, device, machine) = (project.root.clone(), project.device.clone(), project.machine.clone());
        Self { store, last, root, device, machine, elsewhere: None }
    }

    /// With the backend of a machine that is not this one, or was chosen by whoever asked for a job on this one.
    pub fn computing_on(self, backend: &str) -> Self {
        Self { elsewhere: Some(if backend == "cuda" { "cuda" } else { "cpu" }), ..self }
    }
}

impl Records for Here<'_> {
    fn record(&self, key: &Key) -> Option<Record> {
        Records::record(self.store, key)
    }

    fn bytes(&self, output: &Output) -> Option<Vec<u8>> {
        Records::bytes(self.store, output)
    }

    fn noted(&self, sort: &Key) -> Vec<(Record, u64)> {
        self.store.noted(sort)
    }
}

impl Known for Here<'_> {
    fn digest_file(&self, path: &Path) -> Option<Digest> {
        self.store.digest_file(&self.root.join(path)).ok()
    }
}

impl World for Here<'_> {
    fn last(&self, instance: &str) -> Option<Key> {
        self.last.stages.get(instance).copied()
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn backend(&self) -> &'static str {
        self.elsewhere.unwrap_or_else(|| self.machine.backend())
    }
}
