//! The device pool: how many actions may run where. A lease returns its place when it is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::execute::{Device, Devices, Failure, Lease};

/// How often a waiter looks whether the run is to stop.
const POLL: Duration = Duration::from_millis(50);

/// The free places of this machine.
pub struct Pool {
    shared: Arc<Shared>,
    places: BTreeMap<&'static str, usize>,
}

struct Shared {
    free: Mutex<Vec<Device>>,
    returned: Condvar,
}

impl Pool {
    /// A pool with `jobs` places on the CPU.
    pub fn cpu(jobs: usize) -> Self {
        Self::of(vec![Device::Cpu; jobs.max(1)])
    }

    fn of(free: Vec<Device>) -> Self {
        let mut places = BTreeMap::new();
        for device in &free {
            *places.entry(device.backend()).or_insert(0) += 1;
        }
        Self { shared: Arc::new(Shared { free: Mutex::new(free), returned: Condvar::new() }), places }
    }
}

impl Devices for Pool {
    fn lease(&self, backend: &str, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure> {
        if self.places(backend) == 0 {
            return Err(Failure::Machine(format!("this machine has no `{backend}` device for this build of thalweg")));
        }
        let mut free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if cancelled() {
                return Err(Failure::Interrupted);
            }
            if let Some(i) = free.iter().position(|device| device.backend() == backend) {
                let device = free.remove(i);
                return Ok(Box::new(Place { device, shared: Arc::clone(&self.shared) }));
            }
            let waited = self.shared.returned.wait_timeout(free, POLL).unwrap_or_else(PoisonError::into_inner);
            free = waited.0;
        }
    }

    fn places(&self, backend: &str) -> usize {
        self.places.get(backend).copied().unwrap_or(0)
    }
}

struct Place {
    device: Device,
    shared: Arc<Shared>,
}

impl Lease for Place {
    fn device(&self) -> Device {
        self.device
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.device);
        self.shared.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_leases_are_out_than_there_are_places() {
        let pool = Pool::cpu(3);
        let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lease = pool.lease("cpu", &|| false).unwrap();
                        most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        out.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                    }
                });
            }
        });
        assert!((2..=3).contains(&most.into_inner()));
    }

    #[test]
    fn a_waiter_hears_of_an_interruption_and_a_missing_device_is_said() {
        let pool = Pool::cpu(1);
        let _held = pool.lease("cpu", &|| false).unwrap();
        let polls = AtomicUsize::new(0);
        let stop = || polls.fetch_add(1, Ordering::SeqCst) > 1;
        assert!(matches!(pool.lease("cpu", &stop), Err(Failure::Interrupted)));
        assert!(matches!(pool.lease("cuda", &|| false), Err(Failure::Machine(_))));
    }
}
