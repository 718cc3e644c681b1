//! The exchange with a shared cache, over a place in memory that counts what it is asked and fails when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::testing::{Heard, Place, blob, commit, flip, open_listening, record_of, stage_of};
use super::{GcOptions, Hint, Likeness, Sent, Shared, Signer, Store};
use crate::event::Silent;
use crate::key::{Fingerprint, Key, Record};
use crate::remote::{Error as RemoteError, Listed, Objects, WriteBack};

/// A place in memory.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Names in the order in which they were put.
    put: Mutex<Vec<String>>,
    lists: AtomicU64,
    gets: AtomicU64,
    /// So many requests to come fail, of all sorts or of those that put something.
    failures: AtomicU64,
    put_failures: AtomicU64,
    address: String,
    /// Objects that were put there now, and not long ago.
    recent: Mutex<BTreeSet<String>>,
    /// A file that somebody writes while the next record is on its way.
    meanwhile: Mutex<Option<(PathBuf, Vec<u8>)>>,
}

impl Memory {
    fn ask(&self) -> Result<(), RemoteError> {
        Self::fail(&self.failures)
    }

    fn fail(failures: &AtomicU64) -> Result<(), RemoteError> {
        let less = |failures: u64| failures.checked_sub(1);
        match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(RemoteError::Place("the place is out of order".to_owned())),
            Err(_) => Ok(()),
        }
    }

    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn change(&self, begin: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().unwrap();
        let found: Vec<_> = objects.iter_mut().filter(|(name, _)| name.starts_with(begin)).collect();
        assert!(!found.is_empty(), "{begin}");
        for (_, bytes) in found {
            change(bytes);
        }
    }
}

impl Objects for Memory {
    fn address(&self) -> &str {
        &self.address
    }

    fn get(&self, name: &str, to: &mut dyn Write) -> Result<bool, RemoteError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.ask()?;
        if name.starts_with("records")
            && let Some((path, bytes)) = self.meanwhile.lock().unwrap().take()
        {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let found = self.objects.lock().unwrap().get(name).cloned();
        let Some(bytes) = found else { return Ok(false) };
        to.write_all(&bytes).map_err(|error| RemoteError::Here(error.to_string()))?;
        Ok(true)
    }

    fn put(&self, name: &str, from: &mut dyn Read, bytes: u64) -> Result<(), RemoteError> {
        self.ask().and_then(|()| Self::fail(&self.put_failures))?;
        let mut content = Vec::new();
        from.read_to_end(&mut content).map_err(|error| RemoteError::Here(error.to_string()))?;
        assert_eq!(content.len() as u64, bytes, "{name}");
        self.put.lock().unwrap().push(name.to_owned());
        self.objects.lock().unwrap().insert(name.to_owned(), content);
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, RemoteError> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.ask()?;
        let below = format!("{folder}/");
        let (objects, recent) = (self.objects.lock().unwrap(), self.recent.lock().unwrap());
        let inside = objects.iter().filter(|(name, _)| folder.is_empty() || name.starts_with(&below));
        Ok(inside
            .map(|(name, bytes)| Listed {
                name: name.clone(),
                bytes: bytes.len() as u64,
                since: if recent.contains(name) { SystemTime::now() } else { SystemTime::UNIX_EPOCH },
            })
            .collect())
    }

    fn remove(&self, names: &[String]) -> Result<(), RemoteError> {
        self.ask()?;
        let mut objects = self.objects.lock().unwrap();
        objects.retain(|name, _| !names.contains(name));
        Ok(())
    }
}

/// A store of its own that shares what is in `memory`.
fn user(memory: &Arc<Memory>, secret: Option<&str>) -> (Place, Store, Arc<Heard>) {
    let place = Place::new();
    let (store, heard) = user_at(&place, memory, secret);
    (place, store, heard)
}

