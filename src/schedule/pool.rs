//! The device pool: how many actions may run where. A lease returns its place when it is dropped. Places are given first come, first
//! served: a chain of short actions is not kept waiting by one of long ones that asks again the moment it returns its place.

use std::collections::{BTreeMap, VecDeque};
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
    state: Mutex<Waiting>,
    returned: Condvar,
}

/// Free places, and who waits for one.
struct Waiting {
    free: Vec<Device>,
    /// Tickets with the backend they are for, in the order in which they were drawn.
    queue: VecDeque<(u64, String)>,
    next_ticket: u64,
}

impl Waiting {
    /// A free place for a ticket, if nobody who waits for the same backend came earlier.
    fn take(&mut self, ticket: u64, backend: &str) -> Option<Device> {
        let first = self.queue.iter().find(|(_, waits_for)| waits_for == backend);
        let place = self.free.iter().position(|device| device.backend() == backend);
        let place = place.filter(|_| first.is_some_and(|&(first, _)| first == ticket))?;
        self.leave(ticket);
        Some(self.free.remove(place))
    }

    fn leave(&mut self, ticket: u64) {
        self.queue.retain(|&(waiting, _)| waiting != ticket);
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
        let state = Mutex::new(Waiting { free, queue: VecDeque::new(), next_ticket: 0 });
        Self { shared: Arc::new(Shared { state, returned: Condvar::new() }), places }
    }
}

impl Devices for Pool {
    fn lease(&self, backend: &str, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure> {
        if self.places(backend) == 0 {
            return Err(Failure::Machine(format!("this machine has no `{backend}` device for this build of thalweg")));
        }
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back((ticket, backend.to_owned()));
        loop {
            if cancelled() {
                state.leave(ticket);
                self.shared.returned.notify_all();
                return Err(Failure::Interrupted);
            }
            if let Some(device) = state.take(ticket, backend) {
                // Another place may be free for whoever is next.
                self.shared.returned.notify_all();
                return Ok(Box::new(Place { device, shared: Arc::clone(&self.shared) }));
            }
            let waited = self.shared.returned.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
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
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.device);
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
    fn whoever_asks_first_is_served_first_and_greed_waits() {
        let pool = Pool::cpu(1);
        let held = pool.lease("cpu", &|| false).unwrap();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for name in 0..4 {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let _lease = pool.lease("cpu", &|| false).unwrap();
                    order.lock().unwrap().push(name);
                });
                while pool.shared.state.lock().unwrap().queue.len() <= name {
                    std::thread::yield_now();
                }
            }
            drop(held);
            let _greedy = pool.lease("cpu", &|| false).unwrap();
            order.lock().unwrap().push(9);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 9]);
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
