//! L and its derivatives, an epoch and a descent on a card, beside themselves on the CPU in f64. Here the card is a simulated one; where
//! there is a real one, `just test-cuda` runs the same on it.

use std::sync::Arc;

use super::{BatchTargets, NoInterrupt, Objective, Placement};
use crate::ml::Result;
use crate::ml::card::{Card, Cards, Numeric, Simulated};
use crate::ml::data::{Dataset, Sampling};
use crate::ml::landscape::descent::{Descent, DescentState};
use crate::ml::landscape::training::{Batch, Labels, Training, TrainingState};
use crate::ml::loss::{LogitMatrix, Loss};
use crate::ml::models::{Activation, Architecture};
use crate::ml::optim::{Schedule, Sgd};
use crate::ml::params::{Signs, Theta, flat_to_vec};
use crate::ml::rng::Stream;
use crate::ml::tensor::{DType, Device, Tensor};

/// One model of every architecture, smallest, and what it is trained on.
fn models() -> Vec<(&'static str, Architecture, [usize; 3])> {
    vec![
        ("mlp", Architecture::Mlp { hidden: vec![7, 5], activation: Activation::Tanh }, [1, 3, 2]),
        ("convnet", Architecture::ConvNet { channels: [2, 3, 3, 2], activation: Activation::Relu }, [2, 6, 5]),
        ("all-conv", Architecture::AllConv { channels: vec![3, 4], activation: Activation::Relu }, [1, 8, 8]),
        ("resnet", Architecture::PreactResNet18 { width: 1, final_norm: true }, [1, 8, 8]),
        ("vgg", Architecture::Vgg16 { width: 1, batch_norm: true }, [1, 32, 32]),
        ("densenet", Architecture::DenseNetBc { blocks: vec![1, 1], growth: 2 }, [1, 8, 8]),
    ]
}

fn dataset(samples: usize, shape: [usize; 3]) -> Dataset {
    let mut draws = Stream::new(5, "test data").at(0, 0);
    let inputs = (0..samples * shape.iter().product::<usize>()).map(|_| draws.normal() as f32).collect();
    Dataset { inputs, labels: (0..samples).map(|i| i as u32 % 3).collect(), shape, classes: 3 }
}

struct Place {
    objective: Objective,
    theta: Theta,
}

impl Place {
    fn of(architecture: &Architecture, shape: [usize; 3], loss: Loss, placement: Placement) -> Self {
        let model = architecture.build(shape, 3).unwrap();
        // A point that every type has, so that all compute at the same.
        let theta = model.init(&Stream::new(1, "init"), DType::F32, &Device::Cpu).unwrap();
        let theta = theta.to_dtype(placement.dtype).unwrap();
        let flat = theta.flat().to_device(&placement.device).unwrap();
        let theta = Theta::new(Arc::clone(model.layout()), flat).unwrap();
        Self { objective: Objective::new(model, loss, &dataset(5, shape), 3, placement).unwrap(), theta }
    }

    fn vector(&self, seed: f64) -> Tensor {
        let placement = self.objective.placement();
        let values = (0..self.theta.len()).map(|i| f64::from((0.3 * i as f64 + seed).sin() as f32)).collect();
        let v = Tensor::from_vec(values, self.theta.len(), &Device::Cpu).unwrap();
        v.to_dtype(placement.dtype).unwrap().to_device(&placement.device).unwrap()
    }

    /// What an objective is asked, as lists of numbers, by name.
    fn answers(&self) -> Result<Vec<(&'static str, Vec<f64>)>> {
        let (objective, theta, stop) = (&self.objective, &self.theta, &NoInterrupt);
        let (value, gradient) = objective.gradient(theta, stop)?;
        let [v, w] = [self.vector(0.2), self.vector(0.9)];
        let signs: Vec<Signs> =
            (0..2).map(|i| Signs::draw(&mut Stream::new(3, "probe").at(0, i), theta.len())).collect();
        let (loss, of_batch) = objective.batch_gradient(theta, &[4, 0, 2], BatchTargets::Soft)?;
        let (drawn, of_drawn) = objective.batch_gradient(theta, &[1, 3, 0], BatchTargets::Drawn(&[2, 2, 1]))?;
        let evaluation = objective.evaluate(theta, &dataset(4, objective_shape(objective)), stop)?;
        let middle = Theta::interpolate(theta, &Theta::new(Arc::clone(theta.layout()), v.clone())?, 0.25)?;
        Ok(vec![
            ("loss", vec![value, objective.value(theta, stop)?, loss, drawn, evaluation.loss]),
            ("gradient", flat_to_vec(&gradient)?),
            ("gradients of batches", [flat_to_vec(&of_batch)?, flat_to_vec(&of_drawn)?].concat()),
            ("quadratic forms", objective.quadratic_forms(theta, &[v.clone(), w.clone()], stop)?),
            ("quadratic forms along signs", objective.quadratic_forms(theta, &signs[..], stop)?),
            ("forms of logits", objective.logit_forms(theta, LogitMatrix::Hessian, std::slice::from_ref(&v), stop)?),
            ("directional", vec![objective.directional(theta, &v, stop)?]),
            ("hvp", flat_to_vec(&objective.hvp(theta, &v, stop)?)?),
            ("gradient of a quadratic form", flat_to_vec(&objective.grad_quadratic_form(theta, &v, stop)?)?),
            ("product of logits", flat_to_vec(&objective.logit_product(theta, LogitMatrix::Hessian, &v, stop)?)?),
            ("points", [flat_to_vec(middle.flat())?, vec![Theta::distance(theta, &middle)?, theta.norm()?]].concat()),
        ])
    }
}

