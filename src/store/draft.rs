//! Writing a file whole: a draft under this process's own `tmp/` folder, which is then put in its place.
//!
//! Whether the process that owns such a folder still lives is asked of the kernel: it holds a lock on the folder's file `alive`.
//! Folders are made and swept under one lock, so that none is swept between being made and being locked.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disk::NO_LINKS;
use super::layout::{Layout, entries, file_name, name_of};
use super::lock::{Patience, has_no_locks, lock_until};
use super::{Disk, Error};
use crate::event::{Event, Sink};

/// This process's folder under `tmp/`, and the only way by which files reach their places.
pub(super) struct Drafts {
    disk: Arc<dyn Disk>,
    events: Arc<dyn Sink>,
    folder: PathBuf,
    quarantine: PathBuf,
    count: AtomicU64,
    /// None where nothing can be written.
    alive: Option<File>,
}

/// A file that is not in its place yet. Dropped before that, it goes.
pub(super) struct Draft<'d> {
    drafts: &'d Drafts,
    path: PathBuf,
    placed: bool,
}

impl Drafts {
    /// Sweeps the folders of processes that are gone and makes one for this. What cannot be swept is told and stays.
    pub(super) fn begin(layout: &Layout, disk: Arc<dyn Disk>, events: Arc<dyn Sink>) -> Result<Self, Error> {
        let lock = layout.lock("tmp");
        let sweeping = disk.open_lock(&lock).map_err(Error::at("open", &lock))?;
        lock_until(|| disk.try_lock(&sweeping), &lock, Patience::UNLIMITED)?;
        for folder in entries(&layout.tmp())? {
            let swept = match is_alive(&folder, &*disk) {
                Ok(false) => disk.remove_folder(&folder).map_err(Error::at("remove", &folder)),
                living => living.map(drop),
            };
            if let Err(problem) = swept {
                let message = format!("{problem}; it was left there by a run that is over, and may be removed");
                events.emit(Event::Warning { stage: None, message });
            }
        }
        let (folder, alive) = own_folder(&layout.tmp(), &*disk)?;
        let path = folder.join("alive");
        lock_until(|| disk.try_lock(&alive), &path, Patience::UNLIMITED)?;
        let quarantine = layout.quarantine();
        Ok(Self { disk, events, folder, quarantine, count: AtomicU64::new(0), alive: Some(alive) })
    }

    /// For a cache that may not be written: no draft is possible.
    pub(super) fn nowhere(layout: &Layout, disk: Arc<dyn Disk>, events: Arc<dyn Sink>) -> Self {
        let (folder, quarantine) = (layout.tmp().join("nowhere"), layout.quarantine());
        Self { disk, events, folder, quarantine, count: AtomicU64::new(0), alive: None }
    }

    /// Whether anything can be written.
    pub(super) fn are_possible(&self) -> bool {
        self.alive.is_some()
    }

    /// This process's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new name in this process's folder.
    pub(super) fn fresh_path(&self) -> PathBuf {
        self.folder.join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A draft that holds `bytes`.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<Draft<'_>, Error> {
        let draft = Draft { drafts: self, path: self.fresh_path(), placed: false };
        let file = self.disk.create(&draft.path).map_err(Error::at("create", &draft.path))?;
        self.disk.write(&file, bytes).map_err(Error::at("write", &draft.path))?;
        Ok(draft)
    }

