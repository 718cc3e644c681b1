//! The derivatives of L against differences of what lies one order below, for every model; and that bytes depend neither
//! on how probes are grouped nor on the number of threads.

use std::cell::Cell;
use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};

use super::{BatchTargets, Bounded, NoInterrupt, Objective, Placement};
use crate::ml::data::Dataset;
use crate::ml::loss::{LogitMatrix, Loss};
use crate::ml::models::{Activation, Architecture, Model, smooth_resnet};
use crate::ml::ops::reduce::dot;
use crate::ml::params::{Directions, Signs, Theta, flat_from_values, flat_to_vec};
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// The step of differences of a smooth network; one with kinks gets a step that crosses none.
const STEP: f64 = 2e-5;

const SMOOTHED: Loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };

fn dataset(samples: usize, shape: [usize; 3], classes: usize) -> Dataset {
    let mut draws = Stream::new(5, "test data").at(0, 0);
    let count = samples * shape.iter().product::<usize>();
    let inputs = (0..count).map(|_| draws.normal() as f32).collect();
    let labels = (0..samples).map(|_| draws.below(classes as u64) as u32).collect();
    Dataset { inputs, labels, shape, classes }
}

struct Case {
    name: &'static str,
    objective: Objective,
    theta: Theta,
    probe: Tensor,
    step: f64,
}

fn case(
    name: &'static str,
    architecture: &Architecture,
    loss: Loss,
    data: &Dataset,
    (chunk, dtype): (usize, DType),
) -> Case {
    case_of(name, &architecture.build(data.shape, data.classes).unwrap(), loss, data, (chunk, dtype))
}

fn case_of(
    name: &'static str,
    model: &Arc<dyn Model>,
    loss: Loss,
    data: &Dataset,
    (chunk, dtype): (usize, DType),
) -> Case {
    let theta = model.init(&Stream::new(1, "init"), dtype, &Device::Cpu).unwrap();
    let objective = Objective::new(Arc::clone(model), loss, data, chunk, Placement::cpu(dtype)).unwrap();
    let probe = probe(theta.len(), 0, dtype);
    Case { name, objective, theta, probe, step: 1e-7 }
}

fn probe(n: usize, index: u32, dtype: DType) -> Tensor {
    let signs = Stream::new(2, "probe").at(0, index).signs(n);
    flat_from_values(signs.into_iter().map(f64::from), dtype, &Device::Cpu).unwrap()
}

/// Every model, smooth or at a step that crosses no kink, with odd sizes, a shorter last chunk, and chunks of one.
fn cases() -> Vec<Case> {
    let tanh = Activation::Tanh;
    let mlp = |activation| Architecture::Mlp { hidden: vec![7, 5], activation };
    let convnet = |activation| Architecture::ConvNet { channels: [2, 3, 3, 2], activation };
    let resnet = |final_norm| Architecture::PreactResNet18 { width: 2, final_norm };
    let (small, image) = (dataset(7, [1, 3, 2], 3), dataset(5, [2, 5, 7], 3));
    let (eight, one) = (dataset(7, [1, 8, 8], 3), dataset(1, [1, 3, 2], 3));
    let all = [
        ("mlp", mlp(tanh), SMOOTHED, &small, 3),
        ("mlp, one sample", mlp(tanh), SMOOTHED, &one, 1),
        ("mlp, chunks of one", mlp(Activation::Relu), SMOOTHED, &small, 1),
        ("mlp, squared error", mlp(tanh), Loss::SquaredError, &small, 4),
        ("convnet", convnet(tanh), SMOOTHED, &image, 2),
        ("convnet, relu, squared error", convnet(Activation::Relu), Loss::SquaredError, &image, 5),
        ("resnet", resnet(true), SMOOTHED, &eight, 4),
        ("resnet, no last norm", resnet(false), Loss::SquaredError, &eight, 7),
    ];
    let cases = all.into_iter().map(|(name, a, loss, data, chunk)| {
        let smooth = matches!(
            a,
            Architecture::Mlp { activation: Activation::Tanh, .. }
                | Architecture::ConvNet { activation: Activation::Tanh, .. }
        );
        let case = case(name, &a, loss, data, (chunk, DType::F64));
        Case { step: if smooth { STEP } else { case.step }, ..case }
    });
    let smooth = case_of("resnet with tanh", &smooth_resnet([1, 8, 8], 3), SMOOTHED, &eight, (4, DType::F64));
    cases.chain([Case { step: STEP, ..smooth }]).collect()
}