fn objective_shape(objective: &Objective) -> [usize; 3] {
    let [_, height, width, channels] = objective.samples.images.dims4().unwrap();
    [channels, height, width]
}

/// ‖found − exact‖/‖exact‖.
fn apart(found: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let difference = square(&mut found.iter().zip(exact).map(|(a, b)| a - b));
    (difference / square(&mut exact.iter().copied()).max(1e-300)).sqrt()
}

/// All answers in all types on a card, with bounds for a shallow network and for a deep and narrow one, some four times what the simulated card
/// is off. bf16 leaves the deep one a gradient to a quarter, and no figure of its second derivatives: these are held to being finite.
fn check(card: &Card) {
    let losses = [Loss::SmoothedCrossEntropy { smoothing: 0.1 }, Loss::SquaredError];
    for (at, (name, architecture, shape)) in models().into_iter().enumerate() {
        let loss = losses[usize::from(at == 1)];
        let exact = Place::of(&architecture, shape, loss, Placement::cpu(DType::F64)).answers().unwrap();
        for (dtype, numeric, shallow, deep) in [
            (DType::F64, Numeric::F32, 3e-13, 3e-13),
            (DType::F32, Numeric::F32, 4e-7, 1e-4),
            (DType::F32, Numeric::Tf32, 2e-3, 0.15),
            (DType::F32, Numeric::Bf16, 0.2, 0.4),
        ] {
            let is_deep = name == "resnet";
            let bound = if is_deep { deep } else { shallow };
            // The kernels of a type are the same whatever the architecture.
            if dtype != DType::F64 && !["convnet", "resnet"].contains(&name) {
                continue;
            }
            let placement = Placement { dtype, device: Device::Card(card.with_numeric(numeric)) };
            let found = Place::of(&architecture, shape, loss, placement).answers().unwrap();
            for ((what, found), (_, exact)) in found.iter().zip(&exact) {
                let off = apart(found, exact);
                assert!(found.iter().all(|x| x.is_finite()), "{what} of {name} in {numeric}");
                let is_first_order = ["loss", "gradient", "gradients of batches", "points"].contains(what);
                let is_held = is_first_order || !(is_deep && numeric == Numeric::Bf16);
                assert!(
                    !is_held || off <= bound,
                    "{what} of {name} in {dtype:?} {numeric}: off by {off:e}, {bound:e} at most"
                );
            }
        }
    }
}

#[test]
fn derivatives_on_a_card_are_those_of_the_cpu() {
    check(&Simulated::new(1 << 30).strict().card());
}

fn training(labels: Labels) -> Training {
    Training {
        sgd: Sgd { momentum: 0.9, ..Sgd::default() },
        lr: 0.05,
        schedule: Schedule::Constant,
        batch: Batch::Of(2),
        sampling: Sampling::Reshuffled,
        labels,
        isotropic: None,
        seed: 3,
    }
}

fn convnet(placement: Placement) -> Place {
    let architecture = Architecture::ConvNet { channels: [2, 3, 3, 2], activation: Activation::Relu };
    Place::of(&architecture, [2, 6, 5], Loss::SmoothedCrossEntropy { smoothing: 0.1 }, placement)
}

/// θ and loss after two epochs, and after a descent of a few steps from there.
fn trajectory(place: &Place, labels: Labels) -> (Vec<f64>, f64, Vec<f64>) {
    let mut state = TrainingState::start(place.theta.clone());
    let mut mean = 0.0;
    for _ in 0..2 {
        let (next, running) = training(labels).run_epoch(&place.objective, state, &NoInterrupt).unwrap();
        (state, mean) = (next, running.mean().unwrap());
    }
    let descent = Descent { sgd: Sgd { momentum: 0.9, ..Sgd::default() }, lr: 0.05, until_loss: 1e-9 };
    let start = DescentState::start(state.theta.clone());
    let end = descent.run_block(&place.objective, start, 3, &NoInterrupt).unwrap();
    (state.theta.to_vec_f64().unwrap(), mean, end.theta.to_vec_f64().unwrap())
}

#[test]
fn an_epoch_and_a_descent_on_a_card_are_those_of_the_cpu() {
    check_trajectories(&Simulated::new(1 << 28).strict().card());
}