    /// A draft that `fill` writes, if it says that it did.
    pub(super) fn fill(&self, fill: impl FnOnce(&mut dyn Write) -> bool) -> Result<Option<Draft<'_>>, Error> {
        let draft = Draft { drafts: self, path: self.fresh_path(), placed: false };
        let file = self.disk.create(&draft.path).map_err(Error::at("create", &draft.path))?;
        let mut filling = Filling { disk: &*self.disk, file, failure: None };
        let filled = fill(&mut filling);
        match filling.failure {
            Some(cause) => Err(Error::at("write", &draft.path)(cause)),
            None => Ok(filled.then_some(draft)),
        }
    }

    /// A draft with the content of the file at `from`, which is never loaded whole.
    pub(super) fn copy(&self, from: &Path) -> Result<Draft<'_>, Error> {
        let draft = Draft { drafts: self, path: self.fresh_path(), placed: false };
        // Opening it first tells a source that cannot be read from a target that cannot be written.
        File::open(from).map_err(Error::at("read", from))?;
        self.disk.copy(from, &draft.path).map_err(Error::at("write", &draft.path))?;
        Ok(draft)
    }

    /// Names a damaged file, or what lies in the place of one, and moves it to `quarantine/`. One that another process has just set aside
    /// is gone, which is as good.
    pub(super) fn set_aside(&self, path: &Path, problem: &str) -> Result<(), Error> {
        let name = name_of(path);
        let numbered = |n: u32| self.quarantine.join(if n == 0 { name.to_owned() } else { format!("{name}.{n}") });
        let to = (0..=u32::MAX).map(numbered).find(|to| !to.exists()).expect("invariant: some number is free");
        match self.disk.rename(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(()),
            moved => moved.map_err(Error::at("set aside", path))?,
        }
        self.events.emit(Event::Quarantined { path: path.to_owned(), problem: problem.to_owned() });
        Ok(())
    }

    /// Brings everything written so far to the medium.
    pub(super) fn sync_file_system(&self) -> Result<(), Error> {
        let folder = File::open(&self.folder).map_err(Error::at("open", &self.folder))?;
        self.disk.sync_file_system(&folder).map_err(Error::at("sync", &self.folder))
    }

    /// Brings the names in the folder of `path` to the medium.
    pub(super) fn sync_folder_of(&self, path: &Path) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(path);
        let file = File::open(folder).map_err(Error::at("open", folder))?;
        self.disk.sync(&file).map_err(Error::at("sync", folder))
    }
}

/// Writes to a draft, and keeps what the disk said where it failed.
struct Filling<'d> {
    disk: &'d dyn Disk,
    file: File,
    failure: Option<io::Error>,
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(&self.file, bytes).map_err(|error| {
            let told = io::Error::from(error.kind());
            self.failure.get_or_insert(error);
            told
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft<'_> {
    /// Where it is for now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings its bytes to the medium.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let file = File::open(&self.path).map_err(Error::at("open", &self.path))?;
        self.drafts.disk.sync(&file).map_err(Error::at("sync", &self.path))
    }

    /// Renames it to its place, whose folder is made where it is missing. A folder that lies in its place is set aside.
    pub(super) fn place(mut self, to: &Path) -> Result<(), Error> {
        let disk = &self.drafts.disk;
        if to.is_dir() {
            self.drafts.set_aside(to, "a folder lies in the place of a file")?;
        }
        if let Some(folder) = to.parent().filter(|folder| !folder.is_dir()) {
            disk.create_folder(folder).map_err(Error::at("create folder", folder))?;
        }
        disk.rename(&self.path, to).map_err(Error::at("write", to))?;
        self.placed = true;
        Ok(())
    }

    /// Gives it a place that nothing has yet, and says whether nothing had it: between a look and a rename another could come, where locks do not
    /// exclude.
    pub(super) fn land(self, to: &Path) -> Result<bool, Error> {
        if let Some(folder) = to.parent().filter(|folder| !folder.is_dir()) {
            self.drafts.disk.create_folder(folder).map_err(Error::at("create folder", folder))?;
        }
        match self.drafts.disk.link(&self.path, to) {
            // A folder is set aside. Some file systems have no second names; some give a symbolic link for one, which leads to nothing soon.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !to.is_dir() => Ok(false),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !NO_LINKS.contains(&error.kind()) => {
                Err(Error::at("write", to)(error))
            }
            Ok(()) if !to.is_symlink() => Ok(true),
            Ok(()) | Err(_) => self.place(to).map(|()| true),
        }
    }

    /// Syncs it, renames it to its place and syncs the folder: two syncs, and a third where the folder is new, after which it stays there.
    pub(super) fn settle(self, to: &Path) -> Result<(), Error> {
        self.settle_by(to, Self::place)
    }

    /// The same, with its place taken in another way.
    pub(super) fn settle_by<T>(
        self,
        to: &Path,
        take: impl FnOnce(Self, &Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let drafts = self.drafts;
        self.sync()?;
        let above = to.parent().filter(|folder| !folder.is_dir()).map(Path::to_owned);
        let taken = take(self, to)?;
        drafts.sync_folder_of(to)?;
        above.map_or(Ok(()), |folder| drafts.sync_folder_of(&folder))?;
        Ok(taken)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = self.drafts.disk.remove(&self.path);
        }
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        if !self.are_possible() {
            return;
        }
        // What stays behind on a failing disk is swept by the next store that opens.
        let _ = self.disk.remove_folder(&self.folder);
    }
}

