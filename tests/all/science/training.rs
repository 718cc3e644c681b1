//! Trainings of every form: each trains, goes on bit for bit, and is replayed to what was stored.

use serde_json::Value;
use thalweg::key::Digest;

use super::lab::{Lab, counts, differing};

/// Trainings, each with what its table holds besides data, batch and epochs.
const FORMS: [(&str, &str); 12] = [
    ("plain", ""),
    ("momentum", "momentum = 0.9"),
    ("dampening", "momentum = 0.9\ndampening = 0.5"),
    ("decay", "momentum = 0.5\nweight_decay = 0.01"),
    ("nesterov", "momentum = 0.9\nnesterov = true"),
    ("step", "schedule = { kind = \"step\", every = 2, factor = 0.5 }"),
    ("cosine", "schedule = { kind = \"cosine\", total = 6, warmup = 2 }"),
    ("iid", "sampling = \"iid\""),
    ("sampled", "labels = \"sampled\""),
    ("squared", "loss = \"squared-error\""),
    ("double", "dtype = \"f64\"\nlabels = \"sampled\"\nnesterov = true\nmomentum = 0.9"),
    ("descent", "noise = \"none\"\nmomentum = 0.9"),
];

fn forms() -> String {
    let form = |(name, fields): &(&str, &str)| {
        format!(
            r#"
[stage.{name}]
kind = "train"
data = "data"
model = {{ architecture = "mlp", hidden = [8] }}
batch = 50
epochs = 4
{fields}

[stage.at-{name}]
kind = "checkpoint"
from = "{name}"
iterations = [4, 5, 8, 11]
"#
        )
    };
    let data = "study = \"forms\"\n[stage.data]\nkind = \"dataset\"\nsubset = 200\n".to_owned();
    data + &FORMS.iter().map(form).collect::<String>()
}

#[test]
fn every_form_trains_and_goes_on_bit_for_bit() {
    let (steps, once) = (Lab::new(&forms()), Lab::new(&forms()));
    let all: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
    let shorter: Vec<String> = all.iter().map(|name| format!("stage.{name}.epochs=3")).collect();
    steps.run(&shorter.iter().map(String::as_str).collect::<Vec<_>>());
    let on = steps.run(&[]);
    assert_eq!(on.ran(), counts(&[("epoch", 12), ("evaluate", 12)]));
    once.run(&[]);
    assert_eq!(differing(&steps.results(), &once.results()), Vec::<String>::new());
    let mut ends = std::collections::BTreeSet::new();
    for name in all {
        let losses = once.table(&format!("{name}.csv")).numbers("training_loss");
        assert!(losses[4] < 0.99 * losses[0], "{name}: {losses:?}");
        let states = once.output(name, "states");
        ends.insert(states["epochs"][4]["theta"]["digest"].as_str().unwrap().to_owned());
        check_checkpoints(&once, name, &states);
    }
    assert_eq!(ends.len(), FORMS.len(), "each form ends elsewhere");
}

/// At an epoch's end a checkpoint names the stored state; within one it is what was replayed.
fn check_checkpoints(lab: &Lab, name: &str, states: &Value) {
    let table = lab.table(&format!("at-{name}.csv"));
    assert_eq!(table.numbers("iteration"), [4.0, 5.0, 8.0, 11.0]);
    let thetas = table.texts("theta");
    for (row, epoch) in [(0, 1), (2, 2)] {
        assert_eq!(thetas[row], states["epochs"][epoch]["theta"]["digest"].as_str().unwrap(), "{name}");
    }
    assert!(![thetas[0], thetas[2]].contains(&thetas[1]));
}

#[test]
fn replaying_all_iterations_of_an_epoch_gives_the_stored_state() {
    use thalweg::ml::landscape::training::{Batch, Labels, Training, TrainingState};
    use thalweg::ml::objective::NoInterrupt;
    use thalweg::ml::params::encode_flat;

    let plain = "epochs = 4\nlabels = \"sampled\"";
    let lab = Lab::new(&forms().replace(plain, &format!("{plain}\nmomentum = 0.9")));
    lab.run(&["at-sampled"]);
    let states = lab.output("sampled", "states");
    let (objective, theta_of) = super::oracles::objective_of(&lab, &states);
    let training = Training {
        sgd: thalweg::ml::optim::Sgd { momentum: 0.9, ..Default::default() },
        lr: 0.1,
        schedule: thalweg::ml::optim::Schedule::Constant,
        batch: Batch::Of(50),
        sampling: thalweg::ml::data::Sampling::Reshuffled,
        labels: Labels::Sampled,
        isotropic: None,
        seed: 0,
    };
    let mut state = TrainingState::start(theta_of(&states["epochs"][0]["theta"]));
    let checkpoints = lab.table("at-sampled.csv");
    for epoch in 0..3 {
        state = TrainingState::at_epoch(state.theta, state.buffer, epoch);
        for iteration in 1..=4 {
            state = training.run_iterations(&objective, state, iteration, &NoInterrupt).unwrap();
            let at = f64::from(epoch) * 4.0 + iteration as f64;
            let digest = Digest::of(&state.theta.encode().unwrap()).to_string();
            if let Some(row) = checkpoints.numbers("iteration").iter().position(|&known| known == at) {
                assert_eq!(checkpoints.texts("theta")[row], digest, "iteration {at}");
            }
        }
        let stored = &states["epochs"][epoch as usize + 1];
        assert_eq!(stored["theta"]["digest"], Digest::of(&state.theta.encode().unwrap()).to_string());
        let buffer = encode_flat(state.buffer.as_ref().unwrap()).unwrap();
        assert_eq!(stored["velocity"]["digest"], Digest::of(&buffer).to_string());
    }
}

#[test]
fn a_checkpoint_beyond_the_training_fails_and_says_how_far_it_goes() {
    let lab = Lab::new(&forms());
    let ran = lab.try_run(&["stage.at-plain.iterations=[3, 17]"]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["at-plain"]));
    assert!(ran.words.contains("iteration 17 is not in the training, which goes from 0 to 16"), "{}", ran.words);
}
