//! What is in the cache and what of it is reached: roots name stage records, their lists name actions' records, records name blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::layout::{entries, files_below, length_of, name_of};
use super::{Error, Store};
use crate::key::{Digest, Key, Level};

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
    pub(super) kind: String,
    pub(super) level: Level,
    /// How long it took to make, in seconds.
    pub(super) seconds: f64,
    /// Its outputs that are blobs, with their lengths.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// Its file and, for a stage, its list.
    pub(super) files: Vec<(PathBuf, u64)>,
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
        self.files.iter().map(|(_, bytes)| bytes).sum()
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
        for key in store.keys()? {
            if let Some(surveyed) = survey_record(store, &key)? {
                survey.records.insert(key, surveyed);
            }
        }
        survey.records_bytes = files_below(&store.layout.records())?.into_iter().map(|path| with_length(path).1).sum();
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

fn survey_record(store: &Store, key: &Key) -> Result<Option<Surveyed>, Error> {
    let Some((path, record)) = store.locate(key)? else { return Ok(None) };
    let blobs = record.outputs.values().filter(|output| output.inline.is_none());
    let inputs: Vec<Digest> = record.fingerprint.inputs.values().copied().collect();
    let level = record.fingerprint.level;
    let mut files = vec![with_length(path)];
    let mut list = Vec::new();
    if level == Level::Stage {
        // Without its list nobody knows which actions it used: it is made again from what these left, and its list with it.
        let Some(whole) = store.whole_list(key, &files[0].0)? else { return Ok(None) };
        list = whole;
        files.extend(length_of(&store.layout.list(key)).map(|bytes| (store.layout.list(key), bytes)));
    }
    Ok(Some(Surveyed {
        blobs: blobs.map(|output| (output.digest, output.length)).collect(),
        kind: record.fingerprint.kind,
        level,
        seconds: record.context.seconds,
        files,
        list,
        makers: record.context.makers.into_values().collect(),
        makes: record.outputs.values().map(|output| output.digest).filter(|digest| !inputs.contains(digest)).collect(),
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
