//! `checkpoint`: any iteration of a training, replayed from the state at its epoch's start, so that none need be kept.

use std::sync::Arc;

use super::foresee::{self, Foreseen};
use super::index::{self, States};
use super::replay::{Replay, state_at};
use super::setting::Computing;
use super::tables;
use crate::execute::{Failure, Place, StageContext, Work};
use crate::key::{Horizon, Outputs, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::plot::Cell;

/// The kind.
pub struct Checkpoint;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct CheckpointParams {
    iterations: Horizon<Vec<u64>>,
    every: Horizon<u64>,
    computing: Computing,
}

impl Kind for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "States of a training at any iterations, replayed from the ends of its epochs."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the training", &["train"]);
        let params = CheckpointParams {
            iterations: reader.counts("iterations", "which iterations").default(Vec::new()).horizon(),
            every: reader.count("every", "every so many iterations as well; 0 for none").default(0).horizon(),
            computing: Computing::read(reader),
        };
        if params.iterations.is_empty() && *params.every == 0 {
            reader.problem("iterations", "give `iterations`, or `every`");
        }
        Arc::new(params)
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<CheckpointParams>().foresee(foresight).unwrap_or_default()
    }
}

impl Params for CheckpointParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.horizon("iterations", &self.iterations).horizon("every", &self.every);
        self.computing.walk(walk);
    }
}

impl CheckpointParams {
    /// The iterations whose states are wanted, rising.
    fn wanted(&self, states: &States) -> Vec<u64> {
        let (first, last) = (states.epochs[0].iteration, states.epochs[states.epochs.len() - 1].iteration);
        let mut wanted: Vec<u64> = self.iterations.0.clone();
        if *self.every > 0 {
            wanted.extend((first..=last).filter(|iteration| (iteration - first).is_multiple_of(*self.every)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let states = index::foreseen_states(foresight, "from")?.computed(&self.computing, foresight.backend);
        let mut foreseen = Foreseen::new(foresight, &[&Replay]);
        for iteration in self.wanted(&states) {
            foresee::state_at(&states, iteration, &mut foreseen).ok()?;
        }
        Some(foreseen.forecast())
    }
}

impl Work for CheckpointParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let states = index::states(cx, "from")?.computed(&self.computing, cx.backend());
        let wanted = self.wanted(&states);
        cx.expect(wanted.len() as u64, "states");
        let chosen = cx.each(wanted, |iteration| {
            let state = state_at(cx, &states, iteration)?;
            cx.advance(1);
            Ok(state)
        })?;
        let mut table = tables::table(&[("epoch", ""), ("iteration", ""), ("theta", "")]);
        for state in &chosen {
            let epoch = Cell::Number(states.epoch_of(state.iteration));
            table.rows.push(vec![epoch, tables::count(state.iteration), Cell::Text(state.theta.digest.to_string())]);
        }
        let table = tables::keep(cx, &table)?;
        let states = index::keep(cx, &States { chosen, ..states })?;
        Ok(Outputs::from([("states".to_owned(), states), ("table".to_owned(), table)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}
