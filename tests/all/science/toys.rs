//! Toys: what an edit walks again, fits and their numbers, claims on a number, and expressions that do not parse.

use super::lab::{Lab, counts};

const VALLEY: &str = r#"
study = "valley"

[stage.walks]
kind = "toy"
loss = "abs(t3 + t4)*t1^2 + abs(t3 + 2*t4)*t2^2"
start = [0, 0, 1, 1]
steep = [1, 2]
lr = [0.004, 0.008, 0.012]
runs = 16
iterations = 400
equilibrate = 200
every = 100

[stage.line]
kind = "fit"
from = "walks"
x = "lr_squared"
y = "trace_change"
error = "trace_change_stderr"

[stage.power]
kind = "fit"
from = "walks"
x = "lr"
y = "predicted_trace_change"
model = "power"

[stage.falls]
kind = "claim"
says = "the trace falls"
statistic = "within"
from = "line"
column = "slope"
error = "slope_stderr"
high = 0
"#;

#[test]
fn more_runs_and_more_rates_walk_only_those() {
    let lab = Lab::new(VALLEY);
    let first = lab.run(&[]);
    assert_eq!(first.ran()["walks"], 6);
    assert_eq!(lab.table("walks.csv").numbers("runs"), [16.0; 3]);
    let more = ["stage.walks.runs=20"];
    assert_eq!(lab.forecast("walks", &more)["walks"].counts(), (3, 6, false));
    assert_eq!(lab.run(&more).ran()["walks"], 3);
    // The third block holds runs 16 to 23.
    assert_eq!(lab.run(&["stage.walks.runs=24"]).ran().get("walks"), None);
    assert_eq!(lab.run(&["stage.walks.lr=[0.004, 0.008, 0.012, 0.016]"]).ran()["walks"], 2);
    assert_eq!(lab.run(&["stage.walks.momentum=0.5"]).ran()["walks"], 6);
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
}

#[test]
fn a_fit_has_the_numbers_of_its_points() {
    let lab = Lab::new(VALLEY);
    lab.run(&[]);
    let (walks, line, power) = (lab.table("walks.csv"), lab.table("line.csv"), lab.table("power.csv"));
    let (x, y, errors) =
        (walks.numbers("lr_squared"), walks.numbers("trace_change"), walks.numbers("trace_change_stderr"));
    let weights: Vec<f64> = errors.iter().map(|error| 1.0 / (error * error)).collect();
    let mean = |of: &[f64]| of.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>() / weights.iter().sum::<f64>();
    let (mx, my) = (mean(&x), mean(&y));
    let sxx: f64 = x.iter().zip(&weights).map(|(x, w)| w * (x - mx).powi(2)).sum();
    let sxy: f64 = (0..3).map(|i| weights[i] * (x[i] - mx) * (y[i] - my)).sum();
    let (slope, stderr) = (line.numbers("slope")[0], line.numbers("slope_stderr")[0]);
    assert!((slope - sxy / sxx).abs() < 1e-9 * slope.abs(), "{slope} {}", sxy / sxx);
    assert!((stderr - (1.0 / sxx).sqrt()).abs() < 1e-9 * stderr, "{stderr}");
    assert!((slope + 2_600.0).abs() < 5.0 * stderr, "−(1/4)·52·200 is −2,600: {slope} ± {stderr}");
    let (places, heights) = (line.numbers("lr_squared"), line.numbers("trace_change"));
    let intercept = line.numbers("intercept")[0];
    assert!(places.iter().zip(&heights).all(|(x, y)| (y - intercept - slope * x).abs() < 1e-12));
    assert_eq!((places[0], *places.last().unwrap()), (x[0], x[2]));
    // −(η²/4)·52·200 is a power of η: its exponent is 2.
    assert!((power.numbers("exponent")[0] - 2.0).abs() < 1e-12);
    assert!((power.numbers("factor")[0] + 2_600.0).abs() < 1e-8);
    assert!((power.numbers("r_squared")[0] - 1.0).abs() < 1e-12);
}

#[test]
fn a_claim_on_a_number_holds_or_fails() {
    let lab = Lab::new(VALLEY);
    assert_eq!(lab.run(&[]).code, 0);
    let fails = lab.try_run(&["stage.falls.high=-100000"]);
    assert_eq!(fails.code, 3);
    assert!(fails.words.contains("claimed below −100000"), "{}", fails.words);
}

#[test]
fn noise_by_design_for_the_trace_is_that_of_sgd() {
    let lab = Lab::new(VALLEY);
    lab.run(&[]);
    let sgd = lab.table("walks.csv").numbers("trace");
    lab.run(&["walks", "stage.walks.noise=designed", "stage.walks.lowers=l1 + l2"]);
    let designed = lab.table("walks.csv");
    assert_eq!(designed.numbers("trace"), sgd);
    assert_eq!(designed.texts("predicted_trace_change"), ["", "", ""]);
}

