//! A folder that several machines reach, such as one of a network's file systems.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{Error, Listed, Objects};

/// Where objects are written before they get their names; no object's name begins so.
const PARTIAL: &str = ".partial";
/// What was left there by a program that is gone is removed after this long.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// Objects as files below a folder.
pub(super) struct Folder {
    address: String,
    root: PathBuf,
    count: AtomicU64,
}

impl Folder {
    pub(super) fn at(address: &str, root: PathBuf) -> Self {
        Self { address: address.to_owned(), root, count: AtomicU64::new(0) }
    }

    fn write(partial: &Path, from: &mut dyn Read, bytes: u64) -> Result<(), Error> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(partial).map_err(at("create", partial))?;
        let mut buffer = vec![0; 1 << 20];
        let mut left = bytes;
        loop {
            let read = from.read(&mut buffer).map_err(|error| Error::Here(said(&error)))?;
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(changed)?;
            file.write_all(&buffer[..read]).map_err(at("write", partial))?;
        }
        if left > 0 {
            return Err(changed());
        }
        file.sync_all().map_err(at("sync", partial))
    }

    /// A folder whose parent is not there either is one that is not mounted, or misspelt; it is not made.
    fn exists_or_can(&self) -> Result<(), Error> {
        let parent = self.root.parent().unwrap_or(&self.root);
        match fs::metadata(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::metadata(parent).map(drop).map_err(at("find folder", parent))
            }
            _ => Ok(()),
        }
    }

    fn partials(&self) -> PathBuf {
        self.root.join(PARTIAL)
    }

    /// The path of an object or folder here. No part of it below the root may be a link, since that may lead anywhere.
    fn inside(&self, name: &str) -> Result<PathBuf, Error> {
        let mut path = self.root.clone();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(Error::Object(format!("`{}` is a link, which is not followed", path.display())));
            }
        }
        Ok(path)
    }

    /// Nobody waits for what a program that is gone was writing.
    fn sweep(&self) {
        if self.inside(PARTIAL).is_err() {
            return;
        }
        for entry in fs::read_dir(self.partials()).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if age.is_some_and(|age| age > LEFT_BEHIND) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Objects for Folder {
    fn address(&self) -> &str {
        &self.address
    }

    fn get(&self, name: &str, to: &mut dyn Write) -> Result<bool, Error> {
        // Where the whole folder is gone nothing can be said of what it holds.
        fs::read_dir(&self.root).map_err(at("read", &self.root))?;
        let path = self.inside(name)?;
        let opened = fs::symlink_metadata(&path).and_then(|metadata| {
            // What is put here is a file; to open something else may wait for ever.
            if metadata.is_file() { File::open(&path) } else { Err(io::ErrorKind::InvalidData.into()) }
        });
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::Object(format!("`{}` is no file", path.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::Object(format!("failed to read `{}`: {}", path.display(), said(&error))));
            }
            file => file.map_err(at("read", &path))?,
        };
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(at("read", &path))?;
            if read == 0 {
                return Ok(true);
            }
            to.write_all(&buffer[..read]).map_err(|error| Error::Here(said(&error)))?;
        }
    }

    fn put(&self, name: &str, from: &mut dyn Read, bytes: u64) -> Result<(), Error> {
        let (path, partials) = (self.inside(name)?, self.inside(PARTIAL)?);
        self.exists_or_can()?;
        fs::create_dir_all(&partials).map_err(at("create folder", &partials))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let partial = partials.join(format!("{host}-{}-{number}", std::process::id()));
        // A number that this machine gave to another program before is free again.
        let _ = fs::remove_file(&partial);
        let written = Self::write(&partial, from, bytes).and_then(|()| {
            let folder = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder).map_err(at("create folder", folder))?;
            fs::rename(&partial, &path).map_err(at("write", &path))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("sync", folder))
        });
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let mut open = vec![self.inside(folder)?];
        let mut listed = Vec::new();
        self.exists_or_can()?;
        while let Some(folder) = open.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folder != self.root => {
                    return Err(Error::Object(format!("failed to list `{}`: {}", folder.display(), said(&error))));
                }
                entries => entries.map_err(at("list", &folder))?,
            };
            for entry in entries {
                let path = entry.map_err(at("list", &folder))?.path();
                // Links are not followed: they may lead round, or out of here.
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
                match name {
                    Some(PARTIAL) | None => {}
                    Some(_) if metadata.is_dir() => open.push(path),
                    Some(_) if !metadata.is_file() => {}
                    Some(name) => {
                        let since = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                        listed.push(Listed { name: name.to_owned(), bytes: metadata.len(), since });
                    }
                }
            }
        }
        listed.sort();
        Ok(listed)
    }

    fn remove(&self, names: &[String]) -> Result<(), Error> {
        self.sweep();
        for name in names {
            let path = self.inside(name)?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::Place(format!("failed to {operation} `{path}`: {}", said(&error)))
}

fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// What is put must have the length that was said.
pub(super) fn changed() -> Error {
    Error::Here("the file changed while it was read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at("file:///x", place.path().join("shared"));
        (place, folder)
    }

    fn got(folder: &Folder, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        folder.get(name, &mut bytes).unwrap().then_some(bytes)
    }

    fn listed(folder: &Folder, below: &str) -> Vec<(String, u64)> {
        folder.list(below).unwrap().into_iter().map(|object| (object.name, object.bytes)).collect()
    }

    fn owned((name, bytes): (&str, u64)) -> (String, u64) {
        (name.to_owned(), bytes)
    }

    #[test]
    fn objects_are_put_whole_listed_replaced_and_removed() {
        let (_place, folder) = folder();
        assert_eq!(folder.list("").unwrap(), []);
        for (name, bytes) in [("blobs/ab/one", &b"1"[..]), ("blobs/cd/two", b"22"), ("blobs/ab/one", b"333")] {
            folder.put(name, &mut &bytes[..], bytes.len() as u64).unwrap();
            assert_eq!(got(&folder, name).as_deref(), Some(bytes));
        }
        assert_eq!(listed(&folder, "blobs"), [("blobs/ab/one", 3), ("blobs/cd/two", 2)].map(owned));
        assert_eq!(listed(&folder, "blobs/cd"), [owned(("blobs/cd/two", 2))]);
        assert_eq!(listed(&folder, "records"), []);
        let since = folder.list("blobs").unwrap()[0].since;
        assert!(SystemTime::now().duration_since(since).is_ok_and(|age| age < Duration::from_mins(10)));
        assert_eq!(got(&folder, "records/ab/one"), None);
        folder.remove(&["blobs/ab/one".to_owned(), "nothing".to_owned()]).unwrap();
        assert_eq!(listed(&folder, ""), [owned(("blobs/cd/two", 2))]);
    }

    #[test]
    fn what_is_longer_or_shorter_than_was_said_is_not_put() {
        let (_place, folder) = folder();
        for said in [0, 4, 6] {
            assert_eq!(folder.put("x", &mut &b"12345"[..], said), Err(changed()));
            assert_eq!(folder.list("").unwrap(), []);
        }
        assert_eq!(fs::read_dir(folder.partials()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_but_files_is_listed_and_a_folder_below_none_is_not_made() {
        let (place, folder) = folder();
        folder.put("blobs/ab/one", &mut &b"1"[..], 1).unwrap();
        std::os::unix::fs::symlink("..", place.path().join("shared/blobs/round")).unwrap();
        std::os::unix::fs::symlink("one", place.path().join("shared/blobs/ab/two")).unwrap();
        assert_eq!(listed(&folder, ""), [owned(("blobs/ab/one", 1))]);
        assert!(matches!(folder.get("blobs/ab/two", &mut Vec::new()), Err(Error::Object(_))));
        assert!(matches!(folder.get("blobs/ab", &mut Vec::new()), Err(Error::Object(_))));
        // Neither is what lies behind a link in the path of an object, or the folder in which objects are written.
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "mine").unwrap();
        std::os::unix::fs::symlink(&outside, place.path().join("shared/records")).unwrap();
        assert!(matches!(folder.get("records/precious", &mut Vec::new()), Err(Error::Object(_))));
        assert!(matches!(folder.put("records/one", &mut &b"1"[..], 1), Err(Error::Object(_))));
        assert!(matches!(folder.list("records"), Err(Error::Object(_))));
        assert!(folder.remove(&["records/precious".to_owned()]).is_err());
        fs::remove_dir_all(folder.partials()).unwrap();
        std::os::unix::fs::symlink(&outside, folder.partials()).unwrap();
        assert!(matches!(folder.put("blobs/cd/one", &mut &b"1"[..], 1), Err(Error::Object(_))));
        folder.remove(&[]).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let nowhere = Folder::at("file:///x", place.path().join("not/there"));
        assert!(matches!(nowhere.list(""), Err(Error::Place(_))));
        assert!(matches!(nowhere.put("x", &mut &b"1"[..], 1), Err(Error::Place(_))));
        assert!(!place.path().join("not").exists());
    }

    #[test]
    fn a_folder_that_is_gone_is_no_empty_one() {
        let (place, folder) = folder();
        folder.put("x", &mut &b"1"[..], 1).unwrap();
        drop(place);
        assert!(matches!(folder.get("x", &mut Vec::new()), Err(Error::Place(_))));
    }
}
