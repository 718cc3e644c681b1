//! Absent bytes are no miss: a blob that is gone or damaged is made again by an action that made it, from records alone.
//!
//! Several actions may have made the same bytes. One that cannot do it now is passed over for a reason, which is told only where no other can:
//! a file that it read was edited or is missing, its kind has another version by now, there is no such device, it failed, or it gave
//! other bytes. Of the rest the cheapest are taken, in an order in which nothing is made of itself (`derive`). What only a stage makes of
//! its actions' outputs, such as a table, is asked of whoever runs the stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::PoisonError;

use super::derive::{self, Way};
use super::leased::{Berth, Ran};
use super::{Action, Engine, Failure, Source, engine};
use crate::event::Event;
use crate::key::{Digest, Key, Output, Record};
use crate::store::Remade;

/// How often the same bytes may be found gone while others are made of them.
const ATTEMPTS: usize = 5;

/// What came of asking for bytes that are gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Remaking {
    /// They are there.
    There,
    /// They can be made once a stage has made these.
    Needs(Output),
    /// Nobody makes them; why those who did cannot do it now.
    Lost(Vec<String>),
}

/// An action that may make absent bytes again.
#[derive(Clone)]
struct Maker {
    record: Record,
    action: Action,
    way: Way<Digest>,
}

/// Why a maker is not one now, or that the whole of it has to end.
enum Unfit {
    Because(String),
    Failed(Failure),
}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Work(reason) => Self::Because(reason),
            failure => Self::Failed(failure),
        }
    }
}

/// One request for absent bytes: what was tried for it.
struct Request<'e> {
    engine: &'e Engine,
    wanted: &'e Output,
    by_stage: &'e dyn Fn(&Digest) -> bool,
    /// Makers that were tried and cannot do it, with the reason.
    unfit: BTreeMap<Key, String>,
    /// How often which bytes were found gone.
    gone: BTreeMap<Digest, usize>,
}

/// What is to be done next for a request.
enum Next {
    Run(Vec<Maker>),
    Ask(Output),
    GiveUp(Vec<String>),
}

impl Engine {
    /// Sees to it that an input's bytes are there, making them again where they are not.
    ///
    /// # Errors
    /// [`Failure::Absent`] where actions alone cannot do it: then a stage must run again.
    pub fn ensure(&self, source: &Source) -> Result<(), Failure> {
        let Source::Kept(output) = source else { return Ok(()) };
        if self.store.can_have(output) {
            return Ok(());
        }
        match self.remake(output, &|_| false)? {
            Remaking::There => Ok(()),
            Remaking::Needs(_) | Remaking::Lost(_) => Err(Failure::Absent(output.clone())),
        }
    }

    /// Makes bytes that are gone again. `by_stage` says what could be had by running a stage once more; it is asked only for what no action
    /// makes.
    ///
    /// # Errors
    /// A failing cache or machine, an interruption, an action that gives other bytes on the same arithmetic.
    pub fn remake(&self, wanted: &Output, by_stage: &dyn Fn(&Digest) -> bool) -> Result<Remaking, Failure> {
        let _one_at_a_time = self.remaking.lock().unwrap_or_else(PoisonError::into_inner);
        Request { engine: self, wanted, by_stage, unfit: BTreeMap::new(), gone: BTreeMap::new() }.settle()
    }
}

