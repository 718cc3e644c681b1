//! The disk fails, or the process ends, at every operation in turn; what is there afterwards is whole. And the order of the syncs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::testing::{Place, blob, record_of, stage_of};
use super::{Disk, Error, Finished, Lookup, RealDisk, Root, Store};
use crate::event::Silent;
use crate::key::Record;

/// What happened to the disk, and what is to happen to it.
#[derive(Default)]
struct Faulty {
    log: Mutex<Vec<String>>,
    /// The operation that fails, counted from 0; from there on every other too where `dies`.
    fails_at: Option<usize>,
    dies: bool,
    /// With what it fails.
    how: Option<Errno>,
}

impl Faulty {
    fn before(&self, operation: &str, path: Option<&Path>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        let at = log.len();
        let name = path.and_then(|path| path.parent()?.parent()?.file_name()?.to_str());
        log.push(format!("{operation} {}", name.unwrap_or_default()).trim_end().to_owned());
        match self.fails_at {
            Some(n) if at == n || (self.dies && at > n) => Err(self.how.unwrap_or(Errno::NOSPC).into()),
            _ => Ok(()),
        }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Disk for Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.before("folder", None)?;
        RealDisk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.before("create", None)?;
        RealDisk.create(path)
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.before("open", None)?;
        RealDisk.open_lock(path)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let result = self.before("write", None);
        RealDisk.write(file, if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] })?;
        result
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let result = self.before("copy", None);
        RealDisk.copy(from, to)?;
        if result.is_err() {
            File::options().write(true).open(to)?.set_len(7)?;
        }
        result
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.before(if file.metadata()?.is_dir() { "sync folder" } else { "sync" }, None)
    }

    fn sync_file_system(&self, _: &File) -> io::Result<()> {
        self.before("sync everything", None)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("link to", Some(to))?;
        RealDisk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("rename to", Some(to))?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.before("remove", None)?;
        RealDisk.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.before("remove folder", None)?;
        RealDisk.remove_folder(path)
    }
}

fn outputs() -> Vec<(String, Vec<u8>)> {
    vec![("theta".into(), blob(1).0), ("momentum".into(), blob(2).0), ("loss".into(), b"0.5".to_vec())]
}

fn records() -> [Record; 3] {
    let all = outputs();
    let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    [record_of(1, &all), record_of(2, &[("data", &blob(3).0)]), stage_of(1, &all[..1])]
}

/// A run in small: an action with several outputs, one whose output is a file, a stage, its list and root, a result.
fn scenario(place: &Path, disk: Arc<Faulty>) -> Result<(), Error> {
    let store = Store::open(&place.join("cache"), disk, Arc::new(Silent))?;
    let [action, command, stage] = records();
    if let Lookup::Miss(reservation) = store.reserve(&action.key, &|| false, &|| ())? {
        reservation.commit_with(&outputs(), |outputs| Record { outputs, ..action.clone() })?;
    }
    if let Lookup::Miss(reservation) = store.reserve(&command.key, &|| false, &|| ())? {
        assert_eq!(store.put_file(&place.join("input"))?, command.outputs["data"]);
        reservation.commit(command.clone())?;
    }
    if let Lookup::Miss(reservation) = store.reserve(&stage.key, &|| false, &|| ())? {
        store.write_list(&stage.key, &[action.key])?;
        reservation.commit(stage.clone())?;
    }
    store.write_root("fig3", "small", &Root { stages: [("train".to_owned(), stage.key)].into(), partial: false })?;
    let _held = store.lock_study("fig3", &|| false, &|| ())?;
    store.copy_to(&action.outputs["theta"], &place.join("results/theta"))?;
    Ok(())
}

fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path().join("input"), blob(3).0).unwrap();
    place
}

/// Everything that a name stands for is whole, and a record's blobs, being written before it, are there.
fn assert_whole(place: &Place, context: &str) {
    let cache = place.path().join("cache");
    let store = Store::open(&cache, Arc::new(RealDisk), Arc::new(Silent)).unwrap();
    let verified = store.verify(&|| false, &|_| ()).unwrap();
    assert_eq!(verified.damaged, [], "{context}");
    for record in records() {
        if let Some(found) = store.record(&record.key).unwrap() {
            assert_eq!(found, record, "{context}");
            assert!(found.outputs.values().all(|output| store.read(output).unwrap().is_some()), "{context}");
        }
    }
    assert_eq!(std::fs::read_dir(cache.join("tmp")).unwrap().count(), 1, "{context}");
    let result = std::fs::read(place.path().join("results/theta"));
    assert!(result.is_err() || result.unwrap() == blob(1).0, "{context}");
}

