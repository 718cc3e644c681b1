//! What is in the cache and what of it is reached: roots name stage records, their lists name actions' records, records name blobs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};

use super::by_digest::ByDigest;
use super::layout::{FORMAT, Layout, entries, files_below, length_of, name_of, names_in};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Outline};

/// What nearly every record has fewer bytes than.
const USUAL_BYTES: usize = 16 << 10;

/// Everything that stats and gc need to know, without the bytes.
#[derive(Default)]
pub(super) struct Survey {
    /// Whole records of a known format, by the digests that their keys are.
    pub(super) records: ByDigest<Surveyed>,
    /// Blobs by digest, with their lengths.
    pub(super) blobs: HashMap<Digest, u64>,
    /// Bytes of all files under `records/`, those included that are no whole record of a known format.
    pub(super) records_bytes: u64,
    /// Files set aside, with their lengths.
    pub(super) quarantined: Vec<(PathBuf, u64)>,
    /// Blobs that are outputs of reached records.
    pub(super) reached_blobs: HashSet<Digest>,
    /// Blobs that spared records, or those of which they are the list, have as outputs or inputs.
    pub(super) spared_blobs: HashSet<Digest>,
    /// For each blob, the place of the action's record that makes it in the least time a byte.
    pub(super) makers: HashMap<Digest, usize>,
    /// How many profiles of studies have a root.
    pub(super) roots: u64,
    /// Why more may be reached than is known: a root's file, and what is wrong.
    pub(super) doubts: Vec<(PathBuf, String)>,
}

/// What is known of one record. There are hundreds of thousands, so it has no room to spare.
pub(super) struct Surveyed {
    pub(super) kind: Arc<str>,
    pub(super) level: Level,
    /// How long it took to make, in seconds.
    pub(super) seconds: f64,
    /// Whether some root reaches it, or making a reached blob again needs it.
    pub(super) is_needed: bool,
    /// Its outputs that are blobs, with their lengths.
    pub(super) blobs: Box<[(Digest, u64)]>,
    /// Whether it lies beside one of another format.
    beside: bool,
    /// Bytes of its file, and of its list if it has one.
    bytes: u64,
    list_bytes: Option<u64>,
    list: Box<[Key]>,
    makers: Box<[Key]>,
    /// What it was made of.
    inputs: Box<[Digest]>,
    /// Its outputs that are not among its inputs, inline ones included: what it can make again.
    makes: Box<[Digest]>,
}

impl Surveyed {
    /// Seconds to make it again, for each byte of the blobs that this gives.
    pub(super) fn seconds_per_byte(&self) -> f64 {
        self.seconds / self.blobs.iter().map(|(_, bytes)| bytes).sum::<u64>().max(1) as f64
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.list_bytes.unwrap_or(0)
    }

    /// Its file and, for a stage, its list.
    pub(super) fn files(&self, key: &Key, layout: &Layout) -> Vec<PathBuf> {
        let file = if self.beside { layout.record_beside(key) } else { layout.record(key) };
        [file].into_iter().chain(self.list_bytes.map(|_| layout.list(key))).collect()
    }
}

impl Survey {
    /// Reads every record, list and root, and the names and lengths of the blobs. Beside what roots reach, these records count as reached.
    pub(super) fn of(store: &Store, spared: &BTreeSet<Key>) -> Result<Self, Error> {
        let folders = entries(&store.layout.records())?;
        let shelves: Vec<Shelf> =
            folders.par_iter().map(|folder| survey_shelf(store, folder)).collect::<Result<_, _>>()?;
        let records_bytes = shelves.iter().map(|shelf| shelf.bytes).sum();
        let mut records = Vec::with_capacity(shelves.iter().map(|shelf| shelf.records.len()).sum());
        for shelf in shelves {
            records.extend(shelf.records);
        }
        let mut survey =
            Self { records: ByDigest::of(records), blobs: blobs(store)?, records_bytes, ..Self::default() };
        survey.find_makers();
        survey.reach(store, spared)?;
        // Last, since what is found damaged on the way is set aside.
        survey.quarantined = entries(&store.layout.quarantine())?.into_iter().map(with_length).collect();
        Ok(survey)
    }

