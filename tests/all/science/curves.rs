//! The loss over twenty epochs on digits against PyTorch's: `tests/oracle/training.py` trains the same network with PyTorch's modules,
//! initialisation, optimizer and permutations, over sixteen seeds.

use serde_json::Value;

use super::lab::Lab;

/// Seeds that are trained here.
const SEEDS: usize = 4;

/// Standard errors within which the means lie: with 18 degrees of freedom, further out by chance once in 1,200.
const BOUND: f64 = 4.0;

fn oracle() -> Value {
    serde_json::from_str(include_str!("../../oracle/training.json")).unwrap()
}

/// A study that trains the oracle's network from each seed.
fn study(oracle: &Value, lr: f64) -> String {
    let (momentum, batch, epochs) = (&oracle["momentum"], &oracle["batch"], &oracle["epochs"]);
    let smoothing = &oracle["smoothing"];
    let train = |seed: usize| {
        format!(
            r#"
[stage.train-{seed}]
kind = "train"
data = "data"
model = {{ architecture = "mlp", hidden = [64] }}
lr = {lr:?}
momentum = {momentum}
smoothing = {smoothing}
batch = {batch}
epochs = {epochs}
seed = {seed}
"#
        )
    };
    let data = "study = \"curves\"\n[stage.data]\nkind = \"dataset\"\n".to_owned();
    data + &(0..SEEDS).map(train).collect::<String>()
}

/// The losses at the end of each epoch from each seed.
fn curves(oracle: &Value, lr: f64) -> Vec<Vec<f64>> {
    let lab = Lab::new(&study(oracle, lr));
    lab.run(&[]);
    assert_eq!(
        lab.output("train-0", "states")["setting"]["data"]["digest"],
        oracle["dataset"],
        "trained on the same data"
    );
    (0..SEEDS).map(|seed| lab.table(&format!("train-{seed}.csv")).numbers("training_loss")).collect()
}

/// From epoch 2 on, how many standard errors the means are apart, and a standard error as a share of the mean. Student's statistic:
/// the variance is taken to be the same on both sides and is that of both together.
fn apart(oracle: &Value, curves: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let numbers = |field: &str| serde_json::from_value::<Vec<f64>>(oracle[field].clone()).unwrap();
    let (means, deviations) = (numbers("mean"), numbers("deviation"));
    let (n, m) = (curves.len() as f64, oracle["seeds"].as_f64().unwrap());
    let at = |epoch: usize| {
        let mean = curves.iter().map(|curve| curve[epoch]).sum::<f64>() / n;
        let squares: f64 = curves.iter().map(|curve| (curve[epoch] - mean).powi(2)).sum();
        let variance = (squares + (m - 1.0) * deviations[epoch].powi(2)) / (n + m - 2.0);
        let stderr = (variance * (1.0 / n + 1.0 / m)).sqrt();
        ((mean - means[epoch]) / stderr, stderr / means[epoch])
    };
    assert_eq!(means.len(), 21);
    (2..means.len()).map(at).collect()
}

#[test]
fn the_loss_over_twenty_epochs_is_that_of_pytorch_within_the_noise_of_seeds() {
    let oracle = oracle();
    let lr = oracle["lr"].as_f64().unwrap();
    let apart = apart(&oracle, &curves(&oracle, lr));
    for (epoch, (errors, share)) in (2..).zip(&apart) {
        assert!(errors.abs() < BOUND, "epoch {epoch}: {errors} standard errors apart");
        assert!(*share < 0.1, "epoch {epoch}: a standard error is {share} of the loss, which says little");
    }
}

#[test]
fn a_learning_rate_that_is_a_fifth_off_is_seen() {
    let oracle = oracle();
    let lr = 0.8 * oracle["lr"].as_f64().unwrap();
    let apart = apart(&oracle, &curves(&oracle, lr));
    assert!(apart.iter().any(|(errors, _)| errors.abs() > BOUND), "{apart:?}");
}