fn user_at(place: &Place, memory: &Arc<Memory>, secret: Option<&str>) -> (Store, Arc<Heard>) {
    let (store, heard) = open_listening(place);
    let shared = Shared::new(Arc::clone(memory) as Arc<dyn Objects>, secret.map(Signer::new), Arc::clone(&heard) as _);
    (store.sharing(shared, WriteBack::Background), heard)
}

fn finish(store: &Store) -> Sent {
    store.finish_uploads(&|| false, &|_| ())
}

/// An action with a blob, committed.
fn made(store: &Store, seed: u8) -> Record {
    let (bytes, _) = blob(seed);
    store.put(&bytes).unwrap();
    let record = record_of(u64::from(seed), &[("theta", &bytes)]);
    commit(store, &record);
    record
}

/// An action with a blob, and a stage that used it, committed.
fn action_and_stage(store: &Store) -> (Record, Record) {
    let action = made(store, 1);
    let stage = stage_of(1, &[("theta", &blob(1).0)]);
    store.write_list(&stage.key, &[action.key]).unwrap();
    commit(store, &stage);
    (action, stage)
}

#[test]
fn a_record_goes_up_after_its_blobs_and_is_found_with_them() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let record = made(&store, 1);
    assert_eq!(finish(&store).objects, 2);
    let put = memory.put.lock().unwrap().clone();
    assert!(put[0].starts_with("blobs/") && put[1].starts_with("records.1/"), "{put:?}");
    let (_there, other, heard) = user(&memory, None);
    assert_eq!(other.record(&record.key).unwrap(), Some(record.clone()));
    assert_eq!(other.read(&record.outputs["theta"]).unwrap().as_deref(), Some(&blob(1).0[..]));
    assert!(heard.warnings().is_empty());
    // What is here now is asked for no more.
    let asked = memory.gets.load(Ordering::SeqCst);
    assert_eq!(other.record(&record.key).unwrap(), Some(record));
    assert_eq!(memory.gets.load(Ordering::SeqCst), asked);
}

#[test]
fn misses_cost_a_listing_for_each_folder_and_no_request_each() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let keys: Vec<_> = (0..2000).map(|seed| record_of(seed, &[]).key).collect();
    for _ in 0..2 {
        assert!(keys.iter().all(|key| store.record(key).unwrap().is_none()));
    }
    let folders: BTreeSet<String> = keys.iter().map(|key| key.to_string()[..2].to_owned()).collect();
    let listed = memory.lists.load(Ordering::SeqCst);
    assert_eq!((listed, memory.gets.load(Ordering::SeqCst)), (folders.len() as u64, 0));
}

#[test]
fn a_place_that_fails_now_and_then_gets_everything_and_one_that_is_gone_is_told_once() {
    let memory = Arc::new(Memory::default());
    let (place, store, heard) = user(&memory, None);
    memory.put_failures.store(2, Ordering::SeqCst);
    made(&store, 1);
    assert_eq!((finish(&store).left, memory.names().len()), (0, 2));
    memory.failures.store(u64::MAX, Ordering::SeqCst);
    for seed in 2..6 {
        made(&store, seed);
    }
    let sent = finish(&store);
    assert_eq!((sent.left, sent.problem.as_deref()), (4, Some("the place is out of order")));
    let told = heard.warnings().into_iter().filter(|said| said.contains("done without")).count();
    assert_eq!(told, 1, "{:?}", heard.warnings());
    // By hand, when it works again.
    memory.failures.store(0, Ordering::SeqCst);
    drop(store);
    let (store, _) = user_at(&place, &memory, None);
    assert_eq!(store.push(&|| false, &|_| ()).unwrap().left, 0);
    assert_eq!(memory.names().len(), 10);
}

