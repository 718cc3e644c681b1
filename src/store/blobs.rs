//! Blobs: bytes by their digest. Verified whenever they are read; one that does not fit its name is set aside and taken for absent.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::layout::{length_of, read_file};
use super::{Error, Store};
use crate::key::{Digest, Output};

const MISFIT: &str = "the blob's bytes do not fit its digest";

/// How records get their names.
#[derive(Clone, Copy)]
pub(super) enum Landing {
    /// Only names that nothing has.
    IfFree,
    /// Also from what has them.
    Anyway,
}

/// Files that are to reach their places together, blobs before the records that name them.
#[derive(Default)]
pub(super) struct Batch<'s> {
    blobs: Vec<(PathBuf, Draft<'s>)>,
    pub(super) records: Vec<(PathBuf, Draft<'s>)>,
    drafted: BTreeSet<Digest>,
}

impl Store {
    /// Keeps `bytes`: as a blob, unless they are short text, which the output itself carries. Two syncs where a blob is written.
    ///
    /// A blob of that digest and length is not written again: what it holds is verified when it is read.
    ///
    /// # Errors
    /// A failing disk, with path and operation.
    pub fn put(&self, bytes: &[u8]) -> Result<Output, Error> {
        let output = Output::of(bytes);
        if !self.contains(&output) {
            self.drafts.write(bytes)?.settle(&self.layout.blob(&output.digest))?;
        }
        Ok(output)
    }

    /// Keeps several outputs together with two syncs at most.
    ///
    /// # Errors
    /// As [`Store::put`]; those that were already in place stay.
    pub fn put_all(&self, outputs: &[(String, Vec<u8>)]) -> Result<BTreeMap<String, Output>, Error> {
        let mut drafts = Batch::default();
        let named = self.draft_all(outputs, &mut drafts)?;
        self.settle_all(drafts, Landing::IfFree)?;
        Ok(named)
    }

    /// Adds a draft for each output that is no blob yet.
    pub(super) fn draft_all<'s>(
        &'s self,
        outputs: &[(String, Vec<u8>)],
        batch: &mut Batch<'s>,
    ) -> Result<BTreeMap<String, Output>, Error> {
        let mut named = BTreeMap::new();
        for (name, bytes) in outputs {
            let output = Output::of(bytes);
            if !self.contains(&output) && batch.drafted.insert(output.digest) {
                batch.blobs.push((self.layout.blob(&output.digest), self.drafts.write(bytes)?));
            }
            named.insert(name.clone(), output);
        }
        Ok(named)
    }

    /// Brings drafts to their places, in their order: two syncs however many they are. One sync of the whole file system was measured
    /// to take half as long as syncing two files and their folders, and a tenth for forty; for a single file it is no faster. Where
    /// records land only on free names, the numbers of those that came late are returned.
    pub(super) fn settle_all(&self, batch: Batch<'_>, landing: Landing) -> Result<Vec<usize>, Error> {
        let Batch { blobs, records, .. } = batch;
        let together = blobs.len() + records.len() > 1;
        if together {
            self.drafts.sync_file_system()?;
        }
        for (to, draft) in blobs {
            if together { draft.place(&to)? } else { draft.settle(&to)? }
        }
        let mut late = Vec::new();
        let land = |draft: Draft<'_>, to: &Path| match landing {
            Landing::IfFree => draft.land(to),
            Landing::Anyway => draft.place(to).map(|()| true),
        };
        for (i, (to, draft)) in records.into_iter().enumerate() {
            let landed = if together { land(draft, &to)? } else { draft.settle_by(&to, land)? };
            late.extend((!landed).then_some(i));
        }
        if together {
            self.drafts.sync_file_system()?;
        }
        Ok(late)
    }

    /// Keeps the content of the file at `path`, however large: it is copied first, by reference where the file system can, and what is
    /// digested is the copy, so that an edit in between harms nothing. Two syncs where a blob is written.
    ///
    /// # Errors
    /// A file that cannot be read; a failing disk.
    pub fn put_file(&self, path: &Path) -> Result<Output, Error> {
        if length_of(path).is_some_and(|length| length <= Output::INLINE_LIMIT_BYTES as u64) {
            return self.put(&fs::read(path).map_err(Error::at("read", path))?);
        }
        let draft = self.drafts.copy(path)?;
        let (digest, length) = digest_of(draft.path())?;
        if length <= Output::INLINE_LIMIT_BYTES as u64 {
            let bytes = fs::read(draft.path()).map_err(Error::at("read", draft.path()))?;
            return self.put(&bytes);
        }
        let output = Output { digest, length, inline: None };
        if !self.contains(&output) {
            draft.settle(&self.layout.blob(&digest))?;
        }
        Ok(output)
    }

    /// The bytes of an output, or `None` where they are gone or were damaged; a damaged blob is named and set aside. What is not here is fetched
    /// where a cache is shared.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn read(&self, output: &Output) -> Result<Option<Vec<u8>>, Error> {
        if let Some(text) = &output.inline {
            return Ok(Some(text.clone().into_bytes()));
        }
        if let Some(bytes) = self.read_here(output)? {
            return Ok(Some(bytes));
        }
        if !self.is_writable() {
            return Ok(self.peek(output));
        }
        if self.fetch(output)? { self.read_here(output) } else { Ok(None) }
    }

    fn read_here(&self, output: &Output) -> Result<Option<Vec<u8>>, Error> {
        let path = self.layout.blob(&output.digest);
        let Some(bytes) = read_file(&path)? else { return Ok(None) };
        if Digest::of(&bytes) == output.digest {
            return Ok(Some(bytes));
        }
        self.set_aside(&path, MISFIT)?;
        Ok(None)
    }

    /// Puts an output's bytes at `path`, outside the cache: whole or not at all, and never by a hard link, so that editing the copy harms
    /// nothing. Whether it could: false where the bytes are gone or were damaged.
    ///
    /// The file beside `path` through which it is written has one name, so two must not write to one `path` at once.
    ///
    /// # Errors
    /// A failing disk.
    pub fn copy_to(&self, output: &Output, path: &Path) -> Result<bool, Error> {
        self.place_beside(path, |beside| self.copy_beside(output, beside))
    }

    /// Writes a file outside the cache, whole or not at all, as [`Store::copy_to`] does.
    ///
    /// # Errors
    /// A failing disk.
    pub fn write_to(&self, bytes: &[u8], path: &Path) -> Result<(), Error> {
        self.place_beside(path, |beside| self.write_beside(bytes, beside)).map(drop)
    }

    /// Has a file written beside `path` and renames it to that, if it was written. Nothing is left beside it otherwise.
    fn place_beside(&self, path: &Path, write: impl FnOnce(&Path) -> Result<bool, Error>) -> Result<bool, Error> {
        let mut beside = OsString::from(".");
        beside.push(path.file_name().unwrap_or_default());
        beside.push(".partial");
        let beside = path.with_file_name(beside);
        if let Some(folder) = path.parent() {
            self.disk.create_folder(folder).map_err(Error::at("create folder", folder))?;
        }
        match self.disk.remove(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::at("remove", &beside)(error)),
            _ => {}
        }
        let written = write(&beside).and_then(|written| {
            if written {
                self.disk.rename(&beside, path).map_err(Error::at("write", path))?;
            }
            Ok(written)
        });
        if !matches!(written, Ok(true)) {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write_beside(&self, bytes: &[u8], beside: &Path) -> Result<bool, Error> {
        let file = self.disk.create(beside).map_err(Error::at("create", beside))?;
        self.disk.write(&file, bytes).map_err(Error::at("write", beside))?;
        Ok(true)
    }

    fn copy_beside(&self, output: &Output, beside: &Path) -> Result<bool, Error> {
        if let Some(text) = &output.inline {
            return self.write_beside(text.as_bytes(), beside);
        }
        let blob = self.layout.blob(&output.digest);
        if length_of(&blob).is_none() && !self.fetch(output)? {
            return Ok(false);
        }
        self.disk.copy(&blob, beside).map_err(Error::at("write", beside))?;
        // The copy is what must be right; the blob is blamed only once it has been read again.
        if digest_of(beside)?.0 == output.digest {
            return Ok(true);
        }
        if blob_problem(&blob, &output.digest)?.is_none() {
            let cause = io::Error::new(io::ErrorKind::InvalidData, "the copy differs from the blob");
            return Err(Error::at("copy", beside)(cause));
        }
        self.set_aside(&blob, MISFIT)?;
        Ok(false)
    }

    /// Whether an output's bytes are there, by presence and length only; they are verified when they are read.
    pub fn contains(&self, output: &Output) -> bool {
        output.inline.is_some() || length_of(&self.layout.blob(&output.digest)) == Some(output.length)
    }

    /// The blob of this digest, as the output that it is, if there is one here or in the cache that is shared; it is not read.
    pub fn blob_of(&self, digest: &Digest) -> Option<Output> {
        match length_of(&self.layout.blob(digest)) {
            Some(length) => Some(Output { digest: *digest, length, inline: None }),
            None => self.shared_blob_of(digest),
        }
    }
}

