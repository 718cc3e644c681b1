//! How `trace-estimate` estimates: the methods, the actions that each calls at a point, and what is made of their records.

use std::collections::BTreeMap;

use super::curved::{CurvedParams, too_few};
use super::estimate::{Estimated, FindSubspace, Form, Held, Hold, LayerProbe, Probe, ScaledProbe, Xtrace};
use super::foresee::Foreseen;
use super::index::{Point, Points, States};
use super::train::summary;
use crate::execute::{Action, Failure, StageContext};
use crate::key::{Horizon, Identity, Output, Record, Walk};
use crate::manifest::Reader;
use crate::ml::curvature::trace::{Distribution, Estimate};

const HUTCHINSON: &str = "hutchinson";
const XTRACE: &str = "xtrace";
const DEFLATED: &str = "deflated";

/// Vectors of a subspace, where the manifest does not say.
const RANK: u64 = 20;
/// Epochs that share a subspace, where the manifest does not say.
const ANCHOR_EVERY: u64 = 10;

/// How a trace is estimated.
#[derive(Clone, Debug)]
enum Method {
    Hutchinson,
    Xtrace,
    Deflated(Deflation),
}

/// A subspace for each block of epochs.
#[derive(Clone, Debug)]
struct Deflation {
    rank: Identity<u64>,
    anchor_every: Identity<u64>,
}

impl Method {
    /// As a manifest names it.
    fn name(&self) -> &'static str {
        match self {
            Self::Hutchinson => HUTCHINSON,
            Self::Xtrace => XTRACE,
            Self::Deflated(_) => DEFLATED,
        }
    }

    /// Shows the method and what is asked with it.
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("method", &Identity::with_default(self.name(), HUTCHINSON));
        if let Self::Deflated(Deflation { rank, anchor_every }) = self {
            walk.identity("rank", rank).identity("anchor_every", anchor_every);
        }
    }
}

/// What was found of one point.
pub struct Found {
    /// The trace.
    pub estimate: Estimate,
    /// Products and quadratic forms at this point.
    pub products: u64,
    /// What each probe alone says of the trace.
    pub forms: Vec<f64>,
}

/// What a manifest says of the estimate.
#[derive(Clone, Debug)]
pub struct Estimator {
    probes: Horizon<u64>,
    curved: CurvedParams,
    method: Method,
    distribution: Identity<Distribution>,
}

