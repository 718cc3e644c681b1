//! Where locks do not exclude: the record that lands first counts, and others are compared with it, however close they come.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use super::testing::{Heard, Place, blob, record_of};
use super::{Disk, Error, Finished, Lookup, RealDisk, Reservation, Store};
use crate::event::Silent;
use crate::key::{Key, Record};

/// A file system that has no locks, or keeps those of machines apart, from when several stores stand for several machines.
struct NoLocks {
    has_none: bool,
    apart: AtomicBool,
}

impl Disk for NoLocks {
    fn try_lock(&self, file: &fs::File) -> Result<(), fs::TryLockError> {
        match self.has_none {
            true => Err(fs::TryLockError::Error(io::Error::from_raw_os_error(38))),
            false if self.apart.load(Ordering::Relaxed) => Ok(()),
            false => file.try_lock(),
        }
    }

    fn try_lock_shared(&self, file: &fs::File) -> Result<(), fs::TryLockError> {
        if self.has_none { self.try_lock(file) } else { file.try_lock_shared() }
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::CrossesDevices))
    }
}

#[test]
fn where_locks_do_not_exclude_the_record_that_lands_first_counts_and_others_are_compared() {
    for has_none in [false, true] {
        let place = Place::new();
        let heard = [(); 3].map(|()| Arc::new(Heard::default()));
        let disk = Arc::new(NoLocks { has_none, apart: AtomicBool::new(false) });
        let open = |heard: &Arc<Heard>| Store::open(place.path(), disk.clone(), heard.clone());
        let stores = heard.each_ref().map(|heard| open(heard).unwrap());
        disk.apart.store(true, Ordering::Relaxed);
        assert_eq!(heard[0].warnings().iter().any(|warning| warning.contains("has no locks")), has_none);
        let key = record_of(1, &[]).key;
        let made = |seed| [("theta".to_owned(), blob(seed).0)];
        let record = |outputs| Record { outputs, ..record_of(1, &[]) };
        let [first, second, third] = stores.each_ref().map(|store| reserve(store, &key));
        let first = first.commit_with(&made(1), record).unwrap();
        assert_eq!(second.commit_with(&made(1), record).unwrap(), first);
        let error = third.commit_with(&made(2), record).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        for store in &stores {
            assert_eq!(store.record(&key).unwrap().as_ref(), Some(&first));
        }
    }
}

/// A disk on which another's record gets its place just before ours would, while both hold the key's reservation.
struct Raced(Mutex<Vec<(Key, Vec<u8>)>>);

impl Disk for Raced {
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut theirs = self.0.lock().unwrap();
        // A lock has the same name.
        let is_place = |key: &Key| to.ends_with(key.to_string()) && to.iter().any(|folder| folder == "records");
        if let Some(at) = theirs.iter().position(|(key, _)| is_place(key)) {
            fs::write(to, theirs.remove(at).1)?;
        }
        RealDisk.link(from, to)
    }
}

fn reserve<'s>(store: &'s Store, key: &Key) -> Reservation<'s> {
    match store.reserve(key, &|| false, &|| ()).unwrap() {
        Lookup::Miss(reservation) => reservation,
        Lookup::Hit(_) => panic!("nothing was made"),
    }
}

#[test]
fn a_record_that_lands_between_our_look_and_our_landing_is_not_replaced() {
    for (theirs, diverges) in [(1, false), (2, true)] {
        // Alone, and with a blob, which is another way to the disk.
        for bytes in [blob(1).0, b"0.5".to_vec()] {
            let other = if diverges { blob(theirs).0 } else { bytes.clone() };
            let mut first = record_of(1, &[("theta", &other)]);
            first.context.seconds = 7.0;
            let place = Place::new();
            let disk = Arc::new(Raced(Mutex::new(vec![(first.key, first.encode())])));
            let store = Store::open(place.path(), disk, Arc::new(Silent)).unwrap();
            let outputs = [("theta".to_owned(), bytes)];
            let committed =
                reserve(&store, &first.key).commit_with(&outputs, |outputs| Record { outputs, ..record_of(1, &[]) });
            match committed {
                Ok(record) => assert_eq!((diverges, &record), (false, &first)),
                Err(error) => assert!(diverges && matches!(error, Error::Diverged { .. }), "{error}"),
            }
            assert_eq!(store.record(&first.key).unwrap(), Some(first));
        }
    }
}

