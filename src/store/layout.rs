//! Names: where in the cache's folder a thing lies.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use crate::key::{Digest, Key};

/// The number of the record format that this program writes; the suffix of records that lie beside one of an unknown format.
pub(super) const FORMAT: &str = "1";

/// The paths under one root.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that an open store has.
    pub(super) fn folders(&self) -> [PathBuf; 6] {
        ["blobs", "records", "roots", "tmp", "locks", "quarantine"].map(|name| self.root.join(name))
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(super) fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn memo(&self) -> PathBuf {
        self.root.join("memo")
    }

    pub(super) fn all_complete(&self) -> PathBuf {
        self.root.join("complete")
    }

    /// What was seen to be whole in a shared cache.
    pub(super) fn complete(&self, name: &str) -> PathBuf {
        self.all_complete().join(name)
    }

    pub(super) fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        fanned(&self.blobs(), &digest.to_string(), "")
    }

    pub(super) fn record(&self, key: &Key) -> PathBuf {
        fanned(&self.records(), &key.to_string(), "")
    }

    /// Where this program's record lies when one of an unknown format has the record's own name.
    pub(super) fn record_beside(&self, key: &Key) -> PathBuf {
        fanned(&self.records(), &key.to_string(), &format!(".{FORMAT}"))
    }

    pub(super) fn list(&self, key: &Key) -> PathBuf {
        fanned(&self.records(), &key.to_string(), ".list")
    }

    pub(super) fn diverged(&self, key: &Key, content: &Digest) -> PathBuf {
        fanned(&self.records(), &key.to_string(), &format!(".diverged-{}", content.short()))
    }

    pub(super) fn all_hints(&self) -> PathBuf {
        self.root.join("hints")
    }

    pub(super) fn hints(&self, key: &Key) -> PathBuf {
        fanned(&self.all_hints(), &key.to_string(), "")
    }

    pub(super) fn study_root(&self, study: &str, profile: &str) -> PathBuf {
        self.roots().join(file_name(study)).join(format!("{}.json", file_name(profile)))
    }
}

fn fanned(folder: &Path, name: &str, suffix: &str) -> PathBuf {
    folder.join(&name[..2]).join(format!("{name}{suffix}"))
}

/// A name from a manifest as a file's name: anything but letters, digits, `-`, `_` and inner dots is spelt by its bytes.
pub(super) fn file_name(text: &str) -> String {
    // Writing to a text cannot fail.
    let mut name = String::new();
    for (i, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && i > 0) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

/// What lies directly in `folder`, in order of name; nothing where there is no such folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(Error::at("list", folder))?,
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(Error::at("list", folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The files two levels below `folder`, in order of name.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for inner in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        files.extend(files_in(&inner)?);
    }
    Ok(files)
}

/// The files directly in `folder`, in order of name. The listing says what is one, so that none is looked at.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(names_in(folder)?.into_iter().map(|name| folder.join(name)).collect())
}

/// Their names.
pub(super) fn names_in(folder: &Path) -> Result<Vec<OsString>, Error> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(Error::at("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(Error::at("list", folder))?;
        let sort = entry.file_type().map_err(Error::at("list", folder))?;
        if sort.is_file() || (sort.is_symlink() && entry.path().is_file()) {
            names.push(entry.file_name());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A file's name as text; empty where it is not.
pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A file's length in bytes, or `None` where there is no such file.
pub(super) fn length_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// A file's bytes, or `None` where there is no such file; a folder in its place is none.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(Error::at("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::record_of;
    use super::*;

    #[test]
    fn the_format_number_is_that_of_the_records_this_program_writes() {
        let bytes = record_of(1, &[]).encode();
        assert!(bytes.starts_with(format!("thalweg-record {FORMAT} ").as_bytes()));
    }

    #[test]
    fn names_from_manifests_stay_inside_their_folder_and_apart() {
        let names = ["fig3", "..", "a/b", "a%2fb", ".hidden", "v1.2", "θ", ""].map(file_name);
        assert_eq!(names, ["fig3", "%2e.", "a%2fb", "a%252fb", "%2ehidden", "v1.2", "%ce%b8", ""]);
    }
}
