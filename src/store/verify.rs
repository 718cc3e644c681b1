//! Reading everything: every blob against its digest, every record, list, hint and root, and the memo, against its checksum.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::blobs::blob_problem;
use super::complete::COMPLETE;
use super::countdown::{Countdown, Left};
use super::hints::HINTS;
use super::layout::{files_below, files_in, length_of, name_of, read_file};
use super::memo::MEMO;
use super::sealed::is_damaged;
use super::{Error, Store, roots};
use crate::key::{Digest, Key, Record, RecordError};

/// A damaged file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Damage {
    /// Where it was.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What reading everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Blobs read.
    pub blobs: u64,
    /// Records read, those of unknown formats not counted.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was damaged, by path. Each is set aside and will be made again.
    pub damaged: Vec<Damage>,
}

impl Verified {
    fn and(mut self, other: Self) -> Self {
        self.blobs += other.blobs;
        self.records += other.records;
        self.bytes += other.bytes;
        self.damaged.extend(other.damaged);
        self
    }
}

impl Store {
    /// Reads every blob and every record, in parallel, and sets aside what is damaged. What goes while it reads is passed over.
    /// `waiting` is told what is left.
    ///
    /// # Errors
    /// A disk that cannot be read; [`Error::Interrupted`] when cancelled.
    pub fn verify(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
        waiting: &(dyn Fn(Left) + Sync),
    ) -> Result<Verified, Error> {
        let blobs = files_below(&self.layout.blobs())?;
        let records = files_below(&self.layout.records())?;
        let hints = files_below(&self.layout.all_hints())?;
        let countdown = Countdown::from(blobs.len() + records.len() + hints.len(), "file", None, waiting);
        let each = |path: &Path, read: &dyn Fn(&Path) -> Result<Verified, Error>| {
            let verified = if cancelled() { Err(Error::Interrupted) } else { read(path) };
            countdown.done();
            verified
        };
        let of_blobs = blobs.par_iter().map(|path| each(path, &|path| self.verify_blob(path)));
        let of_records = records.par_iter().map(|path| each(path, &|path| self.verify_record(path)));
        let sealed_hints = |path: &Path| self.verify_sealed(path, HINTS, "damaged hints");
        let of_hints = hints.par_iter().map(|path| each(path, &sealed_hints));
        let all = of_blobs.chain(of_records).chain(of_hints);
        let mut verified = all.try_reduce(Verified::default, |one, other| Ok(Verified::and(one, other)))?;
        verified = verified.and(self.verify_sealed(&self.layout.memo(), MEMO, "damaged memo of files' digests")?);
        for path in files_in(&self.layout.all_complete())? {
            let problem = "damaged memory of what a shared cache has";
            verified = verified.and(self.verify_sealed(&path, COMPLETE, problem)?);
        }
        let damaged_roots = self.all_roots()?.1;
        let damage = |path| Damage { path, problem: roots::DAMAGED.to_owned() };
        verified.damaged.extend(damaged_roots.into_iter().map(damage));
        verified.damaged.sort();
        Ok(verified)
    }

    fn verify_blob(&self, path: &Path) -> Result<Verified, Error> {
        let Ok(digest) = name_of(path).parse::<Digest>() else { return Ok(Verified::default()) };
        let Some(bytes) = length_of(path) else { return Ok(Verified::default()) };
        let damaged = match blob_problem(path, &digest) {
            Ok(None) => Vec::new(),
            Ok(Some(problem)) => vec![self.damage(path, problem)?],
            Err(_) if !path.exists() => return Ok(Verified::default()),
            Err(error) => return Err(error),
        };
        Ok(Verified { blobs: 1, records: 0, bytes, damaged })
    }

