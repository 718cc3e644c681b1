//! A miss is the right to write: whoever holds a key's reservation, and nobody else, runs the action and commits its record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::blobs::{Batch, Landing};
use super::lock::{Held, Patience};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Output, Record};

/// What is known of a key.
#[derive(Debug)]
#[must_use = "a miss is held until it is dropped"]
pub enum Lookup<'s> {
    /// Its record.
    Hit(Box<Record>),
    /// Nothing; the caller is the one to make it.
    Miss(Reservation<'s>),
}

/// The right to write the record of one key, held against every thread and program. Dropped without a commit it is released.
#[must_use = "the reservation is released when this is dropped"]
pub struct Reservation<'s> {
    store: &'s Store,
    key: Key,
    _held: Held<'s>,
}

/// What came of running an action again whose bytes were gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Remade {
    /// The same bytes.
    Same(Box<Record>),
    /// Other bytes, on another arithmetic: the new record has replaced the old, and consumers of these outputs are stale.
    Changed {
        /// The record that was.
        old: Box<Record>,
        /// The record that is.
        new: Box<Record>,
    },
}

/// What one action made: its reservation, its outputs' bytes by name, and how its record is made of the outputs.
#[derive(Debug)]
pub struct Finished<'s, 'b, F> {
    /// The right to write its record.
    pub reservation: Reservation<'s>,
    /// The bytes, by name.
    pub outputs: &'b [(String, Vec<u8>)],
    /// Gives the record, once the outputs are known by digest.
    pub make: F,
}

impl Store {
    /// The record under `key`, or the right to write it. While another holds that right, it waits (the lock is tried from every 10 ms to
    /// every second) and then finds the other's record. `waiting` is called once, when the first try fails; `cancelled` is asked
    /// before each pause.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when cancelled; a failing disk.
    pub fn reserve(&self, key: &Key, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn()) -> Result<Lookup<'_>, Error> {
        if let Some(record) = self.record(key)? {
            return Ok(Lookup::Hit(Box::new(record)));
        }
        let reservation = self.lock_key(key, Patience { cancelled, waiting })?;
        // Whoever held it before may have committed.
        Ok(match self.record(key)? {
            Some(record) => Lookup::Hit(Box::new(record)),
            None => Lookup::Miss(reservation),
        })
    }

    /// As [`Store::reserve`], for several keys that are to be made together. They are taken in the order of the keys, so that two programs
    /// cannot wait for each other; whoever already holds a reservation must not ask for others. Each miss keeps one file open, so
    /// a group should stay in the hundreds.
    ///
    /// # Errors
    /// As [`Store::reserve`]; then none is held.
    pub fn reserve_many(
        &self,
        keys: &[Key],
        cancelled: &dyn Fn() -> bool,
        waiting: &dyn Fn(),
    ) -> Result<BTreeMap<Key, Lookup<'_>>, Error> {
        let sorted: BTreeSet<&Key> = keys.iter().collect();
        sorted.into_iter().map(|key| Ok((*key, self.reserve(key, cancelled, waiting)?))).collect()
    }

    /// The right to run again the action of `key`, whose record is there but whose output `gone` is not. `None` where another
    /// made it again in the meantime.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub fn reserve_again(
        &self,
        key: &Key,
        gone: &Output,
        cancelled: &dyn Fn() -> bool,
        waiting: &dyn Fn(),
    ) -> Result<Option<Reservation<'_>>, Error> {
        let reservation = self.lock_key(key, Patience { cancelled, waiting })?;
        Ok((!self.can_have(gone)).then_some(reservation))
    }

    /// Keeps what several actions made: the blobs of all, then the records of all. Two syncs, however many there are. Returns the records that
    /// are there then, which another's are that landed before.
    ///
    /// # Errors
    /// A failing disk; then some have no record. [`Error::Diverged`] where another's is there, of the same arithmetic and with other bytes.
    ///
    /// # Panics
    /// As [`Reservation::commit`].
    pub fn commit_all<F: FnOnce(BTreeMap<String, Output>) -> Record>(
        &self,
        group: Vec<Finished<'_, '_, F>>,
    ) -> Result<Vec<Record>, Error> {
        let mut batch = Batch::default();
        // Held until all is there.
        let (mut held, mut records) = (Vec::new(), Vec::new());
        for Finished { reservation, outputs, make } in group {
            let record = make(self.draft_all(outputs, &mut batch)?);
            assert_eq!(record.key, reservation.key, "invariant: a reservation commits its own key");
            held.push(reservation);
            records.push(record);
        }
        self.land_all(records, batch)
    }

    /// Brings the blobs of actions to their places and then their records, and returns the records that are there.
    fn land_all<'s>(&'s self, mut records: Vec<Record>, mut batch: Batch<'s>) -> Result<Vec<Record>, Error> {
        let (mut diverged, mut ahead) = (None, (0..records.len()).collect::<Vec<usize>>());
        for landing in [Landing::IfFree, Landing::Anyway] {
            let mut drafted = Vec::new();
            for i in ahead {
                // Where the file system's locks do not exclude, another may have come first: what landed first counts.
                let (place, landed) = self.landed(&records[i].key)?;
                if let Some(first) = landed {
                    let made = std::mem::replace(&mut records[i], first);
                    diverged = diverged.or(self.divergence(&records[i], &made)?);
                } else {
                    batch.records.push((place, self.drafts.write(&records[i].encode())?));
                    drafted.push(i);
                }
            }
            // Who came between the look and the landing is looked at then. What has the name and is no record that anybody could read loses it.
            let late = self.settle_all(std::mem::take(&mut batch), landing)?;
            ahead = late.into_iter().map(|place| drafted[place]).collect();
        }
        if let Some(error) = diverged {
            return Err(error);
        }
        for record in &records {
            self.note(record);
            self.upload_record(&record.key);
        }
        Ok(records)
    }

    /// That one record differs from the first on the same arithmetic, which then is kept beside it.
    fn divergence(&self, first: &Record, made: &Record) -> Result<Option<Error>, Error> {
        let outputs = differing(first, made);
        if outputs.is_empty() || first.context.arithmetic != made.context.arithmetic {
            return Ok(None);
        }
        let (key, kind) = (made.key, made.fingerprint.kind.clone());
        Ok(Some(Error::Diverged { key, kind, outputs, kept: self.keep_diverged(made)? }))
    }

    fn keep_diverged(&self, record: &Record) -> Result<PathBuf, Error> {
        let bytes = record.encode();
        let path = self.layout.diverged(&record.key, &Digest::of(&bytes));
        self.drafts.write(&bytes)?.settle(&path)?;
        Ok(path)
    }

    fn lock_key(&self, key: &Key, patience: Patience<'_>) -> Result<Reservation<'_>, Error> {
        let held = self.locks.take(&key.to_string(), patience)?;
        Ok(Reservation { store: self, key: *key, _held: held })
    }
}

