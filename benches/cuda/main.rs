//! Our side of the benchmark on a card: a worker that `bench.py` starts and asks, one request a line.
//!
//! A request is a count and what to do that many times, such as `3 gradient resnet18 500 tf32`; the answer is one line, a list of so many
//! results in JSON, or `{"error": …}`. What a request needs is set up when it is first asked, run twice unmeasured, and kept; each time the
//! card is waited for. `torch_worker.py` answers the same requests, except for what it is asked of its own.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde_json::{Value, json};
use thalweg::ml::card::{Card, Cards, Numeric};
use thalweg::ml::data::{Dataset, Sampling};
use thalweg::ml::landscape::descent::{Descent, DescentState};
use thalweg::ml::landscape::training::{Batch, Labels, Training, TrainingState};
use thalweg::ml::loss::Loss;
use thalweg::ml::models::Architecture;
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::ops::{elementwise, matmul};
use thalweg::ml::optim::{Schedule, Sgd};
use thalweg::ml::params::{Signs, Theta};
use thalweg::ml::rng::Stream;
use thalweg::ml::tensor::{DType, Device, Tensor};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Does what was asked once and says what came of it.
type Run = Box<dyn FnMut() -> Result<Value>>;

const CLASSES: usize = 10;

const SHAPE: [usize; 3] = [3, 32, 32];

const LOSS: Loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };

/// The models, as `MODELS` of `torch_worker.py` has them.
fn architecture(name: &str) -> Result<Architecture> {
    Ok(match name {
        "resnet18" => Architecture::PreactResNet18 { width: 64, final_norm: true },
        "vgg16-bn" => Architecture::Vgg16 { width: 64, batch_norm: true },
        "densenet-bc" => Architecture::DenseNetBc { blocks: vec![6, 12, 24, 16], growth: 12 },
        _ => return Err(format!("no model `{name}`").into()),
    })
}

fn numeric(name: &str) -> Result<Numeric> {
    Ok(match name {
        "f32" => Numeric::F32,
        "tf32" => Numeric::Tf32,
        "bf16" => Numeric::Bf16,
        _ => return Err(format!("no numeric mode `{name}`").into()),
    })
}

/// A model at a random point with `samples` random images, `batch` to a chunk.
fn place(card: &Card, name: &str, samples: usize, batch: usize) -> Result<(Objective, Theta)> {
    let model = architecture(name)?.build(SHAPE, CLASSES)?;
    let mut draws = Stream::new(0, "images").at(0, 0);
    let inputs = (0..samples * SHAPE.iter().product::<usize>()).map(|_| draws.normal() as f32).collect();
    let labels = (0..samples).map(|sample| (sample % CLASSES) as u32).collect();
    let data = Dataset { inputs, labels, shape: SHAPE, classes: CLASSES };
    let device = Device::Card(card.clone());
    let theta = model.init(&Stream::new(0, "init"), DType::F32, &device)?;
    Ok((Objective::new(model, LOSS, &data, batch, Placement { dtype: DType::F32, device })?, theta))
}

fn timed<T>(card: Card, mut work: impl FnMut() -> Result<T> + 'static) -> Run {
    Box::new(move || {
        card.finish()?;
        card.restart_peak();
        let (before, start) = (card.memory().used, Instant::now());
        std::hint::black_box(work()?);
        card.finish()?;
        Ok(
            json!({ "seconds": start.elapsed().as_secs_f64(), "bytes": card.memory().peak - before + card.memory().library }),
        )
    })
}