#[test]
fn in_a_group_each_is_compared_with_the_one_that_came_before_it() {
    let bytes = |seed: u64| seed.to_string().into_bytes();
    let ours = |seed| record_of(seed, &[("loss", &bytes(seed))]);
    for (diverges, theirs) in [(false, bytes(2)), (true, b"other".to_vec())] {
        let mut first = record_of(2, &[("loss", &theirs)]);
        first.context.seconds = 7.0;
        let place = Place::new();
        let disk = Arc::new(Raced(Mutex::new(vec![(first.key, first.encode())])));
        let store = Store::open(place.path(), disk, Arc::new(Silent)).unwrap();
        let outputs: Vec<_> = (1..4).map(|seed| [("loss".to_owned(), bytes(seed))]).collect();
        let mut group = Vec::new();
        for (seed, outputs) in (1..4).zip(&outputs) {
            let make = move |outputs| Record { outputs, ..record_of(seed, &[]) };
            group.push(Finished { reservation: reserve(&store, &ours(seed).key), outputs, make });
        }
        match store.commit_all(group) {
            Ok(records) => assert_eq!((diverges, records), (false, vec![ours(1), first.clone(), ours(3)])),
            Err(Error::Diverged { key, .. }) => assert!(diverges && key == first.key),
            Err(error) => panic!("{error}"),
        }
        for record in [&ours(1), &first, &ours(3)] {
            assert_eq!(store.record(&record.key).unwrap().as_ref(), Some(record));
        }
    }
}

#[test]
fn what_has_a_records_name_and_cannot_be_read_as_one_loses_it() {
    let ours = record_of(1, &[("loss", b"0.5")]);
    let foreign = |number| String::from_utf8(ours.encode()).unwrap().replacen("thalweg-record 1", number, 1);
    for of_unknown_formats in [false, true] {
        let place = Place::new();
        let store = Store::open(place.path(), Arc::new(RealDisk), Arc::new(Silent)).unwrap();
        let (path, beside) = (store.layout.record(&ours.key), store.layout.record_beside(&ours.key));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if of_unknown_formats {
            fs::write(&path, foreign("thalweg-record 99")).unwrap();
            fs::write(&beside, foreign("thalweg-record 98")).unwrap();
        } else {
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
        }
        let outputs = [("loss".to_owned(), b"0.5".to_vec())];
        let make = |outputs| Record { outputs, ..record_of(1, &[]) };
        assert_eq!(reserve(&store, &ours.key).commit_with(&outputs, make).unwrap(), ours);
        assert_eq!(store.record(&ours.key).unwrap(), Some(ours.clone()));
    }
}

/// A disk that gives a symbolic link for a second name.
struct Symbolic;

impl Disk for Symbolic {
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(from, to)
    }
}

#[test]
fn a_symbolic_link_is_no_second_name() {
    let ours = record_of(1, &[("loss", b"0.5")]);
    let place = Place::new();
    let store = Store::open(place.path(), Arc::new(Symbolic), Arc::new(Silent)).unwrap();
    let outputs = [("loss".to_owned(), b"0.5".to_vec())];
    reserve(&store, &ours.key).commit_with(&outputs, |outputs| Record { outputs, ..record_of(1, &[]) }).unwrap();
    drop(store);
    let store = Store::open(place.path(), Arc::new(RealDisk), Arc::new(Silent)).unwrap();
    assert_eq!(store.record(&ours.key).unwrap(), Some(ours));
}
