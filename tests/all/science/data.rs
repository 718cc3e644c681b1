//! Data sets from files in their published formats, plain and gzipped, and what is said where they are missing.

use std::fs;
use std::io::Write;

use super::lab::{Lab, counts};

fn study(source: &str) -> String {
    format!(
        r#"study = "tiny"

[stage.data]
kind = "dataset"
source = "{source}"
path = "files"

[stage.train]
kind = "train"
data = "data"
model = {{ architecture = "mlp", hidden = [3] }}
batch = 4
epochs = 1
"#
    )
}

/// So many labelled images of 6×5 in the two files of a part of MNIST.
fn idx(samples: u32) -> [Vec<u8>; 2] {
    let header = |rank: u8, sizes: &[u32]| -> Vec<u8> {
        [0, 0, 8, rank].into_iter().chain(sizes.iter().flat_map(|size| size.to_be_bytes())).collect()
    };
    let pixels = (0..samples * 30).map(|at| (at * 7 % 251) as u8);
    let labels = (0..samples).map(|at| (at % 10) as u8);
    [
        header(3, &[samples, 6, 5]).into_iter().chain(pixels).collect(),
        header(1, &[samples]).into_iter().chain(labels).collect(),
    ]
}

const IDX: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn mnist(lab: &Lab, gzipped: bool) {
    fs::create_dir_all(lab.path("files")).unwrap();
    for (name, bytes) in IDX.iter().zip(idx(12).into_iter().chain(idx(5))) {
        if gzipped {
            let file = fs::File::create(lab.path(&format!("files/{name}.gz"))).unwrap();
            let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            packed.write_all(&bytes).unwrap();
            packed.finish().unwrap();
        } else {
            fs::write(lab.path(&format!("files/{name}")), bytes).unwrap();
        }
    }
}

#[test]
fn mnist_is_read_gzipped_and_plain_and_both_are_one_data_set() {
    for source in ["mnist", "fashion-mnist"] {
        let lab = Lab::new(&study(source));
        mnist(&lab, true);
        assert_eq!(
            lab.run(&[]).ran(),
            counts(&[("decode", 1), ("init", 1), ("epoch", 1), ("evaluate", 2)]),
            "{source}"
        );
        assert_eq!(lab.run(&[]).ran(), counts(&[]));
        // The plain files are preferred; they are decoded anew, and what comes out is known.
        mnist(&lab, false);
        assert_eq!(lab.run(&[]).ran(), counts(&[("decode", 1)]), "{source}");
        for name in IDX {
            fs::remove_file(lab.path(&format!("files/{name}"))).unwrap();
        }
        assert_eq!(lab.run(&[]).ran(), counts(&[]));
    }
}

#[test]
fn cifar_is_read_from_the_binary_files() {
    let record = |label: &[u8], seed: usize| -> Vec<u8> {
        label.iter().copied().chain((0..3072).map(|at| ((at * 3 + seed * 17) % 253) as u8)).collect()
    };
    let lab = Lab::new(&study("cifar10"));
    fs::create_dir_all(lab.path("files")).unwrap();
    for (seed, name) in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
        .iter()
        .enumerate()
    {
        fs::write(lab.path(&format!("files/{name}.bin")), record(&[seed as u8], seed)).unwrap();
    }
    assert_eq!(lab.run(&["stage.data.grey=true", "stage.data.resize=[7, 7]"]).ran()["epoch"], 1);
    let lab = Lab::new(&study("cifar100"));
    fs::create_dir_all(lab.path("files")).unwrap();
    fs::write(lab.path("files/train.bin"), [record(&[1, 90], 0), record(&[2, 17], 1)].concat()).unwrap();
    fs::write(lab.path("files/test.bin"), record(&[0, 99], 2)).unwrap();
    assert_eq!(lab.run(&[]).ran()["epoch"], 1);
    fs::write(lab.path("files/test.bin"), record(&[0, 100], 2)).unwrap();
    let wrong = lab.try_run(&[]);
    assert!(wrong.code == 1 && wrong.words.contains("the label is 100, expected 0 to 99"), "{}", wrong.words);
}

#[test]
fn a_set_that_is_missing_says_where_it_was_looked_for_and_where_it_is_had() {
    let lab = Lab::new(&study("cifar10"));
    let missing = lab.program(&["check", "study.toml"]);
    let words = String::from_utf8_lossy(&missing.stderr).replace(['\n', '│'], " ");
    assert_eq!(missing.status.code(), Some(2));
    assert!(words.contains("files/data_batch_1.bin`, and there with `.gz` after it"), "{words}");
    assert!(words.contains("https://www.cs.toronto.edu/~kriz/cifar.html"), "{words}");
    lab.write(&study("cifar10").replace("path = \"files\"\n", ""));
    let nowhere = lab.program(&["check", "study.toml"]);
    if cfg!(feature = "hub") {
        assert_eq!(nowhere.status.code(), Some(0));
    } else {
        let words = String::from_utf8_lossy(&nowhere.stderr).replace('\n', " ");
        assert!(words.contains("give its folder as `path`") && words.contains("--features hub"), "{words}");
    }
}