/// What is wrong with the blob at `path`, if anything.
pub(super) fn blob_problem(path: &Path, digest: &Digest) -> Result<Option<&'static str>, Error> {
    let fits = digest_of(path)?.0 == *digest;
    Ok((!fits).then_some(MISFIT))
}

/// The digest and length in bytes of a file's content, which is never loaded whole.
pub(super) fn digest_of(path: &Path) -> Result<(Digest, u64), Error> {
    let file = File::open(path).map_err(Error::at("read", path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(Error::at("read", path))?;
    Ok((Digest::from_hasher(&hasher), hasher.count()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, flip, open, open_listening};
    use super::*;

    fn large(seed: u8) -> Vec<u8> {
        (0..5000u32).map(|i| (i % 251) as u8 ^ seed).collect()
    }

    #[test]
    fn bytes_read_back_whether_inline_or_blob() {
        let place = Place::new();
        let store = open(&place);
        for bytes in [b"".to_vec(), b"0.5".to_vec(), vec![0xff; 3], large(1)] {
            let output = store.put(&bytes).unwrap();
            assert!(store.contains(&output));
            assert_eq!(output, Output::of(&bytes));
            assert_eq!(store.read(&output).unwrap(), Some(bytes));
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_in_a_blob_is_named_and_set_aside() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let bytes = vec![0xfe; 40];
        for at in 0..bytes.len() {
            let output = store.put(&bytes).unwrap();
            let path = store.layout.blob(&output.digest);
            flip(&path, at);
            assert_eq!(store.read(&output).unwrap(), None, "byte {at}");
            assert!(!store.contains(&output));
            assert_eq!(heard.quarantined(), vec![path; at + 1]);
            assert_eq!(fs::read_dir(store.layout.quarantine()).unwrap().count(), at + 1);
        }
        let output = store.put(&bytes).unwrap();
        assert_eq!(store.read(&output).unwrap(), Some(bytes));
    }

    #[test]
    fn a_blob_cut_short_is_written_again_by_put() {
        let place = Place::new();
        let store = open(&place);
        let output = store.put(&large(0)).unwrap();
        fs::write(store.layout.blob(&output.digest), "short").unwrap();
        assert!(!store.contains(&output));
        store.put(&large(0)).unwrap();
        assert_eq!(store.read(&output).unwrap(), Some(large(0)));
    }

    #[test]
    fn a_file_is_kept_like_its_bytes() {
        let place = Place::new();
        let store = open(&place);
        for (i, bytes) in [b"text".to_vec(), vec![0xff; 3], large(2)].into_iter().enumerate() {
            let path = place.path().join(format!("output-{i}"));
            fs::write(&path, &bytes).unwrap();
            assert_eq!(store.put_file(&path).unwrap(), Output::of(&bytes));
            assert_eq!(store.read(&Output::of(&bytes)).unwrap(), Some(bytes));
        }
        let error = store.put_file(&place.path().join("missing")).unwrap_err().to_string();
        assert!(error.starts_with("failed to read `") && error.ends_with("no such file or directory"), "{error}");
    }

    #[test]
    fn a_copy_is_whole_and_editing_it_harms_no_blob() {
        let place = Place::new();
        let store = open(&place);
        let results = place.path().join("results/fig");
        for bytes in [b"text".to_vec(), large(3)] {
            let output = store.put(&bytes).unwrap();
            let path = results.join("theta");
            fs::create_dir_all(&results).unwrap();
            fs::write(results.join(".theta.partial"), "left by a run that was killed").unwrap();
            assert!(store.copy_to(&output, &path).unwrap());
            assert_eq!(fs::read(&path).unwrap(), bytes);
            fs::write(&path, "edited").unwrap();
            assert_eq!(store.read(&output).unwrap(), Some(bytes));
            assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_cannot_be_placed_leaves_nothing_beside_it() {
        let place = Place::new();
        let store = open(&place);
        let results = place.path().join("results");
        fs::create_dir_all(results.join("x.txt")).unwrap();
        for bytes in [b"text".to_vec(), large(5)] {
            let output = store.put(&bytes).unwrap();
            let error = store.copy_to(&output, &results.join("x.txt")).unwrap_err().to_string();
            assert!(error.ends_with("/results/x.txt`: is a directory"), "{error}");
            assert!(store.write_to(&bytes, &results.join("x.txt")).is_err());
            assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_blob_is_set_aside_when_the_blob_is_written() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let output = Output::of(&large(6));
        let path = store.layout.blob(&output.digest);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(store.read(&output).unwrap(), None);
        store.put(&large(6)).unwrap();
        assert_eq!(store.read(&output).unwrap(), Some(large(6)));
        assert_eq!(heard.quarantined(), [path]);
    }

    #[test]
    fn a_copy_of_a_damaged_or_absent_blob_leaves_the_place_as_it_was() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        let output = store.put(&large(4)).unwrap();
        let path = place.path().join("copy");
        fs::write(&path, "before").unwrap();
        flip(&store.layout.blob(&output.digest), 4321);
        for _ in 0..2 {
            assert!(!store.copy_to(&output, &path).unwrap());
            assert_eq!(fs::read(&path).unwrap(), b"before");
            assert_eq!(heard.quarantined().len(), 1);
        }
    }

    #[test]
    fn equal_outputs_put_together_are_one_blob() {
        let place = Place::new();
        let store = open(&place);
        let outputs = ["a", "b", "c"].map(|name| (name.to_owned(), large(u8::from(name == "c"))));
        let named = store.put_all(&outputs).unwrap();
        assert_eq!(named["a"], named["b"]);
        for (name, bytes) in outputs {
            assert_eq!(store.read(&named[&name]).unwrap(), Some(bytes));
        }
    }
}
