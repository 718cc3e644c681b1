//! The card's memory: allocations at addresses that say which allocation they are of.
//!
//! The upper bits of an address number its allocation and the lower 36 are the offset in it, so a lookup is a shift, the
//! gaps between allocations are as wide as the address space allows, and a number is never given out twice: a pointer to
//! freed memory stays a pointer to freed memory. Every byte remembers whether it was ever written.

use super::fault::{Access, FaultKind};
use super::module::Variable;
use super::races::{Cell, Observer};
use std::sync::Arc;

const OFFSET_BITS: u32 = 36;

/// Bytes that know whether they were written and who touched them last.
#[derive(Debug, Default)]
pub struct Region {
    bytes: Vec<u8>,
    written: Vec<u64>,
    cells: Vec<Cell>,
    /// Bytes per cell, as a power of two: four until something narrower is accessed.
    cell_shift: u32,
}

impl Region {
    /// `len` bytes that nobody has written.
    pub fn new(len: usize) -> Self {
        Self { bytes: vec![0; len], written: vec![0; len.div_ceil(64)], cells: Vec::new(), cell_shift: 2 }
    }

    /// Forgets what was written; the cells keep their times, which are all in the past.
    pub fn forget(&mut self) {
        self.written.fill(0);
    }

    fn fill(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        for at in offset..offset + bytes.len() {
            self.written[at / 64] |= 1 << (at % 64);
        }
    }

    /// The check every access of a thread passes; `offset` is its place in the region, `address` what a fault shows.
    fn check(&self, offset: u64, place: Place) -> Result<usize, FaultKind> {
        let Place { access, space, address, bytes } = place;
        if offset >= self.bytes.len() as u64 || bytes > self.bytes.len() - offset as usize {
            return Err(FaultKind::OutOfBounds { access, space, address, bytes });
        }
        if address & (bytes as u64 - 1) != 0 {
            return Err(FaultKind::Misaligned { address, bytes });
        }
        Ok(offset as usize)
    }

    fn observe(&mut self, at: usize, place: Place, me: Option<&Observer>) -> Result<(), FaultKind> {
        let Some(me) = me else { return Ok(()) };
        let width = place.bytes;
        if self.cells.is_empty() || width < 1 << self.cell_shift {
            self.refine(width);
        }
        let cells = &mut self.cells[at >> self.cell_shift..=(at + width - 1) >> self.cell_shift];
        for (i, cell) in cells.iter_mut().enumerate() {
            let outcome = if place.access == Access::Read { cell.read(me) } else { cell.write(me) };
            outcome.map_err(|conflict| FaultKind::Race {
                space: place.space,
                address: place.address + ((i as u64) << self.cell_shift),
                access: place.access,
                earlier: conflict.earlier,
                other: conflict.other,
                other_block: conflict.other_block,
            })?;
        }
        Ok(())
    }

    /// Makes the cells no wider than `width` bytes; what a wide cell remembers holds for its parts.
    fn refine(&mut self, width: usize) {
        let shift = self.cell_shift.min(width.trailing_zeros());
        let count = self.bytes.len().div_ceil(1 << shift);
        self.cells = if self.cells.is_empty() {
            vec![Cell::default(); count]
        } else {
            (0..count).map(|i| self.cells[i >> (self.cell_shift - shift)]).collect()
        };
        self.cell_shift = shift;
    }

    /// Reads `place.bytes` bytes, at most eight.
    pub fn load(&mut self, offset: u64, place: Place, me: Option<&Observer>, into: &mut [u8]) -> Result<(), FaultKind> {
        let at = self.check(offset, place)?;
        let mask = (u64::MAX >> (64 - place.bytes)) << (at % 64);
        if self.written[at / 64] & mask != mask {
            return Err(FaultKind::Uninitialised { space: place.space, address: place.address });
        }
        self.observe(at, place, me)?;
        into.copy_from_slice(&self.bytes[at..at + place.bytes]);
        Ok(())
    }

    /// Writes `place.bytes` bytes.
    pub fn store(&mut self, offset: u64, place: Place, me: Option<&Observer>, from: &[u8]) -> Result<(), FaultKind> {
        let at = self.check(offset, place)?;
        self.observe(at, place, me)?;
        self.written[at / 64] |= (u64::MAX >> (64 - place.bytes)) << (at % 64);
        self.bytes[at..at + place.bytes].copy_from_slice(from);
        Ok(())
    }
}

/// What an access looks like in a fault.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Read or write.
    pub access: Access,
    /// The space's name.
    pub space: &'static str,
    /// The address in that space.
    pub address: u64,
    /// Width in bytes, a power of two of at most eight.
    pub bytes: usize,
}

/// The memory of one card, shared by all launches on it.
#[derive(Debug, Default)]
pub struct Memory {
    /// The allocation of number `i + 1`; `None` once freed.
    allocations: Vec<Option<Region>>,
    in_use: u64,
    /// Counts synchronisations over all launches; races compare these times.
    pub(super) time: u64,
    /// Where the variables of each module live that ever launched here.
    modules: Vec<(Arc<[Variable]>, Vec<u64>)>,
}

