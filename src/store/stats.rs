//! How much the cache holds, by kind, and how much of it is reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::survey::Survey;
use super::{Error, Store};
use crate::key::Level;

/// How many files and how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What one kind of action or stage has in the cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KindStats {
    /// Its records, with their lists.
    pub records: Count,
    /// The blobs that are there and that its actions make; each blob counts for one kind.
    pub blobs: Count,
    /// How long its records took to make, in seconds.
    pub seconds: f64,
}

/// What the cache holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// All records; the bytes include lists and files of unknown formats.
    pub records: Count,
    /// All blobs.
    pub blobs: Count,
    /// By kind of action.
    pub actions: BTreeMap<String, KindStats>,
    /// By kind of stage.
    pub stages: BTreeMap<String, KindStats>,
    /// Blobs that a root reaches.
    pub reached: Count,
    /// Blobs that no root reaches.
    pub unreached: Count,
    /// Records that no root reaches, and that making a reached blob again needs not either.
    pub unreached_records: Count,
    /// Damaged files that were set aside.
    pub quarantine: Count,
}

impl Store {
    /// What the cache holds. It reads every record and no blob.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let survey = Survey::of(self, &BTreeSet::new())?;
        let mut stats = Stats::default();
        for (_, record) in survey.records.iter() {
            let kinds = if record.level == Level::Action { &mut stats.actions } else { &mut stats.stages };
            if !kinds.contains_key(&*record.kind) {
                kinds.insert(record.kind.to_string(), KindStats::default());
            }
            let Some(kind) = kinds.get_mut(&*record.kind) else { continue };
            kind.records.add(record.bytes());
            kind.seconds += record.seconds;
            if !record.is_needed {
                stats.unreached_records.add(record.bytes());
            }
        }
        stats.records = Count { files: survey.records.len() as u64, bytes: survey.records_bytes };
        for (digest, bytes) in &survey.blobs {
            stats.blobs.add(*bytes);
            let reached = survey.reached_blobs.contains(digest);
            if reached { &mut stats.reached } else { &mut stats.unreached }.add(*bytes);
            if let Some(maker) = survey.makers.get(digest) {
                stats.actions.entry(survey.records.at(*maker).kind.to_string()).or_default().blobs.add(*bytes);
            }
        }
        survey.quarantined.iter().for_each(|(_, bytes)| stats.quarantine.add(*bytes));
        Ok(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::super::testing::{Place, blob, commit, flip, open, record_of, stage_of};
    use super::*;

    #[test]
    fn what_is_there_is_counted_by_kind_and_by_reach() {
        let place = Place::new();
        let store = open(&place);
        let blobs = [1, 2, 3].map(|seed| blob(seed).0);
        for bytes in &blobs {
            store.put(bytes).unwrap();
        }
        let actions = [record_of(1, &[("theta", &blobs[0])]), record_of(2, &[("theta", &blobs[1]), ("loss", b"0.5")])];
        let stage = stage_of(1, &[("theta", &blobs[0])]);
        actions.iter().chain([&stage]).for_each(|record| commit(&store, record));
        store.write_list(&stage.key, &[actions[0].key]).unwrap();
        let root = Root { stages: [("train".to_owned(), stage.key)].into(), partial: false };
        store.write_root("fig3", "small", &root).unwrap();

        let stats = store.stats().unwrap();
        assert_eq!(stats.records.files, 3);
        assert_eq!(stats.blobs, Count { files: 3, bytes: 2001 + 2002 + 2003 });
        assert_eq!(stats.reached, Count { files: 1, bytes: 2001 });
        assert_eq!(stats.unreached, Count { files: 2, bytes: 2002 + 2003 });
        assert_eq!(stats.unreached_records, Count { files: 1, bytes: actions[1].encode().len() as u64 });
        let epoch = &stats.actions["epoch"];
        assert_eq!((epoch.records.files, epoch.blobs.files, epoch.seconds), (2, 2, 2.0));
        assert_eq!(stats.stages["train"].blobs, Count::default());
        assert_eq!(stats.quarantine, Count::default());

        flip(&store.layout.record(&actions[1].key), 200);
        let stats = store.stats().unwrap();
        assert_eq!((stats.records.files, stats.quarantine.files), (2, 1));
    }
}
