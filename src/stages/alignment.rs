//! `alignment`: how near the covariance of the gradient's noise is to the Hessian, at points: from random probes, which serves any size, or
//! from whole matrices. Batch norm ties samples together; there the noise is that of minibatches.

use std::sync::Arc;

use super::curved::{CurvedParams, in_double, too_few};
use super::evaluate::{self, Evaluate};
use super::foresee::Foreseen;
use super::index::{self, Chosen, Point, Points, States};
use super::noise::{AlignmentProbe, ExactAlignment, NoisePairs, PAIRS, Square, SquareProbe};
use super::setting::Computing;
use super::train::summary;
use super::{replay, tables};
use crate::execute::{Action, ActionKind, Failure, Place, StageContext, Work};
use crate::key::{Horizon, Identity, Outputs, Record, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::alignment::{Alignment, Moments, PairMoments};
use crate::ml::loss::Labels;
use crate::plot::{Cell, Table};

const PROBES: &str = "probes";
const EXACT: &str = "exact";
const MINIBATCHES: &str = "minibatches";

/// The kind.
pub struct AlignmentKind;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct AlignmentParams {
    chosen: Chosen,
    curved: CurvedParams,
    probes: Horizon<u64>,
    method: Method,
    labels: Option<Labels>,
    computing: Computing,
}

/// What the alignment is found from.
#[derive(Clone, Debug)]
enum Method {
    /// Random probes; gradients of single samples.
    Probes { centred: Identity<bool> },
    /// Whole matrices; gradients of single samples.
    Exact { centred: Identity<bool> },
    /// Random probes for the matrix, pairs of minibatches for the noise.
    Minibatches { pairs: Identity<u64>, batch: Option<u64> },
}

impl Kind for AlignmentKind {
    fn name(&self) -> &'static str {
        "alignment"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Measures how near the covariance of the gradient's noise is to the Hessian at points."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points", &index::POINTS);
        let chosen = Chosen::read(reader);
        let probes = "how many probes of signs a point; each takes a product with either matrix";
        let labels = "of which labels the noise is: the loss's soft targets, or one class drawn from them at each visit; by default those of the training";
        let named = [("soft", Labels::Soft), ("sampled", Labels::Sampled)];
        Arc::new(AlignmentParams {
            chosen,
            curved: CurvedParams::read(reader, "of the probes and the minibatches"),
            probes: reader.count("probes", probes).default(50).at_least(2).at_most(u32::MAX).horizon(),
            method: read_method(reader),
            labels: reader.choice("labels", labels, &named).optional().value(),
            computing: Computing::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states", "minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<AlignmentParams>().foresee(foresight).unwrap_or_default()
    }
}

fn read_method(reader: &mut Reader<'_>) -> Method {
    let names = [PROBES, EXACT, MINIBATCHES];
    let doc = "random probes with the gradients of single samples; `exact`: whole matrices of at most 10,000 parameters, in f64; `minibatches`: random probes, and the noise from pairs of minibatches, as models with batch norm need it";
    reader.variant_or("method", doc, (&names, PROBES), |name, reader| {
        let centred = |reader: &mut Reader<'_>| {
            let doc =
                "around the mean gradient, as noise is; otherwise second moments, which at a minimum are the same";
            reader.flag("centred", doc).default(true).identity()
        };
        match name {
            EXACT => Method::Exact { centred: centred(reader) },
            MINIBATCHES => Method::Minibatches {
                pairs: reader
                    .count(
                        "pairs",
                        "pairs of minibatches a point, of each of which a vector of the parameters' size is kept",
                    )
                    .default(PAIRS)
                    .at_least(3)
                    .at_most(10_000)
                    .identity(),
                batch: reader
                    .count("batch", "samples in a minibatch; by default those of the training")
                    .at_least(1)
                    .at_most(u32::MAX)
                    .optional()
                    .value(),
            },
            _ => Method::Probes { centred: centred(reader) },
        }
    })
}

impl Params for AlignmentParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.chosen.walk(walk);
        self.curved.walk(walk);
        walk.horizon("probes", &self.probes).identity("labels", &Identity::with_default(self.labels, None));
        self.computing.walk(walk);
        walk.identity("method", &Identity::with_default(self.method.name(), PROBES));
        match &self.method {
            Method::Probes { centred } | Method::Exact { centred } => walk.identity("centred", centred),
            Method::Minibatches { pairs, batch } => {
                walk.identity("pairs", pairs).identity("batch", &Identity::with_default(*batch, None))
            }
        };
    }
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Self::Probes { .. } => PROBES,
            Self::Exact { .. } => EXACT,
            Self::Minibatches { .. } => MINIBATCHES,
        }
    }
}

/// What is called at a point.
struct Calls {
    /// The noise of minibatches, or whole matrices: one action.
    one: Option<Action>,
    probes: Vec<Action>,
}

