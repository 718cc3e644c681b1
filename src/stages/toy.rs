//! `toy`: many walks down a landscape of a few coordinates, written as an expression, under noise of a chosen covariance. One action a learning
//! rate and block of runs, so that more runs and more rates add.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::curved::SEED;
use super::foresee::Foreseen;
use super::tables;
use super::toy_tables::{Rate, Tables};
use super::train::json;
use crate::execute::{Action, ActionContext, ActionKind, Failure, Place, Produced, StageContext, Work};
use crate::key::{Horizon, Identity, Outputs, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml;
use crate::ml::rng::Stream;
use crate::ml::toy::expression::Expression;
use crate::ml::toy::landscape::Landscape;
use crate::ml::toy::noise::Noise;
use crate::ml::toy::walk;

/// Runs of one action.
const BLOCK: u64 = 8;

/// The most coordinates: one step takes time by the square of the steep ones.
const MOST: usize = 32;

/// The most rows of a path, and the most numbers that all paths of a learning rate have together.
const ROWS: u64 = 10_000;
const NUMBERS: u64 = 20_000_000;

/// The most runs.
const RUNS: u64 = 100_000;

/// The kind.
pub struct Toy;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct ToyParams {
    lr: Horizon<Vec<f64>>,
    runs: Horizon<u64>,
    how: How,
}

/// What each walk has.
#[derive(Clone, Debug)]
struct How {
    loss: Identity<String>,
    start: Identity<Vec<f64>>,
    steep: Identity<Vec<u64>>,
    noise: Identity<Named>,
    lowers: Option<Identity<String>>,
    variance: Identity<f64>,
    momentum: Identity<f64>,
    dampening: Identity<f64>,
    iterations: Identity<u64>,
    equilibrate: Identity<u64>,
    every: Identity<u64>,
    seed: Identity<u64>,
}

/// The noises by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Named {
    Sgd,
    Isotropic,
    Designed,
    None,
}

impl Kind for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Walks down a landscape of a few coordinates many times, under noise of a chosen covariance."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let loss_doc = "the loss in the coordinates `t1`, `t2`, …: numbers, `pi`, `+ - * / ^`, parentheses, and the functions `abs`, `exp`, `log`, \
                        `sqrt`, `sin`, `cos`, `tanh`";
        let steep_doc = "the coordinates, counted from 1, in which the loss has its minimum at 0 wherever the others are; noise is in their gradients, and \
                         the eigenvalues are those of their Hessian there";
        let few = |start: &Vec<f64>| match start.len() {
            0..=MOST => Ok(()),
            count => Err(format!("expected at most {MOST} coordinates, found {count}")),
        };
        let start = reader.floats("start", "the coordinates of the start").not_empty().check(few).identity();
        let dimension = start.len();
        let parse = move |text: &String| {
            // Without a start nothing is known of the coordinates, and that is said already.
            if dimension == 0 {
                return Ok(());
            }
            Expression::parse(text, 't', dimension).map(drop).map_err(|unparsed| (unparsed.message, unparsed.span))
        };
        let loss = reader.text("loss", loss_doc).required().check_parts(parse).identity();
        let steep = reader.counts("steep", steep_doc).at_least(1).not_empty();
        let steep = steep
            .check(move |steep| {
                if dimension > 0 && steep.iter().any(|&coordinate| coordinate > dimension as u64) {
                    return Err(format!("expected coordinates from 1 to {dimension}"));
                }
                let twice = (1..steep.len()).any(|i| steep[..i].contains(&steep[i]));
                if twice { Err("expected each coordinate once".to_owned()) } else { Ok(()) }
            })
            .identity();
        let (noise, lowers) = read_noise(reader, steep.len());
        let lr_doc = "learning rates, each once; with momentum those of the update, not what they amount to";
        let once = |before: &[f64], rate: &f64| {
            if before.contains(rate) { Err(format!("expected each rate once, found {rate} again")) } else { Ok(()) }
        };
        let params = ToyParams {
            lr: reader.floats("lr", lr_doc).not_empty().positive().check_each(once).horizon(),
            runs: reader.count("runs", "how many walks at each learning rate").default(100).at_least(2).at_most(RUNS as u32).horizon(),
            how: How {
                loss,
                start,
                steep,
                noise,
                lowers,
                variance: reader.float("variance", "σ²: what the covariance is multiplied with").default(1.0).at_least(0).identity(),
                momentum: reader.float("momentum", "μ of the update").default(0.0).at_least(0).below(1).identity(),
                dampening: reader.float("dampening", "ν: the share of each gradient that is left out").default(0.0).at_least(0).below(1).identity(),
                iterations: reader.count("iterations", "how long a walk is").required().at_least(1).identity(),
                equilibrate: reader
                    .count("equilibrate", "iterations after which the walk is taken to be in equilibrium: changes and means are from there to the end")
                    .default(0)
                    .identity(),
                every: reader.count("every", "every so many iterations are a row of the path").default(100).at_least(1).identity(),
                seed: reader.count("seed", "of the noise").default(SEED).identity(),
            },
        };
        params.check(reader);
        Arc::new(params)
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &ToyParams = params.of();
        let mut foreseen = Foreseen::new(foresight, &[&Walks]);
        params.actions().iter().flatten().for_each(|action| drop(foreseen.call(action)));
        foreseen.forecast()
    }
}

