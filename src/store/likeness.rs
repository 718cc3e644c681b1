//! Collecting a shared cache. What goes there is decided as it is here, by the same plan: over a likeness of it in a folder of its own, which
//! has its records, lists and roots, and for each blob a file of that length without content.
//!
//! Others may put things up meanwhile. Whoever finds bytes gone that a record names makes them again, so the worst is work done twice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Alone;
use super::layout::{FORMAT, Layout};
use super::roots::Root;
use super::shared::Shared;
use super::side_by_side::side_by_side;
use super::{Error, GcOptions, GcPlan, RealDisk, Store};
use crate::event::Sink;
use crate::key::{Digest, Key, Record};
use crate::remote::Listed;

/// How many objects one request removes.
const TOGETHER: usize = 1000;

/// A shared cache that is to be collected.
pub struct Likeness {
    store: Alone,
    shared: Shared,
    /// The objects behind each file of the likeness.
    objects: BTreeMap<PathBuf, Vec<String>>,
    // Removed last.
    _folder: Folder,
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a listed object is.
enum Sort {
    Blob(Digest),
    Record(Key),
    List(Key),
    /// A study's root, with the folder that tells it from other users' and the profile.
    Root(String, String),
    Other,
}

impl Likeness {
    /// The likeness of a shared cache, in a folder that is made for it and goes with it.
    ///
    /// # Errors
    /// A shared cache that cannot be read; a failing disk.
    pub fn of(shared: Shared, folder: &Path, events: Arc<dyn Sink>) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::at("create folder", folder))?;
        let folder = Folder(folder.to_owned());
        let store = Store::open_alone(&folder.0, Arc::new(RealDisk), events, &|| false, &|| ())?;
        let mut likeness = Self { store, shared, objects: BTreeMap::new(), _folder: folder };
        likeness.fill()?;
        Ok(likeness)
    }

    fn fill(&mut self) -> Result<(), Error> {
        let failed = |cause| Error::Shared { address: self.shared.objects().address().to_owned(), cause };
        let listed = self.shared.objects().list("").map_err(failed)?;
        let layout = self.store.layout.clone();
        let (objects, roots) = (Mutex::new(BTreeMap::<PathBuf, Vec<String>>::new()), Mutex::new(Vec::new()));
        let note = |path: PathBuf, name: &str| {
            objects.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default().push(name.to_owned());
        };
        let text = |name: &str| self.shared.any_text(name).map_err(failed);
        side_by_side(&listed, &|| false, &|_| (), |Listed { name, bytes }| {
            match sort(name) {
                Sort::Blob(digest) => {
                    let path = layout.blob(&digest);
                    write(&path, |path| File::create(path)?.set_len(*bytes))?;
                    note(path, name);
                }
                Sort::Record(key) => {
                    let path = layout.record(&key);
                    if let Some(text) = text(name)?.filter(|text| Record::decode(text, &key).is_ok()) {
                        write(&path, |path| fs::write(path, text))?;
                    }
                    note(path, name);
                }
                Sort::List(key) => {
                    let path = layout.list(&key);
                    if let Some(text) = text(name)? {
                        write(&path, |path| fs::write(path, text))?;
                    }
                    note(path, name);
                }
                Sort::Root(study, profile) => {
                    let root = text(name)?.and_then(|text| Root::decode(&text));
                    roots.lock().unwrap_or_else(PoisonError::into_inner).push((
                        study,
                        profile,
                        root.unwrap_or_default(),
                    ));
                }
                Sort::Other => {}
            }
            Ok(())
        })?;
        self.objects = objects.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (study, profile, mut root) in roots.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // A user's stage that never went there is reached here alone.
            root.stages.retain(|_, key| self.is_whole(&layout, key));
            root.partial = false;
            self.store.write_root(&study, &profile, &root)?;
        }
        Ok(())
    }

    fn is_whole(&self, layout: &Layout, stage: &Key) -> bool {
        layout.record(stage).exists() && self.store.read_list(stage).is_ok_and(|list| list.is_some())
    }

    /// What would go.
    ///
    /// # Errors
    /// A failing disk.
    pub fn plan(&self, options: &GcOptions) -> Result<GcPlan, Error> {
        self.store.plan_gc(options)
    }

    /// Removes it, and says how many bytes that frees.
    ///
    /// # Errors
    /// A shared cache that does not remove it.
    pub fn apply(&self, plan: &GcPlan) -> Result<u64, Error> {
        let paths = plan.items.iter().flat_map(|item| &item.paths);
        let names: Vec<String> = paths.filter_map(|path| self.objects.get(path)).flatten().cloned().collect();
        for names in names.chunks(TOGETHER) {
            let removed = self.shared.objects().remove(names);
            removed.map_err(|cause| Error::Shared { address: self.shared.objects().address().to_owned(), cause })?;
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

fn sort(name: &str) -> Sort {
    let parts: Vec<&str> = name.split('/').collect();
    let stem = |last: &str| last.split('.').next().unwrap_or_default().to_owned();
    let sort = match parts.as_slice() {
        ["blobs", _, digest] => digest.parse().ok().map(Sort::Blob),
        [folder, _, key] if *folder == format!("records.{FORMAT}") => stem(key).parse().ok().map(Sort::Record),
        ["lists.1", _, key] => stem(key).parse().ok().map(Sort::List),
        ["roots.1", study, profile, who] => Some(Sort::Root(format!("{study}-{}", stem(who)), (*profile).to_owned())),
        _ => None,
    };
    sort.unwrap_or(Sort::Other)
}
