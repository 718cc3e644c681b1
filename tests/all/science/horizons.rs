//! A horizon extended in two runs gives the same bytes as one run, for every horizon and for what goes on like one; and the same bytes come
//! of any number of threads and of actions side by side.

use super::lab::{Lab, TINY, differing};

/// Runs one folder through all edits and another only through the last; what they end with must be the same.
fn in_steps_as_at_once(edits: &[&[&str]]) {
    let (steps, once) = (Lab::new(TINY), Lab::new(TINY));
    for edit in edits {
        steps.try_run(edit);
    }
    let last = edits[edits.len() - 1];
    assert_eq!(steps.try_run(last).ran().len(), 0, "{last:?}: the last run is repeated");
    once.try_run(last);
    assert_eq!(differing(&steps.results(), &once.results()), Vec::<String>::new(), "{edits:?}");
}

#[test]
fn epochs_in_steps_are_epochs_at_once() {
    in_steps_as_at_once(&[&["stage.train.epochs=1"], &["stage.train.epochs=3"], &[]]);
}

#[test]
fn probes_in_steps_are_probes_at_once() {
    in_steps_as_at_once(&[&["stage.trace.probes=2"], &["stage.trace.probes=3"], &["stage.trace.probes=7"]]);
}

#[test]
fn samples_in_steps_are_samples_at_once() {
    in_steps_as_at_once(&[&["stage.connect.samples=1"], &["stage.connect.samples=9"], &["stage.connect.samples=3"]]);
}

#[test]
fn thresholds_in_any_order_are_the_last_one_alone() {
    let at = |threshold| format!("stage.connect.threshold={threshold}");
    // The minima lie between 0.29 and 0.3: at 0.2 all is broken, at 0.294 some, at 0.35 nothing.
    let (low, middle, high) = (at(0.2), at(0.294), at(0.35));
    let shallow = "stage.connect.depth=1";
    for order in [[&low, &high, &middle], [&high, &low, &middle], [&low, &middle, &high], [&high, &middle, &low]] {
        let edits: Vec<[&str; 2]> = order.iter().map(|threshold| [threshold.as_str(), shallow]).collect();
        in_steps_as_at_once(&edits.iter().map(|edit| &edit[..]).collect::<Vec<_>>());
    }
}

#[test]
fn a_greater_depth_in_steps_is_the_depth_at_once() {
    let low = "stage.connect.threshold=0.2";
    in_steps_as_at_once(&[&[low, "stage.connect.depth=0"], &[low, "stage.connect.depth=1"], &[low]]);
}

#[test]
fn targets_in_steps_are_the_target_at_once_whatever_the_cap() {
    let until = |target| format!("stage.project.until_loss={target}");
    let (high, low) = (until(0.3), until(0.01));
    let cap = |steps| format!("stage.project.max_steps={steps}");
    let (short, long) = (cap(250), cap(500));
    let wide = "stage.connect.threshold=1";
    // The low target is out of reach of the caps: the descent must stop at the cap's multiple of 250 wherever it went on from.
    in_steps_as_at_once(&[&[&high, &short, wide], &[&low, &short, wide]]);
    in_steps_as_at_once(&[&[&high, &long, wide], &[&low, &short, wide], &[&low, &long, wide]]);
    in_steps_as_at_once(&[&[&low, &long, wide], &[&until(0.001), &short, wide]]);
    in_steps_as_at_once(&[&[&high, wide], &[&until(0.2), wide], &[&until(0.1), wide]]);
}

#[test]
fn a_cap_within_a_block_is_the_same_cap_whatever_was_run_before() {
    let wide = "stage.connect.threshold=1";
    for cap in ["1", "251", "300"] {
        let cap = format!("stage.project.max_steps={cap}");
        for (high, low) in [("0.3", "0.05"), ("0.2", "0.01")] {
            let [high, low] = [high, low].map(|target| format!("stage.project.until_loss={target}"));
            in_steps_as_at_once(&[&[&high, &cap, wide], &[&low, &cap, wide]]);
        }
    }
}

#[test]
fn a_minimum_that_is_reached_with_the_last_step_of_the_cap_is_reached() {
    let lab = Lab::new(TINY);
    let (cap, wide) = ("stage.project.max_steps=250", "stage.connect.threshold=1");
    lab.run(&["stage.project.until_loss=0.000001", cap, wide]);
    assert!(lab.table("project.csv").texts("reached").iter().all(|&reached| reached == "no"));
    let ends = lab.table("project.csv").numbers("loss");
    lab.run(&[&format!("stage.project.until_loss={}", ends[0] + 1e-9), cap, wide]);
    let table = lab.table("project.csv");
    assert_eq!((table.numbers("loss")[0].to_bits(), table.texts("reached")[0]), (ends[0].to_bits(), "yes"));
}

#[test]
fn a_descent_that_hit_its_cap_is_where_a_lower_target_goes_on() {
    let lab = Lab::new(TINY);
    let (cap, wide) = ("stage.project.max_steps=250", "stage.connect.threshold=1");
    lab.run(&["stage.project.until_loss=0.002", cap, wide]);
    let ran = lab.run(&["stage.project.until_loss=0.001", "stage.project.max_steps=500", wide]);
    // Seven blocks, each from step 250 on; from the start it would be fourteen.
    assert_eq!(ran.ran()["descent"], 7);
}

#[test]
fn a_descent_that_went_on_is_found_whole_whatever_was_run_in_between() {
    let lab = Lab::new(TINY);
    let wide = "stage.connect.threshold=1";
    for target in ["0.3", "0.2", "0.25"] {
        lab.run(&[&format!("stage.project.until_loss={target}"), wide]);
    }
    // The targets again, with a state more: only that one is projected.
    for (target, descents) in [("0.2", 1), ("0.25", 1), ("0.3", 1)] {
        let sets = [&format!("stage.project.until_loss={target}"), wide, "stage.train.epochs=7"];
        lab.run(&[sets[0], sets[1], sets[2], "train"]);
        assert_eq!(lab.forecast("project", &sets)["descent"].counts(), (1, 7, true), "{target}");
        let ran = lab.run(&sets);
        assert_eq!((ran.ran()["descent"], ran.hit("descent")), (descents, 7), "{target}");
    }
}

#[test]
fn threads_and_jobs_change_no_byte() {
    let network = "{ architecture = \"convnet\", channels = [4, 4, 8, 8], activation = \"tanh\" }";
    let manifest =
        TINY.replace("{ architecture = \"mlp\", hidden = [8] }", network).replace("epochs = 6", "epochs = 2");
    let manifest = manifest.replace("until_loss = 0.3", "until_loss = 1.7\nmax_steps = 250").replace("0.35", "2");
    // Batch norm, and shortcuts with convolutions of their own.
    let resnet = manifest
        .replace(network, "{ architecture = \"preact-resnet18\", width = 2 }")
        .replace("epochs = 2", "epochs = 1");
    let resnet = resnet.replace("until_loss = 1.7", "until_loss = 5").replace("threshold = 2", "threshold = 6");
    for manifest in [&manifest, &resnet, TINY] {
        let mut all = Vec::new();
        for (threads, jobs) in [("1", "--jobs 1"), ("2", "--jobs 1"), ("1", "--jobs 4"), ("2", "--jobs 4")] {
            let lab = Lab::new(manifest).environment("RAYON_NUM_THREADS", threads);
            lab.run(&[jobs]);
            all.push(lab.results());
        }
        for results in &all[1..] {
            assert_eq!(differing(&all[0], results), Vec::<String>::new());
        }
    }
}
