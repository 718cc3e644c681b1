//! Collecting a shared cache. What goes there is decided as it is here, by the same plan: over a likeness of it in a folder of its own, which
//! has its records, lists and roots, and for each blob a file of that length without content.
//!
//! Others may put things up meanwhile. Whoever finds bytes gone that a record names makes them again, so the worst is work done twice.
//!
//! Of one key several users may have records, each signed by its own. The likeness has one of them; what the others name is kept as long as
//! there is a record of that key, and a stage's list is that of all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::cache::Alone;
use super::countdown::{Countdown, Left};
use super::layout::{FORMAT, Layout};
use super::roots::{Root, keys_of};
use super::shared::Shared;
use super::side_by_side::side_by_side;
use super::{Error, GcOptions, GcPlan, RealDisk, Store};
use crate::event::Sink;
use crate::key::{Digest, Key, Record};
use crate::remote::Listed;

const DAMAGED: &str =
    "is damaged; remove it and call `thalweg cache push` where it was made, or remove it alone if its study is no more";
const GONE: &str = "is gone; call `thalweg cache push` where it was made";
/// How many objects one request removes.
const TOGETHER: usize = 1000;

/// A shared cache that is to be collected.
pub struct Likeness {
    store: Alone,
    shared: Shared,
    /// The objects behind each file of the likeness.
    objects: BTreeMap<PathBuf, Vec<String>>,
    spared: Spared,
    // Removed last.
    _folder: TempDir,
}

/// What stays, whatever roots reach.
#[derive(Default)]
struct Spared {
    /// Blobs that were put up lately, or that records name which are not in the likeness.
    blobs: BTreeSet<Digest>,
    /// Records that were put up lately.
    records: BTreeSet<Key>,
    /// How many blobs and records were put up lately.
    recent: u64,
}

/// What a listed object is.
enum Sort {
    Blob(Digest),
    Record(Key),
    List(Key),
    /// A study's root, with the folder that tells it from other users' and the profile.
    Root(String, String),
    /// A hint at a record, which goes with it.
    Hint(Key),
    Other,
}

/// What is learnt while objects are looked at side by side.
#[derive(Default)]
struct Learnt {
    objects: BTreeMap<PathBuf, Vec<String>>,
    roots: Vec<(String, String, String, Root)>,
    /// Lists of a stage beside the one that is written.
    lists: Vec<(Key, Vec<Key>)>,
    spared: Spared,
    /// Objects that do not say what they should.
    damaged: BTreeMap<PathBuf, String>,
}

impl Likeness {
    /// The likeness of a shared cache, in a folder that is made for it and goes with it. What was put up within `grace` will stay: what a run
    /// that goes on reaches is not known before it ends. `waiting` is told what is left to look at.
    ///
    /// # Errors
    /// A shared cache that cannot be read, or in which what studies reach is not known; [`Error::Interrupted`] when cancelled; a failing disk.
    pub fn of(
        shared: Shared,
        grace: Duration,
        cancelled: &(dyn Fn() -> bool + Sync),
        waiting: &(dyn Fn(Left) + Sync),
        events: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        // Nobody else can write to it, or have made it.
        let folder =
            tempfile::Builder::new().prefix("thalweg-gc-").permissions(Permissions::from_mode(0o700)).tempdir();
        let folder = folder.map_err(Error::at("create a folder in", &std::env::temp_dir()))?;
        let store = Store::open_alone(folder.path(), Arc::new(RealDisk), events, cancelled, &|| ())?;
        let mut likeness = Self { store, shared, objects: BTreeMap::new(), spared: Spared::default(), _folder: folder };
        likeness.fill(grace, cancelled, waiting)?;
        Ok(likeness)
    }

