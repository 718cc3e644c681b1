//! A card in the machine's memory. It runs the program's own PTX by the interpreter, which looks for races, for reads of what nobody wrote
//! and for addresses beyond an allocation, and does products and convolutions as their definitions say. It is slow, and made for tests and
//! for whoever wants to see what a study would do on cards: how many there are, what fits, what happens when one is lost.
//!
//! Reading order: this file, `library` (products and convolutions).

mod library;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::Card;
use super::driver::{Argument, Convolution, Driver, Fault, Geometry, Product};
use super::interpreter::{self, Machine, Memory, Module, Order};
use super::kernels;
use super::open::Model;

/// The program's kernels, read once: the text is part of the program and never changes.
static KERNELS: LazyLock<Module> =
    LazyLock::new(|| Module::parse(&kernels::ptx()).unwrap_or_else(|error| panic!("the program's own PTX: {error}")));

/// A card made of memory.
#[derive(Debug)]
pub struct Simulated {
    memory: Mutex<Memory>,
    /// Bytes of the card that are in use, by this queue and others on it.
    used: Arc<AtomicUsize>,
    bytes: usize,
    machine: Machine,
    keeps: bool,
    has_convolutions: bool,
    launches: AtomicU64,
    lost_after: u64,
    is_lost: AtomicBool,
}

impl Simulated {
    /// A card with so many bytes of memory.
    pub fn new(bytes: usize) -> Self {
        Self {
            memory: Mutex::new(Memory::new()),
            used: Arc::default(),
            bytes,
            machine: Machine::default(),
            keeps: true,
            has_convolutions: false,
            launches: AtomicU64::new(0),
            lost_after: u64::MAX,
            is_lost: AtomicBool::new(false),
        }
    }

    /// A queue on a card whose memory others use too.
    #[must_use]
    pub fn sharing(self, used: Arc<AtomicUsize>) -> Self {
        Self { used, ..self }
    }

    /// Memory that is given back is gone at once, so that whoever still reads it, or reads what it has not written, is found.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// Blocks, warps and threads run in an order of this seed: results must not depend on it.
    #[must_use]
    pub fn shuffled(self, seed: u64) -> Self {
        Self { machine: Machine { order: Order::Shuffled(seed), ..self.machine }, ..self }
    }

    /// Convolutions by a library rather than as products with patches.
    #[must_use]
    pub fn with_convolutions(self) -> Self {
        Self { has_convolutions: true, ..self }
    }

    /// The device is lost at the launch after so many.
    #[must_use]
    pub fn lost_after(self, launches: u64) -> Self {
        Self { lost_after: launches, ..self }
    }

    /// The card, as `cuda:0`.
    ///
    /// # Panics
    /// Never: a card that was just made is not lost.
    pub fn card(self) -> Card {
        Card::new("cuda:0", Box::new(self)).expect("a card that was just made is not lost")
    }

    /// What it says of itself.
    pub fn model(&self) -> Model {
        let name = "a simulated card".to_owned();
        Model { name, bytes: self.bytes, arithmetic: "simulated".to_owned(), capability: kernels::LEAST }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That it still answers.
    fn answer(&self) -> Result<(), Fault> {
        if self.is_lost.load(Ordering::SeqCst) {
            return Err(Fault::Lost { card: "cuda:0".to_owned(), problem: "it was told to be lost".to_owned() });
        }
        Ok(())
    }

    fn count(&self) -> Result<(), Fault> {
        if self.launches.fetch_add(1, Ordering::SeqCst) >= self.lost_after {
            self.is_lost.store(true, Ordering::SeqCst);
        }
        self.answer()
    }
}

impl Driver for Simulated {
    fn reserve(&self, bytes: usize) -> Result<Option<u64>, Fault> {
        self.answer()?;
        let more = |used: usize| used.checked_add(bytes).filter(|&used| used <= self.bytes);
        let fits = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        Ok(fits.then(|| self.memory().alloc(bytes)))
    }

