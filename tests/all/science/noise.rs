//! Noise beside the Hessian, whether training is stationary, and how fast the trace is to fall: what an edit runs again, and that the numbers
//! are those of whole matrices.

use serde_json::Value;

use super::lab::{Lab, TINY, counts};

fn study(stages: &str) -> String {
    let data_and_training = &TINY[..TINY.find("[stage.project]").unwrap()];
    format!("{data_and_training}\n{stages}")
}

const ALIGNMENT: &str = r#"
[stage.probes]
kind = "alignment"
from = "train"
every = 3
probes = 60

[stage.exact]
kind = "alignment"
from = "train"
every = 3
method = "exact"

[stage.pairs]
kind = "alignment"
from = "train"
every = 3
method = "minibatches"
probes = 60
pairs = 400
"#;

#[test]
fn probes_and_pairs_of_minibatches_find_the_alignment_of_whole_matrices() {
    let lab = Lab::new(&study(ALIGNMENT));
    let ran = lab.run(&[]).ran();
    assert_eq!([ran["exact-alignment"], ran["noise-pairs"], ran["alignment-probe"]], [3, 3, 180]);
    let exact = lab.table("exact.csv");
    for name in ["probes.csv", "pairs.csv"] {
        let table = lab.table(name);
        for (number, error) in [("cosine", "cosine_stderr"), ("k", "k_stderr")] {
            let (found, errors, truth) = (table.numbers(number), table.numbers(error), exact.numbers(number));
            for row in 0..3 {
                let apart = (found[row] - truth[row]).abs();
                assert!(apart < 4.0 * errors[row], "{name} {number}: {found:?} ± {errors:?}, {truth:?}");
                assert!(errors[row] < 0.15 * truth[row].abs(), "{name} {number}: {errors:?}, {truth:?}");
            }
        }
    }
    assert_eq!(exact.numbers("cosine_stderr"), [0.0; 3]);
}

#[test]
fn more_probes_of_an_alignment_add_and_other_noise_is_another() {
    let lab = Lab::new(&study(ALIGNMENT));
    lab.run(&[]);
    let more = ["stage.probes.probes=70"];
    assert_eq!(lab.forecast("probes", &more)["alignment-probe"].counts(), (30, 180, false));
    assert_eq!(lab.run(&more).ran(), counts(&[("alignment-probe", 30)]));
    assert_eq!(lab.run(&["stage.pairs.pairs=20"]).ran(), counts(&[("noise-pairs", 3)]));
    assert_eq!(lab.run(&["stage.pairs.batch=7"]).ran(), counts(&[("noise-pairs", 3)]));
    // The training draws its labels: to say so changes nothing.
    assert_eq!(lab.run(&["stage.exact.labels=sampled"]).ran(), counts(&[]));
    assert_eq!(lab.run(&["stage.exact.labels=soft"]).ran(), counts(&[("exact-alignment", 3)]));
    assert_eq!(lab.run(&["stage.exact.centred=false"]).ran(), counts(&[("exact-alignment", 3)]));
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
}

#[test]
fn batch_norm_takes_minibatches_and_a_large_network_no_whole_matrix() {
    let lab = Lab::new(&study(ALIGNMENT));
    let resnet = "stage.train.model={ architecture = \"preact-resnet18\", width = 2 }";
    let refused = lab.try_run(&[resnet, "stage.train.epochs=0", "probes"]);
    assert_eq!(refused.code, 1, "{}", refused.words);
    assert!(refused.words.contains("take the gradients of minibatches"), "{}", refused.words);
    let large = lab.try_run(&["stage.train.model.hidden=[200]", "stage.train.epochs=0", "exact"]);
    assert_eq!(large.code, 1, "{}", large.words);
    assert!(large.words.contains("expected at most 10000"), "{}", large.words);
}

/// The numbers of a safetensors file of f32, in its order.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

const DYNAMICS: &str = r#"
[stage.dynamics]
kind = "dynamics"
from = "train"
first = 2
block = 4
resamples = 200
"#;

