//! The fixed partition of an operation's work. Which tiles there are depends on shapes alone; whether threads share them
//! depends on how much work there is, and changes no bit.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use rayon::prelude::*;

/// Below this many floating-point operations, handing tiles to other threads costs more than it saves.
const WORTH_SHARING: usize = 4_000_000;

/// Elements of an elementwise operation's tile.
pub(super) const ELEMENTS: usize = 16_384;

/// Whether `flops` operations are worth the other threads.
fn shared(flops: usize, tiles: usize) -> bool {
    tiles > 1 && flops >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Visit `values` in tiles of `length` elements (the last may be shorter); `visit` gets the tile's index, and buffers that tiles may pass
/// on to each other: what is in them must not matter.
fn visit<T: Send, B: Send>(
    values: &mut [T],
    length: usize,
    flops: usize,
    buffers: impl Fn() -> B + Sync,
    visit: impl Fn(&mut B, usize, &mut [T]) + Sync,
) {
    if values.is_empty() {
        return;
    }
    if shared(flops, values.len().div_ceil(length)) {
        // Threads take each other's buffers, so that there are never more than threads.
        let free = Mutex::new(Vec::new());
        values.par_chunks_mut(length).enumerate().for_each(|(index, tile)| {
            let taken = free.lock().ok().and_then(|mut free| free.pop());
            let mut own = taken.unwrap_or_else(&buffers);
            visit(&mut own, index, tile);
            if let Ok(mut free) = free.lock() {
                free.push(own);
            }
        });
    } else {
        let mut buffers = buffers();
        values.chunks_mut(length).enumerate().for_each(|(index, tile)| visit(&mut buffers, index, tile));
    }
}

/// Change `values` in tiles of `length` elements (the last may be shorter); `change` gets the tile's index.
pub(super) fn change<T: Send>(values: &mut [T], length: usize, flops: usize, change: impl Fn(usize, &mut [T]) + Sync) {
    visit(values, length, flops, || (), |(), index, tile| change(index, tile));
}

/// `count` elements, filled in tiles of `length` (the last may be shorter); `fill` gets the tile's index, and the tile full of zeros.
pub(super) fn make<T>(count: usize, length: usize, flops: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T>
where
    T: Copy + Default + Send,
{
    make_with(count, length, flops, || (), |(), index, tile| fill(index, tile))
}

/// As [`make`], with buffers that tiles may pass on to each other: what is in them must not matter.
///
/// A tile is made zero by the thread that fills it, just before: it is then in that thread's cache, and memory is written once.
#[expect(unsafe_code, reason = "memory that nothing was written to yet")]
pub(super) fn make_with<T, B: Send>(
    count: usize,
    length: usize,
    flops: usize,
    buffers: impl Fn() -> B + Sync,
    fill: impl Fn(&mut B, usize, &mut [T]) + Sync,
) -> Vec<T>
where
    T: Copy + Default + Send,
{
    let mut made = Vec::with_capacity(count);
    let room: Room<'_, T> = &mut made.spare_capacity_mut()[..count];
    visit(room, length, flops, buffers, |buffers, index, tile| {
        tile.fill(MaybeUninit::new(T::default()));
        // SAFETY: every element of the tile was written in the line above.
        fill(buffers, index, unsafe { tile.assume_init_mut() });
    });
    // SAFETY: the tiles are all of the first `count` elements, and each was written.
    unsafe { made.set_len(count) };
    made
}

/// As [`make`], of memory as it is: for kernels that go over it once, in order, and would otherwise go over it twice.
///
/// # Safety
/// `fill` writes to every element of the tile that it is given.
#[expect(unsafe_code, reason = "memory that nothing was written to yet")]
pub(super) unsafe fn make_raw<T: Send>(
    count: usize,
    length: usize,
    flops: usize,
    fill: impl Fn(usize, Room<'_, T>) + Sync,
) -> Vec<T> {
    let mut made = Vec::with_capacity(count);
    let room: Room<'_, T> = &mut made.spare_capacity_mut()[..count];
    visit(room, length, flops, || (), |(), index, tile| fill(index, tile));
    // SAFETY: the tiles are all of the first `count` elements, and the caller promises that each was written.
    unsafe { made.set_len(count) };
    made
}

/// A stretch of memory that nothing was written to yet.
pub(super) type Room<'a, T> = &'a mut [MaybeUninit<T>];

/// Two lists of `count` elements, filled side by side as [`make`] fills one.
#[expect(unsafe_code, reason = "memory that nothing was written to yet")]
pub(super) fn make_two<T, U>(
    count: usize,
    length: usize,
    flops: usize,
    fill: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) -> (Vec<T>, Vec<U>)
where
    T: Copy + Default + Send,
    U: Copy + Default + Send,
{
    let (mut left, mut right) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let room: Room<'_, T> = &mut left.spare_capacity_mut()[..count];
    let other: Room<'_, U> = &mut right.spare_capacity_mut()[..count];
    let both = |(index, (left, right)): (usize, (Room<'_, T>, Room<'_, U>))| {
        left.fill(MaybeUninit::new(T::default()));
        right.fill(MaybeUninit::new(U::default()));
        // SAFETY: every element of both tiles was written in the lines above.
        fill(index, unsafe { left.assume_init_mut() }, unsafe { right.assume_init_mut() });
    };
    if shared(flops, count.div_ceil(length.max(1))) {
        room.par_chunks_mut(length).zip(other.par_chunks_mut(length)).enumerate().for_each(both);
    } else {
        room.chunks_mut(length).zip(other.chunks_mut(length)).enumerate().for_each(both);
    }
    // SAFETY: the tiles are all of the first `count` elements of each list, and each was written.
    unsafe {
        left.set_len(count);
        right.set_len(count);
    }
    (left, right)
}

/// The results of `count` tiles, in order.
pub(super) fn map<R: Send>(count: usize, flops: usize, tile: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if shared(flops, count) { (0..count).into_par_iter().map(&tile).collect() } else { (0..count).map(tile).collect() }
}
