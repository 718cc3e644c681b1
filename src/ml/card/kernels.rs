//! The PTX of this program's kernels: one text, of an instruction set that every driver since CUDA 10.2 takes, for compute capability 7.5,
//! from which the driver makes machine code for whatever card is there, and keeps it.

use std::io::Read;

/// The least compute capability that it runs on.
pub const LEAST: (i32, i32) = (7, 5);

/// The text, as `scripts/kernels` made it.
const PACKED: &[u8] = include_bytes!("kernels/kernels.ptx.gz");

/// The text.
pub fn ptx() -> String {
    let mut text = String::new();
    let read = flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text);
    read.expect("the text that is part of the program is a gzip file");
    text
}
