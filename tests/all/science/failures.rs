//! What goes wrong in the science, and what does not go wrong beside it.

use std::fs;

use super::lab::{Lab, TINY, counts};

/// A line of the digits' form.
fn digit(pixel: usize, label: usize) -> String {
    let pixels = (0..64).map(|at| (at * (pixel + 3) % 17).to_string()).collect::<Vec<_>>();
    format!("{},{label}\n", pixels.join(","))
}

fn digits() -> String {
    (0..50).map(|n| digit(n, n % 10)).collect()
}

/// `TINY`, and beside it data and a training of their own.
fn beside(data: &str, train: &str) -> String {
    let other = "model = { architecture = \"mlp\", hidden = [4] }\nbatch = 10\n";
    format!(
        "{TINY}\n[stage.other]\nkind = \"dataset\"\n{data}\n\n[stage.network]\nkind = \"train\"\ndata = \"other\"\n{other}{train}\n\n[stage.minima]\nkind = \"gd-project\"\nfrom = \"network\"\nuntil_loss = 1\n"
    )
}

#[test]
fn malformed_data_names_its_line_and_the_rest_is_done() {
    let lab = Lab::new(&beside("path = \"data/mine.csv\"", "epochs = 1"));
    fs::create_dir(lab.path("data")).unwrap();
    let lines = digits();
    let bad = lines.replacen(",7\n", ",seven\n", 1);
    for (text, message) in [
        (bad.clone(), "data/mine.csv:8: expected a whole number from 0 to 9 in column 65, got `seven`"),
        (format!("{lines}1,2,3\n"), "data/mine.csv:51: expected 65 fields, got 3"),
    ] {
        fs::write(lab.path("data/mine.csv"), text).unwrap();
        let ran = lab.try_run(&[]);
        assert_eq!(ran.code, 1);
        assert_eq!((ran.in_state("failed"), ran.in_state("skipped")), (vec!["other"], vec!["minima", "network"]));
        assert_eq!(ran.state("claim"), if message.contains(":8:") { "ran" } else { "fresh" });
        assert!(ran.words.contains(message), "{}", ran.words);
    }
    // Mended, it runs; what went wrong was not kept.
    fs::write(lab.path("data/mine.csv"), lines).unwrap();
    let mended = lab.run(&[]);
    assert_eq!(mended.in_state("ran"), ["minima", "network", "other"]);
}

#[test]
fn a_loss_that_is_not_finite_names_stage_epoch_and_iteration() {
    let lab = Lab::new(&beside("subset = 100", "loss = \"squared-error\"\nlr = 1e12\nepochs = 3"));
    let ran = lab.try_run(&[]);
    assert_eq!((ran.code, ran.in_state("failed"), ran.in_state("skipped")), (1, vec!["network"], vec!["minima"]));
    assert_eq!(ran.state("claim"), "ran");
    let reason = ran.report["stages"]["network"]["reason"].as_str().unwrap();
    assert!(reason.contains("epoch 0") && reason.contains("is not finite"), "{reason}");
    assert!(ran.words.contains("network"), "{}", ran.words);
    // Failures are not recorded: it fails again, and what was done is found.
    let again = lab.try_run(&[]);
    assert_eq!((again.code, again.ran()), (1, counts(&[])));
    let mended = lab.run(&["stage.network.lr=0.1"]);
    assert_eq!(mended.in_state("ran"), ["minima", "network"]);
}

#[test]
fn a_descent_that_is_not_finite_names_the_state_it_began_at() {
    let lab = Lab::new(&beside("subset = 100", "loss = \"squared-error\"\nlr = 0.01\nepochs = 1"));
    let ran = lab.try_run(&["stage.minima.lr=1e12", "stage.minima.until_loss=1e-9"]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["minima"]));
    let reason = ran.report["stages"]["minima"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("the state at iteration ") && reason.contains("is not finite"), "{reason}");
}

#[test]
fn a_cap_reached_fails_the_stage_only_where_it_is_to() {
    let manifest = TINY.replace("until_loss = 0.3", "until_loss = 0.0001\nmax_steps = 250");
    let lab = Lab::new(&manifest.replace("threshold = 0.35", "threshold = 1"));
    let listed = lab.run(&[]);
    assert!(listed.words.contains("7 of 7 descents hit the cap"), "{}", listed.words);
    assert!(listed.words.contains("iteration 24 (epoch 6.00): loss 0."), "{}", listed.words);
    let fail = lab.try_run(&["stage.project.on_cap=fail"]);
    assert_eq!((fail.code, fail.in_state("failed")), (1, vec!["project"]));
    assert_eq!(fail.in_state("skipped"), ["claim", "connect", "figure", "trace"]);
    assert_eq!(fail.ran(), counts(&[]), "the descents are results, found again");
    let reason = fail.report["stages"]["project"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("7 of 7 descents hit the cap"), "{reason}");
}

#[test]
fn a_data_folder_that_is_not_there_is_a_mistake_of_the_manifest() {
    let lab = Lab::new(&beside("source = \"mnist\"\npath = \"data/mnist\"", "epochs = 1"));
    let ran = lab.try_run(&[]);
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("stage `other` names a file that is not there"), "{}", ran.words);
    assert!(ran.words.contains("data/mnist/train-images"), "{}", ran.words);
    assert!(ran.events.is_empty(), "nothing was begun");
    lab.write(&beside("source = \"cifar10\"", "epochs = 1"));
    let ran = lab.try_run(&[]);
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("`cifar10` is read from local files: give its folder as `path`"), "{}", ran.words);
}

#[test]
fn what_stays_open_fails_the_stage_where_that_is_asked() {
    let lab = Lab::new(TINY);
    let sets = ["stage.connect.threshold=0.2", "stage.connect.depth=0"];
    // Listed, unless asked otherwise.
    let ran = lab.try_run(&sets);
    assert_eq!((ran.code, ran.state("connect")), (3, "ran"));
    let ran = lab.try_run(&[sets[0], sets[1], "stage.connect.on_cap=fail"]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["connect"]));
    assert!(ran.words.contains("6 of 6 segments are not connected"), "{}", ran.words);
    // So do descents to midpoints that hit their cap.
    let capped = ["stage.project.until_loss=0.000001", "stage.project.max_steps=250", "stage.connect.threshold=0.01"];
    let ran = lab.try_run(&[capped[0], capped[1], capped[2], "stage.connect.on_cap=fail", "stage.connect.depth=1"]);
    assert_eq!((ran.code, ran.in_state("failed")), (1, vec!["connect"]));
    assert!(ran.words.contains("descents hit the cap"), "{}", ran.words);
}
