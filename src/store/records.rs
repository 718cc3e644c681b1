//! Records by key. A damaged one is set aside and is a miss; one of an unknown format is a miss and stays.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::draft::Draft;
use super::layout::read_file;
use super::{Error, Store};
use crate::key::{Key, Level, Record, RecordError};

/// What lies at a record's path.
enum Found {
    Nothing,
    Unknown,
    Whole(Box<Record>),
}

impl Store {
    /// The record under `key`, if there is a whole one in a format this program knows, here or in the cache that is shared.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn record(&self, key: &Key) -> Result<Option<Record>, Error> {
        Ok(self.locate(key)?.map(|(_, record)| record))
    }

    /// The record under `key`, and where it lies.
    pub(super) fn locate(&self, key: &Key) -> Result<Option<(PathBuf, Record)>, Error> {
        for path in [self.layout.record(key), self.layout.record_beside(key)] {
            if let Found::Whole(record) = self.find(&path, key)? {
                self.note(&record);
                return Ok(Some((path, *record)));
            }
        }
        let Some(record) = self.fetch_record(key)? else { return Ok(None) };
        self.note(&record);
        Ok(Some((self.place_of(key)?, record)))
    }

    /// Where this program's record of `key` belongs: beside its own name where a record of an unknown format has that.
    pub(super) fn place_of(&self, key: &Key) -> Result<PathBuf, Error> {
        Ok(self.landed(key)?.0)
    }

    /// The record of `key` that is here, and where one belongs.
    pub(super) fn landed(&self, key: &Key) -> Result<(PathBuf, Option<Record>), Error> {
        let (path, beside) = (self.layout.record(key), self.layout.record_beside(key));
        Ok(match self.find(&path, key)? {
            Found::Whole(record) => (path, Some(*record)),
            Found::Nothing => (path, None),
            Found::Unknown => match self.find(&beside, key)? {
                Found::Whole(record) => (beside, Some(*record)),
                Found::Nothing | Found::Unknown => (beside, None),
            },
        })
    }

    fn find(&self, path: &Path, key: &Key) -> Result<Found, Error> {
        let Some(bytes) = read_file(path)? else { return Ok(Found::Nothing) };
        match Record::decode(&bytes, key) {
            Ok(record) => Ok(Found::Whole(Box::new(record))),
            Err(RecordError::UnknownFormat(_)) => Ok(Found::Unknown),
            Err(RecordError::Damaged(problem)) => {
                // Another process may have made it again by now; that one is not to be set aside.
                if read_file(path)?.as_deref() != Some(&bytes[..]) {
                    return self.find(path, key);
                }
                self.set_aside(path, &format!("damaged record: {problem}"))?;
                Ok(Found::Nothing)
            }
        }
    }

    /// Writes a record to its place: an action's with two syncs, a stage's with none of its own. Only who holds the key's
    /// reservation may.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), Error> {
        let path = self.place_of(&record.key)?;
        let draft = self.drafts.write(&record.encode())?;
        if record.fingerprint.level == Level::Stage {
            self.place_unsynced(draft, &path)?;
        } else {
            draft.settle(&path)?;
        }
        self.note(record);
        self.upload_record(&record.key);
        Ok(())
    }

    /// Places what is cheap to make again from what is synced. The next root that names it brings it to the medium.
    pub(super) fn place_unsynced(&self, draft: Draft<'_>, path: &Path) -> Result<(), Error> {
        draft.place(path)?;
        self.unsynced.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::layout::FORMAT;
    use super::super::testing::{Place, commit, flip, open, open_listening, record_of};

    #[test]
    fn a_flipped_byte_anywhere_in_a_record_is_a_miss_that_is_named() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let record = record_of(1, &[("loss", b"0.5")]);
        let path = store.layout.record(&record.key);
        let in_the_format_number = "thalweg-record ".len();
        for at in (0..record.encode().len()).filter(|at| *at != in_the_format_number) {
            commit(&store, &record);
            assert_eq!(store.record(&record.key).unwrap().as_ref(), Some(&record));
            flip(&path, at);
            assert_eq!(store.record(&record.key).unwrap(), None, "byte {at}");
            assert!(!path.exists());
        }
        assert_eq!(heard.quarantined().len(), record.encode().len() - 1);
    }

    #[test]
    fn an_unknown_format_is_a_miss_that_stays_and_ours_lies_beside() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let record = record_of(1, &[("loss", b"0.5")]);
        let (name, later) = (format!("thalweg-record {FORMAT}"), "thalweg-record 99");
        let foreign = String::from_utf8(record.encode()).unwrap().replacen(&name, later, 1);
        let path = store.layout.record(&record.key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &foreign).unwrap();
        assert_eq!(store.record(&record.key).unwrap(), None);
        commit(&store, &record);
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        assert_eq!(store.record(&record.key).unwrap(), Some(record.clone()));
        fs::remove_file(&path).unwrap();
        let other = open(&place);
        assert_eq!(other.record(&record.key).unwrap(), Some(record.clone()));
        assert_eq!(other.keys().unwrap(), [record.key]);
        assert!(heard.quarantined().is_empty());
    }

    #[test]
    fn damage_beside_an_unknown_format_is_set_aside_and_made_again() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let record = record_of(1, &[("loss", b"0.5")]);
        commit(&store, &record);
        flip(&store.layout.record(&record.key), "thalweg-record ".len());
        commit(&store, &record);
        flip(&store.layout.record_beside(&record.key), 100);
        assert_eq!(store.record(&record.key).unwrap(), None);
        assert_eq!(heard.quarantined(), [store.layout.record_beside(&record.key)]);
        commit(&store, &record);
        assert_eq!(store.record(&record.key).unwrap(), Some(record));
    }
}
