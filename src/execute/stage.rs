//! What a stage sees while it runs: its inputs, `call` and `map`, progress, the wish to stop.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::{Action, Caller, Engine, Failure, Source};
use crate::event::Event;
use crate::key::{Digest, Fingerprint, Input, Inputs, Output, Outputs, Record, behind};
use crate::store::Hint;

/// Actions of a group that run and are kept together: as many as share a pass over the data, so that keeping them apart costs nothing.
const TOGETHER: usize = 8;

/// Where a copy of an output is put for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Below `results/<study>/`.
    Result(PathBuf),
    /// Below the folder that the manifest's paths are relative to.
    Project(PathBuf),
}

/// A stage's work, with its parameters.
pub trait Work: Send + Sync {
    /// Does the work by calling actions.
    ///
    /// # Errors
    /// Why there is no result.
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure>;

    /// Which outputs are copied out for people, and where; `instance` names files of stages that have several instances.
    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let _ = instance;
        Vec::new()
    }
}

/// What a running stage sees.
pub struct StageContext<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    inputs: &'a Inputs,
    done: AtomicU64,
    total: AtomicU64,
    unit: Mutex<String>,
}

impl<'a> StageContext<'a> {
    /// The context of one run of one stage.
    pub fn new(engine: &'a Engine, caller: &'a Caller, inputs: &'a Inputs) -> Self {
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { engine, caller, inputs, done, total, unit: Mutex::new(String::new()) }
    }

    /// The stage instance's name.
    pub fn name(&self) -> &str {
        &self.caller.stage
    }

    /// The backend that was resolved for this stage: `cpu` or `cuda`.
    pub fn backend(&self) -> &str {
        &self.caller.backend
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine
    }

    /// The one upstream instance behind a reference.
    ///
    /// # Panics
    /// If the manifest gave none, which its checks rule out.
    pub fn input(&self, field: &str) -> &Input {
        self.inputs(field).first().unwrap_or_else(|| panic!("invariant: `{field}` refers to a stage"))
    }

    /// All upstream instances behind a reference; none where it was left out.
    pub fn inputs(&self, field: &str) -> &[Input] {
        behind(self.inputs, field)
    }

    /// All upstream instances behind all references.
    pub fn all_inputs(&self) -> &Inputs {
        self.inputs
    }

    /// The bytes of an output, made again where they are gone.
    ///
    /// # Errors
    /// [`Failure::Absent`] where only the stage that made them can do so.
    pub fn read(&self, output: &Output) -> Result<Vec<u8>, Failure> {
        match self.engine.read_kept(output) {
            Err(Failure::Absent(output)) => {
                self.engine.ensure(&Source::Kept(output.clone()))?;
                self.engine.read_kept(&output)
            }
            other => other,
        }
    }

