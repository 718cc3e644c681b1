//! Passes over the 1,437 training images of `digits`, at the models of the `small` profile.

use divan::{Bencher, black_box};
use thalweg::ml::curvature::trace;
use thalweg::ml::data::{self, Options};
use thalweg::ml::loss::Loss;
use thalweg::ml::models::{Activation, Architecture};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;

use candle_core::{DType, Device, Tensor};

const MODELS: [&str; 2] = ["mlp", "convnet"];

fn objective(model: &str) -> (Objective, Theta) {
    let architecture = match model {
        "mlp" => Architecture::Mlp { hidden: vec![32, 32], activation: Activation::Relu },
        _ => Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Relu },
    };
    let splits = data::load(&data::Source::Digits, &[], &Options::default()).expect("the digits are in the program");
    let model = architecture.build(splits.train.shape, splits.train.classes).expect("the model fits the digits");
    let theta = model.init(&Stream::new(0, "init"), DType::F32, &Device::Cpu).expect("a point");
    let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    let objective = Objective::new(model, loss, &splits.train, 500, Placement::cpu(DType::F32)).expect("an objective");
    (objective, theta)
}

fn probes(theta: &Theta, count: u32) -> Vec<Tensor> {
    let stream = Stream::new(0, "probe");
    (0..count).map(|i| trace::probe(&stream, i, theta.len(), DType::F32).expect("a probe")).collect()
}

#[divan::bench(args = MODELS, sample_count = 20)]
fn value(bencher: Bencher<'_, '_>, model: &str) {
    let (objective, theta) = objective(model);
    bencher.bench_local(|| objective.value(black_box(&theta), &NoInterrupt).expect("a loss"));
}

#[divan::bench(args = MODELS, sample_count = 20)]
fn gradient(bencher: Bencher<'_, '_>, model: &str) {
    let (objective, theta) = objective(model);
    bencher.bench_local(|| objective.gradient(black_box(&theta), &NoInterrupt).expect("a gradient"));
}

#[divan::bench(args = MODELS, sample_count = 10)]
fn ten_quadratic_forms(bencher: Bencher<'_, '_>, model: &str) {
    let (objective, theta) = objective(model);
    let directions = probes(&theta, 10);
    bencher.bench_local(|| objective.quadratic_forms(black_box(&theta), &directions, &NoInterrupt).expect("forms"));
}

#[divan::bench(args = MODELS, sample_count = 10)]
fn hessian_vector_product(bencher: Bencher<'_, '_>, model: &str) {
    let (objective, theta) = objective(model);
    let direction = probes(&theta, 1).remove(0);
    bencher.bench_local(|| objective.hvp(black_box(&theta), &direction, &NoInterrupt).expect("a product"));
}
