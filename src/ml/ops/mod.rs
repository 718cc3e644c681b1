//! The kernels: each operation of a model and its adjoint, on the CPU generic over f32 and f64, on a card also over bf16. They know
//! neither tape nor jet.
//!
//! Every operation takes contiguous tensors and gives fresh contiguous ones. Work is cut into a list of tiles that
//! depends on shapes alone, and sums run in one order within and over tiles, so that the bytes are the same for any
//! number of threads. The head of each public function is its dispatch on device and dtype: for a tensor on a card
//! it comes to `card/`, where the files have the same names.
//!
//! Images have their channels last, `[S, H, W, C]`: a pixel is then a run of memory, which is what vectors want.
//!
//! Reading order: `real` (reading tensors, dispatch on dtype), `lanes` (vectors, dispatch on the machine), `tiles` (the fixed partition),
//! `elementwise`, `reduce`, `matmul`, `conv/`, `channels` (bias, sums and products per channel), `concat`, `norm/`, `pool`, `softmax`, `axes`; `band`
//! (symmetric matrices made tridiagonal); `memory` (what the allocator is told).

#![expect(
    clippy::inline_always,
    reason = "a body for the machine's vectors gains by what is inlined into it, and by nothing else"
)]
#![expect(clippy::needless_range_loop, reason = "an index runs over several arrays at once, as in the formulas")]

pub mod axes;
pub mod band;
pub mod card;
pub mod channels;
pub mod concat;
pub mod conv;
pub mod elementwise;
mod lanes;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod pool;
#[cfg(test)]
mod properties;
mod real;
pub mod reduce;
#[cfg(test)]
mod refusals;
pub mod softmax;
#[cfg(test)]
mod tests;
mod tiles;
