//! A state or minimum as PyTorch takes it: the parameters, and for each batch norm the statistics of the training set, which a model in
//! evaluation mode needs and which no training here keeps, since its loss does not depend on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ml::tensor::Device as Tensors;
use serde::{Deserialize, Serialize};

use super::index::{self, Points};
use super::setting::{self, BACKEND, CHUNK};
use super::train::json;
use crate::execute::{ActionContext, ActionKind, Caller, Engine, Failure, Produced};
use crate::key::{Output, Outputs};
use crate::ml::data::Dataset;
use crate::ml::models::{Architecture, exchange};
use crate::ml::ops::norm::Statistics;
use crate::ml::params::Theta;

/// How the bytes of an output are had, made again where they are gone.
pub type Read<'r> = dyn Fn(&Output) -> Result<Vec<u8>, Failure> + 'r;

/// The points of a stage, any of which can be exported.
pub struct Exportable(Points);

/// Where a point lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// The iteration of the training.
    pub iteration: u64,
    /// The epoch, and the part of one.
    pub epoch: f64,
}

/// A file for PyTorch.
pub struct Exported {
    /// The safetensors file.
    pub bytes: Vec<u8>,
    /// How many parameters it holds.
    pub parameters: usize,
    /// How many batch norms have the statistics of the training set in it.
    pub norms: usize,
}

impl Exportable {
    /// The points among the outputs of a stage; `None` if it gives none.
    ///
    /// # Errors
    /// If their list cannot be read.
    pub fn of(outputs: &Outputs, read: &Read<'_>) -> Result<Option<Self>, Failure> {
        let points = match (outputs.get("minima"), outputs.get("states")) {
            (Some(minima), _) => Points::from(index::parsed::<index::Minima>(&read(minima)?)?),
            (None, Some(states)) => Points::from(index::parsed::<index::States>(&read(states)?)?),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self(points)))
    }

    /// Where the points lie, in their order.
    pub fn positions(&self) -> Vec<Position> {
        let Points { states, points } = &self.0;
        let at = |iteration| Position { iteration, epoch: states.epoch_of(iteration) };
        points.iter().map(|point| at(point.iteration)).collect()
    }

    /// The file of the point at this place in [`positions`](Self::positions). What batch norms need is computed on the CPU, once.
    ///
    /// # Errors
    /// If bytes that are gone cannot be made again, or the function is not finite there.
    pub fn file(&self, place: usize, engine: &Engine, read: &Read<'_>) -> Result<Exported, Failure> {
        let setting = self.0.states.setting.clone().on_backend(BACKEND);
        let point = &self.0.points[place];
        let data = Dataset::decode(&read(&setting.data)?)?;
        let architecture = setting.ingredients.param("model", None::<Architecture>).map_err(Failure::work)?;
        let unnamed = || Failure::Work("the list of points names no model".to_owned());
        let model = architecture.ok_or_else(unnamed)?.build(data.shape, data.classes)?;
        let theta = Theta::decode(Arc::clone(model.layout()), &read(&point.theta)?, &Tensors::Cpu)?;
        let mut statistics = OfTrainingSet::default();
        if model.norms() > 0 {
            let action = setting.action(&NormStatistics).input("theta", &point.theta);
            let caller = Caller { stage: "export".to_owned(), backend: BACKEND.to_owned(), ..Caller::default() };
            let records = engine.perform(&caller, &[action])?;
            statistics = index::parsed(&read(&records[0].outputs["statistics"])?)?;
        }
        let moments: Vec<Statistics> = statistics.norms.into_iter().map(Statistics::from).collect();
        let bytes = exchange::export(model.declared(), &theta, &moments, statistics.batches)?;
        Ok(Exported { bytes, parameters: theta.len(), norms: moments.len() })
    }
}

/// What all batch norms see over the training set.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OfTrainingSet {
    /// Over how many chunks.
    batches: u64,
    /// Of each norm, in the model's order.
    norms: Vec<Seen>,
}

/// What one batch norm sees over the training set: [`Statistics`] as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    mean: Vec<f64>,
    variance: Vec<f64>,
    count: usize,
}

impl From<Seen> for Statistics {
    fn from(Seen { mean, variance, count }: Seen) -> Self {
        Self { mean, variance, count }
    }
}

/// The action: mean and variance of each batch norm's input over the training set.
pub struct NormStatistics;

impl ActionKind for NormStatistics {
    fn name(&self) -> &'static str {
        "norm-statistics"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let theta = setting::theta(cx, "theta", &objective)?;
        let batches = (objective.len() as u64).div_ceil(cx.param("chunk", CHUNK)?);
        let moments = objective.norm_statistics(&theta, &|| cx.cancelled())?;
        let seen = |Statistics { mean, variance, count }| Seen { mean, variance, count };
        let statistics = OfTrainingSet { batches, norms: moments.into_iter().map(seen).collect() };
        Ok(BTreeMap::from([("statistics".to_owned(), json(&statistics))]))
    }
}