#[test]
fn a_longer_training_adds_epochs_to_its_windows() {
    let lab = Lab::new(&study(DYNAMICS));
    assert_eq!(lab.run(&[]).ran()["relation"], 4);
    let first = lab.table("dynamics.csv").numbers("whole_ratio");
    let longer = ["stage.train.epochs=8"];
    let ran = lab.run(&longer).ran();
    assert_eq!(ran, counts(&[("epoch", 2), ("evaluate", 2), ("relation", 2)]));
    assert_eq!(lab.table("dynamics.csv").numbers("whole_ratio")[..4], first[..]);
    assert_eq!(lab.run(&["stage.dynamics.resamples=300"]).ran(), counts(&[]));
    assert_eq!(lab.run(&["stage.dynamics.top=2"]).ran(), counts(&[("eigenspace", 1), ("relation", 4)]));
    let beyond = lab.try_run(&["stage.dynamics.last=9"]);
    assert!(
        beyond.words.contains("a window from epoch 2 to 9 is not in the training, which has 6 epochs"),
        "{}",
        beyond.words
    );
}

#[test]
fn the_sides_of_the_relation_are_those_of_the_stored_states() {
    // One iteration an epoch: θ before, the gradient applied and v after it follow from the states alone.
    let lab = Lab::new(&study(DYNAMICS));
    let sets =
        ["stage.train.batch=1000", "stage.train.labels=soft", "stage.train.momentum=0.9", "stage.train.epochs=12"];
    lab.run(&sets);
    let shown = sets.iter().flat_map(|set| ["--set", set]);
    let shown: Vec<&str> = ["show", "study.toml", "train", "states"].into_iter().chain(shown).collect();
    let states: Value = serde_json::from_str(&lab.says(&shown)).unwrap();
    let theta: Vec<Vec<f32>> = (0..=12).map(|at| floats(&lab.blob(&states["epochs"][at]["theta"]))).collect();
    let (lr, mu) = (0.1, 0.9);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let less = |a: &[f32], b: &[f32], by: f64| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / by).collect()
    };
    let velocity = |t: usize| less(&theta[t - 1], &theta[t], lr);
    let sides = |t: usize| {
        let gradient: Vec<f64> = velocity(t + 1).iter().zip(velocity(t)).map(|(v, before)| v - mu * before).collect();
        let v = velocity(t + 1);
        [dot(&less(&theta[t], &theta[2], 1.0), &gradient), 0.5 * lr * (1.0 + mu) * dot(&v, &v)]
    };
    let ratios = lab.table("dynamics.csv").numbers("whole_ratio");
    for window in [4usize, 7, 10] {
        let all: Vec<[f64; 2]> = (2 + window / 2..2 + window).map(sides).collect();
        let expected = all.iter().map(|s| s[0]).sum::<f64>() / all.iter().map(|s| s[1]).sum::<f64>();
        let found = ratios[window - 1];
        assert!((found - expected).abs() < 1e-3 * expected.abs(), "{window}: {found} {expected}");
    }
}

const DRIFT: &str = r#"
[stage.project]
kind = "gd-project"
from = "train"
until_loss = 0.3

[stage.drift]
kind = "drift"
from = "project"
every = 2
steep_above = 0.5
steps = 60

[stage.spectrum]
kind = "spectrum"
from = "project"
every = 2
exact = true
"#;

