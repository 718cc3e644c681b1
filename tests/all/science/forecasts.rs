//! What a plan foretells of a stage, against what `run.json` says when that stage has run: equal, or no more where it says "at least".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::lab::{Foretold, Lab, TINY};

/// Runs the study stage by stage, each after a plan, and compares the two; answers what was foretold of the stages that ran.
fn as_foretold(lab: &Lab, sets: &[&str]) -> BTreeMap<String, BTreeMap<String, Foretold>> {
    let mut all = BTreeMap::new();
    for n in 0..lab.plan(sets).len() {
        let planned = lab.plan(sets).swap_remove(n);
        let name = planned["stage"].as_str().unwrap().to_owned();
        if planned["state"] == "fresh" {
            continue;
        }
        assert_eq!(planned["state"], "stale", "{name}: all above it is fresh");
        let forecast = Foretold::all(&planned);
        assert!(!forecast.is_empty(), "{name}: the bytes above it are there");
        let ran = lab.try_run(&[sets, &[&name]].concat());
        assert!([0, 3].contains(&ran.code), "{name}: {}", ran.words);
        let actions = ran.actions();
        for kind in forecast.keys().chain(actions.keys()).collect::<BTreeSet<_>>() {
            let foretold = forecast.get(kind).copied().unwrap_or_default();
            let (ran, hit) = actions.get(kind).copied().unwrap_or_default();
            let said = format!("{sets:?}: {kind} of {name}: {foretold:?}, {ran} ran, {hit} were found");
            if foretold.at_least {
                assert!(ran >= foretold.to_run && hit >= foretold.reused, "{said}");
            } else {
                assert_eq!((ran, hit), (foretold.to_run, foretold.reused), "{said}");
            }
            assert_eq!(foretold.reused > 0, foretold.seconds_reused > 0.0, "{said}");
            assert_eq!(foretold.reused > 0 && foretold.to_run > 0, foretold.seconds_to_spend > 0.0, "{said}");
        }
        all.insert(name, forecast);
    }
    all
}

/// The counts that say something: kind, to run, reused, at least.
fn counts(forecast: &BTreeMap<String, Foretold>) -> Vec<(&str, u64, u64, bool)> {
    let counts = forecast.iter().map(|(kind, foretold)| {
        let (to_run, reused, at_least) = foretold.counts();
        (kind.as_str(), to_run, reused, at_least)
    });
    counts.filter(|&(_, to_run, reused, at_least)| to_run + reused > 0 || at_least).collect()
}

#[test]
fn a_cold_cache_is_foretold_and_tells_no_seconds() {
    let lab = Lab::new(TINY);
    let all = as_foretold(&lab, &[]);
    assert_eq!(all.len(), 7);
    assert_eq!(counts(&all["data"]), [("decode", 1, 0, false)]);
    assert_eq!(counts(&all["train"]), [("epoch", 6, 0, false), ("evaluate", 7, 0, false), ("init", 1, 0, false)]);
    assert_eq!(counts(&all["project"]), [("descent", 7, 0, true), ("evaluate", 0, 0, true)]);
    let open = [("descent", 0, 0, true), ("evaluate", 0, 0, true), ("line", 6, 0, true), ("replay", 0, 0, true)];
    assert_eq!(counts(&all["connect"]), open);
    assert_eq!(counts(&all["trace"]), [("probe", 28, 0, false)]);
    assert_eq!(counts(&all["figure"]), [("plot", 1, 0, false)]);
    assert_eq!(counts(&all["claim"]), [("claim", 1, 0, false)]);
}

#[test]
fn what_is_found_and_what_runs_after_an_edit_is_foretold() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let epochs = as_foretold(&lab, &["stage.train.epochs=8"]);
    assert_eq!(counts(&epochs["train"]), [("epoch", 2, 6, false), ("evaluate", 2, 7, false), ("init", 0, 1, false)]);
    assert_eq!(epochs["connect"]["line"].counts(), (2, 6, true));
    assert_eq!(counts(&epochs["trace"]), [("probe", 8, 28, false)]);
    let fewer = as_foretold(&lab, &["stage.train.epochs=4"]);
    assert_eq!(counts(&fewer["connect"]), [("line", 0, 4, false)], "every verdict is known");
    assert_eq!(counts(&as_foretold(&lab, &["stage.trace.probes=8"])["trace"]), [("probe", 28, 28, false)]);
    assert_eq!(counts(&as_foretold(&lab, &["stage.figure.title=A title"])["figure"]), [("plot", 1, 0, false)]);
    let seed = as_foretold(&lab, &["stage.train.seed=1"]);
    assert_eq!(counts(&seed["train"]), [("epoch", 6, 0, false), ("evaluate", 7, 0, false), ("init", 1, 0, false)]);
    let rate = as_foretold(&lab, &["stage.train.lr=0.2"]);
    assert_eq!(counts(&rate["train"]), [("epoch", 6, 0, false), ("evaluate", 6, 1, false), ("init", 0, 1, false)]);
    assert!(as_foretold(&lab, &[]).is_empty(), "undone, nothing is stale");
}

