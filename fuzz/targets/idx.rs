//! Any two files are images and their labels or an error. The first two bytes say where the second begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::data::{File, idx};

fuzz_target!(|bytes: &[u8]| {
    let [high, low, rest @ ..] = bytes else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let file = |name: &str, bytes: &[u8]| File { name: name.to_owned(), bytes: bytes.to_vec() };
    let _ = idx::decode(&file("images", &rest[..at]), &file("labels", &rest[at..]));
});
