//! Numbers of whole studies against numbers that come another way: the trace against the whole Hessian's, the losses along lines and of
//! descents against direct evaluation.

use serde_json::Value;
use thalweg::ml::curvature::dense::dense;
use thalweg::ml::curvature::operator::At;
use thalweg::ml::data::Dataset;
use thalweg::ml::loss::Loss;
use thalweg::ml::models::{Activation, Architecture};
use thalweg::ml::objective::{NoInterrupt, Objective, Placement};
use thalweg::ml::params::Theta;

use super::lab::{Lab, TINY};

/// The function that a study's states belong to, built from the blobs in its cache, and the points that it names. Only for networks of
/// eight hidden units.
pub fn objective_of(lab: &Lab, states: &Value) -> (std::sync::Arc<Objective>, impl Fn(&Value) -> Theta) {
    let ingredients = &states["setting"]["ingredients"];
    let data = Dataset::decode(&lab.blob(&states["setting"]["data"])).unwrap();
    let activation = if ingredients["model"]["activation"] == "tanh" { Activation::Tanh } else { Activation::Relu };
    let model = Architecture::Mlp { hidden: vec![8], activation }.build(data.shape, data.classes).unwrap();
    let dtype =
        if ingredients["dtype"] == "f64" { thalweg::ml::tensor::DType::F64 } else { thalweg::ml::tensor::DType::F32 };
    let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
    let layout = model.layout().clone();
    let objective = Objective::new(model, loss, &data, 500, Placement::cpu(dtype)).unwrap();
    let (folder, device) = (lab.path("cache/blobs"), thalweg::ml::tensor::Device::Cpu);
    let theta = move |output: &Value| {
        let digest = output["digest"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(&digest[..2]).join(digest)).unwrap();
        Theta::decode(layout.clone(), &bytes, &device).unwrap()
    };
    (std::sync::Arc::new(objective), theta)
}

#[test]
fn the_mean_over_many_probes_is_the_trace_of_the_whole_hessian() {
    let manifest =
        TINY.replace("hidden = [8]", "hidden = [8], activation = \"tanh\"").replace("epochs = 6", "epochs = 2");
    let manifest = manifest.replace("momentum = 0.9", "momentum = 0.9\ndtype = \"f64\"");
    let lab = Lab::new(&manifest);
    let probes = 200;
    lab.run(&[&format!("stage.trace.probes={probes}")]);
    let minima = lab.output("connect", "minima");
    let (objective, theta_of) = objective_of(&lab, &minima["states"]);
    let table = lab.table("trace.csv");
    let (means, errors) = (table.numbers("trace"), table.numbers("stderr"));
    assert!(table.numbers("probes").iter().all(|&count| count == f64::from(probes)));
    for (point, minimum) in minima["points"].as_array().unwrap().iter().enumerate() {
        let theta = theta_of(&minimum["theta"]);
        let whole = dense(&At::hessian(&objective, &theta, &NoInterrupt)).unwrap();
        let trace = whole.trace();
        assert!((means[point] - trace).abs() < 4.0 * errors[point], "{point}: {} against {trace}", means[point]);
        // The variance of vᵀHv over signs is 2·Σ_{i≠j} H_ij²; the standard error of 200 probes is known to 1/√400 = 5 %.
        let n = whole.len();
        let off: f64 = (0..n * n).filter(|at| at / n != at % n).map(|at| whole.at(at / n, at % n).powi(2)).sum();
        let stderr = (2.0 * off / f64::from(probes)).sqrt();
        assert!((errors[point] / stderr - 1.0).abs() < 0.25, "{point}: {} against {stderr}", errors[point]);
        assert!(stderr < 0.1 * trace, "the comparison says something");
    }
}

