//! GPUs. A [`Card`] is one queue of work on one device: memory, launches of this program's kernels, and products and convolutions by the
//! vendor's libraries, all through a [`Driver`]. It knows no operation's formula; those are in `ops/`, and their kernels in `kernels/`, in
//! CUDA C++, of which the PTX for every card is part of the program.
//!
//! There are two drivers: `cuda` (feature `cuda`: the driver's and the libraries' functions, found when they are asked for, so that
//! the program starts without them), and `simulated`, which runs the same PTX on host memory, watching for races, unwritten memory and
//! bounds. The second proves the first's kernels and launches on machines without a card. A third, `blank`, counts memory and does nothing.
//!
//! Reading order: `driver` (what a card can do), `memory`, `geometry` (how many threads do what), `kernels`, this file, the two drivers.

mod blank;
#[cfg(feature = "cuda")]
mod cuda;
mod driver;
mod geometry;
mod interpreter;
mod kernels;
mod memory;
mod open;
mod simulated;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory::Memory;

pub use blank::Blank;
pub use driver::{Argument, Convolution, Driver, Fault, Geometry, Numeric, Product, Sizes, Triple};
pub use geometry::count;
pub use kernels::LEAST;
pub use memory::Counts;
pub use open::{Cards, Model, Simulation, has_driver};
pub use simulated::Simulated;

/// One queue of work on one device, and how it computes. A clone is the same queue.
#[derive(Clone)]
pub struct Card {
    queue: Arc<Queue>,
    numeric: Numeric,
}

struct Queue {
    name: String,
    driver: Box<dyn Driver>,
    memory: Mutex<Memory>,
    waits: AtomicU64,
}

impl Queue {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.memory.get_mut().unwrap_or_else(PoisonError::into_inner).trim(&*self.driver);
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({} {} {:p})", self.queue.name, self.numeric, Arc::as_ptr(&self.queue))
    }
}

impl PartialEq for Card {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }
}

/// Room on a card, which returns to it when the last who holds it lets go.
pub struct Buffer {
    queue: Arc<Queue>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Where it is.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How large it is, at least.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.bytes, self.queue.name)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.queue.memory().give(self.address, self.bytes, &*self.queue.driver);
    }
}

impl Card {
    /// A queue on the device of this driver, named as users name it: `cuda:0`. All the memory that the device has may be used, as far as it is there.
    ///
    /// # Errors
    /// A lost device.
    pub fn new(name: impl Into<String>, driver: Box<dyn Driver>) -> Result<Self, Fault> {
        let memory = Mutex::new(Memory::new(driver.capacity()?));
        Ok(Self {
            queue: Arc::new(Queue { name: name.into(), driver, memory, waits: AtomicU64::new(0) }),
            numeric: Numeric::F32,
        })
    }

    /// The same queue, computing in another way.
    #[must_use]
    pub fn with_numeric(&self, numeric: Numeric) -> Self {
        Self { queue: Arc::clone(&self.queue), numeric }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// How it computes.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// What is in use.
    pub fn memory(&self) -> Counts {
        Counts { library: self.queue.driver.library(), ..self.queue.memory().counts() }
    }

    /// Forgets the most that was in use at once until now.
    pub fn restart_peak(&self) {
        self.queue.memory().restart_peak();
    }

    /// Bytes that may be in use.
    pub fn limit(&self) -> usize {
        self.queue.memory().limit()
    }

    /// From now on no more than so many bytes may be in use.
    pub fn set_limit(&self, bytes: usize) {
        self.queue.memory().set_limit(bytes);
    }

    /// Gives memory that is kept for later back to the device.
    pub fn trim(&self) {
        self.queue.memory().trim(&*self.queue.driver);
    }

    /// Room for so many bytes, whatever is in it.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`]; a lost device.
    pub fn room(&self, bytes: usize) -> Result<Buffer, Fault> {
        let address = self.queue.memory().take(bytes, &*self.queue.driver, &self.queue.name)?;
        Ok(Buffer { queue: Arc::clone(&self.queue), address, bytes })
    }

    /// Room that holds these bytes.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`]; a lost device.
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer, Fault> {
        let buffer = self.room(bytes.len())?;
        self.queue.driver.write(buffer.address, bytes)?;
        Ok(buffer)
    }

    /// The bytes from an address on, when all work so far is done.
    ///
    /// # Errors
    /// A lost device.
    pub fn download(&self, from: u64, bytes: usize) -> Result<Vec<u8>, Fault> {
        let mut into = vec![0; bytes];
        self.queue.waits.fetch_add(1, Ordering::Relaxed);
        self.queue.driver.read(from, &mut into)?;
        Ok(into)
    }

    /// Copies bytes on the card.
    ///
    /// # Errors
    /// A lost device.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.queue.driver.copy(to, from, bytes)
    }

    /// Makes bytes 0.
    ///
    /// # Errors
    /// A lost device.
    pub fn clear(&self, at: u64, bytes: usize) -> Result<(), Fault> {
        self.queue.driver.clear(at, bytes)
    }

    /// Starts work; where the driver finds no room for what it wants itself, once more without what is kept here.
    fn started<R>(&self, start: impl Fn(&dyn Driver) -> Result<R, Fault>) -> Result<R, Fault> {
        let driver = &*self.queue.driver;
        match start(driver) {
            Err(Fault::OutOfMemory { .. }) => {
                self.trim();
                start(driver)
            }
            result => result,
        }
    }

    /// Starts a kernel by its name.
    ///
    /// # Errors
    /// A lost device.
    pub fn launch(&self, kernel: &str, geometry: Geometry, arguments: &[Argument]) -> Result<(), Fault> {
        self.started(|driver| driver.launch(kernel, geometry, arguments))
    }

    /// Starts a product.
    ///
    /// # Errors
    /// A lost device, sizes that the library refuses.
    pub fn multiply(&self, product: &Product) -> Result<(), Fault> {
        self.started(|driver| driver.multiply(product))
    }

    /// Starts a convolution by the vendor's library; says whether it has a deterministic algorithm for it.
    ///
    /// # Errors
    /// A lost device.
    pub fn convolve(&self, convolution: &Convolution) -> Result<bool, Fault> {
        self.started(|driver| driver.convolve(convolution))
    }

    /// How often somebody waited for the card.
    pub fn waits(&self) -> u64 {
        self.queue.waits.load(Ordering::Relaxed)
    }

    /// Waits for all work so far.
    ///
    /// # Errors
    /// A lost device.
    pub fn finish(&self) -> Result<(), Fault> {
        self.queue.waits.fetch_add(1, Ordering::Relaxed);
        self.queue.driver.finish()
    }
}
