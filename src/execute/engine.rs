//! How one action is run: its inputs materialised, its key reserved, its record read once more, a lease taken, its result committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::leased::{Berth, Ran};
use super::{Action, ActionKind, Cancel, Devices, Failure, Footprint, Memo, Payload, Produced, Source, guard};
use crate::event::{Event, Sink};
use crate::key::{Arithmetic, Context, Digest, Key, Output, Outputs, Record};
use crate::store::{Finished, Lookup, Reservation, Store};

/// How often absent inputs are made again for one action before the cache is taken to be failing.
const ATTEMPTS: usize = 5;

/// Everything that running an action needs and that outlives it.
pub struct Engine {
    pub(super) store: Arc<Store>,
    pub(super) kinds: BTreeMap<&'static str, &'static dyn ActionKind>,
    pub(super) devices: Arc<dyn Devices>,
    pub(super) footprint: &'static dyn Footprint,
    pub(super) events: Arc<dyn Sink>,
    pub(super) cancel: Cancel,
    pub(super) arithmetic: Arithmetic,
    pub(super) remaking: Mutex<()>,
    /// The GPU that the command line names, for what no stage asks.
    pub(super) ordinal: Option<usize>,
    pub(super) memo: Memo,
    root: PathBuf,
    executable: PathBuf,
    guard: Mutex<Option<Arc<guard::Guard>>>,
}

/// For whom an action is run: its stage, and what it has used.
#[derive(Debug, Default)]
pub struct Caller {
    /// The stage instance.
    pub stage: String,
    /// The backend that was resolved for it.
    pub backend: String,
    /// The GPU that the user named for it.
    pub ordinal: Option<usize>,
    /// Actions found.
    pub hit: AtomicU64,
    /// Actions run.
    pub ran: AtomicU64,
    /// The keys used, in the order in which they were.
    pub used: Mutex<Vec<Key>>,
    /// Which part of what may run side by side it begins with.
    pub share: Share,
}

/// One of several programs that do the same stage together. Each does all of it, but begins somewhere else, so that it finds what the others
/// did by the time it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which one, from 0.
    pub task: u64,
    /// Of how many.
    pub of: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self { task: 0, of: 1 }
    }
}

impl Share {
    /// In which order so many items are done: this one's own part forward, then the others' from their ends, where they come to last.
    pub fn order(self, items: usize) -> Vec<usize> {
        let (of, mine) = (self.of.max(1) as usize, (self.task % self.of.max(1)) as usize);
        let part = |task: usize| task * items / of..(task + 1) * items / of;
        let others = (1..of).map(|step| (mine + step) % of);
        part(mine).chain(others.flat_map(|task| part(task).rev())).collect()
    }
}

