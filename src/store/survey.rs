//! What is in the cache and what of it is reached: roots name stage records, their lists name actions' records, records name blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::layout::{FORMAT, Layout, entries, files_below, files_in, length_of, name_of};
use super::{Error, Store};
use crate::key::{Digest, Key, Level, Outline};

/// What nearly every record has fewer bytes than.
const USUAL_BYTES: usize = 16 << 10;

/// Everything that stats and gc need to know, without the bytes.
pub(super) struct Survey {
    /// Whole records of a known format.
    pub(super) records: BTreeMap<Key, Surveyed>,
    /// Blobs by digest, with their lengths.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// Bytes of all files under `records/`, those included that are no whole record of a known format.
    pub(super) records_bytes: u64,
    /// Files set aside, with their lengths.
    pub(super) quarantined: Vec<(PathBuf, u64)>,
    /// Records that some root reaches.
    pub(super) reached_records: BTreeSet<Key>,
    /// Records that some root reaches or that are needed to make a reached blob again.
    pub(super) needed_records: BTreeSet<Key>,
    /// Blobs that are outputs of reached records.
    pub(super) reached_blobs: BTreeSet<Digest>,
    /// For each blob, the action that makes it in the least time a byte.
    pub(super) makers: BTreeMap<Digest, Key>,
    /// How many profiles of studies have a root.
    pub(super) roots: u64,
    /// Why more may be reached than is known: a root's file, and what is wrong.
    pub(super) doubts: Vec<(PathBuf, String)>,
}

/// What is known of one record.
pub(super) struct Surveyed {
    pub(super) kind: Arc<str>,
    pub(super) level: Level,
    /// How long it took to make, in seconds.
    pub(super) seconds: f64,
    /// Its outputs that are blobs, with their lengths.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// Whether it lies beside one of another format.
    beside: bool,
    /// Bytes of its file, and of its list if it has one.
    bytes: u64,
    list_bytes: Option<u64>,
    list: Vec<Key>,
    makers: Vec<Key>,
    /// What it was made of.
    inputs: Vec<Digest>,
    /// Its outputs that are not among its inputs, inline ones included: what it can make again.
    makes: Vec<Digest>,
}

