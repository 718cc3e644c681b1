//! Objects by name in a place that several machines reach: a folder, or a bucket of an S3 server. It knows no cache: a name is text such as
//! `blobs/ab/abcd`, an object is bytes, and whoever reads them decides whether to believe them.
//!
//! Whatever is tried again is tried again here, a bounded number of times; an [`Error`] is therefore the place's last word.
//!
//! Reading order: `address` (which place), `folder`, `s3` (feature `remote`).

mod address;
mod folder;
#[cfg(feature = "remote")]
mod s3;

use std::io::{Read, Write};
use std::time::SystemTime;

pub use address::{NONE, check, may_hold_secret, open};

/// When what is made goes to such a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteBack {
    /// Not at all.
    Never,
    /// When the run is over.
    AtEnd,
    /// As soon as it is made.
    #[default]
    Background,
}

impl WriteBack {
    /// All, by what manifests and the command line call them.
    pub const NAMED: [(&str, Self); 3] =
        [("never", Self::Never), ("end", Self::AtEnd), ("background", Self::Background)];

    /// What it is called.
    ///
    /// # Panics
    /// Never: each has a name.
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, named)| *named == self).expect("invariant: each has a name").0
    }
}

/// An object, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was put there, by that place's clock.
    pub since: SystemTime,
}

/// Why something could not be done there. The text holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The place did not do it.
    #[error("{0}")]
    Place(String),
    /// This one object cannot be had or listed; others may.
    #[error("{0}")]
    Object(String),
    /// What was to be put could not be read, or what was got could not be written, on this machine.
    #[error("{0}")]
    Here(String),
}

/// A place for objects. Threads share it.
pub trait Objects: Send + Sync {
    /// Where it is, without credentials.
    fn address(&self) -> &str;

    /// Writes an object's bytes to `to`; false, and nothing is written, where there is no such object.
    ///
    /// # Errors
    /// Where it cannot be had; then `to` may hold a part of it.
    fn get(&self, name: &str, to: &mut dyn Write) -> Result<bool, Error>;

    /// Puts an object of so many bytes, replacing what has its name: whole or not at all. Where `from` fails or ends early nothing is put.
    ///
    /// # Errors
    /// Where it cannot be put.
    fn put(&self, name: &str, from: &mut dyn Read, bytes: u64) -> Result<(), Error>;

    /// Every object whose name begins with `folder` and a `/`; every one there is for an empty `folder`.
    ///
    /// # Errors
    /// Where they cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error>;

    /// Removes objects; one that is not there is no error.
    ///
    /// # Errors
    /// Where one cannot be removed.
    fn remove(&self, names: &[String]) -> Result<(), Error>;
}
