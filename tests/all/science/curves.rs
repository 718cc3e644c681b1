//! The loss over twenty epochs on digits against PyTorch's: `tests/oracle/training.py` trains the same networks with PyTorch's modules,
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

/// A network of the oracle's: its name there, as a manifest has it, until which epoch it is compared, and what a standard error is of the
/// loss at most. The residual network's loss falls so low that late in training it differs between seeds by as much as itself.
struct Network {
    name: &'static str,
    model: &'static str,
    until: usize,
    share: f64,
}

const MLP: Network =
    Network { name: "mlp", model: r#"{ architecture = "mlp", hidden = [64] }"#, until: 20, share: 0.1 };

const RESNET: Network = Network {
    name: "preact-resnet18",
    model: r#"{ architecture = "preact-resnet18", width = 8 }"#,
    until: 12,
    share: 0.3,
};

/// A study that trains a network of the oracle's from each seed.
fn study(oracle: &Value, network: &Network, lr: f64) -> String {
    let (momentum, batch, epochs) = (&oracle["momentum"], &oracle["batch"], &oracle["epochs"]);
    let (smoothing, model) = (&oracle["smoothing"], network.model);
    let train = |seed: usize| {
        format!(
            r#"
[stage.train-{seed}]
kind = "train"
data = "data"
model = {model}
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
fn curves(oracle: &Value, network: &Network, lr: f64) -> Vec<Vec<f64>> {
    let lab = Lab::new(&study(oracle, network, lr));
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
fn apart(oracle: &Value, network: &Network, lr: f64) -> Vec<(f64, f64)> {
    let curves = curves(oracle, network, lr);
    let numbers = |field: &str| serde_json::from_value::<Vec<f64>>(oracle[network.name][field].clone()).unwrap();
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
    (2..=network.until).map(at).collect()
}

fn assert_alike(network: &Network) {
    let oracle = oracle();
    let lr = oracle["lr"].as_f64().unwrap();
    for (epoch, (errors, share)) in (2..).zip(apart(&oracle, network, lr)) {
        let name = network.name;
        assert!(errors.abs() < BOUND, "{name}, epoch {epoch}: {errors} standard errors apart");
        let says_little = "which says little";
        assert!(share < network.share, "{name}, epoch {epoch}: a standard error is {share} of the loss, {says_little}");
    }
}

#[test]
fn the_loss_of_a_multilayer_perceptron_is_that_of_pytorch_within_the_noise_of_seeds() {
    assert_alike(&MLP);
}

#[test]
fn the_loss_of_convolutions_and_norms_is_that_of_pytorch_within_the_noise_of_seeds() {
    assert_alike(&RESNET);
}

#[test]
fn a_learning_rate_that_is_a_fifth_off_is_seen() {
    let oracle = oracle();
    let lr = 0.8 * oracle["lr"].as_f64().unwrap();
    let apart = apart(&oracle, &MLP, lr);
    assert!(apart.iter().any(|(errors, _)| errors.abs() > BOUND), "{apart:?}");
}
