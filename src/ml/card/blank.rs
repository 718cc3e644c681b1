//! A card that does nothing: it counts what memory would be needed. What it is asked to compute is zero, so that nothing may depend on it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Card;
use super::driver::{Argument, Convolution, Driver, Fault, Geometry, Product};

/// Addresses are apart by this, so that none is given out twice.
const APART: u64 = 1 << 40;

/// A card without memory, which never runs out of it.
#[derive(Debug, Default)]
pub struct Blank(AtomicU64);

impl Blank {
    /// The card.
    ///
    /// # Panics
    /// Never: it cannot be lost.
    pub fn card() -> Card {
        Card::new("a card that counts", Box::new(Self::default())).expect("a card without memory is never lost")
    }
}

impl Driver for Blank {
    fn reserve(&self, _: usize) -> Result<Option<u64>, Fault> {
        Ok(Some(APART + APART * self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn release(&self, _: u64, _: usize) {}

    fn capacity(&self) -> Result<usize, Fault> {
        Ok(usize::MAX / 4)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn read(&self, _: u64, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(0);
        Ok(())
    }

    fn copy(&self, _: u64, _: u64, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn clear(&self, _: u64, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn launch(&self, _: &str, _: Geometry, _: &[Argument]) -> Result<(), Fault> {
        Ok(())
    }

    fn multiply(&self, _: &Product) -> Result<(), Fault> {
        Ok(())
    }

    /// As a card without a library for it: with one, a convolution needs no room for patches.
    fn convolve(&self, _: &Convolution) -> Result<bool, Fault> {
        Ok(false)
    }

    fn finish(&self) -> Result<(), Fault> {
        Ok(())
    }
}
