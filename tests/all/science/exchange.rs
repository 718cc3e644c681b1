//! Weights from PyTorch and back: what is exported is imported again bit for bit, an edited file reruns what it changes, and PyTorch,
//! where it is installed, loads every architecture and gives the same logits.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use thalweg::ml::data::Dataset;
use thalweg::ml::jet::Jet;
use thalweg::ml::loss::Loss;
use thalweg::ml::models::exchange::{self, Foreign};
use thalweg::ml::models::{Activation, Architecture, Model, Norm, Weights};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::ops::axes::channels_last;
use thalweg::ml::ops::norm::Statistics;
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;
use thalweg::ml::tape::Var;
use thalweg::ml::tensor::{DType, Device, Tensor};

use super::lab::{Lab, counts};

/// A residual network after two epochs, and the trace along them.
const TRAINED: &str = r#"
study = "weights"

[stage.data]
kind = "dataset"
subset = 60

[stage.train]
kind = "train"
data = "data"
model = { architecture = "preact-resnet18", width = 1 }
batch = 30
chunk = 30
epochs = 2

[stage.trace]
kind = "trace-estimate"
from = "train"
probes = 2
"#;

/// The same, with a file in the place of the training.
fn imported() -> String {
    let (start, end) = (TRAINED.find("[stage.train]").unwrap(), TRAINED.find("[stage.trace]").unwrap());
    let import = "[stage.weights]\nkind = \"import\"\ndata = \"data\"\nfile = \"weights.safetensors\"\n\
                  model = { architecture = \"preact-resnet18\", width = 1 }\nchunk = 30\n\n";
    TRAINED.replace(&TRAINED[start..end], import).replace("from = \"train\"", "from = \"weights\"")
}

