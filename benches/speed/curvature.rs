//! The whole Hessian of a network of 6,220 parameters over 500 samples, in f64, and all its eigenvalues: to be held beside
//! `numpy.linalg.eigvalsh` of a matrix of as many rows.

use divan::{Bencher, black_box};
use thalweg::ml::curvature::dense::dense;
use thalweg::ml::curvature::operator::At;
use thalweg::ml::data::Dataset;
use thalweg::ml::loss::Loss;
use thalweg::ml::models::{Activation, Architecture};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::params::Theta;
use thalweg::ml::rng::Stream;
use thalweg::ml::tensor::{DType, Device};

fn network() -> (Objective, Theta) {
    let mut draws = Stream::new(0, "inputs").at(0, 0);
    let inputs = (0..500 * 196).map(|_| draws.uniform() as f32).collect();
    let labels = (0..500).map(|_| draws.below(10) as u32).collect();
    let data = Dataset { inputs, labels, shape: [1, 14, 14], classes: 10 };
    let architecture = Architecture::Mlp { hidden: vec![30], activation: Activation::Tanh };
    let model = architecture.build(data.shape, data.classes).expect("the model fits");
    let theta = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).expect("a point");
    let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    let objective = Objective::new(model, loss, &data, 500, Placement::cpu(DType::F64)).expect("an objective");
    assert_eq!(theta.len(), 6_220);
    (objective, theta)
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn whole_hessian(bencher: Bencher<'_, '_>) {
    let (objective, theta) = network();
    bencher.bench_local(|| dense(&At::hessian(black_box(&objective), &theta, &NoInterrupt)).expect("a matrix"));
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn whole_hessian_and_its_eigenvalues(bencher: Bencher<'_, '_>) {
    let (objective, theta) = network();
    bencher.bench_local(|| {
        let hessian = dense(&At::hessian(black_box(&objective), &theta, &NoInterrupt)).expect("a matrix");
        hessian.eigenvalues(&NoInterrupt).expect("eigenvalues")
    });
}
