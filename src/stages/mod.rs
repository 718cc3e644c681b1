//! The stage kinds: where the runner and the science meet. One file a kind holds its parameters, its [`Kind`] and its actions.
//!
//! Reading order: `setting` (model, loss and data as one function, for every action of the science), `index` (the lists of states and
//! minima that stages hand on), `tables` (CSV, and where it is put for people), `phrase` (numbers in words), `foresee` (what a run would find and what it would make), `replay`, `descend` and `evaluate` (how a state is
//! reached, projected and evaluated), then the kinds: `dataset`, `train`, `checkpoint`, `import`, `project`, `connect`; `curved` (which matrix of the loss), `estimate`,
//! `estimator` and `trace`, `spectrum` and `spectrum_tables`, `alignment` and `noise`, `dynamics`, `drift`; `toy` and `toy_tables`; and `fit`, `plot`, `claim`, `command` (with `aftermath`, what one leaves behind), and `export` (a state for
//! PyTorch, which is no stage).

mod aftermath;
mod alignment;
pub mod card;
mod checkpoint;
mod claim;
mod command;
mod connect;
mod curved;
mod dataset;
mod descend;
mod drift;
mod dynamics;
mod estimate;
mod estimator;
mod evaluate;
mod export;
mod fit;
mod foresee;
mod import;
mod index;
mod noise;
mod phrase;
mod plot;
mod project;
mod replay;
mod setting;
mod spectrum;
mod spectrum_tables;
mod tables;
mod toy;
mod toy_tables;
mod trace;
mod train;

use std::sync::Arc;

use crate::execute::{ActionKind, Failure, Work};
use crate::manifest::{Kind, Kinds, Params};
use crate::ml;
use crate::ml::card::Fault;
pub use export::{Exportable, Exported, Position, Read};
pub use tables::file as table_file;

/// Every kind of stage, in the order in which documentation lists them.
pub fn kinds() -> Kinds {
    let kinds: Vec<Arc<dyn Kind>> = vec![
        Arc::new(dataset::Dataset),
        Arc::new(train::Train),
        Arc::new(checkpoint::Checkpoint),
        Arc::new(import::Import),
        Arc::new(project::GdProject),
        Arc::new(connect::ConnectednessBisect),
        Arc::new(trace::TraceEstimate),
        Arc::new(spectrum::Spectrum),
        Arc::new(alignment::AlignmentKind),
        Arc::new(dynamics::Dynamics),
        Arc::new(drift::Drift),
        Arc::new(toy::Toy),
        Arc::new(fit::Fit),
        Arc::new(plot::Plot),
        Arc::new(claim::Claim),
        Arc::new(command::Command),
    ];
    Kinds::new(kinds)
}

/// Every kind of action.
pub fn actions() -> Vec<&'static dyn ActionKind> {
    vec![
        &dataset::Fetch,
        &dataset::Decode,
        &train::Init,
        &train::Epoch,
        &evaluate::Evaluate,
        &replay::Replay,
        &import::Convert,
        &export::NormStatistics,
        &descend::Descent,
        &connect::Line,
        &estimate::Probe,
        &estimate::FindSubspace,
        &estimate::Hold,
        &estimate::Xtrace,
        &estimate::LayerProbe,
        &estimate::ScaledProbe,
        &spectrum::Lanczos,
        &spectrum::Eigenvalues,
        &noise::AlignmentProbe,
        &noise::SquareProbe,
        &noise::ExactAlignment,
        &noise::NoisePairs,
        &dynamics::Eigenspace,
        &dynamics::Relation,
        &drift::GradientOfTrace,
        &toy::Walks,
        &fit::Fitted,
        &plot::Draw,
        &claim::Judge,
        &command::Execute,
    ]
}

/// The work of a stage of `kind` with these parameters.
///
/// # Panics
/// If there is no such kind, which the manifest's checks rule out.
pub fn work(kind: &str, params: &Arc<dyn Params>) -> Arc<dyn Work> {
    match kind {
        "dataset" => Arc::new(params.of::<dataset::DatasetParams>().clone()),
        "train" => Arc::new(params.of::<train::TrainParams>().clone()),
        "checkpoint" => Arc::new(params.of::<checkpoint::CheckpointParams>().clone()),
        "import" => Arc::new(params.of::<import::ImportParams>().clone()),
        "gd-project" => Arc::new(params.of::<project::ProjectParams>().clone()),
        "connectedness-bisect" => Arc::new(params.of::<connect::ConnectParams>().clone()),
        "trace-estimate" => Arc::new(params.of::<trace::TraceParams>().clone()),
        "spectrum" => Arc::new(params.of::<spectrum::SpectrumParams>().clone()),
        "alignment" => Arc::new(params.of::<alignment::AlignmentParams>().clone()),
        "dynamics" => Arc::new(params.of::<dynamics::DynamicsParams>().clone()),
        "drift" => Arc::new(params.of::<drift::DriftParams>().clone()),
        "toy" => Arc::new(params.of::<toy::ToyParams>().clone()),
        "fit" => Arc::new(params.of::<fit::FitParams>().clone()),
        "plot" => Arc::new(params.of::<plot::PlotParams>().clone()),
        "claim" => Arc::new(params.of::<claim::ClaimParams>().clone()),
        "command" => Arc::new(params.of::<command::CommandParams>().clone()),
        other => panic!("invariant: the manifest knows no kind `{other}` without work"),
    }
}

impl From<ml::Error> for Failure {
    fn from(error: ml::Error) -> Self {
        match error {
            ml::Error::Interrupted => Self::Interrupted,
            ml::Error::Card(fault @ Fault::OutOfMemory { .. }) => Self::Memory(fault.to_string()),
            ml::Error::Card(fault @ Fault::Lost { .. }) => Self::Lost(fault.to_string()),
            ml::Error::Card(fault @ Fault::Missing(_)) => Self::Machine(fault.to_string()),
            error => Self::Work(error.to_string()),
        }
    }
}
