//! Every model against PyTorch's autograd: loss, gradient, Hv, vᵀHv and ∇(vᵀHv). The numbers and the script that made
//! them are in `tests/oracle/`; parameters, inputs and directions are formulas that both repeat.

use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};
use serde_json::Value;

use super::curvature::alignment::{Alignment, Moments};
use super::curvature::dense::dense;
use super::curvature::lanczos::{Closed, Krylov};
use super::curvature::noise::{NoiseCovariance, sample_gradients};
use super::curvature::operator::{At, SymmetricOperator};
use super::curvature::quadrature::{Quadrature, Spectrum};
use super::data::Dataset;
use super::loss::{Labels, Loss};
use super::models::{Activation, Architecture};
use super::objective::{NoInterrupt, Objective, Placement};
use super::params::{Theta, flat_from_values, flat_to_vec};
use super::rng::Stream;

const TOLERANCE: f64 = 1e-9;

fn formula(count: usize, scale: f64, rate: f64, phase: f64) -> Vec<f64> {
    (0..count).map(|i| scale * (rate * i as f64 + phase).sin()).collect()
}

/// Name, network, samples, image and loss of each case of the script.
fn cases() -> Vec<(&'static str, Architecture, usize, [usize; 3], Loss)> {
    let smoothed = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    let mlp = |hidden: &[usize], activation| Architecture::Mlp { hidden: hidden.to_vec(), activation };
    let convnet = |activation| Architecture::ConvNet { channels: [3, 4, 5, 3], activation };
    let resnet = |width, final_norm| Architecture::PreactResNet18 { width, final_norm };
    let all_conv = |channels: &[usize], activation| Architecture::AllConv { channels: channels.to_vec(), activation };
    let vgg = |width, batch_norm| Architecture::Vgg16 { width, batch_norm };
    let densenet = |blocks: &[usize], growth| Architecture::DenseNetBc { blocks: blocks.to_vec(), growth };
    vec![
        ("mlp tanh", mlp(&[7, 5], Activation::Tanh), 9, [1, 3, 4], smoothed),
        ("mlp relu", mlp(&[7], Activation::Relu), 9, [1, 3, 4], Loss::SquaredError),
        ("convnet tanh", convnet(Activation::Tanh), 6, [2, 8, 8], smoothed),
        ("convnet relu", convnet(Activation::Relu), 6, [1, 8, 8], smoothed),
        ("resnet", resnet(2, true), 6, [3, 16, 16], smoothed),
        ("resnet without last norm", resnet(3, false), 5, [1, 8, 8], Loss::SquaredError),
        ("all-conv tanh", all_conv(&[5, 6], Activation::Tanh), 7, [3, 5, 6], smoothed),
        ("all-conv relu", all_conv(&[3], Activation::Relu), 1, [1, 4, 3], smoothed),
        ("vgg16 with norms", vgg(2, true), 4, [3, 32, 32], smoothed),
        ("vgg16 without norms", vgg(3, false), 3, [1, 32, 32], Loss::SquaredError),
        ("densenet", densenet(&[1, 2, 1, 1], 2), 6, [3, 16, 16], smoothed),
        ("densenet of odd sides", densenet(&[2, 1], 3), 1, [1, 7, 9], Loss::SquaredError),
    ]
}

/// The objective, the point and the direction of one case.
fn set_up(architecture: &Architecture, samples: usize, shape: [usize; 3], loss: Loss) -> (Objective, Theta, Tensor) {
    let inputs = formula(samples * shape.iter().product::<usize>(), 1.0, 1.3, 0.1);
    let labels = (0..samples as u32).map(|s| (3 * s + s * s) % 4).collect();
    let inputs = inputs.into_iter().map(|x| x as f32).collect();
    let data = Dataset { inputs, labels, shape, classes: 4 };
    let model = architecture.build(shape, 4).unwrap();
    let layout = Arc::clone(model.layout());
    let mut theta = formula(layout.len(), 0.3, 0.7, 0.3);
    for part in layout.parts() {
        let norm = part.name.strip_suffix(".weight").unwrap_or_default();
        if model.declared().norms.iter().any(|name| name == norm) {
            theta[part.offset..part.offset + part.len()].iter_mut().for_each(|w| *w += 1.0);
        }
    }
    let direction = formula(layout.len(), 1.0, 2.1, 0.5);
    let direction = flat_from_values(direction, DType::F64, &Device::Cpu).unwrap();
    let theta = Theta::from_values(layout, theta, DType::F64, &Device::Cpu).unwrap();
    (Objective::new(model, loss, &data, samples, Placement::cpu(DType::F64)).unwrap(), theta, direction)
}

fn assert_number(name: &str, what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let error = (found - expected).abs() / expected.abs();
    assert!(error <= TOLERANCE, "{name}: {what} is {found}, PyTorch has {expected}");
}

fn assert_vector(name: &str, what: &str, found: &Tensor, oracle: &Value) {
    let found = flat_to_vec(found).unwrap();
    let norm = found.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert_number(name, what, norm, &oracle[what]["norm"]);
    let every = oracle["every"].as_u64().unwrap() as usize;
    let entries = oracle[what]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), found.len().div_ceil(every), "{name}: {what}");
    for (index, (found, expected)) in found.iter().step_by(every).zip(entries).enumerate() {
        let expected = expected.as_f64().unwrap();
        let error = (found - expected).abs() / norm;
        assert!(error <= TOLERANCE, "{name}: entry {} of {what} is {found}, PyTorch has {expected}", index * every);
    }
}

