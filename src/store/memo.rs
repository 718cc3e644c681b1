//! Digests of files that the user named, remembered by path, inode, size and times, so that a no-op run reads none of them.
//!
//! A file that changed less than two seconds before it was digested is not remembered: a second change within the clock's grain could
//! leave size and times as they are. The time of the inode's last change counts too, since a program may set the other back. The
//! memo may be deleted at any time, and a damaged one is none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::blobs::digest_of;
use super::layout::{Layout, read_file};
use super::sealed::{seal, unseal};
use super::{Error, Store};
use crate::key::Digest;

/// The name and number of the memo's format.
pub(super) const MEMO: &str = "thalweg-memo 1";
const YOUNG: Duration = Duration::from_secs(2);

/// What is remembered, once it has been read, and whether it differs from its file.
#[derive(Default)]
pub(super) struct Memo {
    entries: Option<BTreeMap<String, Entry>>,
    changed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    digest: Digest,
}

/// What tells one content of a file from another without reading it. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
    changed: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file changed less than two seconds before `now`, or after it.
    fn is_young(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = Duration::from_nanos(u64::try_from(self.modified.max(self.changed)).unwrap_or(0));
        now < latest + YOUNG
    }
}

impl Memo {
    fn entries(&mut self, layout: &Layout) -> &mut BTreeMap<String, Entry> {
        self.entries.get_or_insert_with(|| {
            let bytes = read_file(&layout.memo()).ok().flatten();
            let body = bytes.as_deref().and_then(|bytes| unseal(MEMO, bytes));
            body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default()
        })
    }
}

impl Store {
    /// The digest of a file's content, from the memo where the file is as it was.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest_file(&self, path: &Path) -> Result<Digest, Error> {
        self.digest_file_at(path, SystemTime::now())
    }

    fn digest_file_at(&self, path: &Path, now: SystemTime) -> Result<Digest, Error> {
        let stamp = || fs::metadata(path).map(|metadata| Stamp::of(&metadata)).map_err(Error::at("read", path));
        let before = stamp()?;
        let absolute = if path.is_absolute() {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(std::path::absolute(path).map_err(Error::at("read", path))?)
        };
        let Some(name) = absolute.to_str() else { return Ok(digest_of(path)?.0) };
        let known = |entry: &Entry| (entry.stamp == before).then_some(entry.digest);
        if let Some(digest) = self.memo().entries(&self.layout).get(name).and_then(known) {
            return Ok(digest);
        }
        let (digest, _) = digest_of(path)?;
        if stamp()? == before && !before.is_young(now) {
            let mut memo = self.memo();
            memo.entries(&self.layout).insert(name.to_owned(), Entry { stamp: before, digest });
            memo.changed = true;
        }
        Ok(digest)
    }

    /// Writes the memo if it changed, without files that are gone. Dropping the store does this too. Not synced: a lost memo is none.
    ///
    /// # Errors
    /// A failing disk.
    ///
    /// # Panics
    /// Never: a memo serialises.
    pub fn flush(&self) -> Result<(), Error> {
        let mut memo = self.memo();
        if !memo.changed || !self.is_writable() {
            return Ok(());
        }
        let entries = memo.entries(&self.layout);
        entries.retain(|name, _| Path::new(name).exists());
        let body = serde_json::to_string(entries).expect("invariant: a memo serialises");
        self.drafts.write(&seal(MEMO, &body))?.place(&self.layout.memo())?;
        memo.changed = false;
        Ok(())
    }

    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, flip, open};
    use super::*;

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3)
    }

    /// Makes the memo claim `digest` for every file it remembers, so that a test sees whether it is asked.
    fn falsify(store: &Store, digest: Digest) -> usize {
        let mut memo = store.memo();
        let entries = memo.entries(&store.layout);
        for entry in entries.values_mut() {
            entry.digest = digest;
        }
        let count = entries.len();
        memo.changed = true;
        count
    }

    #[test]
    fn an_unchanged_file_is_not_read_again_by_this_or_the_next_process() {
        let place = Place::new();
        let path = place.path().join("data");
        fs::write(&path, "one").unwrap();
        let store = open(&place);
        let marker = Digest::of(b"from the memo");
        assert_eq!(store.digest_file_at(&path, later()).unwrap(), Digest::of(b"one"));
        assert_eq!(falsify(&store, marker), 1);
        assert_eq!(store.digest_file(&path).unwrap(), marker);
        drop(store);
        assert_eq!(open(&place).digest_file(&path).unwrap(), marker);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let place = Place::new();
        let path = place.path().join("data");
        let store = open(&place);
        for text in ["one", "two", "longer"] {
            fs::write(&path, text).unwrap();
            assert_eq!(store.digest_file_at(&path, later()).unwrap(), Digest::of(text.as_bytes()));
            // Files written within one tick of the clock are what the two seconds are for; here each has a tick of its own.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_young_file_is_not_remembered() {
        let place = Place::new();
        let path = place.path().join("data");
        let store = open(&place);
        fs::write(&path, "one").unwrap();
        // The file's own times may be set back; when the inode changed may not.
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(store.digest_file(&path).unwrap(), Digest::of(b"one"));
        assert_eq!(falsify(&store, Digest::of(b"")), 0);
    }

    #[test]
    fn a_damaged_or_deleted_memo_is_none() {
        let place = Place::new();
        let path = place.path().join("data");
        fs::write(&path, "one").unwrap();
        for damage in [|memo: &Path| flip(memo, 90), |memo: &Path| fs::remove_file(memo).unwrap()] {
            let store = open(&place);
            store.digest_file_at(&path, later()).unwrap();
            falsify(&store, Digest::of(b"wrong"));
            store.flush().unwrap();
            drop(store);
            damage(&place.path().join("memo"));
            assert_eq!(open(&place).digest_file(&path).unwrap(), Digest::of(b"one"));
        }
    }

    #[test]
    fn a_file_that_is_gone_is_an_error_and_is_forgotten() {
        let place = Place::new();
        let path = place.path().join("data");
        fs::write(&path, "one").unwrap();
        let store = open(&place);
        store.digest_file_at(&path, later()).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(store.digest_file(&path).is_err());
        store.flush().unwrap();
        assert_eq!(falsify(&store, Digest::of(b"")), 0);
    }
}