fn moved(theta: &Theta, direction: &Tensor, step: f64) -> Theta {
    let flat = crate::ml::ops::elementwise::add_scaled(theta.flat(), direction, step).unwrap();
    Theta::new(Arc::clone(theta.layout()), flat).unwrap()
}

/// The central difference of a vector function along a direction, extrapolated to fourth order.
fn difference(f: impl Fn(f64) -> Vec<f64>, step: f64) -> Vec<f64> {
    let central =
        |h: f64| f(h).iter().zip(f(-h)).map(|(ahead, behind)| (ahead - behind) / (2.0 * h)).collect::<Vec<_>>();
    central(step / 2.0).iter().zip(central(step)).map(|(fine, coarse)| (4.0 * fine - coarse) / 3.0).collect()
}

fn assert_near(name: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let error: Vec<f64> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
    let relative = norm(&error) / norm(expected).max(1e-12);
    assert!(relative <= tolerance, "{name}: relative error {relative:e}");
}

#[test]
fn the_gradient_is_the_difference_of_the_loss() {
    for Case { name, objective, theta, probe, step } in cases() {
        let (value, gradient) = objective.gradient(&theta, &NoInterrupt).unwrap();
        assert!((value - objective.value(&theta, &NoInterrupt).unwrap()).abs() < 1e-14 * value, "{name}");
        let found = flat_to_vec(&gradient).unwrap();
        let every = 1 + theta.len() / 23;
        let (mut some, mut expected) = (vec![], vec![]);
        for at in (0..theta.len()).step_by(every) {
            let unit = (0..theta.len()).map(|i| f64::from(i == at));
            let unit = flat_from_values(unit, DType::F64, &Device::Cpu).unwrap();
            let along = |h| vec![objective.value(&moved(&theta, &unit, h), &NoInterrupt).unwrap()];
            some.push(found[at]);
            expected.extend(difference(along, 10.0 * step));
        }
        assert_near(name, &some, &expected, 1e-6);
        let slope = dot(&gradient, &probe).unwrap();
        let directional = objective.directional(&theta, &probe, &NoInterrupt).unwrap();
        assert!((slope - directional).abs() < 1e-11 * slope.abs().max(1.0), "{name}: {slope} is not {directional}");
    }
}

#[test]
fn the_hessian_product_is_the_difference_of_the_gradient() {
    for Case { name, objective, theta, probe, step } in cases() {
        let found = flat_to_vec(&objective.hvp(&theta, &probe, &NoInterrupt).unwrap()).unwrap();
        let gradient = |h| {
            let (_, gradient) = objective.gradient(&moved(&theta, &probe, h), &NoInterrupt).unwrap();
            flat_to_vec(&gradient).unwrap()
        };
        assert_near(name, &found, &difference(gradient, step), 1e-6);
    }
}

#[test]
fn the_quadratic_form_is_the_probe_times_the_hessian_product() {
    for Case { name, objective, theta, probe, .. } in cases() {
        let form = objective.quadratic_forms(&theta, std::slice::from_ref(&probe), &NoInterrupt).unwrap()[0];
        let product = dot(&probe, &objective.hvp(&theta, &probe, &NoInterrupt).unwrap()).unwrap();
        assert!((form - product).abs() <= 1e-10 * product.abs(), "{name}: {form} is not {product}");
    }
}

#[test]
fn the_gradient_of_the_quadratic_form_is_its_difference() {
    for Case { name, objective, theta, probe, step } in cases() {
        let gradient = objective.grad_quadratic_form(&theta, &probe, &NoInterrupt).unwrap();
        let (mut found, mut expected) = (vec![], vec![]);
        for index in 1..9 {
            let direction = super::tests::probe(theta.len(), index, DType::F64);
            let form = |h| {
                let there = moved(&theta, &direction, h);
                objective.quadratic_forms(&there, std::slice::from_ref(&probe), &NoInterrupt).unwrap()
            };
            found.push(dot(&gradient, &direction).unwrap());
            expected.extend(difference(form, step));
        }
        assert_near(name, &found, &expected, 1e-6);
    }
}