    fn verify_record(&self, path: &Path) -> Result<Verified, Error> {
        let (stem, suffix) = name_of(path).split_once('.').unwrap_or((name_of(path), ""));
        let Ok(key) = stem.parse::<Key>() else { return Ok(Verified::default()) };
        let Some(bytes) = read_file(path)? else { return Ok(Verified::default()) };
        let length = bytes.len() as u64;
        if suffix == "list" {
            return Ok(Verified {
                bytes: length,
                damaged: self.verify_list(path, &key, &bytes)?,
                ..Verified::default()
            });
        }
        match Record::decode(&bytes, &key) {
            Ok(_) => Ok(Verified { records: 1, bytes: length, ..Verified::default() }),
            Err(RecordError::UnknownFormat(_)) => Ok(Verified { bytes: length, ..Verified::default() }),
            Err(RecordError::Damaged(problem)) => {
                let damaged = vec![self.damage(path, &format!("damaged record: {problem}"))?];
                Ok(Verified { records: 1, bytes: length, damaged, ..Verified::default() })
            }
        }
    }

    /// A stage's record without its list does not say what the stage reaches, so it is made again too.
    fn verify_list(&self, path: &Path, stage: &Key, bytes: &[u8]) -> Result<Vec<Damage>, Error> {
        if !is_damaged(roots::LIST, bytes) {
            return Ok(Vec::new());
        }
        let mut damaged = vec![self.damage(path, "damaged list of a stage's actions")?];
        if let Some((record, _)) = self.locate(stage)? {
            damaged.push(self.damage(&record, "the list of this stage's actions is damaged")?);
        }
        Ok(damaged)
    }

    /// A file that may be deleted at any time.
    fn verify_sealed(&self, path: &Path, format: &str, problem: &str) -> Result<Verified, Error> {
        let Some(bytes) = read_file(path)? else { return Ok(Verified::default()) };
        let damaged = is_damaged(format, &bytes).then(|| self.damage(path, problem)).transpose()?;
        Ok(Verified { bytes: bytes.len() as u64, damaged: damaged.into_iter().collect(), ..Verified::default() })
    }

    fn damage(&self, path: &Path, problem: &str) -> Result<Damage, Error> {
        self.set_aside(path, problem)?;
        Ok(Damage { path: path.to_owned(), problem: problem.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sealed::seal;
    use super::super::testing::{Place, blob, commit, flip, open_listening, record_of, stage_of};
    use super::super::{Hint, Root};
    use super::*;

    #[test]
    fn everything_damaged_is_named_and_set_aside_and_the_rest_stays() {
        let place = Place::new();
        let (store, heard) = open_listening(&place);
        for seed in 0..6 {
            let (bytes, _) = blob(seed);
            store.put(&bytes).unwrap();
            commit(&store, &record_of(u64::from(seed), &[("theta", &bytes)]));
        }
        let stage = stage_of(1, &[]);
        store.write_list(&stage.key, &[]).unwrap();
        commit(&store, &stage);
        assert!(matches!(store.verify(&|| true, &|_| ()), Err(Error::Interrupted)));
        let whole = store.verify(&|| false, &|_| ()).unwrap();
        assert_eq!((whole.blobs, whole.records, whole.damaged.len()), (6, 7, 0));

        let layout = &store.layout;
        let chain = record_of(1, &[]).key;
        store.add_hint(&chain, Hint { key: chain, reached: 1 }).unwrap();
        std::fs::write(layout.memo(), seal(MEMO, "{}")).unwrap();
        store
            .write_root("fig3", "small", &Root { stages: [("train".to_owned(), stage.key)].into(), partial: false })
            .unwrap();
        let mut damaged = vec![
            layout.blob(&blob(2).1.digest),
            layout.record(&record_of(4, &[]).key),
            layout.list(&stage.key),
            layout.hints(&chain),
            layout.memo(),
            layout.study_root("fig3", "small"),
        ];
        for path in &damaged {
            flip(path, 50);
        }
        // It says nothing of what it reaches without its list.
        damaged.push(layout.record(&stage.key));
        damaged.sort();
        let named: Vec<PathBuf> =
            store.verify(&|| false, &|_| ()).unwrap().damaged.into_iter().map(|damage| damage.path).collect();
        assert_eq!(named, damaged);
        let mut told = heard.quarantined();
        told.sort();
        assert_eq!(told, damaged);
        let rest = store.verify(&|| false, &|_| ()).unwrap();
        assert_eq!((rest.blobs, rest.records, rest.damaged.len()), (5, 5, 0));
    }
}
