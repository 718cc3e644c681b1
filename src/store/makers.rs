//! Which action made a blob: asked only when the blob is gone, so the records are read for it only then.

use std::collections::{BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};

use super::layout::{FORMAT, files_below, name_of};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Output, Record};

impl Store {
    /// The key of an action whose record has these bytes among its outputs. A stage's record only names what its actions made.
    ///
    /// What this process has looked up or committed is known; for anything else every record is read, which is what this costs when
    /// another process made it, and again when nobody did.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn maker_of(&self, digest: &Digest) -> Result<Option<Key>, Error> {
        let known = self.makers().get(digest).copied();
        if let Some(key) = known {
            if self.makes(&key, digest)? {
                return Ok(known);
            }
            self.makers().remove(digest);
        }
        for key in self.keys()? {
            if self.makes(&key, digest)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// These bytes as the text that some record carries, an action's or a stage's: what a stage made of its actions' outputs and is short
    /// lies nowhere else. Every record is read for it.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn inline(&self, digest: &Digest) -> Result<Option<Output>, Error> {
        for key in self.keys()? {
            let outputs = self.record(&key)?.into_iter().flat_map(|record| record.outputs.into_values());
            let carried = outputs.into_iter().find(|output| output.digest == *digest && output.inline.is_some());
            if carried.is_some() {
                return Ok(carried);
            }
        }
        Ok(None)
    }

    /// The key of an action that this process knows to have made these bytes; costs nothing.
    pub fn known_maker_of(&self, digest: &Digest) -> Option<Key> {
        self.makers().get(digest).copied()
    }

    /// Whether the record of `key` is there and its action makes these bytes. Looking it up notes it.
    fn makes(&self, key: &Key, digest: &Digest) -> Result<bool, Error> {
        let makes = |record: Record| {
            record.fingerprint.level == Level::Action && record.outputs.values().any(|output| output.digest == *digest)
        };
        Ok(self.record(key)?.is_some_and(makes))
    }

    /// Remembers what a record's action made. Records that this store reads or writes are noted already.
    pub fn note(&self, record: &Record) {
        if record.fingerprint.level == Level::Action {
            let mut makers = self.makers();
            for output in record.outputs.values() {
                makers.entry(output.digest).or_insert(record.key);
            }
        }
    }

    /// The keys of all records whose hexadecimal digits begin so, in order.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn records_beginning(&self, digits: &str) -> Result<Vec<Key>, Error> {
        Ok(self.keys()?.into_iter().filter(|key| key.to_string().starts_with(digits)).collect())
    }

    /// The keys of all records, in order, whether they are whole or not.
    pub(super) fn keys(&self) -> Result<Vec<Key>, Error> {
        let mut keys = BTreeSet::new();
        for path in files_below(&self.layout.records())? {
            let (stem, suffix) = name_of(&path).split_once('.').unwrap_or((name_of(&path), FORMAT));
            keys.extend(stem.parse::<Key>().ok().filter(|_| suffix == FORMAT));
        }
        Ok(keys.into_iter().collect())
    }

    fn makers(&self) -> MutexGuard<'_, HashMap<Digest, Key>> {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, blob, commit, open, record_of, stage_of};

    #[test]
    fn the_maker_of_a_blob_is_the_action_and_not_the_stage_that_names_it() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(1);
        let (action, stage) = (record_of(1, &[("theta", &theta)]), stage_of(1, &[("theta", &theta)]));
        commit(&store, &stage);
        assert_eq!(store.maker_of(&output.digest).unwrap(), None);
        let other = open(&place);
        commit(&other, &action);
        assert_eq!(other.maker_of(&output.digest).unwrap(), Some(action.key));
        assert_eq!(store.maker_of(&output.digest).unwrap(), Some(action.key));
        assert_eq!(store.maker_of(&blob(2).1.digest).unwrap(), None);
    }

    #[test]
    fn short_text_is_found_in_the_stage_record_that_carries_it() {
        let place = Place::new();
        let store = open(&place);
        let stage = stage_of(1, &[("table", b"epoch,loss")]);
        commit(&store, &stage);
        let digest = stage.outputs["table"].digest;
        assert_eq!(store.maker_of(&digest).unwrap(), None);
        assert_eq!(store.inline(&digest).unwrap().as_ref(), Some(&stage.outputs["table"]));
        assert_eq!(store.inline(&blob(2).1.digest).unwrap(), None);
    }

    #[test]
    fn a_maker_whose_record_is_gone_makes_nothing_and_another_is_found() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(1);
        let records = [record_of(1, &[("theta", &theta)]), record_of(2, &[("end", &theta)])];
        commit(&store, &records[0]);
        commit(&open(&place), &records[1]);
        assert_eq!(store.maker_of(&output.digest).unwrap(), Some(records[0].key));
        for (gone, left) in [(0, Some(records[1].key)), (1, None)] {
            std::fs::remove_file(store.layout.record(&records[gone].key)).unwrap();
            assert_eq!(store.maker_of(&output.digest).unwrap(), left);
        }
    }
}
