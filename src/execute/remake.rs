//! Absent bytes are no miss: a blob that is gone or damaged is made again by the action that made it, from records alone.

use std::sync::PoisonError;

use super::{Action, Engine, Failure, Source};
use crate::event::Event;
use crate::key::{Digest, Output, Record};
use crate::store::Remade;

impl Engine {
    /// Sees to it that an input's bytes are there, making them again where they are not.
    ///
    /// # Errors
    /// [`Failure::Absent`] where no action's record makes them: then they are a stage's own output, and the stage must run again.
    pub fn ensure(&self, source: &Source) -> Result<(), Failure> {
        match source {
            Source::Kept(output) if !self.store.contains(output) => self.remake(output),
            _ => Ok(()),
        }
    }

    /// Walks from the wanted bytes to what is needed for them, deepest first, without recursion: chains are as long as a training.
    fn remake(&self, wanted: &Output) -> Result<(), Failure> {
        let _one_at_a_time = self.remaking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stack = vec![wanted.clone()];
        while let Some(output) = stack.last() {
            if self.cancel.raised() {
                return Err(Failure::Interrupted);
            }
            if self.store.contains(output) {
                stack.pop();
                continue;
            }
            let record = self.maker(&output.digest)?.ok_or_else(|| Failure::Absent(output.clone()))?;
            let action = self.action_of(&record)?;
            let absent = action.inputs.values().find_map(|source| match source {
                Source::Kept(input) if !self.store.contains(input) => Some(input.clone()),
                _ => None,
            });
            match absent {
                Some(input) if stack.contains(&input) => return Err(Failure::Absent(input)),
                Some(input) => stack.push(input),
                None => self.run_again(&action, &record, &output.clone())?,
            }
        }
        Ok(())
    }

    fn maker(&self, digest: &Digest) -> Result<Option<Record>, Failure> {
        let Some(key) = self.store.maker_of(digest)? else { return Ok(None) };
        Ok(self.store.record(&key)?)
    }

    /// The action that a record describes; its inputs are found through the records that made them.
    fn action_of(&self, record: &Record) -> Result<Action, Failure> {
        let mut action = Action { fingerprint: record.fingerprint.clone(), inputs: std::collections::BTreeMap::new() };
        for (name, digest) in &record.fingerprint.inputs {
            let source = match record.context.files.get(name) {
                Some(path) => self.unchanged(path, digest)?,
                None => Source::Kept(self.output_of(digest)?),
            };
            action.inputs.insert(name.clone(), source);
        }
        Ok(action)
    }

    fn unchanged(&self, path: &std::path::Path, digest: &Digest) -> Result<Source, Failure> {
        if self.digest_file(path)? == *digest {
            return Ok(Source::File { path: path.to_owned(), digest: *digest });
        }
        let problem = "it is needed to make a lost result again, and no longer holds what it held then";
        Err(Failure::Work(format!("`{}` was edited: {problem}", path.display())))
    }

    fn output_of(&self, digest: &Digest) -> Result<Output, Failure> {
        let made = self.maker(digest)?;
        if let Some(output) = made.and_then(|made| made.outputs.into_values().find(|output| output.digest == *digest)) {
            return Ok(output);
        }
        // A stage made it, such as a table: then it is a blob, or short text in that stage's record.
        let blob = self.store.blob_of(digest);
        let carried = if blob.is_none() { self.store.inline(digest)? } else { None };
        Ok(blob.or(carried).unwrap_or(Output { digest: *digest, length: 0, inline: None }))
    }

    fn run_again(&self, action: &Action, record: &Record, wanted: &Output) -> Result<(), Failure> {
        let (kind, backend) = (self.kind(&record.fingerprint.kind)?, &record.context.arithmetic.backend);
        if kind.version() != record.fingerprint.version {
            let (kind, version) = (kind.name(), record.fingerprint.version);
            return Err(Failure::Work(format!(
                "a lost result was made by version {version} of `{kind}`, which is gone"
            )));
        }
        let (cancelled, waiting) = (|| self.cancel.raised(), || {});
        let Some(reservation) = self.store.reserve_again(&record.key, wanted, &cancelled, &waiting)? else {
            return Ok(());
        };
        self.events.emit(Event::Remade { digest: wanted.digest, kind: kind.name().to_owned(), key: record.key });
        let lease = self.devices.lease(backend, &cancelled)?;
        let start = std::time::Instant::now();
        let produced = kind.run(&self.action_context(action, lease.device()))?;
        drop(lease);
        let context = self.context(action, start.elapsed().as_secs_f64());
        let (bytes, mut outputs) = super::engine::apart(produced);
        outputs.append(&mut self.store.put_all(&bytes)?);
        let remade = reservation.remade(Record::new(action.fingerprint.clone(), outputs, context))?;
        if let Remade::Changed { .. } = remade {
            let message = format!(
                "`{}` gives other bytes on this machine's arithmetic ({}) than it gave on `{}`; what depends on it is stale",
                kind.name(),
                self.arithmetic.features,
                record.context.machine,
            );
            self.events.emit(Event::Warning { stage: None, message });
            return Err(Failure::Absent(wanted.clone()));
        }
        Ok(())
    }
}