fn prepare(card: &Card, words: &[&str]) -> Result<Run> {
    let on = |mode: &str| -> Result<Card> { Ok(card.with_numeric(numeric(mode)?)) };
    match *words {
        ["parameters", model, batch, mode] => {
            let (_, theta) = place(&on(mode)?, model, batch.parse()?, batch.parse()?)?;
            Ok(Box::new(move || Ok(json!({ "parameters": theta.len() }))))
        }
        ["gradient", model, batch, mode] => {
            let (objective, theta) = place(&on(mode)?, model, batch.parse()?, batch.parse()?)?;
            Ok(timed(card.clone(), move || Ok(objective.gradient(&theta, &NoInterrupt)?)))
        }
        ["forms", model, batch, mode, probes] => {
            let (objective, theta) = place(&on(mode)?, model, batch.parse()?, batch.parse()?)?;
            let draw = |i| Signs::draw(&mut Stream::new(0, "probe").at(0, i), theta.len());
            let signs: Vec<Signs> = (0..probes.parse()?).map(draw).collect();
            Ok(timed(card.clone(), move || Ok(objective.quadratic_forms(&theta, &signs[..], &NoInterrupt)?)))
        }
        ["descent", model, samples, mode, steps] => {
            let (objective, theta) = place(&on(mode)?, model, samples.parse()?, 500)?;
            let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
            let (descent, steps) = (Descent { sgd, lr: 0.1, until_loss: 1e-9 }, steps.parse()?);
            Ok(timed(card.clone(), move || {
                Ok(descent.run_block(&objective, DescentState::start(theta.clone()), steps, &NoInterrupt)?)
            }))
        }
        ["epoch", model, samples, mode] => {
            let (objective, theta) = place(&on(mode)?, model, samples.parse()?, 500)?;
            let training = Training {
                sgd: Sgd { momentum: 0.9, ..Sgd::default() },
                lr: 0.1,
                schedule: Schedule::Constant,
                batch: Batch::Of(500),
                sampling: Sampling::Reshuffled,
                labels: Labels::Soft,
                isotropic: None,
                seed: 0,
            };
            Ok(timed(card.clone(), move || {
                Ok(training.run_epoch(&objective, TrainingState::start(theta.clone()), &NoInterrupt)?)
            }))
        }
        ["gemm", size, mode] => {
            let (size, device) = (size.parse::<usize>()?, Device::Card(on(mode)?));
            let dtype = if mode == "bf16" { DType::BF16 } else { DType::F32 };
            let ones = Tensor::ones((size, size), DType::F32, &device)?.to_dtype(dtype)?;
            Ok(timed(card.clone(), move || Ok(matmul::matmul(&ones, &ones, false, false)?)))
        }
        // One read and one write of so many bytes.
        ["copy", mebibytes] => {
            let count = mebibytes.parse::<usize>()? << 18;
            let x = Tensor::ones(count, DType::F32, &Device::Card(card.clone()))?;
            Ok(timed(card.clone(), move || Ok(elementwise::scale(&x, 2.0)?)))
        }
        _ => Err(format!("no such request: `{}`", words.join(" ")).into()),
    }
}

fn answer(card: &Card, line: &str, ready: &mut BTreeMap<String, Run>) -> Result<Vec<Value>> {
    let (count, request) = line.trim().split_once(' ').ok_or("expected a count and a request")?;
    let words: Vec<&str> = request.split(' ').collect();
    if words == ["forget"] {
        ready.clear();
        card.trim();
        return Ok(Vec::new());
    }
    if !ready.contains_key(request) {
        let mut run = prepare(card, &words)?;
        run()?;
        run()?;
        ready.insert(request.to_owned(), run);
    }
    let run = ready.get_mut(request).ok_or("a request that was just prepared is there")?;
    (0..count.parse::<usize>()?).map(|_| run()).collect()
}

fn main() -> io::Result<()> {
    let mut card = Err("no card was asked for".to_owned());
    let mut ready = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if card.is_err() {
            card = Cards::Cuda.open(0).map_err(|fault| fault.to_string());
        }
        let reply = match &card {
            Ok(card) => {
                answer(card, &line, &mut ready).map_or_else(|error| json!({ "error": error.to_string() }), Value::from)
            }
            Err(why) => json!({ "error": why }),
        };
        writeln!(io::stdout(), "{reply}")?;
    }
    Ok(())
}
