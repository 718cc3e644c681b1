//! The few operations by which the store changes a disk, behind a trait so that tests can make each of them fail.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What file systems say that give no file a second name, or no further one.
pub(super) const NO_LINKS: [io::ErrorKind; 4] = [
    io::ErrorKind::Unsupported,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::CrossesDevices,
    io::ErrorKind::TooManyLinks,
];

/// What the store does to a disk. Every operation's own form is the real one; a test's double overrides what it wants to fail.
///
/// Errors are the system's; the store adds path and operation.
pub trait Disk: Send + Sync {
    /// Creates a folder and those above it; one that is there is no error.
    ///
    /// # Errors
    /// The system's.
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// Creates an empty file that was not there.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    /// Opens a lock's file, creating it where it is missing and leaving its content alone.
    ///
    /// # Errors
    /// The system's.
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    /// Takes the lock on a file alone, unless another has it.
    ///
    /// # Errors
    /// That another has it; the system's, also where the file system has no locks.
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock()
    }

    /// Takes the lock on a file together with others, unless another has it alone.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock).
    fn try_lock_shared(&self, file: &File) -> Result<(), TryLockError> {
        file.try_lock_shared()
    }

    /// Writes all of `bytes` at the file's position.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Copies a file's content to a new name, sharing its extents where the file system can. Permissions are those of any new file: what
    /// the one copied from has (read-only, executable) stays with it.
    ///
    /// # Errors
    /// The system's.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut from = File::open(from)?;
        let mut to = OpenOptions::new().write(true).create_new(true).open(to)?;
        #[cfg(target_os = "linux")]
        if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
            return Ok(());
        }
        io::copy(&mut from, &mut to).map(|_| ())
    }

    /// Brings one file's or folder's content to the medium.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Brings everything written to the file system that holds `folder` to the medium. Outside Linux it is only asked to start.
    ///
    /// # Errors
    /// The system's.
    fn sync_file_system(&self, folder: &File) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(folder)?;
        #[cfg(not(target_os = "linux"))]
        {
            folder.sync_all()?;
            rustix::fs::sync();
        }
        Ok(())
    }

    /// Gives a file a second name, which must not be there.
    ///
    /// # Errors
    /// The system's.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    /// Gives a file another name, replacing what has that name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Removes a folder and all it holds, folders that may not be written included.
    ///
    /// # Errors
    /// The system's.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        remove_all(path)
    }
}

/// The disk as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// Removes a folder and all it holds. A command may have left folders in it that even their owner may not write; their permissions are
/// given back on the way down.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        result => result,
    }
}

/// Lets the owner of a folder list and change it and every folder below it. Links are not followed.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let permissions = fs::symlink_metadata(&folder)?.permissions();
        if permissions.mode() & 0o700 != 0o700 {
            fs::set_permissions(&folder, Permissions::from_mode(permissions.mode() | 0o700))?;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn the_real_disk_syncs_files_folders_and_file_systems_and_copies() {
        let place = Place::new();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        let file = RealDisk.create(&one).unwrap();
        RealDisk.write(&file, b"bytes").unwrap();
        RealDisk.sync(&file).unwrap();
        let folder = File::open(place.path()).unwrap();
        RealDisk.sync(&folder).unwrap();
        RealDisk.sync_file_system(&folder).unwrap();
        RealDisk.copy(&one, &two).unwrap();
        assert_eq!(fs::read(&two).unwrap(), b"bytes");
        assert!(RealDisk.create(&two).is_err());
    }

    #[test]
    fn a_copy_has_the_permissions_of_any_new_file() {
        let place = Place::new();
        let made = place.path().join("made");
        RealDisk.create(&made).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        for (n, odd) in [0o400, 0o755].into_iter().enumerate() {
            let (from, to) = (place.path().join(format!("from{n}")), place.path().join(format!("to{n}")));
            fs::write(&from, "bytes").unwrap();
            fs::set_permissions(&from, Permissions::from_mode(odd)).unwrap();
            RealDisk.copy(&from, &to).unwrap();
            assert_eq!(mode(&to), mode(&made), "{odd:o}");
        }
    }

    #[test]
    fn every_folder_below_is_opened_up_and_links_are_not_followed() {
        let place = Place::new();
        let (outside, closed) = (place.path().join("outside"), place.path().join("room/a/b"));
        fs::create_dir_all(&closed).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, closed.join("link")).unwrap();
        for folder in [&closed, &outside, &place.path().join("room/a")] {
            fs::set_permissions(folder, Permissions::from_mode(0o000)).unwrap();
        }
        open_up(&place.path().join("room")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&closed), mode(&outside)), (0o700, 0o000));
        fs::set_permissions(&outside, Permissions::from_mode(0o700)).unwrap();
    }
}