impl Estimator {
    /// Reads the fields.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let probes = reader.count("probes", "how many probes a point; of `xtrace`, test vectors, each two products");
        let probes = probes.default(10).at_least(2).at_most(u32::MAX).horizon();
        let distributions = [("rademacher", Distribution::Rademacher), ("gaussian", Distribution::Gaussian)];
        let doc = "what entries of probes are drawn from: signs, or the standard normal distribution, under which XTrace also weighs by length";
        Self {
            probes,
            curved: CurvedParams::read(reader, "of the probes"),
            method: read_method(reader),
            distribution: reader
                .choice("distribution", doc, &distributions)
                .default(Distribution::Rademacher)
                .identity(),
        }
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.horizon("probes", &self.probes);
        self.curved.walk(walk);
        self.method.walk(walk);
        walk.identity("distribution", &self.distribution);
    }

    /// Units of progress at a point.
    pub fn units(&self) -> u64 {
        if matches!(self.method, Method::Xtrace) { 1 } else { *self.probes }
    }

    /// Units of progress at a point for whatever else takes a probe of its own.
    pub fn further_units(&self) -> u64 {
        *self.probes
    }

    /// What a reader of the standard errors should know.
    pub fn warnings(&self, per_layer: bool) -> Vec<String> {
        let few = too_few(*self.probes, "probes");
        if !matches!(self.method, Method::Xtrace) {
            return few.into_iter().collect();
        }
        let trace =
            "XTrace's standard error is too small to be trusted: two of them cover four times in five to nine in ten";
        // The traces of layers are Hutchinson's whatever the method.
        std::iter::once(trace.to_owned()).chain(few.filter(|_| per_layer)).collect()
    }

    /// An action that draws probes at a point.
    fn drawing(&self, states: &States, kind: &dyn crate::execute::ActionKind, point: &Point) -> Action {
        self.curved.drawing(&states.setting, kind, &point.theta).with("distribution", &self.distribution)
    }

    fn indexed(&self, action: &Action) -> Vec<Action> {
        (0..*self.probes).map(|index| action.clone().position("index", index)).collect()
    }

    fn probes(&self, states: &States, point: &Point) -> Vec<Action> {
        self.indexed(&self.drawing(states, &Probe, point))
    }

    fn probes_beside(&self, states: &States, point: &Point, (rank, subspace): (u64, &Output)) -> Vec<Action> {
        let rank = Identity::required(rank);
        self.indexed(&self.drawing(states, &Probe, point).with("rank", &rank).input("subspace", subspace))
    }

    fn held(&self, states: &States, point: &Point, (rank, subspace): (u64, &Output)) -> Action {
        let action = self.curved.action(&states.setting, &Hold, &point.theta);
        action.with("rank", &Identity::required(rank)).input("subspace", subspace)
    }

    fn xtrace(&self, states: &States, point: &Point) -> Action {
        self.drawing(states, &Xtrace, point).with("vectors", &Identity::required(*self.probes))
    }

    /// The probes of a point from each of which all its layers have something.
    pub fn layer_probes(&self, states: &States, point: &Point) -> Vec<Action> {
        self.indexed(&self.drawing(states, &LayerProbe, point))
    }

    /// The probes of a point from which its scale-invariant trace is found.
    pub fn scaled_probes(&self, states: &States, point: &Point) -> Vec<Action> {
        self.indexed(&self.drawing(states, &ScaledProbe, point))
    }

    /// The actions that find the subspaces of the blocks in which `chosen` lie, each at its block's first point, whether or not that
    /// is chosen: so a subspace depends neither on `every` nor on what is measured elsewhere.
    fn anchors(&self, points: &Points, chosen: &[&Point], deflation: &Deflation) -> BTreeMap<u64, Action> {
        let mut anchors = BTreeMap::new();
        for point in &points.points {
            let find = || self.curved.drawing(&points.states.setting, &FindSubspace, &point.theta);
            let rank = Identity::required(*deflation.rank);
            let block = deflation.block(&points.states, point);
            anchors.entry(block).or_insert_with(|| find().with("rank", &rank));
        }
        let wanted: Vec<u64> = chosen.iter().map(|point| deflation.block(&points.states, point)).collect();
        anchors.retain(|block, _| wanted.contains(block));
        anchors
    }

    /// Counts what would be found and made of the chosen points.
    pub fn foresee(&self, points: &Points, chosen: &[&Point], foreseen: &mut Foreseen<'_>) {
        let states = &points.states;
        match &self.method {
            Method::Hutchinson => {
                chosen
                    .iter()
                    .flat_map(|point| self.probes(states, point))
                    .for_each(|probe| drop(foreseen.call(&probe)));
            }
            Method::Xtrace => chosen.iter().for_each(|point| drop(foreseen.call(&self.xtrace(states, point)))),
            Method::Deflated(deflation) => {
                let anchors = self.anchors(points, chosen, deflation).into_iter();
                let subspaces: BTreeMap<u64, Option<Output>> = anchors
                    .map(|(block, anchor)| (block, foreseen.call(&anchor).map(|made| made.outputs["subspace"].clone())))
                    .collect();
                for point in chosen {
                    let Some(subspace) = &subspaces[&deflation.block(states, point)] else {
                        foreseen.call_unmade(&Hold, 1);
                        foreseen.call_unmade(&Probe, *self.probes);
                        continue;
                    };
                    let subspace = (*deflation.rank, subspace);
                    foreseen.call(&self.held(states, point, subspace));
                    let probes = self.probes_beside(states, point, subspace);
                    for probe in &probes {
                        foreseen.call(probe);
                    }
                }
            }
        }
    }

    /// What the method finds at each of the chosen points.
    ///
    /// # Errors
    /// Those of the actions.
    pub fn find(&self, cx: &StageContext<'_>, points: &Points, chosen: &[&Point]) -> Result<Vec<Found>, Failure> {
        let states = &points.states;
        match &self.method {
            Method::Hutchinson => {
                let records =
                    cx.map_groups(&chosen.iter().map(|point| self.probes(states, point)).collect::<Vec<_>>())?;
                records.iter().map(|records| found(forms(records)?, 0)).collect()
            }
            Method::Xtrace => {
                let records =
                    cx.map_groups(&chosen.iter().map(|point| vec![self.xtrace(states, point)]).collect::<Vec<_>>())?;
                records.iter().map(|records| self.estimated(&records[0])).collect()
            }
            Method::Deflated(deflation) => self.find_beside(cx, points, chosen, deflation),
        }
    }

    fn estimated(&self, record: &Record) -> Result<Found, Failure> {
        let Estimated { trace: mean, sd } = summary(record, "summary")?;
        let count = *self.probes as usize;
        let estimate = Estimate { mean, sd, stderr: sd / (count as f64).sqrt(), count };
        Ok(Found { estimate, products: 2 * *self.probes, forms: Vec::new() })
    }

    fn find_beside(
        &self,
        cx: &StageContext<'_>,
        points: &Points,
        chosen: &[&Point],
        deflation: &Deflation,
    ) -> Result<Vec<Found>, Failure> {
        let states = &points.states;
        let (blocks, anchors): (Vec<u64>, Vec<Action>) = self.anchors(points, chosen, deflation).into_iter().unzip();
        let records = cx.map(anchors)?;
        let subspaces: BTreeMap<u64, &Output> =
            blocks.into_iter().zip(records.iter().map(|record| &record.outputs["subspace"])).collect();
        let beside = |point: &Point| (*deflation.rank, subspaces[&deflation.block(states, point)]);
        let held = cx.map(chosen.iter().map(|point| self.held(states, point, beside(point))).collect())?;
        let probes: Vec<_> = chosen.iter().map(|point| self.probes_beside(states, point, beside(point))).collect();
        let records = cx.map_groups(&probes)?;
        let together = |(records, held): (&Vec<Record>, &Record)| {
            let Held { trace } = summary(held, "summary")?;
            found(forms(records)?.into_iter().map(|form| form + trace).collect(), *deflation.rank)
        };
        records.iter().zip(&held).map(together).collect()
    }
}

