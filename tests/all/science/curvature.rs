//! Estimators of the trace and spectra: what an edit runs again, and that the tables agree with each other.

use super::lab::{Lab, TINY, counts};

/// Seven points of a training, a trace and a spectrum.
fn study() -> String {
    let data_and_training = &TINY[..TINY.find("[stage.project]").unwrap()];
    format!(
        r#"{data_and_training}
[stage.trace]
kind = "trace-estimate"
from = "train"
probes = 8

[stage.spectrum]
kind = "spectrum"
from = "train"
starts = 8
"#
    )
}

const DEFLATED: [&str; 3] = ["stage.trace.method=deflated", "stage.trace.rank=5", "stage.trace.anchor_every=3"];

fn with<'a>(sets: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [sets, more].concat()
}

#[test]
fn more_probes_beside_a_subspace_add_probes_only() {
    let lab = Lab::new(&study());
    lab.run(&[]);
    let forecast = lab.forecast("trace", &DEFLATED);
    // Epochs 0 to 6 lie in three blocks.
    assert_eq!(forecast["subspace"].counts(), (3, 0, false));
    assert_eq!(forecast["subspace-trace"].counts(), (7, 0, false));
    assert_eq!(forecast["probe"].counts(), (56, 0, false));
    let first = lab.run(&DEFLATED);
    assert_eq!(first.ran(), counts(&[("subspace", 3), ("subspace-trace", 7), ("probe", 56)]));
    let table = lab.table("trace.csv");
    assert_eq!((table.numbers("probes"), table.numbers("products")), (vec![8.0; 7], vec![13.0; 7]));
    let more = with(&DEFLATED, &["stage.trace.probes=10"]);
    assert_eq!(lab.forecast("trace", &more)["probe"].counts(), (14, 56, false));
    assert_eq!(lab.run(&more).ran(), counts(&[("probe", 14)]));
    // Fewer points choose no other anchors.
    assert_eq!(lab.run(&with(&DEFLATED, &["stage.trace.every=2"])).ran(), counts(&[]));
}

#[test]
fn another_rank_finds_subspaces_and_probes_again_and_trains_nothing() {
    let lab = Lab::new(&study());
    lab.run(&DEFLATED);
    let rank = lab.run(&with(&DEFLATED, &["stage.trace.rank=6"]));
    assert_eq!(rank.ran(), counts(&[("subspace", 3), ("subspace-trace", 7), ("probe", 56)]));
    // In one block the anchor is that of the first of three: its points are there already.
    let one = lab.run(&with(&DEFLATED, &["stage.trace.anchor_every=10"]));
    assert_eq!(one.ran(), counts(&[("subspace-trace", 4), ("probe", 32)]));
    assert_eq!(lab.run(&DEFLATED).ran(), counts(&[]));
}

#[test]
fn more_epochs_leave_the_anchors_before_them_alone() {
    let lab = Lab::new(&study());
    lab.run(&DEFLATED);
    let longer = lab.run(&with(&DEFLATED, &["stage.train.epochs=8"]));
    let new = [("epoch", 2), ("evaluate", 2), ("subspace-trace", 2), ("probe", 16), ("lanczos", 16)];
    assert_eq!(longer.ran(), counts(&new), "epochs 7 and 8 lie in the block of epoch 6");
}

#[test]
fn each_method_keeps_what_the_others_found() {
    let lab = Lab::new(&study());
    lab.run(&[]);
    let xtrace = ["stage.trace.method=xtrace"];
    assert_eq!(lab.forecast("trace", &xtrace)["xtrace"].counts(), (7, 0, false));
    let ran = lab.run(&xtrace);
    assert_eq!(ran.ran(), counts(&[("xtrace", 7)]));
    assert!(ran.words.contains("XTrace's standard error is too small to be trusted"), "{}", ran.words);
    assert_eq!(lab.table("trace.csv").numbers("products"), [16.0; 7]);
    assert_eq!(lab.run(&["stage.trace.distribution=gaussian"]).ran(), counts(&[("probe", 56)]));
    assert_eq!(lab.run(&["stage.trace.of=gauss-newton"]).ran(), counts(&[("probe", 56)]));
    assert_eq!(lab.run(&["stage.trace.samples=100"]).ran(), counts(&[("probe", 56)]));
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
    let few = lab.run(&["stage.trace.probes=4"]);
    assert!(few.words.contains("over 4 probes is too small to be trusted"), "{}", few.words);
    let few = lab.run(&with(&xtrace, &["stage.trace.probes=4", "stage.trace.per_layer=true"]));
    assert!(few.words.contains("over 4 probes is too small to be trusted"), "{}", few.words);
}