/// The noise, and what it is designed to lower.
fn read_noise(reader: &mut Reader<'_>, steep: usize) -> (Identity<Named>, Option<Identity<String>>) {
    let doc = "the covariance: that of SGD near a minimum, the Hessian; the identity; what the theory designs to lower a function of the eigenvalues; or none";
    let names = ["sgd", "isotropic", "designed", "none"];
    let (noise, lowers) = reader.variant_or("noise", doc, (&names, "sgd"), |name, reader| match name {
        "designed" => {
            let doc = "the function that it lowers, of the eigenvalues `l1`, `l2`, …: such as `l1 + l2`, their trace";
            let parse = move |text: &String| {
                Expression::parse(text, 'l', steep).map(drop).map_err(|unparsed| (unparsed.message, unparsed.span))
            };
            (Named::Designed, Some(reader.text("lowers", doc).required().check_parts(parse).identity()))
        }
        "isotropic" => (Named::Isotropic, None),
        "none" => (Named::None, None),
        _ => (Named::Sgd, None),
    });
    (Identity::with_default(noise, Named::Sgd), lowers)
}

impl Params for ToyParams {
    fn walk(&self, walk: &mut dyn Walk) {
        let How {
            loss,
            start,
            steep,
            noise,
            lowers,
            variance,
            momentum,
            dampening,
            iterations,
            equilibrate,
            every,
            seed,
        } = &self.how;
        walk.horizon("lr", &self.lr).horizon("runs", &self.runs);
        walk.identity("loss", loss).identity("start", start).identity("steep", steep).identity("noise", noise);
        if let Some(lowers) = lowers {
            walk.identity("lowers", lowers);
        }
        walk.identity("variance", variance)
            .identity("momentum", momentum)
            .identity("dampening", dampening)
            .identity("iterations", iterations)
            .identity("equilibrate", equilibrate)
            .identity("every", every)
            .identity("seed", seed);
    }
}

impl ToyParams {
    /// What single fields cannot say.
    fn check(&self, reader: &mut Reader<'_>) {
        let How { iterations, equilibrate, every, start, .. } = &self.how;
        if **equilibrate >= **iterations {
            reader
                .problem("equilibrate", format!("`equilibrate`: expected fewer than the {} iterations", **iterations));
        }
        let rows = **iterations / (**every).max(1);
        let in_row = (*self.runs).max(1).saturating_mul(start.len() as u64 + 2);
        let numbers = rows.saturating_mul(in_row);
        if rows > ROWS || numbers > NUMBERS {
            let most = ROWS.min(NUMBERS / in_row);
            let message =
                format!("`every`: a path of {rows} rows, expected at most {most} of so many runs: record less often");
            reader.problem("every", message);
        }
    }

    /// The blocks of runs of each learning rate. A block is whole even where fewer runs are asked for, so that more of them find it.
    fn actions(&self) -> Vec<Vec<Action>> {
        let blocks = self.runs.div_ceil(BLOCK);
        let of_rate = |&lr: &f64| {
            let action = self.how.enter(Action::new(&Walks).with("lr", &Identity::required(lr)));
            (0..blocks).map(|block| action.clone().position("block", block)).collect()
        };
        self.lr.iter().map(of_rate).collect()
    }
}

impl How {
    fn enter(&self, action: Action) -> Action {
        let action = action
            .with("loss", &self.loss)
            .with("start", &self.start)
            .with("steep", &self.steep)
            .with("noise", &self.noise)
            .with("variance", &self.variance)
            .with("momentum", &self.momentum)
            .with("dampening", &self.dampening)
            .with("iterations", &self.iterations)
            .with("equilibrate", &self.equilibrate)
            .with("every", &self.every)
            .with("seed", &self.seed);
        match &self.lowers {
            Some(lowers) => action.with("lowers", lowers),
            None => action,
        }
    }

