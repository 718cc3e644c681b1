//! The device pool: how many actions may run where. A lease returns its place when it is dropped. Places are given first come, first
//! served: a chain of short actions is not kept waiting by one of long ones that asks again the moment it returns its place.
//!
//! A GPU has several places, and memory: whoever comes first waits until both are there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::execute::{Device, Devices, Failure, Lease, Means, Wanted};
use crate::key::Arithmetic;

/// How often a waiter looks whether the run is to stop.
const POLL: Duration = Duration::from_millis(50);

/// One place on a device.
#[derive(Clone)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// What it computes with.
    pub arithmetic: Arithmetic,
    /// What it is to whoever computes there.
    pub means: Option<Arc<dyn Means>>,
}

/// The places of this machine.
pub struct Pool {
    shared: Arc<Shared>,
    find: Option<Box<dyn Fn() -> Gpus + Send + Sync>>,
    /// Why there are no GPUs, once they were looked for.
    missing: OnceLock<Option<String>>,
}

/// A GPU: the bytes of its memory, and the places on it.
pub struct Gpu {
    /// Bytes that places may have together.
    pub bytes: u64,
    /// The places.
    pub places: Vec<Place>,
}

/// The GPUs of a machine, or why there are none.
pub type Gpus = Result<Vec<Gpu>, String>;

struct Shared {
    state: Mutex<State>,
    returned: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places, who has them, and who waits for one.
#[derive(Default)]
struct State {
    places: Vec<(Place, Given)>,
    /// Bytes of each GPU's memory.
    memory: BTreeMap<usize, u64>,
    queue: VecDeque<Ticket>,
    next_ticket: u64,
}

/// What became of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Free,
    /// With so many bytes.
    Taken(u64),
    /// The device was lost.
    Gone,
}

/// Somebody who waits.
struct Ticket {
    number: u64,
    backend: String,
    ordinal: Option<usize>,
}

impl State {
    /// A free place for a ticket, if nobody who waits for the same came earlier.
    fn take(&mut self, ticket: u64, wanted: &Wanted<'_>) -> Option<(usize, Place)> {
        let same = |other: &&Ticket| other.backend == wanted.backend && other.ordinal == wanted.ordinal;
        if self.queue.iter().find(same).is_none_or(|first| first.number != ticket) {
            return None;
        }
        let fits = |place: &Place| self.free_bytes(place.device) >= self.share(place.device, wanted.bytes);
        let free =
            |(place, given): &(Place, Given)| *given == Given::Free && suits(place.device, wanted) && fits(place);
        // The device with most left, so that work spreads over all of them.
        let found = (0..self.places.len()).filter(|&at| free(&self.places[at]));
        let found = found.max_by_key(|&at| (self.free_bytes(self.places[at].0.device), std::cmp::Reverse(at)))?;
        self.leave(ticket);
        let bytes = self.share(self.places[found].0.device, wanted.bytes);
        self.places[found].1 = Given::Taken(bytes);
        Some((found, self.places[found].0.clone()))
    }

    /// What somebody who wants so many bytes of a device gets: never more than it has.
    fn share(&self, device: Device, bytes: u64) -> u64 {
        match device {
            Device::Cpu => 0,
            Device::Cuda { ordinal, .. } => bytes.min(self.memory.get(&ordinal).copied().unwrap_or(0)),
        }
    }

    fn free_bytes(&self, device: Device) -> u64 {
        let Device::Cuda { ordinal, .. } = device else { return 0 };
        let taken = |(place, given): &(Place, Given)| match given {
            Given::Taken(bytes) if place.device.backend() == "cuda" && place.device.ordinal() == ordinal => *bytes,
            _ => 0,
        };
        let all = self.memory.get(&ordinal).copied().unwrap_or(0);
        all.saturating_sub(self.places.iter().map(taken).sum())
    }

    /// Whether somebody has another place on the device of this one.
    fn is_shared(&self, at: usize) -> bool {
        let device = self.places[at].0.device;
        let same = |other: Device| (other.backend(), other.ordinal()) == (device.backend(), device.ordinal());
        let is_taken = |(other, (place, given)): (usize, &(Place, Given))| {
            other != at && same(place.device) && matches!(given, Given::Taken(_))
        };
        self.places.iter().enumerate().any(is_taken)
    }

    fn leave(&mut self, ticket: u64) {
        self.queue.retain(|waiting| waiting.number != ticket);
    }

    /// Places on a backend that are not gone.
    fn count(&self, wanted: &Wanted<'_>) -> usize {
        let counts = |(place, given): &&(Place, Given)| suits(place.device, wanted) && *given != Given::Gone;
        self.places.iter().filter(counts).count()
    }
}

fn suits(device: Device, wanted: &Wanted<'_>) -> bool {
    device.backend() == wanted.backend && wanted.ordinal.is_none_or(|ordinal| ordinal == device.ordinal())
}

