//! Models with random data, and what is asked of them: gradient, Hv, quadratic forms, and the memory that these take.

use std::fs;

use serde_json::json;
use thalweg::ml::curvature::dense::dense;
use thalweg::ml::curvature::operator::At;
use thalweg::ml::curvature::trace;
use thalweg::ml::data::Dataset;
use thalweg::ml::loss::Loss;
use thalweg::ml::models::{Activation, Architecture};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;
use thalweg::ml::tensor::{DType, Device};

use crate::{Result, Run, timed};

/// What all models here are trained with.
pub const LOSS: Loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };

/// Classes of all models here.
pub const CLASSES: usize = 10;

/// An architecture, its images `[channels, height, width]`, and the samples in its batch, which is all its data. `MODELS` in
/// `torch_models.py` is the same table.
fn table(name: &str) -> Result<(Architecture, [usize; 3], usize)> {
    let resnet = |width| Architecture::PreactResNet18 { width, final_norm: true };
    let convnet = Architecture::ConvNet { channels: [32, 32, 64, 64], activation: Activation::Relu };
    let mlp = |hidden: &[usize], activation| Architecture::Mlp { hidden: hidden.to_vec(), activation };
    Ok(match name {
        "resnet18" => (resnet(64), [3, 32, 32], 32),
        "resnet18-w16" => (resnet(16), [3, 32, 32], 64),
        "vgg16-bn" => (Architecture::Vgg16 { width: 64, batch_norm: true }, [3, 32, 32], 32),
        "densenet-bc" => (Architecture::DenseNetBc { blocks: vec![6, 12, 24, 16], growth: 12 }, [3, 32, 32], 32),
        "convnet" => (convnet, [1, 28, 28], 128),
        "convnet-digits" => (convnet, [1, 8, 8], 500),
        "mlp" => (mlp(&[512, 512], Activation::Relu), [1, 28, 28], 128),
        "mlp-6220" => (mlp(&[30], Activation::Tanh), [1, 14, 14], 500),
        _ => return Err(format!("no model `{name}`").into()),
    })
}

/// An objective and a point.
pub type Placed = (Objective, Theta);

/// `architecture` at a random point, with `data` as its only chunk.
pub fn place(architecture: &Architecture, data: &Dataset) -> Result<Placed> {
    let model = architecture.build(data.shape, data.classes)?;
    let theta = model.init(&Stream::new(0, "init"), DType::F32, &Device::Cpu)?;
    let objective = Objective::new(model, LOSS, data, data.len(), Placement::cpu(DType::F32))?;
    Ok((objective, theta))
}

/// The whole Hessian of the small network in f64, and all its eigenvalues.
pub fn hessian(model: &str) -> Result<Run> {
    let ((architecture, shape, batch), (single, _)) = (table(model)?, network(model)?);
    let (samples, model) = (batch * shape.iter().product::<usize>(), architecture.build(shape, CLASSES)?);
    let mut draws = Stream::new(0, "images").at(0, 0);
    let inputs = (0..samples).map(|_| draws.normal() as f32).collect();
    let data = Dataset { inputs, labels: single.labels().to_vec(), shape, classes: CLASSES };
    let theta = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu)?;
    let objective = Objective::new(model, LOSS, &data, batch, Placement::cpu(DType::F64))?;
    Ok(timed(move || Ok(dense(&At::hessian(&objective, &theta, &NoInterrupt))?.eigenvalues(&NoInterrupt)?)))
}

fn network(name: &str) -> Result<Placed> {
    let (architecture, shape, batch) = table(name)?;
    let mut draws = Stream::new(0, "images").at(0, 0);
    let inputs = (0..batch * shape.iter().product::<usize>()).map(|_| draws.normal() as f32).collect();
    let labels = (0..batch).map(|sample| (sample % CLASSES) as u32).collect();
    place(&architecture, &Dataset { inputs, labels, shape, classes: CLASSES })
}

/// vᵀHv for this many probes, drawn anew.
fn quadratic_forms((objective, theta): &Placed, probes: u32) -> Result<Vec<f64>> {
    let indices: Vec<u32> = (0..probes).collect();
    Ok(trace::probes(objective, theta, &Stream::new(0, "probe"), &indices, &NoInterrupt)?)
}

/// How many parameters a model has: a check that both sides speak of the same one.
pub fn parameters(model: &str) -> Result<Run> {
    let (_, theta) = network(model)?;
    Ok(Box::new(move || Ok(json!({ "parameters": theta.len() }))))
}

/// Loss and gradient.
pub fn gradient(model: &str) -> Result<Run> {
    let (objective, theta) = network(model)?;
    Ok(timed(move || Ok(objective.gradient(&theta, &NoInterrupt)?)))
}

/// Hv.
pub fn hvp(model: &str) -> Result<Run> {
    let (objective, theta) = network(model)?;
    let v = trace::probe(&Stream::new(0, "probe"), 0, theta.len(), DType::F32)?;
    Ok(timed(move || Ok(objective.hvp(&theta, &v, &NoInterrupt)?)))
}

/// vᵀHv for this many probes at one point.
pub fn forms(model: &str, probes: u32) -> Result<Run> {
    let at = network(model)?;
    Ok(timed(move || quadratic_forms(&at, probes)))
}

/// The bytes that [`forms`] holds at its peak beside θ and the data. Wants a process of its own.
///
/// What was resident before the model was made is subtracted, then θ and the data themselves. So memory that setting up has freed, and
/// that the allocator still holds, counts as the form's own and cannot hide it.
pub fn peak(model: &str, probes: u32) -> Run {
    let model = model.to_owned();
    Box::new(move || {
        let before = resident("VmRSS:")?;
        let at = network(&model)?;
        let (_, shape, batch) = table(&model)?;
        // Writing 5 makes the present size the peak.
        fs::write("/proc/self/clear_refs", "5")?;
        quadratic_forms(&at, probes)?;
        let kept = size_of::<f32>() * (at.1.len() + batch * shape.iter().product::<usize>());
        Ok(json!({ "bytes": resident("VmHWM:")?.saturating_sub(before + kept) }))
    })
}

/// A size in bytes from the kernel's account of this process.
fn resident(field: &str) -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or_else(|| format!("no `{field}`"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}
