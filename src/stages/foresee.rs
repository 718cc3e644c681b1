//! What a run would find and what it would make, for forecasts: counted by walking from record to record, as the stage itself will. Nothing is
//! guessed: where it cannot be known how much follows, the count says "at least".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::descend::{Descent, Projector, Standing};
use super::evaluate::{Evaluate, evaluation};
use super::index::{State, States};
use super::replay::{self, Way};
use crate::execute::{Action, ActionKind, Failure};
use crate::key::{Digest, Key, Output, Record};
use crate::manifest::{Count, Forecast, Foresight, Known};

/// What a stage that is one action would find or make; unknown where the action cannot be said.
pub fn one(action: Result<Action, Failure>, foresight: &Foresight<'_>) -> Forecast {
    let Ok(action) = action else { return Forecast::unknown() };
    let mut foreseen = Foreseen::new(foresight, &[]);
    foreseen.call(&action);
    foreseen.forecast()
}

/// A file that the manifest names, and the digest of what it holds, as
/// [`StageContext::file`](crate::execute::StageContext::file) gives them to the stage; where the file lies is in no key.
///
/// # Errors
/// If it cannot be read.
pub fn file(foresight: &Foresight<'_>, path: &Path) -> Result<(PathBuf, Digest), Failure> {
    let unread = || Failure::Work(format!("`{}` cannot be read", path.display()));
    Ok((path.to_owned(), foresight.known.digest_file(path).ok_or_else(unread)?))
}

/// What has been foreseen of a stage so far, by kind of action.
pub struct Foreseen<'a> {
    known: &'a dyn Known,
    tallies: BTreeMap<String, Tally>,
    missing: BTreeSet<Key>,
}

#[derive(Default)]
struct Tally {
    count: Count,
    /// How many of the found ones say how long one takes.
    told: u64,
}

impl Tally {
    fn found(&mut self, seconds: f64) {
        self.count.reused += 1;
        self.count.seconds_reused += seconds;
        self.told += 1;
    }

    /// What is missing takes as long as what was found did on average; nothing is said where nothing was found.
    fn count(self) -> Count {
        let each = if self.told > 0 { self.count.seconds_reused / self.told as f64 } else { 0.0 };
        Count { seconds_to_spend: each * self.count.to_run as f64, ..self.count }
    }
}

impl<'a> Foreseen<'a> {
    /// Nothing yet of these kinds of action.
    pub fn new(foresight: &Foresight<'a>, kinds: &[&dyn ActionKind]) -> Self {
        let tallies = kinds.iter().map(|kind| (kind.name().to_owned(), Tally::default())).collect();
        Self { known: foresight.known, tallies, missing: BTreeSet::new() }
    }

    fn tally(&mut self, kind: &str) -> &mut Tally {
        self.tallies.entry(kind.to_owned()).or_default()
    }

    /// Counts a call of an action: its record, if it is there. One that is called twice runs once and is found then.
    pub fn call(&mut self, action: &Action) -> Option<Record> {
        let key = action.key();
        let record = self.known.record(&key);
        let is_new = record.is_none() && self.missing.insert(key);
        let tally = self.tally(&action.fingerprint().kind);
        match &record {
            Some(record) => tally.found(record.context.seconds),
            None if is_new => tally.count.to_run += 1,
            None => tally.count.reused += 1,
        }
        record
    }

    /// Whether an action's record is there; counts nothing.
    pub fn is_known(&self, action: &Action) -> bool {
        self.known.record(&action.key()).is_some()
    }

    /// The records that were noted for whoever computes something longer of this sort of action, each with how far it had come.
    pub fn noted(&self, sort: &Key) -> Vec<(Record, u64)> {
        self.known.noted(sort)
    }

    /// Counts a noted record that the stage goes on from.
    pub fn adopt(&mut self, record: &Record) {
        self.tally(&record.fingerprint.kind).found(record.context.seconds);
    }

    /// Counts calls whose inputs are yet to be made.
    pub fn call_unmade(&mut self, kind: &dyn ActionKind, calls: u64) {
        self.tally(kind.name()).count.to_run += calls;
    }

    /// Says that calls of these kinds may follow, nobody knows how many.
    pub fn open_end(&mut self, kinds: &[&dyn ActionKind]) {
        for kind in kinds {
            self.tally(kind.name()).count.at_least = true;
        }
    }

    /// All of it.
    pub fn forecast(self) -> Forecast {
        Forecast { actions: self.tallies.into_iter().map(|(kind, tally)| (kind, tally.count())).collect() }
    }
}

/// θ at an iteration of a training: stored, or replayed; nothing where the replay is yet to run.
///
/// # Errors
/// If the training does not reach that far.
pub fn state_at(states: &States, iteration: u64, foreseen: &mut Foreseen<'_>) -> Result<Option<Output>, Failure> {
    Ok(match replay::way_to(states, iteration)? {
        Way::Stored(State { theta, .. }) => Some(theta),
        Way::Replay(action) => foreseen.call(&action).map(|record| record.outputs["theta"].clone()),
    })
}

