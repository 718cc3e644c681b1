//! Which cards there are.

use super::Card;
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
    /// So many simulated ones, each with so many bytes.
    Simulated {
        /// How many.
        count: usize,
        /// Bytes of each.
        bytes: usize,
        /// The first is lost after so many launches.
        lost_after: Option<u64>,
        /// Blocks and threads run in an order of this seed.
        seed: Option<u64>,
    },
}

impl Cards {
    /// All devices, in the order of their numbers.
    ///
    /// # Errors
    /// [`Fault::Missing`] if there is none, saying why.
    pub fn models(&self) -> Result<Vec<Model>, Fault> {
        match self {
            Self::Cuda => cuda::models(),
            Self::Simulated { count: 0, .. } => Err(Fault::Missing("no card is simulated".to_owned())),
            Self::Simulated { count, bytes, .. } => Ok((0..*count).map(|_| Simulated::new(*bytes).model()).collect()),
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
            Self::Simulated { count, bytes, lost_after, seed } if ordinal < *count => {
                let card = Simulated::new(*bytes).lost_after(lost_after.filter(|_| ordinal == 0).unwrap_or(u64::MAX));
                Card::new(name, Box::new(if let Some(seed) = *seed { card.shuffled(seed) } else { card }))
            }
            Self::Simulated { count, .. } => {
                Err(Fault::Missing(format!("there is no {name} among {count} simulated cards")))
            }
        }
    }
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

    pub(super) fn models() -> Result<Vec<Model>, Fault> {
        Err(missing())
    }

    pub(super) fn open(_: usize) -> Result<Box<dyn Driver>, Fault> {
        Err(missing())
    }
}