#[test]
fn a_blob_that_is_damaged_here_does_not_go_up() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let (bytes, output) = blob(1);
    store.put(&bytes).unwrap();
    flip(&store.layout.blob(&output.digest), 100);
    commit(&store, &record_of(1, &[("theta", &bytes)]));
    let sent = finish(&store);
    assert_eq!((sent.left, memory.names().len()), (1, 0), "{sent:?}");
    assert!(sent.problem.unwrap().contains("do not fit its digest"));
}

#[test]
fn what_comes_is_verified_named_and_had_from_elsewhere() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let (one, two) = (made(&store, 1), made(&store, 2));
    finish(&store);
    memory.change("blobs/", |bytes| bytes[7] ^= 1);
    memory.change(&format!("records.1/{}/{}", &two.key.to_string()[..2], two.key), |bytes| bytes.truncate(40));
    let (_there, other, heard) = user(&memory, None);
    assert_eq!(other.record(&one.key).unwrap(), Some(one.clone()));
    assert_eq!(other.read(&one.outputs["theta"]).unwrap(), None);
    assert_eq!(other.record(&two.key).unwrap(), None);
    let warnings = heard.warnings().join("\n");
    assert!(warnings.contains("do not fit its digest") && warnings.contains("damaged record"), "{warnings}");
    // What was found wrong is not there for whoever puts it up.
    other.put(&blob(1).0).unwrap();
    other.upload_record(&one.key);
    finish(&other);
    let (_third, third, _) = user(&memory, None);
    assert_eq!(third.read(&one.outputs["theta"]).unwrap().as_deref(), Some(&blob(1).0[..]));
}

#[test]
fn with_a_secret_nothing_unsigned_moved_or_signed_by_others_is_taken() {
    let memory = Arc::new(Memory::default());
    let (_ours, ours, _) = user(&memory, Some("ours"));
    let (_theirs, theirs, _) = user(&memory, Some("theirs"));
    let (_nobodys, nobodys, _) = user(&memory, None);
    let (one, two, three) = (made(&ours, 1), made(&theirs, 2), made(&nobodys, 3));
    for store in [&ours, &theirs, &nobodys] {
        finish(store);
    }
    let (_place, reader, heard) = user(&memory, Some("ours"));
    assert_eq!(reader.record(&one.key).unwrap(), Some(one.clone()));
    assert_eq!((reader.record(&two.key).unwrap(), reader.record(&three.key).unwrap()), (None, None));
    assert!(heard.warnings().is_empty());
    // One of our own records under another's name.
    let four = record_of(4, &[]).key;
    let name = |key: &Key| format!("records.1/{}/{key}.{}", &key.to_string()[..2], Signer::new("ours").name());
    let moved = memory.objects.lock().unwrap()[&name(&one.key)].clone();
    memory.objects.lock().unwrap().insert(name(&four), moved);
    let (_place, reader, heard) = user(&memory, Some("ours"));
    assert_eq!(reader.record(&four).unwrap(), None);
    assert!(heard.warnings().join("").contains("its signature does not fit"));
}

#[test]
fn a_stage_is_seen_complete_once_and_then_nobody_is_asked() {
    let memory = Arc::new(Memory::default());
    let (place, store, _) = user(&memory, None);
    let (action, stage) = action_and_stage(&store);
    let absent = stage_of(2, &[]).key;
    // A hint that a run left here and did not put up, since it was ended.
    let hint = Hint { key: action.key, reached: 3 };
    let (unshared, _) = open_listening(&place);
    unshared.add_hint(&action.key, hint).unwrap();
    let complete = |store: &Store| store.complete(&[stage.key, absent], &|| false, &|_| ()).unwrap();
    // A blob, two records, a list and the hint.
    assert_eq!((complete(&store).objects, memory.names().len()), (5, 5));
    let (_elsewhere, other, _) = user(&memory, None);
    assert_eq!(other.all_hints(&action.key).unwrap(), [hint]);
    let asked = |memory: &Memory| memory.gets.load(Ordering::SeqCst) + memory.lists.load(Ordering::SeqCst);
    let before = asked(&memory);
    assert_eq!((complete(&store), asked(&memory)), (Sent::default(), before));
    // Somewhere else nothing of it has been seen yet.
    let elsewhere = Arc::new(Memory { address: "elsewhere".to_owned(), ..Memory::default() });
    drop(store);
    let (store, _) = user_at(&place, &elsewhere, None);
    assert_eq!((complete(&store).left, elsewhere.names()), (0, memory.names()));
}