#[test]
fn what_does_not_parse_is_said_at_its_place() {
    let lab = Lab::new(VALLEY);
    let said = |sets: &[&str]| {
        let ran = lab.try_run(sets);
        (ran.code, ran.words)
    };
    lab.write(&VALLEY.replace("abs(t3 + t4)*t1^2", "abs(t3 + t5)*t1^2"));
    let (code, words) = said(&[]);
    assert_eq!(code, 2);
    assert!(words.contains("`loss`: `t5` is neither of the variables `t1` to `t4`"), "{words}");
    assert!(words.contains("study.toml:6:18"), "{words}");
    lab.write(VALLEY);
    let (code, words) = said(&["stage.walks.noise=designed", "stage.walks.lowers=log(l3)"]);
    assert_eq!(code, 2);
    assert!(words.contains("`lowers`: `l3` is neither of the variables `l1` to `l2`"), "{words}");
    let (code, words) = said(&["stage.walks.steep=[1, 5]"]);
    assert_eq!((code, words.contains("expected coordinates from 1 to 4")), (2, true), "{words}");
    let (code, words) = said(&["stage.walks.loss=(1 - t3)*t1^2 + t2^2", "stage.walks.start=[0, 0, 2, 1]"]);
    assert_eq!(code, 1);
    assert!(words.contains("noise of variance -2 along eigenvalue -2"), "{words}");
}

#[test]
fn what_no_walk_and_no_fit_can_be_is_said() {
    let lab = Lab::new(VALLEY);
    for (set, said) in [
        ("stage.walks.equilibrate=400", "`equilibrate`: expected fewer than the 400 iterations"),
        ("stage.walks.lr=[0.01, 0.02, 0.01]", "expected each rate once, found 0.01 again"),
        ("stage.walks.iterations=10000000", "a path of 100000 rows, expected at most"),
        ("stage.line.y=slope", "among the fit's own"),
        ("stage.line.y=lr_squared", "expected another column than `x`"),
        ("stage.falls.low=3", "`high`: expected no less than `low`"),
    ] {
        let ran = lab.try_run(&[set]);
        assert_eq!((ran.code, ran.words.contains(said)), (2, true), "{set}: {}", ran.words);
    }
    let alone = lab.try_run(&["stage.walks.lr=[0.01]"]);
    assert_eq!(alone.code, 1);
    assert!(
        alone.words.contains("a fit of `trace_change` along `lr_squared` takes two points or more, got 1"),
        "{}",
        alone.words
    );
    // Two points without errors lie on their line, and say nothing of how far it is off.
    let two = ["stage.walks.lr=[0.01, 0.02]", "stage.power.y=trace_change"];
    lab.run(&two);
    assert_eq!(lab.table("power.csv").texts("exponent_stderr")[0], "");
}

/// What no covariance is may be walked without one, and a valley that ends says so.
#[test]
fn a_hill_is_walked_without_noise() {
    let lab = Lab::new(&VALLEY.replace("abs(t3 + t4)*t1^2", "(t4 - 2)*t1^2").replace("runs = 16", "runs = 2"));
    lab.run(&["walks", "stage.walks.noise=none"]);
    let table = lab.table("walks.csv");
    assert!(table.numbers("trace").iter().all(|trace| (trace - 4.0).abs() < 1e-12));
    assert!(table.numbers("determinant").iter().all(|determinant| (determinant + 12.0).abs() < 1e-12));
}

#[test]
fn a_walk_of_many_steep_coordinates_ends_when_asked_to() {
    let terms: Vec<String> = (1..=20).flat_map(|i| (1..i).map(move |j| format!("t{i}*t{j}"))).collect();
    let steep: Vec<String> = (1..=20).map(|i| i.to_string()).collect();
    let manifest = format!(
        r#"
study = "coupled"
[stage.walks]
kind = "toy"
loss = "{}"
start = [{}]
steep = [{}]
lr = [1e-6]
runs = 2
iterations = 100000
every = 1000
noise = "isotropic"
"#,
        terms.join(" + "),
        vec!["0.1"; 20].join(", "),
        steep.join(", ")
    );
    let lab = Lab::new(&manifest);
    let mut run = lab.start();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    rustix::process::kill_process(rustix::process::Pid::from_child(&run), rustix::process::Signal::INT).unwrap();
    let asked = std::time::Instant::now();
    let ended = run.wait().unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(asked.elapsed() < std::time::Duration::from_secs(20), "{:?}", asked.elapsed());
}
