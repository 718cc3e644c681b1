//! The trace of a trained network. Both sides read the same point and the same data from one file, which this side writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use candle_core::safetensors;
use serde_json::json;
use thalweg::ml::curvature::deflation::Subspace;
use thalweg::ml::curvature::operator::At;
use thalweg::ml::curvature::trace::{Estimate, Probes};
use thalweg::ml::data::Dataset;
use thalweg::ml::data::shapes::Shapes;
use thalweg::ml::models::Architecture;
use thalweg::ml::objective::{BatchTargets, NoInterrupt};
use thalweg::ml::optim::Sgd;
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;
use thalweg::ml::tensor::{DType, Device, Tensor};

use crate::networks::{CLASSES, Placed, place};
use crate::{Result, Run};

const ARCHITECTURE: Architecture = Architecture::PreactResNet18 { width: 16, final_norm: true };
const SHAPE: [usize; 3] = [3, 32, 32];

/// Generated images; the Hessian is that of the mean over all of them as one batch.
const SAMPLES: usize = 128;

/// Vectors of the subspace that is taken out of the deflated estimate.
const RANK: usize = 10;

/// Trains for 20 epochs of 8 batches and writes θ under PyTorch's names, `images` `[S, C, H, W]` and `labels` `[S]`.
pub fn train(path: &str) -> Run {
    let path = path.to_owned();
    Box::new(move || {
        let data = Shapes { train: SAMPLES, validation: 0, seed: 0 }.generate()?.train;
        let (objective, mut theta) = place(&ARCHITECTURE, &data)?;
        let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
        let (mut buffer, batch) = (None, SAMPLES as u32 / 8);
        for iteration in 0..20 * 8 {
            let from = iteration % 8 * batch;
            let indices: Vec<u32> = (from..from + batch).collect();
            let (_, gradient) = objective.batch_gradient(&theta, &indices, BatchTargets::Soft)?;
            let (flat, kept) = sgd.step(0.05, theta.flat(), &gradient, buffer.as_ref())?;
            theta = Theta::new(Arc::clone(theta.layout()), flat)?;
            buffer = kept;
        }
        let mut file = HashMap::new();
        for (index, part) in theta.layout().parts().iter().enumerate() {
            file.insert(part.name.clone(), theta.view(index)?.host()?);
        }
        let [channels, height, width] = SHAPE;
        file.insert(
            "images".into(),
            Tensor::from_slice(&data.inputs, (SAMPLES, channels, height, width), &Device::Cpu)?.host()?,
        );
        let labels = data.labels.iter().map(|&label| i64::from(label)).collect();
        file.insert("labels".into(), Tensor::from_vec(labels, SAMPLES, &Device::Cpu)?.host()?);
        safetensors::save(&file, &path)?;
        Ok(json!({ "loss": objective.value(&theta, &NoInterrupt)? }))
    })
}

fn read(path: &str) -> Result<Placed> {
    let file = safetensors::load(path, &candle_core::Device::Cpu)?;
    let of = |name: &str| file.get(name).ok_or_else(|| format!("no `{name}` in `{path}`"));
    let inputs = of("images")?.flatten_all()?.to_vec1()?;
    let labels =
        of("labels")?.to_vec1::<i64>()?.into_iter().map(u32::try_from).collect::<std::result::Result<_, _>>()?;
    let (objective, start) = place(&ARCHITECTURE, &Dataset { inputs, labels, shape: SHAPE, classes: CLASSES })?;
    let mut values = Vec::with_capacity(start.len());
    for part in start.layout().parts() {
        values.extend(of(&part.name)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    let theta = Theta::from_values(Arc::clone(start.layout()), values, DType::F32, &Device::Cpu)?;
    Ok((objective, theta))
}

/// An estimate of tr H by `method` from this many products: the trace, its relative standard error, the seconds of the products, and
/// those of what comes before them and does not grow with their number.
pub fn trace(method: &str, products: u32, path: &str) -> Result<Run> {
    let rank = match method {
        "hutchinson" => None,
        "deflated" => Some(RANK),
        _ => return Err(format!("no method `{method}`").into()),
    };
    let (objective, theta) = read(path)?;
    Ok(Box::new(move || {
        let start = Instant::now();
        let indices: Vec<u32> = (0..products).collect();
        let (operator, probes) =
            (At::hessian(&objective, &theta, &NoInterrupt), Probes::signs(Stream::new(0, "probe")));
        let (forms, above, setup) = match rank {
            None => (probes.forms(&operator, &indices)?, 0.0, 0.0),
            Some(rank) => {
                let subspace = Subspace::find(&operator, &Stream::new(0, "subspace"), rank)?;
                let above = subspace.forms(&operator)?.iter().sum();
                let setup = start.elapsed().as_secs_f64();
                (subspace.rest(&operator, &probes, &indices)?, above, setup)
            }
        };
        let seconds = start.elapsed().as_secs_f64() - setup;
        let estimate = Estimate::of(&forms)?;
        let trace = above + estimate.mean;
        let relative = estimate.stderr / trace.abs();
        Ok(json!({ "seconds": seconds, "setup_seconds": setup, "trace": trace, "relative_stderr": relative }))
    }))
}
