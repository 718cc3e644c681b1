//! What must not change unawares: that a value which equals its default is left out of keys, and a key of each kind of action whose
//! ingredients hold no bytes that depend on the machine. The defaults themselves stand in `docs/kinds.md`, which is held to the program.

use thalweg::ml::models::{Activation, Architecture, exchange};
use thalweg::ml::params::Theta;
use thalweg::ml::tensor::{DType, Device};

use super::lab::{Lab, TINY, counts};

/// Fields at their defaults, by the line of [`TINY`] after which they are written.
const DEFAULTS: [(&str, &str); 7] = [
    ("subset = 200", "grey = false\nnormalise = \"standard\"\nseed = 0\ntrain = 2000\nvalidation = 500"),
    (
        "momentum = 0.9",
        "dampening = 0\nweight_decay = 0.0\nnesterov = false\nnoise = \"sgd\"\nsampling = \"reshuffled\"\nseed = 0\nchunk = 500\ndtype = \"f32\"\ndevice = \"cpu\"\nloss = \"cross-entropy\"\nsmoothing = 0.1\nevaluate = true\nschedule = { kind = \"constant\", warmup = 0 }",
    ),
    ("until_loss = 0.3", "first = 0\nevery = 1\nuntil = \"loss\"\nmax_steps = 20000\non_cap = \"list\""),
    ("threshold = 0.35", "depth = 64"),
    (
        "probes = 4",
        "every = 1\nseed = 0\nof = \"hessian\"\nmethod = \"hutchinson\"\ndistribution = \"rademacher\"\nper_layer = false",
    ),
    ("kind = \"plot\"", "width = \"double\"\npanels = {}\nmarks = []"),
    ("statistic = \"fraction-connected\"", "after_epoch = 0\nat_least = 0.99"),
];

#[test]
fn a_default_that_is_written_out_changes_no_key() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    let mut manifest = TINY.replace("hidden = [8]", "hidden = [8], activation = \"relu\"");
    for (line, fields) in DEFAULTS {
        assert_eq!(manifest.matches(&format!("{line}\n")).count(), 1, "{line}");
        manifest = manifest.replace(&format!("{line}\n"), &format!("{line}\n{fields}\n"));
    }
    lab.write(&manifest);
    let ran = lab.run(&[]);
    assert_eq!(ran.in_state("fresh").len(), 7, "{}", ran.words);
    // The training's own rate said once more is another stage, but no other descent.
    let ran = lab.run(&["stage.project.lr=0.1", "stage.project.momentum=0.9"]);
    assert_eq!((ran.in_state("ran"), ran.ran()), (vec!["project"], counts(&[])));
}

#[test]
fn keys_that_no_arithmetic_enters_are_what_they_were() {
    let lab = Lab::new(TINY);
    let ran = lab.run(&[]);
    let key = |kind: &str| ran.keys(kind).into_iter().collect::<Vec<_>>().join(" ");
    // `decode` has no inputs, and `init` has the decoded digits, which additions, multiplications, divisions and square roots in one
    // order make: the same on every machine. All others are keyed by states, whose bytes a machine's instruction set has a part in.
    insta::assert_snapshot!(key("decode"), @"afe2426414b26b24b26fef6b0f7372ae9f9263502da65fd593e70911a64902a2");
    insta::assert_snapshot!(key("init"), @"d29a678df00ad9d4aeed36938bd0e62feb9da111578503820d0eccea67048fef");
}

/// Weights from a file, of the network of [`TINY`].
const IMPORT: &str = r#"
study = "import"

[stage.data]
kind = "dataset"
subset = 200

[stage.weights]
kind = "import"
data = "data"
file = "weights.safetensors"
model = { architecture = "mlp", hidden = [8] }
"#;

#[test]
fn the_key_of_an_import_is_what_it_was_and_has_no_default_in_it() {
    let lab = Lab::new(IMPORT);
    let model = Architecture::Mlp { hidden: vec![8], activation: Activation::Relu }.build([1, 8, 8], 10).unwrap();
    let zeros = vec![0.0; model.layout().len()];
    let theta = Theta::from_values(model.layout().clone(), zeros, DType::F32, &Device::Cpu).unwrap();
    let file = exchange::export(model.declared(), &theta, &[], 0).unwrap();
    std::fs::write(lab.path("weights.safetensors"), file).unwrap();
    let ran = lab.run(&[]);
    let key = ran.keys("import").into_iter().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(key, @"12dd98158fd06f841b50a7bcc5519405d959794fa5b212a9d4f5641ae0d73bb1");
    let defaults = "file = \"weights.safetensors\"\nprefix = \"\"\nevaluate = true\nchunk = 500\ndtype = \"f32\"\nloss = \"cross-entropy\"\nsmoothing = 0.1";
    lab.write(&IMPORT.replace("file = \"weights.safetensors\"", defaults));
    assert_eq!(lab.run(&[]).in_state("fresh"), ["data", "weights"]);
    lab.write(IMPORT);
    // Neither loss nor partition has a part in what the file becomes.
    let ran = lab.run(&["stage.weights.loss=squared-error", "stage.weights.chunk=100"]);
    assert_eq!((ran.hit("import"), ran.ran()), (1, counts(&[("evaluate", 1)])));
}

#[test]
fn a_build_keys_alike_wherever_the_study_lies() {
    let (a, b) = (Lab::new(TINY), Lab::new(TINY));
    let (a, b) = (a.run(&["--jobs 1"]), b.run(&["--jobs 2"]));
    assert_eq!(a.all_keys(), b.all_keys());
    assert_eq!(a.report["stages"], b.report["stages"]);
}
