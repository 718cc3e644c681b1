//! A cache shared with others, seen from here: what it has, and how it gets here. What comes from there is verified before it is believed, and
//! a place that cannot be reached is told once and done without.
//!
//! ```text
//! blobs/ab/DIGEST              bytes, under their digest
//! records.1/ab/KEY             a record, of format 1
//! lists.1/ab/KEY               a stage's list
//! hints.1/ab/SORT-KEY-REACHED  a hint; its name says all
//! roots.1/STUDY/PROFILE/WHO    what a study reaches for one user of the shared cache
//! ```
//!
//! All but blobs may be signed ([`Signer`]): then their names end with `.SIGNER`, and whoever has a secret takes nothing else.
//!
//! What is there is known by listings, one for each folder that something is missed in, which are believed for a minute. So a miss costs no
//! request, and what another put up within the last minute may be made once more, which harms nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hints::Hint;
use super::layout::FORMAT;
use super::roots::LIST;
use super::sealed::is_damaged;
use super::shelves::{Shelves, folder_of};
use super::signer::{Signer, unsigned};
use crate::event::{Event, Sink};
use crate::key::{Digest, Key, Output, Record};
use crate::remote::{Error as RemoteError, Objects};

/// How long a place that failed is not asked again.
const REST: Duration = Duration::from_mins(1);
/// The longest record, list or root that is taken.
const LONGEST_TEXT_BYTES: usize = 256 << 20;

/// A shared cache.
pub struct Shared {
    objects: Arc<dyn Objects>,
    signer: Option<Signer>,
    events: Arc<dyn Sink>,
    pub(super) shelves: Shelves,
    /// Objects that were found not to be what their names say, or could not be had; they are put up anew when they are made anew.
    wrong: Mutex<BTreeSet<String>>,
    outage: Mutex<Option<Outage>>,
    /// What was told of single objects and folders, each once.
    told: Mutex<BTreeSet<String>>,
}

/// That the place failed and did nothing since.
struct Outage {
    /// When it failed last; none where it may be asked again at once.
    since: Option<Instant>,
    problem: String,
}

impl Shared {
    /// The shared cache at a place; with a signer, only what it signed is taken for a record.
    pub fn new(objects: Arc<dyn Objects>, signer: Option<Signer>, events: Arc<dyn Sink>) -> Self {
        let (shelves, wrong, outage, told) = Default::default();
        Self { objects, signer, events, shelves, wrong, outage, told }
    }

    /// Whose signature counts, where any does.
    pub(super) fn signer(&self) -> Option<&str> {
        self.signer.as_ref().map(Signer::name)
    }

    pub(super) fn objects(&self) -> &dyn Objects {
        &*self.objects
    }

    /// The name of the blob with this digest.
    pub(super) fn blob(digest: &Digest) -> String {
        fanned("blobs", &digest.to_string())
    }

    /// The name under which this user puts up a record.
    pub(super) fn record(&self, key: &Key) -> String {
        self.signed_name(&fanned(&format!("records.{FORMAT}"), &key.to_string()))
    }

    /// The same of a stage's list.
    pub(super) fn list(&self, key: &Key) -> String {
        self.signed_name(&fanned("lists.1", &key.to_string()))
    }

    /// The same of a hint.
    pub(super) fn hint(&self, sort: &Key, hint: &Hint) -> String {
        self.signed_name(&fanned("hints.1", &format!("{sort}-{}-{}", hint.key, hint.reached)))
    }

    /// The same of what a study reaches for `who`; study and profile are as files spell them.
    pub(super) fn root(&self, study: &str, profile: &str, who: &str) -> String {
        self.signed_name(&format!("roots.1/{study}/{profile}/{who}"))
    }

    fn signed_name(&self, name: &str) -> String {
        self.signer.as_ref().map_or_else(|| name.to_owned(), |signer| format!("{name}.{}", signer.name()))
    }

    /// Bytes as they are put up under `name`.
    pub(super) fn signed(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        self.signer.as_ref().map_or_else(|| bytes.to_vec(), |signer| signer.sign(name, bytes))
    }

    /// Whether the place is not asked at present, since it failed a moment ago.
    pub(super) fn rests(&self) -> bool {
        let since = lock(&self.outage).as_ref().and_then(|outage| outage.since);
        since.is_some_and(|since| since.elapsed() < REST)
    }

    /// Has the place asked again, although it failed a moment ago.
    pub(super) fn wake(&self) {
        lock(&self.outage).iter_mut().for_each(|outage| outage.since = None);
    }

