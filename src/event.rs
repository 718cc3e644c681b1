//! The only words that pass from running to reporting. Whoever runs emits; whoever reports listens; neither sees the other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::key::{Digest, Key};

/// Something that happened, as it is written to `--events jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// The study's name.
        study: String,
        /// The profile in force.
        profile: String,
        /// How many stages are wanted.
        stages: usize,
        /// How many CPU actions may run side by side.
        jobs: usize,
    },
    /// A stage's record was found: nothing of it runs.
    StageFresh {
        /// The stage instance.
        stage: String,
        /// Its kind.
        kind: String,
        /// Its key.
        key: Key,
    },
    /// A stage begins to run.
    StageStarted {
        /// The stage instance.
        stage: String,
        /// Its kind.
        kind: String,
        /// Why it is stale, in words.
        reason: String,
    },
    /// How far a running stage is.
    StageProgress {
        /// The stage instance.
        stage: String,
        /// Units done, hits included.
        done: u64,
        /// Units in all, as far as is known.
        total: Option<u64>,
        /// What is counted: `epochs`, `points`, `probes`.
        unit: String,
    },
    /// A stage is through.
    StageFinished {
        /// The stage instance.
        stage: String,
        /// Its kind.
        kind: String,
        /// Its key.
        key: Key,
        /// How long it ran, in seconds.
        seconds: f64,
        /// Actions found.
        hit: u64,
        /// Actions run.
        ran: u64,
    },
    /// A stage failed; independent stages go on.
    StageFailed {
        /// The stage instance.
        stage: String,
        /// Why, in words; may have several lines.
        message: String,
    },
    /// A stage was not run because one above it failed.
    StageSkipped {
        /// The stage instance.
        stage: String,
        /// The failed stage above it.
        because: String,
    },
    /// An action's record was found.
    ActionHit {
        /// The stage that called it.
        stage: String,
        /// The action's kind.
        kind: String,
        /// Its key.
        key: Key,
    },
    /// An action begins to run.
    ActionStarted {
        /// The stage that called it.
        stage: String,
        /// The action's kind.
        kind: String,
        /// Its key.
        key: Key,
    },
    /// An action's result is kept.
    ActionFinished {
        /// The stage that called it.
        stage: String,
        /// The action's kind.
        kind: String,
        /// Its key.
        key: Key,
        /// How long it ran, in seconds.
        seconds: f64,
    },
    /// A blob that was gone or damaged is made again by the action that made it.
    Remade {
        /// The blob.
        digest: Digest,
        /// The action that makes it again.
        kind: String,
        /// Its key.
        key: Key,
    },
    /// A key is being made by another run; this one waits for it.
    Waiting {
        /// The action's or stage's kind.
        kind: String,
        /// The key waited for.
        key: Key,
    },
    /// A damaged file was found and set aside.
    Quarantined {
        /// Where it was.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A result file was written.
    ResultWritten {
        /// Its path.
        path: PathBuf,
        /// Whether it stands in for one that was missing or altered, rather than being new.
        restored: bool,
    },
    /// A claim was judged.
    Claim {
        /// The claim stage.
        stage: String,
        /// What the figure is to show.
        claim: String,
        /// `holds`, `fails` or `undecided`.
        verdict: String,
        /// The statistic, in words and numbers.
        detail: String,
    },
    /// Something a person may like to know.
    Note {
        /// The stage it belongs to, if any.
        stage: Option<String>,
        /// What.
        message: String,
    },
    /// Something a person should know that stops nothing.
    Warning {
        /// The stage it belongs to, if any.
        stage: Option<String>,
        /// What.
        message: String,
    },
    /// The run is over.
    RunFinished {
        /// How long it took, in seconds.
        seconds: f64,
        /// Stages fresh.
        fresh: usize,
        /// Stages run.
        ran: usize,
        /// Stages failed.
        failed: usize,
        /// Stages skipped.
        skipped: usize,
        /// Actions run.
        actions: u64,
        /// Whether it was interrupted.
        interrupted: bool,
    },
}

/// Receives events from any thread.
pub trait Sink: Send + Sync {
    /// Takes one event; it must not block for long.
    fn emit(&self, event: Event);
}

/// Takes events and does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn emit(&self, _: Event) {}
}