    fn release(&self, address: u64, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.memory().free(address);
    }

    fn capacity(&self) -> Result<usize, Fault> {
        self.answer()?;
        Ok(self.bytes)
    }

    fn keeps(&self) -> bool {
        self.keeps
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.answer()?;
        self.memory().write(to, bytes);
        Ok(())
    }

    fn read(&self, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.answer()?;
        into.copy_from_slice(self.memory().read(from, into.len()));
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.count()?;
        let memory = &mut self.memory();
        let copied = memory.read(from, bytes).to_vec();
        memory.write(to, &copied);
        Ok(())
    }

    fn clear(&self, at: u64, bytes: usize) -> Result<(), Fault> {
        self.count()?;
        self.memory().write(at, &vec![0; bytes]);
        Ok(())
    }

    fn launch(&self, kernel: &str, geometry: Geometry, arguments: &[Argument]) -> Result<(), Fault> {
        self.count()?;
        let geometry = interpreter::Geometry { grid: geometry.grid, block: geometry.block, shared_bytes: 0 };
        let arguments: Vec<interpreter::Argument> = arguments.iter().map(as_bytes).collect();
        let launched = self.machine.launch(&KERNELS, kernel, &geometry, &arguments, &mut self.memory());
        // A kernel that is wrong is a bug of this program's.
        launched.map_or_else(|fault| panic!("{fault}"), |_| Ok(()))
    }

    fn multiply(&self, product: &Product) -> Result<(), Fault> {
        self.count()?;
        library::multiply(&mut self.memory(), product);
        Ok(())
    }

    fn convolve(&self, convolution: &Convolution) -> Result<bool, Fault> {
        if self.has_convolutions {
            self.count()?;
            library::convolve(&mut self.memory(), convolution);
        }
        Ok(self.has_convolutions)
    }

    fn finish(&self) -> Result<(), Fault> {
        self.answer()
    }
}

fn as_bytes(argument: &Argument) -> interpreter::Argument {
    match *argument {
        Argument::Address(address) => interpreter::Argument::U64(address),
        Argument::U32(count) => interpreter::Argument::U32(count),
        Argument::I32(offset) => interpreter::Argument::U32(offset.cast_unsigned()),
        Argument::F64(number) => interpreter::Argument::F64(number),
        Argument::Counts(counts, meant) => {
            interpreter::Argument::Bytes(counts[..meant].iter().flat_map(|count| count.to_le_bytes()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kernel_is_there_for_every_type() {
        let names: BTreeSet<&str> = KERNELS.kernels().collect();
        let over_f32: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("_f32")).collect();
        assert!(over_f32.len() > 50, "{names:?}");
        for operation in over_f32 {
            for dtype in ["f64", "bf16"] {
                assert!(names.contains(&*format!("{operation}_{dtype}")), "{operation}_{dtype}");
            }
        }
    }

    #[test]
    fn the_kernels_were_made_from_the_sources_beside_them() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ml/card/kernels");
        let mut sources: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        sources.retain(|path| path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh"));
        sources.sort();
        let mut sum = flate2::Crc::new();
        for path in sources {
            sum.update(&std::fs::read(path).unwrap());
        }
        let text = kernels::ptx();
        let found = text.lines().next().unwrap();
        assert_eq!(found, format!("// sources {:08x}", sum.sum()), "run scripts/kernels, which needs nvcc");
    }

    #[test]
    fn a_card_that_is_lost_says_so_from_then_on() {
        let card = Simulated::new(1 << 20).lost_after(1).card();
        let room = card.room(64).unwrap();
        card.clear(room.address(), 64).unwrap();
        let lost = card.clear(room.address(), 64).unwrap_err();
        assert_eq!(lost.to_string(), "cuda:0 was lost: it was told to be lost");
        assert!(card.download(room.address(), 64).is_err() && card.room(1 << 19).is_err() && card.finish().is_err());
    }
}
