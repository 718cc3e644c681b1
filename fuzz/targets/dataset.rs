//! Any bytes are a data set in the cache's form or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::data::Dataset;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = Dataset::decode(bytes) {
        assert_eq!(set.encode(), bytes);
    }
});
