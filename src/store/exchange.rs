//! The store and a cache that it shares: what is missing here comes from there, what is made here goes there, and all of either at once.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::countdown::{Countdown, Left, Told};
use super::hints::Hint;
use super::layout::{files_below, length_of, name_of};
use super::lock::Patience;
use super::shared::Shared;
use super::side_by_side::side_by_side;
use super::uploads::{Sent, Upload, Uploads};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Output, Record};
use crate::remote::WriteBack;

/// Where a store's misses are looked for and its results go.
pub(super) struct Exchange {
    pub(super) shared: Arc<Shared>,
    uploads: Uploads,
}

/// What came from a shared cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Records.
    pub records: u64,
    /// Blobs.
    pub blobs: u64,
    /// The bytes of the blobs.
    pub bytes: u64,
    /// Blobs that records name and that could not be had.
    pub absent: u64,
    /// What the place failed with, where it did.
    pub problem: Option<String>,
}

impl Store {
    /// With a cache that it shares.
    #[must_use]
    pub fn sharing(mut self, shared: Shared, when: WriteBack) -> Self {
        let shared = Arc::new(shared);
        let when = if self.is_writable() { when } else { WriteBack::Never };
        let uploads = Uploads::new(Arc::clone(&shared), self.layout.clone(), when);
        self.exchange = Some(Exchange { shared, uploads });
        self
    }

    fn shared(&self) -> Option<&Shared> {
        self.exchange.as_ref().map(|exchange| &*exchange.shared)
    }

    /// Whose signature records in the shared cache must have, where they must have one.
    pub fn signer(&self) -> Option<&str> {
        self.shared()?.signer()
    }

    pub(super) fn upload(&self, upload: impl FnOnce(&Shared) -> Upload) {
        if let Some(exchange) = &self.exchange {
            exchange.uploads.add(upload(&exchange.shared));
        }
    }

    pub(super) fn upload_record(&self, key: &Key) {
        self.upload(|_| Upload::Record(*key));
    }

    pub(super) fn upload_root(&self, path: &Path) {
        if let Some((study, profile)) = study_of(path) {
            self.upload(|shared| Upload::Root(path.to_owned(), shared.root(&study, &profile, &self.who())));
        }
    }

    /// Whose roots are whose: one cache on one machine.
    fn who(&self) -> String {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let root = std::path::absolute(self.root()).unwrap_or_else(|_| self.root().to_owned());
        Digest::of(format!("{machine}\0{}", root.display()).as_bytes()).short()
    }

    /// Whether an output's bytes are here, or are to be had from the cache that is shared.
    pub fn can_have(&self, output: &Output) -> bool {
        self.contains(output) || self.shared().is_some_and(|shared| shared.has_blob(output))
    }

    /// Waits until everything that was made is in the shared cache, and says what went there; `waiting` is told how much is left.
    pub fn finish_uploads(&self, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn(u64)) -> Sent {
        self.exchange.as_ref().map_or_else(Sent::default, |exchange| exchange.uploads.finish(cancelled, waiting))
    }

    /// A record from the shared cache, which is then here too. A stage's comes with its list or not at all: without it nobody knows what the
    /// stage reaches, and whoever makes it again finds all its actions.
    pub(super) fn fetch_record(&self, key: &Key) -> Result<Option<Record>, Error> {
        let Some(shared) = self.shared() else { return Ok(None) };
        let Some((record, bytes)) = shared.get_record(key) else { return Ok(None) };
        if !self.is_writable() {
            return Ok(Some(record));
        }
        if record.fingerprint.level == Level::Stage {
            let Some(list) = shared.get_list(key) else { return Ok(None) };
            self.place_unsynced(self.drafts.write(&list)?, &self.layout.list(key))?;
        }
        let (draft, place) = (self.drafts.write(&bytes)?, self.place_of(key)?);
        if record.fingerprint.level == Level::Stage {
            self.place_unsynced(draft, &place)?;
        } else if draft.land(&place)? {
            self.unsynced.store(true, Ordering::Relaxed);
        } else if let (_, Some(first)) = self.landed(key)? {
            // Made here while this one was on its way.
            return Ok(Some(first));
        }
        Ok(Some(record))
    }

    /// Brings an output's bytes here, if they are to be had; whether they are here then. Two syncs.
    pub(super) fn fetch(&self, output: &Output) -> Result<bool, Error> {
        self.fetch_among(output, None)
    }

    /// The same; one among many is told of as it comes, and left to a sync of everything.
    fn fetch_among(&self, output: &Output, many: Option<&Countdown<'_>>) -> Result<bool, Error> {
        let Some(shared) = self.shared().filter(|_| self.is_writable()) else { return Ok(false) };
        // One at a time fetches it; the others find it.
        let name = format!("fetch-{}", output.digest);
        let _held = self.locks.take(&name, Patience::UNLIMITED)?;
        if self.contains(output) {
            many.inspect(|countdown| countdown.passed(output.length));
            return Ok(true);
        }
        let get = |file: &mut dyn Write| match many {
            None => shared.get_blob(output, file),
            Some(countdown) => shared.get_blob(output, &mut Told::new(file, output.length, countdown)),
        };
        let Some(draft) = self.drafts.fill(get)? else { return Ok(false) };
        let place = self.layout.blob(&output.digest);
        if many.is_none() {
            draft.settle(&place)?;
        } else {
            draft.place(&place)?;
        }
        Ok(true)
    }

