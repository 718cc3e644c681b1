//! Devices and leases, as far as running an action needs them; the pool itself is the scheduler's.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::Failure;
use crate::key::Arithmetic;

/// Where an action runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The cores of this machine.
    Cpu,
    /// One GPU, by ordinal, which is in no key; several queues of work share it while what they need fits.
    Cuda {
        /// Which GPU.
        ordinal: usize,
        /// Which of its queues.
        queue: usize,
    },
}

impl Device {
    /// The backend, which is an ingredient of keys.
    pub fn backend(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
        }
    }

    /// Its number among the devices of its backend.
    pub fn ordinal(self) -> usize {
        match self {
            Self::Cpu => 0,
            Self::Cuda { ordinal, .. } => ordinal,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda { ordinal, .. } => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// What an action asks of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// `cpu` or `cuda`.
    pub backend: &'a str,
    /// A GPU that the user named.
    pub ordinal: Option<usize>,
    /// Bytes of a GPU's memory; more than it has means all of it.
    pub bytes: u64,
}

/// What a place on a device is to whoever computes there. The pool does not know.
pub trait Means: Any + Send + Sync {
    /// Nobody has the place any more; whether others have one on the same device.
    fn rest(&self, shared: bool);
}

/// The right to run one action on a device; it returns to the pool when dropped.
pub trait Lease: Send {
    /// Which device.
    fn device(&self) -> Device;

    /// What it computes with.
    fn arithmetic(&self) -> &Arithmetic;

    /// What the place is to whoever computes there, if it is anything but the device.
    fn means(&self) -> Option<&Arc<dyn Means>>;
}

/// Who gives leases.
pub trait Devices: Send + Sync {
    /// Waits for a place.
    ///
    /// # Errors
    /// Interrupted while waiting, or this machine has no such device.
    fn lease(&self, wanted: &Wanted<'_>, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure>;

    /// How many actions may run side by side on `backend`.
    fn places(&self, backend: &str) -> usize;

    /// Why there is no place on `backend`, where that is known.
    fn missing(&self, backend: &str) -> Option<String>;

    /// Bytes of a device's memory, 0 where the pool does not count them.
    fn memory(&self, device: Device) -> u64;

    /// Places on a device that nobody has give back what they keep there.
    fn spare(&self, device: Device);

    /// Gives no more places on a device: it was lost.
    fn retire(&self, device: Device);
}

/// What an action needs of a GPU, by its fingerprint. Whoever knows the kinds knows.
pub trait Footprint: Send + Sync {
    /// Bytes that some actions which run together are likely to need at once.
    ///
    /// # Errors
    /// If an input is absent.
    fn bytes(&self, group: &[super::ActionContext<'_>]) -> Result<u64, Failure>;

    /// What would need no more than so many bytes, in words.
    fn advice(&self, cx: &super::ActionContext<'_>, bytes: u64) -> Option<String>;
}
