//! What goes when the cache is to be smaller.
//!
//! # Policy
//!
//! 1. What was set aside as damaged goes first: it has been made again or can be.
//! 2. Then blobs that no root reaches, the cheapest to make again first: those that no record names, then by seconds a byte of the action that
//!    makes them, then those that no action's record makes. Their records stay, so that such a blob can be made again.
//! 3. Then records that no root reaches and that making a reached blob again does not need, again by seconds a byte.
//! 4. Reached blobs only when asked (`reached`), in the order of 2. Reached records never: they are small, and they are what makes a no-op run a
//!    no-op run and a dropped checkpoint one that can be had again.
//!
//! With a limit, it stops as soon as what is left fits; without one, everything of the classes asked for goes. Kinds named in `keep` lose nothing
//! in 2, 3 and 4. Records of unknown formats, those that diverged, roots and the memo are never touched.
//!
//! Where a root is damaged, or the record or the list of a stage that it names is damaged or gone, nothing goes at all: what is reached is not
//! known then.
//!
//! A plan holds for the cache as it was: make it with the same [`Alone`] that applies it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::survey::{Survey, Surveyed};
use super::{Alone, Error, Store};
use crate::key::{Digest, Key};

/// What gc is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Until blobs, records and quarantine together have at most this many bytes; without it, everything that may go goes.
    pub max_size_bytes: Option<u64>,
    /// Kinds of action or stage whose blobs and records stay.
    pub keep: BTreeSet<String>,
    /// Whether blobs that a root reaches may go too.
    pub reached: bool,
    /// Blobs that stay whatever is known of them.
    pub spared_blobs: BTreeSet<Digest>,
    /// Records that count as reached, and whose blobs stay: outputs and inputs.
    pub spared_records: BTreeSet<Key>,
}

/// What sort of file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcSort {
    /// A damaged file that was set aside.
    Quarantined,
    /// A blob that no root reaches.
    Blob,
    /// A record that no root reaches.
    Record,
    /// A blob that a root reaches.
    ReachedBlob,
}

/// One thing that goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GcItem {
    /// What sort it is of.
    pub sort: GcSort,
    /// Its files: one, and the list too for a stage's record.
    pub paths: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// The kind of action or stage that makes it, where one is known.
    pub kind: Option<String>,
    /// What making it again costs in seconds for each byte; infinite where no record says how.
    pub seconds_per_byte: f64,
}

/// What would go, in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GcPlan {
    /// What goes, first to last.
    pub items: Vec<GcItem>,
    /// Bytes before.
    pub before_bytes: u64,
    /// Bytes after.
    pub after_bytes: u64,
    /// Whether the limit is met; true without one.
    pub fits: bool,
    /// How many profiles of studies say what they reach; where none does, everything is unreached.
    pub roots: u64,
}

impl Store {
    /// What gc would remove. Nothing is changed, except that roots, lists and records found damaged are set aside.
    ///
    /// # Errors
    /// [`Error::ReachUnknown`] where a root, or the record or the list of a stage that it names, is damaged or gone; a disk that cannot be
    /// read.
    pub fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan, Error> {
        let survey = Survey::of(self, &options.spared_records)?;
        if let Some((root, why)) = survey.doubts.first().cloned() {
            return Err(Error::ReachUnknown { root, why });
        }
        let mut candidates = self.candidates(&survey, options);
        candidates.sort_by(|a, b| {
            let by_cost = a.seconds_per_byte.total_cmp(&b.seconds_per_byte);
            a.sort.cmp(&b.sort).then(by_cost).then_with(|| a.paths.cmp(&b.paths))
        });
        let quarantined: u64 = survey.quarantined.iter().map(|(_, bytes)| bytes).sum();
        let before_bytes = survey.blobs.values().sum::<u64>() + survey.records_bytes + quarantined;
        let limit = options.max_size_bytes;
        let mut after_bytes = before_bytes;
        let mut items = Vec::new();
        for item in candidates {
            if limit.is_some_and(|limit| after_bytes <= limit) {
                break;
            }
            after_bytes -= item.bytes;
            items.push(item);
        }
        let fits = limit.is_none_or(|limit| after_bytes <= limit);
        Ok(GcPlan { items, before_bytes, after_bytes, fits, roots: survey.roots })
    }

