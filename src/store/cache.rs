//! The store opens: its folders, the lock that says a run is on, its own folder under `tmp/`.

use std::fmt;
use std::fs;
use std::fs::{File, TryLockError};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::remove_all;
use super::draft::Drafts;
use super::exchange::Exchange;
use super::layout::Layout;
use super::lock::{Locks, Patience, has_no_locks, lock_until};
use super::makers::Makers;
use super::memo::Memo;
use super::{Disk, Error};
use crate::event::{Event, Sink};
use crate::key::{Key, Output, Record, Records};

/// A cache that is open. Threads share it; programs share the folder.
pub struct Store {
    pub(super) layout: Layout,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) events: Arc<dyn Sink>,
    pub(super) locks: Locks,
    pub(super) makers: Mutex<Makers>,
    pub(super) memo: Mutex<Memo>,
    pub(super) drafts: Drafts,
    /// Emptied workspaces, for those that come.
    rooms: Mutex<Vec<Room>>,
    /// Whether files were placed that no sync has covered yet.
    pub(super) unsynced: AtomicBool,
    /// The cache that this one shares with others, if any.
    pub(super) exchange: Option<Exchange>,
    /// Locked shared by runs and alone by gc, for as long as the store is open.
    _gc: Option<File>,
}

impl Store {
    /// [`open_unless`](Self::open_unless), waiting however long it takes.
    ///
    /// # Errors
    /// As there.
    pub fn open(root: &Path, disk: Arc<dyn Disk>, events: Arc<dyn Sink>) -> Result<Self, Error> {
        Self::open_unless(root, disk, events, &|| false)
    }

    /// Opens the cache at `root` for a run, making what is missing of it and sweeping what dead processes left under `tmp/`. While gc has
    /// the cache alone it waits, and says so; `cancelled` is then asked at least once a second.
    ///
    /// # Errors
    /// A cache that cannot be written, or a failing disk, with path and operation; [`Error::Interrupted`] when cancelled.
    pub fn open_unless(
        root: &Path,
        disk: Arc<dyn Disk>,
        events: Arc<dyn Sink>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let lock = Arc::clone(&disk);
        Self::begin(root, disk, events, |file, path, events| {
            wait_for_gc((root, &*lock), (file, path), events, cancelled)
        })
    }

    /// Opens the cache at `root` once no run uses it, and keeps runs out. `waiting` is called once if some run does; `cancelled` is
    /// asked at least once a second.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Error::Interrupted`] when cancelled.
    pub fn open_alone(
        root: &Path,
        disk: Arc<dyn Disk>,
        events: Arc<dyn Sink>,
        cancelled: &dyn Fn() -> bool,
        waiting: &dyn Fn(),
    ) -> Result<Alone, Error> {
        let patience = Patience { cancelled, waiting };
        let lock = Arc::clone(&disk);
        Self::begin(root, disk, events, |file, path, _| lock_until(|| lock.try_lock(file), path, patience)).map(Alone)
    }

    fn begin(
        root: &Path,
        disk: Arc<dyn Disk>,
        events: Arc<dyn Sink>,
        lock: impl FnOnce(&File, &Path, &dyn Sink) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let layout = Layout::new(root);
        let prepare = || {
            for folder in layout.folders() {
                disk.create_folder(&folder).map_err(Error::at("create folder", &folder))?;
            }
            let path = layout.lock("gc");
            let gc = disk.open_lock(&path).map_err(Error::at("open", &path))?;
            lock(&gc, &path, &*events)?;
            Ok((gc, Drafts::begin(&layout, disk.clone(), events.clone())?))
        };
        let (gc, drafts) = prepare().map_err(|error: Error| error.opening(root))?;
        Ok(Self::with(layout, disk, events, drafts, Some(gc)))
    }

    /// Of its parts.
    pub(super) fn with(
        layout: Layout,
        disk: Arc<dyn Disk>,
        events: Arc<dyn Sink>,
        drafts: Drafts,
        gc: Option<File>,
    ) -> Self {
        Self {
            locks: Locks::new(&layout, disk.clone()).with_spares_in(drafts.folder()),
            layout,
            disk,
            events,
            makers: Mutex::default(),
            memo: Mutex::default(),
            drafts,
            rooms: Mutex::default(),
            unsynced: AtomicBool::new(false),
            exchange: None,
            _gc: gc,
        }
    }

    /// The cache's folder.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// An empty folder for a command to work in. It goes when it is dropped or, should this process die, when a store next opens.
    ///
    /// # Errors
    /// A failing disk.
    pub fn workspace(&self) -> Result<Workspace<'_>, Error> {
        if let Some(room) = self.rooms().pop() {
            return Ok(Workspace { store: self, room: Some(room) });
        }
        let path = self.drafts.fresh_path();
        self.disk.create_folder(&path).map_err(Error::at("create folder", &path))?;
        let made = fs::metadata(&path).map_err(Error::at("inspect", &path))?;
        Ok(Workspace {
            store: self,
            room: Some(Room { log: path.with_extension("log"), path, made: made.permissions() }),
        })
    }

    fn rooms(&self) -> MutexGuard<'_, Vec<Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names a damaged file and moves it to `quarantine/`. One that another process has just set aside is gone, which is as good.
    pub(super) fn set_aside(&self, path: &Path, problem: &str) -> Result<(), Error> {
        if self.is_writable() {
            return self.drafts.set_aside(path, problem);
        }
        let message = format!("{}: {problem}; it stays there, since the cache may not be written", path.display());
        self.events.emit(Event::Warning { stage: None, message });
        Ok(())
    }

    /// What cannot be answered while planning is told and taken for absent.
    fn told<T>(&self, answer: Result<Option<T>, Error>) -> Option<T> {
        answer.unwrap_or_else(|error| {
            self.events.emit(Event::Warning { stage: None, message: error.to_string() });
            None
        })
    }
}