impl Memory {
    /// An empty card.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allocates `bytes` bytes, which nobody has written; the address is a multiple of 256 and never given out again.
    ///
    /// # Panics
    /// If `bytes` exceeds 32 GiB, half the distance between two allocations.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        assert!(bytes <= 1 << (OFFSET_BITS - 1), "an allocation stays below 32 GiB");
        self.allocations.push(Some(Region::new(bytes)));
        self.in_use += bytes as u64;
        (self.allocations.len() as u64) << OFFSET_BITS
    }

    /// Frees the allocation that begins at `address`.
    ///
    /// # Panics
    /// If none begins there or it was freed before.
    pub fn free(&mut self, address: u64) {
        assert!(address.trailing_zeros() >= OFFSET_BITS, "`{address:#x}` begins no allocation");
        let slot = Self::slot(address).and_then(|slot| self.allocations.get_mut(slot));
        let region = slot.and_then(Option::take).expect("an allocation is freed once");
        self.in_use -= region.bytes.len() as u64;
    }

    /// The bytes at `address`, written or not.
    ///
    /// # Panics
    /// If they are not all within one live allocation.
    pub fn read(&self, address: u64, len: usize) -> &[u8] {
        let region = Self::slot(address).and_then(|slot| self.allocations.get(slot)?.as_ref());
        let offset = (address & ((1 << OFFSET_BITS) - 1)) as usize;
        &region.expect("the host reads a live allocation").bytes[offset..offset + len]
    }

    /// Writes `bytes` at `address`.
    ///
    /// # Panics
    /// If they do not all fall within one live allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let region = Self::slot(address).and_then(|slot| self.allocations.get_mut(slot)?.as_mut());
        let offset = (address & ((1 << OFFSET_BITS) - 1)) as usize;
        region.expect("the host writes a live allocation").fill(offset, bytes);
    }

    /// Bytes allocated and not freed, the variables of launched modules among them.
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask of the interpreter"))]
    pub fn bytes_in_use(&self) -> u64 {
        self.in_use
    }

    fn slot(address: u64) -> Option<usize> {
        (address >> OFFSET_BITS).checked_sub(1).map(|slot| slot as usize)
    }

    fn region(&mut self, place: Place) -> Result<&mut Region, FaultKind> {
        let Place { access, address, .. } = place;
        match Self::slot(address).and_then(|slot| self.allocations.get_mut(slot)) {
            Some(Some(region)) => Ok(region),
            Some(None) => Err(FaultKind::UseAfterFree { access, address }),
            None => Err(FaultKind::OutOfBounds { access, space: place.space, address, bytes: place.bytes }),
        }
    }

    /// A thread's load.
    pub(super) fn load(&mut self, place: Place, me: Option<&Observer>, into: &mut [u8]) -> Result<(), FaultKind> {
        let offset = place.address & ((1 << OFFSET_BITS) - 1);
        self.region(place)?.load(offset, place, me, into)
    }

    /// A thread's store.
    pub(super) fn store(&mut self, place: Place, me: Option<&Observer>, from: &[u8]) -> Result<(), FaultKind> {
        let offset = place.address & ((1 << OFFSET_BITS) - 1);
        self.region(place)?.store(offset, place, me, from)
    }

    /// The addresses of a module's variables, which are placed and initialised when its first launch asks for them.
    pub(super) fn addresses(&mut self, variables: &Arc<[Variable]>) -> Vec<u64> {
        if let Some((_, addresses)) = self.modules.iter().find(|(loaded, _)| Arc::ptr_eq(loaded, variables)) {
            return addresses.clone();
        }
        let addresses: Vec<u64> = variables.iter().map(|variable| self.alloc(variable.bytes.len())).collect();
        for (variable, &address) in variables.iter().zip(&addresses) {
            let mut bytes = variable.bytes.clone();
            for &(offset, target, addend) in &variable.pointers {
                let pointer = addresses[target].wrapping_add(addend);
                bytes[offset..offset + 8].copy_from_slice(&pointer.to_le_bytes());
            }
            self.write(address, &bytes);
        }
        self.modules.push((Arc::clone(variables), addresses.clone()));
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_aligned_and_never_given_out_twice() {
        let mut memory = Memory::new();
        let first = memory.alloc(10);
        memory.free(first);
        let second = memory.alloc(10);
        assert_ne!(first, second);
        assert_eq!(second % 256, 0);
        assert_eq!(memory.bytes_in_use(), 10);
    }

    #[test]
    fn what_the_host_writes_the_host_reads() {
        let mut memory = Memory::new();
        let address = memory.alloc(8);
        memory.write(address + 2, &[1, 2, 3]);
        assert_eq!(memory.read(address, 8), [0, 0, 1, 2, 3, 0, 0, 0]);
    }
}