#[test]
fn what_others_collected_since_it_was_looked_at_goes_up_again() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let (action, stage) = action_and_stage(&store);
    finish(&store);
    let (_elsewhere, other, _) = user(&memory, None);
    assert_eq!(other.record(&stage.key).unwrap().as_ref(), Some(&stage));
    assert!(other.record(&action.key).unwrap().is_some() && other.read(&action.outputs["theta"]).unwrap().is_some());
    memory.objects.lock().unwrap().clear();
    other.exchange.as_ref().unwrap().shared.shelves.grow_old();
    assert_eq!(other.complete(&[stage.key], &|| false, &|_| ()).unwrap().objects, 4);
    assert_eq!(memory.names().len(), 4);
}

#[test]
fn a_record_that_is_made_here_while_another_is_on_its_way_is_not_replaced() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    let theirs = made(&store, 1);
    finish(&store);
    let (_elsewhere, other, _) = user(&memory, None);
    let mut ours = theirs.clone();
    ours.context.seconds = 7.0;
    *memory.meanwhile.lock().unwrap() = Some((other.layout.record(&ours.key), ours.encode()));
    for _ in 0..2 {
        assert_eq!(other.record(&ours.key).unwrap(), Some(ours.clone()));
    }
}

#[test]
fn what_was_put_up_lately_stays_with_all_that_it_names_whatever_is_asked_for() {
    let memory = Arc::new(Memory::default());
    let (_place, store, _) = user(&memory, None);
    // The second was made of what the first made; nobody says what is reached.
    let (first, old) = (made(&store, 1), made(&store, 3));
    let (bytes, output) = blob(2);
    store.put(&bytes).unwrap();
    let fingerprint = Fingerprint::action("epoch", 1).position("epoch", 2).input("theta", blob(1).1.digest);
    let outputs = [("theta".to_owned(), output)].into();
    let second = Record::new(fingerprint, outputs, first.context.clone());
    commit(&store, &second);
    finish(&store);
    let name = |key: &Key| format!("records.1/{}/{key}", &key.to_string()[..2]);
    memory.recent.lock().unwrap().insert(name(&second.key));
    let names = |record: &Record, blob: &str| BTreeSet::from([name(&record.key), blob.to_owned()]);
    let blob_of = |seed| Shared::blob(&blob(seed).1.digest);
    let day = Duration::from_hours(24);
    for (grace, asked, expected) in [
        (day, GcOptions::default(), names(&old, &blob_of(3))),
        (day, GcOptions { reached: true, max_size_bytes: Some(0), ..GcOptions::default() }, names(&old, &blob_of(3))),
        (Duration::ZERO, GcOptions::default(), memory.names().into_iter().collect()),
    ] {
        let shared = Shared::new(Arc::clone(&memory) as Arc<dyn Objects>, None, Arc::new(Silent));
        let likeness = Likeness::of(shared, grace, &|| false, &|_| (), Arc::new(Silent)).unwrap();
        assert_eq!(fs::metadata(likeness.folder()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(likeness.recent(), u64::from(!grace.is_zero()));
        let before = memory.objects.lock().unwrap().clone();
        likeness.apply(&likeness.plan(&asked).unwrap(), &|| false).unwrap();
        let gone = before.keys().filter(|name| !memory.names().contains(name)).cloned().collect::<BTreeSet<_>>();
        *memory.objects.lock().unwrap() = before;
        assert_eq!(gone, expected);
    }
}