    fn landscape(&self) -> Result<Landscape, ml::Error> {
        landscape(&self.loss, self.start.len(), &self.steep)
    }
}

impl Work for ToyParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let landscape = self.how.landscape()?;
        let actions = self.actions();
        cx.expect(actions.iter().map(Vec::len).sum::<usize>() as u64, "blocks of runs");
        let flat: Vec<Action> = actions.into_iter().flatten().collect();
        let records = cx.each(flat, |action| {
            let record = cx.call(action)?;
            cx.advance(1);
            Ok(record)
        })?;
        let mut tables = Tables::new(landscape.dimension());
        let blocks = self.runs.div_ceil(BLOCK) as usize;
        for (&lr, records) in self.lr.iter().zip(records.chunks(blocks)) {
            let mut runs: Vec<walk::Run> = Vec::new();
            for record in records {
                runs.extend(tables::json::<Vec<walk::Run>>(cx, record, "runs")?);
            }
            runs.truncate(*self.runs as usize);
            let predicted = self.predicted(&landscape, lr);
            tables.add(&Rate { lr, equilibrate: *self.how.equilibrate, predicted }, &runs)?;
        }
        tables.keep(cx)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let mut places = tables::place(instance);
        for name in ["path", "runs"] {
            places.push((name.to_owned(), Place::Result(tables::file(instance, &format!("{name}.csv")))));
        }
        places
    }
}

impl ToyParams {
    /// How much T is to change from equilibrium to the end, to leading order in the rate: −(η²/4)·σ²‖∇T‖² an iteration, with η(1 − ν)/(1 − μ) for
    /// η, and ∇T at the start. Known of SGD's noise alone.
    fn predicted(&self, landscape: &Landscape, lr: f64) -> Option<f64> {
        let how = &self.how;
        let slope: f64 = landscape.trace_slope(&how.start).iter().map(|slope| slope * slope).sum();
        let rate = lr * (1.0 - *how.dampening) / (1.0 - *how.momentum);
        let measured = how.iterations.saturating_sub(*how.equilibrate) as f64;
        (*how.noise == Named::Sgd).then_some(-rate * rate / 4.0 * *how.variance * slope * measured)
    }
}

fn landscape(loss: &str, dimension: usize, steep: &[u64]) -> Result<Landscape, ml::Error> {
    let loss = parsed(loss, 't', dimension)?;
    Landscape::new(loss, dimension, steep.iter().map(|&i| i as usize - 1).collect())
}

fn parsed(text: &str, letter: char, count: usize) -> Result<Expression, ml::Error> {
    Expression::parse(text, letter, count).map_err(|unparsed| ml::Error::Setting(format!("`{text}`: {unparsed}")))
}

/// The action: a block of runs at one learning rate.
pub struct Walks;

impl ActionKind for Walks {
    fn name(&self) -> &'static str {
        "walks"
    }

    fn version(&self) -> u32 {
        1
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let start: Vec<f64> = cx.required("start")?;
        let steep: Vec<u64> = cx.required("steep")?;
        let landscape = landscape(&cx.required::<String>("loss")?, start.len(), &steep)?;
        let noise = match cx.param("noise", Named::Sgd)? {
            Named::Sgd => Noise::Sgd,
            Named::Isotropic => Noise::Isotropic,
            Named::None => Noise::None,
            Named::Designed => Noise::Designed(parsed(&cx.required::<String>("lowers")?, 'l', steep.len())?),
        };
        let walk = walk::Walk {
            landscape: &landscape,
            start: &start,
            noise: &noise,
            sigma: cx.param("variance", 1.0f64)?.sqrt(),
            rate: cx.required("lr")?,
            momentum: cx.param("momentum", 0.0)?,
            dampening: cx.param("dampening", 0.0)?,
            iterations: cx.required("iterations")?,
            equilibrate: cx.param("equilibrate", 0)?,
            every: cx.param("every", 100)?,
        };
        let first = cx.required::<u64>("block")? * BLOCK;
        let stop = || cx.cancelled();
        // Each rate has noise of its own, so that a line through several has independent points.
        let stream = Stream::new(cx.param("seed", SEED)?, &format!("toy at {:016x}", walk.rate.to_bits()));
        let runs = walk.runs(&stream, first as u32..(first + BLOCK) as u32, &stop)?;
        Ok(BTreeMap::from([("runs".to_owned(), json(&runs))]))
    }
}