    fn actions(&self) -> impl Iterator<Item = (usize, &Surveyed)> {
        let records = self.records.iter().map(|(_, record)| record).enumerate();
        records.filter(|(_, record)| record.level == Level::Action)
    }

    fn find_makers(&mut self) {
        let mut makers: HashMap<Digest, usize> = HashMap::new();
        for (place, record) in self.actions() {
            let is_blob = |digest: &&Digest| record.blobs.iter().any(|(blob, _)| blob == *digest);
            for digest in record.makes.iter().filter(is_blob) {
                let best = makers.entry(*digest).or_insert(place);
                if record.seconds_per_byte() < self.records.at(*best).seconds_per_byte() {
                    *best = place;
                }
            }
        }
        self.makers = makers;
    }

    /// The places of records, and of those that they list.
    fn with_lists(&self, places: &[usize]) -> Vec<usize> {
        let lists = places.iter().flat_map(|place| &self.records.at(*place).list);
        let listed = lists.filter_map(|key| self.records.place(key.digest()));
        places.iter().copied().chain(listed).collect()
    }

    fn reach(&mut self, store: &Store, spared: &BTreeSet<Key>) -> Result<(), Error> {
        let mut is_reached = vec![false; self.records.len()];
        let mut first = Vec::new();
        for (path, root) in store.all_roots()?.0 {
            self.roots += 1;
            if root.partial {
                self.doubts.push((path.clone(), "it was damaged".to_owned()));
            }
            for (stage, key) in root.stages {
                let Some(place) = self.records.place(key.digest()) else {
                    self.doubts.push((path.clone(), format!("there is no whole record of its stage `{stage}`")));
                    continue;
                };
                first.push(place);
            }
        }
        let reached = self.with_lists(&first);
        let spared: Vec<usize> = spared.iter().filter_map(|key| self.records.place(key.digest())).collect();
        let spared = self.with_lists(&spared);
        for record in spared.iter().map(|place| self.records.at(*place)) {
            self.spared_blobs.extend(record.blobs.iter().map(|(digest, _)| digest).chain(&record.inputs));
        }
        reached.into_iter().chain(spared).for_each(|place| is_reached[place] = true);
        let mut ahead: Vec<usize> = (0..is_reached.len()).filter(|place| is_reached[*place]).collect();
        for place in &ahead {
            self.reached_blobs.extend(self.records.at(*place).blobs.iter().map(|(digest, _)| digest));
        }
        ahead.extend(self.reached_blobs.iter().filter_map(|digest| self.makers.get(digest)));
        // Of several makers of an input any may be the one that can still make it, so all of them are needed.
        let made = |(place, record): (usize, &Surveyed)| -> Vec<(Digest, usize)> {
            record.makes.iter().map(|digest| (*digest, place)).collect()
        };
        let makers = ByDigest::of(self.actions().flat_map(made).collect());
        let mut met = HashSet::new();
        while let Some(place) = ahead.pop() {
            if self.records.at(place).is_needed {
                continue;
            }
            self.records.at_mut(place).is_needed = true;
            let record = self.records.at(place);
            ahead.extend(record.makers.iter().filter_map(|key| self.records.place(key.digest())));
            for digest in record.inputs.iter().filter(|digest| met.insert(**digest)) {
                ahead.extend(makers.places(digest).map(|place| *makers.at(place)));
            }
        }
        Ok(())
    }
}

/// What lies in one folder of records.
#[derive(Default)]
struct Shelf {
    records: Vec<(Digest, Surveyed)>,
    /// Bytes of all its files.
    bytes: u64,
}

