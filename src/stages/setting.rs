//! Model, loss and data as one function of θ, for every action of the science: how a manifest says it, how it enters keys, and how
//! an action gets it back.

use std::sync::Arc;

use crate::ml::tensor::Device as Tensors;
use serde::{Deserialize, Serialize};

use super::card::{self, Queue};
use crate::execute::{Action, ActionContext, Failure};
use crate::key::{Execution, Identity, Ingredients, Output, Walk};
use crate::manifest::Reader;
use crate::ml;
use crate::ml::card::Numeric;
use crate::ml::data::Dataset;
use crate::ml::loss::Loss;
use crate::ml::models::{Activation, Architecture};
use crate::ml::objective::{Objective, Placement};
use crate::ml::params::{Theta, decode_flat};

/// Version of every action that computes the function: raised when its kernels give other bytes.
pub const VERSION: u32 = 4;
/// Samples in a chunk of the fixed partition, where the manifest does not say.
pub const CHUNK: u64 = 500;
/// ε of the smoothed cross-entropy, where the manifest does not say.
pub const SMOOTHING: f64 = 0.1;
/// The loss, where the manifest does not say.
pub const LOSS: Loss = Loss::SmoothedCrossEntropy { smoothing: SMOOTHING };
/// The element type, where the manifest does not say.
pub const DTYPE: &str = "f32";
/// How a card computes, where the manifest does not say.
pub const NUMERIC: &str = "f32";
/// The backend whose name enters no key.
pub const BACKEND: &str = "cpu";

/// What a manifest says of the function that is minimised.
#[derive(Clone, Debug)]
pub struct SettingParams {
    /// The network.
    pub model: Identity<Architecture>,
    /// The loss.
    pub loss: Identity<Loss>,
    /// Samples in a chunk.
    pub chunk: Identity<u64>,
    /// `f32` or `f64`.
    pub dtype: Identity<String>,
    /// Where and how to compute.
    pub computing: Computing,
}

impl SettingParams {
    /// Reads the fields that every stage which defines a function has.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            model: reader.table("model", "the network", read_model).required().identity(),
            loss: read_loss(reader),
            chunk: reader.count("chunk", CHUNK_DOC).default(CHUNK).at_least(1).identity(),
            dtype: read_dtype(reader),
            computing: Computing::read(reader),
        }
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("model", &self.model)
            .identity("loss", &self.loss)
            .identity("chunk", &self.chunk)
            .identity("dtype", &self.dtype);
        self.computing.walk(walk);
    }

    /// The function over this data on this backend.
    pub fn on(&self, data: &Output, backend: &str) -> Setting {
        let ingredients = Ingredients::default()
            .with("model", &self.model)
            .with("loss", &self.loss)
            .with("chunk", &self.chunk)
            .with("dtype", &self.dtype);
        self.computing.of(Setting { data: data.clone(), ingredients }, backend)
    }
}

fn read_dtype(reader: &mut Reader<'_>) -> Identity<String> {
    let choices = [("f32", "f32".to_owned()), ("f64", "f64".to_owned())];
    reader.choice("dtype", "element type of tensors", &choices).default(DTYPE.to_owned()).identity()
}

const CHUNK_DOC: &str =
    "samples in a chunk of the fixed partition over which the loss is taken; batch norm sees one chunk at a time";

/// Where and how a stage computes: the fields of every kind that computes.
#[derive(Clone, Debug)]
pub struct Computing {
    /// Where.
    pub device: Execution<String>,
    /// How products are computed, and in what activations are kept.
    pub numeric: Identity<String>,
}

impl Computing {
    /// Reads the fields.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let field = reader.text("device", "where to compute: `auto`, `cpu`, `cuda` or `cuda:N`").default("auto");
        let ordinal = |device: &str| device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
        let known = move |device: &String| {
            if ["auto", "cpu", "cuda"].contains(&device.as_str()) || ordinal(device) {
                Ok(())
            } else {
                Err("expected `auto`, `cpu`, `cuda` or `cuda:N`".to_owned())
            }
        };
        let device = field.check(known).execution();
        let choices = ["f32", "tf32", "bf16"].map(|name| (name, name.to_owned()));
        let on_cpu = *device == "cpu";
        let possible = move |numeric: &String| match numeric.as_str() {
            "f32" => Ok(()),
            _ if on_cpu => Err(format!("`{numeric}` is computed on a card, and `device` is `cpu`")),
            _ => Ok(()),
        };
        let numeric = reader.choice("numeric", NUMERIC_DOC, &choices).default(NUMERIC.to_owned());
        Self { device, numeric: numeric.check(possible).identity() }
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("numeric", &self.numeric).execution("device", &self.device);
    }

    /// A function as this computes it.
    pub fn of(&self, setting: Setting, backend: &str) -> Setting {
        let mut setting = setting.on_backend(backend);
        // On the CPU it stays too, so that an action says that it cannot.
        setting.ingredients = setting.ingredients.without("numeric").with("numeric", &self.numeric);
        setting
    }
}