#[test]
fn a_disk_that_fails_or_dies_at_any_operation_leaves_what_is_there_whole() {
    let whole = Arc::new(Faulty::default());
    scenario(place().path(), whole.clone()).unwrap();
    let operations = whole.log();
    assert!(operations.len() > 40, "{operations:?}");
    let hows = [
        (false, Errno::NOSPC, "no space left on device"),
        (true, Errno::NOSPC, "no space left on device"),
        (false, Errno::DQUOT, "disk quota exceeded"),
        (true, Errno::IO, "input/output error"),
    ];
    for (n, operation) in operations.iter().enumerate() {
        for (dies, how, words) in hows {
            let context = format!("operation {n}: {operation}, {words}, dies: {dies}");
            let place = place();
            let disk = Arc::new(Faulty { fails_at: Some(n), dies, how: Some(how), ..Faulty::default() });
            match scenario(place.path(), disk) {
                Ok(()) => assert!(operation.starts_with("remove"), "{context}: it failed and was not told"),
                Err(error) => {
                    let text = error.to_string();
                    let named = text.starts_with("failed to ") && text.contains(&place.path().display().to_string());
                    assert!(named && text.ends_with(&format!(": {words}")), "{context}: {text}");
                }
            }
            assert_whole(&place, &context);
            scenario(place.path(), Arc::new(Faulty::default())).unwrap();
            assert_whole(&place, &context);
        }
    }
}

/// The operations between opening a store and dropping it that concern order, without those on locks.
fn order(work: impl FnOnce(&Store)) -> Vec<String> {
    let place = Place::new();
    let disk = Arc::new(Faulty::default());
    let store = Store::open(place.path(), disk.clone(), Arc::new(Silent)).unwrap();
    let begun = disk.log().len();
    work(&store);
    let ended = disk.log().len();
    let mut log = disk.log();
    log.truncate(ended);
    log.drain(..begun);
    log.retain(|line| ["write", "sync", "rename", "link to records"].iter().any(|word| line.starts_with(word)));
    log
}

fn commit(store: &Store, outputs: &[(String, Vec<u8>)]) {
    let record = record_of(1, &[]);
    let Lookup::Miss(reservation) = store.reserve(&record.key, &|| false, &|| ()).unwrap() else { panic!("a hit") };
    reservation.commit_with(outputs, |outputs| Record { outputs, ..record.clone() }).unwrap();
}

#[test]
fn a_record_is_written_after_its_blob_with_two_syncs() {
    let expected = ["write", "write", "sync everything", "rename to blobs", "link to records", "sync everything"];
    assert_eq!(order(|store| commit(store, &outputs()[..1])), expected);
}

#[test]
fn a_record_is_written_after_its_blobs_with_two_syncs_however_many() {
    let mut many: BTreeMap<String, Vec<u8>> = outputs().into_iter().collect();
    many.insert("loss again".into(), blob(3).0);
    let expected = [
        ["write", "write", "write", "write", "sync everything"],
        ["rename to blobs", "rename to blobs", "rename to blobs", "link to records", "sync everything"],
    ];
    assert_eq!(order(|store| commit(store, &many.into_iter().collect::<Vec<_>>())), expected.as_flattened());
}

#[test]
fn inline_outputs_cost_the_records_two_syncs_only() {
    // Its folder is new, and has its own name synced too.
    let expected = ["write", "sync", "link to records", "sync folder", "sync folder"];
    assert_eq!(order(|store| commit(store, &outputs()[2..])), expected);
}

#[test]
fn a_group_of_records_is_written_with_two_syncs() {
    let records = [record_of(1, &[("loss", b"0.5")]), record_of(2, &[("loss", b"0.25")])];
    let log = order(|store| {
        let mut group = Vec::new();
        for record in &records {
            let Lookup::Miss(held) = store.reserve(&record.key, &|| false, &|| ()).unwrap() else { panic!("a hit") };
            group.push(Finished { reservation: held, outputs: &[], make: |_| record.clone() });
        }
        assert_eq!(store.commit_all(group).unwrap(), records);
    });
    let expected = ["write", "write", "sync everything", "link to records", "link to records", "sync everything"];
    assert_eq!(log, expected);
}

#[test]
fn what_a_stage_leaves_is_synced_once_before_the_root_that_names_it() {
    let stage = stage_of(1, &[]);
    let log = order(|store| {
        store.write_list(&stage.key, &[]).unwrap();
        let Lookup::Miss(held) = store.reserve(&stage.key, &|| false, &|| ()).unwrap() else { panic!("a hit") };
        held.commit(stage.clone()).unwrap();
        for name in ["train", "plot"] {
            let insert = |root: &mut Root| root.stages.extend([(name.to_owned(), stage.key)]);
            store.update_root("fig3", "small", insert).unwrap();
        }
    });
    let stage = ["write", "rename to records", "write", "rename to records", "sync everything"];
    let root = ["write", "sync", "rename to roots", "sync folder"];
    assert_eq!(log, [&stage[..], &root, &["sync folder"], &root].concat());
}
