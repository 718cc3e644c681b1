//! What a run has of its own is in the shared cache when the run is over, whoever made it and when: also what was made without that cache, or by
//! a run that was ended before everything was there.
//!
//! Which stages a shared cache was seen to have whole is remembered here, so that a run that finds everything asks nobody. The memory may be
//! deleted at any time; what others remove there afterwards is put up again by `cache push`.

use std::collections::BTreeSet;

use super::layout::read_file;
use super::lock::Patience;
use super::sealed::{seal, unseal};
use super::uploads::Sent;
use super::{Error, Store};
use crate::key::Key;

/// The name and number of the memory's format.
pub(super) const COMPLETE: &str = "thalweg-complete 1";
/// Of more actions than this all names are learnt at once.
const MANY: usize = 500;

impl Store {
    /// Waits until everything that these stages used is in the shared cache, and says what went there; `waiting` is told how much is left.
    ///
    /// # Errors
    /// A failing disk.
    pub fn complete(&self, stages: &[Key], cancelled: &dyn Fn() -> bool, waiting: &dyn Fn(u64)) -> Result<Sent, Error> {
        let mut sent = self.finish_uploads(cancelled, waiting);
        let Some(name) = self.writes_to().filter(|_| sent.left == 0 && !cancelled()) else { return Ok(sent) };
        let known = self.seen_complete(&name)?;
        let (mut new, mut keys) = (Vec::new(), BTreeSet::new());
        for stage in stages.iter().filter(|stage| !known.contains(*stage)) {
            // A stage that failed has neither.
            if let (Some(list), Some(_)) = (self.read_list(stage)?, self.landed(stage)?.1) {
                new.push(*stage);
                keys.extend(list);
                keys.insert(*stage);
            }
        }
        if new.is_empty() {
            return Ok(sent);
        }
        // Others may have collected since it was looked at.
        self.look_again(keys.len() > MANY);
        self.upload_missing(keys)?;
        let more = self.finish_uploads(cancelled, waiting);
        sent.objects += more.objects;
        sent.bytes += more.bytes;
        sent.left += more.left;
        sent.problem = sent.problem.or(more.problem);
        if sent.left == 0 && !cancelled() {
            self.note_complete(&name, &new)?;
        }
        Ok(sent)
    }

    fn seen_complete(&self, name: &str) -> Result<BTreeSet<Key>, Error> {
        let bytes = read_file(&self.layout.complete(name))?;
        let body = bytes.as_deref().and_then(|bytes| unseal(COMPLETE, bytes)).unwrap_or_default();
        Ok(body.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn note_complete(&self, name: &str, stages: &[Key]) -> Result<(), Error> {
        let _held = self.locks.take("complete", Patience::UNLIMITED)?;
        let mut known = self.seen_complete(name)?;
        known.extend(stages);
        let body: String = known.iter().flat_map(|key| [key.to_string(), "\n".to_owned()]).collect();
        self.drafts.write(&seal(COMPLETE, &body))?.place(&self.layout.complete(name))
    }
}
