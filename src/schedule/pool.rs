//! The device pool: how many actions may run where. A lease returns its place when it is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::execute::{Device, Devices, Failure, Lease};

/// How often a waiter looks whether the run is to stop.
const POLL: Duration = Duration::from_millis(50);

/// The free places of this machine. Who asks first gets the first that is free: a stage whose actions follow each other closely must not keep
/// the others waiting.
pub struct Pool {
    shared: Arc<Shared>,
    places: BTreeMap<&'static str, usize>,
}

struct Shared {
    line: Mutex<Line>,
    moved: Condvar,
}

/// Free devices, and who waits for one, in the order in which they came.
#[derive(Default)]
struct Line {
    free: Vec<Device>,
    waiting: VecDeque<(u64, String)>,
    came: u64,
}

impl Line {
    /// The free device for who came as number `who`, unless somebody before waits for the same backend.
    fn turn(&mut self, who: u64, backend: &str) -> Option<Device> {
        let first = self.waiting.iter().position(|(_, other)| other == backend)?;
        let free = self.free.iter().position(|device| device.backend() == backend)?;
        if self.waiting[first].0 != who {
            return None;
        }
        self.waiting.remove(first);
        Some(self.free.remove(free))
    }
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
        let line = Mutex::new(Line { free, ..Line::default() });
        Self { shared: Arc::new(Shared { line, moved: Condvar::new() }), places }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Devices for Pool {
    fn lease(&self, backend: &str, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure> {
        if self.places(backend) == 0 {
            return Err(Failure::Machine(format!("this machine has no `{backend}` device for this build of thalweg")));
        }
        let mut line = self.shared.line();
        let who = line.came;
        line.came += 1;
        line.waiting.push_back((who, backend.to_owned()));
        loop {
            if cancelled() {
                line.waiting.retain(|(other, _)| *other != who);
                self.shared.moved.notify_all();
                return Err(Failure::Interrupted);
            }
            if let Some(device) = line.turn(who, backend) {
                // Another place may be free for the next in the line.
                self.shared.moved.notify_all();
                return Ok(Box::new(Place { device, shared: Arc::clone(&self.shared) }));
            }
            line = self.shared.moved.wait_timeout(line, POLL).unwrap_or_else(PoisonError::into_inner).0;
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
        self.shared.line().free.push(self.device);
        self.shared.moved.notify_all();
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
    fn leases_are_given_in_the_order_in_which_they_were_asked_for() {
        let pool = Pool::cpu(1);
        let held = pool.lease("cpu", &|| false).unwrap();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for i in 0..6 {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let lease = pool.lease("cpu", &|| false).unwrap();
                    order.lock().unwrap().push(i);
                    drop(lease);
                });
                while pool.shared.line().waiting.len() <= i {
                    std::thread::yield_now();
                }
            }
            drop(held);
            // Who comes back at once stands behind those who wait.
            drop(pool.lease("cpu", &|| false).unwrap());
            order.lock().unwrap().push(6);
        });
        assert_eq!(order.into_inner().unwrap(), (0..7).collect::<Vec<_>>());
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