#[test]
fn single_precision_agrees_with_double() {
    let architecture = Architecture::ConvNet { channels: [3, 4, 5, 3], activation: Activation::Relu };
    let data = dataset(40, [1, 8, 8], 4);
    let [double, single] =
        [DType::F64, DType::F32].map(|dtype| case("convnet", &architecture, SMOOTHED, &data, (16, dtype)));
    let gradient = |case: &Case| flat_to_vec(&case.objective.gradient(&case.theta, &NoInterrupt).unwrap().1).unwrap();
    assert_near("gradient", &gradient(&single), &gradient(&double), 1e-5);
    let form = |case: &Case| {
        case.objective.quadratic_forms(&case.theta, std::slice::from_ref(&case.probe), &NoInterrupt).unwrap()
    };
    assert_near("quadratic form", &form(&single), &form(&double), 1e-4);
}

#[test]
fn how_probes_are_grouped_changes_no_bit() {
    for Case { name, objective, theta, .. } in cases() {
        let probes: Vec<Tensor> = (0..11).map(|index| probe(theta.len(), index, DType::F64)).collect();
        let together = objective.quadratic_forms(&theta, &probes, &NoInterrupt).unwrap();
        for (probe, together) in probes.iter().zip(together).rev() {
            let alone = objective.quadratic_forms(&theta, std::slice::from_ref(probe), &NoInterrupt).unwrap()[0];
            assert_eq!(alone.to_bits(), together.to_bits(), "{name}");
        }
    }
}

#[test]
fn signs_give_the_bytes_of_their_vectors() {
    for Case { name, objective, theta, .. } in cases() {
        let draw = |index| Signs::draw(&mut Stream::new(2, "probe").at(0, index), theta.len());
        let signs: Vec<Signs> = (0..9).map(draw).collect();
        let vectors: Vec<Tensor> = (0..9).map(|index| probe(theta.len(), index, DType::F64)).collect();
        let forms = |of: Directions<'_>| {
            let mut forms = objective.quadratic_forms(&theta, of, &NoInterrupt).unwrap();
            forms.extend(objective.logit_forms(&theta, LogitMatrix::Hessian, of, &NoInterrupt).unwrap());
            forms.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(forms(signs[..].into()), forms((&vectors).into()), "{name}");
        let few = Signs::draw(&mut Stream::new(2, "probe").at(0, 0), theta.len() - 1);
        let refused = objective.quadratic_forms(&theta, Directions::Signs(&[few]), &NoInterrupt).unwrap_err();
        assert!(refused.to_string().contains(&format!("{} elements", theta.len())), "{refused}");
    }
}

#[test]
fn one_and_two_threads_give_the_same_bytes() {
    let architectures = [
        Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Tanh },
        Architecture::PreactResNet18 { width: 8, final_norm: true },
    ];
    for architecture in architectures {
        let data = dataset(150, [1, 8, 8], 10);
        let all = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let Case { objective, theta, probe, .. } = case("", &architecture, SMOOTHED, &data, (100, DType::F32));
                let (loss, gradient) = objective.gradient(&theta, &NoInterrupt).unwrap();
                let product = objective.hvp(&theta, &probe, &NoInterrupt).unwrap();
                let form = objective.quadratic_forms(&theta, &[probe], &NoInterrupt).unwrap()[0];
                let mut values = flat_to_vec(&gradient).unwrap();
                values.extend(flat_to_vec(&product).unwrap());
                values.extend([loss, form]);
                values.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            })
        };
        assert!(all(1) == all(2));
    }
}

#[test]
fn chunks_weigh_by_their_size() {
    let architecture = Architecture::Mlp { hidden: vec![4], activation: Activation::Tanh };
    let data = dataset(10, [1, 2, 2], 3);
    let loss = |chunk| {
        let Case { objective, theta, .. } = case("mlp", &architecture, SMOOTHED, &data, (chunk, DType::F64));
        objective.value(&theta, &NoInterrupt).unwrap()
    };
    assert!((loss(10) - loss(4)).abs() < 1e-15 && (loss(10) - loss(1)).abs() < 1e-15);
}

#[test]
fn a_ceiling_stops_at_the_first_partial_sum_above_it() {
    let Case { objective, theta, .. } = cases().swap_remove(0);
    let loss = objective.value(&theta, &NoInterrupt).unwrap();
    assert_eq!(objective.value_until(&theta, loss, &NoInterrupt).unwrap(), Bounded::Within(loss));
    let polls = Cell::new(0);
    let count = || {
        polls.set(polls.get() + 1);
        false
    };
    match objective.value_until(&theta, loss / 100.0, &count).unwrap() {
        Bounded::Exceeded(partial) => assert!(partial > loss / 100.0 && partial < loss),
        Bounded::Within(_) => panic!("the loss exceeds its hundredth part"),
    }
    assert_eq!(polls.get(), 1);
}