    fn candidates(&self, survey: &Survey, options: &GcOptions) -> Vec<GcItem> {
        let mut candidates: Vec<GcItem> = Vec::new();
        for (path, bytes) in &survey.quarantined {
            let (sort, paths) = (GcSort::Quarantined, vec![path.clone()]);
            candidates.push(GcItem { sort, paths, bytes: *bytes, kind: None, seconds_per_byte: 0.0 });
        }
        let kept = |record: &Surveyed| options.keep.contains(&*record.kind);
        let named_by = |kept: &dyn Fn(&Surveyed) -> bool| -> BTreeSet<Digest> {
            survey
                .records
                .iter()
                .filter(|(_, record)| kept(record))
                .flat_map(|(_, record)| record.blobs.iter().map(|(digest, _)| *digest))
                .collect()
        };
        let (kept_blobs, named_blobs) = (named_by(&kept), named_by(&|_| true));
        let spared = |digest: &Digest| options.spared_blobs.contains(digest) || survey.spared_blobs.contains(digest);
        let stays = |digest: &Digest| kept_blobs.contains(digest) || spared(digest);
        for (digest, bytes) in survey.blobs.iter().filter(|(digest, _)| !stays(digest)) {
            let reached = survey.reached_blobs.contains(digest);
            if reached && !options.reached {
                continue;
            }
            let maker = survey.makers.get(digest).map(|maker| survey.records.at(*maker));
            let unmade = if named_blobs.contains(digest) { f64::INFINITY } else { 0.0 };
            candidates.push(GcItem {
                sort: if reached { GcSort::ReachedBlob } else { GcSort::Blob },
                paths: vec![self.layout.blob(digest)],
                bytes: *bytes,
                kind: maker.map(|maker| maker.kind.to_string()),
                seconds_per_byte: maker.map_or(unmade, Surveyed::seconds_per_byte),
            });
        }
        let unneeded = |(_, record): &(&Digest, &Surveyed)| !record.is_needed && !kept(record);
        candidates.extend(survey.records.iter().filter(unneeded).map(|(key, record)| GcItem {
            sort: GcSort::Record,
            paths: record.files(&Key::new(*key), &self.layout),
            bytes: record.bytes(),
            kind: Some(record.kind.to_string()),
            seconds_per_byte: record.seconds / record.bytes().max(1) as f64,
        }));
        candidates
    }
}

