//! `dynamics`: whether training is stationary, by the fluctuation–dissipation relation in the whole space and in the top eigenspace of the
//! Hessian, over windows that begin at one state and grow epoch by epoch. Each epoch is replayed by an action of its own, so that a longer
//! training adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::curved::{self, with_matrix};
use super::foresee::Foreseen;
use super::index::{self, State, States};
use super::replay::{self, Recipe};
use super::setting::Computing;
use super::train::json;
use super::{setting, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Horizon, Identity, Output, Outputs, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::deflation::Subspace;
use crate::ml::landscape::dynamics::{Deviations, Series, Space};
use crate::ml::params::{decode_flat, encode_flat};
use crate::ml::rng::Stream;
use crate::ml::statistics::{Bootstrap, Interval};
use crate::plot::Cell;

/// Level of the intervals.
const LEVEL: f64 = 0.95;

/// The kind.
pub struct Dynamics;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct DynamicsParams {
    first: Identity<u64>,
    last: Horizon<Option<u64>>,
    top: Identity<u64>,
    steps: Identity<u64>,
    block: Identity<u64>,
    resamples: Horizon<u64>,
    seed: Identity<u64>,
    computing: Computing,
}

impl Kind for Dynamics {
    fn name(&self) -> &'static str {
        "dynamics"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Tests by the fluctuation–dissipation relation whether training is stationary, in the whole space and in the top eigenspace."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the training", &["train"]);
        let top = "dimensions of the top eigenspace of the Hessian, found at the window's first state";
        let block = "iterations in a block of the bootstrap: longer than fast directions remember";
        let params = DynamicsParams {
            first: reader.count("first", "epoch of the training at which the window begins").default(0).identity(),
            last: reader.count("last", "epoch at which it ends; by default the training's last").optional().horizon(),
            top: reader.count("top", top).default(1).at_least(1).identity(),
            steps: reader
                .count("steps", "products of the Lanczos run that finds it")
                .default(40)
                .at_least(1)
                .identity(),
            block: reader.count("block", block).default(20).at_least(1).identity(),
            resamples: reader
                .count("resamples", "of the bootstrap")
                .default(2000)
                .at_least(2)
                .at_most(u32::MAX)
                .horizon(),
            seed: reader.count("seed", "of the Lanczos run and the bootstrap").default(curved::SEED).identity(),
            computing: Computing::read(reader),
        };
        if *params.steps < *params.top {
            reader.problem("steps", "`steps`: expected no fewer than `top`");
        }
        if params.last.is_some_and(|last| last <= *params.first) {
            reader.problem("last", "`last`: expected a later epoch than `first`");
        }
        Arc::new(params)
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<DynamicsParams>().foresee(foresight).unwrap_or_default()
    }
}

impl Params for DynamicsParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("first", &self.first)
            .horizon("last", &self.last)
            .identity("top", &self.top)
            .identity("steps", &self.steps)
            .identity("block", &self.block)
            .horizon("resamples", &self.resamples)
            .identity("seed", &self.seed);
        self.computing.walk(walk);
    }
}

impl DynamicsParams {
    /// The states at the starts of the window's epochs, with the number of each epoch, and the first of them.
    fn window<'s>(&self, states: &'s States) -> Result<Vec<(u64, &'s State)>, Failure> {
        let length = states.epochs.len() as u64 - 1;
        let last = self.last.unwrap_or(length);
        if *self.first >= last || last > length {
            let window = format!("a window from epoch {} to {last}", *self.first);
            return Err(Failure::Work(format!("{window} is not in the training, which has {length} epochs")));
        }
        Ok((*self.first..last).map(|epoch| (epoch, &states.epochs[epoch as usize])).collect())
    }

    fn eigenspace(&self, states: &States, first: &State) -> Action {
        let action = states.setting.action(&Eigenspace).input("theta", &first.theta).with("seed", &self.seed);
        action.with("rank", &self.top).with("steps", &self.steps)
    }

    fn relation(&self, states: &States, (epoch, before): (u64, &State), origin: &State, top: &Output) -> Action {
        let action = Recipe::of(states).through(&Relation, epoch, before);
        action.with("rank", &Identity::required(*self.top)).input("origin", &origin.theta).input("subspace", top)
    }

    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let states = index::foreseen_states(foresight, "from")?.computed(&self.computing, foresight.backend);
        let window = self.window(&states).ok()?;
        let mut foreseen = Foreseen::new(foresight, &[&Eigenspace, &Relation]);
        let first = window[0].1;
        match foreseen.call(&self.eigenspace(&states, first)) {
            Some(record) => {
                let top = &record.outputs["subspace"];
                for &epoch in &window {
                    foreseen.call(&self.relation(&states, epoch, first, top));
                }
            }
            None => foreseen.call_unmade(&Relation, window.len() as u64),
        }
        Some(foreseen.forecast())
    }
}

