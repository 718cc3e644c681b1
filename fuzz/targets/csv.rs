//! Any bytes, plain or gzipped, are images of digits or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::data::digits;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = digits::decode("digits.csv", bytes) {
        let splits = digits::split(&set);
        assert_eq!(splits.train.len() + splits.validation.len(), set.len());
    }
});