#[test]
fn reasons_name_what_the_manifest_has() {
    let lab = Lab::new(&study());
    lab.run(&["stage.trace.method=xtrace"]);
    let why = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        lab.says(&["explain", "study.toml", "trace"].into_iter().chain(sets).collect::<Vec<_>>())
    };
    let deflated = why(&DEFLATED);
    assert!(deflated.contains(r#"stage.trace.method: "xtrace" → "deflated""#), "{deflated}");
    assert!(deflated.contains("stage.trace.rank: 20 → 5"), "{deflated}");
    assert!(!deflated.contains("method.rank"), "{deflated}");
    let plain = why(&[]);
    assert!(plain.contains(r#"stage.trace.method: "xtrace" → "hutchinson""#), "{plain}");
}

/// Each keeps a file open until it is committed: all at once they would be more than a process may have.
#[test]
fn many_probes_of_a_point_are_kept_a_few_at_a_time() {
    let lab = Lab::new(&study());
    lab.run(&["stage.trace.probes=2"]);
    let limited = lab.limited("ulimit -n 96", &["run", "study.toml", "trace", "--set", "stage.trace.probes=300"]);
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    assert_eq!(lab.table("trace.csv").numbers("probes"), [300.0; 7]);
}

#[test]
fn all_methods_estimate_the_trace_of_the_whole_matrix() {
    let lab = Lab::new(&study());
    lab.run(&["stage.spectrum.exact=true"]);
    let exact = lab.table("spectrum.csv").numbers("trace");
    let xtrace = ["stage.trace.method=xtrace", "stage.trace.probes=30"];
    let gaussian = ["stage.trace.method=xtrace", "stage.trace.probes=30", "stage.trace.distribution=gaussian"];
    for method in [&[][..], &DEFLATED, &xtrace, &gaussian] {
        lab.run(&with(method, &["stage.spectrum.exact=true"]));
        let table = lab.table("trace.csv");
        let (traces, errors) = (table.numbers("trace"), table.numbers("stderr"));
        for ((trace, error), exact) in traces.iter().zip(&errors).zip(&exact) {
            assert!((trace - exact).abs() < 5.0 * error, "{method:?}: {trace} ± {error} is not {exact}");
            assert!(*error < 0.2 * exact, "{method:?}: {trace} ± {error}");
        }
    }
}

#[test]
fn a_sample_too_many_is_said() {
    let lab = Lab::new(&study());
    let ran = lab.try_run(&["stage.trace.samples=1000000"]);
    assert_eq!(ran.code, 1);
    assert!(ran.words.contains("`samples` is 1000000, and the training set has"), "{}", ran.words);
}

#[test]
fn the_traces_of_layers_add_up_to_that_of_all() {
    let lab = Lab::new(&study());
    lab.run(&[]);
    let whole = lab.table("trace.csv").numbers("trace");
    let ran = lab.run(&["stage.trace.per_layer=true"]);
    assert_eq!(ran.ran(), counts(&[("layer-probe", 56)]));
    assert_eq!(lab.table("trace.csv").numbers("products"), [16.0; 7]);
    let layers = lab.table("trace.layers.csv");
    assert_eq!(layers.texts("layer")[..4], ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
    assert_eq!(layers.numbers("parameters")[..4], [512.0, 8.0, 80.0, 10.0]);
    for (layers, whole) in layers.numbers("trace").chunks(4).zip(whole) {
        assert!((layers.iter().sum::<f64>() - whole).abs() < 1e-4 * whole, "{layers:?} are not {whole}");
    }
}

#[test]
fn more_starts_add_runs_and_what_is_read_off_runs_none() {
    let lab = Lab::new(&study());
    assert_eq!(lab.run(&[]).ran()["lanczos"], 56);
    let more = ["stage.spectrum.starts=10"];
    assert_eq!(lab.forecast("spectrum", &more)["lanczos"].counts(), (14, 56, false));
    assert_eq!(lab.run(&more).ran(), counts(&[("lanczos", 14)]));
    for read_off in ["top=3", "tau=1", "grid=50", "width=0.1", "which=both", "every=2"] {
        assert_eq!(lab.run(&[&format!("stage.spectrum.{read_off}")]).ran(), counts(&[]), "{read_off}");
    }
    assert_eq!(lab.run(&["stage.spectrum.steps=20"]).ran(), counts(&[("lanczos", 56)]));
    assert_eq!(lab.run(&["stage.spectrum.of=gauss-newton"]).ran(), counts(&[("lanczos", 56)]));
}

#[test]
fn the_last_point_alone_is_that_of_all_and_has_its_loss() {
    let lab = Lab::new(&study());
    lab.run(&[]);
    let (all, train) = (lab.table("spectrum.csv"), lab.table("train.csv"));
    assert_eq!(all.numbers("loss"), train.numbers("training_loss"));
    let last = ["stage.spectrum.states=last", "stage.trace.states=last"];
    assert_eq!(lab.forecast("spectrum", &last)["lanczos"].counts(), (0, 8, false));
    assert_eq!(lab.run(&last).ran(), counts(&[]));
    for (name, column) in [("spectrum.csv", "trace"), ("trace.csv", "trace"), ("spectrum.csv", "loss")] {
        let one = lab.table(name).numbers(column);
        assert_eq!(one.len(), 1, "{name}");
    }
    assert_eq!(lab.table("spectrum.csv").numbers("loss")[..], all.numbers("loss")[6..]);
}

#[test]
fn lanczos_agrees_with_the_whole_matrix() {
    let lab = Lab::new(&study());
    lab.run(&["stage.train.dtype=f64", "stage.spectrum.top=5"]);
    let (near, near_top) = (lab.table("spectrum.csv"), lab.table("spectrum.top.csv"));
    let exact = ["stage.train.dtype=f64", "stage.spectrum.top=5", "stage.spectrum.exact=true"];
    let ran = lab.run(&exact);
    assert_eq!(ran.ran(), counts(&[("eigenvalues", 7)]));
    let (all, top) = (lab.table("spectrum.csv"), lab.table("spectrum.top.csv"));
    assert_eq!(all.numbers("products"), [610.0; 7]);
    for name in ["trace", "negative_sum", "log_determinant"] {
        let errors = near.numbers(&format!("{name}_stderr"));
        for ((found, error), exact) in near.numbers(name).iter().zip(errors).zip(all.numbers(name)) {
            assert!((found - exact).abs() < 5.0 * error, "{name}: {found} ± {error} is not {exact}");
        }
    }
    let residuals = near_top.numbers("residual");
    for ((found, residual), exact) in
        near_top.numbers("eigenvalue").iter().zip(residuals).zip(top.numbers("eigenvalue"))
    {
        assert!((found - exact).abs() <= residual + 1e-9 * exact, "{found} ± {residual} is not {exact}");
    }
    assert_eq!(all.numbers("log_determinant_change"), [0.0; 7]);
    let unresolved = lab.run(&["stage.train.dtype=f64", "stage.spectrum.tau=1e-5"]);
    assert!(unresolved.words.contains("`steps` resolves the spectrum too little"), "{}", unresolved.words);
    lab.run(&exact);
    // The density of each point integrates to 1 over its grid.
    let density = lab.table("spectrum.density.csv");
    assert_eq!(density.texts("point")[400], "epoch 1");
    for (values, places) in density.numbers("density").chunks(400).zip(density.numbers("eigenvalue").chunks(400)) {
        let whole = values.iter().sum::<f64>() * (places[1] - places[0]);
        assert!((whole - 1.0).abs() < 1e-3, "{whole}");
    }
}

#[test]
fn a_density_is_drawn() {
    let figure = r#"
[stage.figure]
kind = "plot"
x = { label = "eigenvalue", unit = "nats" }
y = { label = "density", unit = "1/nats", scale = "log", low = 1e-4 }
layers = [{ from = "spectrum", table = "density", only = ["point", "epoch 6"], x = "eigenvalue", y = "density", label = "epoch 6" }]
"#;
    let lab = Lab::new(&format!("{}{figure}", study()));
    let ran = lab.run(&[]);
    assert_eq!(ran.ran()["plot"], 1);
    assert_eq!(lab.table("figure.csv").len(), 400);
    // Nothing but the density changes, and so must the figure.
    let ran = lab.run(&["stage.spectrum.grid=50"]);
    assert_eq!((ran.in_state("ran"), lab.table("figure.csv").len()), (vec!["figure", "spectrum"], 50));
}
