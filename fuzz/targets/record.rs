//! Any bytes are a record of the key, or none; also where the checksum is right, which who writes to a cache can see to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::key::{Digest, Fingerprint, Record};

fuzz_target!(|bytes: &[u8]| {
    let key = Fingerprint::action("epoch", 1).key();
    let _ = Record::decode(bytes, &key);
    let mut sealed = format!("thalweg-record 1 {}\n", Digest::of(bytes)).into_bytes();
    sealed.extend_from_slice(bytes);
    sealed.push(b'\n');
    if let Ok(record) = Record::decode(&sealed, &key) {
        assert_eq!(record.key, key);
    }
});
