//! The runner's loop, and one run of one stage.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, mpsc};
use std::time::Instant;

use super::again::{Gone, Purpose};
use super::{Ready, State};
use crate::event::Event;
use crate::execute::{Caller, Engine, Failure, Share, StageContext, Work};
use crate::key::{Fingerprint, Inputs, Key, Outputs, Record};
use crate::manifest::{Instance, Study};
use crate::plan::{Graph, Reason, Resolved, World, inputs_of, ordinal_of, resolve};
use crate::store::Lookup;

/// Everything that a run of a study needs.
pub struct Schedule<'a> {
    pub(super) study: &'a Study,
    works: &'a [Arc<dyn Work>],
    pub(super) wanted: Vec<usize>,
    pub(super) engine: &'a Engine,
    world: &'a (dyn World + Sync),
    jobs: usize,
    share: Share,
    given: bool,
    elsewhere: Option<&'a dyn Elsewhere>,
    pub(super) done: Vec<OnceLock<Done>>,
}

/// Runs stages somewhere else than in this program.
pub trait Elsewhere: Sync {
    /// Runs one; its record is in the store when this returns.
    ///
    /// # Errors
    /// Why there is none.
    fn run(&self, errand: &Errand<'_>) -> Result<Errands, Failure>;
}

/// A stage that is to run somewhere else.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// The key that its record is to have.
    pub key: Key,
    /// Where it is to compute: `cpu` or `cuda`.
    pub backend: &'static str,
}

/// What was done elsewhere for a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errands {
    /// Actions found.
    pub hit: u64,
    /// Actions run.
    pub ran: u64,
}

/// What is known of a stage that is through.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) backend: &'static str,
    pub(super) inputs: Inputs,
    pub(super) outputs: Outputs,
}

/// A stale stage on its way.
struct Queued {
    place: usize,
    fingerprint: Fingerprint,
    backend: &'static str,
    ordinal: Option<usize>,
    inputs: Inputs,
    reason: String,
}

/// How one stage ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The instance, by its index in the study.
    pub instance: usize,
    /// Its final state, or the state it was in when the run was interrupted.
    pub state: State,
    /// Whether it ran, rather than being found.
    pub ran: bool,
    /// Its key, where it is known.
    pub key: Option<Key>,
    /// Why it ran, failed or was skipped.
    pub reason: String,
    /// What it made.
    pub outputs: Outputs,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Every wanted stage, upstream first.
    pub stages: Vec<Ended>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Whether the cache or the machine failed, and how: nothing more was begun.
    pub machine: Option<String>,
    /// Whether a device was lost, and how: the rest went on.
    pub lost: Option<String>,
}

impl Outcome {
    /// Whether a stage failed by its own fault.
    pub fn failed(&self) -> bool {
        self.stages.iter().any(|stage| stage.state == State::Failed)
    }
}

impl<'a> Schedule<'a> {
    /// A schedule of the `wanted` instances; `works[i]` is the work of instance `i`. At most `jobs` stages run side by side.
    pub fn new(
        (study, works): (&'a Study, &'a [Arc<dyn Work>]),
        wanted: Vec<usize>,
        engine: &'a Engine,
        world: &'a (dyn World + Sync),
        jobs: usize,
    ) -> Self {
        let done = wanted.iter().map(|_| OnceLock::new()).collect();
        let (share, given, elsewhere) = (Share::default(), false, None);
        Self { study, works, wanted, engine, world, jobs: jobs.max(1), share, given, elsewhere, done }
    }

    /// Has stale stages run somewhere else, at most `jobs` at once.
    #[must_use]
    pub fn elsewhere(self, elsewhere: &'a dyn Elsewhere, jobs: usize) -> Self {
        Self { elsewhere: Some(elsewhere), jobs: jobs.max(1), ..self }
    }

    /// On whichever GPUs this program was given: the number of one that a stage names is of another machine.
    #[must_use]
    pub fn on_what_is_given(self) -> Self {
        Self { given: true, ..self }
    }