impl Reservation<'_> {
    /// The key it is for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Writes the record, whose outputs are already put, and releases the key. Two syncs for an action's, none for a stage's. Returns the
    /// record that is there then, which another's is that landed before.
    ///
    /// # Errors
    /// As [`Store::commit_all`].
    ///
    /// # Panics
    /// If the record belongs to another key, which is a bug.
    pub fn commit(self, record: Record) -> Result<Record, Error> {
        assert_eq!(record.key, self.key, "invariant: a reservation commits its own key");
        if record.fingerprint.level == Level::Stage {
            self.store.write_record(&record)?;
            return Ok(record);
        }
        Ok(self.store.land_all(vec![record], Batch::default())?.remove(0))
    }

    /// Puts the outputs, has the record made of them, writes it and releases the key: [`Store::commit_all`] of one.
    ///
    /// # Errors
    /// A failing disk; then there is no record.
    ///
    /// # Panics
    /// As [`Reservation::commit`].
    pub fn commit_with(
        self,
        outputs: &[(String, Vec<u8>)],
        make: impl FnOnce(BTreeMap<String, Output>) -> Record,
    ) -> Result<Record, Error> {
        let mut records = self.store.commit_all(vec![Finished { reservation: self, outputs, make }])?;
        Ok(records.remove(0))
    }

    /// Settles what a second run of an action gave, its outputs being put: `record` is compared with the one that is there. A record that
    /// is gone is written; other bytes from another arithmetic replace it.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the same arithmetic gave other bytes: both records are kept, and lookups still find the first. A failing
    /// disk.
    ///
    /// # Panics
    /// As [`Reservation::commit`].
    pub fn remade(self, record: Record) -> Result<Remade, Error> {
        let Some(old) = self.store.record(&self.key)? else {
            return self.commit(record).map(|record| Remade::Same(Box::new(record)));
        };
        if differing(&old, &record).is_empty() {
            // The bytes may have been found wrong in the cache that is shared.
            self.store.upload_record(&self.key);
            return Ok(Remade::Same(Box::new(old)));
        }
        if let Some(error) = self.store.divergence(&old, &record)? {
            return Err(error);
        }
        self.store.write_record(&record)?;
        Ok(Remade::Changed { old: Box::new(old), new: Box::new(record) })
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reservation of {:?}", self.key)
    }
}

