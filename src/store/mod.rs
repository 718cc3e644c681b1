//! The store: blobs by digest, records by key, the right to write them, and what keeps them whole.
//!
//! It knows no stages and no machine learning: a key is 32 bytes, an output is bytes. It never runs anything; whoever asks decides
//! what a miss or an absent blob costs.
//!
//! ```text
//! cache/
//!   blobs/ab/DIGEST             bytes, verified whenever they are read
//!   records/ab/KEY              what was produced under a key (`crate::key::Record`)
//!   records/ab/KEY.1            the same, where `KEY` itself is of a format this program does not know
//!   records/ab/KEY.list         beside a stage's record: the keys of the actions it used
//!   records/ab/KEY.diverged-…   a second result of the same action on the same arithmetic; no lookup sees it
//!   hints/ab/KEY                where a longer computation may go on from; may be deleted at any time
//!   roots/STUDY/PROFILE.json    which stage records a study reaches
//!   locks/…                     kernel locks: they go with the process that holds them
//!   tmp/PID-N/                  files being written; swept when that process is gone
//!   quarantine/                 damaged files, set aside
//!   memo                        digests of files the user named
//!   complete/                   which stages a shared cache was seen to have whole
//! ```
//!
//! # What is there is whole
//!
//! A file is written under `tmp/`, synced, placed under its name, and its folder synced; a record after its blobs. So whatever ends the
//! program or the machine, a name stands for the whole content or is not there. A record whose blobs are gone is no damage: absent bytes
//! are made again.
//!
//! Most files are placed by a rename. An action's record takes no other's name: it is placed by a link, which fails where the name is
//! taken, so that of two results the one that lands first counts, also on file systems whose locks exclude nobody. (Where there are no
//! links it is renamed as the others are, and the lock alone guards it.)
//!
//! Syncs: a file by itself has two, its own and its folder's, and a third, of the folder above, where its folder is new. Files that are
//! kept together, which are an action's blobs and its record and all those of a group of actions ([`Store::commit_all`]), have two as well,
//! of the whole file system: one before they are placed and one after. A program that is killed in between has placed the blobs and not yet
//! the record; a machine that loses its power there may have kept the record alone, and absent bytes are made again. A stage's record and
//! its list hold nothing that its actions' records do not give at once, so they are synced together, before the root that names the stages;
//! one that a cut of power tears before that is found by its checksum.
//!
//! # An unknown format
//!
//! A record of another version's format is a miss and stays as it is. What this version then produces is committed beside it as `KEY.1`
//! (1 being the number of this version's format), where this version finds it again, so both programs can share a cache.
//!
//! # Reading order
//!
//! `error`, `disk` (the few operations that write), `layout` (names), `draft` (writing a file whole), `lock` (kernel locks), `cache` (the
//! store opens), `look` (where it may only be read), `blobs`, `records` (with `sealed`, their checksum), `reserve` (a miss is the right to
//! write), `makers`, `roots` (with lists), `hints`, `memo`; then the cache that is shared with others: `signer`, `shared` (as seen from
//! here, by listings: `shelves`), `uploads`, `exchange` (this store and it), `complete` (all of a stage is there), `likeness` (collecting
//! it); then maintenance (`countdown`: how much is left): `survey` (what is there and what is reached, `by_digest`), `stats`, `verify`, `gc`, `size`.

mod blobs;
mod by_digest;
mod cache;
mod complete;
mod countdown;
mod disk;
mod draft;
mod error;
mod exchange;
mod gc;
mod hints;
mod layout;
mod likeness;
mod lock;
mod look;
mod makers;
mod memo;
mod records;
mod reserve;
mod roots;
mod sealed;
mod shared;
mod shelves;
mod side_by_side;
mod signer;
mod size;
mod stats;
mod survey;
mod uploads;
mod verify;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod lockless;
#[cfg(test)]
mod power;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod testing;

pub use cache::{Alone, Store, Workspace};
pub use countdown::Left;
pub use disk::{Disk, RealDisk};
pub use error::{Error, plain};
pub use exchange::Fetched;
pub use gc::{GcItem, GcOptions, GcPlan, GcSort};
pub use hints::Hint;
pub use likeness::Likeness;
pub use lock::Held;
pub use reserve::{Finished, Lookup, Remade, Reservation};
pub use roots::Root;
pub use shared::Shared;
pub use signer::Signer;
pub use size::{ParseSizeError, Size};
pub use stats::{Count, KindStats, Stats};
pub use uploads::Sent;
pub use verify::{Damage, Verified};