/// A lab in which the weights of [`TRAINED`] lie as a file, and what the program said of it.
fn exported() -> (Lab, String) {
    let lab = Lab::new(TRAINED);
    lab.run(&[]);
    let output = lab.program(&["cache", "export", "study.toml", "train", "--to", "weights.safetensors"]);
    assert!(output.status.success() && output.stdout.is_empty());
    (lab, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_is_exported_is_imported_again_bit_for_bit() {
    let (lab, said) = exported();
    insta::assert_snapshot!(said, @"wrote weights.safetensors: `train` at iteration 4 (epoch 2), 2945 parameters; the statistics of 17 batch norms are those of the training set");
    let trained = lab.output("train", "states")["epochs"][2]["theta"].clone();
    let traces = lab.table("trace.csv").numbers("trace");
    let validation = lab.table("train.csv").numbers("validation_loss");
    lab.write(&imported());
    let planned = lab.forecast("weights", &[]);
    assert_eq!(planned["import"].counts(), (1, 0, false));
    assert_eq!(planned["evaluate"].counts(), (1, 0, false));
    let ran = lab.run(&[]);
    // The same bytes: what was known of the state is found.
    assert_eq!(ran.ran(), counts(&[("import", 1)]));
    assert_eq!((ran.hit("evaluate"), ran.hit("probe")), (1, 2));
    assert_eq!(lab.output("weights", "states")["chosen"][0]["theta"], trained);
    assert_eq!(lab.table("trace.csv").numbers("trace"), traces[2..]);
    assert_eq!(lab.table("weights.csv").numbers("validation_loss"), validation[2..]);
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
    let planned = lab.forecast("weights", &["stage.weights.evaluate=false"]);
    assert_eq!(planned["import"].counts(), (0, 1, false));
    // Exported from there it is the same file.
    lab.says(&["cache", "export", "study.toml", "weights", "--to", "again.safetensors"]);
    assert_eq!(fs::read(lab.path("again.safetensors")).unwrap(), fs::read(lab.path("weights.safetensors")).unwrap());
}

#[test]
fn an_edited_file_reruns_what_it_changes_and_no_more() {
    let (lab, _) = exported();
    lab.write(&imported());
    lab.run(&[]);
    let path = lab.path("weights.safetensors");
    let whole = fs::read(&path).unwrap();
    // The last bytes belong to a running variance or mean, which no loss depends on: the same θ, and there it stops.
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let named: Value = serde_json::from_slice(&whole[8..header]).unwrap();
    let at = |name: &str| header + named[name]["data_offsets"][0].as_u64().unwrap() as usize;
    let edited = |name: &str| {
        let mut bytes = whole.clone();
        bytes[at(name)..][..4].copy_from_slice(&0.75f32.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    };
    edited("bn.running_var");
    let ran = lab.run(&[]);
    assert_eq!((ran.ran(), ran.state("weights"), ran.state("trace")), (counts(&[("import", 1)]), "ran", "fresh"));
    let reason = ran.report["stages"]["weights"]["reason"].as_str().unwrap();
    assert!(reason.contains("file"), "{reason}");
    edited("linear.bias");
    assert_eq!(lab.run(&[]).ran(), counts(&[("import", 1), ("evaluate", 1), ("probe", 2)]));
    fs::write(&path, &whole).unwrap();
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
    fs::remove_file(&path).unwrap();
    assert_eq!(lab.try_run(&[]).code, 2);
}

#[test]
fn imported_weights_are_projected_and_trained_further() {
    let (lab, _) = exported();
    let more = "\n[stage.minima]\nkind = \"gd-project\"\nfrom = \"weights\"\nuntil_loss = 2\n\n[stage.further]\nkind = \"train\"\n\
                data = \"data\"\nstart = \"weights\"\nmodel = { architecture = \"preact-resnet18\", width = 1 }\nchunk = 30\nbatch = 30\nepochs = 1\n";
    lab.write(&(imported() + more));
    lab.run(&[]);
    assert_eq!(lab.table("minima.csv").texts("reached"), ["yes"]);
    assert_eq!(lab.table("further.csv").numbers("iteration"), [0.0, 2.0]);
    let loss = lab.table("weights.csv").numbers("training_loss")[0];
    assert_eq!(lab.table("further.csv").numbers("training_loss")[0], loss);
}

#[test]
fn a_file_of_another_model_says_everything_that_does_not_fit() {
    let (lab, _) = exported();
    lab.write(&imported().replace("width = 1", "width = 1, final_norm = false"));
    let ran = lab.try_run(&[]);
    assert_eq!((ran.code, ran.in_state("failed"), ran.in_state("skipped")), (1, vec!["weights"], vec!["trace"]));
    let reason = ran.report["stages"]["weights"]["reason"].as_str().unwrap();
    let reason = reason.replace(lab.path("").to_str().unwrap(), "PROJECT/");
    insta::assert_snapshot!(reason, @r"
    PROJECT/weights.safetensors: it does not hold the parameters of this model:
    `bn.bias` is no parameter of this model
    `bn.num_batches_tracked` is no parameter of this model
    `bn.running_mean` is no parameter of this model
    `bn.running_var` is no parameter of this model
    `bn.weight` is no parameter of this model
    ");
    assert!(ran.words.contains("`bn.running_var` is no parameter"), "{}", ran.words);
}

#[test]
fn a_lost_state_is_made_again_to_be_exported() {
    let (lab, _) = exported();
    let first = |lab: &Lab, to: &str| {
        lab.says(&["cache", "export", "study.toml", "train", "--epoch", "1", "--to", to]);
        fs::read(lab.path(to)).unwrap()
    };
    let whole = first(&lab, "whole.safetensors");
    fs::remove_dir_all(lab.path("cache/blobs")).unwrap();
    assert!(first(&lab, "again.safetensors") == whole);
    lab.says(&["cache", "export", "study.toml", "train", "--iteration", "2"]);
    assert!(fs::read(lab.path("train.2.safetensors")).unwrap() == whole);
}

#[test]
fn what_cannot_be_exported_is_said() {
    let lab = Lab::new(TRAINED);
    let refused = |words: &[&str]| {
        let output = lab.program(&[&["cache", "export", "study.toml"], words].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let unrun = refused(&["train"]);
    lab.run(&[]);
    let all = [unrun, refused(&["nothing"]), refused(&["data"]), refused(&["train", "--iteration", "3"])];
    insta::assert_snapshot!(all.concat(), @r"
    × `train` is not up to date
    help: run it first
    × there is no stage `nothing`
    help: there are data, train, trace
    × `data` is a `dataset` and gives no states
    help: `train`, `checkpoint` and `import` give states, `gd-project` and `connectedness-bisect` minima
    × `train` has no state at iteration 3
    help: by iteration (and epoch) there are 0 (0), 2 (1), 4 (2)
    ");
    assert!(refused(&["train", "--to", "cache"]).contains("`cache` is a folder"));
    assert!(refused(&["train", "--iteration", "3", "--epoch", "1"]).contains("cannot be used with"));
}

/// A Python that has PyTorch: `THALWEG_PYTHON`, or `python3` in `PATH`, or that of `just bench-peers`.
fn python() -> Option<String> {
    static FOUND: LazyLock<Option<String>> = LazyLock::new(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-venv/bin/python");
        let named = std::env::var("THALWEG_PYTHON").ok().into_iter();
        named.chain(["python3".to_owned(), own.display().to_string()]).find(|python| {
            let tried = Command::new(python).args(["-c", "import torch"]).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        })
    });
    if FOUND.is_none() {
        eprintln!("no Python here has PyTorch, so its side of the exchange is not tried; THALWEG_PYTHON names one");
    }
    FOUND.clone()
}

/// What PyTorch answers to each request, as tests/oracle/exchange.py says.
fn ask(python: &str, requests: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/exchange.py");
    let mut child = Command::new(python)
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), requests).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{requests:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn architectures() -> Vec<(Architecture, [usize; 3])> {
    let vgg = |batch_norm| Architecture::Vgg16 { width: 1, batch_norm };
    vec![
        (Architecture::Mlp { hidden: vec![5], activation: Activation::Tanh }, [1, 4, 3]),
        (Architecture::ConvNet { channels: [2, 3, 4, 5], activation: Activation::Relu }, [2, 8, 8]),
        (Architecture::AllConv { channels: vec![3, 4], activation: Activation::Relu }, [3, 5, 5]),
        (Architecture::PreactResNet18 { width: 2, final_norm: true }, [1, 8, 8]),
        (Architecture::PreactResNet18 { width: 2, final_norm: false }, [3, 8, 8]),
        (vgg(true), [3, 32, 32]),
        (vgg(false), [3, 32, 32]),
        (Architecture::DenseNetBc { blocks: vec![1, 2, 1], growth: 2 }, [3, 8, 8]),
    ]
}

const SAMPLES: usize = 6;
const CLASSES: usize = 4;

/// The images that both sides make by one formula.
fn images(image: [usize; 3]) -> Dataset {
    let count = SAMPLES * image.iter().product::<usize>();
    let inputs = (0..count).map(|i| (1.3 * i as f64 + 0.1).sin() as f32).collect();
    let labels = (0..SAMPLES as u32).map(|sample| sample % CLASSES as u32).collect();
    Dataset { inputs, labels, shape: image, classes: CLASSES }
}

fn logits(model: &Arc<dyn Model>, theta: &Theta, data: &Dataset, norm: &mut Norm<'_>) -> Vec<f64> {
    let parts = 0..model.layout().parts().len();
    let part = |part| Jet::constant(Var::constant(theta.view(part).unwrap()));
    let params = Weights::Jets(parts.map(part).collect());
    let [channels, height, width] = data.shape;
    let images = Tensor::from_slice(&data.inputs, (SAMPLES, channels, height, width), &Device::Cpu).unwrap();
    let images = channels_last(&images.to_dtype(DType::F64).unwrap()).unwrap();
    let logits = model.forward(&params, &Jet::constant(Var::constant(images)), norm).unwrap();
    logits.value().value().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same(what: &str, found: &[f64], answer: &Value) {
    let expected: Vec<f64> = answer.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |scale, logit| scale.max(logit.abs()));
    let error = found.iter().zip(&expected).fold(0.0f64, |error, (a, b)| error.max((a - b).abs()));
    assert!(scale > 0.0 && error <= 1e-9 * scale, "{what}: {found:?} is not {expected:?}");
}

#[test]
fn pytorch_loads_what_is_exported_of_every_architecture_and_gives_its_logits() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for (architecture, image) in architectures() {
        let path = folder.path().join(format!("{}.safetensors", requests.len()));
        let model = architecture.build(image, CLASSES).unwrap();
        let mut values = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap().to_vec_f64().unwrap();
        // No two weights of a batch norm are alike, so that none can stand for another.
        values.iter_mut().enumerate().for_each(|(i, value)| *value += 0.1 * (0.7 * i as f64).sin());
        let theta = Theta::from_values(Arc::clone(model.layout()), values, DType::F64, &Device::Cpu).unwrap();
        let data = images(image);
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        let objective = Objective::new(Arc::clone(&model), loss, &data, 4, Placement::cpu(DType::F64)).unwrap();
        let moments = objective.norm_statistics(&theta, &NoInterrupt).unwrap();
        fs::write(&path, exchange::export(model.declared(), &theta, &moments, 2).unwrap()).unwrap();
        let unbiased = |Statistics { mean, variance, count }: Statistics| {
            let variance = variance.iter().map(|v| v * count as f64 / (count - 1) as f64).collect();
            Statistics { mean, variance, count }
        };
        let moments: Vec<Statistics> = moments.into_iter().map(unbiased).collect();
        expected.push(logits(&model, &theta, &data, &mut Norm::Fixed(moments.iter())));
        requests.push(
            json!({ "load": path, "model": architecture, "image": image, "classes": CLASSES, "samples": SAMPLES }),
        );
    }
    for ((request, found), answer) in requests.iter().zip(expected).zip(ask(&python, &requests)) {
        assert_same(&request["model"].to_string(), &found, &answer["logits"]);
    }
}

#[test]
fn what_pytorch_saves_is_imported_and_gives_its_logits() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wrappings = [("", "F32"), ("module.", "F16"), ("model.net.", "BF16"), ("", "F64")];
    let requests: Vec<Value> = architectures()
        .into_iter()
        .zip(wrappings.into_iter().cycle())
        .enumerate()
        .map(|(number, ((architecture, image), (prefix, dtype)))| {
            let path = folder.path().join(format!("{number}.safetensors"));
            json!({
                "save": path, "prefix": prefix, "dtype": dtype,
                "model": architecture, "image": image, "classes": CLASSES, "samples": SAMPLES,
            })
        })
        .collect();
    let answers = ask(&python, &requests);
    for ((request, answer), (architecture, image)) in requests.iter().zip(answers).zip(architectures()) {
        let model = architecture.build(image, CLASSES).unwrap();
        let bytes = fs::read(request["save"].as_str().unwrap()).unwrap();
        let foreign = Foreign { name: "weights", bytes: &bytes, prefix: request["prefix"].as_str().unwrap() };
        let theta = exchange::import(model.declared(), foreign, DType::F64, &Device::Cpu).unwrap();
        let found = logits(&model, &theta, &images(image), &mut Norm::Batch);
        assert_same(&request.to_string(), &found, &answer["logits"]);
    }
}

#[test]
fn pytorch_finds_the_loss_of_an_exported_state() {
    let Some(python) = python() else { return };
    let model = "{ architecture = \"convnet\", channels = [4, 4, 8, 8] }";
    let convnet = TRAINED.replace("{ architecture = \"preact-resnet18\", width = 1 }", model);
    for (manifest, tolerance) in [(convnet.as_str(), 1e-5), (TRAINED, 0.05)] {
        let lab = Lab::new(manifest);
        lab.run(&[]);
        lab.says(&["cache", "export", "study.toml", "train", "--to", "weights.safetensors"]);
        let output = lab.program(&["show", "study.toml", "data", "validation"]);
        fs::write(lab.path("validation"), output.stdout).unwrap();
        let architecture = &lab.output("train", "states")["setting"]["ingredients"]["model"];
        let (file, data) = (lab.path("weights.safetensors"), lab.path("validation"));
        let request = json!({ "load": file, "data": data, "model": architecture, "image": [1, 8, 8], "classes": 10 });
        let answer = ask(&python, &[request]).remove(0);
        let table = lab.table("train.csv");
        // With batch norms the two differ by the factor of an unbiased variance, for the last ones 60/59.
        let loss = table.numbers("validation_loss")[2];
        let error = answer["loss"].as_f64().unwrap() / loss - 1.0;
        assert!(error.abs() < tolerance, "{answer} is not {loss}");
    }
}