#[test]
fn the_lines_of_other_samples_and_thresholds_are_foretold() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    assert_eq!(as_foretold(&lab, &["stage.connect.samples=7"])["connect"]["line"].counts(), (6, 0, true));
    // All is broken at 0.2: the middles are replayed and projected, and their lines are known to be asked for.
    let halved = as_foretold(&lab, &["stage.connect.threshold=0.2", "stage.connect.depth=1"]);
    let counted = [("descent", 6, 0, true), ("evaluate", 0, 0, true), ("line", 12, 6, false), ("replay", 6, 0, false)];
    assert_eq!(counts(&halved["connect"]), counted);
    let deeper = as_foretold(&lab, &["stage.connect.threshold=0.2", "stage.connect.depth=2"]);
    assert_eq!(deeper["connect"]["line"].counts().1, 18);
    assert_eq!(deeper["connect"]["replay"].counts().1, 6);
    // A verdict at 0.1 is read off the lines that were broken at 0.2.
    let lower = as_foretold(&lab, &["stage.connect.threshold=0.1", "stage.connect.depth=1"]);
    assert_eq!(counts(&lower["connect"]), [("descent", 0, 6, false), ("line", 0, 18, false), ("replay", 0, 6, false)]);
    for threshold in ["0.294", "0.3", "0.25"] {
        as_foretold(&lab, &[&format!("stage.connect.threshold={threshold}")]);
    }
}

#[test]
fn lines_that_are_not_halved_are_foretold_exactly() {
    let lab = Lab::new(TINY);
    lab.try_run(&["stage.connect.threshold=0.2", "stage.connect.depth=0"]);
    let higher = as_foretold(&lab, &["stage.connect.depth=0"]);
    assert_eq!(counts(&higher["connect"]), [("line", 6, 0, false)], "they go on from the lower threshold's");
    lab.run(&[]);
    assert_eq!(counts(&as_foretold(&lab, &["stage.connect.depth=1"])["connect"]), [("line", 0, 6, false)]);
}

#[test]
fn descents_to_other_targets_are_foretold() {
    let lab = Lab::new(TINY);
    let wide = "stage.connect.threshold=1";
    lab.run(&[wide]);
    let lower = as_foretold(&lab, &["stage.project.until_loss=0.2", wide]);
    assert_eq!(lower["project"]["descent"].counts(), (7, 7, true));
    let fewer = as_foretold(&lab, &["stage.project.until_loss=0.2", "stage.project.every=2", wide]);
    let descents = fewer["project"]["descent"];
    assert!(descents.to_run == 0 && descents.reused >= 4 && !descents.at_least, "{descents:?}");
    as_foretold(&lab, &["stage.project.until_loss=0.25", wide]);
    as_foretold(&lab, &["stage.project.until_loss=0.1", "stage.project.max_steps=250", wide]);
}

/// Replays, a target that another stage's loss is, and descents that hit their cap.
const TARGETS: &str = r#"
study = "targets"
stage.data = { kind = "dataset", subset = 200 }

