//! Passes over the 1,437 training images of `digits`, at the models of the `small` profile; the convolutions of Preact-ResNet18 with a
//! product of matrices beside them, and its gradient.

use divan::{Bencher, black_box};
use thalweg::ml::curvature::trace;
use thalweg::ml::data::{self, Dataset, Options};
use thalweg::ml::loss::Loss;
use thalweg::ml::models::{Activation, Architecture};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::ops::conv::{After, Geometry, conv2d, conv2d_input, conv2d_sum, conv2d_weight};
use thalweg::ml::ops::pool;
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;

use thalweg::ml::tensor::{DType, Device, Tensor};

/// Images in a batch of the larger networks.
const BATCH: usize = 32;

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

fn random(dims: &[usize]) -> Tensor {
    let mut draws = Stream::new(0, "benchmark").at(0, dims.len() as u32);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| draws.normal() as f32).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).expect("a tensor")
}

/// Channels and height of the stages of Preact-ResNet18: 2.4 GFLOP a pass each, counted one product at a time.
const STAGES: [(usize, usize); 4] = [(64, 32), (128, 16), (256, 8), (512, 4)];

const SAME: Geometry = Geometry { stride: 1, padding: 1 };

#[divan::bench(args = STAGES, sample_count = 10)]
fn convolution_forward(bencher: Bencher<'_, '_>, (channels, side): (usize, usize)) {
    let (x, w) = (random(&[BATCH, side, side, channels]), random(&[channels, channels, 3, 3]));
    bencher.bench_local(|| conv2d(black_box(&x), &w, SAME).expect("images"));
}

/// As the first derivative of a convolution along a line: less than two of them, since their sum is taken in the other domain.
#[divan::bench(args = STAGES, sample_count = 10)]
fn convolution_of_two_terms(bencher: Bencher<'_, '_>, (channels, side): (usize, usize)) {
    let (x, w) = (random(&[BATCH, side, side, channels]), random(&[channels, channels, 3, 3]));
    let terms = [(&x, &w, 1.0), (&x, &w, 2.0)];
    bencher.bench_local(|| conv2d_sum(black_box(&terms), &After::default(), SAME).expect("images"));
}

#[divan::bench(args = STAGES, sample_count = 10)]
fn convolution_to_input(bencher: Bencher<'_, '_>, (channels, side): (usize, usize)) {
    let dims = [BATCH, side, side, channels];
    let (g, w) = (random(&dims), random(&[channels, channels, 3, 3]));
    bencher.bench_local(|| conv2d_input(black_box(&g), &w, dims, SAME).expect("a gradient"));
}

#[divan::bench(args = STAGES, sample_count = 10)]
fn convolution_to_weight(bencher: Bencher<'_, '_>, (channels, side): (usize, usize)) {
    let (g, dims) = (random(&[BATCH, side, side, channels]), [channels, channels, 3, 3]);
    bencher.bench_local(|| conv2d_weight(black_box(&g), &g, dims, SAME).expect("a gradient"));
}

/// The first convolution of each later stage, 1.2 GFLOP a pass: from so many channels of this height to twice as many of half of it; and its
/// shortcut, of kernels 1 × 1.
const NARROWING: [(usize, usize, usize); 4] = [(64, 32, 3), (128, 16, 3), (256, 8, 3), (64, 32, 1)];

fn narrowing(&(channels, side, kernel): &(usize, usize, usize)) -> (Tensor, Tensor, Tensor, Geometry) {
    let x = random(&[BATCH, side, side, channels]);
    let (w, g) =
        (random(&[2 * channels, channels, kernel, kernel]), random(&[BATCH, side / 2, side / 2, 2 * channels]));
    (x, w, g, Geometry { stride: 2, padding: kernel / 2 })
}

#[divan::bench(args = NARROWING, sample_count = 10)]
fn narrowing_forward(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, _, geometry) = narrowing(sizes);
    bencher.bench_local(|| conv2d(black_box(&x), &w, geometry).expect("images"));
}

#[divan::bench(args = NARROWING, sample_count = 10)]
fn narrowing_to_input(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, g, geometry) = narrowing(sizes);
    let dims = x.dims4().expect("images");
    bencher.bench_local(|| conv2d_input(black_box(&g), &w, dims, geometry).expect("a gradient"));
}