impl Pool {
    /// A pool with `jobs` places on the CPU.
    pub fn cpu(jobs: usize, arithmetic: &Arithmetic) -> Self {
        let place = Place { device: Device::Cpu, arithmetic: arithmetic.clone(), means: None };
        let places = vec![(place, Given::Free); jobs.max(1)];
        let state = Mutex::new(State { places, ..State::default() });
        let shared = Arc::new(Shared { state, returned: Condvar::new() });
        Self { shared, find: None, missing: OnceLock::new() }
    }

    /// With GPUs, which are looked for when the first place on one is asked for.
    #[must_use]
    pub fn with_gpus(self, find: impl Fn() -> Gpus + Send + Sync + 'static) -> Self {
        Self { find: Some(Box::new(find)), ..self }
    }

    /// Looks for GPUs where a place on one is asked for the first time; why there is none.
    fn find_gpus(&self, backend: &str) -> Option<String> {
        let find = self.find.as_ref().filter(|_| backend == "cuda")?;
        let found = self.missing.get_or_init(|| {
            let gpus = match find() {
                Ok(gpus) => gpus,
                Err(why) => return Some(why),
            };
            let mut state = self.shared.state();
            for Gpu { bytes, places } in gpus {
                for place in places {
                    state.memory.insert(place.device.ordinal(), bytes);
                    state.places.push((place, Given::Free));
                }
            }
            None
        });
        found.clone()
    }
}

impl Devices for Pool {
    fn lease(&self, wanted: &Wanted<'_>, cancelled: &dyn Fn() -> bool) -> Result<Box<dyn Lease>, Failure> {
        let missing = self.find_gpus(wanted.backend);
        let mut state = self.shared.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (backend, ordinal) = (wanted.backend.to_owned(), wanted.ordinal);
        state.queue.push_back(Ticket { number: ticket, backend, ordinal });
        loop {
            let problem = match state.count(wanted) {
                _ if cancelled() => Some(Failure::Interrupted),
                0 => Some(Failure::Machine(none_of(wanted, missing.as_deref()))),
                _ => None,
            };
            if let Some(problem) = problem {
                state.leave(ticket);
                self.shared.returned.notify_all();
                return Err(problem);
            }
            if let Some((at, place)) = state.take(ticket, wanted) {
                // Another place may be free for whoever is next.
                self.shared.returned.notify_all();
                return Ok(Box::new(Held { at, place, shared: Arc::clone(&self.shared) }));
            }
            let waited = self.shared.returned.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
        }
    }

    fn places(&self, backend: &str) -> usize {
        self.find_gpus(backend);
        self.shared.state().count(&Wanted { backend, ordinal: None, bytes: 0 })
    }

    fn memory(&self, device: Device) -> u64 {
        match device {
            Device::Cpu => 0,
            Device::Cuda { ordinal, .. } => self.shared.state().memory.get(&ordinal).copied().unwrap_or(0),
        }
    }

    fn retire(&self, device: Device) {
        let mut state = self.shared.state();
        for (place, given) in &mut state.places {
            if (place.device.backend(), place.device.ordinal()) == (device.backend(), device.ordinal()) {
                *given = Given::Gone;
            }
        }
        drop(state);
        self.shared.returned.notify_all();
    }
}

fn none_of(wanted: &Wanted<'_>, why: Option<&str>) -> String {
    let ordinal = wanted.ordinal.map_or_else(String::new, |ordinal| format!(":{ordinal}"));
    let why = why.unwrap_or("none was found, or it was lost");
    format!("there is no device `{}{ordinal}`: {why}", wanted.backend)
}

struct Held {
    at: usize,
    place: Place,
    shared: Arc<Shared>,
}

impl Lease for Held {
    fn device(&self) -> Device {
        self.place.device
    }

    fn arithmetic(&self) -> &Arithmetic {
        &self.place.arithmetic
    }

    fn means(&self) -> Option<&Arc<dyn Means>> {
        self.place.means.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Before the place is anybody else's.
        if let Some(means) = &self.place.means {
            let shared = self.shared.state().is_shared(self.at);
            means.rest(shared);
        }
        let mut state = self.shared.state();
        if let given @ Given::Taken(_) = &mut state.places[self.at].1 {
            *given = Given::Free;
        }
        drop(state);
        self.shared.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const CPU: Wanted<'_> = Wanted { backend: "cpu", ordinal: None, bytes: 0 };

    fn arithmetic() -> Arithmetic {
        Arithmetic { backend: "cpu".to_owned(), features: String::new() }
    }

    /// Two GPUs of 100 bytes with three places each.
    fn with_gpus() -> Pool {
        let place = |ordinal| {
            move |lane| Place { device: Device::Cuda { ordinal, lane }, arithmetic: arithmetic(), means: None }
        };
        let gpu = move |ordinal| Gpu { bytes: 100, places: (0..3).map(place(ordinal)).collect() };
        Pool::cpu(1, &arithmetic()).with_gpus(move || Ok(vec![gpu(0), gpu(1)]))
    }

    fn gpu(bytes: u64) -> Wanted<'static> {
        Wanted { backend: "cuda", ordinal: None, bytes }
    }