impl Surveyed {
    /// Seconds to make it again, for each byte of the blobs that this gives.
    pub(super) fn seconds_per_byte(&self) -> f64 {
        self.seconds / self.blobs.values().sum::<u64>().max(1) as f64
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
    /// Reads every record, list and root, and the names and lengths of the blobs.
    pub(super) fn of(store: &Store) -> Result<Self, Error> {
        let mut survey = Self {
            records: BTreeMap::new(),
            blobs: blobs(store)?,
            records_bytes: 0,
            quarantined: Vec::new(),
            reached_records: BTreeSet::new(),
            needed_records: BTreeSet::new(),
            reached_blobs: BTreeSet::new(),
            makers: BTreeMap::new(),
            roots: 0,
            doubts: Vec::new(),
        };
        let folders = entries(&store.layout.records())?;
        let shelves: Vec<Shelf> =
            folders.par_iter().map(|folder| survey_shelf(store, folder)).collect::<Result<_, _>>()?;
        for shelf in shelves {
            survey.records.extend(shelf.records);
            survey.records_bytes += shelf.bytes;
        }
        survey.find_makers();
        survey.reach(store)?;
        // Last, since what is found damaged on the way is set aside.
        survey.quarantined = entries(&store.layout.quarantine())?.into_iter().map(with_length).collect();
        Ok(survey)
    }

    fn find_makers(&mut self) {
        for (key, record) in self.records.iter().filter(|(_, record)| record.level == Level::Action) {
            for digest in record.makes.iter().filter(|digest| record.blobs.contains_key(digest)) {
                let best = self.makers.entry(*digest).or_insert(*key);
                if record.seconds_per_byte() < self.records[best].seconds_per_byte() {
                    *best = *key;
                }
            }
        }
    }

    fn reach(&mut self, store: &Store) -> Result<(), Error> {
        for (path, root) in store.all_roots()?.0 {
            self.roots += 1;
            if root.partial {
                self.doubts.push((path.clone(), "it was damaged".to_owned()));
            }
            for (stage, key) in root.stages {
                self.reached_records.insert(key);
                match self.records.get(&key) {
                    Some(record) => self.reached_records.extend(&record.list),
                    None => {
                        self.doubts.push((path.clone(), format!("there is no whole record of its stage `{stage}`")));
                    }
                }
            }
        }
        for record in self.reached_records.iter().filter_map(|key| self.records.get(key)) {
            self.reached_blobs.extend(record.blobs.keys());
        }
        let mut ahead: Vec<Key> = self.reached_records.iter().copied().collect();
        ahead.extend(self.reached_blobs.iter().filter_map(|digest| self.makers.get(digest)));
        // Of several makers of an input any may be the one that can still make it, so all of them are needed.
        let mut makers: BTreeMap<Digest, Vec<Key>> = BTreeMap::new();
        for (key, record) in self.records.iter().filter(|(_, record)| record.level == Level::Action) {
            record.makes.iter().for_each(|digest| makers.entry(*digest).or_default().push(*key));
        }
        while let Some(key) = ahead.pop() {
            if self.needed_records.insert(key)
                && let Some(record) = self.records.get(&key)
            {
                ahead.extend(&record.makers);
                ahead.extend(record.inputs.iter().filter_map(|digest| makers.get(digest)).flatten());
            }
        }
        Ok(())
    }
}

/// What lies in one folder of records.
#[derive(Default)]
struct Shelf {
    records: Vec<(Key, Surveyed)>,
    /// Bytes of all its files.
    bytes: u64,
}

fn survey_shelf(store: &Store, folder: &Path) -> Result<Shelf, Error> {
    let mut shelf = Shelf::default();
    // What needs a second look, and what is no record.
    let (mut keys, mut others) = (BTreeSet::new(), Vec::new());
    let (mut kinds, mut buffer) = (BTreeSet::new(), vec![0; USUAL_BYTES]);
    for path in files_in(folder)? {
        let (stem, suffix) = name_of(&path).split_once('.').unwrap_or((name_of(&path), ""));
        let key = stem.parse::<Key>().ok().filter(|_| suffix.is_empty() || suffix == FORMAT);
        let Some(key) = key else {
            others.push(path);
            continue;
        };
        let length = if suffix.is_empty() { read_at_once(&path, &mut buffer) } else { 0 };
        let outline = Outline::decode(&buffer[..length], &key).ok().map(|outline| (outline, length as u64));
        let Some((outline, length)) = outline else {
            keys.insert(key);
            others.push(path);
            continue;
        };
        match surveyed(store, &key, (&path, length), outline, &mut kinds)? {
            Some(record) => {
                shelf.records.push((key, record));
                shelf.bytes += length;
            }
            None => others.push(path),
        }
    }
    for (key, _) in &shelf.records {
        keys.remove(key);
    }
    for key in keys {
        // What is damaged is set aside on the way.
        let Some((path, record)) = store.locate(&key)? else { continue };
        let outline = Outline::decode(&record.encode(), &key).expect("invariant: a record has an outline");
        let length = length_of(&path).unwrap_or(0);
        shelf.records.extend(surveyed(store, &key, (&path, length), outline, &mut kinds)?.map(|record| (key, record)));
    }
    shelf.bytes += others.iter().filter_map(|path| length_of(path)).sum::<u64>();
    Ok(shelf)
}

/// Reads a file in one call, as far as that goes; what is cut short then is no record, and is looked at again.
fn read_at_once(path: &Path, buffer: &mut [u8]) -> usize {
    File::open(path).and_then(|mut file| file.read(buffer)).unwrap_or(0)
}

fn surveyed(
    store: &Store,
    key: &Key,
    (path, bytes): (&Path, u64),
    outline: Outline,
    kinds: &mut BTreeSet<Arc<str>>,
) -> Result<Option<Surveyed>, Error> {
    let Outline { fingerprint, outputs, context, .. } = outline;
    let inputs: Vec<Digest> = fingerprint.inputs.into_values().collect();
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
    let blobs = outputs.values().filter(|output| output.inline.is_none());
    Ok(Some(Surveyed {
        blobs: blobs.map(|output| (output.digest, output.length)).collect(),
        kind,
        level,
        seconds: context.seconds,
        beside: name_of(path).contains('.'),
        bytes,
        list_bytes,
        list,
        makers: context.makers.into_values().collect(),
        makes: outputs.values().map(|output| output.digest).filter(|digest| !inputs.contains(digest)).collect(),
        inputs,
    }))
}

fn blobs(store: &Store) -> Result<BTreeMap<Digest, u64>, Error> {
    let mut blobs = BTreeMap::new();
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