/// Takes the lock on the cache that runs share.
pub(super) fn wait_for_gc(
    (root, disk): (&Path, &dyn Disk),
    (file, path): (&File, &Path),
    events: &dyn Sink,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let waiting = || {
        let message = format!("the cache `{}` is being collected; waiting for that", root.display());
        events.emit(Event::Warning { stage: None, message });
    };
    if let Err(TryLockError::Error(error)) = disk.try_lock_shared(file)
        && has_no_locks(&error)
    {
        let message = format!(
            "the file system of the cache `{}` has no locks: runs at once may repeat each other's work, and `cache gc` is to run alone",
            root.display()
        );
        events.emit(Event::Warning { stage: None, message });
        return Ok(());
    }
    lock_until(|| disk.try_lock_shared(file), path, Patience { cancelled, waiting: &waiting })
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store at `{}`", self.root().display())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Only the memo is at stake, which may be lost at any time.
        let _ = self.flush();
    }
}

impl Records for Store {
    fn record(&self, key: &Key) -> Option<Record> {
        self.told(Self::record(self, key))
    }

    fn bytes(&self, output: &Output) -> Option<Vec<u8>> {
        self.told(self.read(output))
    }

    fn noted(&self, sort: &Key) -> Vec<(Record, u64)> {
        let hints = self.told(self.all_hints(sort).map(Some)).unwrap_or_default();
        hints.into_iter().filter_map(|hint| Some((Records::record(self, &hint.key)?, hint.reached))).collect()
    }
}

/// A store that no run shares: only this one may collect.
#[derive(Debug)]
pub struct Alone(Store);

impl Deref for Alone {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.0
    }
}

/// An empty folder under `tmp/` of this process's own; dropped, it is emptied for the next one. A new folder and its removal cost more than
/// that, on file systems that look long for the number of a new file when many were removed shortly before.
pub struct Workspace<'s> {
    store: &'s Store,
    room: Option<Room>,
}

struct Room {
    path: PathBuf,
    log: PathBuf,
    /// As it was made: whoever worked in it may have changed this.
    made: fs::Permissions,
}

impl Workspace<'_> {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.room().path
    }

    /// A path beside the folder for what is written about the work; what was there before must be overwritten.
    pub fn log(&self) -> &Path {
        &self.room().log
    }

    fn room(&self) -> &Room {
        self.room.as_ref().expect("invariant: a workspace has its room until it is dropped")
    }
}

impl Room {
    /// Makes it as it was; false where that cannot be done.
    fn empty(&self) -> bool {
        let clear = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_all(&entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        let is_as_made =
            || fs::symlink_metadata(&self.path).is_ok_and(|now| now.is_dir() && now.permissions() == self.made);
        is_as_made() && clear().is_ok()
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        if room.empty() {
            self.store.rooms().push(room);
        } else if fs::exists(&room.path).unwrap_or(true) {
            let _ = self.store.disk.remove_folder(&room.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, open};
    use super::super::{RealDisk, Store};
    use super::*;
    use crate::event::Silent;

    #[test]
    fn a_cache_that_cannot_be_made_is_an_error_with_path_and_operation() {
        let place = Place::new();
        fs::write(place.path().join("file"), "").unwrap();
        let Err(error) = Store::open(&place.path().join("file"), Arc::new(RealDisk), Arc::new(Silent)) else {
            panic!("a file is no folder")
        };
        let text = error.to_string();
        assert!(text.starts_with("failed to create folder `") && text.contains("/file/blobs`: "), "{text}");
    }

    #[test]
    fn gc_has_the_cache_alone_or_waits() {
        let place = Place::new();
        let run = open(&place);
        let told = std::cell::Cell::new(0);
        let alone = |cancelled: &dyn Fn() -> bool| {
            let waiting = || told.set(told.get() + 1);
            Store::open_alone(place.path(), Arc::new(RealDisk), Arc::new(Silent), cancelled, &waiting)
        };
        assert!(matches!(alone(&|| true), Err(Error::Interrupted)));
        assert_eq!(told.get(), 1);
        drop(run);
        let alone = alone(&|| true).unwrap();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| drop(open(&place)));
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!run.is_finished());
            drop(alone);
        });
    }

    #[test]
    fn a_run_that_waits_for_gc_says_so_and_ends_when_cancelled() {
        let place = Place::new();
        let _alone = Store::open_alone(place.path(), Arc::new(RealDisk), Arc::new(Silent), &|| true, &|| ()).unwrap();
        let asked = std::cell::Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let opened = Store::open_unless(place.path(), Arc::new(RealDisk), Arc::new(Silent), &cancelled);
        assert!(matches!(opened, Err(Error::Interrupted)));
    }

    #[test]
    fn a_workspace_is_emptied_for_the_next_and_goes_with_the_store() {
        let place = Place::new();
        let store = open(&place);
        let workspace = store.workspace().unwrap();
        let path = workspace.path().to_owned();
        fs::write(path.join("output"), "x").unwrap();
        fs::create_dir(path.join("folder")).unwrap();
        drop(workspace);
        let again = store.workspace().unwrap();
        assert_eq!(again.path(), path);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
        drop(again);
        assert!(!path.exists(), "a folder that was changed is not used again");
        let last = store.workspace().unwrap();
        let path = last.path().to_owned();
        drop(last);
        drop(store);
        assert!(!path.exists());
    }
}
