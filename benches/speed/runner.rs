//! The runner's parts on a fan of 1,000 commands and their join.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use divan::{Bencher, black_box};
use thalweg::event::Silent;
use thalweg::key::{Arithmetic, Context, Digest, Fingerprint, Identity, Key, Output, Record, Records};
use thalweg::manifest::{self, Known, Source, Study};
use thalweg::plan::{Graph, Plan, Standing, World};
use thalweg::stages;
use thalweg::store::{Lookup, RealDisk, Store};

const WIDTH: usize = 1000;

fn manifest() -> String {
    let mut text = "study = \"fan\"\n".to_owned();
    for i in 0..WIDTH {
        write!(
            text,
            "\n[stage.s{i}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"step.sh\", \"v{i}\", \"out/s{i}.txt\", \"src.txt\"]\n\
             inputs = [\"step.sh\", \"src.txt\"]\noutputs = [\"out/s{i}.txt\"]\n"
        )
        .expect("text takes what is written to it");
    }
    let from: Vec<String> = (0..WIDTH).map(|i| format!("\"s{i}\"")).collect();
    let join = "kind = \"command\"\nprogram = \"sh\"\nargs = [\"join.sh\"]\noutputs = [\"out/join.txt\"]";
    text + &format!("\n[stage.join]\n{join}\nfrom = [{}]\n", from.join(", "))
}

fn study() -> Study {
    let source = Source::new("fan.toml", manifest());
    manifest::load(source, &stages::kinds(), None, &[]).expect("the manifest is right")
}

/// A store in a folder of its own.
struct Place {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path(), Arc::new(RealDisk), Arc::new(Silent)).expect("a store");
        Self { store, _folder: folder }
    }

    fn commit(&self, record: Record) {
        let lookup = self.store.reserve(&record.key, &|| false, &|| ()).expect("a reservation");
        if let Lookup::Miss(reservation) = lookup {
            reservation.commit(record).expect("a record");
        }
    }
}

impl Records for Place {
    fn noted(&self, _: &Key) -> Vec<(Record, u64)> {
        Vec::new()
    }

    fn record(&self, key: &Key) -> Option<Record> {
        Records::record(&self.store, key)
    }

    fn bytes(&self, output: &Output) -> Option<Vec<u8>> {
        Records::bytes(&self.store, output)
    }
}

impl Known for Place {
    fn digest_file(&self, path: &Path) -> Option<Digest> {
        Some(Digest::of(path.as_os_str().as_encoded_bytes()))
    }
}

impl World for Place {
    fn last(&self, _: &str) -> Option<Key> {
        None
    }

    fn device(&self) -> &'static str {
        "auto"
    }

    fn backend(&self) -> &'static str {
        "cpu"
    }
}

fn record(fingerprint: Fingerprint) -> Record {
    let outputs = BTreeMap::from([("out".to_owned(), Output::of(fingerprint.key().to_string().as_bytes()))]);
    let context = Context {
        seconds: 0.0,
        machine: "here".to_owned(),
        program: "bench".to_owned(),
        arithmetic: Arithmetic { backend: "cpu".to_owned(), features: String::new() },
        makers: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    Record::new(fingerprint, outputs, context)
}

fn epoch(n: u64) -> Fingerprint {
    Fingerprint::action("epoch", 1)
        .with("lr", &Identity::with_default(0.05, 0.1))
        .with("model", &Identity::with_default("mlp".to_owned(), String::new()))
        .position("epoch", n)
        .input("data", Digest::of(b"data"))
        .input("theta", Digest::of(b"theta"))
}

#[divan::bench]
fn key(bencher: Bencher<'_, '_>) {
    let fingerprint = epoch(3);
    bencher.bench_local(|| black_box(&fingerprint).key());
}

#[divan::bench(sample_count = 20)]
fn load_a_manifest_of_1000_stages(bencher: Bencher<'_, '_>) {
    let (kinds, text) = (stages::kinds(), manifest());
    bencher.bench_local(|| manifest::load(Source::new("fan.toml", &*text), &kinds, None, &[]).expect("a study"));
}

#[divan::bench(sample_count = 20)]
fn plan_1000_fresh_stages(bencher: Bencher<'_, '_>) {
    let (study, place) = (study(), Place::new());
    let wanted = Graph::new(&study).all();
    while !Plan::make(&study, &wanted, &place).is_fresh() {
        for (_, standing) in Plan::make(&study, &wanted, &place).stages {
            if let Standing::Stale { fingerprint, .. } = standing {
                place.commit(record(*fingerprint));
            }
        }
    }
    bencher.bench_local(|| Plan::make(black_box(&study), &wanted, &place).is_fresh());
}

#[divan::bench(sample_count = 20)]
fn keep_a_blob_of_20_kb(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    let mut seed = 0u64;
    let next = || {
        seed += 1;
        seed.to_le_bytes().repeat(2500)
    };
    bencher.with_inputs(next).bench_local_values(|bytes| place.store.put(&bytes).expect("a blob"));
}

#[divan::bench(sample_count = 20)]
fn commit_an_epoch_with_two_blobs(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    let mut seed = 0u64;
    let next = || {
        seed += 1;
        let bytes = |tag: u8| [&seed.to_le_bytes()[..], &[tag]].concat().repeat(2500);
        (epoch(seed), vec![("theta".to_owned(), bytes(0)), ("velocity".to_owned(), bytes(1))])
    };
    bencher.with_inputs(next).bench_local_values(|(fingerprint, outputs)| {
        let lookup = place.store.reserve(&fingerprint.key(), &|| false, &|| ()).expect("a reservation");
        let Lookup::Miss(reservation) = lookup else { panic!("an epoch is committed once") };
        let context = record(epoch(0)).context;
        reservation.commit_with(&outputs, |outputs| Record::new(fingerprint, outputs, context)).expect("a record")
    });
}

#[divan::bench]
fn read_a_record(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    let record = record(epoch(1));
    place.commit(record.clone());
    bencher.bench_local(|| place.store.record(black_box(&record.key)).expect("a record"));
}