pub(in crate::ml) fn check_trajectories(card: &Card) {
    for labels in [Labels::Soft, Labels::Sampled] {
        let exact = trajectory(&convnet(Placement::cpu(DType::F64)), labels);
        let device = Device::Card(card.clone());
        let found = trajectory(&convnet(Placement { dtype: DType::F64, device }), labels);
        assert!(apart(&found.0, &exact.0) < 1e-10 && apart(&found.2, &exact.2) < 1e-10);
        assert!((found.1 - exact.1).abs() < 1e-12 * exact.1, "{} {}", found.1, exact.1);
    }
}

/// Waits of the machine for a card in one epoch, and requests for memory in the next.
fn costs_of_an_epoch(card: &Card) -> (u64, usize) {
    let place = convnet(Placement { dtype: DType::F32, device: Device::Card(card.clone()) });
    let (state, waits) = (TrainingState::start(place.theta.clone()), card.waits());
    let (state, _) = training(Labels::Sampled).run_epoch(&place.objective, state, &NoInterrupt).unwrap();
    let (waits, before) = (card.waits() - waits, card.memory().reservations);
    training(Labels::Sampled).run_epoch(&place.objective, state, &NoInterrupt).unwrap();
    (waits, card.memory().reservations - before)
}

#[test]
fn an_epoch_waits_for_the_card_at_its_end_alone_and_the_next_needs_no_more_memory() {
    // Once for the losses of all batches, once for the norm of θ.
    assert_eq!(costs_of_an_epoch(&Simulated::new(1 << 28).card()), (2, 0));
}

#[test]
fn a_loss_that_is_not_finite_is_said_to_be_where_it_was() {
    let lost = |placement| {
        let place = convnet(placement);
        let training = Training { lr: 1e30, ..training(Labels::Soft) };
        let state = TrainingState::start(place.theta.clone());
        training.run_epoch(&place.objective, state, &NoInterrupt).unwrap_err().to_string()
    };
    let device = Device::Card(Simulated::new(1 << 28).card());
    let there = lost(Placement { dtype: DType::F32, device });
    assert_eq!(there, lost(Placement::cpu(DType::F32)));
    assert!(there.contains("in epoch 0, iteration"), "{there}");
}

#[test]
fn a_card_that_is_lost_or_full_says_so() {
    let on = |card: Card| convnet(Placement { dtype: DType::F32, device: Device::Card(card) });
    let place = on(Simulated::new(1 << 28).lost_after(40).card());
    let error = place.objective.gradient(&place.theta, &NoInterrupt).unwrap_err().to_string();
    assert_eq!(error, "cuda:0 was lost: it was told to be lost");
    let place = on(Simulated::new(12_000).card());
    let error = place.objective.gradient(&place.theta, &NoInterrupt).unwrap_err().to_string();
    assert!(error.starts_with("cuda:0 is out of memory:"), "{error}");
}

/// Two probes beside each other need more room than one after the other, and give the same numbers.
#[test]
fn probes_that_do_not_fit_together_are_taken_apart_and_change_no_bit() {
    let card = Simulated::new(1 << 26).strict().card();
    let place = convnet(Placement { dtype: DType::F32, device: Device::Card(card.clone()) });
    let draw = |i| Signs::draw(&mut Stream::new(3, "probe").at(0, i), place.theta.len());
    let signs: Vec<Signs> = (0..8).map(draw).collect();
    let forms = || place.objective.quadratic_forms(&place.theta, &signs[..], &NoInterrupt);
    card.restart_peak();
    let together = forms().unwrap();
    card.set_limit(card.memory().peak - 1);
    assert_eq!(forms().unwrap(), together);
    card.set_limit(card.memory().used + 4096);
    assert!(forms().unwrap_err().to_string().contains("out of memory"));
}

#[test]
#[ignore = "wants a card: `just test-cuda`"]
fn on_cuda_derivatives_are_those_of_the_cpu() {
    check(&Cards::Cuda.open(0).unwrap());
}

#[test]
#[ignore = "wants a card: `just test-cuda`"]
fn on_cuda_memory_is_steady_over_a_thousand_iterations_and_two_runs_give_the_same_bytes() {
    let card = Cards::Cuda.open(0).unwrap();
    assert_eq!(costs_of_an_epoch(&card), (2, 0));
    let run = || {
        let place = convnet(Placement { dtype: DType::F32, device: Device::Card(card.clone()) });
        let mut state = TrainingState::start(place.theta.clone());
        let mut reservations = 0;
        for epoch in 0..400 {
            (state, _) = training(Labels::Soft).run_epoch(&place.objective, state, &NoInterrupt).unwrap();
            if epoch == 1 {
                reservations = card.memory().reservations;
            }
        }
        assert_eq!(card.memory().reservations, reservations);
        state.theta.encode().unwrap()
    };
    assert!(run() == run());
}
