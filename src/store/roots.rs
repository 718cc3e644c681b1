//! What is reached: each study's roots name stage records, and a list beside a stage's record names the actions it used. Also the lock
//! under which a study's results are written.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::layout::{file_name, files_below, read_file};
use super::lock::{Held, Patience};
use super::sealed::{seal, unseal};
use super::{Error, Store};
use crate::key::{Digest, Key};

const LIST: &str = "thalweg-list 1";

/// What one profile of a study reaches: the key of each stage instance's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Stage instances by name.
    pub stages: BTreeMap<String, Key>,
}

/// A root as it is written.
#[derive(Serialize, Deserialize)]
struct RootFile {
    checksum: Digest,
    #[serde(flatten)]
    root: Root,
}

impl Store {
    /// Writes the keys of the actions that a stage used, before the stage's record is committed. One sync; the commit of the record
    /// syncs their common folder.
    ///
    /// # Errors
    /// A failing disk.
    pub fn write_list(&self, stage: &Key, actions: &[Key]) -> Result<(), Error> {
        let body: String = actions.iter().flat_map(|key| [key.to_string(), "\n".to_owned()]).collect();
        let draft = self.drafts.write(&seal(LIST, &body))?;
        self.place_unsynced(draft, &self.layout.list(stage))
    }

    /// The keys of the actions that a stage used, in the order in which they were written; `None` where there is no whole list.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn read_list(&self, stage: &Key) -> Result<Option<Vec<Key>>, Error> {
        let bytes = read_file(&self.layout.list(stage))?;
        let body = bytes.as_deref().and_then(|bytes| unseal(LIST, bytes));
        Ok(body.and_then(|body| body.lines().map(|line| line.parse().ok()).collect()))
    }

    /// What a profile of a study reaches; a damaged file is set aside.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn read_root(&self, study: &str, profile: &str) -> Result<Option<Root>, Error> {
        self.root_at(&self.layout.study_root(study, profile))
    }

    fn root_at(&self, path: &std::path::Path) -> Result<Option<Root>, Error> {
        let Some(bytes) = read_file(path)? else { return Ok(None) };
        let root = serde_json::from_slice::<RootFile>(&bytes).ok().filter(|file| file.checksum == checksum(&file.root));
        if root.is_none() {
            self.set_aside(path, "damaged root: its checksum does not fit")?;
        }
        Ok(root.map(|file| file.root))
    }

    /// Replaces what a profile of a study reaches.
    ///
    /// # Errors
    /// A failing disk.
    pub fn write_root(&self, study: &str, profile: &str, root: &Root) -> Result<(), Error> {
        self.update_root(study, profile, |there| there.clone_from(root))
    }

    /// Changes what a profile of a study reaches, under a lock, so that two partial runs do not lose each other's stages.
    ///
    /// # Errors
    /// A failing disk.
    ///
    /// # Panics
    /// Never: a root serialises.
    pub fn update_root(&self, study: &str, profile: &str, change: impl FnOnce(&mut Root)) -> Result<(), Error> {
        let _held = self.locks.take("roots", Patience::UNLIMITED)?;
        let before = self.read_root(study, profile)?;
        let mut root = before.clone().unwrap_or_default();
        change(&mut root);
        if before.as_ref() == Some(&root) {
            return Ok(());
        }
        if self.unsynced.swap(false, Ordering::Relaxed) {
            self.drafts.sync_file_system()?;
        }
        let file = RootFile { checksum: checksum(&root), root };
        let mut text = serde_json::to_string_pretty(&file).expect("invariant: a root serialises");
        text.push('\n');
        self.drafts.write(text.as_bytes())?.settle(&self.layout.study_root(study, profile))
    }

    /// The roots of all studies and profiles.
    pub(super) fn all_roots(&self) -> Result<Vec<Root>, Error> {
        let mut roots = Vec::new();
        for path in files_below(&self.layout.roots())? {
            roots.extend(self.root_at(&path)?);
        }
        Ok(roots)
    }

    /// The lock under which the results of one study are written; it waits as [`Store::reserve`] does.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when cancelled; a failing disk.
    pub fn lock_study(&self, study: &str, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn()) -> Result<Held<'_>, Error> {
        self.locks.take(&format!("results-{}", file_name(study)), Patience { cancelled, waiting })
    }
}

fn checksum(root: &Root) -> Digest {
    Digest::of(serde_json::to_string(root).expect("invariant: a root serialises").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, flip, open, open_listening, record_of, stage_of};
    use super::*;

    #[test]
    fn a_list_reads_back_and_a_damaged_one_is_none() {
        let place = Place::new();
        let store = open(&place);
        let stage = stage_of(1, &[]).key;
        assert_eq!(store.read_list(&stage).unwrap(), None);
        for keys in [vec![], vec![record_of(2, &[]).key, record_of(1, &[]).key]] {
            store.write_list(&stage, &keys).unwrap();
            assert_eq!(store.read_list(&stage).unwrap(), Some(keys));
        }
        flip(&store.layout.list(&stage), 100);
        assert_eq!(store.read_list(&stage).unwrap(), None);
    }

    #[test]
    fn roots_of_studies_and_profiles_are_apart_and_partial_runs_add_up() {
        let place = Place::new();
        let stores = [open(&place), open(&place)];
        let keys: Vec<Key> = (0..8).map(|i| stage_of(i, &[]).key).collect();
        std::thread::scope(|scope| {
            for (i, key) in keys.iter().enumerate() {
                let store = &stores[i % 2];
                let insert = move |root: &mut Root| root.stages.extend([(format!("stage-{i}"), *key)]);
                scope.spawn(move || store.update_root("fig3", "small", insert).unwrap());
            }
        });
        let root = stores[0].read_root("fig3", "small").unwrap().unwrap();
        assert_eq!(root.stages.into_values().collect::<Vec<_>>(), keys);
        assert_eq!(stores[0].read_root("fig3", "paper").unwrap(), None);
        stores[0].write_root("fig3", "small", &Root::default()).unwrap();
        assert_eq!(stores[1].read_root("fig3", "small").unwrap(), Some(Root::default()));
    }

    #[test]
    fn a_damaged_root_is_set_aside_and_written_anew() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let root = Root { stages: [("train".to_owned(), stage_of(1, &[]).key)].into() };
        store.write_root("fig3", "small", &root).unwrap();
        let path = store.layout.study_root("fig3", "small");
        let length = std::fs::read(&path).unwrap().len();
        let in_the_key = length - 20;
        flip(&path, in_the_key);
        assert_eq!(store.read_root("fig3", "small").unwrap(), None);
        assert_eq!(heard.quarantined(), [path]);
        store.write_root("fig3", "small", &root).unwrap();
        assert_eq!(store.read_root("fig3", "small").unwrap(), Some(root));
    }

    #[test]
    fn results_of_one_study_are_locked_and_those_of_another_are_not() {
        let place = Place::new();
        let (first, second) = (open(&place), open(&place));
        let _held = first.lock_study("fig3", &|| false, &|| ()).unwrap();
        assert!(matches!(second.lock_study("fig3", &|| true, &|| ()), Err(Error::Interrupted)));
        assert!(second.lock_study("fig1", &|| true, &|| ()).is_ok());
    }
}