[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
batch = 50
epochs = 6

[stage.states]
kind = "checkpoint"
from = "train"
iterations = [2, 4, 9]

[stage.equal]
kind = "gd-project"
from = "train"
until_loss_of = "states"
max_steps = 250

[stage.lowest]
kind = "gd-project"
from = "states"
until = "trajectory-minimum"
max_steps = 250

[stage.capped]
kind = "gd-project"
from = "train"
until_loss = 0.0001
max_steps = 250
"#;

#[test]
fn replays_targets_and_capped_descents_are_foretold() {
    let lab = Lab::new(TARGETS);
    let cold = as_foretold(&lab, &[]);
    assert_eq!(counts(&cold["states"]), [("replay", 2, 0, false)], "iteration 4 is the end of an epoch");
    assert_eq!(counts(&cold["equal"]), [("descent", 0, 0, true), ("evaluate", 1, 0, true)], "the target is not known");
    assert_eq!(cold["lowest"]["evaluate"].counts(), (0, 7, true));
    let fewer = as_foretold(&lab, &["stage.capped.every=2", "stage.equal.every=3", "stage.lowest.every=2"]);
    assert_eq!(counts(&fewer["capped"]), [("descent", 0, 4, false), ("evaluate", 0, 4, false)]);
    assert!(fewer["equal"].values().chain(fewer["lowest"].values()).all(|foretold| foretold.to_run == 0));
    assert!(fewer["equal"].values().chain(fewer["lowest"].values()).all(|foretold| !foretold.at_least));
    let farther = as_foretold(&lab, &["stage.capped.max_steps=500"]);
    assert_eq!(counts(&farther["capped"]), [("descent", 7, 7, true), ("evaluate", 0, 0, true)]);
    let more = as_foretold(&lab, &["stage.states.iterations=[2, 9, 11, 13]"]);
    assert_eq!(counts(&more["states"]), [("replay", 2, 2, false)]);
}

/// Removes the records of stages and leaves those of actions.
fn forget_stages(lab: &Lab) {
    for folder in fs::read_dir(lab.path("cache/records")).unwrap() {
        for record in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = record.unwrap().path();
            if fs::read_to_string(&path).unwrap().contains("\"level\":\"stage\"") {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn where_the_records_of_all_actions_are_there_nothing_is_foretold_to_run() {
    for manifest in [TINY, TARGETS] {
        let lab = Lab::new(manifest);
        lab.run(&[]);
        forget_stages(&lab);
        let all = as_foretold(&lab, &[]);
        assert_eq!(all.len(), lab.plan(&[]).len());
        for foretold in all.values().flat_map(BTreeMap::values) {
            assert!(foretold.to_run == 0 && !foretold.at_least, "{all:?}");
        }
    }
}

#[test]
fn blobs_that_are_gone_are_no_matter_where_records_tell() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    fs::remove_dir_all(lab.path("cache/blobs")).unwrap();
    let train = lab.forecast("train", &["stage.train.epochs=8"]);
    assert_eq!(counts(&train), [("epoch", 2, 6, false), ("evaluate", 2, 7, false), ("init", 0, 1, false)]);
    assert_eq!(counts(&lab.forecast("figure", &["stage.figure.title=A title"])), [("plot", 1, 0, false)]);
    // The list of the points is gone with its bytes: nothing is said of the probes, nor in words.
    let probes = "stage.trace.probes=8";
    assert_eq!(counts(&lab.forecast("trace", &[probes])), []);
    for words in [&["plan", "study.toml", "--set", probes][..], &["explain", "study.toml", "trace", "--set", probes]] {
        let said = lab.says(words);
        assert!(said.contains("4 → 8") && !said.contains("unknown") && !said.contains("to do"), "{said}");
    }
    as_foretold(&lab, &["stage.train.epochs=8"]);
}

#[test]
fn a_forecast_is_for_the_backend_that_the_stage_would_run_on() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let cuda = lab.forecast("train", &["--device cuda"]);
    assert_eq!(counts(&cuda), [("epoch", 6, 0, false), ("evaluate", 7, 0, false), ("init", 1, 0, false)]);
}

#[test]
fn files_of_the_project_are_foretold_by_what_they_hold() {
    let manifest = r#"
study = "files"
stage.copy = { kind = "command", program = "cp", args = ["in.txt", "out.txt"], inputs = ["in.txt"], outputs = ["out.txt"] }
stage.again = { kind = "command", program = "cp", args = ["out.txt", "end.txt"], from = "copy", outputs = ["end.txt"] }
"#;
    let lab = Lab::new(manifest);
    fs::write(lab.path("in.txt"), "one").unwrap();
    let first = as_foretold(&lab, &[]);
    assert_eq!(
        (counts(&first["copy"]), counts(&first["again"])),
        (vec![("command", 1, 0, false)], vec![("command", 1, 0, false)])
    );
    fs::write(lab.path("in.txt"), "two").unwrap();
    assert_eq!(counts(&as_foretold(&lab, &[])["copy"]), [("command", 1, 0, false)]);
    forget_stages(&lab);
    fs::write(lab.path("in.txt"), "one").unwrap();
    let undone = as_foretold(&lab, &[]);
    assert_eq!(
        (counts(&undone["copy"]), counts(&undone["again"])),
        (vec![("command", 0, 1, false)], vec![("command", 0, 1, false)])
    );
}

#[test]
fn a_plan_says_what_is_saved_and_what_is_spent() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let epochs = "stage.train.epochs=8";
    let forecast = |said: &str| {
        let line = said.lines().find(|line| line.contains("epoch: 2 to run")).unwrap_or_else(|| panic!("{said}"));
        line.trim().trim_start_matches("to do: ").to_owned()
    };
    let planned = forecast(&lab.says(&["plan", "study.toml", "--set", epochs]));
    assert_eq!(planned, forecast(&lab.says(&["explain", "study.toml", "train", "--set", epochs])));
    let parts = planned.split([';', ',']).map(str::trim).collect::<Vec<_>>();
    let said = [
        "epoch: 2 to run (about ",
        "6 reused (saves ",
        "evaluate: 2 to run (about ",
        "7 reused (saves ",
        "init: 1 reused (saves ",
    ];
    assert_eq!(parts.len(), said.len(), "{planned}");
    for (part, begins) in parts.iter().zip(said) {
        assert!(part.starts_with(begins) && part.ends_with("s)"), "{planned}");
    }
}