    /// Where a file is that the manifest names, and the digest of what it holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(&self, path: &Path) -> Result<(PathBuf, Digest), Failure> {
        let path = self.engine.root().join(path);
        let digest = self.engine.digest_file(&path)?;
        Ok((path, digest))
    }

    /// Whether an action's record is there; counts as no hit.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn is_known(&self, action: &Action) -> Result<bool, Failure> {
        Ok(self.engine.store().record(&action.key())?.is_some())
    }

    /// Notes that whoever computes something longer of this `sort` may go on from `record`, which had come this far.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remember(&self, sort: &Fingerprint, record: &Record, reached: u64) -> Result<(), Failure> {
        Ok(self.engine.store().add_hint(&sort.key(), Hint { key: record.key, reached })?)
    }

    /// The records that were noted for this `sort`, each with how far it had come.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn recall(&self, sort: &Fingerprint) -> Result<Vec<(Record, u64)>, Failure> {
        let mut records = Vec::new();
        for Hint { key, reached } in self.engine.store().all_hints(&sort.key())? {
            records.extend(self.engine.store().record(&key)?.map(|record| (record, reached)));
        }
        Ok(records)
    }

    /// Counts a record that was found through [`recall`](Self::recall) as used by this stage.
    pub fn adopt(&self, record: &Record) {
        self.engine.adopt(self.caller, record);
    }

    /// Keeps bytes that the stage itself made of its actions' outputs: an index, a table.
    ///
    /// # Errors
    /// If the store cannot keep them.
    pub fn keep(&self, bytes: &[u8]) -> Result<Output, Failure> {
        Ok(self.engine.store().put(bytes)?)
    }

    /// One action's record, found or made.
    ///
    /// # Errors
    /// Why it has none.
    pub fn call(&self, action: Action) -> Result<Record, Failure> {
        let mut records = self.engine.perform(self.caller, &[action])?;
        Ok(records.remove(0))
    }

    /// The records of independent actions, in their order; as many run side by side as there are places. They count as no progress:
    /// what a stage counts it says with [`expect`](Self::expect) and [`advance`](Self::advance).
    ///
    /// # Errors
    /// The first failure; what was finished is kept.
    pub fn map(&self, actions: Vec<Action>) -> Result<Vec<Record>, Failure> {
        self.each(actions, |action| self.call(action))
    }

    /// As [`map`](Self::map), for groups whose missing actions run together under one lease, a few at a time: each few are kept as soon as they
    /// are done. Each action is a unit of progress.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn map_groups(&self, groups: &[Vec<Action>]) -> Result<Vec<Vec<Record>>, Failure> {
        let few =
            |(n, group): (usize, &Vec<Action>)| group.chunks(TOGETHER).map(|few| (n, few.to_vec())).collect::<Vec<_>>();
        let fews = groups.iter().enumerate().flat_map(few).collect();
        let found = self.each(fews, |(n, few)| {
            let records = self.engine.perform(self.caller, &few)?;
            self.advance(few.len() as u64);
            Ok((n, records))
        })?;
        let mut records: Vec<Vec<Record>> = groups.iter().map(|group| Vec::with_capacity(group.len())).collect();
        for (n, few) in found {
            records[n].extend(few);
        }
        Ok(records)
    }

    /// Runs `work` on every item, side by side where there are places, and returns the results in the items' order.
    /// For work that is a chain of calls, such as the blocks of one descent.
    ///
    /// # Errors
    /// The first failure; no further item is begun after it.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn each<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        work: impl Fn(I) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        let workers = self.engine.places(self.backend()).min(items.len());
        let order = self.caller.share.order(items.len());
        if workers <= 1 && self.caller.share.of <= 1 {
            return items.into_iter().map(work).collect();
        }
        let results: Vec<Mutex<Option<Result<T, Failure>>>> = items.iter().map(|_| Mutex::new(None)).collect();
        let items: Vec<Mutex<Option<I>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let lock = "invariant: no item is worked on twice";
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !failed.load(Ordering::Relaxed) {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&i) = order.get(i) else { break };
                        let Some(item) = items[i].lock().expect(lock).take() else { break };
                        let result = work(item);
                        failed.fetch_or(result.is_err(), Ordering::Relaxed);
                        *results[i].lock().expect(lock) = Some(result);
                    }
                });
            }
        });
        let mut values = Vec::with_capacity(results.len());
        let mut unfinished = false;
        for result in results {
            match result.into_inner().expect(lock) {
                Some(result) => values.push(result?),
                None => unfinished = true,
            }
        }
        if unfinished { Err(Failure::Interrupted) } else { Ok(values) }
    }

    /// Says how many units there are in all, and what they are called; may be called again as more become known.
    ///
    /// # Panics
    /// Never: nothing panics with the unit in hand.
    pub fn expect(&self, total: u64, unit: &str) {
        self.total.store(total, Ordering::Relaxed);
        unit.clone_into(&mut self.unit.lock().expect("invariant: nothing panics with the unit in hand"));
        self.report();
    }

    /// Says that so many more units are done.
    pub fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
        self.report();
    }

    fn report(&self) {
        let unit = self.unit.lock().expect("invariant: nothing panics with the unit in hand").clone();
        if unit.is_empty() {
            return;
        }
        let (done, total) = (self.done.load(Ordering::Relaxed), Some(self.total.load(Ordering::Relaxed)));
        self.engine.events().emit(Event::StageProgress { stage: self.name().to_owned(), done, total, unit });
    }

    /// Something a person should know that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        self.engine.events().emit(Event::Warning { stage: Some(self.name().to_owned()), message: message.into() });
    }

    /// Whether the run is to stop.
    pub fn cancelled(&self) -> bool {
        self.engine.cancel().raised()
    }
}
