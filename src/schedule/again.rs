//! Absent bytes that actions alone cannot make again: what a stage itself makes of its actions' outputs, such as a table, and what lost its
//! record too. A stage that is done is then run once more; its actions are found, so that costs little.

use std::collections::BTreeMap;

use super::Schedule;
use crate::event::Event;
use crate::execute::{Caller, Failure, Remaking};
use crate::key::{Digest, Output};
use crate::plan::Graph;

/// How often the same bytes are made again for one purpose before the cache is taken to be failing.
const ATTEMPTS: usize = 5;

/// What something is made again for.
#[derive(Clone, Debug, Default)]
pub(super) struct Purpose {
    /// The stage that runs and needs it, by its place; none where a result is to be restored.
    pub(super) asker: Option<usize>,
    /// The stages that are run once more for it, each for the one before. None is asked for what it waits for itself.
    again: Vec<usize>,
}

impl Purpose {
    /// What a running stage needs.
    pub(super) fn of(asker: usize) -> Self {
        Self { asker: Some(asker), again: Vec::new() }
    }

    fn through(&self, place: usize) -> Self {
        Self { again: [&self.again[..], &[place]].concat(), ..self.clone() }
    }
}

impl Schedule<'_> {
    /// Makes the bytes of a stage's output again: by an action that made them, or by running a stage once more.
    ///
    /// # Errors
    /// If it cannot be done.
    ///
    /// # Panics
    /// Never: only stages that are done are asked.
    pub fn make_again(&self, output: &Output) -> Result<(), Failure> {
        self.make_again_for(output, &Purpose::default())
    }

    /// It ends because each stage is asked once at most, by whoever is not asked through it.
    pub(super) fn make_again_for(&self, output: &Output, purpose: &Purpose) -> Result<(), Failure> {
        let mut asked = purpose.again.clone();
        let mut problems = Vec::new();
        // A stage that is run once more leaves the last resort to what it is run for.
        let nested = !purpose.again.is_empty();
        let mut resorted = nested;
        loop {
            match self.engine.remake(output, &|digest| self.maker_of(digest, &asked).is_some())? {
                Remaking::There => return Ok(()),
                Remaking::Needs(needed) => {
                    let place = self.maker_of(&needed.digest, &asked).expect("invariant: it was just found");
                    asked.push(place);
                    self.emit_remade(place, needed.digest);
                    problems.extend(self.run_again(place, purpose)?);
                }
                Remaking::Lost(_) if !resorted => {
                    resorted = true;
                    self.run_all_again(output, purpose)?;
                }
                Remaking::Lost(_) if nested => return Err(Failure::Absent(output.clone())),
                Remaking::Lost(mut reasons) => {
                    reasons.append(&mut problems);
                    return Err(lost(output, &reasons));
                }
            }
        }
    }

    /// The place of a stage that is done, has these bytes among its outputs and was not asked yet.
    fn maker_of(&self, digest: &Digest, asked: &[usize]) -> Option<usize> {
        let makes = |place: &usize| {
            let done = self.done[*place].get();
            done.is_some_and(|done| done.outputs.values().any(|made| made.digest == *digest))
        };
        (0..self.wanted.len()).filter(|place| !asked.contains(place)).find(makes)
    }

    /// The last resort: the stages above are run once more, upstream first. Of their actions those whose records are lost run again.
    fn run_all_again(&self, output: &Output, purpose: &Purpose) -> Result<(), Failure> {
        let above = match purpose.asker {
            Some(place) => Graph::new(self.study).with_all_above(&[self.wanted[place]]),
            None => self.wanted.clone(),
        };
        for place in above.into_iter().map(|instance| self.place_of(instance)) {
            if self.engine.store().can_have(output) {
                break;
            }
            if self.done[place].get().is_some() {
                self.run_again(place, purpose)?;
            }
        }
        Ok(())
    }

    fn emit_remade(&self, place: usize, digest: Digest) {
        let done = self.done[place].get().expect("invariant: only stages that are done are asked");
        let kind = self.study.instances[self.wanted[place]].kind.name().to_owned();
        self.engine.events().emit(Event::Remade { digest, kind, key: done.key });
    }

    /// Runs a stage once more. That it cannot is no failure while there may be another way, and is returned in words.
    fn run_again(&self, place: usize, purpose: &Purpose) -> Result<Option<String>, Failure> {
        let done = self.done[place].get().expect("invariant: only stages that are done are asked");
        let stage = self.name(place).to_owned();
        let caller = Caller { stage, backend: done.backend.to_owned(), ..Caller::default() };
        match self.work(place, &done.inputs, &caller, &purpose.through(place)) {
            Ok(_) => Ok(None),
            Err(failure @ (Failure::Work(_) | Failure::Absent(_))) => Ok(Some(format!("{}: {failure}", caller.stage))),
            Err(failure) => Err(failure),
        }
    }

    /// The bytes of an output of a stage that is done, made again where they are gone.
    ///
    /// # Errors
    /// If they cannot be.
    pub fn bytes(&self, output: &Output) -> Result<Vec<u8>, Failure> {
        let mut gone = Gone::default();
        loop {
            if let Some(bytes) = self.engine.store().read(output)? {
                return Ok(bytes);
            }
            gone.once_more(output)?;
            self.make_again(output)?;
        }
    }
}

fn lost(output: &Output, reasons: &[String]) -> Failure {
    let digest = output.digest.short();
    match reasons {
        [] => Failure::Machine(format!("the bytes of `{digest}` are gone and no stage of this study makes them")),
        reasons => Failure::Work(reasons.join("\n")),
    }
}

/// How often which bytes were found gone.
#[derive(Default)]
pub(super) struct Gone(BTreeMap<Digest, usize>);

impl Gone {
    /// Notes that these bytes were found gone.
    ///
    /// # Errors
    /// Where they were so often that something takes them away as fast as they are made.
    pub(super) fn once_more(&mut self, output: &Output) -> Result<(), Failure> {
        let times = self.0.entry(output.digest).or_default();
        *times += 1;
        if *times <= ATTEMPTS {
            return Ok(());
        }
        let digest = output.digest.short();
        Err(Failure::Machine(format!("the bytes of `{digest}` vanish as fast as they are made again")))
    }
}
