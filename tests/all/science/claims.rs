//! Claims: what holds, fails or is undecided, with the number, checked against the same number worked out here from the tables.

use serde_json::Value;

use super::lab::{Csv, Lab, TINY, counts};

fn claims(lab: &Lab) -> Value {
    serde_json::from_slice(&lab.result("claims.json")).unwrap()
}

#[test]
fn a_claim_that_holds_ends_the_run_well() {
    let lab = Lab::new(TINY);
    let ran = lab.run(&[]);
    let claim = &claims(&lab)[0];
    assert_eq!(claim["stage"], "claim");
    assert_eq!(claim["claim"], "the path is connected");
    assert_eq!((&claim["verdict"], &claim["statistic"]), (&"holds".into(), &"fraction-connected".into()));
    assert_eq!((claim["value"].as_f64(), claim["numbers"]["segments"].as_f64()), (Some(1.0), Some(6.0)));
    // The segments are no random sample, so the sentence has no interval; the number is there. Six of six: the lower end of the exact
    // interval is (α/2)^(1/6).
    assert_eq!(claim["detail"], "6 of 6 segments after epoch 0 are connected (100 %, at least 99 % claimed)");
    let low = claim["numbers"]["binomial_95_low"].as_f64().unwrap();
    assert!((low - 0.025f64.powf(1.0 / 6.0)).abs() < 1e-12, "{low}");
    assert_eq!(ran.report["claims"], claims(&lab));
    assert!(ran.words.contains("holds"), "{}", ran.words);
    // A run that finds everything tells the claims all the same.
    let again = lab.run(&[]);
    assert_eq!(again.report["claims"], claims(&lab));
}

#[test]
fn a_claim_that_fails_is_told_by_the_exit_code_and_fails_no_stage() {
    let lab = Lab::new(TINY);
    // The minima lie between 0.29 and 0.3, so at 0.294 some lines are connected and some are not.
    let sets = ["stage.connect.threshold=0.294", "stage.connect.depth=0", "stage.claim.at_least=1"];
    let ran = lab.try_run(&sets);
    assert_eq!((ran.code, ran.in_state("failed").len(), ran.state("claim")), (3, 0, "ran"));
    let endings = lab.table("connect.csv");
    let endings = endings.texts("ending");
    let connected = endings.iter().filter(|&&ending| ending == "connected").count();
    assert!(connected < endings.len(), "{endings:?}");
    let claim = &claims(&lab)[0];
    assert_eq!(claim["verdict"], "fails");
    assert_eq!(claim["value"], connected as f64 / endings.len() as f64);
    assert!(ran.words.contains("fails  claim"), "{}", ran.words);
    // Its sentence stands once, and the summary counts it.
    let detail = claim["detail"].as_str().unwrap();
    assert_eq!(
        (ran.words.matches(detail).count(), ran.words.matches("fails  1 claim").count()),
        (1, 1),
        "{}",
        ran.words
    );
    // It fails again when nothing runs.
    let again = lab.try_run(&sets);
    assert_eq!((again.code, again.ran()), (3, counts(&[])));
    // A lower share is claimed: only the judge runs.
    let lower = lab.run(&[sets[0], sets[1], "stage.claim.at_least=0"]);
    assert_eq!(lower.ran(), counts(&[("claim", 1)]));
    assert_eq!(claims(&lab)[0]["verdict"], "holds");
}

#[test]
fn a_claim_that_cannot_be_decided_is_named_and_fails_nothing() {
    let lab = Lab::new(TINY);
    let ran = lab.run(&["stage.claim.after_epoch=100"]);
    let claim = &claims(&lab)[0];
    assert_eq!((&claim["verdict"], &claim["value"]), (&"undecided".into(), &Value::Null));
    assert!(ran.words.lines().any(|line| line.contains("undecided") && line.contains("claim")), "{}", ran.words);
}

/// Three seeds, each with its control arm, and what is to be seen of them.
const FALL: &str = r#"
study = "fall"

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
epochs = 6
matrix = { seed = [0, 1, 2] }

[stage.project]
kind = "gd-project"
from = "train"
first = 2
until_loss = 0.4

[stage.trace]
kind = "trace-estimate"
from = "project"
probes = 3

[stage.control]
kind = "train"
data = "data"
start = "project"
model = { architecture = "mlp", hidden = [8] }
batch = 50
momentum = 0.9
noise = "none"
epochs = 4