#[test]
fn every_model_has_the_derivatives_that_pytorch_finds() {
    let oracle: Value = serde_json::from_str(include_str!("../../tests/oracle/models.json")).unwrap();
    let oracle = oracle.as_array().unwrap();
    assert_eq!(oracle.len(), cases().len());
    for ((name, architecture, samples, shape, loss), oracle) in cases().into_iter().zip(oracle) {
        assert_eq!(oracle["name"], name);
        let (objective, theta, v) = set_up(&architecture, samples, shape, loss);
        let parts = theta.layout().parts().iter().map(|part| serde_json::json!([part.name, part.shape]));
        assert_eq!(oracle["parameters"], Value::Array(parts.collect()), "{name}");
        let (loss, gradient) = objective.gradient(&theta, &NoInterrupt).unwrap();
        assert_number(name, "loss", loss, &oracle["loss"]);
        assert_vector(name, "gradient", &gradient, oracle);
        let directional = objective.directional(&theta, &v, &NoInterrupt).unwrap();
        assert_number(name, "directional", directional, &oracle["directional"]);
        assert_vector(name, "hessian_product", &objective.hvp(&theta, &v, &NoInterrupt).unwrap(), oracle);
        let form = objective.quadratic_forms(&theta, std::slice::from_ref(&v), &NoInterrupt).unwrap()[0];
        assert_number(name, "quadratic_form", form, &oracle["quadratic_form"]);
        let third = objective.grad_quadratic_form(&theta, &v, &NoInterrupt).unwrap();
        assert_vector(name, "form_gradient", &third, oracle);
    }
}

/// The parts of a curvature that NumPy made of a network's Jacobian, column by column.
#[test]
fn gauss_newton_noise_and_spectrum_are_those_of_numpy() {
    let oracle: Value = serde_json::from_str(include_str!("../../tests/oracle/curvature.json")).unwrap();
    let mlp = Architecture::Mlp { hidden: vec![7, 5], activation: Activation::Tanh };
    for (name, loss) in [("ce", Loss::SmoothedCrossEntropy { smoothing: 0.1 }), ("squared", Loss::SquaredError)] {
        let (objective, theta, v) = set_up(&mlp, 9, [1, 3, 4], loss);
        let expected = &oracle[name];
        let stop = &NoInterrupt;
        let gauss_newton = At::gauss_newton(&objective, &theta, stop);
        assert_flat(name, "Gv", &gauss_newton.apply(&v).unwrap(), &expected["gauss_newton_product"]);
        let whole = dense(&gauss_newton).unwrap();
        assert_number(name, "tr G", whole.trace(), &expected["gauss_newton_trace"]);
        let top = whole.eigenvalues(&NoInterrupt).unwrap().split_off(theta.len() - 8);
        assert_values(name, "the top of G", &top, &expected["gauss_newton_eigenvalues"]);
        let hessian = dense(&At::hessian(&objective, &theta, stop)).unwrap();
        let eigenvalues = hessian.eigenvalues(&NoInterrupt).unwrap();
        assert_values(name, "eigenvalues", &eigenvalues, &expected["eigenvalues"]);
        assert_number(name, "tr H", hessian.trace(), &expected["trace"]);
        // The quadrature of one start is not the sum; of as many starts as it takes, within four standard errors.
        let lanczos = |index| {
            let signs = Stream::new(0, "lanczos").at(0, index).signs(theta.len());
            let signs = flat_from_values(signs.into_iter().map(f64::from), DType::F64, &Device::Cpu).unwrap();
            let krylov = Krylov::build(&At::hessian(&objective, &theta, stop), &signs, 60, Closed::End).unwrap();
            Quadrature::of(theta.len(), &krylov).unwrap()
        };
        let quadratures: Vec<Quadrature> = (0..40).map(lanczos).collect();
        let spectrum = Spectrum(&quadratures);
        let negative = spectrum.negative_sum().unwrap();
        let determinant = spectrum.log_determinant(0.01).unwrap();
        for (estimate, what) in [(negative, "negative_sum"), (determinant, "log_determinant")] {
            let truth = expected[what].as_f64().unwrap();
            assert!((estimate.mean - truth).abs() < 4.0 * estimate.stderr, "{name}: {what} {estimate:?}, {truth}");
            assert!(estimate.stderr < 0.1 * truth.abs(), "{name}: {what} {estimate:?}");
        }
        let top = spectrum.log_sum_of_top(5).unwrap().unwrap().mean;
        assert_number(name, "the logarithms of the top", top, &expected["log_sum_of_top_5"]);
        let sample = sample_gradients(&objective, &theta, &[3], stop).unwrap().remove(0);
        assert_flat(name, "a sample's gradient", &sample, &expected["sample_gradient_3"]);
        let noise = |labels, centred| NoiseCovariance::new(&objective, &theta, (labels, centred), stop).unwrap();
        assert_flat(name, "Cv", &noise(Labels::Soft, false).apply(&v).unwrap(), &expected["soft_product"]);
        let sampled = noise(Labels::Sampled, false).apply(&v).unwrap();
        assert_flat(name, "Cv of drawn labels", &sampled, &expected["sampled_product"]);
        let centred = noise(Labels::Sampled, true);
        let form = centred.quadratic_forms(std::slice::from_ref(&v).into()).unwrap()[0];
        assert_number(name, "the centred form", form, &expected["centred_form"]);
        let centred = dense(&centred).unwrap();
        let alignment = Alignment::exact(Moments::of(&hessian, &centred).unwrap()).unwrap();
        assert_number(name, "the alignment", alignment.cosine.value, &expected["cosine"]);
    }
}

fn assert_flat(name: &str, what: &str, found: &Tensor, expected: &Value) {
    assert_values(name, what, &flat_to_vec(found).unwrap(), expected);
}

fn assert_values(name: &str, what: &str, found: &[f64], expected: &Value) {
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
    assert!(found.len() == expected.len() && error <= TOLERANCE, "{name}: {what} is off by {error:e}");
}
