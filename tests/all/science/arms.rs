//! Several arms of one study: a matrix over models and seeds, the control arm without noise, targets taken from a trajectory.

use super::lab::{Lab, counts};

const MATRIX: &str = r#"
study = "arms"

[stage.data]
kind = "dataset"
source = "shapes"
train = 60
validation = 20

[stage.train]
kind = "train"
data = "data"
batch = 20
momentum = 0.9
epochs = 2

[stage.train.matrix]
seed = [0, 1]

[stage.train.matrix.model]
mlp = { architecture = "mlp", hidden = [4] }
conv = { architecture = "convnet", channels = [2, 2, 2, 2] }

[stage.project]
kind = "gd-project"
from = "train"
until_loss = 2

[stage.trace]
kind = "trace-estimate"
from = "project"
probes = 2

[stage.figure]
kind = "plot"
panel = "model"
x = { label = "epoch" }
y = { label = "trace" }
layers = [{ from = "trace", x = "epoch", y = "trace" }]
"#;

#[test]
fn a_matrix_has_an_instance_for_each_model_and_seed() {
    let lab = Lab::new(MATRIX);
    let first = lab.run(&[]);
    let stages = first.report["stages"].as_object().unwrap();
    let names: Vec<&str> = stages.keys().map(String::as_str).filter(|name| name.starts_with("trace")).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(first.ran()["init"], 4);
    assert_eq!((first.ran()["decode"], first.ran()["epoch"], first.ran()["probe"]), (1, 8, 24));
    // A third seed: two networks more, and the figure.
    lab.write(&MATRIX.replace("seed = [0, 1]", "seed = [0, 1, 2]"));
    let more = lab.run(&[]);
    assert_eq!((more.ran()["init"], more.ran()["epoch"], more.ran()["probe"]), (2, 4, 12));
    assert_eq!(more.ran()["plot"], 1);
    assert_eq!(more.in_state("fresh").len(), 1 + 3 * 4);
    // A seed less: nothing but the figure.
    lab.write(&MATRIX.replace("seed = [0, 1]", "seed = [1]"));
    assert_eq!(lab.run(&[]).ran(), counts(&[("plot", 1)]));
}

const CONTROL: &str = r#"
study = "control"

[stage.data]
kind = "dataset"
subset = 200

[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
batch = 50
momentum = 0.9
labels = "sampled"
epochs = 4

[stage.project]
kind = "gd-project"
from = "train"
first = 2
until_loss = 0.4

[stage.control]
kind = "train"
data = "data"
start = "project"
model = { architecture = "mlp", hidden = [8] }
batch = 50
momentum = 0.9
noise = "none"
epochs = 2

[stage.trace]
kind = "trace-estimate"
from = "control"
probes = 2
"#;

#[test]
fn the_control_arm_starts_at_the_first_projected_point_and_descends() {
    let lab = Lab::new(CONTROL);
    let first = lab.run(&[]);
    assert_eq!(first.ran()["init"], 1, "the control arm draws no initial point");
    let (minima, control) = (lab.output("project", "minima"), lab.output("control", "states"));
    assert_eq!(control["epochs"][0]["theta"], minima["points"][0]["theta"]);
    assert_eq!(lab.table("control.csv").numbers("iteration"), [8.0, 12.0, 16.0]);
    assert_eq!(lab.table("trace.csv").numbers("epoch"), [2.0, 3.0, 4.0]);
    // Gradient descent without noise: eight steps of it, by hand.
    let states = &minima["states"];
    let (objective, theta_of) = super::oracles::objective_of(&lab, states);
    let mut values = theta_of(&minima["points"][0]["theta"]).to_vec_f64().unwrap();
    let mut velocity = vec![0.0; values.len()];
    for _ in 0..8 {
        use thalweg::ml::{objective::NoInterrupt, params::Theta};
        let layout = objective.model().layout().clone();
        let theta = Theta::from_vec(layout, values.clone(), candle_core::DType::F32, &candle_core::Device::Cpu);
        let (_, gradient) = objective.gradient(&theta.unwrap(), &NoInterrupt).unwrap();
        for (i, g) in gradient.to_vec1::<f32>().unwrap().into_iter().enumerate() {
            velocity[i] = 0.9 * velocity[i] + f64::from(g);
            values[i] -= 0.1 * velocity[i];
        }
    }
    let end = theta_of(&control["epochs"][2]["theta"]).to_vec_f64().unwrap();
    let moved: f64 = velocity.iter().map(|v| v * v).sum::<f64>().sqrt();
    let apart = end.iter().zip(&values).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    assert!(apart < 1e-4 * moved.max(1.0), "{apart} apart");
    assert_eq!(lab.forecast("control", &["stage.control.epochs=5"])["epoch"].counts(), (3, 2, false));
    let last = lab.run(&["stage.control.start_at=last"]);
    let control = lab.output_set("control", "states", "stage.control.start_at=last");
    assert_eq!(control["epochs"][0]["theta"], minima["points"][2]["theta"]);
    assert_eq!(lab.table("control.csv").numbers("iteration"), [16.0, 20.0, 24.0]);
    assert_eq!(last.in_state("ran"), ["control", "trace"]);
    // The other point again: all of it is there.
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
}

#[test]
fn a_target_can_be_the_least_loss_that_the_training_had() {
    let manifest = CONTROL.replace("until_loss = 0.4", "until = \"trajectory-minimum\"");
    let lab = Lab::new(&manifest);
    lab.run(&[]);
    let losses = lab.table("train.csv").numbers("training_loss");
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let minima = lab.output("project", "minima");
    assert_eq!(minima["descent"]["until_loss"], least);
    let table = lab.table("project.csv");
    assert!(table.numbers("loss").iter().all(|&loss| loss < least), "{least}");
    assert!(table.texts("reached").iter().all(|&reached| reached == "yes"));
    // Where the losses are known, so is the target, before the stage runs.
    let plan = lab.says(&["plan", "study.toml", "--set", "stage.project.first=3"]);
    assert!(plan.contains("descent: 2 reused"), "{plan}");
    // A longer training may come to a lower loss: then all descents go on to it.
    let longer = lab.run(&["stage.train.epochs=5"]);
    assert_eq!(longer.ran()["descent"], 4);
}
