//! How much of a long errand is left, told as it gets on.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// So many things.
    pub items: u64,
    /// What one of them is called.
    pub noun: &'static str,
    /// Their bytes, where these are known beforehand.
    pub bytes: Option<u64>,
}

/// Counts down, on any thread.
pub(super) struct Countdown<'t> {
    noun: &'static str,
    items: AtomicU64,
    bytes: Option<AtomicU64>,
    tell: &'t (dyn Fn(Left) + Sync),
}

impl<'t> Countdown<'t> {
    /// From so many things, and bytes where they are known; `tell` is told what is left whenever that changes.
    pub(super) fn from(items: usize, noun: &'static str, bytes: Option<u64>, tell: &'t (dyn Fn(Left) + Sync)) -> Self {
        Self { noun, items: AtomicU64::new(items as u64), bytes: bytes.map(AtomicU64::new), tell }
    }

    /// One more is done.
    pub(super) fn done(&self) {
        self.items.fetch_sub(1, Ordering::Relaxed);
        self.tell();
    }

    /// So many bytes have come, or will not.
    pub(super) fn passed(&self, count: u64) {
        if let Some(bytes) = &self.bytes {
            bytes.fetch_sub(count, Ordering::Relaxed);
            self.tell();
        }
    }

    fn tell(&self) {
        let bytes = self.bytes.as_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        (self.tell)(Left { items: self.items.load(Ordering::Relaxed), noun: self.noun, bytes });
    }
}

/// A writer of `length` bytes that tells what has passed through it. Whatever was written, all of them are told of when it goes, and no more.
pub(super) struct Told<'c, 't, W> {
    to: W,
    countdown: &'c Countdown<'t>,
    left: u64,
}

impl<'c, 't, W: Write> Told<'c, 't, W> {
    pub(super) fn new(to: W, length: u64, countdown: &'c Countdown<'t>) -> Self {
        Self { to, countdown, left: length }
    }
}

impl<W: Write> Write for Told<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        let passed = self.left.min(written as u64);
        self.left -= passed;
        self.countdown.passed(passed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W> Drop for Told<'_, '_, W> {
    fn drop(&mut self) {
        self.countdown.passed(self.left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_is_left_is_told_as_it_goes_and_ends_at_nothing_whatever_came() {
        let told = Mutex::new(Vec::new());
        let tell = |left: Left| told.lock().unwrap().push((left.items, left.bytes.unwrap()));
        let countdown = Countdown::from(3, "blob", Some(30), &tell);
        let pass = |bytes: &[u8]| {
            Told::new(io::sink(), 10, &countdown).write_all(bytes).unwrap();
            countdown.done();
        };
        pass(&[0; 10]);
        // One that breaks off, and one that is longer than it should be.
        pass(&[0; 4]);
        pass(&[0; 15]);
        let expected = [(3, 20), (3, 20), (2, 20), (2, 16), (2, 10), (1, 10), (1, 0), (1, 0), (0, 0)];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
