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
        let theta = Theta::from_values(
            layout,
            values.clone(),
            thalweg::ml::tensor::DType::F32,
            &thalweg::ml::tensor::Device::Cpu,
        );
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

#[test]
fn an_arm_is_as_long_as_the_training_it_is_compared_with() {
    let manifest = CONTROL.replace("noise = \"none\"\nepochs = 2", "noise = \"none\"\nas_long_as = \"train\"");
    let lab = Lab::new(&manifest);
    lab.run(&[]);
    assert_eq!(lab.table("control.csv").numbers("iteration"), [8.0, 12.0, 16.0]);
    // The training grows by an epoch, and so does the arm.
    let longer = ["stage.train.epochs=5"];
    let ran = lab.run(&longer);
    assert_eq!((ran.ran()["epoch"], ran.hit("epoch")), (2, 6));
    assert_eq!(lab.table("control.csv").numbers("epoch"), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
    // Epochs of another length do not come out even.
    let ran = lab.try_run(&["stage.control.batch=70"]);
    assert_eq!(ran.code, 1);
    assert!(ran.words.contains("no whole epochs of 3 iterations lead"), "{}", ran.words);
    let ran = lab.try_run(&["stage.control.epochs=2"]);
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("give `epochs`, or a training that this one is `as_long_as`"), "{}", ran.words);
}

#[test]
fn the_last_state_alone_is_projected_to_the_loss_at_which_another_training_ended() {
    let equal =
        "[stage.equal]\nkind = \"gd-project\"\nfrom = \"train\"\nuntil_loss_of = \"control\"\nstates = \"last\"\n";
    let lab = Lab::new(&format!("{CONTROL}\n{equal}"));
    lab.run(&[]);
    let target = *lab.table("control.csv").numbers("training_loss").last().unwrap();
    let (equal, table) = (lab.output("equal", "minima"), lab.table("equal.csv"));
    assert_eq!(equal["descent"]["until_loss"], target);
    assert_eq!((table.numbers("epoch"), table.texts("reached")), (vec![4.0], vec!["yes"]));
    assert!(table.numbers("loss")[0] < target);
    // More epochs: the last one moves on, and one state more is projected.
    lab.run(&["stage.train.epochs=5", "stage.control.epochs=3"]);
    assert_eq!(lab.table("equal.csv").numbers("epoch"), [5.0]);
    let ran = lab.try_run(&["stage.equal.until_loss=0.1"]);
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("`until_loss` does not go with it"), "{}", ran.words);
}

#[test]
fn epochs_are_counted_on_from_a_start_whatever_their_length() {
    let lab = Lab::new(CONTROL);
    lab.run(&["stage.control.batch=25"]);
    let table = lab.table("control.csv");
    assert_eq!(table.numbers("iteration"), [8.0, 16.0, 24.0]);
    assert_eq!(table.numbers("epoch"), [2.0, 3.0, 4.0]);
    assert_eq!(lab.table("trace.csv").numbers("epoch"), [2.0, 3.0, 4.0]);
}

#[test]
fn without_noise_neither_a_seed_nor_a_way_to_draw_is_part_of_what_is_trained() {
    let lab = Lab::new(CONTROL);
    lab.run(&[]);
    let ran = lab.run(&["stage.control.seed=7"]);
    assert_eq!((ran.ran(), ran.hit("epoch")), (counts(&[]), 2));
    assert_eq!(lab.run(&["stage.control.sampling=iid"]).ran(), counts(&[]));
    // A start in f32 goes on in f64.
    let ran = lab.run(&["stage.control.dtype=f64"]);
    assert_eq!(ran.ran()["epoch"], 2);
}

#[test]
fn labels_are_not_sampled_where_there_is_nothing_to_draw_from() {
    let lab = Lab::new(CONTROL);
    let ran = lab.try_run(&["stage.train.loss=squared-error"]);
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("labels are sampled from smoothed targets, and this loss has none"), "{}", ran.words);
}
