//! How many threads do what. It depends on shapes alone, never on the card: sums are cut where the grid is cut, and their bytes with them.

use super::driver::{Fault, Geometry};

/// Threads of a block; `SUMMERS` of the kernels.
pub const THREADS: u32 = 256;

/// Blocks that fill any card; a thread goes on to the next element after those.
const BLOCKS: u32 = 4096;

/// Shares that a sum over everything is cut into, at most: one block adds them up.
pub const SHARES: u32 = 1024;

/// Strips that a sum over rows is cut into, over all channels, at most.
const STRIPS: u32 = 1024;

/// Rows of a strip, at least.
const ROWS: u32 = 64;

/// Side of a tile that is transposed.
const SIDE: u32 = 32;

/// The most blocks along y and z.
const MOST: u32 = 65_535;

impl Geometry {
    /// One thread an element, or a few elements a thread.
    pub fn over(count: u32) -> Self {
        Self { grid: [count.div_ceil(THREADS).clamp(1, BLOCKS), 1, 1], block: [THREADS, 1, 1] }
    }

    /// As [`over`](Self::over) for each of some parts, of which the longest has `count` elements.
    pub fn over_parts(count: u32, parts: u32) -> Self {
        let Self { grid, block } = Self::over(count);
        Self { grid: [grid[0].min(256), parts, 1], block }
    }

    /// The shares of a sum over all elements.
    pub fn shares(count: u32) -> Self {
        Self { grid: [count.div_ceil(4 * THREADS).clamp(1, SHARES), 1, 1], block: [THREADS, 1, 1] }
    }

    /// One block.
    pub fn one() -> Self {
        Self { grid: [1, 1, 1], block: [THREADS, 1, 1] }
    }

    /// Elements of `[rows, channels]`: a thread stays with one channel.
    pub fn rows(rows: u32, channels: u32) -> Self {
        let block = block_of(channels);
        let across = channels.div_ceil(block[0]);
        let down = rows.div_ceil(block[1]).min((BLOCKS / across).max(1));
        Self { grid: [across, down.clamp(1, MOST), 1], block }
    }

    /// The strips of sums over the rows of `[rows, channels]`, and how many rows each has.
    pub fn strips(rows: u32, channels: u32) -> (Self, u32) {
        let block = block_of(channels);
        let across = channels.div_ceil(block[0]);
        let most = (STRIPS / across).max(1);
        let together = rows.div_ceil(most).max(ROWS);
        (Self { grid: [across, rows.div_ceil(together).max(1), 1], block }, together)
    }

    /// Matrices `rows × columns` that are transposed tile by tile.
    ///
    /// # Errors
    /// More matrices or rows than a grid has places.
    pub fn tiles(samples: u32, rows: u32, columns: u32) -> Result<Self, Fault> {
        let grid = [columns.div_ceil(SIDE), rows.div_ceil(SIDE), samples];
        if grid[1] > MOST || grid[2] > MOST {
            return Err(Fault::Refused(format!(
                "{samples} matrices of {rows} × {columns} are more than one launch takes"
            )));
        }
        Ok(Self { grid, block: [SIDE, THREADS / SIDE, 1] })
    }
}

/// Threads along channels and rows: as many along channels as there are, up to a warp.
fn block_of(channels: u32) -> [u32; 3] {
    let across = channels.next_power_of_two().clamp(1, SIDE);
    [across, THREADS / across, 1]
}

/// A count as kernels take it.
///
/// # Errors
/// 2³² elements or more.
pub fn count(elements: usize) -> Result<u32, Fault> {
    // Loops add the number of threads to an index before they compare it.
    const MOST: usize = u32::MAX as usize - (BLOCKS * THREADS) as usize;
    match u32::try_from(elements) {
        Ok(count) if elements <= MOST => Ok(count),
        _ => Err(Fault::Refused(format!(
            "a tensor of {elements} elements is more than the kernels of a card take, {MOST}: choose smaller chunks"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strip_has_rows_and_all_rows_are_in_one() {
        for rows in [2, 63, 64, 65, 1000, 512_000, 12_800_000] {
            for channels in [1, 3, 16, 31, 64, 513, 4096, 40_000] {
                let (geometry, together) = Geometry::strips(rows, channels);
                let strips = geometry.grid[1];
                assert!((strips - 1) * together < rows && strips * together >= rows, "{rows} {channels}");
                assert!(geometry.grid[0] * geometry.block[0] >= channels);
                assert_eq!(geometry.block.iter().product::<u32>(), THREADS);
                assert!(strips <= MOST);
            }
        }
    }

    #[test]
    fn every_element_has_a_thread_and_no_index_wraps() {
        for n in [0, 1, 255, 256, 257, 1 << 20, 1 << 31] {
            let geometry = Geometry::over(count(n).unwrap());
            assert!(geometry.grid[0] >= 1 && geometry.grid[0] <= BLOCKS);
        }
        assert!(count(u32::MAX as usize).is_err() && count(1 << 40).is_err());
        assert!(Geometry::shares(u32::MAX / 2).grid[0] <= SHARES);
    }

    #[test]
    fn more_matrices_than_a_grid_has_places_are_refused() {
        assert!(Geometry::tiles(70_000, 32, 32).is_err());
        assert_eq!(Geometry::tiles(5, 33, 64).unwrap(), Geometry { grid: [2, 2, 5], block: [32, 8, 1] });
    }
}
