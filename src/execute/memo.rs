//! Decoded inputs, shared between the actions of a run: a data set is decoded once, not once an epoch.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;

/// How many decoded things are kept; more than any study has data sets and models in use at a time.
const LIMIT: usize = 32;

type Slots = BTreeMap<String, (u64, Slot)>;
type Slot = Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>;

/// Keeps what was decoded, by name; names hold the digests of what it was decoded from.
#[derive(Default)]
pub struct Memo {
    slots: Mutex<(u64, Slots)>,
}

impl Memo {
    /// What `make` gives, made once for each name and type while it is among the last that were asked for.
    ///
    /// # Errors
    /// Those of `make`, which are not kept.
    pub fn get<T: Send + Sync + 'static>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Arc<T>, Failure> {
        let slot = self.slot(&format!("{} {name}", std::any::type_name::<T>()));
        let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(known)) = value.clone().map(Arc::downcast::<T>) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        *value = Some(made.clone());
        Ok(made)
    }

    /// Forgets all that nobody uses any more.
    pub fn forget(&self) {
        let mut guard = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let is_used = |slot: &Slot| {
            let value = slot.try_lock();
            value.map_or(true, |value| value.as_ref().is_some_and(|value| Arc::strong_count(value) > 1))
        };
        guard.1.retain(|_, (_, slot)| is_used(slot));
    }

    fn slot(&self, name: &str) -> Slot {
        let mut guard = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, slots) = &mut *guard;
        *clock += 1;
        if !slots.contains_key(name)
            && slots.len() >= LIMIT
            && let Some(oldest) = slots.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone())
        {
            slots.remove(&oldest);
        }
        let entry = slots.entry(name.to_owned()).or_default();
        entry.0 = *clock;
        Arc::clone(&entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_not_made_again_until_it_is_forgotten() {
        let memo = Memo::default();
        let mut made = 0;
        for round in 0..3 {
            for name in 0..LIMIT {
                let value = memo.get(&name.to_string(), || {
                    made += 1;
                    Ok(name)
                });
                assert_eq!(*value.unwrap(), name, "{round}");
            }
        }
        assert_eq!(made, LIMIT);
        memo.get("one more", || Ok(0usize)).unwrap();
        memo.get("0", || {
            made += 1;
            Ok(0usize)
        })
        .unwrap();
        assert_eq!(made, LIMIT + 1);
    }

    #[test]
    fn a_failure_is_not_kept_and_types_do_not_meet() {
        let memo = Memo::default();
        assert!(memo.get::<u8>("x", || Err(Failure::Interrupted)).is_err());
        assert_eq!(*memo.get::<u8>("x", || Ok(1)).unwrap(), 1);
        assert_eq!(*memo.get::<u16>("x", || Ok(2)).unwrap(), 2);
    }
}
