//! The few operations by which the store changes a disk, behind a trait so that tests can make each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

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

    /// Writes all of `bytes` at the file's position.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Copies a file to a new name, sharing its extents where the file system can.
    ///
    /// # Errors
    /// The system's.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        reflink_copy::reflink_or_copy(from, to).map(|_| ())
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

    /// Removes a folder and all it holds.
    ///
    /// # Errors
    /// The system's.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// The disk as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

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
}
