//! The memory of one queue of a card. Room that is given back is kept for the next who wants as much: work is done in order, so whoever
//! gets it next comes after whoever had it. Sizes are rounded to eight classes an octave, so that at most an eighth is wasted and
//! tensors of like sizes share.

use std::collections::BTreeMap;

use super::driver::{Driver, Fault};

/// The smallest class.
const LEAST: usize = 512;

/// What is in use and what is kept.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Addresses that are free again, by class.
    free: BTreeMap<usize, Vec<u64>>,
    counts: Counts,
    limit: usize,
}

/// Bytes of a queue's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In use.
    pub used: usize,
    /// Kept for the next who asks.
    pub kept: usize,
    /// The most that were in use at once.
    pub peak: usize,
    /// How often the driver was asked for more.
    pub reservations: usize,
    /// What libraries hold to work in.
    pub library: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn restart_peak(&mut self) {
        self.counts.peak = self.counts.used;
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Room for so many bytes.
    pub(super) fn take(&mut self, bytes: usize, driver: &dyn Driver, card: &str) -> Result<u64, Fault> {
        let class = class(bytes);
        let address = match self.free.get_mut(&class).and_then(Vec::pop) {
            Some(address) => {
                self.counts.kept -= class;
                address
            }
            None => self.reserve(class, driver, card)?,
        };
        self.counts.used += class;
        self.counts.peak = self.counts.peak.max(self.counts.used);
        Ok(address)
    }

    /// Keeps room that nobody uses any more, or gives it back to a driver that wants it.
    pub(super) fn give(&mut self, address: u64, bytes: usize, driver: &dyn Driver) {
        let class = class(bytes);
        self.counts.used -= class;
        if !driver.keeps() {
            return driver.release(address, class);
        }
        self.counts.kept += class;
        self.free.entry(class).or_default().push(address);
    }

    /// Gives what is kept back to the driver.
    pub(super) fn trim(&mut self, driver: &dyn Driver) {
        for (class, addresses) in std::mem::take(&mut self.free) {
            for address in addresses {
                driver.release(address, class);
            }
        }
        self.counts.kept = 0;
    }

    fn reserve(&mut self, class: usize, driver: &dyn Driver, card: &str) -> Result<u64, Fault> {
        if self.counts.used + self.counts.kept + class > self.limit {
            self.trim(driver);
        }
        if self.counts.used + class <= self.limit {
            self.counts.reservations += 1;
            if let Some(address) = driver.reserve(class)? {
                return Ok(address);
            }
            self.trim(driver);
            if let Some(address) = driver.reserve(class)? {
                return Ok(address);
            }
        }
        Err(Fault::OutOfMemory { card: card.to_owned(), wanted: class, used: self.counts.used, limit: self.limit })
    }
}

/// The least size of a class that holds so many bytes.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(LEAST);
    let step = (bytes.next_power_of_two() / 16).max(LEAST);
    bytes.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::super::simulated::Simulated;
    use super::*;

    #[test]
    fn a_class_holds_what_is_asked_and_wastes_an_eighth_at_most() {
        for bytes in (0..5000).chain((1..60).map(|n| n * 1_234_567)) {
            let class = class(bytes);
            assert!(class >= bytes && class.is_multiple_of(LEAST), "{bytes} {class}");
            assert!(class <= LEAST.max(bytes + bytes / 8 + LEAST), "{bytes} {class}");
        }
        assert_eq!([1, 512, 513, 9000, 1 << 20].map(class), [512, 512, 1024, 9216, 1 << 20]);
    }

    #[test]
    fn what_is_given_back_is_taken_again_and_the_driver_is_not_asked() {
        let driver = Simulated::new(1 << 20);
        let mut memory = Memory::new(1 << 20);
        let first = memory.take(1000, &driver, "card").unwrap();
        memory.give(first, 1000, &driver);
        assert_eq!(memory.take(900, &driver, "card").unwrap(), first);
        assert_eq!(memory.counts(), Counts { used: 1024, kept: 0, peak: 1024, reservations: 1, library: 0 });
    }

    #[test]
    fn what_is_kept_makes_room_for_others_before_memory_is_out() {
        let driver = Simulated::new(4096);
        let mut memory = Memory::new(4096);
        let small: Vec<u64> = (0..4).map(|_| memory.take(1024, &driver, "card").unwrap()).collect();
        let fault = memory.take(1024, &driver, "card").unwrap_err();
        assert_eq!(fault.to_string(), "card is out of memory: 0.0 MiB wanted, 0.0 MiB in use of 0.0 MiB");
        for address in small {
            memory.give(address, 1024, &driver);
        }
        let large = memory.take(4096, &driver, "card").unwrap();
        assert_eq!((memory.counts().used, memory.counts().kept), (4096, 0));
        memory.give(large, 4096, &driver);
        memory.trim(&driver);
        assert_eq!(memory.counts().kept, 0);
    }
}
