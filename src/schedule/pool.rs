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
            Given::Taken(bytes) if is_same(place.device, device) => *bytes,
            _ => 0,
        };
        let all = self.memory.get(&ordinal).copied().unwrap_or(0);
        all.saturating_sub(self.places.iter().map(taken).sum())
    }

    /// Whether somebody has another place on the device of this one.
    fn is_shared(&self, at: usize) -> bool {
        let device = self.places[at].0.device;
        let is_taken = |(other, (place, given)): (usize, &(Place, Given))| {
            other != at && is_same(place.device, device) && matches!(given, Given::Taken(_))
        };
        self.places.iter().enumerate().any(is_taken)
    }

    fn leave(&mut self, ticket: u64) {
        self.queue.retain(|waiting| waiting.number != ticket);
    }

    /// Whether there was such a device, and it was lost.
    fn lost(&self, wanted: &Wanted<'_>) -> bool {
        self.places.iter().any(|(place, given)| suits(place.device, wanted) && *given == Given::Gone)
    }

    /// Places on a backend that are not gone.
    fn count(&self, wanted: &Wanted<'_>) -> usize {
        let counts = |(place, given): &&(Place, Given)| suits(place.device, wanted) && *given != Given::Gone;
        self.places.iter().filter(counts).count()
    }
}

/// Whether both are places on one device.
fn is_same(a: Device, b: Device) -> bool {
    (a.backend(), a.ordinal()) == (b.backend(), b.ordinal())
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
                0 if state.lost(wanted) => Some(Failure::Lost(none_of(wanted, Some("it was lost")))),
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

    fn missing(&self, backend: &str) -> Option<String> {
        self.find_gpus(backend)
    }

    fn memory(&self, device: Device) -> u64 {
        match device {
            Device::Cpu => 0,
            Device::Cuda { ordinal, .. } => self.shared.state().memory.get(&ordinal).copied().unwrap_or(0),
        }
    }

    fn spare(&self, device: Device) {
        let state = self.shared.state();
        let rests = |(place, given): &&(Place, Given)| *given == Given::Free && is_same(place.device, device);
        let means: Vec<_> = state.places.iter().filter(rests).filter_map(|(place, _)| place.means.clone()).collect();
        drop(state);
        for means in means {
            means.rest(true);
        }
    }

    fn retire(&self, device: Device) {
        let mut state = self.shared.state();
        for (place, given) in &mut state.places {
            if is_same(place.device, device) {
                *given = Given::Gone;
            }
        }
        drop(state);
        self.shared.returned.notify_all();
    }
}

fn none_of(wanted: &Wanted<'_>, why: Option<&str>) -> String {
    let ordinal = wanted.ordinal.map_or_else(String::new, |ordinal| format!(":{ordinal}"));
    let why = why.unwrap_or("none was found");
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
mod tests;