fn survey_shelf(store: &Store, folder: &Path) -> Result<Shelf, Error> {
    let mut shelf = Shelf::default();
    // What needs a second look, and what is no record.
    let (mut keys, mut others) = (BTreeSet::new(), Vec::new());
    let (mut kinds, mut buffer) = (BTreeSet::new(), vec![0; USUAL_BYTES]);
    let opened = File::open(folder).ok();
    for name in names_in(folder)? {
        let text = name.to_str().unwrap_or_default();
        let (stem, suffix) = text.split_once('.').unwrap_or((text, ""));
        let key = stem.parse::<Key>().ok().filter(|_| suffix.is_empty() || suffix == FORMAT);
        let path = folder.join(&name);
        let Some(key) = key else {
            others.push(path);
            continue;
        };
        let opened = opened.as_ref().filter(|_| suffix.is_empty());
        let length = opened.map_or(0, |folder| read_at_once(folder, text, &mut buffer));
        let outline = Outline::decode(&buffer[..length], &key).ok().map(|outline| (outline, length as u64));
        let Some((outline, length)) = outline else {
            keys.insert(key);
            others.push(path);
            continue;
        };
        match surveyed(store, &key, (&path, length), outline, &mut kinds)? {
            Some(record) => {
                shelf.records.push((*key.digest(), record));
                shelf.bytes += length;
            }
            None => others.push(path),
        }
    }
    for (key, _) in &shelf.records {
        keys.remove(&Key::new(*key));
    }
    for key in keys {
        // What is damaged is set aside on the way.
        let Some((path, record)) = store.locate(&key)? else { continue };
        let outline = Outline::decode(&record.encode(), &key).expect("invariant: a record has an outline");
        let length = length_of(&path).unwrap_or(0);
        shelf
            .records
            .extend(surveyed(store, &key, (&path, length), outline, &mut kinds)?.map(|record| (*key.digest(), record)));
    }
    shelf.bytes += others.iter().filter_map(|path| length_of(path)).sum::<u64>();
    Ok(shelf)
}

/// Reads a file of a folder in one call, as far as that goes; what is cut short then is no record, and is looked at again.
fn read_at_once(folder: &File, name: &str, buffer: &mut [u8]) -> usize {
    let file = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    file.and_then(|file| rustix::io::read(file, buffer)).unwrap_or(0)
}

fn surveyed(
    store: &Store,
    key: &Key,
    (path, bytes): (&Path, u64),
    outline: Outline,
    kinds: &mut BTreeSet<Arc<str>>,
) -> Result<Option<Surveyed>, Error> {
    let Outline { fingerprint, outputs, context, .. } = outline;
    let inputs = fingerprint.inputs;
    let level = fingerprint.level;
    let (mut list, mut list_bytes) = (Vec::new(), None);
    if level == Level::Stage {
        // Without its list nobody knows which actions it used: it is made again from what these left, and its list with it.
        let Some(whole) = store.whole_list(key, path)? else { return Ok(None) };
        list = whole;
        list_bytes = length_of(&store.layout.list(key));
    }
    let kind = kinds.get(fingerprint.kind.as_str()).cloned().unwrap_or_else(|| fingerprint.kind.as_str().into());
    kinds.insert(Arc::clone(&kind));
    let blobs = outputs.iter().filter(|output| output.inline.is_none());
    Ok(Some(Surveyed {
        blobs: blobs.map(|output| (output.digest, output.length)).collect(),
        kind,
        level,
        is_needed: false,
        seconds: context.seconds,
        beside: name_of(path).contains('.'),
        bytes,
        list_bytes,
        list: list.into(),
        makers: context.makers.into(),
        makes: outputs.iter().map(|output| output.digest).filter(|digest| !inputs.contains(digest)).collect(),
        inputs: inputs.into(),
    }))
}

fn blobs(store: &Store) -> Result<HashMap<Digest, u64>, Error> {
    let mut blobs = HashMap::new();
    for path in files_below(&store.layout.blobs())? {
        if let Ok(digest) = name_of(&path).parse() {
            blobs.insert(digest, length_of(&path).unwrap_or(0));
        }
    }
    Ok(blobs)
}

fn with_length(path: PathBuf) -> (PathBuf, u64) {
    let bytes = length_of(&path).unwrap_or(0);
    (path, bytes)
}