impl Engine {
    /// An engine over a store. Paths of the manifest are relative to `root`; `executable` is this program's own, for the guard of
    /// commands.
    pub fn new(
        store: Arc<Store>,
        kinds: &[&'static dyn ActionKind],
        (devices, footprint): (Arc<dyn Devices>, &'static dyn Footprint),
        (events, cancel): (Arc<dyn Sink>, Cancel),
        (root, executable): (PathBuf, PathBuf),
    ) -> Self {
        Self {
            store,
            kinds: kinds.iter().map(|kind| (kind.name(), *kind)).collect(),
            devices,
            footprint,
            events,
            cancel,
            arithmetic: super::arithmetic(),
            remaking: Mutex::new(()),
            ordinal: None,
            memo: Memo::default(),
            root,
            executable,
            guard: Mutex::new(None),
        }
    }

    /// Makes lost bytes again on this GPU, if any.
    #[must_use]
    pub fn on_gpu(self, ordinal: Option<usize>) -> Self {
        Self { ordinal, ..self }
    }

    /// The folder that the manifest's paths are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The wish to stop.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Where events go.
    pub fn events(&self) -> &dyn Sink {
        &*self.events
    }

    /// Decoded inputs.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// How many actions may run side by side on `backend`.
    pub fn places(&self, backend: &str) -> usize {
        self.devices.places(backend)
    }

    /// What this machine computes with.
    pub fn arithmetic(&self) -> &Arithmetic {
        &self.arithmetic
    }

    /// The guard of commands, started when the first command asks for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn guard(&self) -> Result<Arc<guard::Guard>, Failure> {
        let mut slot = self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(guard) = &*slot {
            return Ok(Arc::clone(guard));
        }
        let started = guard::Guard::start(&self.executable);
        let started =
            started.map_err(|error| Failure::Machine(format!("failed to start the command guard: {error}")))?;
        Ok(Arc::clone(slot.insert(Arc::new(started))))
    }

    /// Verified bytes of something kept.
    pub(super) fn read_kept(&self, output: &Output) -> Result<Vec<u8>, Failure> {
        self.store.read(output)?.ok_or_else(|| Failure::Absent(output.clone()))
    }

    /// The records of a group of actions of one kind, each found or made; those missing run together under one lease.
    ///
    /// # Errors
    /// The first failure; what was finished before it is kept.
    pub fn perform(&self, caller: &Caller, group: &[Action]) -> Result<Vec<Record>, Failure> {
        let mut records: BTreeMap<Key, Record> = BTreeMap::new();
        for action in group {
            let key = action.key();
            if !records.contains_key(&key)
                && let Some(record) = self.store.record(&key)?
            {
                self.found(caller, &record);
                records.insert(key, record);
            }
        }
        let mut missing: BTreeMap<Key, &Action> = BTreeMap::new();
        missing.extend(group.iter().map(|action| (action.key(), action)).filter(|(key, _)| !records.contains_key(key)));
        if !missing.is_empty() {
            self.make(caller, missing, &mut records)?;
        }
        let records: Vec<Record> = group.iter().map(|action| records[&action.key()].clone()).collect();
        let mut used = caller.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        used.extend(records.iter().map(|record| record.key));
        Ok(records)
    }

    fn make(
        &self,
        caller: &Caller,
        mut missing: BTreeMap<Key, &Action>,
        records: &mut BTreeMap<Key, Record>,
    ) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            if self.cancel.raised() {
                return Err(Failure::Interrupted);
            }
            for source in missing.values().flat_map(|action| action.inputs.values()) {
                self.ensure(source)?;
            }
            let mut reservations = Vec::new();
            for lookup in self.reserve(&missing)? {
                match lookup {
                    Lookup::Hit(record) => {
                        self.found(caller, &record);
                        missing.remove(&record.key);
                        records.insert(record.key, *record);
                    }
                    Lookup::Miss(reservation) => reservations.push(reservation),
                }
            }
            if reservations.is_empty() {
                return Ok(());
            }
            match self.run_reserved(caller, &missing, reservations) {
                Ok(made) => {
                    records.extend(made.into_iter().map(|record| (record.key, record)));
                    return Ok(());
                }
                Err(Failure::Absent(output)) => self.ensure(&Source::Kept(output))?,
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Machine(format!("inputs of `{}` vanish as fast as they are made again", caller.stage)))
    }