fn read_method(reader: &mut Reader<'_>) -> Method {
    let doc = "the estimator: Hutchinson's; XTrace, better by far where the spectrum falls fast, of which a larger number of probes reuses nothing; or Hutchinson's beside the top of the spectrum at another point";
    let names = [HUTCHINSON, XTRACE, DEFLATED];
    reader.variant_or("method", doc, (&names, HUTCHINSON), |name, reader| match name {
        XTRACE => Method::Xtrace,
        DEFLATED => Method::Deflated(Deflation {
            rank: reader.count("rank", "vectors of the subspace").default(RANK).at_least(1).identity(),
            anchor_every: reader
                .count("anchor_every", "epochs whose points share the subspace found at the first of them")
                .default(ANCHOR_EVERY)
                .at_least(1)
                .identity(),
        }),
        _ => Method::Hutchinson,
    })
}

impl Deflation {
    /// The block of epochs in which a point lies.
    fn block(&self, states: &States, point: &Point) -> u64 {
        (states.epoch_of(point.iteration) / *self.anchor_every as f64).floor() as u64
    }
}

fn forms(records: &[Record]) -> Result<Vec<f64>, Failure> {
    records.iter().map(|record| Ok(summary::<Form>(record, "summary")?.quadratic_form)).collect()
}

fn found(forms: Vec<f64>, more_products: u64) -> Result<Found, Failure> {
    let products = forms.len() as u64 + more_products;
    Ok(Found { estimate: Estimate::of(&forms)?, products, forms })
}