impl Request<'_> {
    fn settle(mut self) -> Result<Remaking, Failure> {
        while !self.engine.store.can_have(self.wanted) {
            match self.next()? {
                Next::Run(makers) => self.follow(&makers)?,
                Next::Ask(output) => return Ok(Remaking::Needs(output)),
                Next::GiveUp(reasons) => return Ok(Remaking::Lost(reasons)),
            }
        }
        Ok(Remaking::There)
    }

    /// First by what this process knows of makers, which costs nothing; then by all records; then with the help of stages.
    fn next(&self) -> Result<Next, Failure> {
        let (makers, reasons) = self.makers()?;
        if let Some(order) = self.order(&makers, &|_| false) {
            return Ok(Next::Run(order));
        }
        let (makers, reasons) = if self.engine.store.learn_makers()? { self.makers()? } else { (makers, reasons) };
        if let Some(order) = self.order(&makers, &|_| false) {
            return Ok(Next::Run(order));
        }
        let made: BTreeSet<Digest> = makers.iter().flat_map(|maker| maker.way.gives.iter().copied()).collect();
        let by_stage = |digest: &Digest| !made.contains(digest) && (self.by_stage)(digest);
        if by_stage(&self.wanted.digest) {
            return Ok(Next::Ask(self.wanted.clone()));
        }
        let order = self.order(&makers, &by_stage);
        let asked = |maker: &Maker| maker.absent_inputs(self.engine).find(|output| by_stage(&output.digest));
        Ok(match order.as_deref().and_then(|order| order.iter().find_map(asked)) {
            Some(output) => Next::Ask(output),
            None => Next::GiveUp(reasons),
        })
    }

    fn order(&self, makers: &[Maker], given: &dyn Fn(&Digest) -> bool) -> Option<Vec<Maker>> {
        let ways: Vec<Way<Digest>> = makers.iter().map(|maker| maker.way.clone()).collect();
        let order = derive::order(self.wanted.digest, &ways, given)?;
        Some(order.into_iter().map(|i| makers[i].clone()).collect())
    }

    /// Every known action that could take part in making the wanted bytes, and why others cannot.
    fn makers(&self) -> Result<(Vec<Maker>, Vec<String>), Failure> {
        let (mut makers, mut reasons) = (Vec::new(), Vec::new());
        let mut met = BTreeSet::from([self.wanted.digest]);
        let mut ahead = vec![self.wanted.digest];
        let mut keys = BTreeSet::new();
        while let Some(digest) = ahead.pop() {
            self.engine.heed_interruption()?;
            for record in self.engine.store.makers_of(&digest)? {
                if !keys.insert(record.key) {
                    continue;
                }
                let fit = match self.unfit.get(&record.key) {
                    Some(reason) => Err(Unfit::Because(reason.clone())),
                    None => Maker::of(record, self.engine),
                };
                match fit {
                    Ok(maker) => {
                        ahead.extend(maker.way.needs.iter().filter(|need| met.insert(**need)));
                        makers.push(maker);
                    }
                    Err(Unfit::Because(reason)) => reasons.push(reason),
                    Err(Unfit::Failed(failure)) => return Err(failure),
                }
            }
        }
        reasons.dedup();
        Ok((makers, reasons))
    }

    /// Runs makers in their order, as far as what they give is still absent; one that cannot do it is noted, for another plan.
    fn follow(&mut self, makers: &[Maker]) -> Result<(), Failure> {
        let needed: BTreeSet<Digest> =
            makers.iter().flat_map(|maker| maker.way.needs.iter().copied()).chain([self.wanted.digest]).collect();
        for maker in makers {
            self.engine.heed_interruption()?;
            let absent = |output: &&Output| needed.contains(&output.digest) && !self.engine.store.can_have(output);
            let Some(output) = maker.record.outputs.values().find(absent) else { continue };
            match maker.run(self.engine, output) {
                Ok(()) => {}
                Err(Unfit::Because(reason)) => {
                    self.unfit.insert(maker.record.key, reason);
                    return Ok(());
                }
                // Damage is found by reading; what was set aside is made again by the next plan.
                Err(Unfit::Failed(Failure::Absent(output))) => return self.found_gone(&output),
                Err(Unfit::Failed(failure)) => return Err(failure),
            }
        }
        if self.engine.store.can_have(self.wanted) { Ok(()) } else { self.found_gone(&self.wanted.clone()) }
    }

    fn found_gone(&mut self, output: &Output) -> Result<(), Failure> {
        let times = self.gone.entry(output.digest).or_default();
        *times += 1;
        if *times <= ATTEMPTS {
            return Ok(());
        }
        let digest = output.digest.short();
        Err(Failure::Machine(format!("the bytes of `{digest}` vanish as fast as they are made again")))
    }
}

