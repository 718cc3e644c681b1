//! Blobs that are gone: no miss, until something needs them; then made again, bit for bit, and no more than is needed.

use std::fs;

use super::lab::{Lab, TINY, counts, differing};

/// Every blob gone, by `remove`: a second run does nothing; more probes make again what leads to their points and run themselves.
fn without_blobs(remove: impl Fn(&Lab)) {
    let (lab, whole) = (Lab::new(TINY), Lab::new(TINY));
    lab.run(&[]);
    whole.run(&[]);
    remove(&lab);
    let second = lab.run(&[]);
    assert_eq!((second.ran(), second.remade()), (counts(&[]), counts(&[])));
    assert_eq!(differing(&lab.results(), &whole.results()), Vec::<String>::new());
    let more = lab.run(&["stage.trace.probes=6"]);
    whole.run(&["stage.trace.probes=6"]);
    assert_eq!(more.ran(), counts(&[("probe", 14), ("plot", 1)]));
    // The probes need the points, these the states that were projected, and those the data; the lists of points and of states are their
    // stages' own. Nothing else is made again.
    let needed = [("decode", 1), ("init", 1), ("epoch", 6), ("train", 1), ("descent", 7), ("gd-project", 1)];
    assert_eq!(more.remade(), counts(&needed));
    assert_eq!(differing(&lab.results(), &whole.results()), Vec::<String>::new());
}

#[test]
fn blobs_that_were_removed_are_made_again_where_they_are_needed() {
    without_blobs(|lab| fs::remove_dir_all(lab.path("cache/blobs")).unwrap());
}

#[test]
fn blobs_that_gc_collected_are_made_again_where_they_are_needed() {
    without_blobs(|lab| {
        let kept = lab.says(&["cache", "gc", "--cache", "cache", "--max-size", "0B"]);
        assert!(kept.contains("the limit cannot be met without `--reached`"), "{kept}");
        lab.says(&["cache", "gc", "--cache", "cache", "--max-size", "0B", "--reached"]);
        let blobs = fs::read_dir(lab.path("cache/blobs")).unwrap();
        let left: usize = blobs.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum();
        assert_eq!(left, 0);
    });
}

#[test]
fn results_whose_blobs_are_gone_are_restored() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let results = lab.results();
    fs::remove_dir_all(lab.path("cache/blobs")).unwrap();
    fs::remove_file(lab.path("results/tiny/figure.png")).unwrap();
    fs::write(lab.path("results/tiny/trace.csv"), "edited").unwrap();
    let ran = lab.run(&[]);
    assert_eq!(ran.ran(), counts(&[]));
    assert_eq!((ran.state("figure"), ran.state("trace"), ran.state("train")), ("restored", "restored", "fresh"));
    assert_eq!(differing(&results, &lab.results()), Vec::<String>::new());
}

#[test]
fn a_damaged_state_is_set_aside_and_made_again() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let theta = &lab.output("project", "minima")["points"][3]["theta"];
    let digest = theta["digest"].as_str().unwrap();
    let path = lab.path("cache/blobs").join(&digest[..2]).join(digest);
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::write(&path, damaged).unwrap();
    let ran = lab.run(&["stage.trace.probes=5"]);
    assert_eq!(ran.ran(), counts(&[("probe", 7), ("plot", 1)]));
    assert_eq!(ran.remade(), counts(&[("descent", 1)]));
    assert_eq!(ran.events.iter().filter(|event| event["event"] == "quarantined").count(), 1);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn tables_of_many_stages_are_made_again_for_one_figure() {
    let manifest = r#"
study = "many"
stage.data = { kind = "dataset", subset = 200 }

[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [2] }
batch = 200
epochs = 40
matrix = { seed = [0, 1, 2, 3, 4, 5, 6] }

[stage.figure]
kind = "plot"
x = { label = "epoch" }
y = { label = "loss" }
layers = [{ from = "train", x = "epoch", y = "training_loss" }]
"#;
    let lab = Lab::new(manifest);
    lab.run(&[]);
    assert!(lab.result("train.seed=0.csv").len() > 3000, "a blob, not inline");
    fs::remove_dir_all(lab.path("cache/blobs")).unwrap();
    let ran = lab.run(&["stage.figure.title=many"]);
    assert_eq!(ran.ran(), counts(&[("plot", 1)]));
    assert_eq!(ran.remade()["train"], 7);
}