#[divan::bench(args = NARROWING, sample_count = 10)]
fn narrowing_to_weight(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, g, geometry) = narrowing(sizes);
    let dims = w.dims4().expect("a kernel");
    bencher.bench_local(|| conv2d_weight(black_box(&g), &x, dims, geometry).expect("a gradient"));
}

/// The convolutions of the `small` profile's ConvNet: channels in and out, and the images' height.
const SMALL: [(usize, usize, usize); 4] = [(1, 8, 8), (8, 8, 8), (8, 16, 4), (16, 16, 4)];

fn small(&(inputs, outputs, side): &(usize, usize, usize)) -> (Tensor, Tensor, Tensor) {
    let images = |channels| random(&[500, side, side, channels]);
    (images(inputs), random(&[outputs, inputs, 3, 3]), images(outputs))
}

#[divan::bench(args = SMALL, sample_count = 50)]
fn small_forward(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, _) = small(sizes);
    bencher.bench_local(|| conv2d(black_box(&x), &w, SAME).expect("images"));
}

#[divan::bench(args = SMALL, sample_count = 50)]
fn small_to_input(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, g) = small(sizes);
    let dims = x.dims4().expect("images");
    bencher.bench_local(|| conv2d_input(black_box(&g), &w, dims, SAME).expect("a gradient"));
}

#[divan::bench(args = SMALL, sample_count = 50)]
fn small_to_weight(bencher: Bencher<'_, '_>, sizes: &(usize, usize, usize)) {
    let (x, w, g) = small(sizes);
    let dims = w.dims4().expect("a kernel");
    bencher.bench_local(|| conv2d_weight(black_box(&g), &x, dims, SAME).expect("a gradient"));
}

#[divan::bench(sample_count = 50)]
fn max_pool_of_small_images(bencher: Bencher<'_, '_>) {
    let x = random(&[500, 8, 8, 8]);
    bencher.bench_local(|| pool::max_pool(black_box(&x), (2, 2)).expect("a selection"));
}

/// 17.2 GFLOP on all threads: what the machine can.
#[divan::bench(sample_count = 5)]
fn product_of_2048(bencher: Bencher<'_, '_>) {
    let (a, b) = (random(&[2048, 2048]), random(&[2048, 2048]));
    let (a, b) = (a.host().expect("here"), b.host().expect("here"));
    bencher.bench_local(|| black_box(&a).matmul(&b).expect("a product"));
}

fn resnet18() -> (Objective, Theta) {
    let architecture = Architecture::PreactResNet18 { width: 64, final_norm: true };
    let inputs = random(&[BATCH * 3 * 32 * 32]).to_vec1::<f32>().expect("values");
    let labels = (0..BATCH as u32).map(|sample| sample % 10).collect();
    let data = Dataset { inputs, labels, shape: [3, 32, 32], classes: 10 };
    let model = architecture.build(data.shape, data.classes).expect("a model");
    let theta = model.init(&Stream::new(0, "init"), DType::F32, &Device::Cpu).expect("a point");
    let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    let objective = Objective::new(model, loss, &data, BATCH, Placement::cpu(DType::F32)).expect("an objective");
    (objective, theta)
}

#[divan::bench(sample_count = 5)]
fn gradient_of_resnet18(bencher: Bencher<'_, '_>) {
    let (objective, theta) = resnet18();
    bencher.bench_local(|| objective.gradient(black_box(&theta), &NoInterrupt).expect("a gradient"));
}

#[divan::bench(sample_count = 3)]
fn four_quadratic_forms_of_resnet18(bencher: Bencher<'_, '_>) {
    let (objective, theta) = resnet18();
    let directions = probes(&theta, 4);
    bencher.bench_local(|| objective.quadratic_forms(black_box(&theta), &directions, &NoInterrupt).expect("forms"));
}

#[divan::bench(sample_count = 3)]
fn hessian_vector_product_of_resnet18(bencher: Bencher<'_, '_>) {
    let (objective, theta) = resnet18();
    let direction = probes(&theta, 1).remove(0);
    bencher.bench_local(|| objective.hvp(black_box(&theta), &direction, &NoInterrupt).expect("a product"));
}