#[test]
fn the_drift_is_that_of_its_formula_and_its_trace_that_of_the_whole_matrix() {
    let lab = Lab::new(&study(DRIFT));
    assert_eq!(lab.run(&[]).ran()["trace-gradient"], 4);
    let (table, exact) = (lab.table("drift.csv"), lab.table("spectrum.csv"));
    let numbers = |name: &str| table.numbers(name);
    let (square, drift) = (numbers("gradient_square"), numbers("drift"));
    // −(1/S)(ηₑ²/4) with η = 0.1, μ = 0.9, S = 50: sampled labels know no 1 − S/M.
    for (square, drift) in square.iter().zip(&drift) {
        assert!((drift + square / 50.0 * 0.25).abs() < 1e-12 * square.abs(), "{drift} {square}");
    }
    let (iterations, predicted) = (numbers("iteration"), numbers("predicted_trace_change"));
    let mut sum = 0.0;
    for at in 1..4 {
        sum += 0.5 * (iterations[at] - iterations[at - 1]) * (drift[at] + drift[at - 1]);
        assert!((predicted[at] - sum).abs() < 1e-9 * (1.0 + sum.abs()), "{predicted:?} {sum}");
    }
    let (trace, errors, truth) = (numbers("trace"), numbers("trace_stderr"), exact.numbers("trace"));
    assert!((0..4).all(|at| (trace[at] - truth[at]).abs() < 4.0 * errors[at]), "{trace:?} ± {errors:?} {truth:?}");
    let change = numbers("trace_change");
    assert!((0..4).all(|at| (change[at] - (trace[at] - trace[0])).abs() < 1e-9 * trace[0]), "{change:?} {trace:?}");
    // Reshuffled soft labels of 200 samples in batches of 50 have a quarter less noise.
    lab.run(&["stage.train.labels=soft", "stage.drift.k=0.5"]);
    let table = lab.table("drift.csv");
    let (square, drift) = (table.numbers("gradient_square"), table.numbers("drift"));
    assert!((drift[1] + 0.5 * 0.75 / 50.0 * 0.25 * square[1]).abs() < 1e-12 * square[1].abs());
    let none = lab.try_run(&["stage.train.labels=soft", "stage.train.noise=none"]);
    assert!(none.words.contains("than that of SGD's noise"), "{}", none.words);
    let unknown = lab.try_run(&["stage.train.labels=soft"]);
    assert!(unknown.words.contains("give the `k` that `alignment` measures"), "{}", unknown.words);
    let cosine = lab.try_run(&["stage.train.schedule={ kind = \"cosine\", total = 6 }"]);
    assert!(cosine.words.contains("the drift is another with a learning rate that changes"), "{}", cosine.words);
    let rough = lab.run(&["stage.drift.steps=6", "stage.drift.steep_above=0.001"]);
    assert!(rough.words.contains("do not resolve all eigenvalues above `steep_above`"), "{}", rough.words);
}

#[test]
fn isotropic_noise_is_an_ingredient_of_its_training_and_its_states_can_be_replayed() {
    let checkpoint = "[stage.checkpoint]\nkind = \"checkpoint\"\nfrom = \"train\"\niterations = [6]\n";
    let lab = Lab::new(&study(checkpoint));
    let noise = |scale: &'static str| {
        ["stage.train.labels=soft", "stage.train.noise=isotropic", scale, "stage.train.noise_rank=3"]
    };
    lab.run(&noise("stage.train.noise_scale=0.1"));
    let first = lab.table("train.csv").numbers("theta_norm");
    assert_eq!(lab.run(&noise("stage.train.noise_scale=0.2")).ran()["epoch"], 6);
    assert_ne!(lab.table("train.csv").numbers("theta_norm")[6], first[6]);
    assert_eq!(lab.run(&noise("stage.train.noise_scale=0.1")).ran(), counts(&[]));
    let alone =
        lab.try_run(&["stage.train.noise=isotropic", "stage.train.noise_scale=0.1", "stage.train.noise_rank=3"]);
    assert!(alone.words.contains("labels are sampled for batches"), "{}", alone.words);
}

#[test]
fn the_scale_invariant_trace_takes_one_more_form_a_probe() {
    let trace = "[stage.trace]\nkind = \"trace-estimate\"\nfrom = \"train\"\nevery = 3\nprobes = 8\nper_layer = true\n";
    let lab = Lab::new(&study(trace));
    lab.run(&[]);
    assert!(lab.table("trace.csv").texts("theta_norm").iter().all(|cell| cell.is_empty()));
    let set = ["stage.trace.scale_invariant=true"];
    assert_eq!(lab.forecast("trace", &set)["scaled-probe"].counts(), (24, 0, false));
    assert_eq!(lab.run(&set).ran(), counts(&[("scaled-probe", 24)]));
    let (table, layers) = (lab.table("trace.csv"), lab.table("trace.layers.csv"));
    // Σ ‖θₗ‖² tr Hₗ from the layers of the first point, whose probes are others'.
    let column = |name: &str| layers.numbers(name)[..4].to_vec();
    let (norms, traces, errors) = (column("norm"), column("trace"), column("stderr"));
    let expected: f64 = norms.iter().zip(&traces).map(|(norm, trace)| norm * norm * trace).sum();
    let error: f64 = norms.iter().zip(&errors).map(|(norm, error)| norm * norm * error).sum();
    let (found, own) = (table.numbers("scale_invariant_trace")[0], table.numbers("scale_invariant_trace_stderr")[0]);
    assert!((found - expected).abs() < 4.0 * (error + own), "{found} ± {own}, {expected} ± {error}");
    let norm = norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
    assert!((table.numbers("theta_norm")[0] - norm).abs() < 1e-6 * norm);
}
