//! Locks that the kernel releases with the process that holds them, so that nobody ever needs an unlock command.
//!
//! A lock is a file under `locks/`. Its holder unlinks it before releasing it; whoever gets the lock then compares the inode it
//! holds with the one the path names, and begins anew where they differ. Within the process one thread at a time waits for a name; the others
//! wait for that thread, and go on at once when it is through.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::layout::Layout;
use super::{Disk, Error};

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The locks of one store.
pub(super) struct Locks {
    layout: Layout,
    disk: Arc<dyn Disk>,
    names: Mutex<BTreeSet<String>>,
    left: Condvar,
}

/// How a thread waits: when to give up, and whom to tell that it waits.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    /// Whether the run is cancelled; asked at least once a second.
    pub(super) cancelled: &'a dyn Fn() -> bool,
    /// Called once, if the first try fails.
    pub(super) waiting: &'a dyn Fn(),
}

impl Patience<'_> {
    /// Waits however long it takes and tells nobody.
    pub(super) const UNLIMITED: Self = Self { cancelled: &|| false, waiting: &|| () };
}

/// One wait: each pause is twice the last.
struct Steps<'a> {
    patience: Patience<'a>,
    pause: Option<Duration>,
}

impl<'a> Steps<'a> {
    fn new(patience: Patience<'a>) -> Self {
        Self { patience, pause: None }
    }

    /// The pause before the next try.
    fn next(&mut self) -> Result<Duration, Error> {
        if self.pause.is_none() {
            (self.patience.waiting)();
        }
        if (self.patience.cancelled)() {
            return Err(Error::Interrupted);
        }
        let pause = self.pause.map_or(FIRST_WAIT, |last| (last * 2).min(LONGEST_WAIT));
        self.pause = Some(pause);
        Ok(pause)
    }
}

impl Locks {
    pub(super) fn new(layout: &Layout, disk: Arc<dyn Disk>) -> Self {
        Self { layout: layout.clone(), disk, names: Mutex::default(), left: Condvar::new() }
    }

    /// Takes the lock `name` alone.
    pub(super) fn take(&self, name: &str, patience: Patience<'_>) -> Result<Held<'_>, Error> {
        let mut steps = Steps::new(patience);
        let entered = self.enter(name, &mut steps)?;
        let path = self.layout.lock(name);
        loop {
            let file = self.disk.open_lock(&path).map_err(Error::at("open", &path))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path)? => {
                    return Ok(Held { disk: &*self.disk, path, _file: file, _entered: entered });
                }
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(steps.next()?),
                Err(fs::TryLockError::Error(error)) => return Err(Error::at("lock", &path)(error)),
            }
        }
    }

    /// Becomes the one thread of this store that waits for `name` or holds it.
    fn enter(&self, name: &str, steps: &mut Steps<'_>) -> Result<Entered<'_>, Error> {
        while !self.names().insert(name.to_owned()) {
            let pause = steps.next()?;
            let names = self.names();
            if names.contains(name) {
                drop(self.left.wait_timeout(names, pause));
            }
        }
        Ok(Entered { locks: self, name: name.to_owned() })
    }

    /// A thread that panicked has left the set as whole as any other.
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the lock on an open file alone, which is never unlinked.
pub(super) fn lock_alone(file: &File, path: &Path, patience: Patience<'_>) -> Result<(), Error> {
    let mut steps = Steps::new(patience);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(steps.next()?),
            Err(fs::TryLockError::Error(error)) => return Err(Error::at("lock", path)(error)),
        }
    }
}

/// Whether `path` still names the file that is open.
fn is_at(file: &File, path: &Path) -> Result<bool, Error> {
    let ours = file.metadata().map_err(Error::at("inspect", path))?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::at("inspect", path)(error)),
    }
}

/// A thread's turn at a name within this store.
struct Entered<'s> {
    locks: &'s Locks,
    name: String,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.locks.names().remove(&self.name);
        self.locks.left.notify_all();
    }
}

/// A lock that is held; dropping it releases it.
#[must_use = "the lock is released when this is dropped"]
pub struct Held<'s> {
    disk: &'s dyn Disk,
    path: PathBuf,
    // Released in this order, after the file's name is gone: first towards other programs, then towards threads of this one.
    _file: File,
    _entered: Entered<'s>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A name that stays is no harm: the kernel's lock on it is gone with the file.
        let _ = self.disk.remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::RealDisk;
    use super::super::testing::Place;
    use super::*;

    fn locks(place: &Place) -> Locks {
        let layout = Layout::new(place.path());
        fs::create_dir_all(place.path().join("locks")).unwrap();
        Locks::new(&layout, Arc::new(RealDisk))
    }

    #[test]
    fn a_lock_is_held_by_one_among_threads_and_stores() {
        let place = Place::new();
        let stores = [locks(&place), locks(&place)];
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for i in 0..6 {
                let (stores, inside, turns) = (&stores, &inside, &turns);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let held = stores[i % 2].take("name", Patience::UNLIMITED).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        turns.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
        assert_eq!(turns.into_inner(), 120);
        assert!(!place.path().join("locks/name").exists());
    }

    #[test]
    fn waiting_is_told_once_and_ends_when_cancelled() {
        let place = Place::new();
        let (first, second) = (locks(&place), locks(&place));
        for waiter in [&first, &second] {
            let _held = first.take("name", Patience::UNLIMITED).unwrap();
            let (told, asked) = (Cell::new(0), Cell::new(0));
            let cancelled = || {
                asked.set(asked.get() + 1);
                asked.get() == 3
            };
            let patience = Patience { cancelled: &cancelled, waiting: &|| told.set(told.get() + 1) };
            assert!(matches!(waiter.take("name", patience), Err(Error::Interrupted)));
            assert_eq!((told.get(), asked.get()), (1, 3));
        }
    }

    /// Between the first opening of a lock's file and the locking of it, its holder releases it and another takes it anew.
    #[derive(Default)]
    struct PassedOn(Mutex<Option<File>>);

    impl Disk for PassedOn {
        fn open_lock(&self, path: &Path) -> io::Result<File> {
            let opened = RealDisk.open_lock(path)?;
            let mut anew = self.0.lock().unwrap();
            if anew.is_none() {
                fs::remove_file(path)?;
                let file = RealDisk.open_lock(path)?;
                file.lock()?;
                *anew = Some(file);
            }
            Ok(opened)
        }
    }

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_is_no_lock() {
        let place = Place::new();
        fs::create_dir_all(place.path().join("locks")).unwrap();
        let disk = Arc::new(PassedOn::default());
        let locks = Locks::new(&Layout::new(place.path()), disk.clone());
        let patience = Patience { cancelled: &|| true, waiting: &|| () };
        assert!(matches!(locks.take("name", patience), Err(Error::Interrupted)));
        disk.0.lock().unwrap().as_ref().unwrap().unlock().unwrap();
        assert!(locks.take("name", patience).is_ok());
    }

    #[test]
    fn a_lock_left_by_a_process_that_died_is_free() {
        let place = Place::new();
        let locks = locks(&place);
        fs::write(place.path().join("locks/name"), "").unwrap();
        let patience = Patience { cancelled: &|| true, waiting: &|| () };
        assert!(locks.take("name", patience).is_ok());
    }
}