    #[test]
    fn no_more_leases_are_out_than_there_are_places() {
        let pool = Pool::cpu(3, &arithmetic());
        let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lease = pool.lease(&CPU, &|| false).unwrap();
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
        let pool = Pool::cpu(1, &arithmetic());
        let held = pool.lease(&CPU, &|| false).unwrap();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for name in 0..4 {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let _lease = pool.lease(&CPU, &|| false).unwrap();
                    order.lock().unwrap().push(name);
                });
                while pool.shared.state().queue.len() <= name {
                    std::thread::yield_now();
                }
            }
            drop(held);
            let _greedy = pool.lease(&CPU, &|| false).unwrap();
            order.lock().unwrap().push(9);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 9]);
    }

    #[test]
    fn a_waiter_hears_of_an_interruption_and_a_missing_device_is_said() {
        let pool = Pool::cpu(1, &arithmetic());
        let _held = pool.lease(&CPU, &|| false).unwrap();
        let polls = AtomicUsize::new(0);
        let stop = || polls.fetch_add(1, Ordering::SeqCst) > 1;
        assert!(matches!(pool.lease(&CPU, &stop), Err(Failure::Interrupted)));
        let missing = |wanted: &Wanted<'_>| pool.lease(wanted, &|| false).err().unwrap().to_string();
        assert_eq!(missing(&gpu(0)), "there is no device `cuda`: none was found, or it was lost");
        let third = Wanted { ordinal: Some(3), ..gpu(0) };
        assert_eq!(missing(&third), "there is no device `cuda:3`: none was found, or it was lost");
        let pool = Pool::cpu(1, &arithmetic()).with_gpus(|| Err("this machine has no driver".to_owned()));
        let why = pool.lease(&gpu(0), &|| false).err().unwrap().to_string();
        assert_eq!(why, "there is no device `cuda`: this machine has no driver");
    }

    /// Whether a lease is to be had now.
    fn fits(pool: &Pool, wanted: &Wanted<'_>) -> Option<Box<dyn Lease>> {
        let polls = AtomicUsize::new(0);
        pool.lease(wanted, &|| polls.fetch_add(1, Ordering::SeqCst) > 1).ok()
    }

    #[test]
    fn several_share_a_gpu_while_what_they_want_fits() {
        let pool = with_gpus();
        let first = fits(&pool, &gpu(60)).unwrap();
        let second = fits(&pool, &gpu(60)).unwrap();
        assert_ne!(first.device().ordinal(), second.device().ordinal());
        assert!(fits(&pool, &gpu(60)).is_none());
        let third = fits(&pool, &gpu(40)).unwrap();
        assert!(fits(&pool, &gpu(41)).is_none() && fits(&pool, &gpu(40)).is_some());
        drop(first);
        assert!(fits(&pool, &gpu(60)).is_some() || third.device().ordinal() != second.device().ordinal());
        drop((second, third));
        // Whoever wants more than there is gets all of one.
        let whole = fits(&pool, &gpu(u64::MAX)).unwrap();
        let pinned = |ordinal| Wanted { ordinal: Some(ordinal), ..gpu(1) };
        assert!(fits(&pool, &pinned(whole.device().ordinal())).is_none());
        assert!(fits(&pool, &pinned(1 - whole.device().ordinal())).is_some());
    }

    #[test]
    fn a_gpu_that_is_lost_gives_no_places_and_whoever_waits_for_it_hears() {
        let pool = with_gpus();
        let held = pool.lease(&Wanted { ordinal: Some(0), ..gpu(100) }, &|| false).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.lease(&Wanted { ordinal: Some(0), ..gpu(1) }, &|| false).map(|_| ()));
            while pool.shared.state().queue.is_empty() {
                std::thread::yield_now();
            }
            pool.retire(held.device());
            assert!(matches!(waiter.join().unwrap(), Err(Failure::Machine(_))));
        });
        drop(held);
        assert_eq!(pool.places("cuda"), 3);
        assert_eq!(pool.lease(&gpu(1), &|| false).unwrap().device().ordinal(), 1);
        pool.retire(Device::Cuda { ordinal: 1, lane: 0 });
        assert_eq!((pool.places("cuda"), pool.places("cpu")), (0, 1));
    }

    #[test]
    fn who_returns_a_place_is_told_whether_others_share_the_device() {
        #[derive(Default)]
        struct Ear(Mutex<Vec<bool>>);
        impl Means for Ear {
            fn rest(&self, shared: bool) {
                self.0.lock().unwrap().push(shared);
            }
        }
        let ear = Arc::new(Ear::default());
        let place = |lane| {
            let means: Arc<dyn Means> = ear.clone();
            Place { device: Device::Cuda { ordinal: 0, lane }, arithmetic: arithmetic(), means: Some(means) }
        };
        let places: Vec<Place> = (0..2).map(place).collect();
        let pool = Pool::cpu(1, &arithmetic()).with_gpus(move || Ok(vec![Gpu { bytes: 10, places: places.clone() }]));
        let (first, second) = (fits(&pool, &gpu(1)).unwrap(), fits(&pool, &gpu(1)).unwrap());
        drop(first);
        drop(second);
        assert_eq!(*ear.0.lock().unwrap(), [true, false]);
    }
}
