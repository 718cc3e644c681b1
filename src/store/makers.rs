//! Which actions made a blob: asked only when the blob is gone, so the records are read for it only then.
//!
//! Several may have made the same bytes. An action that has them among its own inputs, such as a descent that took no step, is none of
//! their makers: it can never be the way to get them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};

use super::layout::{FORMAT, files_below, name_of};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Output, Record};

/// What this process knows of who made what.
#[derive(Default)]
pub(super) struct Makers {
    /// The actions that made these bytes, in the order in which they were met.
    by_digest: HashMap<Digest, Vec<Key>>,
    /// A record, of an action or of a stage, that carries these bytes itself.
    carriers: HashMap<Digest, Key>,
    /// Records whose outputs are in the two above.
    noted: HashSet<Key>,
}

impl Makers {
    fn note(&mut self, record: &Record) {
        self.noted.insert(record.key);
        for output in record.outputs.values() {
            if output.inline.is_some() {
                self.carriers.insert(output.digest, record.key);
            }
            if record.fingerprint.level == Level::Action && !reads(record, &output.digest) {
                let keys = self.by_digest.entry(output.digest).or_default();
                if !keys.contains(&record.key) {
                    keys.push(record.key);
                }
            }
        }
    }

    /// Forgets a record that is not there any more, or has other outputs than it had.
    fn forget(&mut self, key: &Key, digest: &Digest) {
        self.noted.remove(key);
        if let Some(keys) = self.by_digest.get_mut(digest) {
            keys.retain(|known| known != key);
        }
        if self.carriers.get(digest) == Some(key) {
            self.carriers.remove(digest);
        }
    }
}

/// Whether these bytes are an input of the record's action.
pub(super) fn reads(record: &Record, digest: &Digest) -> bool {
    record.fingerprint.inputs.values().any(|input| input == digest)
}

impl Store {
    /// The records of the actions that this process knows to have made these bytes, in the order in which it met them. A stage's record only
    /// names what its actions made. What others made becomes known by [`learn_makers`](Self::learn_makers).
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn makers_of(&self, digest: &Digest) -> Result<Vec<Record>, Error> {
        let known = self.makers().by_digest.get(digest).cloned().unwrap_or_default();
        let mut records = Vec::new();
        for key in known {
            match self.record(&key)? {
                Some(record) if record.outputs.values().any(|output| output.digest == *digest) => records.push(record),
                _ => self.makers().forget(&key, digest),
            }
        }
        Ok(records)
    }

    /// Reads every record that this process has not met yet, so that all makers are known, and says whether there were any.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn learn_makers(&self) -> Result<bool, Error> {
        let mut learnt = false;
        for key in self.keys()? {
            let new = !self.makers().noted.contains(&key);
            learnt |= new && self.record(&key)?.is_some();
        }
        Ok(learnt)
    }

    /// These bytes as the text that some record carries, an action's or a stage's, as far as this process has met it: what a stage made of
    /// its actions' outputs and is short lies nowhere else.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn inline(&self, digest: &Digest) -> Result<Option<Output>, Error> {
        let Some(key) = self.makers().carriers.get(digest).copied() else { return Ok(None) };
        let outputs = self.record(&key)?.into_iter().flat_map(|record| record.outputs.into_values());
        let carried = outputs.into_iter().find(|output| output.digest == *digest && output.inline.is_some());
        if carried.is_none() {
            self.makers().forget(&key, digest);
        }
        Ok(carried)
    }

    /// The key of an action that this process knows to have made these bytes; costs nothing.
    pub fn known_maker_of(&self, digest: &Digest) -> Option<Key> {
        self.makers().by_digest.get(digest).and_then(|keys| keys.first().copied())
    }

    /// Remembers what a record holds. Records that this store reads or writes are noted already.
    pub fn note(&self, record: &Record) {
        self.makers().note(record);
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

    fn makers(&self) -> MutexGuard<'_, Makers> {
        self.makers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, blob, commit, open, record_of, stage_of};
    use super::*;

    fn makers_of(store: &Store, digest: &Digest) -> Vec<Key> {
        store.makers_of(digest).unwrap().into_iter().map(|record| record.key).collect()
    }

    #[test]
    fn the_maker_of_a_blob_is_the_action_and_not_the_stage_that_names_it() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(1);
        let (action, stage) = (record_of(1, &[("theta", &theta)]), stage_of(1, &[("theta", &theta)]));
        commit(&store, &stage);
        assert!(!store.learn_makers().unwrap());
        assert_eq!(makers_of(&store, &output.digest), []);
        let other = open(&place);
        commit(&other, &action);
        assert_eq!(makers_of(&other, &output.digest), [action.key]);
        assert!(store.learn_makers().unwrap() && !store.learn_makers().unwrap());
        assert_eq!(makers_of(&store, &output.digest), [action.key]);
        assert_eq!(makers_of(&store, &blob(2).1.digest), []);
    }

    #[test]
    fn an_action_that_gives_back_what_it_was_given_is_no_maker() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(1);
        let mut fingerprint = record_of(1, &[]).fingerprint;
        fingerprint = fingerprint.input("theta", output.digest);
        let outputs = [("theta".to_owned(), output.clone())].into();
        let identity = Record::new(fingerprint, outputs, record_of(1, &[]).context);
        commit(&store, &identity);
        assert_eq!(makers_of(&store, &output.digest), []);
        let maker = record_of(2, &[("end", &theta)]);
        commit(&store, &maker);
        assert_eq!(makers_of(&store, &output.digest), [maker.key]);
        assert_eq!(store.known_maker_of(&output.digest), Some(maker.key));
    }

    #[test]
    fn short_text_is_found_in_the_stage_record_that_carries_it() {
        let place = Place::new();
        let stage = stage_of(1, &[("table", b"epoch,loss")]);
        commit(&open(&place), &stage);
        let store = open(&place);
        let digest = stage.outputs["table"].digest;
        assert_eq!(store.inline(&digest).unwrap(), None);
        assert!(store.learn_makers().unwrap());
        assert_eq!(makers_of(&store, &digest), []);
        assert_eq!(store.inline(&digest).unwrap().as_ref(), Some(&stage.outputs["table"]));
        assert_eq!(store.inline(&blob(2).1.digest).unwrap(), None);
    }

    #[test]
    fn all_makers_are_known_and_one_whose_record_is_gone_makes_nothing() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(1);
        let records = [record_of(1, &[("theta", &theta)]), record_of(2, &[("end", &theta)])];
        commit(&store, &records[0]);
        commit(&open(&place), &records[1]);
        assert_eq!(makers_of(&store, &output.digest), [records[0].key]);
        assert!(store.learn_makers().unwrap());
        assert_eq!(makers_of(&store, &output.digest), [records[0].key, records[1].key]);
        for (gone, left) in [(0, &[records[1].key][..]), (1, &[])] {
            std::fs::remove_file(store.layout.record(&records[gone].key)).unwrap();
            assert_eq!(makers_of(&store, &output.digest), left);
        }
    }
}