impl AlignmentParams {
    fn calls(&self, states: &States, point: &Point) -> Result<Calls, Failure> {
        let labels = Identity::with_default(self.labels(states)?, Labels::Soft);
        let drawing = |kind: &dyn ActionKind| self.curved.drawing(&states.setting, kind, &point.theta);
        let indexed = |action: Action| (0..*self.probes).map(|index| action.clone().position("index", index)).collect();
        Ok(match &self.method {
            Method::Probes { centred } => {
                let probe = drawing(&AlignmentProbe).with("labels", &labels).with("centred", centred);
                Calls { one: None, probes: indexed(probe) }
            }
            Method::Exact { centred } => {
                let action = self.curved.action(&in_double(&states.setting), &ExactAlignment, &point.theta);
                Calls { one: Some(action.with("labels", &labels).with("centred", centred)), probes: Vec::new() }
            }
            Method::Minibatches { pairs, batch } => {
                let trained: u64 = states.training.param("batch", replay::BATCH).map_err(Failure::work)?;
                let batch = Identity::required(batch.unwrap_or(trained));
                let noise = drawing(&NoisePairs).with("labels", &labels).with("pairs", pairs).with("batch", &batch);
                Calls { one: Some(noise), probes: indexed(drawing(&SquareProbe)) }
            }
        })
    }

    fn labels(&self, states: &States) -> Result<Labels, Failure> {
        match self.labels {
            Some(labels) => Ok(labels),
            None => states.training.param("labels", Labels::Soft).map_err(Failure::work),
        }
    }

    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let points = index::foreseen_points(foresight, "from")?.computed(&self.computing, foresight.backend);
        let mut foreseen = Foreseen::new(foresight, &[&Evaluate]);
        for point in self.chosen.of(&points) {
            let Calls { one, probes } = self.calls(&points.states, point).ok()?;
            one.iter().chain(&probes).for_each(|action| drop(foreseen.call(action)));
            evaluate::foresee_loss(&points.states, point, &mut foreseen);
        }
        Some(foreseen.forecast())
    }

    fn found(&self, cx: &StageContext<'_>, one: Option<&Record>, probes: &[Record]) -> Result<Alignment, Failure> {
        let squares = || probes.iter().map(|record| Ok(summary::<Square>(record, "summary")?.square));
        Ok(match (&self.method, one) {
            (Method::Minibatches { .. }, Some(noise)) => {
                let pairs: PairMoments = tables::json(cx, noise, "pairs")?;
                Alignment::of_pairs(&squares().collect::<Result<Vec<_>, Failure>>()?, &pairs)?
            }
            (_, Some(whole)) => Alignment::exact(summary(whole, "summary")?)?,
            (_, None) => {
                let moments = probes.iter().map(|record| summary(record, "summary"));
                Alignment::of_probes(&moments.collect::<Result<Vec<Moments>, _>>()?)?
            }
        })
    }

    fn row(&self, points: &Points, (point, loss): (&Point, f64), found: &Alignment) -> Vec<Cell> {
        let Alignment { cosine, factor, moments } = found;
        let mut row = vec![Cell::Number(points.states.epoch_of(point.iteration)), tables::count(point.iteration)];
        let numbers = [cosine.value, cosine.stderr, factor.value, factor.stderr];
        row.extend(numbers.map(Cell::Number));
        row.extend([moments.square, moments.product, moments.noise_square].map(Cell::Number));
        let (probes, pairs) = match &self.method {
            Method::Exact { .. } => (None, None),
            Method::Probes { .. } => (Some(*self.probes), None),
            Method::Minibatches { pairs, .. } => (Some(*self.probes), Some(**pairs)),
        };
        row.extend([probes, pairs].map(|count| count.map_or(Cell::Empty, tables::count)));
        row.extend(tables::ending(point.minimum.as_ref(), Some(loss)));
        row
    }
}

fn columns() -> Table {
    let own = [
        ("epoch", ""),
        ("iteration", ""),
        ("cosine", ""),
        ("cosine_stderr", ""),
        ("k", "nats"),
        ("k_stderr", "nats"),
        ("trace_of_square", "nats^2"),
        ("trace_of_product", "nats^3"),
        ("trace_of_noise_square", "nats^4"),
        ("probes", ""),
        ("pairs", ""),
    ];
    tables::table(&[&own[..], &tables::ENDING].concat())
}

impl Work for AlignmentParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let points = index::points(cx, "from")?.computed(&self.computing, cx.backend());
        let chosen = self.chosen.of(&points);
        let (mut ones, mut groups) = (Vec::new(), Vec::new());
        for point in &chosen {
            let Calls { one, probes } = self.calls(&points.states, point)?;
            ones.extend(one);
            groups.push(probes);
        }
        cx.expect((ones.len() + groups.iter().map(Vec::len).sum::<usize>()) as u64, "probes and matrices");
        let probes = (!matches!(self.method, Method::Exact { .. })).then(|| too_few(*self.probes, "probes"));
        let pairs = match &self.method {
            Method::Minibatches { pairs, .. } => too_few(**pairs, "pairs of minibatches"),
            _ => None,
        };
        probes.flatten().into_iter().chain(pairs).for_each(|warning| cx.warn(warning));
        let ones = cx.map(ones)?;
        let groups = cx.map_groups(&groups)?;
        let mut table = columns();
        for (at, point) in chosen.into_iter().enumerate() {
            let loss = evaluate::loss_at(cx, &points.states, point)?;
            let found = self.found(cx, ones.get(at), &groups[at])?;
            table.rows.push(self.row(&points, (point, loss), &found));
        }
        Ok(Outputs::from([("table".to_owned(), tables::keep(cx, &table)?)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}
