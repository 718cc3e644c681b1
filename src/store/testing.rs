//! What the tests of this room share.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Disk, Lookup, Store};
use crate::event::{Event, Silent, Sink};
use crate::key::{Arithmetic, Context, Fingerprint, Output, Record};

/// An empty folder that goes with the test.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The disk as it is, but for the syncs, which no test of one machine's uptime can tell from nothing and which take most of the time.
struct Unsynced;

impl Disk for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_file_system(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn open(place: &Place) -> Store {
    Store::open(place.path(), Arc::new(Unsynced), Arc::new(Silent)).unwrap()
}

pub(super) fn open_listening(place: &Place) -> (Store, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    (Store::open(place.path(), Arc::new(Unsynced), heard.clone()).unwrap(), heard)
}

/// Keeps the events it is told.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<Event>>);

impl Heard {
    /// The paths that were set aside, in order.
    pub(super) fn quarantined(&self) -> Vec<PathBuf> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|e| if let Event::Quarantined { path, .. } = e { Some(path.clone()) } else { None })
            .collect()
    }
}

impl Heard {
    /// The warnings, in order.
    pub(super) fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let warnings =
            events.iter().filter_map(|e| if let Event::Warning { message, .. } = e { Some(message) } else { None });
        warnings.cloned().collect()
    }
}

impl Sink for Heard {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Bytes that are no text, apart for each seed, and their output.
pub(super) fn blob(seed: u8) -> (Vec<u8>, Output) {
    let bytes = vec![0x80 + seed; 2000 + usize::from(seed)];
    let output = Output::of(&bytes);
    (bytes, output)
}

fn record(fingerprint: Fingerprint, outputs: &[(&str, &[u8])]) -> Record {
    let outputs = outputs.iter().map(|(name, bytes)| ((*name).to_owned(), Output::of(bytes))).collect();
    let arithmetic = Arithmetic { backend: "cpu".into(), features: "avx2".into() };
    let context = Context {
        seconds: 1.0,
        machine: "m".into(),
        program: "0".into(),
        arithmetic,
        makers: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    Record::new(fingerprint, outputs, context)
}

/// The record of an action `epoch`, one for each seed.
pub(super) fn record_of(seed: u64, outputs: &[(&str, &[u8])]) -> Record {
    record(Fingerprint::action("epoch", 1).position("epoch", seed), outputs)
}

/// The record of a stage `train`, one for each seed.
pub(super) fn stage_of(seed: u64, outputs: &[(&str, &[u8])]) -> Record {
    record(Fingerprint::stage("train", 1).position("seed", seed), outputs)
}

/// Commits a record that is not there.
pub(super) fn commit(store: &Store, record: &Record) {
    match store.reserve(&record.key, &|| false, &|| ()).unwrap() {
        Lookup::Miss(reservation) => reservation.commit(record.clone()).unwrap(),
        Lookup::Hit(_) => panic!("{:?} is there", record.key),
    };
}

/// Changes one byte of a file.
pub(super) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