[stage.trace-control]
kind = "trace-estimate"
from = "control"
probes = 3

[stage.falls]
kind = "claim"
says = "The trace falls"
statistic = "log-trace-fall"
from = "trace"
control = "trace-control"
after_epoch = 3
alpha = 0.05

[stage.falls-alone]
kind = "claim"
says = "The trace falls, whatever the control does"
statistic = "log-trace-fall"
from = "trace"
after_epoch = 3
alpha = 0.05
"#;

/// log T at the end less log T at the first point at epoch 3 or later.
fn fall(table: &Csv) -> f64 {
    let (epochs, traces) = (table.numbers("epoch"), table.numbers("trace"));
    let first = epochs.iter().position(|&epoch| epoch >= 3.0).unwrap();
    traces[traces.len() - 1].ln() - traces[first].ln()
}

/// Student's t with two degrees of freedom: F(t) = ½ + t/(2√(2 + t²)).
fn cdf_of_two(t: f64) -> f64 {
    0.5 + t / (2.0 * (2.0 + t * t).sqrt())
}

fn verdict(p: f64, alpha: f64) -> &'static str {
    if p < alpha {
        "holds"
    } else if 1.0 - p < alpha {
        "fails"
    } else {
        "undecided"
    }
}

fn check(claim: &Value, [mean, t, p]: [f64; 3], verdict: &str) {
    let number = |name: &str| claim["numbers"][name].as_f64().unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} against {b}: {claim}");
    near(claim["value"].as_f64().unwrap(), mean);
    near(number("t"), t);
    near(number("df"), 2.0);
    near(number("p"), p);
    assert_eq!(claim["verdict"], verdict, "{claim}");
}

