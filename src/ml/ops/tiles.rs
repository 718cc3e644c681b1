//! The fixed partition of an operation's work. Which tiles there are depends on shapes alone; whether threads share them
//! depends on how much work there is, and changes no bit. Bodies are compiled for the vectors that the machine has.

use rayon::prelude::*;

use super::lanes;

/// Below this many floating-point operations, handing tiles to other threads costs more than it saves.
const WORTH_SHARING: usize = 4_000_000;

/// Elements of an elementwise operation's tile.
pub(super) const ELEMENTS: usize = 16_384;

/// Whether `flops` operations are worth the other threads.
fn shared(flops: usize, tiles: usize) -> bool {
    tiles > 1 && flops >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Fill `out` in tiles of `length` elements (the last may be shorter); `fill` gets the tile's index.
pub(super) fn fill<T: Send>(out: &mut [T], length: usize, flops: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    fill_with(out, length, flops, || (), |(), index, tile| fill(index, tile));
}

/// As [`fill`], with buffers that tiles may pass on to each other: what is in them must not matter.
pub(super) fn fill_with<T: Send, B>(
    out: &mut [T],
    length: usize,
    flops: usize,
    buffers: impl Fn() -> B + Sync + Send,
    fill: impl Fn(&mut B, usize, &mut [T]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    if shared(flops, out.len().div_ceil(length)) {
        out.par_chunks_mut(length)
            .enumerate()
            .for_each_init(buffers, |buffers, (index, tile)| lanes::run(|| fill(buffers, index, tile)));
    } else {
        let mut buffers = buffers();
        out.chunks_mut(length).enumerate().for_each(|(index, tile)| lanes::run(|| fill(&mut buffers, index, tile)));
    }
}

/// The results of `count` tiles, in order.
pub(super) fn map<R: Send>(count: usize, flops: usize, tile: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let tile = |index| lanes::run(|| tile(index));
    if shared(flops, count) { (0..count).into_par_iter().map(tile).collect() } else { (0..count).map(tile).collect() }
}