    /// The bytes of an output from the shared cache, where nothing may be written here.
    pub(super) fn peek(&self, output: &Output) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.shared()?.get_blob(output, &mut bytes).then_some(bytes)
    }

    /// The blob with this digest in the shared cache, as the output that it is.
    pub(super) fn shared_blob_of(&self, digest: &Digest) -> Option<Output> {
        let length = self.shared()?.has(&Shared::blob(digest))?;
        Some(Output { digest: *digest, length, inline: None })
    }

    pub(super) fn shared_hints(&self, sort: &Key) -> Vec<Hint> {
        self.shared().map(|shared| shared.hints(sort)).unwrap_or_default()
    }

    /// The keys of all records in the shared cache that are to be had.
    pub(super) fn shared_keys(&self) -> Result<BTreeSet<Key>, Error> {
        let Some(shared) = self.shared() else { return Ok(BTreeSet::new()) };
        shared.keys().map_err(|cause| Error::Shared { address: shared.objects().address().to_owned(), cause })
    }

    /// Puts up everything that is here and not there: records with their blobs, lists, hints, roots. `waiting` is told what is left.
    ///
    /// # Errors
    /// A disk that cannot be read; a shared cache that cannot be listed.
    pub fn push(&self, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn(Left)) -> Result<Sent, Error> {
        // All that is there is learnt at once.
        self.shared_keys()?;
        self.upload_missing(self.keys()?)?;
        let waiting = |items| waiting(Left { items, noun: "upload", bytes: None });
        Ok(self.finish_uploads(cancelled, &waiting))
    }

    /// Has put up what is here of these records, their blobs and their lists and is not there; and all hints and roots.
    pub(super) fn upload_missing(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), Error> {
        let Some(Exchange { shared, uploads }) = &self.exchange else { return Ok(()) };
        for key in keys.into_iter().filter(|key| !uploads.has_put_lately(key)) {
            let (path, Some(record)) = self.landed(&key)? else { continue };
            let mut blobs = record.outputs.values().filter(|output| output.inline.is_none());
            let has = |name: String, path: &Path| length_of(path).is_none_or(|bytes| shared.has_text(&name, bytes));
            let is_whole = has(shared.record(&key), &path)
                && has(shared.list(&key), &self.layout.list(&key))
                && !blobs.any(|output| self.contains(output) && !shared.has_blob(output));
            if !is_whole {
                self.upload_record(&key);
            }
        }
        for path in files_below(&self.layout.all_hints())? {
            let Ok(sort) = name_of(&path).parse::<Key>() else { continue };
            for hint in self.hints(&sort)? {
                self.upload(|_| Upload::Hint(sort, hint));
            }
        }
        files_below(&self.layout.roots())?.iter().for_each(|path| self.upload_root(path));
        Ok(())
    }

    /// What the shared cache is known by here, where things are put up.
    pub(super) fn writes_to(&self) -> Option<String> {
        let Exchange { shared, uploads } = self.exchange.as_ref()?;
        let name = format!("{}\0{}", shared.objects().address(), shared.signer().unwrap_or_default());
        uploads.are_wanted().then(|| Digest::of(name.as_bytes()).short())
    }

    /// Believes nothing older than a minute of what is in the shared cache; `at_once`, all is learnt anew. Where that fails, it is learnt bit
    /// by bit.
    pub(super) fn look_again(&self, at_once: bool) {
        if let Some(shared) = self.shared() {
            shared.shelves.forget_old();
            if at_once {
                let _ = shared.ask(|_| shared.keys());
            }
        }
    }

    /// Brings here every record of the shared cache, and unless `records_only` every blob that records here name. `waiting` is told what is
    /// left.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when cancelled; a failing disk; a shared cache that cannot be listed.
    pub fn pull(
        &self,
        records_only: bool,
        cancelled: &(dyn Fn() -> bool + Sync),
        waiting: &(dyn Fn(Left) + Sync),
    ) -> Result<Fetched, Error> {
        let here: BTreeSet<Key> = self.keys()?.into_iter().collect();
        let missing: Vec<Key> = self.shared_keys()?.difference(&here).copied().collect();
        let (records, countdown) = (AtomicU64::new(0), Countdown::from(missing.len(), "record", None, waiting));
        side_by_side(&missing, cancelled, |key| {
            records.fetch_add(u64::from(self.record(key)?.is_some()), Ordering::Relaxed);
            countdown.done();
            Ok(())
        })?;
        let mut fetched = Fetched { records: records.into_inner(), ..Fetched::default() };
        if !records_only {
            let mut outputs: Vec<Output> = Vec::new();
            let mut met = BTreeSet::new();
            for key in self.keys()? {
                let blobs = self.record(&key)?.into_iter().flat_map(|record| record.outputs.into_values());
                outputs.extend(blobs.filter(|output| !self.contains(output) && met.insert(output.digest)));
            }
            let (blobs, bytes, absent) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            let length = outputs.iter().fold(0, |sum: u64, output| sum.saturating_add(output.length));
            let countdown = Countdown::from(outputs.len(), "blob", Some(length), waiting);
            side_by_side(&outputs, cancelled, |output| {
                if self.fetch_among(output, Some(&countdown))? {
                    blobs.fetch_add(1, Ordering::Relaxed);
                    bytes.fetch_add(output.length, Ordering::Relaxed);
                } else {
                    absent.fetch_add(1, Ordering::Relaxed);
                }
                countdown.done();
                Ok(())
            })?;
            fetched = Fetched {
                blobs: blobs.into_inner(),
                bytes: bytes.into_inner(),
                absent: absent.into_inner(),
                ..fetched
            };
        }
        self.drafts.sync_file_system()?;
        fetched.problem = self.shared().and_then(Shared::problem);
        Ok(fetched)
    }
}

/// The parts of a root's path: the study's name and the profile's, as files spell them.
fn study_of(path: &Path) -> Option<(String, String)> {
    let profile = path.file_stem()?.to_str()?;
    let study = path.parent()?.file_name()?.to_str()?;
    Some((study.to_owned(), profile.to_owned()))
}
