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
            for digest in record.blobs.keys() {
                let best = self.makers.entry(*digest).or_insert(*key);
                if record.seconds_per_byte() < self.records[best].seconds_per_byte() {
                    *best = *key;
                }
            }
        }
    }

    fn reach(&mut self, store: &Store) -> Result<(), Error> {
        for key in store.all_roots()?.into_iter().flat_map(|root| root.stages.into_values()) {
            self.reached_records.insert(key);
            self.reached_records.extend(self.records.get(&key).iter().flat_map(|record| &record.list));
        }
        for record in self.reached_records.iter().filter_map(|key| self.records.get(key)) {
            self.reached_blobs.extend(record.blobs.keys());
        }
        let mut ahead: Vec<Key> = self.reached_records.iter().copied().collect();
        ahead.extend(self.reached_blobs.iter().filter_map(|digest| self.makers.get(digest)));
        while let Some(key) = ahead.pop() {
            if self.needed_records.insert(key) {
                ahead.extend(self.records.get(&key).iter().flat_map(|record| &record.makers));
            }
        }
        Ok(())
    }
}

fn survey_record(store: &Store, key: &Key) -> Result<Option<Surveyed>, Error> {
    let Some((path, record)) = store.locate(key)? else { return Ok(None) };
    let blobs = record.outputs.values().filter(|output| output.inline.is_none());
    let level = record.fingerprint.level;
    let mut files = vec![with_length(path)];
    let mut list = Vec::new();
    if level == Level::Stage {
        list = store.read_list(key)?.unwrap_or_default();
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