    /// What the place failed with, if it did and did nothing since.
    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.outage).as_ref().map(|outage| outage.problem.clone())
    }

    /// Asks the place; a failure is told, once until it works again, and is no answer.
    pub(super) fn ask<T>(&self, what: impl FnOnce(&dyn Objects) -> Result<T, RemoteError>) -> Option<T> {
        if self.rests() {
            return None;
        }
        match what(&*self.objects) {
            Ok(answer) => {
                self.works();
                Some(answer)
            }
            Err(RemoteError::Place(problem)) => {
                self.failed(&problem);
                None
            }
            Err(RemoteError::Object(problem) | RemoteError::Here(problem)) => {
                self.tell_once(&problem);
                None
            }
        }
    }

    /// Tells of a single object or folder, once.
    fn tell_once(&self, problem: &str) {
        if lock(&self.told).insert(problem.to_owned()) {
            self.warn(problem);
        }
    }

    /// Notes that the place did what it was asked.
    pub(super) fn works(&self) {
        *lock(&self.outage) = None;
    }

    /// Notes that the place failed; told unless it was known.
    pub(super) fn failed(&self, problem: &str) {
        let outage = Outage { since: Some(Instant::now()), problem: problem.to_owned() };
        if lock(&self.outage).replace(outage).is_none() {
            let message = format!(
                "the shared cache `{}` cannot be used, so it is done without: {problem}",
                self.objects.address()
            );
            self.warn(&message);
        }
    }

    fn warn(&self, message: &str) {
        self.events.emit(Event::Warning { stage: None, message: message.to_owned() });
    }

    /// An object that is not what its name says.
    fn is_wrong(&self, name: &str, problem: &str) {
        let address = self.objects.address();
        self.warn(&format!("`{name}` in the shared cache `{address}` is passed over: {problem}"));
        lock(&self.wrong).insert(name.to_owned());
    }

    /// Looks for something in a folder there.
    fn look<T>(&self, folder: &str, find: impl Fn(&BTreeMap<String, u64>) -> Option<T>) -> Option<T> {
        let list = |objects: &dyn Objects| match objects.list(folder) {
            // One that cannot be listed has nothing for as long as a listing is believed.
            Err(RemoteError::Object(problem)) => {
                self.tell_once(&problem);
                Ok(Vec::new())
            }
            listed => listed,
        };
        self.shelves.look(folder, find, || self.ask(list))
    }

    /// Learns all that is there below a folder of folders, which costs less than to learn it folder by folder.
    fn stock(&self, folder: &str) -> Result<(), RemoteError> {
        let seen = Instant::now();
        self.shelves.stock(folder, seen, self.objects.list(folder)?);
        Ok(())
    }

    /// The keys of all records that are to be had, and all blobs, learnt at once.
    ///
    /// # Errors
    /// What the place said.
    pub(super) fn keys(&self) -> Result<BTreeSet<Key>, RemoteError> {
        let records = format!("records.{FORMAT}");
        self.stock(&records)?;
        self.stock("blobs")?;
        let key = |name: &String| {
            let last = name.rsplit('/').next().unwrap_or_default();
            let (stem, signer) = last.split_once('.').map_or((last, None), |(stem, signer)| (stem, Some(signer)));
            let taken = self.signer.as_ref().is_none_or(|ours| signer == Some(ours.name()));
            stem.parse().ok().filter(|_| taken)
        };
        Ok(self.shelves.names_below(&records).iter().filter_map(key).collect())
    }

    /// Whether an object is there, as far as is known, and how many bytes it has.
    pub(super) fn has(&self, name: &str) -> Option<u64> {
        let bytes = self.look(folder_of(name), |names| names.get(name).copied())?;
        (!lock(&self.wrong).contains(name)).then_some(bytes)
    }

    /// Notes that an object was put up.
    pub(super) fn put_up(&self, name: &str, bytes: u64) {
        lock(&self.wrong).remove(name);
        self.shelves.note(name, bytes);
    }

    /// Whether a text is there that would be taken under this user's name for it, as long as one of so many bytes.
    pub(super) fn has_text(&self, ours: &str, bytes: u64) -> bool {
        let Some((name, length)) = self.name_of(ours) else { return false };
        let stem = name.rsplit('/').next().unwrap_or_default();
        length == bytes + if stem.contains('.') { Signer::BYTES as u64 } else { 0 }
    }

    /// Whether a blob is there.
    pub(super) fn has_blob(&self, output: &Output) -> bool {
        self.has(&Self::blob(&output.digest)) == Some(output.length)
    }

    /// The name under which a text is to be had, and its length: our own; without a signer anybody's.
    fn name_of(&self, ours: &str) -> Option<(String, u64)> {
        let found = self.look(folder_of(ours), |names| {
            if let Some(length) = names.get(ours) {
                return Some((ours.to_owned(), *length));
            }
            let signed = format!("{ours}.");
            let mut others = names.range(signed.clone()..).take_while(|(name, _)| name.starts_with(&signed));
            if self.signer.is_none() { others.next().map(|(name, length)| (name.clone(), *length)) } else { None }
        })?;
        (!lock(&self.wrong).contains(&found.0)).then_some(found)
    }

    /// A text by its full name and length, whoever signed it: for collecting, which hands out no results. One that is too long says nothing.
    ///
    /// # Errors
    /// What the place said.
    pub(super) fn any_text(&self, name: &str, length: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        if length > LONGEST_TEXT_BYTES as u64 {
            return Ok(Some(Vec::new()));
        }
        let mut bytes = Bounded(Vec::new());
        let there = self.objects.get(name, &mut bytes)?;
        Ok(there.then(|| unsigned(&bytes.0).to_vec()))
    }

    /// A text, verified as far as there is a signer.
    fn text(&self, ours: &str) -> Option<(String, Vec<u8>)> {
        let (name, length) = self.name_of(ours)?;
        if length > LONGEST_TEXT_BYTES as u64 {
            self.is_wrong(&name, "it is longer than anything that belongs there");
            return None;
        }
        let mut bytes = Bounded(Vec::new());
        if !self.ask(|objects| objects.get(&name, &mut bytes))? {
            return None;
        }
        let text = match &self.signer {
            None => Some(unsigned(&bytes.0)),
            Some(signer) => signer.verified(&name, &bytes.0),
        };
        let Some(text) = text.map(<[u8]>::to_vec) else {
            self.is_wrong(&name, "its signature does not fit");
            return None;
        };
        Some((name, text))
    }

    /// A record, and its bytes.
    pub(super) fn get_record(&self, key: &Key) -> Option<(Record, Vec<u8>)> {
        let (name, bytes) = self.text(&self.record(key))?;
        match Record::decode(&bytes, key) {
            Ok(record) => Some((record, bytes)),
            Err(problem) => {
                self.is_wrong(&name, &problem.to_string());
                None
            }
        }
    }

    /// The bytes of a stage's list.
    pub(super) fn get_list(&self, key: &Key) -> Option<Vec<u8>> {
        let (name, bytes) = self.text(&self.list(key))?;
        if is_damaged(LIST, &bytes) {
            self.is_wrong(&name, "it is damaged");
            return None;
        }
        Some(bytes)
    }

    /// The hints that are there for a sort.
    pub(super) fn hints(&self, sort: &Key) -> Vec<Hint> {
        let begin = fanned("hints.1", &format!("{sort}-"));
        let known = self.look(folder_of(&begin), |names| {
            let known = names.range(begin.clone()..).take_while(|(name, _)| name.starts_with(&begin));
            let known: BTreeSet<Hint> = known.filter_map(|(name, _)| hint(&name[begin.len()..])).collect();
            (!known.is_empty()).then_some(known)
        });
        // A hint says nothing but its name; where names can be forged, the signature says whose it is.
        let believed = |hint: &Hint| self.signer.is_none() || self.text(&self.hint(sort, hint)).is_some();
        known.unwrap_or_default().into_iter().filter(believed).collect()
    }

    /// Writes a blob to `to`; whether it was there, whole, and what its digest says.
    pub(super) fn get_blob(&self, output: &Output, to: &mut dyn Write) -> bool {
        let name = Self::blob(&output.digest);
        if self.has(&name) != Some(output.length) {
            return false;
        }
        let mut digesting = Digesting { to, hasher: blake3::Hasher::new(), left: output.length };
        let got = self.ask(|objects| objects.get(&name, &mut digesting));
        let whole = digesting.left == 0 && Digest::from_hasher(&digesting.hasher) == output.digest;
        match got {
            Some(true) if whole => return true,
            Some(true) => self.is_wrong(&name, "its bytes do not fit its digest"),
            // What is listed and cannot be had is not to be had: whoever needs it makes it again.
            _ => drop(lock(&self.wrong).insert(name)),
        }
        false
    }
}

/// The hint that the rest of a name says, whoever signed it.
fn hint(rest: &str) -> Option<Hint> {
    let (key, reached) = rest.split('.').next()?.split_once('-')?;
    Some(Hint { key: key.parse().ok()?, reached: reached.parse().ok()? })
}

fn fanned(folder: &str, name: &str) -> String {
    format!("{folder}/{}/{name}", &name[..2])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_TEXT_BYTES {
            return Err(io::Error::other("it is longer than anything that belongs there"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Digests what it passes on; more than was announced is an error.
struct Digesting<'a> {
    to: &'a mut dyn Write,
    hasher: blake3::Hasher,
    left: u64,
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let too_many = || io::Error::other("it is longer than its listing said");
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(too_many)?;
        self.to.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