    /// As one of several programs that do the same together.
    #[must_use]
    pub fn sharing(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// On a broken invariant of the scheduler, which is a bug.
    pub fn run(&self) -> Outcome {
        let mut ready = Ready::new(&Graph::new(self.study).above(&self.wanted));
        let mut ended: Vec<Ended> = self.wanted.iter().map(|&instance| Ended::not_yet(instance)).collect();
        let mut outcome = Outcome::default();
        let mut queue = VecDeque::new();
        let mut running = 0;
        let (ends, ending) = mpsc::channel();
        std::thread::scope(|scope| {
            loop {
                let going_on = !self.engine.cancel().raised() && outcome.machine.is_none();
                while going_on && let Some(place) = ready.pop() {
                    match self.look_up(place) {
                        None => drop(ready.set(place, State::Done)),
                        Some(queued) => {
                            ended[place].reason.clone_from(&queued.reason);
                            ready.set(place, State::Queued);
                            queue.push_back(queued);
                        }
                    }
                }
                while going_on
                    && running < self.jobs
                    && let Some(queued) = queue.pop_front()
                {
                    ready.set(queued.place, State::Running);
                    running += 1;
                    let ends = ends.clone();
                    scope.spawn(move || {
                        let place = queued.place;
                        let result = self.run_stage(queued);
                        // The receiver lives until every stage has ended.
                        let _ = ends.send((place, result));
                    });
                }
                if running == 0 {
                    break;
                }
                let (place, result) = ending.recv().expect("invariant: a running stage sends its end");
                running -= 1;
                self.settle(place, result, (&mut ready, &mut ended), &mut outcome);
            }
        });
        outcome.interrupted |= self.engine.cancel().raised();
        for (place, ended) in ended.iter_mut().enumerate() {
            ended.state = ready.state(place);
            if let Some(done) = self.done[place].get() {
                ended.key = Some(done.key);
                ended.outputs.clone_from(&done.outputs);
            }
        }
        outcome.stages = ended;
        outcome
    }

    fn settle(
        &self,
        place: usize,
        result: Result<(), Failure>,
        (ready, ended): (&mut Ready, &mut [Ended]),
        outcome: &mut Outcome,
    ) {
        match result {
            Ok(()) => {
                ended[place].ran = true;
                ready.set(place, State::Done);
            }
            Err(Failure::Interrupted) => outcome.interrupted = true,
            Err(failure) => {
                let stage = self.name(place).to_owned();
                let message = failure.to_string();
                self.engine.events().emit(Event::StageFailed { stage: stage.clone(), message: message.clone() });
                match failure {
                    Failure::Work(_) => {}
                    Failure::Lost(_) => drop(outcome.lost.get_or_insert_with(|| message.clone())),
                    _ => drop(outcome.machine.get_or_insert_with(|| message.clone())),
                }
                ended[place].reason = message;
                for skipped in ready.set(place, State::Failed) {
                    ended[skipped].reason = format!("{stage} failed");
                    let (skipped, because) = (self.name(skipped).to_owned(), stage.clone());
                    self.engine.events().emit(Event::StageSkipped { stage: skipped, because });
                }
            }
        }
    }

    pub(super) fn name(&self, place: usize) -> &str {
        &self.study.instances[self.wanted[place]].name
    }

    pub(super) fn place_of(&self, instance: usize) -> usize {
        self.wanted.binary_search(&instance).expect("invariant: what a wanted stage needs is wanted")
    }

    /// Finds the record of a stage whose upstream is done, or says what is to run.
    fn look_up(&self, place: usize) -> Option<Queued> {
        let i = self.wanted[place];
        let instance = &self.study.instances[i];
        let outputs = |upstream| self.done[self.place_of(upstream)].get().map(|done| &done.outputs);
        let inputs = inputs_of(self.study, i, outputs).expect("invariant: what is above a ready stage is done");
        match resolve(instance, &inputs, self.world) {
            Resolved::Fresh { record, backend } => {
                let (stage, kind) = (instance.name.clone(), instance.kind.name().to_owned());
                self.engine.events().emit(Event::StageFresh { stage, kind, key: record.key });
                let done = Done { key: record.key, backend, inputs, outputs: record.outputs };
                assert!(self.done[place].set(done).is_ok(), "invariant: a stage is done once");
                None
            }
            Resolved::Stale { fingerprint, backend } => {
                let reasons = Reason::find(self.study, i, &fingerprint, self.world);
                let reason = in_brief(&reasons);
                let ordinal = ordinal_of(instance, self.world).filter(|_| !self.given);
                Some(Queued { place, fingerprint, backend, ordinal, inputs, reason })
            }
        }
    }

    /// Runs one stage and writes its record.
    fn run_stage(&self, queued: Queued) -> Result<(), Failure> {
        let Queued { place, fingerprint, backend, ordinal, inputs, reason } = queued;
        let (stage, kind) = (self.name(place).to_owned(), fingerprint.kind.clone());
        self.engine.events().emit(Event::StageStarted { stage: stage.clone(), kind: kind.clone(), reason });
        let start = Instant::now();
        let (record, Errands { hit, ran }) = if let Some(elsewhere) = self.elsewhere {
            let errand =
                Errand { instance: &self.study.instances[self.wanted[place]], key: fingerprint.key(), backend };
            let errands = elsewhere.run(&errand)?;
            let record = self.engine.store().record(&errand.key)?;
            (record.ok_or_else(|| Failure::Machine(format!("the record of `{stage}` is gone")))?, errands)
        } else {
            let (share, on) = (self.share, backend.to_owned());
            let caller = Caller { stage: stage.clone(), backend: on, ordinal, share, ..Caller::default() };
            let outputs = self.work(place, &inputs, &caller, &Purpose::of(place))?;
            let record = self.commit(fingerprint, outputs, &caller, start.elapsed().as_secs_f64())?;
            let (hit, ran) = (caller.hit.load(Ordering::Relaxed), caller.ran.load(Ordering::Relaxed));
            (record, Errands { hit, ran })
        };
        let seconds = start.elapsed().as_secs_f64();
        self.engine.events().emit(Event::StageFinished { stage, kind, key: record.key, seconds, hit, ran });
        let done = Done { key: record.key, backend, inputs, outputs: record.outputs };
        assert!(self.done[place].set(done).is_ok(), "invariant: a stage is done once");
        Ok(())
    }

    /// Does a stage's work; bytes that it finds gone are made again, however many they are.
    pub(super) fn work(
        &self,
        place: usize,
        inputs: &Inputs,
        caller: &Caller,
        purpose: &Purpose,
    ) -> Result<Outputs, Failure> {
        let mut gone = Gone::default();
        loop {
            let context = StageContext::new(self.engine, caller, inputs);
            let work = &self.works[self.wanted[place]];
            let result = catch_unwind(AssertUnwindSafe(|| work.run(&context)));
            match result.unwrap_or_else(|panic| Err(Failure::Work(bug(&*panic)))) {
                Err(Failure::Absent(output)) => {
                    gone.once_more(&output)?;
                    self.make_again_for(&output, purpose)?;
                }
                result => return result,
            }
        }
    }

    fn commit(
        &self,
        fingerprint: Fingerprint,
        outputs: Outputs,
        caller: &Caller,
        seconds: f64,
    ) -> Result<Record, Failure> {
        let (key, kind) = (fingerprint.key(), fingerprint.kind.clone());
        let used = std::mem::take(&mut *caller.used.lock().unwrap_or_else(PoisonError::into_inner));
        self.engine.store().write_list(&key, &used)?;
        let waiting = || self.engine.events().emit(Event::Waiting { kind: kind.clone(), key });
        match self.engine.store().reserve(&key, &|| self.engine.cancel().raised(), &waiting)? {
            Lookup::Hit(record) => Ok(*record),
            Lookup::Miss(reservation) => {
                let context = self.engine.bare_context(seconds);
                Ok(reservation.commit(Record::new(fingerprint, outputs, context))?)
            }
        }
    }
}

impl Ended {
    fn not_yet(instance: usize) -> Self {
        let outputs = Outputs::new();
        Self { instance, state: State::Wanted, ran: false, key: None, reason: String::new(), outputs }
    }
}

/// The first reasons in words; `explain` has them all.
fn in_brief(reasons: &[Reason]) -> String {
    const SHOWN: usize = 3;
    let mut words = Reason::in_words(reasons);
    let more = words.len().saturating_sub(SHOWN);
    if more > 0 {
        words.truncate(SHOWN);
        words.push(format!("and {more} more"));
    }
    words.join("; ")
}

/// What a panic said; it names the invariant.
fn bug(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("a bug in thalweg: {}", text.unwrap_or("panicked"))
}
