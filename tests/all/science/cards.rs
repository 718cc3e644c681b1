//! Studies on cards. They are simulated, and run the program's own kernels: what runs where, what is the same at every run, what happens
//! when one is lost or too small.

use super::lab::{Lab, Ran, differing};

/// A study of every kind that computes, as small as can be.
const EVERY: &str = include_str!("../../oracle/every.toml");

/// A training and what is measured of it, on a card, and a figure that needs none.
const SHORT: &str = r#"
study = "short"

[stage.data]
kind = "dataset"
source = "digits"
subset = 60

[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [4] }
lr = 0.1
batch = 20
epochs = 2
chunk = 30

[stage.trace]
kind = "trace-estimate"
from = "train"
probes = 2

[stage.walks]
kind = "toy"
loss = "abs(t1)*t2^2"
start = [1, 0]
steep = [2]
lr = [0.01]
runs = 2
iterations = 100
equilibrate = 10
every = 50
"#;

/// A lab whose stages run on cards where there are any.
fn lab(manifest: &str) -> Lab {
    Lab::new(manifest).environment("THALWEG_DEVICE", "auto")
}

fn on(lab: &Lab, cards: &str, more: &[&str]) -> Ran {
    lab.try_run(&[&[&*format!("--cards simulated:{cards}")], more].concat())
}

#[test]
fn every_kind_gives_the_same_bytes_on_one_card_and_on_two_in_whatever_order_threads_run() {
    let (one, two) = (lab(EVERY), lab(EVERY));
    for (lab, cards, jobs) in [(&one, "1:64", "1"), (&two, "2:64:seed=7", "4")] {
        let ran = on(lab, cards, &["--jobs", jobs]);
        assert_eq!(ran.code, 0, "{}", ran.words);
    }
    assert_eq!(differing(&one.results(), &two.results()), Vec::<String>::new());
    for (stage, list) in [("train", "states"), ("states", "states"), ("project", "minima"), ("isotropic", "states")] {
        assert_eq!(one.output(stage, list), two.output(stage, list), "{stage}");
    }
    // What is there needs no card.
    for device in ["auto", "cuda"] {
        let again = on(&one, "0:0", &["--device", device]);
        assert_eq!((again.code, again.ran().len()), (0, 0), "{device}: {}", again.words);
    }
    // On the CPU it is another function's bytes: everything that computes runs.
    let here = on(&one, "0:0", &["--device", "cpu"]);
    assert_eq!(here.code, 0, "{}", here.words);
    assert!(
        here.ran()["epoch"] == 3 && here.ran()["probe"] == 2 && !here.ran().contains_key("decode"),
        "{:?}",
        here.ran()
    );
}

#[test]
fn how_a_card_computes_is_part_of_what_is_computed_and_wants_a_card() {
    let lab = lab(SHORT);
    let whole = on(&lab, "1:64", &[]);
    assert_eq!(whole.code, 0, "{}", whole.words);
    let coarse = on(&lab, "1:64", &["stage.train.numeric=\"bf16\""]);
    assert_eq!(coarse.code, 0, "{}", coarse.words);
    // Other states, measured as before: curvature is computed in f32 unless it says otherwise.
    assert_eq!((coarse.ran()["epoch"], coarse.ran()["probe"]), (2, whole.ran()["probe"] - 2));
    let none = on(&lab, "0:0", &["stage.train.numeric=\"tf32\""]);
    assert_eq!(none.code, 4, "{}", none.words);
    assert!(none.words.contains("there is no device `cuda`: no card is simulated"), "{}", none.words);
    let here = on(&lab, "0:0", &["stage.train.numeric=\"tf32\"", "stage.train.device=\"cpu\""]);
    assert_eq!(here.code, 2);
    assert!(here.words.contains("`tf32` is computed on a card, and `device` is `cpu`"), "{}", here.words);
}

#[test]
fn a_card_that_is_not_there_is_said_in_one_sentence_and_what_needs_none_is_done() {
    let lab = lab(SHORT);
    for device in ["cuda", "cuda:0"] {
        let none = on(&lab, "0:0", &["--device", device]);
        assert_eq!(none.code, 4, "{}", none.words);
        let said = format!("there is no device `{device}`: no card is simulated");
        assert!(none.words.contains(&said), "{}", none.words);
    }
    let second = on(&lab, "1:64", &["--device", "cuda:1"]);
    assert_eq!(second.code, 4, "{}", second.words);
    assert!(second.words.contains("there is no device `cuda:1`"), "{}", second.words);
    assert_eq!(on(&lab, "2:64", &["--device", "cuda:1"]).code, 0);
}