#[test]
fn the_fall_of_the_trace_over_seeds_is_a_paired_t_test() {
    let lab = Lab::new(FALL);
    let ran = lab.try_run(&[]);
    let table = |stage: &str, seed| lab.table(&format!("{stage}.seed={seed}.csv"));
    let pairs = (0..3).map(|seed| (fall(&table("trace", seed)), fall(&table("trace-control", seed))));
    let pairs: Vec<(f64, f64)> = pairs.collect();
    let mut verdicts = Vec::new();
    for (at, falls) in [
        (0, pairs.iter().map(|(arm, control)| arm - control).collect::<Vec<_>>()),
        (1, pairs.iter().map(|(arm, _)| *arm).collect()),
    ] {
        let mean = falls.iter().sum::<f64>() / 3.0;
        let sd = (falls.iter().map(|fall| (fall - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        let t = mean / (sd / 3.0f64.sqrt());
        let p = cdf_of_two(t);
        check(&claims(&lab)[at], [mean, t, p], verdict(p, 0.05));
        assert_eq!(claims(&lab)[at]["numbers"]["trajectories"].as_f64(), Some(3.0));
        let number = |name: &str| claims(&lab)[at]["numbers"][name].as_f64();
        let own = number("seed=1 log_trace_change").unwrap() - number("seed=1 control_log_trace_change").unwrap_or(0.0);
        assert!((own - falls[1]).abs() < 1e-12, "{own}");
        let detail = claims(&lab)[at]["detail"].as_str().unwrap().to_owned();
        let more = if mean < 0.0 { "more" } else { "less" };
        let start = match at {
            0 => format!("log T falls by {:.3} {more} than in the control arm (T ", mean.abs()),
            _ => format!("log T {} by {:.3} (T ", if mean < 0.0 { "falls" } else { "rises" }, mean.abs()),
        };
        assert!(detail.starts_with(&start), "{detail}");
        assert!(
            detail.contains("; one-sided t-test over 3 trajectories: t = ") && detail.contains(", df = 2, p = "),
            "{detail}"
        );
        verdicts.push(verdict(p, 0.05));
    }
    assert_eq!(ran.code, if verdicts.contains(&"fails") { 3 } else { 0 });
    assert_eq!(ran.report["claims"].as_array().unwrap().len(), 2);
}

/// What each of three probes says of the fall: qᵢ/T at the end less the same at the start.
fn by_probe(lab: &Lab, stage: &str) -> Vec<f64> {
    let (points, probes) = (lab.table(&format!("{stage}.csv")), lab.table(&format!("{stage}.probes.csv")));
    let (epochs, traces) = (points.numbers("epoch"), points.numbers("trace"));
    let first = epochs.iter().position(|&epoch| epoch >= 3.0).unwrap();
    let last = epochs.len() - 1;
    let forms = probes.numbers("quadratic_form");
    let relative = |point: usize, probe: usize| forms[3 * point + probe] / traces[point];
    (0..3).map(|probe| relative(last, probe) - relative(first, probe)).collect()
}

#[test]
fn one_trajectory_has_the_error_of_its_probes_and_says_so() {
    let lab = Lab::new(&FALL.replace("matrix = { seed = [0, 1, 2] }", ""));
    lab.try_run(&["stage.falls-alone.alpha=0.4"]);
    let t = |fall: f64, differences: &[f64]| {
        let mean = differences.iter().sum::<f64>() / 3.0;
        let sd = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        fall / (sd / 3.0f64.sqrt())
    };
    let judged = claims(&lab);
    let (own, control) = (by_probe(&lab, "trace"), by_probe(&lab, "trace-control"));
    let (alone, other) = (fall(&lab.table("trace.csv")), fall(&lab.table("trace-control.csv")));
    let of_own = t(alone, &own);
    check(&judged[1], [alone, of_own, cdf_of_two(of_own)], verdict(cdf_of_two(of_own), 0.4));
    // Beside its control: both share their probes, so errors are those of the differences, probe by probe.
    let both: Vec<f64> = own.iter().zip(&control).map(|(own, control)| own - control).collect();
    let of_both = t(alone - other, &both);
    check(&judged[0], [alone - other, of_both, cdf_of_two(of_both)], verdict(cdf_of_two(of_both), 0.05));
    let detail = judged[1]["detail"].as_str().unwrap();
    assert!(detail.contains("probe error only"), "{detail}");
}

#[test]
fn arms_of_different_length_are_not_compared() {
    let lab = Lab::new(&FALL.replace("matrix = { seed = [0, 1, 2] }", ""));
    let ran = lab.try_run(&["stage.control.epochs=3"]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["falls"]));
    assert!(ran.words.contains("a path ends at iteration 24 and its control arm at iteration 20"), "{}", ran.words);
}

#[test]
fn an_arm_without_its_control_fails_the_claim_and_nothing_else() {
    let control = FALL.find("[stage.control]").unwrap();
    let other = format!(
        "[stage.lone]\nkind = \"trace-estimate\"\nfrom = \"control\"\nprobes = 3\n\n{}",
        "[stage.falls]\nkind = \"claim\"\nsays = \"x\"\nstatistic = \"log-trace-fall\"\nfrom = \"trace\"\ncontrol = \"lone\"\nafter_epoch = 3\n"
    );
    let arm = &FALL[control..FALL.find("[stage.trace-control]").unwrap()];
    let arm = arm.replace("start = \"project\"\n", "").replace("epochs = 4", "epochs = 4\nmatrix = { seed = [5, 6] }");
    let lab = Lab::new(&format!("{}{arm}{other}", &FALL[..control]));
    let ran = lab.try_run(&[]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["falls"]));
    assert!(ran.words.contains("no control arm has the axes seed=0"), "{}", ran.words);
}

#[test]
fn a_report_is_a_row_a_claim_and_knows_what_an_edit_left_behind() {
    let lab = Lab::new(TINY);
    let report = |more: &[&str]| lab.says(&[&["report", "study.toml"], more].concat());
    assert!(report(&[]).contains("| tiny | the path is connected |  | not judged | small |"), "{}", report(&[]));
    lab.run(&[]);
    let judged = report(&[]);
    assert!(judged.starts_with("| figure | claim | number | verdict | profile |\n| --- |"), "{judged}");
    assert!(judged.contains("| tiny | the path is connected | "), "{judged}");
    assert_eq!(judged.lines().count(), 3);
    lab.write(&TINY.replace("epochs = 6", "epochs = 7"));
    assert!(report(&[]).contains(", before an edit | small |"), "{}", report(&[]));
    std::fs::write(lab.path("page.md"), "a\n<!-- claims -->\nold\n<!-- /claims -->\nb\n").unwrap();
    lab.write(TINY);
    report(&["--into", "page.md"]);
    let page = std::fs::read_to_string(lab.path("page.md")).unwrap();
    assert_eq!(page, format!("a\n<!-- claims -->\n{judged}<!-- /claims -->\nb\n"));
    std::fs::write(lab.path("page.md"), "nothing\n").unwrap();
    let refused = lab.program(&["report", "study.toml", "--into", "page.md"]);
    assert_eq!(refused.status.code(), Some(2));
}
