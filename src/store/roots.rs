//! What is reached: each study's roots name stage records, and a list beside a stage's record names the actions it used. Also the lock
//! under which a study's results are written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::layout::{file_name, files_below, read_file};
use super::lock::{Held, Patience};
use super::sealed::{is_damaged, seal, unseal};
use super::{Error, Store};
use crate::key::{Digest, Key};

pub(super) const LIST: &str = "thalweg-list 1";
pub(super) const DAMAGED: &str = "damaged root: its checksum does not fit";

/// What one profile of a study reaches: the key of each stage instance's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Stage instances by name.
    pub stages: BTreeMap<String, Key>,
    /// Whether more is reached than this says: an earlier root was damaged, and no run of the whole study has been since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
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
        Ok(read_file(&self.layout.list(stage))?.as_deref().and_then(keys_of))
    }

    /// The list of a stage whose record lies at `record`; where it is missing or damaged, what is there of both is set aside.
    pub(super) fn whole_list(&self, stage: &Key, record: &Path) -> Result<Option<Vec<Key>>, Error> {
        if let Some(list) = self.read_list(stage)? {
            return Ok(Some(list));
        }
        let path = self.layout.list(stage);
        let problem = match read_file(&path)? {
            Some(bytes) if !is_damaged(LIST, &bytes) => return Ok(None),
            Some(_) => {
                self.set_aside(&path, "damaged list of a stage's actions")?;
                "the list of this stage's actions is damaged"
            }
            None => "the list of this stage's actions is gone",
        };
        self.set_aside(record, problem)?;
        Ok(None)
    }

    /// What a profile of a study reaches; a damaged file is set aside, and leaves an empty root that says it is partial.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn read_root(&self, study: &str, profile: &str) -> Result<Option<Root>, Error> {
        Ok(self.root_at(&self.layout.study_root(study, profile))?.map(|(root, _)| root))
    }

    /// The root in a file, and whether the file was found damaged just now.
    pub(super) fn root_at(&self, path: &Path) -> Result<Option<(Root, bool)>, Error> {
        match find(path)? {
            Found::Nothing => Ok(None),
            Found::Whole(root) => Ok(Some((root, false))),
            Found::Damage if !self.is_writable() => {
                self.set_aside(path, DAMAGED)?;
                Ok(Some((Root { partial: true, ..Root::default() }, true)))
            }
            Found::Damage => {
                let _held = self.locks.take("roots", Patience::UNLIMITED)?;
                self.mend_root(path)
            }
        }
    }

    /// As [`root_at`](Self::root_at), by whoever holds the roots' lock.
    fn mend_root(&self, path: &Path) -> Result<Option<(Root, bool)>, Error> {
        match find(path)? {
            Found::Nothing => Ok(None),
            Found::Whole(root) => Ok(Some((root, false))),
            Found::Damage => {
                let root = Root { partial: true, ..Root::default() };
                self.set_aside(path, DAMAGED)?;
                self.settle_root(path, &root)?;
                Ok(Some((root, true)))
            }
        }
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
    pub fn update_root(&self, study: &str, profile: &str, change: impl FnOnce(&mut Root)) -> Result<(), Error> {
        let _held = self.locks.take("roots", Patience::UNLIMITED)?;
        let path = self.layout.study_root(study, profile);
        let before = self.mend_root(&path)?.map(|(root, _)| root);
        let mut root = before.clone().unwrap_or_default();
        change(&mut root);
        if before.as_ref() == Some(&root) {
            return Ok(());
        }
        if self.unsynced.swap(false, Ordering::Relaxed) {
            self.drafts.sync_file_system()?;
        }
        self.settle_root(&path, &root)
    }

    fn settle_root(&self, path: &Path, root: &Root) -> Result<(), Error> {
        let file = RootFile { checksum: checksum(root), root: root.clone() };
        let mut text = serde_json::to_string_pretty(&file).expect("invariant: a root serialises");
        text.push('\n');
        self.drafts.write(text.as_bytes())?.settle(path)?;
        self.upload_root(path);
        Ok(())
    }

    /// The roots of all studies and profiles by their files, and which of these were found damaged just now.
    pub(super) fn all_roots(&self) -> Result<(BTreeMap<PathBuf, Root>, Vec<PathBuf>), Error> {
        let (mut roots, mut damaged) = (BTreeMap::new(), Vec::new());
        for path in files_below(&self.layout.roots())? {
            if let Some((root, was_damaged)) = self.root_at(&path)? {
                damaged.extend(was_damaged.then(|| path.clone()));
                roots.insert(path, root);
            }
        }
        Ok((roots, damaged))
    }

    /// The lock under which the results of one study are written; it waits as [`Store::reserve`] does.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when cancelled; a failing disk.
    pub fn lock_study(&self, study: &str, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn()) -> Result<Held<'_>, Error> {
        self.locks.take(&format!("results-{}", file_name(study)), Patience { cancelled, waiting })
    }
}

impl Store {
    /// The lock under which a stage's job is looked for and asked for.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when cancelled; a failing disk.
    pub fn lock_job(&self, tag: &str, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn()) -> Result<Held<'_>, Error> {
        self.locks.take(&format!("job-{}", file_name(tag)), Patience { cancelled, waiting })
    }
}

/// The keys that a list's bytes hold; `None` where they are damaged.
pub(super) fn keys_of(list: &[u8]) -> Option<Vec<Key>> {
    unseal(LIST, list)?.lines().map(|line| line.parse().ok()).collect()
}

/// What is in a root's file.
enum Found {
    Nothing,
    Damage,
    Whole(Root),
}

impl Root {
    /// What the bytes of a root's file say; `None` where they are damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let file = serde_json::from_slice::<RootFile>(bytes).ok()?;
        (file.checksum == checksum(&file.root)).then_some(file.root)
    }
}

fn find(path: &Path) -> Result<Found, Error> {
    let Some(bytes) = read_file(path)? else { return Ok(Found::Nothing) };
    Ok(Root::decode(&bytes).map_or(Found::Damage, Found::Whole))
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
        let root = Root { stages: [("train".to_owned(), stage_of(1, &[]).key)].into(), partial: false };
        store.write_root("fig3", "small", &root).unwrap();
        let path = store.layout.study_root("fig3", "small");
        let length = std::fs::read(&path).unwrap().len();
        let in_the_key = length - 20;
        flip(&path, in_the_key);
        let partial = Root { partial: true, ..Root::default() };
        assert_eq!(store.read_root("fig3", "small").unwrap().as_ref(), Some(&partial));
        assert_eq!(heard.quarantined(), [path]);
        store.update_root("fig3", "small", |there| there.stages.clone_from(&root.stages)).unwrap();
        assert!(store.read_root("fig3", "small").unwrap().unwrap().partial, "until the whole study has run");
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