impl Maker {
    /// The action that a record describes, with its inputs; the reason where it cannot run now.
    fn of(record: Record, engine: &Engine) -> Result<Self, Unfit> {
        let kind = engine.kind(&record.fingerprint.kind)?;
        let version = record.fingerprint.version;
        if kind.version() != version {
            let name = kind.name();
            return Err(Unfit::Because(format!(
                "a lost result was made by version {version} of `{name}`, which is gone"
            )));
        }
        let backend = &record.context.arithmetic.backend;
        if engine.places(backend) == 0 {
            let why = engine.devices.missing(backend).map_or_else(String::new, |why| format!(": {why}"));
            let problem = format!("a lost result was made on `{backend}`, which is not to be had here{why}");
            return Err(Unfit::Because(problem + "; `--device cpu` computes all of it anew"));
        }
        let mut action = Action { fingerprint: record.fingerprint.clone(), inputs: BTreeMap::new() };
        for (name, digest) in &record.fingerprint.inputs {
            let source = match record.context.files.get(name) {
                Some(path) => engine.unchanged(&engine.root().join(path), digest)?,
                None => Source::Kept(engine.output_of(digest)?),
            };
            action.inputs.insert(name.clone(), source);
        }
        let gives = record.outputs.values().map(|output| output.digest).collect();
        let mut maker = Self { way: Way { needs: Vec::new(), gives, cost: record.context.seconds }, record, action };
        maker.way.needs = maker.absent_inputs(engine).map(|output| output.digest).collect();
        Ok(maker)
    }

    fn absent_inputs<'m>(&'m self, engine: &'m Engine) -> impl Iterator<Item = Output> + 'm {
        self.action.inputs.values().filter_map(|source| match source {
            Source::Kept(input) if !engine.store.can_have(input) => Some(input.clone()),
            _ => None,
        })
    }

    /// Runs it for `wanted`, which is one of its outputs.
    fn run(&self, engine: &Engine, wanted: &Output) -> Result<(), Unfit> {
        let Self { record, action, .. } = self;
        let (kind, backend) = (engine.kind(&record.fingerprint.kind)?, &record.context.arithmetic.backend);
        let (cancelled, waiting) = (|| engine.cancel.raised(), || {});
        let reserved = engine.store.reserve_again(&record.key, wanted, &cancelled, &waiting).map_err(Failure::from)?;
        let Some(reservation) = reserved else { return Ok(()) };
        engine.events.emit(Event::Remade { digest: wanted.digest, kind: kind.name().to_owned(), key: record.key });
        let berth = Berth { stage: None, backend, ordinal: engine.ordinal };
        let Ran { mut produced, seconds, arithmetic } = engine.run_group(berth, kind, &[action], &|| {})?;
        engine.check_files(action)?;
        let context = engine.context(action, seconds, &arithmetic);
        let (bytes, mut outputs) = engine::apart(produced.remove(0));
        outputs.append(&mut engine.store.put_all(&bytes).map_err(Failure::from)?);
        let remade = reservation.remade(Record::new(action.fingerprint.clone(), outputs, context));
        if let Remade::Changed { .. } = remade.map_err(Failure::from)? {
            let message = format!(
                "`{}` gives other bytes on this machine's arithmetic ({}) than it gave on `{}`; what depends on it is stale",
                kind.name(),
                arithmetic.features,
                record.context.machine,
            );
            engine.events.emit(Event::Warning { stage: None, message: message.clone() });
            return Err(Unfit::Because(message));
        }
        Ok(())
    }
}

impl Engine {
    fn heed_interruption(&self) -> Result<(), Failure> {
        if self.cancel.raised() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// A file of the user's, if it holds what it held.
    fn unchanged(&self, path: &Path, digest: &Digest) -> Result<Source, Failure> {
        if self.digest_file(path)? == *digest {
            return Ok(Source::File { path: path.to_owned(), digest: *digest });
        }
        let problem = "it is needed to make a lost result again, and no longer holds what it held then";
        Err(Failure::Work(format!("`{}` was edited: {problem}", path.display())))
    }

    /// An input as the output that it is: a blob that is there, what an action made, or short text that a record carries.
    fn output_of(&self, digest: &Digest) -> Result<Output, Failure> {
        if let Some(output) = self.store.blob_of(digest).or(self.store.inline(digest)?) {
            return Ok(output);
        }
        let made = self.store.makers_of(digest)?.into_iter().flat_map(|made| made.outputs.into_values());
        let made = made.into_iter().find(|output| output.digest == *digest);
        // One of unknown length is never there, and whoever makes it is found by its digest.
        Ok(made.unwrap_or(Output { digest: *digest, length: 0, inline: None }))
    }
}
