//! Any file is images of CIFAR-10 or CIFAR-100 or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::data::File;
use thalweg::ml::data::cifar::{self, Cifar};

fuzz_target!(|bytes: &[u8]| {
    let file = File { name: "batch".to_owned(), bytes: bytes.to_vec() };
    for cifar in [Cifar::Ten, Cifar::Hundred] {
        let _ = cifar::decode(cifar, &[&file]);
    }
});
