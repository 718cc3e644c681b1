//! What an edit runs again, counted by kind of action.

use super::lab::{Lab, TINY, counts, differing};

#[test]
fn a_first_run_makes_each_action_once_and_a_second_none() {
    let lab = Lab::new(TINY);
    let first = lab.run(&[]);
    let all = [("decode", 1), ("init", 1), ("epoch", 6), ("evaluate", 7), ("descent", 7), ("line", 6), ("probe", 28)];
    assert_eq!(first.ran(), counts(&[&all[..], &[("plot", 1), ("claim", 1)]].concat()));
    let results = lab.results();
    let second = lab.run(&[]);
    assert_eq!(second.ran(), counts(&[]));
    assert_eq!(second.in_state("fresh").len(), 7);
    assert_eq!(differing(&results, &lab.results()), Vec::<String>::new());
}

#[test]
fn more_epochs_train_project_and_probe_only_what_is_new_and_fewer_train_none() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let six = lab.results();
    let forecast = lab.forecast("train", &["stage.train.epochs=8"]);
    assert_eq!(forecast["epoch"].counts(), (2, 6, false));
    let new = [("epoch", 2), ("evaluate", 2), ("descent", 2), ("line", 2), ("probe", 8), ("plot", 1), ("claim", 1)];
    assert_eq!(lab.run(&["stage.train.epochs=8"]).ran(), counts(&new));
    // Undone: nothing runs, and the results are what they were.
    let undone = lab.run(&[]);
    assert_eq!(undone.ran(), counts(&[]));
    assert_eq!(differing(&six, &lab.results()), Vec::<String>::new());
    assert_eq!(lab.run(&["stage.train.epochs=4"]).ran(), counts(&[("plot", 1), ("claim", 1)]));
}

#[test]
fn more_probes_repeat_none() {
    let lab = Lab::new(TINY);
    let first = lab.run(&[]);
    let old = lab.table("trace.probes.csv");
    let forecast = lab.forecast("trace", &["stage.trace.probes=8"]);
    assert_eq!(forecast["probe"].counts(), (28, 28, false));
    let second = lab.run(&["stage.trace.probes=8"]);
    assert_eq!(second.ran(), counts(&[("probe", 28), ("plot", 1)]));
    assert_eq!(second.hit("probe"), 28);
    assert!(first.keys("probe").is_disjoint(&second.keys("probe")));
    let new = lab.table("trace.probes.csv");
    assert_eq!((old.len(), new.len()), (28, 56));
    let (old, new) = (old.texts("quadratic_form"), new.texts("quadratic_form"));
    for point in 0..7 {
        assert_eq!(old[4 * point..4 * point + 4], new[8 * point..8 * point + 4], "the first four of point {point}");
    }
    assert_eq!(lab.run(&["stage.trace.probes=2"]).ran(), counts(&[("plot", 1)]));
    assert_eq!(lab.run(&["stage.trace.probes=2", "stage.trace.every=2"]).ran(), counts(&[("plot", 1)]));
}

#[test]
fn another_number_of_samples_repeats_no_descent() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let ran = lab.run(&["stage.connect.samples=7"]);
    // The same points, so no probe; the same shares, so the judge finds other losses in its table and judges again.
    assert_eq!(ran.ran(), counts(&[("line", 6), ("claim", 1)]));
    assert_eq!(ran.state("trace"), "fresh");
}

#[test]
fn a_lower_threshold_is_read_off_lines_that_decide_it() {
    let (lab, other) = (Lab::new(TINY), Lab::new(TINY));
    let first = lab.run(&[]);
    let lower = ["stage.connect.threshold=0.2", "stage.connect.depth=1"];
    let second = lab.try_run(&lower);
    let alone = other.try_run(&lower);
    // Every segment is broken now: its middle is replayed and projected and both halves are checked. The six lines of the first
    // round are not taken again, and no state that was projected is projected again.
    assert_eq!(alone.keys("line").len(), 18, "six, and twelve halves");
    assert_eq!(second.keys("line").len(), 12, "the halves");
    assert!(second.all_keys().is_disjoint(&first.all_keys()));
    assert_eq!((second.ran()["replay"], second.ran()["descent"]), (6, 6));
    assert_eq!(alone.ran()["descent"], 13);
    assert_eq!(differing(&lab.results(), &other.results()), Vec::<String>::new());
    assert_eq!((second.code, alone.code), (3, 3), "the claim fails now");
}