#[test]
fn the_losses_along_a_line_are_those_of_the_points_between_its_ends() {
    let lab = Lab::new(&TINY.replace("momentum = 0.9", "momentum = 0.9\ndtype = \"f64\""));
    lab.run(&[]);
    let minima = lab.output("connect", "minima");
    let points = minima["points"].as_array().unwrap();
    let (objective, theta_of) = objective_of(&lab, &minima["states"]);
    let theta: Vec<Vec<f64>> = points.iter().map(|point| theta_of(&point["theta"]).to_vec_f64().unwrap()).collect();
    let layout = objective.model().layout().clone();
    let loss_at = |values: Vec<f64>| {
        let theta = Theta::from_values(
            layout.clone(),
            values,
            thalweg::ml::tensor::DType::F64,
            &thalweg::ml::tensor::Device::Cpu,
        )
        .unwrap();
        objective.value(&theta, &NoInterrupt).unwrap()
    };
    let table = lab.table("connect.lines.csv");
    let (iterations, losses, ends) = (table.numbers("iteration"), table.numbers("loss"), table.texts("minimum"));
    assert_eq!(table.len(), 7 + 6 * 5, "seven minima and five points on each of six lines");
    for row in 0..table.len() {
        let segment = ((iterations[row] / 4.0) as usize).min(5);
        let t = iterations[row] / 4.0 - segment as f64;
        let between = theta[segment].iter().zip(&theta[segment + 1]).map(|(a, b)| a + t * (b - a)).collect();
        let loss = loss_at(between);
        assert!((losses[row] - loss).abs() < 1e-12, "iteration {}: {} against {loss}", iterations[row], losses[row]);
        assert_eq!(ends[row] == "yes", t == 0.0 || t == 1.0);
    }
    let segments = lab.table("connect.csv");
    for (segment, highest) in segments.numbers("highest_loss").into_iter().enumerate() {
        let inside = 6 * segment + 1..6 * segment + 6;
        assert_eq!(highest, losses[inside].iter().copied().fold(f64::MIN, f64::max));
    }
}

#[test]
fn a_descent_is_gradient_descent_with_momentum_done_by_hand() {
    let lab = Lab::new(&TINY.replace("momentum = 0.9", "momentum = 0.9\ndtype = \"f64\""));
    lab.run(&[]);
    let minima = lab.output("project", "minima");
    let (objective, theta_of) = objective_of(&lab, &minima["states"]);
    let layout = objective.model().layout().clone();
    for at in [0, 6] {
        let start = theta_of(&minima["states"]["epochs"][at]["theta"]).to_vec_f64().unwrap();
        let (mut values, mut velocity, mut steps) = (start.clone(), vec![0.0; start.len()], 0);
        let loss = loop {
            let theta = Theta::from_values(
                layout.clone(),
                values.clone(),
                thalweg::ml::tensor::DType::F64,
                &thalweg::ml::tensor::Device::Cpu,
            );
            let (loss, gradient) = objective.gradient(&theta.unwrap(), &NoInterrupt).unwrap();
            if loss < 0.3 {
                break loss;
            }
            for (i, g) in gradient.to_vec1::<f64>().unwrap().into_iter().enumerate() {
                velocity[i] = 0.9 * velocity[i] + g;
                values[i] -= 0.1 * velocity[i];
            }
            steps += 1;
        };
        let found = &minima["points"][at];
        assert_eq!(found["steps"], steps);
        assert!((found["loss"].as_f64().unwrap() - loss).abs() < 1e-10);
        let distance = values.iter().zip(&start).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!((found["distance"].as_f64().unwrap() - distance).abs() < 1e-9);
    }
}

#[test]
fn the_history_of_a_training_is_what_its_states_give() {
    let lab = Lab::new(&TINY.replace("momentum = 0.9", "momentum = 0.9\ndtype = \"f64\""));
    lab.run(&[]);
    let states = lab.output("train", "states");
    let (objective, theta_of) = objective_of(&lab, &states);
    let table = lab.table("train.csv");
    assert_eq!(table.numbers("epoch"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(table.numbers("iteration"), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]);
    let (losses, norms) = (table.numbers("training_loss"), table.numbers("theta_norm"));
    for (epoch, state) in states["epochs"].as_array().unwrap().iter().enumerate() {
        let theta = theta_of(&state["theta"]);
        assert_eq!(losses[epoch], objective.value(&theta, &NoInterrupt).unwrap());
        let norm = theta.to_vec_f64().unwrap().iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((norms[epoch] - norm).abs() < 1e-12);
    }
}