/// The names of outputs that are not the same bytes in both.
fn differing(old: &Record, new: &Record) -> Vec<String> {
    let digest = |record: &Record, name: &String| record.outputs.get(name).map(|output| output.digest);
    let names: BTreeSet<&String> = old.outputs.keys().chain(new.outputs.keys()).collect();
    names.into_iter().filter(|name| digest(old, name) != digest(new, name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::testing::{Place, blob, commit, open, record_of};
    use super::*;

    fn never() -> bool {
        false
    }

    #[test]
    fn reservations_may_move_to_the_thread_that_runs_the_action() {
        fn may_move<T: Send>() {}
        fn may_be_shared<T: Send + Sync>() {}
        may_move::<Reservation<'_>>();
        may_be_shared::<Store>();
    }

    #[test]
    fn threads_and_stores_that_race_on_a_key_have_one_miss() {
        let place = Place::new();
        let stores = [open(&place), open(&place)];
        for seed in 0..5 {
            let record = record_of(seed, &[("loss", b"0.5")]);
            let (misses, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for i in 0..6 {
                    let (record, misses, hits, store) = (&record, &misses, &hits, &stores[i % 2]);
                    scope.spawn(move || match store.reserve(&record.key, &never, &|| ()).unwrap() {
                        Lookup::Hit(found) => {
                            assert_eq!(*found, *record);
                            hits.fetch_add(1, Ordering::SeqCst);
                        }
                        Lookup::Miss(reservation) => {
                            misses.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(15));
                            reservation.commit(record.clone()).unwrap();
                        }
                    });
                }
            });
            assert_eq!((misses.into_inner(), hits.into_inner()), (1, 5));
        }
    }

    #[test]
    fn a_dropped_reservation_passes_the_miss_on() {
        let place = Place::new();
        let (first, second) = (open(&place), open(&place));
        let key = record_of(1, &[]).key;
        for store in [&first, &second, &first] {
            assert!(matches!(store.reserve(&key, &never, &|| ()).unwrap(), Lookup::Miss(held) if *held.key() == key));
        }
    }

    #[test]
    fn a_group_is_reserved_in_one_order_and_hits_are_released() {
        let place = Place::new();
        let stores = [open(&place), open(&place)];
        let records: Vec<_> = (0..12).map(|i| record_of(i, &[])).collect();
        commit(&stores[0], &records[3]);
        let misses = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for (i, store) in stores.iter().enumerate() {
                let (records, misses) = (&records, &misses);
                scope.spawn(move || {
                    let mut keys: Vec<Key> = records.iter().chain(&records[..2]).map(|record| record.key).collect();
                    if i == 1 {
                        keys.reverse();
                    }
                    let mut group = store.reserve_many(&keys, &never, &|| ()).unwrap();
                    assert_eq!(group.len(), 12);
                    for record in records {
                        if let Some(Lookup::Miss(reservation)) = group.remove(&record.key) {
                            misses.fetch_add(1, Ordering::SeqCst);
                            reservation.commit(record.clone()).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(misses.into_inner(), 11);
        assert!(!stores[0].layout.lock(&records[3].key.to_string()).exists());
    }

    #[test]
    fn a_waiter_that_is_cancelled_is_interrupted() {
        let place = Place::new();
        let store = open(&place);
        let key = record_of(1, &[]).key;
        let _held = store.reserve(&key, &never, &|| ()).unwrap();
        let told = std::cell::Cell::new(0);
        let result = store.reserve(&key, &|| true, &|| told.set(told.get() + 1));
        assert!(matches!(result, Err(Error::Interrupted)));
        assert_eq!(told.get(), 1);
    }

    #[test]
    fn an_absent_blob_is_made_again_once_and_is_the_same() {
        let place = Place::new();
        let store = open(&place);
        let (theta, output) = blob(7);
        store.put(&theta).unwrap();
        let record = record_of(1, &[("theta", &theta)]);
        commit(&store, &record);
        fs::remove_file(store.layout.blob(&output.digest)).unwrap();
        let reservation = store.reserve_again(&record.key, &output, &never, &|| ()).unwrap().unwrap();
        store.put(&theta).unwrap();
        let mut again = record.clone();
        again.context.seconds = 9.0;
        assert_eq!(reservation.remade(again).unwrap(), Remade::Same(Box::new(record.clone())));
        assert!(store.reserve_again(&record.key, &output, &never, &|| ()).unwrap().is_none());
    }

    #[test]
    fn other_bytes_on_the_same_arithmetic_are_an_error_that_keeps_both_records() {
        let place = Place::new();
        let store = open(&place);
        let (record, second) = (record_of(1, &[("theta", &blob(1).0)]), record_of(1, &[("theta", &blob(2).0)]));
        commit(&store, &record);
        let reservation = store.reserve_again(&record.key, &blob(1).1, &never, &|| ()).unwrap().unwrap();
        let Err(Error::Diverged { key, outputs, kept, .. }) = reservation.remade(second.clone()) else {
            panic!("it diverged")
        };
        assert_eq!((key, outputs), (record.key, vec!["theta".to_owned()]));
        assert_eq!(Record::decode(&fs::read(kept).unwrap(), &key), Ok(second));
        assert_eq!(store.record(&key).unwrap(), Some(record));
    }

    #[test]
    fn other_bytes_on_another_arithmetic_replace_the_record() {
        let place = Place::new();
        let store = open(&place);
        let (record, mut second) = (record_of(1, &[("theta", &blob(1).0)]), record_of(1, &[("theta", &blob(2).0)]));
        second.context.arithmetic.features = "avx512".into();
        commit(&store, &record);
        let reservation = store.reserve_again(&record.key, &blob(1).1, &never, &|| ()).unwrap().unwrap();
        let expected = Remade::Changed { old: Box::new(record), new: Box::new(second.clone()) };
        assert_eq!(reservation.remade(second.clone()).unwrap(), expected);
        assert_eq!(store.record(&second.key).unwrap(), Some(second));
    }
}