#[test]
fn a_higher_threshold_goes_on_where_the_lower_one_stopped() {
    let (lab, other) = (Lab::new(TINY), Lab::new(TINY));
    let low = lab.try_run(&["stage.connect.threshold=0.2", "stage.connect.depth=0"]);
    let high = lab.run(&["stage.connect.depth=0"]);
    assert_eq!((low.ran()["line"], low.ran()["descent"]), (6, 7));
    assert_eq!(high.ran(), counts(&[("line", 6), ("claim", 1)]));
    for key in high.keys("line") {
        let shown = lab.says(&["show", "study.toml", &key]);
        assert!(shown.contains("input known"), "{shown}");
    }
    other.run(&["stage.connect.depth=0"]);
    assert_eq!(differing(&lab.results(), &other.results()), Vec::<String>::new());
}

#[test]
fn a_lower_target_goes_on_from_the_end_of_the_higher_one() {
    let (lab, other) = (Lab::new(TINY), Lab::new(TINY));
    lab.run(&[]);
    let higher = lab.table("project.csv").numbers("steps");
    let lower = ["stage.project.until_loss=0.2", "stage.connect.threshold=0.25"];
    assert_eq!(lab.forecast("project", &[lower[0]])["descent"].counts(), (7, 7, true));
    let ran = lab.run(&lower);
    other.run(&lower);
    let steps = lab.table("project.csv").numbers("steps");
    assert_eq!(steps, other.table("project.csv").numbers("steps"));
    assert_eq!(differing(&lab.results(), &other.results()), Vec::<String>::new());
    // The steps of the blocks that ran now are those that the first run had not made.
    let mut made = 0.0;
    for key in ran.keys("descent") {
        let summary: serde_json::Value =
            serde_json::from_str(&lab.says(&["show", "study.toml", &key, "summary"])).unwrap();
        made += summary["steps"].as_f64().unwrap();
        assert!(lab.says(&["show", "study.toml", &key]).contains("input origin"));
    }
    assert!(higher.iter().all(|&steps| steps > 5.0), "{higher:?}");
    assert_eq!(made, steps.iter().sum::<f64>() - higher.iter().sum::<f64>());
}

#[test]
fn a_higher_cap_goes_on_from_the_lower_one() {
    let (lab, other) = (Lab::new(TINY), Lab::new(TINY));
    let capped = ["stage.project.until_loss=0.002", "stage.project.max_steps=1", "stage.trace.every=6"];
    let first = lab.run(&capped);
    assert_eq!(first.ran()["descent"], 7);
    assert_eq!(lab.table("project.csv").numbers("steps"), [250.0; 7]);
    assert!(first.words.contains("7 of 7 descents hit the cap"), "{}", first.words);
    assert!(lab.table("project.csv").texts("reached").iter().all(|&reached| reached == "no"));
    let higher = [capped[0], "stage.project.max_steps=500", capped[2]];
    assert_eq!(lab.forecast("project", &higher)["descent"].counts(), (7, 7, true));
    let second = lab.run(&higher);
    assert_eq!((second.ran()["descent"], second.hit("descent")), (7, 7));
    other.run(&higher);
    assert_eq!(differing(&lab.results(), &other.results()), Vec::<String>::new());
}

/// Two branches over the same data.
fn two_branches() -> String {
    let branch = |name: &str, seed: u64| {
        format!(
            r#"
[stage.train-{name}]
kind = "train"
data = "data"
model = {{ architecture = "mlp", hidden = [8] }}
batch = 50
epochs = 2
seed = {seed}

[stage.project-{name}]
kind = "gd-project"
from = "train-{name}"
until_loss = 0.5

[stage.trace-{name}]
kind = "trace-estimate"
from = "project-{name}"
probes = 2
"#
        )
    };
    let data = "study = \"branches\"\n[stage.data]\nkind = \"dataset\"\nsubset = 200\n";
    format!("{data}{}{}", branch("a", 0), branch("b", 1))
}

#[test]
fn changing_the_seed_or_the_learning_rate_reruns_all_below_and_nothing_beside() {
    let lab = Lab::new(&two_branches());
    lab.run(&[]);
    let seed = lab.run(&["stage.train-a.seed=2"]);
    assert_eq!(seed.in_state("ran"), ["project-a", "trace-a", "train-a"]);
    assert_eq!(seed.in_state("fresh"), ["data", "project-b", "trace-b", "train-b"]);
    let all = [("init", 1), ("epoch", 2), ("evaluate", 3), ("descent", 3), ("probe", 6)];
    assert_eq!(seed.ran(), counts(&all));
    let rate = lab.run(&["stage.train-a.lr=0.2"]);
    assert_eq!(rate.in_state("ran"), ["project-a", "trace-a", "train-a"]);
    // The initial point does not depend on the rate: neither it nor its evaluation is made again, but its descent goes at the new rate.
    assert_eq!(rate.ran(), counts(&[("epoch", 2), ("evaluate", 2), ("descent", 3), ("probe", 6)]));
    // The seed of the other branch: everything of it is there already.
    let same = lab.run(&["stage.train-a.seed=1"]);
    assert_eq!(same.ran(), counts(&[]));
    assert_eq!(differing(&lab.results(), &lab.results()), Vec::<String>::new());
    assert_eq!(lab.result("trace-a.csv"), lab.result("trace-b.csv"));
}

