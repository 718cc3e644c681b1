//! Something done for each of many on a few threads that mostly wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// How many at once.
const AT_ONCE: usize = 8;

/// Does something for each item, until one fails or it is cancelled.
///
/// # Errors
/// The first failure; [`Error::Interrupted`] when cancelled.
pub(super) fn side_by_side<T: Sync>(
    items: &[T],
    cancelled: &(dyn Fn() -> bool + Sync),
    each: impl Fn(&T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let done = if cancelled() { Err(Error::Interrupted) } else { each(item) };
                    if let Err(error) = done {
                        stop.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