const NUMERIC_DOC: &str = "on a card, how products and convolutions are computed: `f32` throughout; `tf32`, factors rounded to 10 bits; `bf16`, activations and passing gradients too, θ and its gradient in f32. Anything but `f32` wants a card";

fn read_model(reader: &mut Reader<'_>) -> Architecture {
    let names = ["mlp", "convnet", "all-conv", "preact-resnet18", "vgg16", "densenet-bc"];
    reader.variant("architecture", "which network", &names, |name, reader| match name {
        "convnet" => {
            let channels = reader.counts("channels", "channels of the four convolutions").default(vec![32, 32, 64, 64]);
            let channels = channels.check(|channels| four(channels)).value();
            let channels = std::array::from_fn(|i| channels.get(i).map_or(1, |&n| n as usize));
            Architecture::ConvNet { channels, activation: read_activation(reader) }
        }
        "preact-resnet18" => Architecture::PreactResNet18 {
            width: reader.count("width", "channels of the first stage").default(64).at_least(1).value() as usize,
            final_norm: reader.flag("final_norm", "batch norm and ReLU after the last stage").default(true).value(),
        },
        "all-conv" => {
            let channels = reader.counts("channels", "channels of each convolution but the last").default(vec![15, 20]);
            let channels = channels.check(|channels| positive(channels)).value();
            let channels = channels.into_iter().map(|n| n as usize).collect();
            Architecture::AllConv { channels, activation: read_activation(reader) }
        }
        "vgg16" => Architecture::Vgg16 {
            width: reader.count("width", "channels of the first stage").default(64).at_least(1).value() as usize,
            batch_norm: reader.flag("batch_norm", "batch norm after each convolution").default(true).value(),
        },
        "densenet-bc" => {
            let blocks = reader.counts("blocks", "layers of each dense block").not_empty().default(vec![6, 12, 24, 16]);
            let blocks = blocks.check(|blocks| positive(blocks)).value();
            Architecture::DenseNetBc {
                blocks: blocks.into_iter().map(|n| n as usize).collect(),
                growth: reader.count("growth", "channels that each layer adds").default(12).at_least(1).value()
                    as usize,
            }
        }
        _ => {
            let hidden = reader
                .counts("hidden", "width of each hidden layer")
                .required()
                .check(|widths| positive(widths))
                .value();
            let hidden = hidden.into_iter().map(|n| n as usize).collect();
            Architecture::Mlp { hidden, activation: read_activation(reader) }
        }
    })
}

fn positive(widths: &[u64]) -> Result<(), String> {
    if widths.contains(&0) { Err("a width is at least 1".to_owned()) } else { Ok(()) }
}

fn four(channels: &[u64]) -> Result<(), String> {
    positive(channels)?;
    if channels.len() == 4 { Ok(()) } else { Err("expected four numbers".to_owned()) }
}

fn read_activation(reader: &mut Reader<'_>) -> Activation {
    let choices = [("relu", Activation::Relu), ("tanh", Activation::Tanh)];
    reader.choice("activation", "the nonlinearity", &choices).default(Activation::Relu).value()
}

fn read_loss(reader: &mut Reader<'_>) -> Identity<Loss> {
    let names = ["cross-entropy", "squared-error"];
    let doc =
        "what is minimised: smoothed cross-entropy as its excess over the least it can be, or half the squared error";
    let loss = reader.variant_or("loss", doc, (&names, "cross-entropy"), |name, reader| {
        if name == "squared-error" {
            Loss::SquaredError
        } else {
            let field = reader.float("smoothing", "ε of the smoothed targets ε/K + (1 − ε)·onehot").default(SMOOTHING);
            Loss::SmoothedCrossEntropy { smoothing: field.at_least(0).below(1).value() }
        }
    });
    Identity::with_default(loss, LOSS)
}

/// The function that states and minima belong to; indexes carry it from stage to stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The decoded data set.
    pub data: Output,
    /// Model, loss, chunk, dtype and backend, as they enter keys.
    pub ingredients: Ingredients,
}

impl Setting {
    /// The same function on another backend.
    #[must_use]
    pub fn on_backend(mut self, backend: &str) -> Self {
        let backend = Identity::with_default(backend.to_owned(), BACKEND.to_owned());
        self.ingredients = self.ingredients.without("backend").with("backend", &backend);
        self
    }

