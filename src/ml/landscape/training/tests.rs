//! Trainings that are stopped and gone on with, and what a step does, in closed form.

use crate::ml::tensor::{DType, Device};

use super::*;
use crate::ml::curvature::dense::dense;
use crate::ml::data::{Normalise, Options, Source, load};
use crate::ml::landscape::descent::{Descent, DescentState};
use crate::ml::loss::Loss;
use crate::ml::models::{Activation, Architecture};
use crate::ml::objective::{NoInterrupt, Placement};
use crate::ml::params::flat_to_vec;

/// A small network over 70 digits of 4×4 in f64, and its start.
fn objective() -> (Objective, Theta) {
    let options =
        Options { subset: Some(70), resize: Some([4, 4]), normalise: Normalise::Standard, ..Options::default() };
    let data = load(&Source::Digits, &[], &options).unwrap().train;
    let model = Architecture::Mlp { hidden: vec![6], activation: Activation::Tanh }.build(data.shape, 10).unwrap();
    let start = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap();
    let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    (Objective::new(model, loss, &data, 32, Placement::cpu(DType::F64)).unwrap(), start)
}

fn training() -> Training {
    Training {
        sgd: Sgd { momentum: 0.9, ..Sgd::default() },
        lr: 0.1,
        schedule: Schedule::Step { every: 2, factor: 0.5 },
        batch: Batch::Of(16),
        sampling: Sampling::Reshuffled,
        labels: Labels::Sampled,
        isotropic: None,
        seed: 0,
    }
}

fn bits(theta: &Theta) -> Vec<u64> {
    theta.to_vec_f64().unwrap().into_iter().map(f64::to_bits).collect()
}

#[test]
fn stopping_at_any_iteration_changes_no_bit() {
    let (objective, start) = objective();
    for (sampling, labels) in [(Sampling::Reshuffled, Labels::Sampled), (Sampling::Iid, Labels::Soft)] {
        let training = Training { sampling, labels, ..training() };
        let first = training.run_epoch(&objective, TrainingState::start(start.clone()), &NoInterrupt).unwrap().0;
        let (whole, loss) = training.run_epoch(&objective, first.clone(), &NoInterrupt).unwrap();
        let mut state = first;
        for until in [2, 3, 3, 5] {
            state = training.run_iterations(&objective, state, until, &NoInterrupt).unwrap();
            assert_eq!((state.epoch, state.iteration), (1, until));
        }
        assert_eq!(bits(&state.theta), bits(&whole.theta));
        assert_eq!(state.running, loss);
        let buffer = |state: &TrainingState| state.buffer.as_ref().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(buffer(&state), buffer(&whole));
        assert_eq!((whole.epoch, whole.iteration, whole.running.mean()), (2, 0, None));
    }
}

#[test]
fn an_epoch_by_hand_is_the_epoch() {
    // Plain SGD over soft targets, one batch after the other, in the arithmetic of the test.
    let (objective, start) = objective();
    let training = Training { sgd: Sgd::default(), schedule: Schedule::Constant, labels: Labels::Soft, ..training() };
    let (end, loss) = training.run_epoch(&objective, TrainingState::start(start.clone()), &NoInterrupt).unwrap();
    let mut order: Vec<u32> = (0..70).collect();
    Stream::new(0, "shuffle").at(0, 0).shuffle(&mut order);
    let (mut theta, mut sum) = (start, 0.0);
    for batch in order.chunks(16) {
        let (loss, gradient) = objective.batch_gradient(&theta, batch, BatchTargets::Soft).unwrap();
        sum += loss * batch.len() as f64;
        let gradient = gradient.to_vec1::<f64>().unwrap();
        let moved: Vec<f64> = theta.to_vec_f64().unwrap().iter().zip(gradient).map(|(x, g)| x - 0.1 * g).collect();
        theta = Theta::from_values(theta.layout().clone(), moved, DType::F64, &Device::Cpu).unwrap();
    }
    assert!(Theta::distance(&theta, &end.theta).unwrap() < 1e-13);
    assert!((loss.mean().unwrap() - sum / 70.0).abs() < 1e-13);
    assert_eq!(loss.samples, 70);
}

#[test]
fn training_lowers_the_loss() {
    let (objective, start) = objective();
    let before = objective.value(&start, &NoInterrupt).unwrap();
    let mut state = TrainingState::start(start);
    let training = Training { schedule: Schedule::Constant, ..training() };
    for _ in 0..20 {
        state = training.run_epoch(&objective, state, &NoInterrupt).unwrap().0;
    }
    let after = objective.value(&state.theta, &NoInterrupt).unwrap();
    assert!(after < 0.3 * before, "{before} to {after}");
}