#[test]
fn the_work_of_a_card_that_is_lost_goes_on_on_another_and_gives_the_same_bytes() {
    let (whole, broken) = (lab(SHORT), lab(SHORT));
    assert_eq!(on(&whole, "2:64", &[]).code, 0);
    let ran = on(&broken, "2:64:lost-after=200", &[]);
    assert_eq!(ran.code, 0, "{}", ran.words);
    assert!(
        ran.words.contains("cuda:0 was lost: it was told to be lost; its actions go on elsewhere"),
        "{}",
        ran.words
    );
    assert_eq!(differing(&whole.results(), &broken.results()), Vec::<String>::new());
}

#[test]
fn a_card_that_is_lost_fails_its_stages_and_not_the_study() {
    let lab = lab(SHORT);
    let ran = on(&lab, "1:64:lost-after=200", &["--jobs", "1"]);
    assert_eq!(ran.code, 4, "{}", ran.words);
    assert!(ran.words.contains("cuda:0 was lost"), "{}", ran.words);
    // One at a time and from the first launch on: what needs no card is done all the same.
    let other = super::lab::Lab::new(SHORT).environment("THALWEG_DEVICE", "auto");
    let late = SHORT.replace("[stage.walks]", "[stage.zwalks]");
    other.write(&late);
    let at_once = on(&other, "1:64:lost-after=1", &["--jobs", "1"]);
    assert_eq!(at_once.code, 4, "{}", at_once.words);
    assert!(at_once.ran().contains_key("walks") && !at_once.words.contains("not begun"), "{}", at_once.words);
    // What ran before is kept, and what needs no card is done.
    assert!(ran.ran().contains_key("walks") && ran.ran().contains_key("init"), "{:?}", ran.ran());
    let again = on(&lab, "1:64", &[]);
    assert_eq!(again.code, 0, "{}", again.words);
    assert!(!again.ran().contains_key("walks") && !again.ran().contains_key("init"), "{:?}", again.ran());
}

#[test]
fn lost_bytes_are_made_again_on_whichever_card_is_left() {
    let lab = lab(SHORT);
    assert_eq!(on(&lab, "2:64", &[]).code, 0);
    let before = lab.results();
    for folder in ["cache/blobs", "results"] {
        std::fs::remove_dir_all(lab.path(folder)).unwrap();
    }
    let ran = on(&lab, "2:64:lost-after=3", &["stage.trace.probes=3"]);
    assert_eq!(ran.code, 0, "{}", ran.words);
    assert!(ran.words.contains("its actions go on elsewhere"), "{}", ran.words);
    let ran = on(&lab, "2:64", &[]);
    assert_eq!(ran.code, 0, "{}", ran.words);
    assert_eq!(differing(&before, &lab.results()), Vec::<String>::new());
    // Without a card it says why, and how else.
    std::fs::remove_dir_all(lab.path("cache/blobs")).unwrap();
    let none = on(&lab, "0:0", &["stage.trace.probes=4", "stage.trace.device=\"cpu\""]);
    assert_ne!(none.code, 0);
    assert!(
        none.words.contains("is not to be had here: no card is simulated; `--device cpu` computes all of it anew"),
        "{}",
        none.words
    );
}

#[test]
fn a_way_to_compute_that_only_a_card_has_is_not_left_out_on_the_cpu() {
    let ran = on(&lab(SHORT), "1:64", &["stage.train.numeric=\"bf16\"", "--device cpu"]);
    assert_eq!(ran.code, 1, "{}", ran.words);
    let said = "`numeric = \"bf16\"` is computed on a card alone, and this runs on the CPU";
    assert!(ran.words.contains(said), "{}", ran.words);
}

#[test]
fn a_card_that_is_too_small_says_what_would_fit() {
    let wide = r#"{ architecture = "convnet", channels = [8, 8, 8, 8] }"#;
    let large = SHORT.replace(r#"{ architecture = "mlp", hidden = [4] }"#, wide);
    let lab = lab(&large.replace("subset = 60", "subset = 400").replace("chunk = 30", "chunk = 400"));
    let ran = on(&lab, "1:1", &[]);
    assert_eq!(ran.code, 1, "{}", ran.words);
    assert!(ran.words.contains("is out of memory"), "{}", ran.words);
    assert!(ran.words.contains("another function of θ, it would fit"), "{}", ran.words);
}