    /// The same function computed as a training was, as far as this backend can: on the CPU there is one way.
    #[must_use]
    pub fn in_numeric(mut self, numeric: &str) -> Self {
        let on_cpu = self.ingredients.param("backend", BACKEND.to_owned()).is_ok_and(|backend| backend == BACKEND);
        let numeric = Identity::with_default(if on_cpu { NUMERIC } else { numeric }.to_owned(), NUMERIC.to_owned());
        self.ingredients = self.ingredients.without("numeric").with("numeric", &numeric);
        self
    }

    /// How it is computed.
    pub fn numeric(&self) -> String {
        self.ingredients.param("numeric", NUMERIC.to_owned()).unwrap_or_else(|_| NUMERIC.to_owned())
    }

    /// An action about this function.
    pub fn action(&self, kind: &dyn crate::execute::ActionKind) -> Action {
        Action::new(kind).with_all(&self.ingredients).input("data", &self.data)
    }
}

/// The decoded data set of an action's input.
///
/// # Errors
/// If its bytes are absent or do not decode.
pub fn dataset(cx: &ActionContext<'_>, name: &str) -> Result<Arc<Dataset>, Failure> {
    cx.memo(&cx.source(name).digest().to_string(), || Ok(Dataset::decode(&cx.input(name)?)?))
}

/// The function that an action is about, built once for all that are about it.
///
/// # Errors
/// If the data is absent, or the model does not fit it.
pub fn objective(cx: &ActionContext<'_>) -> Result<Arc<Objective>, Failure> {
    objective_on(cx, None)
}

/// As [`objective`], over so many samples of the data set, evenly spaced in its order: sample ⌊iS/n⌋ for each i below n.
///
/// # Errors
/// Also if there are fewer samples.
pub fn objective_on(cx: &ActionContext<'_>, samples: Option<u64>) -> Result<Arc<Objective>, Failure> {
    let data = dataset(cx, "data")?;
    let model: Architecture = cx.required("model")?;
    let loss = cx.param("loss", LOSS)?;
    let chunk = cx.param("chunk", CHUNK)? as usize;
    let placement = placement(cx)?;
    let digest = cx.source("data").digest();
    let name = format!("{digest} {model:?} {loss:?} {chunk} {placement:?} {samples:?}");
    cx.memo(&name, || {
        let model = model.build(data.shape, data.classes)?;
        let Some(samples) = samples else { return Ok(Objective::new(model, loss, &data, chunk, placement)?) };
        let (samples, all) = (samples as usize, data.len());
        if samples > all {
            return Err(Failure::Work(format!("`samples` is {samples}, and the training set has {all}")));
        }
        let chosen: Vec<usize> = (0..samples).map(|i| i * all / samples).collect();
        Ok(Objective::new(model, loss, &data.select(&chosen), chunk, placement)?)
    })
}

/// In which dtype and on which device an action computes.
///
/// # Errors
/// If the device cannot be opened.
pub fn placement(cx: &ActionContext<'_>) -> Result<Placement, Failure> {
    let (dtype, numeric) = (card::dtype(cx)?, card::numeric(cx)?);
    let device = match cx.means::<Queue>() {
        Some(queue) => Tensors::Card(queue.card().map_err(ml::Error::from)?.with_numeric(numeric)),
        None if numeric == Numeric::F32 => Tensors::Cpu,
        None => {
            return Err(Failure::Work(format!(
                "`numeric = \"{numeric}\"` is computed on a card alone, and this runs on the CPU"
            )));
        }
    };
    Ok(Placement { dtype, device })
}

/// The point that an action's input holds, in the element type that is computed in: a start may come from a training in another.
///
/// # Errors
/// If its bytes are absent, or belong to another model.
pub fn theta(cx: &ActionContext<'_>, name: &str, objective: &Objective) -> Result<Theta, Failure> {
    let layout = Arc::clone(objective.model().layout());
    let placement = objective.placement();
    Ok(Theta::decode(layout, &cx.input(name)?, &placement.device)?.to_dtype(placement.dtype)?)
}

/// The momentum buffer that an action's input `velocity` holds, if it has one.
///
/// # Errors
/// As [`theta`].
pub fn velocity(cx: &ActionContext<'_>, objective: &Objective) -> Result<Option<crate::ml::tensor::Tensor>, Failure> {
    if !cx.has("velocity") {
        return Ok(None);
    }
    let (len, device) = (objective.model().layout().len(), &objective.placement().device);
    Ok(Some(decode_flat(&cx.input("velocity")?, len, device)?))
}
