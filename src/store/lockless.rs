//! Where locks do not exclude: the record that lands first counts, and others are compared with it, however close they come.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use super::testing::{Heard, Place, blob, record_of};
use super::{Disk, Error, Lookup, RealDisk, Reservation, Store};
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
        Err(io::Error::from(io::ErrorKind::Unsupported))
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
struct Raced(Mutex<Option<Vec<u8>>>);

impl Disk for Raced {
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to.to_str().is_some_and(|to| to.contains("/records/"))
            && let Some(bytes) = self.0.lock().unwrap().take()
        {
            fs::write(to, bytes)?;
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
            let disk = Arc::new(Raced(Mutex::new(Some(first.encode()))));
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
