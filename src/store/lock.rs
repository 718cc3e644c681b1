//! Locks that the kernel releases with the process that holds them, so that nobody ever needs an unlock command.
//!
//! A lock is a file under `locks/`. Its holder unlinks it before releasing it; whoever gets the lock then compares the inode it
//! holds with the one the path names, and begins anew where they differ. Where nobody waits, a lock costs no new file: each store keeps
//! a few files that it has locked already, and gives one of them the lock's name as a second one. (File systems look long for the number of a
//! new file when many were removed shortly before.) Within the process one thread at a time waits for a name; the others
//! wait for that thread, and go on at once when it is through.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::NO_LINKS;
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
    spares: Option<Spares>,
}

/// Files that this store has locked and that are no lock's at present.
struct Spares {
    folder: PathBuf,
    count: AtomicU64,
    free: Mutex<Vec<Spare>>,
    /// Raised where the file system gives no file two names.
    useless: AtomicBool,
}

struct Spare {
    path: PathBuf,
    file: File,
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
        Self { layout: layout.clone(), disk, names: Mutex::default(), left: Condvar::new(), spares: None }
    }

    /// With spare files in `folder`, which is this process's own.
    pub(super) fn with_spares_in(self, folder: &Path) -> Self {
        let (folder, count) = (folder.to_owned(), AtomicU64::new(0));
        Self { spares: Some(Spares { folder, count, free: Mutex::default(), useless: AtomicBool::new(false) }), ..self }
    }

    /// Takes the lock `name` alone.
    pub(super) fn take(&self, name: &str, patience: Patience<'_>) -> Result<Held<'_>, Error> {
        let mut steps = Steps::new(patience);
        let entered = self.enter(name, &mut steps)?;
        let path = self.layout.lock(name);
        loop {
            if let Some(spare) = self.name_spare(&path)? {
                return Ok(Held { locks: self, path, file: None, spare: Some(spare), _entered: entered });
            }
            let file = self.disk.open_lock(&path).map_err(Error::at("open", &path))?;
            match self.disk.try_lock(&file) {
                Ok(()) if is_at(&file, &path)? => {
                    return Ok(Held { locks: self, path, file: Some(file), spare: None, _entered: entered });
                }
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(steps.next()?),
                Err(fs::TryLockError::Error(error)) if has_no_locks(&error) => {
                    return Ok(Held { locks: self, path, file: Some(file), spare: None, _entered: entered });
                }
                Err(fs::TryLockError::Error(error)) => return Err(Error::at("lock", &path)(error)),
            }
        }
    }

    /// Gives a spare the name `path`, which is then held; `None` where the name is taken or there can be no spares.
    fn name_spare(&self, path: &Path) -> Result<Option<Spare>, Error> {
        let Some(spares) = self.spares.as_ref().filter(|spares| !spares.useless.load(Ordering::Relaxed)) else {
            return Ok(None);
        };
        let free = spares.free().pop();
        let spare = match free {
            Some(spare) => spare,
            None => self.new_spare(spares)?,
        };
        match self.disk.link(&spare.path, path) {
            Ok(()) => return Ok(Some(spare)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if NO_LINKS.contains(&error.kind()) => spares.useless.store(true, Ordering::Relaxed),
            Err(error) => return Err(Error::at("lock", path)(error)),
        }
        spares.free().push(spare);
        Ok(None)
    }

    fn new_spare(&self, spares: &Spares) -> Result<Spare, Error> {
        let path = spares.folder.join(format!("lock-{}", spares.count.fetch_add(1, Ordering::Relaxed)));
        let file = self.disk.create(&path).map_err(Error::at("create", &path))?;
        lock_until(|| self.disk.try_lock(&file), &path, Patience::UNLIMITED)?;
        Ok(Spare { path, file })
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

impl Spares {
    fn free(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the lock on an open file, which is never unlinked, by trying again and again.
pub(super) fn lock_until(
    try_lock: impl Fn() -> Result<(), fs::TryLockError>,
    path: &Path,
    patience: Patience<'_>,
) -> Result<(), Error> {
    let mut steps = Steps::new(patience);
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(steps.next()?),
            Err(fs::TryLockError::Error(error)) if has_no_locks(&error) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(Error::at("lock", path)(error)),
        }
    }
}

/// Whether a file system says that it has no locks, or none now. Then everybody holds all of them: the record that lands first counts, and what
/// another made is compared with it.
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    const NO_LOCKS_LEFT: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(NO_LOCKS_LEFT)
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
    locks: &'s Locks,
    path: PathBuf,
    // Released in this order, after the file's name is gone: first towards other programs, then towards threads of this one.
    file: Option<File>,
    spare: Option<Spare>,
    _entered: Entered<'s>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A name that stays is no harm once the kernel's lock on it is gone with the file, so a spare that keeps it is none any more.
        let removed = self.locks.disk.remove(&self.path);
        drop(self.file.take());
        match (self.spare.take(), &self.locks.spares) {
            (Some(spare), Some(spares)) if removed.is_ok() => spares.free().push(spare),
            (Some(Spare { path, file }), _) => {
                drop(file);
                let _ = self.locks.disk.remove(&path);
            }
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    use super::super::RealDisk;
    use super::super::testing::Place;
    use super::*;

    fn locks(place: &Place) -> Locks {
        let layout = Layout::new(place.path());
        fs::create_dir_all(place.path().join("locks")).unwrap();
        Locks::new(&layout, Arc::new(RealDisk))
    }

    fn locks_with_spares(place: &Place, folder: &str) -> Locks {
        let folder = place.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        locks(place).with_spares_in(&folder)
    }

    #[test]
    fn a_lock_is_held_by_one_among_threads_and_stores() {
        let place = Place::new();
        // One that makes its locks' files anew, and two that give names to spare ones.
        let stores = [locks(&place), locks_with_spares(&place, "a"), locks_with_spares(&place, "b")];
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for i in 0..6 {
                let (stores, inside, turns) = (&stores, &inside, &turns);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let held = stores[i % 3].take("name", Patience::UNLIMITED).unwrap();
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
        let (first, second) = (locks_with_spares(&place, "a"), locks(&place));
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
    fn a_spare_is_named_again_and_again_and_no_other_file_is_made() {
        let place = Place::new();
        let locks = locks_with_spares(&place, "own");
        for name in ["a", "b", "a"] {
            let held = locks.take(name, Patience::UNLIMITED).unwrap();
            assert!(place.path().join("locks").join(name).exists());
            drop(held);
            assert_eq!(fs::read_dir(place.path().join("locks")).unwrap().count(), 0);
        }
        assert_eq!(fs::read_dir(place.path().join("own")).unwrap().count(), 1);
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
