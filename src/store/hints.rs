//! Hints: where a longer computation may go on from. A hint names records and is never authoritative: it may be deleted at any time, and
//! what is computed from a nearer start has the bytes that it would have had from the beginning.

use serde::{Deserialize, Serialize};

use super::layout::read_file;
use super::sealed::{seal, unseal};
use super::uploads::Upload;
use super::{Error, Store};
use crate::key::Key;

pub(super) const HINTS: &str = "thalweg-hints 1";

/// A record to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hint {
    /// Its key.
    pub key: Key,
    /// How far it had come, in whatever the computation counts.
    pub reached: u64,
}

impl Store {
    /// What is known under `key`; nothing where there is no whole file.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn hints(&self, key: &Key) -> Result<Vec<Hint>, Error> {
        let bytes = read_file(&self.layout.hints(key))?;
        let body = bytes.as_deref().and_then(|bytes| unseal(HINTS, bytes));
        Ok(body.and_then(|body| serde_json::from_str(body.trim_end()).ok()).unwrap_or_default())
    }

    /// The same with what the cache that is shared knows.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn all_hints(&self, key: &Key) -> Result<Vec<Hint>, Error> {
        let mut hints = self.hints(key)?;
        let more = self.shared_hints(key);
        hints.extend(more.into_iter().filter(|hint| !hints.contains(hint)).collect::<Vec<_>>());
        Ok(hints)
    }

    /// Adds a hint under `key`. It is not synced: losing it loses nothing but time.
    ///
    /// # Errors
    /// A failing disk.
    ///
    /// # Panics
    /// Never: hints serialise.
    pub fn add_hint(&self, key: &Key, hint: Hint) -> Result<(), Error> {
        let mut hints = self.hints(key)?;
        if hints.contains(&hint) {
            return Ok(());
        }
        hints.push(hint);
        let body = serde_json::to_string(&hints).expect("invariant: hints serialise");
        self.drafts.write(&seal(HINTS, &format!("{body}\n")))?.place(&self.layout.hints(key))?;
        self.upload(|_| Upload::Hint(*key, hint));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, open};
    use super::*;
    use crate::key::Digest;

    #[test]
    fn hints_add_up_and_a_damaged_file_is_no_hint() {
        let place = Place::new();
        let store = open(&place);
        let key = |text: &str| Key::new(Digest::of(text.as_bytes()));
        assert_eq!(store.hints(&key("chain")).unwrap(), []);
        let hints = [Hint { key: key("a"), reached: 3 }, Hint { key: key("b"), reached: 5 }];
        hints.iter().chain(&hints).for_each(|hint| store.add_hint(&key("chain"), *hint).unwrap());
        assert_eq!(store.hints(&key("chain")).unwrap(), hints);
        std::fs::write(store.layout.hints(&key("chain")), b"nonsense").unwrap();
        assert_eq!(store.hints(&key("chain")).unwrap(), []);
    }
}