/// A folder of this process's own, and the file in it by which others see that the process lives. Processes of several machines may have one
/// number, so the machine's name is in the folder's; which of those that are made at once is whose, the file decides.
fn own_folder(tmp: &Path, disk: &dyn Disk) -> Result<(PathBuf, File), Error> {
    let mut number = 0_u64;
    loop {
        let folder = tmp.join(format!("{}-{}-{number}", machine(), std::process::id()));
        number += 1;
        if folder.exists() {
            continue;
        }
        disk.create_folder(&folder).map_err(Error::at("create folder", &folder))?;
        let path = folder.join("alive");
        match disk.create(&path) {
            Ok(alive) => return Ok((folder, alive)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::at("create", &path)(error)),
        }
    }
}

/// The machine's name as a file's.
fn machine() -> String {
    file_name(&rustix::system::uname().nodename().to_string_lossy())
}

/// Whether the process that owns the folder lives: the kernel holds its lock. What is no such folder is left alone. A lock says nothing of
/// a process on another machine where the file system keeps locks apart, so what is another's is left until nothing was written there for long.
fn is_alive(folder: &Path, disk: &dyn Disk) -> Result<bool, Error> {
    if !folder.is_dir() || !(is_ours(folder) || is_old(folder)) {
        return Ok(true);
    }
    let path = folder.join("alive");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(Error::at("open", &path))?,
    };
    match disk.try_lock(&file) {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(!is_old(folder)),
        Err(TryLockError::Error(error)) => Err(Error::at("lock", &path)(error)),
    }
}

fn is_ours(folder: &Path) -> bool {
    name_of(folder).strip_prefix(&machine()).is_some_and(|rest| rest.starts_with('-') && rest.matches('-').count() == 2)
}

/// Whether nothing was made in a folder for a week.
fn is_old(folder: &Path) -> bool {
    const WEEK: Duration = Duration::from_hours(7 * 24);
    let modified = fs::metadata(folder).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > WEEK)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, open};
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_are_swept_and_living_ones_stay() {
        let place = Place::new();
        let living = open(&place);
        let tmp = place.path().join("tmp");
        let dead = tmp.join(format!("{}-1-0", machine()));
        let others = [tmp.join("elsewhere-1-0"), tmp.join("elsewhere-2-0")];
        for folder in [&dead, &others[0], &others[1]] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("alive"), "").unwrap();
            std::fs::write(folder.join("0"), "half a blob").unwrap();
        }
        std::fs::create_dir_all(tmp.join(format!("{}-2-0", machine()))).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_hours(8 * 24);
        File::open(&others[1]).unwrap().set_modified(long_ago).unwrap();
        let second = open(&place);
        let names = |tmp: &Path| std::fs::read_dir(tmp).unwrap().count();
        assert_eq!((names(&tmp), others[0].exists(), others[1].exists()), (3, true, false));
        living.put(&[0xff; 10]).unwrap();
        drop((living, second));
        assert_eq!(names(&tmp), 1);
    }
}
