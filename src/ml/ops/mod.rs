//! The kernels: each operation of a model and its adjoint, on candle tensors, generic over f32 and f64. They know
//! neither tape nor jet.
//!
//! Every operation takes contiguous tensors and gives fresh contiguous ones. Work is cut into a list of tiles that
//! depends on shapes alone, and sums run in one order within and over tiles, so that the bytes are the same for any
//! number of threads. The head of each public function is its dispatch on device and dtype; a CUDA path goes there.
//!
//! Reading order: `real` (reading tensors, dispatch), `tiles` (the fixed partition), `elementwise`, `reduce`, `matmul`,
//! `conv`, `channels` (bias, sums and products per channel), `norm`, `pool`, `softmax`.

pub mod channels;
pub mod conv;
pub mod elementwise;
pub mod matmul;
pub mod norm;
pub mod pool;
mod real;
pub mod reduce;
pub mod softmax;
#[cfg(test)]
mod tests;
mod tiles;
