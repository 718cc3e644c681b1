//! Any bytes are a vector of four numbers in a safetensors file or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::params;
use thalweg::ml::tensor::Device;

fuzz_target!(|bytes: &[u8]| {
    let _ = params::decode_flat(bytes, 4, &Device::Cpu);
});