    fn fill(
        &mut self,
        grace: Duration,
        cancelled: &(dyn Fn() -> bool + Sync),
        waiting: &(dyn Fn(Left) + Sync),
    ) -> Result<(), Error> {
        let listed = self.shared.objects().list("").map_err(|cause| self.failed(cause))?;
        let learnt = Mutex::new(Learnt::default());
        let countdown = Countdown::from(listed.len(), "object", None, waiting);
        let now = SystemTime::now();
        let is_recent = |object: &Listed| now.duration_since(object.since).map_or(!grace.is_zero(), |age| age < grace);
        side_by_side(&listed, cancelled, |object| {
            self.learn(object, is_recent(object), &learnt)?;
            countdown.done();
            Ok(())
        })?;
        let learnt = learnt.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.objects, self.spared) = (learnt.objects, learnt.spared);
        for (stage, list) in learnt.lists {
            let mut all: BTreeSet<Key> = self.store.read_list(&stage)?.unwrap_or_default().into_iter().collect();
            all.extend(list);
            self.store.write_list(&stage, &all.into_iter().collect::<Vec<_>>())?;
        }
        for (study, profile, name, mut root) in learnt.roots {
            if root.partial {
                return Err(
                    self.unknown(&name, "says itself that it is not whole; a run of that study as a whole settles it")
                );
            }
            for key in root.stages.values() {
                let (record, list) = (self.store.layout.record(key), self.store.layout.list(key));
                for path in [&record, &list] {
                    if let Some(name) = learnt.damaged.get(path) {
                        return Err(self.unknown(name, DAMAGED));
                    }
                }
                if record.exists() && !list.exists() {
                    return Err(self.unknown(&self.shared.list(key), GONE));
                }
            }
            // A user's stage that never went there is reached here alone.
            root.stages.retain(|_, key| self.store.layout.record(key).exists());
            self.store.write_root(&study, &profile, &root)?;
        }
        Ok(())
    }

    fn failed(&self, cause: crate::remote::Error) -> Error {
        Error::Shared { address: self.shared.objects().address().to_owned(), cause }
    }

    fn unknown(&self, name: &str, why: &str) -> Error {
        let (address, name) = (self.shared.objects().address().to_owned(), name.to_owned());
        Error::SharedReachUnknown { address, name, why: why.to_owned() }
    }

    /// Puts what an object says into the likeness.
    fn learn(&self, Listed { name, bytes, .. }: &Listed, is_recent: bool, learnt: &Mutex<Learnt>) -> Result<(), Error> {
        let layout: &Layout = &self.store.layout;
        let learnt = || learnt.lock().unwrap_or_else(PoisonError::into_inner);
        let text = || self.shared.any_text(name, *bytes).map_err(|cause| self.failed(cause));
        // What is gone since it was listed says nothing.
        let path = match sort(name) {
            Sort::Blob(digest) => {
                let path = layout.blob(&digest);
                write(&path, |path| File::create(path)?.set_len(*bytes))?;
                if is_recent {
                    let spared = &mut learnt().spared;
                    spared.blobs.insert(digest);
                    spared.recent += 1;
                }
                path
            }
            Sort::Record(key) => {
                let (path, Some(text)) = (layout.record(&key), text()?) else { return Ok(()) };
                let Ok(record) = Record::decode(&text, &key) else {
                    learnt().damaged.insert(path, name.clone());
                    return Ok(());
                };
                if !write_first(&path, &text)? {
                    let blobs = record.outputs.into_values().filter(|output| output.inline.is_none());
                    learnt().spared.blobs.extend(blobs.map(|output| output.digest));
                }
                if is_recent {
                    let spared = &mut learnt().spared;
                    spared.records.insert(key);
                    spared.recent += 1;
                }
                path
            }
            Sort::List(key) => {
                let (path, Some(text)) = (layout.list(&key), text()?) else { return Ok(()) };
                let Some(keys) = keys_of(&text) else {
                    learnt().damaged.insert(path, name.clone());
                    return Ok(());
                };
                if !write_first(&path, &text)? {
                    learnt().lists.push((key, keys));
                }
                path
            }
            Sort::Root(study, profile) => {
                let Some(text) = text()? else { return Ok(()) };
                let root = Root::decode(&text).ok_or_else(|| self.unknown(name, DAMAGED))?;
                learnt().roots.push((study, profile, name.clone(), root));
                return Ok(());
            }
            Sort::Hint(key) => layout.record(&key),
            Sort::Other => return Ok(()),
        };
        learnt().objects.entry(path).or_default().push(name.clone());
        Ok(())
    }

    /// Where it lies.
    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        self.store.root()
    }

    /// How many blobs and records were put up lately.
    pub fn recent(&self) -> u64 {
        self.spared.recent
    }

    /// What would go.
    ///
    /// # Errors
    /// A failing disk.
    pub fn plan(&self, options: &GcOptions) -> Result<GcPlan, Error> {
        let Spared { blobs, records, .. } = &self.spared;
        let (spared_blobs, spared_records) = (blobs.clone(), records.clone());
        self.store.plan_gc(&GcOptions { spared_blobs, spared_records, ..options.clone() })
    }

    /// Removes it, and says how many bytes that frees.
    ///
    /// # Errors
    /// A shared cache that does not remove it; [`Error::Interrupted`] when cancelled, and then a part of it is gone.
    pub fn apply(&self, plan: &GcPlan, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        let paths = plan.items.iter().flat_map(|item| &item.paths);
        let names: Vec<String> = paths.filter_map(|path| self.objects.get(path)).flatten().cloned().collect();
        for names in names.chunks(TOGETHER) {
            if cancelled() {
                return Err(Error::Interrupted);
            }
            self.shared.objects().remove(names).map_err(|cause| self.failed(cause))?;
        }
        Ok(plan.before_bytes - plan.after_bytes)
    }
}

fn write(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::at("create folder", folder))?;
    }
    write(path).map_err(Error::at("write", path))
}

/// Writes a file unless it is there; whether it was not.
fn write_first(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let mut is_first = true;
    write(path, |path| match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            is_first = false;
            Ok(())
        }
        file => file?.write_all(bytes),
    })?;
    Ok(is_first)
}

fn sort(name: &str) -> Sort {
    let parts: Vec<&str> = name.split('/').collect();
    let stem = |last: &str| last.split('.').next().unwrap_or_default().to_owned();
    let sort = match parts.as_slice() {
        ["blobs", _, digest] => digest.parse().ok().map(Sort::Blob),
        [folder, _, key] if *folder == format!("records.{FORMAT}") => stem(key).parse().ok().map(Sort::Record),
        ["lists.1", _, key] => stem(key).parse().ok().map(Sort::List),
        ["hints.1", _, hint] => hint.split('-').nth(1).and_then(|key| key.parse().ok()).map(Sort::Hint),
        ["roots.1", study, profile, who] => Some(Sort::Root(format!("{study}-{who}"), (*profile).to_owned())),
        _ => None,
    };
    sort.unwrap_or(Sort::Other)
}
