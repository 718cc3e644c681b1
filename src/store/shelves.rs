//! What the folders of a shared cache were seen to hold, by listings.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::remote::Listed;

/// How long a listing is believed to be complete.
const BELIEVED: Duration = Duration::from_mins(1);

/// All folders that were listed.
#[derive(Default)]
pub(super) struct Shelves(Mutex<BTreeMap<String, Shelf>>);

/// What a folder was seen to hold: names with their lengths.
struct Shelf {
    seen: Instant,
    names: BTreeMap<String, u64>,
}

impl Shelf {
    fn of(seen: Instant, listed: impl IntoIterator<Item = Listed>) -> Self {
        Self { seen, names: listed.into_iter().map(|object| (object.name, object.bytes)).collect() }
    }
}

impl Shelves {
    /// Looks for something in a folder, which `list` lists anew where it is not found and the last listing is old. Threads list at once.
    pub(super) fn look<T>(
        &self,
        folder: &str,
        find: impl Fn(&BTreeMap<String, u64>) -> Option<T>,
        list: impl FnOnce() -> Option<Vec<Listed>>,
    ) -> Option<T> {
        if let Some(shelf) = self.lock().get(folder) {
            let found = find(&shelf.names);
            if found.is_some() || shelf.seen.elapsed() < BELIEVED {
                return found;
            }
        }
        let shelf = Shelf::of(Instant::now(), list()?);
        let found = find(&shelf.names);
        self.lock().insert(folder.to_owned(), shelf);
        found
    }

    /// Takes in what was listed, since `seen`, below a folder of folders that are named by two digits.
    pub(super) fn stock(&self, folder: &str, seen: Instant, listed: Vec<Listed>) {
        let mut shelves = self.lock();
        let inner = (0..=u8::MAX).map(|byte| format!("{folder}/{byte:02x}"));
        shelves.extend(inner.map(|folder| (folder, Shelf::of(seen, []))));
        for object in listed {
            if let Some(shelf) = shelves.get_mut(folder_of(&object.name)) {
                shelf.names.insert(object.name, object.bytes);
            }
        }
    }

    /// The names of all objects that are known below a folder.
    pub(super) fn names_below(&self, folder: &str) -> Vec<String> {
        let below = format!("{folder}/");
        let shelves = self.lock();
        let inside = shelves.iter().filter(|(folder, _)| folder.starts_with(&below));
        inside.flat_map(|(_, shelf)| shelf.names.keys().cloned()).collect()
    }

    /// Forgets what was listed too long ago to be believed.
    pub(super) fn forget_old(&self) {
        self.lock().retain(|_, shelf| shelf.seen.elapsed() < BELIEVED);
    }

    /// Notes that an object was put up.
    pub(super) fn note(&self, name: &str, bytes: u64) {
        if let Some(shelf) = self.lock().get_mut(folder_of(name)) {
            shelf.names.insert(name.to_owned(), bytes);
        }
    }

    /// As if nothing had been listed for long.
    #[cfg(test)]
    pub(super) fn grow_old(&self) {
        self.lock().values_mut().for_each(|shelf| shelf.seen -= BELIEVED);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Shelf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder that an object's name lies in.
pub(super) fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}
