//! The power is cut. A disk that keeps what was synced, and of everything since then whatever it likes: content in part, as zeros or not at all,
//! names set or not, each by itself. After a cut at any moment no name stands for half a blob, no record for anything but what it was, and what was
//! committed before is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::testing::{Place, blob, record_of, stage_of};
use super::{Disk, Finished, Lookup, RealDisk, Root, Store};
use crate::event::Silent;
use crate::key::{Key, Record};

/// What happened to the disk, one after the other.
#[derive(Clone, Debug)]
enum Deed {
    /// A file has this content now.
    Wrote(u64, Vec<u8>),
    /// A name stands for a file now, or for none.
    Named(PathBuf, Option<u64>),
    /// A folder is there now.
    Folder(PathBuf),
    /// A file's content, a folder's names, or everything is on the medium.
    Synced(u64),
    SyncedNames(PathBuf),
    SyncedAll,
    /// What this key's action made is committed.
    Committed(Key),
}

/// The disk as it is, and a log of what was done to it.
#[derive(Default)]
struct Logged {
    deeds: Mutex<Vec<Deed>>,
    /// The file that has an inode now: a file system gives it to another once the first is gone.
    files: Mutex<BTreeMap<u64, u64>>,
}

impl Logged {
    fn note(&self, deed: Deed) {
        self.deeds.lock().unwrap().push(deed);
    }

    fn file(&self, metadata: &fs::Metadata) -> u64 {
        self.files.lock().unwrap()[&metadata.ino()]
    }

    /// A new file with this content.
    fn made(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let inode = fs::symlink_metadata(path)?.ino();
        let file = self.deeds.lock().unwrap().len() as u64;
        self.files.lock().unwrap().insert(inode, file);
        self.note(Deed::Wrote(file, bytes));
        self.named(path)
    }

    fn named(&self, path: &Path) -> io::Result<()> {
        let file = self.file(&fs::symlink_metadata(path)?);
        self.note(Deed::Named(path.to_owned(), Some(file)));
        Ok(())
    }
}

impl Disk for Logged {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        RealDisk.create_folder(path)?;
        missing.into_iter().rev().for_each(|folder| self.note(Deed::Folder(folder.to_owned())));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = RealDisk.create(path)?;
        self.made(path, Vec::new())?;
        Ok(file)
    }

    fn open_lock(&self, path: &Path) -> io::Result<File> {
        let is_new = !path.exists();
        let file = RealDisk.open_lock(path)?;
        if is_new {
            self.made(path, Vec::new())?;
        }
        Ok(file)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        RealDisk.write(file, bytes)?;
        self.note(Deed::Wrote(self.file(&file.metadata()?), bytes.to_vec()));
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.copy(from, to)?;
        self.made(to, fs::read(to)?)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        self.note(if metadata.is_dir() { Deed::SyncedNames(name) } else { Deed::Synced(self.file(&metadata)) });
        Ok(())
    }

    fn sync_file_system(&self, _: &File) -> io::Result<()> {
        self.note(Deed::SyncedAll);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)?;
        self.named(to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        // Whether both names, either or none is on the medium is the medium's choice.
        self.named(to)?;
        self.note(Deed::Named(from.to_owned(), None));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)?;
        self.note(Deed::Named(path.to_owned(), None));
        Ok(())
    }
}

/// What a medium may hold after the first deeds of a log.
#[derive(Default)]
struct Medium {
    /// Content by file, and whether it is synced.
    content: BTreeMap<u64, (Vec<u8>, bool)>,
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    /// What is not synced, in order: names, and folders.
    pending: Vec<(PathBuf, Option<u64>)>,
    pending_folders: Vec<PathBuf>,
    committed: BTreeSet<Key>,
}

impl Medium {
    fn after(deeds: &[Deed]) -> Self {
        let mut medium = Self::default();
        for deed in deeds {
            match deed {
                Deed::Wrote(file, bytes) => drop(medium.content.insert(*file, (bytes.clone(), bytes.is_empty()))),
                Deed::Named(path, file) => medium.pending.push((path.clone(), *file)),
                Deed::Folder(path) => medium.pending_folders.push(path.clone()),
                Deed::Synced(file) => {
                    medium.content.entry(*file).or_default().1 = true;
                }
                Deed::SyncedNames(folder) => medium.settle(|path| path.parent() == Some(folder)),
                Deed::SyncedAll => {
                    medium.content.values_mut().for_each(|(_, synced)| *synced = true);
                    medium.settle(|_| true);
                }
                Deed::Committed(key) => drop(medium.committed.insert(*key)),
            }
        }
        medium
    }

    fn settle(&mut self, is_synced: impl Fn(&Path) -> bool) {
        let (synced, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(path, _)| is_synced(path));
        self.pending = pending;
        let synced: Vec<(PathBuf, Option<u64>)> = synced;
        for (path, file) in synced {
            self.set(path, file);
        }
        let (synced, pending) = std::mem::take(&mut self.pending_folders).into_iter().partition(|path| is_synced(path));
        self.pending_folders = pending;
        self.folders.extend::<Vec<_>>(synced);
    }

    fn set(&mut self, path: PathBuf, file: Option<u64>) {
        match file {
            Some(file) => drop(self.names.insert(path, file)),
            None => drop(self.names.remove(&path)),
        }
    }