/// The end of the descent from a state, as far as it is known: each known block leads to the next, and one that hit the cap is
/// evaluated. A descent that is not through takes at least one block more.
pub fn descent(
    projector: &Projector,
    states: &States,
    theta: Option<&Output>,
    foreseen: &mut Foreseen<'_>,
) -> Option<Output> {
    let end = if let Some(theta) = theta {
        known_end(projector, theta, foreseen)
    } else {
        foreseen.call_unmade(&Descent, 1);
        None
    };
    let Some(end) = end else {
        foreseen.open_end(&[&Descent, &Evaluate]);
        return None;
    };
    if end.loss.is_none() {
        foreseen.call(&evaluation(&states.setting, &states.validation, &end.theta));
    }
    Some(end.theta)
}

fn known_end(projector: &Projector, theta: &Output, foreseen: &mut Foreseen<'_>) -> Option<Standing> {
    let mut at = Standing::start(theta);
    if !foreseen.is_known(&projector.block(theta, &at))
        && let Some((record, noted)) = projector.farthest(foreseen.noted(&projector.descent_of(theta).key())).ok()?
    {
        foreseen.adopt(&record);
        at = noted;
    }
    while !projector.is_through(&at) {
        at = at.then(&foreseen.call(&projector.block(theta, &at))?).ok()?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::train::Epoch;
    use super::*;
    use crate::execute::{ActionContext, Produced};
    use crate::key::{Arithmetic, Context, Inputs, Records};

    struct Kind;

    impl ActionKind for Kind {
        fn name(&self) -> &'static str {
            "kind"
        }

        fn run(&self, _: &ActionContext<'_>) -> Result<Produced, Failure> {
            unreachable!("a forecast runs nothing")
        }
    }

    /// Actions at even positions are known, each of which took as many seconds as its position says.
    struct Evens;

    fn at(position: u64) -> Action {
        Action::new(&Kind).position("at", position)
    }

    impl Records for Evens {
        fn record(&self, key: &Key) -> Option<Record> {
            let position = (0..10).step_by(2).find(|&position| at(position).key() == *key)?;
            let arithmetic = Arithmetic { backend: "cpu".into(), features: String::new() };
            let (machine, program, seconds) = (String::new(), String::new(), position as f64);
            let (makers, files) = (BTreeMap::new(), BTreeMap::new());
            let context = Context { seconds, machine, program, arithmetic, makers, files };
            Some(Record::new(at(position).fingerprint().clone(), BTreeMap::new(), context))
        }

        fn bytes(&self, _: &Output) -> Option<Vec<u8>> {
            None
        }

        fn noted(&self, _: &Key) -> Vec<(Record, u64)> {
            Vec::new()
        }
    }

    impl Known for Evens {
        fn digest_file(&self, path: &Path) -> Option<Digest> {
            (path == Path::new("there")).then(|| Digest::of(b"there"))
        }
    }

    fn foreseen(with: impl FnOnce(&mut Foreseen<'_>)) -> Forecast {
        let inputs = Inputs::new();
        let foresight = Foresight { inputs: &inputs, backend: "cpu", known: &Evens };
        let mut foreseen = Foreseen::new(&foresight, &[&Epoch]);
        with(&mut foreseen);
        foreseen.forecast()
    }

    #[test]
    fn what_is_missing_takes_as_long_as_what_was_found_did_on_average() {
        let forecast = foreseen(|foreseen| (2..8).for_each(|position| drop(foreseen.call(&at(position)))));
        let count = Count { reused: 3, to_run: 3, at_least: false, seconds_reused: 12.0, seconds_to_spend: 12.0 };
        assert_eq!(forecast.actions["kind"], count);
        assert_eq!(forecast.actions["epoch"], Count::default(), "no such action is called");
    }

    #[test]
    fn an_action_that_is_called_twice_runs_once_and_tells_no_seconds() {
        let forecast =
            foreseen(|foreseen| [1, 1, 4, 4].iter().for_each(|&position| drop(foreseen.call(&at(position)))));
        let count = Count { reused: 3, to_run: 1, at_least: false, seconds_reused: 8.0, seconds_to_spend: 4.0 };
        assert_eq!(forecast.actions["kind"], count);
    }

    #[test]
    fn without_a_record_no_seconds_are_told() {
        let forecast = foreseen(|foreseen| {
            foreseen.call(&at(1));
            foreseen.call_unmade(&Kind, 1);
            foreseen.open_end(&[&Epoch]);
        });
        assert_eq!(forecast.actions["kind"], Count { to_run: 2, ..Count::default() });
        assert_eq!(forecast.actions["epoch"], Count { at_least: true, ..Count::default() });
    }

    #[test]
    fn a_stage_of_one_action_is_unknown_where_a_file_is_gone() {
        let inputs = Inputs::new();
        let foresight = Foresight { inputs: &inputs, backend: "cpu", known: &Evens };
        let with = |path: &str| {
            let found = file(&foresight, Path::new(path));
            one(found.map(|(path, digest)| at(0).file("file", &path, digest)), &foresight)
        };
        assert_eq!(with("there").actions["kind"].to_run, 1);
        assert_eq!(with("gone"), Forecast::unknown());
        assert_eq!(one(Ok(at(0)), &foresight).actions["kind"].reused, 1);
    }
}