const COLUMNS: [(&str, &str); 15] = [
    ("epoch", ""),
    ("iteration", ""),
    ("window", "epochs"),
    ("whole_ratio", ""),
    ("whole_deviation", ""),
    ("whole_deviation_low", ""),
    ("whole_deviation_high", ""),
    ("top_ratio", ""),
    ("top_deviation", ""),
    ("top_deviation_low", ""),
    ("top_deviation_high", ""),
    ("nearer", ""),
    ("nearer_low", ""),
    ("nearer_high", ""),
    ("iterations", ""),
];

impl Work for DynamicsParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let states = index::states(cx, "from")?.computed(&self.computing, cx.backend());
        let window = self.window(&states)?;
        cx.expect(window.len() as u64, "epochs");
        let first = window[0].1;
        let top = cx.call(self.eigenspace(&states, first))?.outputs["subspace"].clone();
        let records = cx.map(window.iter().map(|&epoch| self.relation(&states, epoch, first, &top)).collect())?;
        let bootstrap = Bootstrap { resamples: *self.resamples as u32, level: LEVEL, block: *self.block as usize };
        let stream = Stream::new(*self.seed, "bootstrap");
        let mut series = Series::default();
        let mut table = tables::table(&COLUMNS);
        for (at, record) in records.iter().enumerate() {
            series.extend(tables::json(cx, record, "series")?);
            let iterations = series.whole.len();
            let found = series.deviations(iterations, &bootstrap, &stream)?;
            let iteration = first.iteration + iterations as u64;
            let position =
                [Cell::Number(states.epoch_of(iteration)), tables::count(iteration), tables::count(at as u64 + 1)];
            table
                .rows
                .push(position.into_iter().chain(cells(&found)).chain([tables::count(iterations as u64)]).collect());
        }
        Ok(Outputs::from([("table".to_owned(), tables::keep(cx, &table)?)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

fn cells(found: &Deviations) -> Vec<Cell> {
    let ends = |interval: Option<Interval>| [interval.map(|i| i.low), interval.map(|i| i.high)].map(tables::number);
    let space = |space: &Space| {
        let own = [Cell::Number(space.ratio), Cell::Number(space.deviation)];
        own.into_iter().chain(ends(space.interval)).collect::<Vec<_>>()
    };
    let mut cells = [space(&found.whole), space(&found.top)].concat();
    cells.push(Cell::Number(found.nearer));
    cells.extend(ends(found.nearer_interval));
    cells
}

/// The action: an orthonormal basis of the eigenspace of the largest eigenvalues at a point, by Lanczos.
pub struct Eigenspace;

impl ActionKind for Eigenspace {
    fn name(&self) -> &'static str {
        "eigenspace"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let stream = Stream::new(cx.param("seed", curved::SEED)?, "subspace");
        let (rank, steps) = (cx.param("rank", 1)? as usize, cx.param("steps", 40)? as usize);
        let flat = with_matrix(cx, |matrix| Subspace::top(matrix, &stream, rank, steps)?.flat())?;
        Ok(BTreeMap::from([("subspace".to_owned(), Payload::Bytes(encode_flat(&flat)?))]))
    }
}

/// The action: both sides of the relation at each iteration of an epoch.
pub struct Relation;

impl ActionKind for Relation {
    fn name(&self) -> &'static str {
        "relation"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let training = replay::training(cx, &objective)?;
        let origin = setting::theta(cx, "origin", &objective)?;
        let n = origin.len();
        let flat = decode_flat(
            &cx.input("subspace")?,
            n * cx.required::<u64>("rank")? as usize,
            &objective.placement().device,
        )?;
        let top = Subspace::from_flat(&flat, n)?;
        let before = replay::before(cx, &objective)?;
        let series = Series::of_epoch((&training, &objective), before, (origin.flat(), &top), &|| cx.cancelled())?;
        Ok(BTreeMap::from([("series".to_owned(), json(&series))]))
    }
}