    /// Reserves keys in their order, so that two runs that want the same ones cannot wait for each other in a circle.
    fn reserve(&self, missing: &BTreeMap<Key, &Action>) -> Result<Vec<Lookup<'_>>, Failure> {
        let mut lookups = Vec::new();
        for (key, action) in missing {
            let waiting = || self.events.emit(Event::Waiting { kind: action.fingerprint.kind.clone(), key: *key });
            lookups.push(self.store.reserve(key, &|| self.cancel.raised(), &waiting)?);
        }
        Ok(lookups)
    }

    fn run_reserved(
        &self,
        caller: &Caller,
        actions: &BTreeMap<Key, &Action>,
        reservations: Vec<Reservation<'_>>,
    ) -> Result<Vec<Record>, Failure> {
        let actions: Vec<&Action> = reservations.iter().map(|reservation| actions[reservation.key()]).collect();
        let kind = self.kind(&actions[0].fingerprint.kind)?;
        let event = |key, kind: &str| (caller.stage.clone(), kind.to_owned(), key);
        let berth = Berth { stage: Some(&caller.stage), backend: &caller.backend, ordinal: caller.ordinal };
        let begun = || {
            for action in &actions {
                let (stage, kind, key) = event(action.key(), kind.name());
                self.events.emit(Event::ActionStarted { stage, kind, key });
            }
        };
        let Ran { produced, seconds, arithmetic } = self.run_group(berth, kind, &actions, &begun)?;
        actions.iter().try_for_each(|action| self.check_files(action))?;
        let produced: Vec<_> = produced.into_iter().map(apart).collect();
        let mut group = Vec::with_capacity(actions.len());
        for ((action, reservation), (bytes, kept)) in actions.iter().zip(reservations).zip(&produced) {
            let (fingerprint, context, kept) =
                (action.fingerprint.clone(), self.context(action, seconds, &arithmetic), kept.clone());
            let make = |outputs: Outputs| Record::new(fingerprint, kept.into_iter().chain(outputs).collect(), context);
            group.push(Finished { reservation, outputs: bytes, make });
        }
        let records = self.store.commit_all(group)?;
        caller.ran.fetch_add(records.len() as u64, Ordering::Relaxed);
        for record in &records {
            let (stage, kind, key) = event(record.key, kind.name());
            self.events.emit(Event::ActionFinished { stage, kind, key, seconds });
        }
        Ok(records)
    }

    pub(super) fn kind(&self, name: &str) -> Result<&'static dyn ActionKind, Failure> {
        let unknown =
            || Failure::Work(format!("a record's action kind `{name}` is unknown to this version of thalweg"));
        self.kinds.get(name).copied().ok_or_else(unknown)
    }

    pub(super) fn adopt(&self, caller: &Caller, record: &Record) {
        self.found(caller, record);
        caller.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(record.key);
    }

    fn found(&self, caller: &Caller, record: &Record) {
        caller.hit.fetch_add(1, Ordering::Relaxed);
        let (stage, kind) = (caller.stage.clone(), record.fingerprint.kind.clone());
        self.events.emit(Event::ActionHit { stage, kind, key: record.key });
    }

    /// The user's files must hold what they held when the stage began; otherwise the result belongs to no key.
    pub(super) fn check_files(&self, action: &Action) -> Result<(), Failure> {
        for source in action.inputs.values() {
            if let Source::File { path, digest } = source
                && self.digest_file(path)? != *digest
            {
                let kind = &action.fingerprint.kind;
                let problem = format!("`{}` was edited while `{kind}` ran; its result is not kept", path.display());
                return Err(Failure::Work(problem));
            }
        }
        Ok(())
    }

    /// The digest of a file of the user's, memoised by what the file system says of it.
    ///
    /// # Errors
    /// If the file cannot be read, which is a failure of the work: the file is the user's.
    pub fn digest_file(&self, path: &Path) -> Result<Digest, Failure> {
        self.store.digest_file(path).map_err(Failure::work)
    }

    pub(super) fn context(&self, action: &Action, seconds: f64, arithmetic: &Arithmetic) -> Context {
        let mut makers = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (name, source) in &action.inputs {
            match source {
                Source::Kept(output) => {
                    if let Some(maker) = self.store.known_maker_of(&output.digest) {
                        makers.insert(name.clone(), maker);
                    }
                }
                // Within the project by its path there, so that a project that moved, or a second clone of it, finds it too.
                Source::File { path, .. } => {
                    let path = path.strip_prefix(&self.root).unwrap_or(path);
                    files.insert(name.clone(), path.to_owned());
                }
            }
        }
        Context { makers, files, arithmetic: arithmetic.clone(), ..self.bare_context(seconds) }
    }

    /// The context of a record that has no inputs of its own: how long, where, with what.
    pub fn bare_context(&self, seconds: f64) -> Context {
        Context {
            seconds,
            machine: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            arithmetic: self.arithmetic.clone(),
            makers: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }
}

/// What was produced as bytes, and what is in the store already.
pub(super) fn apart(produced: Produced) -> (Vec<(String, Vec<u8>)>, Outputs) {
    let (mut bytes, mut kept) = (Vec::new(), Outputs::new());
    for (name, payload) in produced {
        match payload {
            Payload::Bytes(payload) => bytes.push((name, payload)),
            Payload::Kept(output) => drop(kept.insert(name, output)),
        }
    }
    (bytes, kept)
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn every_share_does_every_item_once_and_begins_with_its_own() {
        for (items, of) in [(0, 1), (1, 1), (10, 1), (10, 3), (2, 5), (100, 7), (12, 12)] {
            let mut firsts = Vec::new();
            for task in 0..of {
                let order = Share { task, of }.order(items);
                firsts.extend(order.first().copied());
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..items).collect::<Vec<_>>(), "{task} of {of}");
            }
            firsts.dedup();
            assert!(items < of as usize || firsts.len() == of as usize, "{items} items, {of} shares: {firsts:?}");
        }
        assert_eq!(Share::default().order(4), [0, 1, 2, 3]);
        assert_eq!(Share { task: 1, of: 3 }.order(6), [2, 3, 5, 4, 1, 0]);
    }
}