impl Alone {
    /// Removes what `plan` names, in its order, and says how many bytes that freed. What is gone already is passed over.
    ///
    /// # Errors
    /// A failing disk; what was removed by then stays removed, and the cache is as whole as before.
    pub fn apply(&self, plan: &GcPlan) -> Result<u64, Error> {
        let mut freed_bytes = 0;
        for item in &plan.items {
            for path in &item.paths {
                match self.disk.remove(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(Error::at("remove", path))?,
                }
            }
            freed_bytes += item.bytes;
        }
        Ok(freed_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Place, blob, commit, flip, record_of, stage_of};
    use super::super::{RealDisk, Root};
    use super::*;
    use crate::event::Silent;
    use crate::key::Record;

    fn alone(place: &Place) -> Alone {
        Store::open_alone(place.path(), Arc::new(RealDisk), Arc::new(Silent), &|| true, &|| ()).unwrap()
    }

    fn kept(store: &Store, seed: u8, seconds: f64) -> Record {
        let (bytes, _) = blob(seed);
        store.put(&bytes).unwrap();
        let mut record = record_of(u64::from(seed), &[("theta", &bytes)]);
        record.context.seconds = seconds;
        commit(store, &record);
        record
    }

    /// Five actions of which a stage reaches number 4, which was made from the unreached number 3, and blob 9, which no record names.
    fn cache(place: &Place) -> (Alone, Vec<Record>) {
        let store = alone(place);
        let mut records: Vec<Record> = [5.0, 1.0, 3.0, 2.0].iter().zip(0..).map(|(s, i)| kept(&store, i, *s)).collect();
        let (bytes, _) = blob(4);
        store.put(&bytes).unwrap();
        let mut last = record_of(4, &[("theta", &bytes)]);
        last.context.makers.insert("theta".into(), records[3].key);
        commit(&store, &last);
        let stage = stage_of(1, &[("theta", &bytes)]);
        store.write_list(&stage.key, &[last.key]).unwrap();
        commit(&store, &stage);
        records.extend([last, stage]);
        store
            .write_root(
                "fig3",
                "small",
                &Root { stages: [("train".to_owned(), records[5].key)].into(), partial: false },
            )
            .unwrap();
        store.put(&blob(9).0).unwrap();
        (store, records)
    }

    fn seeds(store: &Store, plan: &GcPlan, sort: GcSort) -> Vec<u8> {
        let path = |item: &GcItem| (item.sort == sort).then(|| item.paths[0].clone());
        let seed = |path| {
            (0..10).find(|seed| {
                path == store.layout.blob(&blob(*seed).1.digest)
                    || path == store.layout.record(&record_of(u64::from(*seed), &[]).key)
            })
        };
        plan.items.iter().filter_map(path).map(|path| seed(path).expect("a path of the example")).collect()
    }

    #[test]
    fn what_is_cheap_to_make_again_goes_first_and_it_stops_when_it_fits() {
        let place = Place::new();
        let (store, _) = cache(&place);
        let before = store.plan_gc(&GcOptions::default()).unwrap().before_bytes;
        for (surplus, expected) in [(0, &[][..]), (1, &[9]), (2009, &[9]), (2010, &[9, 1]), (5000, &[9, 1, 3])] {
            let options = GcOptions { max_size_bytes: Some(before - surplus), ..GcOptions::default() };
            let plan = store.plan_gc(&options).unwrap();
            assert_eq!(seeds(&store, &plan, GcSort::Blob), expected, "{surplus}");
            assert!(plan.fits && plan.items.len() == expected.len());
        }
    }

    #[test]
    fn nothing_reached_goes_without_being_asked_nor_what_making_it_again_needs() {
        let place = Place::new();
        let (store, records) = cache(&place);
        let plan = store.plan_gc(&GcOptions { max_size_bytes: Some(0), ..GcOptions::default() }).unwrap();
        assert!(!plan.fits);
        assert_eq!(seeds(&store, &plan, GcSort::Blob), [9, 1, 3, 2, 0]);
        assert_eq!(seeds(&store, &plan, GcSort::Record), [1, 2, 0]);
        assert_eq!(store.apply(&plan).unwrap(), plan.before_bytes - plan.after_bytes);
        let left = |seed: u8| store.contains(&blob(seed).1);
        assert_eq!((0..10).filter(|seed| left(*seed)).collect::<Vec<_>>(), [4]);
        let there: Vec<bool> = records.iter().map(|record| store.record(&record.key).unwrap().is_some()).collect();
        assert_eq!(there, [false, false, false, true, true, true]);
        assert_eq!(store.plan_gc(&GcOptions::default()).unwrap().before_bytes, plan.after_bytes);
    }

    #[test]
    fn reached_blobs_go_when_asked_and_their_records_stay() {
        let place = Place::new();
        let (store, records) = cache(&place);
        let plan = store.plan_gc(&GcOptions { reached: true, ..GcOptions::default() }).unwrap();
        assert_eq!(seeds(&store, &plan, GcSort::ReachedBlob), [4]);
        assert_eq!(plan.items.last().map(|item| item.sort), Some(GcSort::ReachedBlob));
        store.apply(&plan).unwrap();
        assert!(!store.contains(&blob(4).1));
        assert_eq!(store.record(&records[4].key).unwrap().as_ref(), Some(&records[4]));
        assert_eq!(store.makers_of(&blob(4).1.digest).unwrap(), [records[4].clone()]);
    }

    #[test]
    fn kinds_that_are_kept_lose_nothing() {
        let place = Place::new();
        let (store, _) = cache(&place);
        let keep = ["epoch".to_owned()].into();
        let options = GcOptions { keep, reached: true, ..GcOptions::default() };
        let plan = store.plan_gc(&options).unwrap();
        assert_eq!((plan.items.len(), seeds(&store, &plan, GcSort::Blob)), (1, vec![9]));
    }

    #[test]
    fn what_was_set_aside_goes_first() {
        let place = Place::new();
        let (store, _) = cache(&place);
        flip(&store.layout.blob(&blob(2).1.digest), 1000);
        assert_eq!(store.read(&blob(2).1).unwrap(), None);
        let plan = store.plan_gc(&GcOptions::default()).unwrap();
        assert_eq!((plan.items[0].sort, plan.items[0].bytes), (GcSort::Quarantined, 2002));
        assert_eq!(seeds(&store, &plan, GcSort::Blob), [9, 1, 3, 0]);
    }
}