#[test]
fn full_batches_are_the_descent() {
    let (objective, start) = objective();
    let training = Training {
        batch: Batch::Full { iterations: 1 },
        labels: Labels::Soft,
        schedule: Schedule::Constant,
        ..training()
    };
    assert_eq!(training.iterations_per_epoch(70), 1);
    let mut state = TrainingState::start(start.clone());
    for _ in 0..5 {
        state = training.run_epoch(&objective, state, &NoInterrupt).unwrap().0;
    }
    let descent = Descent { sgd: training.sgd, lr: training.lr, until_loss: 0.0 };
    let end = descent.run_block(&objective, DescentState::start(start), 5, &NoInterrupt).unwrap();
    assert_eq!(bits(&state.theta), bits(&end.theta));
}

#[test]
fn isotropic_noise_lies_in_the_top_eigenspace_with_its_scale_and_can_be_replayed() {
    let (objective, start) = objective();
    let noise = Isotropic { scale: 0.3, rank: 3 };
    let training = Training {
        batch: Batch::Full { iterations: 40 },
        labels: Labels::Soft,
        lr: 1e-6,
        isotropic: Some(noise),
        ..training()
    };
    // The eigenspace from the whole matrix, which shares no code with Lanczos.
    let whole = dense(&At::hessian(&objective, &start, &NoInterrupt)).unwrap();
    let (_, vectors) = whole.eigen().unwrap();
    let top: Vec<&Vec<f64>> = vectors.iter().rev().take(3).collect();
    let mut coefficients = Vec::new();
    let state = TrainingState::start(start.clone());
    let end = training.run_observed(&objective, state.clone(), 40, &NoInterrupt, &mut |step| {
        let at = Theta::new(start.layout().clone(), step.theta.clone())?;
        let plain = flat_to_vec(&objective.gradient(&at, &NoInterrupt)?.1)?;
        let noise: Vec<f64> = flat_to_vec(step.gradient)?.iter().zip(&plain).map(|(a, b)| a - b).collect();
        let along: Vec<f64> = top.iter().map(|q| q.iter().zip(&noise).map(|(q, n)| q * n).sum()).collect();
        let square = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
        assert!((square(&along) / square(&noise) - 1.0).abs() < 1e-6, "{along:?}");
        coefficients.extend(along);
        Ok(())
    });
    let end = end.unwrap();
    let variance = coefficients.iter().map(|c| c * c).sum::<f64>() / 120.0 / 0.09;
    // χ² with 120 degrees of freedom over 120 has a standard deviation of 0.13.
    assert!((0.6..1.4).contains(&variance), "{variance}");
    let again = training.run_iterations(&objective, state.clone(), 40, &NoInterrupt).unwrap();
    assert_eq!(bits(&again.theta), bits(&end.theta));
    let part = training.run_iterations(&objective, state, 3, &NoInterrupt).unwrap();
    let refused = training.run_iterations(&objective, part, 5, &NoInterrupt).unwrap_err().to_string();
    assert!(refused.contains("at the start of an epoch"), "{refused}");
}

#[test]
fn seed_labels_sampling_and_schedule_each_change_the_trajectory() {
    let (objective, start) = objective();
    let end = |training: Training| {
        let state = TrainingState::at_epoch(start.clone(), None, 2);
        bits(&training.run_epoch(&objective, state, &NoInterrupt).unwrap().0.theta)
    };
    let base = end(training());
    assert_eq!(end(training()), base);
    for other in [
        Training { seed: 1, ..training() },
        Training { labels: Labels::Soft, ..training() },
        Training { sampling: Sampling::Iid, ..training() },
        Training { schedule: Schedule::Constant, ..training() },
        Training { batch: Batch::Of(17), ..training() },
    ] {
        assert_ne!(end(other.clone()), base, "{other:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_an_interrupt_ends_it() {
    let (objective, start) = objective();
    let run = |training: Training, until, stop: &(dyn Interrupt + Sync)| {
        let state = TrainingState::start(start.clone());
        training.run_iterations(&objective, state, until, stop).map(|state| state.iteration)
    };
    let message = |training, until| run(training, until, &NoInterrupt).unwrap_err().to_string();
    assert_eq!(message(training(), 6), "iterations 0 to 6 of an epoch of 5");
    assert_eq!(message(Training { batch: Batch::Of(0), ..training() }, 1), "a batch holds at least one sample");
    let full = Training { batch: Batch::Full { iterations: 1 }, ..training() };
    assert_eq!(message(full, 1), "`labels` are sampled for batches, not for the full batch");
    assert_eq!(
        message(Training { lr: f64::NAN, ..training() }, 1),
        "`lr` is NaN, expected a number that is not negative"
    );
    let diverging = Training { lr: f64::MAX, ..training() };
    assert_eq!(message(diverging.clone(), 1), "θ after 1 iterations of epoch 0 is not finite");
    assert_eq!(message(diverging, 5), "the loss of a batch in epoch 0, iteration 1, is not finite");
    assert!(matches!(run(training(), 5, &|| true), Err(Error::Interrupted)));
    assert_eq!(run(training(), 0, &|| true).unwrap(), 0);
}
