//! What a run would find and what it would make, for forecasts: counted by walking from record to record, as the stage itself will. Nothing is
//! guessed: where it cannot be known how much follows, the count says "at least".

use super::descend::{Projector, Standing};
use super::index::State;
use crate::execute::Action;
use crate::key::Records;
use crate::manifest::Count;

/// Counts what is found and what is not, with the seconds that the found ones once took.
#[derive(Default)]
struct Tally(Count);

impl Tally {
    fn found(&mut self, seconds: f64) {
        self.0.reused += 1;
        self.0.seconds_reused += seconds;
    }

    /// What is missing takes as long as what was found did on average; nothing is said where nothing was found.
    fn count(mut self) -> Count {
        if self.0.reused > 0 {
            self.0.seconds_to_spend = self.0.seconds_reused / self.0.reused as f64 * self.0.to_run as f64;
        }
        self.0
    }
}

/// Blocks of the descents from `states`: each known one leads to the next. A descent that is not through takes at least one more.
pub fn descents(projector: &Projector, states: &[State], records: &dyn Records) -> Count {
    let mut tally = Tally::default();
    for state in states {
        let mut at = Standing::start(&state.theta);
        if records.record(&projector.block(&state.theta, &at).key()).is_none()
            && let Ok(Some((record, noted))) =
                projector.farthest(records.noted(&projector.descent_of(&state.theta).key()))
        {
            tally.found(record.context.seconds);
            at = noted;
        }
        while !projector.is_through(&at) {
            let record = records.record(&projector.block(&state.theta, &at).key());
            let Some((record, next)) = record.and_then(|record| at.then(&record).ok().map(|next| (record, next)))
            else {
                tally.0.to_run += 1;
                tally.0.at_least = true;
                break;
            };
            tally.found(record.context.seconds);
            at = next;
        }
    }
    tally.count()
}

/// Actions that do not depend on each other: each is there or is not. One that occurs twice runs once.
pub fn independent(actions: impl Iterator<Item = Action>, records: &dyn Records) -> Count {
    let mut tally = Tally::default();
    let mut missing = std::collections::BTreeSet::new();
    for action in actions {
        let key = action.key();
        match records.record(&key) {
            Some(record) => tally.found(record.context.seconds),
            None if missing.insert(key) => tally.0.to_run += 1,
            None => tally.found(0.0),
        }
    }
    tally.count()
}
