//! Devices and leases, as far as running an action needs them; the pool itself is the scheduler's.

use std::fmt;

use super::Failure;

/// Where an action runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The cores of this machine.
    Cpu,
    /// One GPU, by ordinal; the ordinal is in no key.
    Cuda(usize),
}

impl Device {
    /// The backend, which is an ingredient of keys.
    pub fn backend(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The right to run one action on a device; it returns to the pool when dropped.
pub trait Lease: Send {
    /// Which device.
    fn device(&self) -> Device;
}

/// Who gives leases.
pub trait Devices: Send + Sync {
    /// Waits for a place on a device of `backend` (`cpu` or `cuda`).
    ///
    /// # Errors
    /// Interrupted while waiting, or this machine has no such device.
    fn lease(&self, backend: &str, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure>;

    /// How many actions may run side by side on `backend`.
    fn places(&self, backend: &str) -> usize;
}