#[test]
fn a_batch_of_all_samples_has_the_gradient_of_the_whole() {
    for Case { name, objective, theta, .. } in cases() {
        let every: Vec<u32> = (0..objective.len() as u32).collect();
        let data_in_one = objective.samples.chunk >= objective.len();
        let norms = objective.model().norms() > 0;
        if norms && !data_in_one {
            continue;
        }
        let (loss, gradient) = objective.batch_gradient(&theta, &every, BatchTargets::Soft).unwrap();
        let (expected, whole) = objective.gradient(&theta, &NoInterrupt).unwrap();
        assert!((loss - expected).abs() < 1e-14, "{name}");
        assert_near(name, &flat_to_vec(&gradient).unwrap(), &flat_to_vec(&whole).unwrap(), 1e-13);
    }
}

#[test]
fn drawn_labels_average_to_the_soft_gradient() {
    // ∇ of the loss is linear in the target: the mean over all classes, weighted by q, is the soft gradient.
    let Case { objective, theta, .. } = cases().swap_remove(0);
    let batch = [4, 1, 4];
    let (_, soft) = objective.batch_gradient(&theta, &batch, BatchTargets::Soft).unwrap();
    let own: Vec<u32> = batch.iter().map(|&i| objective.labels()[i as usize]).collect();
    let drawn = |labels: &[u32]| {
        let (_, gradient) = objective.batch_gradient(&theta, &batch, BatchTargets::Drawn(labels)).unwrap();
        flat_to_vec(&gradient).unwrap()
    };
    let mut expected: Vec<f64> = drawn(&own).iter().map(|g| 0.9 * g).collect();
    for class in 0..3 {
        expected.iter_mut().zip(drawn(&[class; 3])).for_each(|(sum, g)| *sum += 0.1 / 3.0 * g);
    }
    assert_near("drawn", &flat_to_vec(&soft).unwrap(), &expected, 1e-13);
}

#[test]
fn evaluation_with_the_training_set_as_one_chunk_is_the_training_loss() {
    let architecture = Architecture::PreactResNet18 { width: 2, final_norm: true };
    let data = dataset(9, [1, 8, 8], 3);
    let Case { objective, theta, .. } = case("resnet", &architecture, SMOOTHED, &data, (9, DType::F64));
    let evaluation = objective.evaluate(&theta, &data, &NoInterrupt).unwrap();
    assert!((evaluation.loss - objective.value(&theta, &NoInterrupt).unwrap()).abs() < 1e-12);
    assert!((0.0..=1.0).contains(&evaluation.accuracy));
    // With several chunks, the first layer's input does not depend on them, so its pooled moments are those of all.
    let several = case("resnet", &architecture, SMOOTHED, &data, (5, DType::F64)).objective;
    let (whole, pooled) = (
        objective.norm_statistics(&theta, &NoInterrupt).unwrap(),
        several.norm_statistics(&theta, &NoInterrupt).unwrap(),
    );
    assert_eq!(whole.len(), 17);
    assert_eq!(pooled[0].count, 9 * 64);
    assert_near("mean", &pooled[0].mean, &whole[0].mean, 1e-12);
    assert_near("variance", &pooled[0].variance, &whole[0].variance, 1e-12);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Case { objective, theta, probe, .. } = cases().swap_remove(0);
    let stopped: Result<f64> = objective.value(&theta, &|| true);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let single = theta.to_dtype(DType::F32).unwrap();
    assert!(matches!(objective.value(&single, &NoInterrupt), Err(Error::Shape { .. })));
    assert!(objective.hvp(&theta, &probe.narrow(0, 0, 3).unwrap(), &NoInterrupt).is_err());
    assert!(objective.batch_gradient(&theta, &[], BatchTargets::Soft).is_err());
    assert!(objective.batch_gradient(&theta, &[7], BatchTargets::Soft).is_err());
    let lost = moved(&theta, &probe, f64::NAN);
    assert_eq!(objective.gradient(&lost, &NoInterrupt).unwrap_err().to_string(), "the training loss is not finite");
    let resnet = Architecture::PreactResNet18 { width: 2, final_norm: true };
    let lonely = case("resnet", &resnet, SMOOTHED, &dataset(1, [1, 8, 8], 3), (1, DType::F64));
    assert!(matches!(lonely.objective.value(&lonely.theta, &NoInterrupt), Err(Error::Setting(_))));
    assert!(matches!(lonely.objective.hvp(&lonely.theta, &lonely.probe, &NoInterrupt), Err(Error::Setting(_))));
}