#[test]
fn another_figure_over_the_same_training_runs_the_figure_alone() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let trace = TINY.find("[stage.trace]").unwrap();
    let another = r#"
[stage.lines]
kind = "plot"
x = { label = "epoch" }
y = { label = "loss", unit = "nats", scale = "log" }
layers = [
  { from = "connect", table = "lines", x = "epoch", y = "loss", label = "along the path" },
  { from = "train", x = "epoch", y = "training_loss", label = "training" },
]
"#;
    let names = TINY[..trace].replace("tiny", "another").replace("[stage.train]", "[stage.network]");
    let names = names.replace("from = \"train\"", "from = \"network\"");
    lab.write(&format!("{names}{}", another.replace("from = \"train\"", "from = \"network\"")));
    let ran = lab.run(&[]);
    assert_eq!(ran.ran(), counts(&[("plot", 1)]));
    assert_eq!(ran.in_state("ran"), ["lines"]);
}

#[test]
fn a_title_or_a_label_changed_runs_the_plot_alone() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    for edit in [
        TINY.replace("kind = \"plot\"", "kind = \"plot\"\ntitle = \"A title\""),
        TINY.replace("label = \"Tr H\"", "label = \"trace of H\""),
        TINY.replace("label = \"epoch\"", "label = \"passes\""),
    ] {
        lab.write(&edit);
        let ran = lab.run(&[]);
        assert_eq!(ran.ran(), counts(&[("plot", 1)]));
        assert_eq!(ran.in_state("ran"), ["figure"]);
    }
    let comments = TINY.replace("epochs = 6", "\n# six of them\nepochs    =  6 # or so\n");
    lab.write(&comments);
    assert_eq!(lab.run(&[]).ran(), counts(&[]));
}

#[test]
fn progress_never_exceeds_its_total() {
    let lab = Lab::new(TINY);
    let ran = lab.try_run(&["stage.project.until=trajectory-minimum"]);
    let progress = ran.events.iter().filter(|event| event["event"] == "stage-progress");
    let mut ends = std::collections::BTreeMap::new();
    for event in progress {
        let (done, total) = (event["done"].as_u64().unwrap(), event["total"].as_u64().unwrap());
        assert!(done <= total, "{event}");
        ends.insert(event["stage"].as_str().unwrap(), (done, total, event["unit"].as_str().unwrap()));
    }
    assert_eq!((ends["train"], ends["project"]), ((6, 6, "epochs"), (7, 7, "states")));
    assert!(ends.values().all(|(done, total, _)| done == total), "{ends:?}");
}

#[test]
fn a_reason_tells_the_old_value_where_it_was_the_default_and_names_an_upstream_once() {
    let lab = Lab::new(&TINY.replace("y = \"trace\", error = \"sd\"", "y = \"trace\"").replace(
        "label = \"Tr H\" }]",
        "label = \"Tr H\" }, { from = \"trace\", table = \"probes\", x = \"epoch\", y = \"quadratic_form\", style = \"points\" }]",
    ));
    lab.run(&[]);
    let plan = lab.says(&["plan", "study.toml", "--set", "stage.train.lr=0.05"]);
    assert!(plan.contains("stage.train.lr: 0.1 → 0.05"), "{plan}");
    assert_eq!(plan.matches("waits for trace\n").count(), 1, "{plan}");
    assert_eq!(lab.says(&["graph", "study.toml"]).matches("← trace\n").count(), 1);
    let plan =
        lab.says(&["plan", "study.toml", "--set", "stage.figure.width=single", "--set", "stage.claim.at_least=0.5"]);
    assert!(plan.contains("stage.figure.width: \"double\" → \"single\""), "{plan}");
    assert!(plan.contains("at_least: 0.99 → 0.5"), "{plan}");
    let ran = lab.run(&["stage.trace.probes=5"]);
    assert_eq!(ran.report["stages"]["figure"]["reason"], "trace gave other bytes", "{}", ran.words);
}
