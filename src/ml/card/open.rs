//! Which cards there are.

use super::Card;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::driver::Fault;
use super::simulated::Simulated;

/// One device, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What it is called.
    pub name: String,
    /// Bytes of its memory.
    pub bytes: usize,
    /// What makes its arithmetic that of others: the model, and the versions of driver and libraries.
    pub arithmetic: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
}

/// The cards of a machine.
#[derive(Clone, Debug)]
pub enum Cards {
    /// Those that CUDA's driver finds.
    Cuda,
    /// Simulated ones.
    Simulated(Simulation),
}

/// Simulated cards, and how they behave.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// What is in use of each card's memory, by all queues on it.
    cards: Vec<Arc<AtomicUsize>>,
    bytes: usize,
    /// The first is lost after so many launches of a queue.
    pub lost_after: Option<u64>,
    /// Blocks and threads run in an order of this seed.
    pub seed: Option<u64>,
}

impl Simulation {
    /// How many cards.
    pub fn count(&self) -> usize {
        self.cards.len()
    }

    /// How many bytes each has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many cards with so many bytes each.
    pub fn new(count: usize, bytes: usize) -> Self {
        Self { cards: (0..count).map(|_| Arc::default()).collect(), bytes, lost_after: None, seed: None }
    }

    fn open(&self, ordinal: usize) -> Option<Simulated> {
        let lost_after = self.lost_after.filter(|_| ordinal == 0).unwrap_or(u64::MAX);
        let card = Simulated::new(self.bytes).sharing(Arc::clone(self.cards.get(ordinal)?)).lost_after(lost_after);
        Some(if let Some(seed) = self.seed { card.shuffled(seed) } else { card })
    }
}

impl Cards {
    /// All devices, in the order of their numbers.
    ///
    /// # Errors
    /// [`Fault::Missing`] if there is none, saying why.
    pub fn models(&self) -> Result<Vec<Model>, Fault> {
        match self {
            Self::Cuda => cuda::models(),
            Self::Simulated(cards) if cards.cards.is_empty() => Err(Fault::Missing("no card is simulated".to_owned())),
            Self::Simulated(cards) => Ok(cards.cards.iter().map(|_| Simulated::new(cards.bytes).model()).collect()),
        }
    }

    /// A new queue on a device.
    ///
    /// # Errors
    /// [`Fault::Missing`] if there is none of this number; a lost device.
    pub fn open(&self, ordinal: usize) -> Result<Card, Fault> {
        let name = format!("cuda:{ordinal}");
        match self {
            Self::Cuda => Card::new(name, cuda::open(ordinal)?),
            Self::Simulated(cards) => {
                let missing =
                    || Fault::Missing(format!("there is no {name} among {} simulated cards", cards.cards.len()));
                Card::new(name.clone(), Box::new(cards.open(ordinal).ok_or_else(missing)?))
            }
        }
    }
}

/// Whether this machine has a driver for cards, usable or not.
pub fn has_driver() -> bool {
    cuda::has_driver()
}

#[cfg(feature = "cuda")]
use super::cuda;

/// Without the feature there is no card.
#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{Fault, Model};
    use crate::ml::card::Driver;

    fn missing() -> Fault {
        Fault::Missing("this build of thalweg is without the feature `cuda`".to_owned())
    }

    pub(super) fn has_driver() -> bool {
        false
    }

    pub(super) fn models() -> Result<Vec<Model>, Fault> {
        Err(missing())
    }

    pub(super) fn open(_: usize) -> Result<Box<dyn Driver>, Fault> {
        Err(missing())
    }
}
