//! A thread's loads, stores and atomics: from a transfer and its registers to the memory of the right space.

use super::fault::{Access, FaultKind};
use super::instruction::{LOCAL_WINDOW, SHARED_WINDOW, Space, Transfer, Update};
use super::machine::Launch;
use super::memory::Place;
use super::races::Observer;
use super::thread::Thread;

impl Launch<'_> {
    /// Where an access reaches, checked for alignment as a whole.
    fn reach(transfer: &Transfer, thread: &Thread) -> Result<(Space, u64), FaultKind> {
        let address = thread.get(transfer.base).wrapping_add(i64::from(transfer.offset) as u64);
        let bytes = transfer.width as usize * transfer.lanes.count as usize;
        if address & (bytes as u64 - 1) != 0 {
            return Err(FaultKind::Misaligned { address, bytes });
        }
        Ok(match transfer.space {
            Space::Generic if address >= SHARED_WINDOW => (Space::Shared, address - SHARED_WINDOW),
            Space::Generic if address >= LOCAL_WINDOW => (Space::Local, address - LOCAL_WINDOW),
            Space::Generic => (Space::Global, address),
            // Shared addresses may be computed in 32 bits, where they wrap.
            Space::Shared => (Space::Shared, address & 0xffff_ffff),
            space => (space, address),
        })
    }

    fn fetch(
        &mut self,
        space: Space,
        address: u64,
        bytes: usize,
        thread: &Thread,
        me: Option<&Observer>,
    ) -> Result<u64, FaultKind> {
        let mut buffer = [0; 8];
        let into = &mut buffer[..bytes];
        let access = Access::Read;
        match space {
            Space::Global | Space::Generic => {
                self.counts.loaded_bytes += bytes as u64;
                self.memory.load(Place { access, space: "global", address, bytes }, me, into)?;
            }
            Space::Shared => {
                let me = me.map(Observer::alone);
                self.shared.load(address, Place { access, space: "shared", address, bytes }, me.as_ref(), into)?;
            }
            Space::Local | Space::Argument => {
                let (from, space) =
                    if space == Space::Local { (&thread.local, "local") } else { (&self.arguments, "param") };
                let end = usize::try_from(address).ok().and_then(|start| start.checked_add(bytes));
                match end.and_then(|end| from.get(end - bytes..end)) {
                    Some(found) => into.copy_from_slice(found),
                    None => return Err(FaultKind::OutOfBounds { access, space, address, bytes }),
                }
            }
        }
        Ok(u64::from_le_bytes(buffer))
    }

    fn put(
        &mut self,
        space: Space,
        address: u64,
        bytes: usize,
        value: u64,
        thread: &mut Thread,
        me: Option<&Observer>,
    ) -> Result<(), FaultKind> {
        let buffer = value.to_le_bytes();
        let from = &buffer[..bytes];
        let access = Access::Write;
        match space {
            Space::Shared => {
                let me = me.map(Observer::alone);
                self.shared.store(address, Place { access, space: "shared", address, bytes }, me.as_ref(), from)
            }
            Space::Local | Space::Argument => {
                let end = usize::try_from(address).ok().and_then(|start| start.checked_add(bytes));
                match end.and_then(|end| thread.local.get_mut(end - bytes..end)) {
                    Some(found) => found.copy_from_slice(from),
                    None => return Err(FaultKind::OutOfBounds { access, space: "local", address, bytes }),
                }
                Ok(())
            }
            Space::Global | Space::Generic => {
                self.counts.stored_bytes += bytes as u64;
                self.memory.store(Place { access, space: "global", address, bytes }, me, from)
            }
        }
    }

    /// Reads memory into slots.
    pub fn load(&mut self, transfer: &Transfer, thread: &mut Thread, me: &Observer) -> Result<(), FaultKind> {
        let (space, address) = Self::reach(transfer, thread)?;
        let me = self.machine.races.then_some(me);
        let width = transfer.width as usize;
        for (i, &slot) in transfer.lanes.slots[..transfer.lanes.count as usize].iter().enumerate() {
            let value = self.fetch(space, address + (i * width) as u64, width, thread, me)?;
            let value = match transfer.sign_fill {
                0 => value,
                bits => {
                    let unused = 64 - 8 * width as u32;
                    (((value << unused) as i64) >> unused) as u64 & (u64::MAX >> (64 - bits))
                }
            };
            thread.set(slot, value);
        }
        Ok(())
    }

    /// Writes slots to memory.
    pub fn store(&mut self, transfer: &Transfer, thread: &mut Thread, me: &Observer) -> Result<(), FaultKind> {
        let (space, address) = Self::reach(transfer, thread)?;
        let me = self.machine.races.then_some(me);
        let width = transfer.width as usize;
        for (i, &slot) in transfer.lanes.slots[..transfer.lanes.count as usize].iter().enumerate() {
            let value = thread.get(slot);
            self.put(space, address + (i * width) as u64, width, value, thread, me)?;
        }
        Ok(())
    }

    /// Atomics race with nothing: the hardware orders them among themselves, and how they meet plain accesses is not
    /// looked into.
    pub fn atomic(
        &mut self,
        update: Update,
        place: &Transfer,
        (b, c): (u64, u64),
        thread: &mut Thread,
    ) -> Result<(), FaultKind> {
        let (space, address) = Self::reach(place, thread)?;
        let width = place.width as usize;
        let old = self.fetch(space, address, width, thread, None)?;
        let new = match update {
            Update::Apply(f) => f(old, b),
            Update::CompareAndSwap if old == b & (u64::MAX >> (64 - 8 * width)) => c,
            Update::CompareAndSwap => old,
        };
        self.put(space, address, width, new, thread, None)?;
        thread.set(place.lanes.slots[0], old);
        self.counts.atomics += 1;
        Ok(())
    }
}