    /// Writes what the medium chose to keep into `to`, for what lay in `from`.
    fn write(mut self, (from, to): (&Path, &Path), choose: &mut dyn FnMut(usize) -> usize) {
        for folder in std::mem::take(&mut self.pending_folders) {
            if choose(2) == 0 {
                self.folders.insert(folder);
            }
        }
        for (path, file) in std::mem::take(&mut self.pending) {
            if choose(2) == 0 {
                self.set(path, file);
            }
        }
        let there = |path: &Path| {
            path.ancestors().skip(1).take_while(|folder| *folder != from).all(|folder| self.folders.contains(folder))
        };
        let place = |path: &Path| to.join(path.strip_prefix(from).unwrap());
        for folder in self.folders.iter().filter(|folder| there(folder)) {
            fs::create_dir_all(place(folder)).unwrap();
        }
        for (path, file) in self.names.iter().filter(|(path, _)| there(path)) {
            let (bytes, synced) = &self.content[file];
            let kept = match if *synced { 0 } else { choose(4) } {
                0 => bytes.clone(),
                1 => Vec::new(),
                2 => vec![0; bytes.len()],
                _ => bytes[..choose(bytes.len() + 1)].to_vec(),
            };
            fs::write(place(path), kept).unwrap();
        }
    }
}

fn outputs() -> Vec<(String, Vec<u8>)> {
    vec![("theta".into(), blob(1).0), ("momentum".into(), blob(2).0), ("loss".into(), b"0.5".to_vec())]
}

fn records() -> [Record; 4] {
    let all = outputs();
    let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    [record_of(1, &all), record_of(2, &[("data", &blob(3).0)]), record_of(3, &all[2..]), stage_of(1, &all[..1])]
}

fn reserve<'s>(store: &'s Store, key: &Key) -> super::Reservation<'s> {
    match store.reserve(key, &|| false, &|| ()).unwrap() {
        Lookup::Miss(reservation) => reservation,
        Lookup::Hit(_) => panic!("nothing was made"),
    }
}

/// An action with blobs, a command whose output is a file, two records together, a stage, its list and root.
fn work(place: &Path, disk: &Arc<Logged>) {
    let store = Store::open(&place.join("cache"), disk.clone(), Arc::new(Silent)).unwrap();
    let [action, command, inline, stage] = records();
    let made = outputs();
    let finished = Finished {
        reservation: reserve(&store, &action.key),
        outputs: &made,
        make: |outputs| Record { outputs, ..action.clone() },
    };
    store.commit_all(vec![finished]).unwrap();
    disk.note(Deed::Committed(action.key));
    let reservation = reserve(&store, &command.key);
    assert_eq!(store.put_file(&place.join("input")).unwrap(), command.outputs["data"]);
    reservation.commit(command.clone()).unwrap();
    disk.note(Deed::Committed(command.key));
    reserve(&store, &inline.key).commit(inline.clone()).unwrap();
    disk.note(Deed::Committed(inline.key));
    store.write_list(&stage.key, &[action.key]).unwrap();
    reserve(&store, &stage.key).commit(stage.clone()).unwrap();
    let root = Root { stages: [("train".to_owned(), stage.key)].into(), partial: false };
    store.write_root("fig3", "small", &root).unwrap();
    disk.note(Deed::Committed(stage.key));
}

fn check(cache: &Path, committed: &BTreeSet<Key>, context: &str) {
    let store = Store::open(cache, Arc::new(RealDisk), Arc::new(Silent)).unwrap();
    for record in records() {
        let found = store.record(&record.key).unwrap();
        let (key, is_stage) = (record.key, record.fingerprint.kind == "train");
        assert!(found.is_some() || !committed.contains(&key), "{context}: a record that was committed is gone");
        let Some(found) = found else { continue };
        assert_eq!(found, record, "{context}");
        for output in found.outputs.values() {
            let bytes = store.read(output).unwrap();
            assert!(
                bytes.is_some() || !committed.contains(&key) || is_stage,
                "{context}: bytes that were committed are gone"
            );
        }
    }
    // What is cheap to make again may be torn, and is found by its checksum; nothing else may be.
    let damaged = store.verify(&|| false, &|_| ()).unwrap().damaged;
    let blobs: Vec<_> = damaged.iter().filter(|damage| damage.path.starts_with(cache.join("blobs"))).collect();
    assert!(blobs.is_empty(), "{context}: {blobs:?}");
    for record in &records()[..3] {
        assert!(damaged.iter().all(|damage| !damage.path.ends_with(record.key.to_string())), "{context}: {damaged:?}");
    }
}

#[test]
fn a_power_cut_at_any_moment_leaves_no_half_blob_and_keeps_what_was_committed() {
    const CHOICES: u64 = 10;
    let place = Place::new();
    fs::write(place.path().join("input"), blob(3).0).unwrap();
    let disk = Arc::new(Logged::default());
    work(place.path(), &disk);
    let deeds = disk.deeds.lock().unwrap().clone();
    assert!(deeds.len() > 50, "{deeds:?}");
    let from = place.path().join("cache");
    let deeds: Vec<Deed> =
        deeds.into_iter().filter(|deed| !matches!(deed, Deed::Folder(path) if *path == from)).collect();
    for cut in 0..=deeds.len() {
        for seed in 0..CHOICES {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ cut as u64;
            // The first two are a medium that kept all and one that kept nothing it need not.
            let mut choose = |below: usize| match seed {
                0 => 0,
                1 => 1.min(below - 1),
                _ => {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as usize % below
                }
            };
            let after = Place::new();
            let to = after.path().join("cache");
            fs::create_dir(&to).unwrap();
            let medium = Medium::after(&deeds[..cut]);
            let committed = medium.committed.clone();
            medium.write((&from, &to), &mut choose);
            check(&to, &committed, &format!("cut after {cut} of {} deeds, choice {seed}", deeds.len()));
        }
    }
}
