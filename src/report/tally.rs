//! Counts of a run: what `run.json` holds and the summary says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::event::{Event, Sink};
use crate::key::Key;

/// What became of a stage in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its record was found.
    Fresh,
    /// It was started and is not through: at the end of a run, it was interrupted.
    Running,
    /// It ran and is through.
    Done,
    /// It failed.
    Failed,
    /// It was not run because one above it failed.
    Skipped,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCount {
    /// What became of it.
    pub state: State,
    /// Its kind, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its key, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Why it ran, failed or was skipped, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it ran, in seconds; 0 if it is not through.
    pub seconds: f64,
    /// Actions found and run.
    pub actions: ActionCount,
}

/// Actions by how they were had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ActionCount {
    /// Found in the cache.
    pub hit: u64,
    /// Run.
    pub ran: u64,
}

/// One claim that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimCount {
    /// What the figure is to show.
    pub claim: String,
    /// `holds`, `fails` or `undecided`.
    pub verdict: String,
    /// The statistic, in words and numbers.
    pub detail: String,
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WarningCount {
    /// The stage it belongs to, if any.
    pub stage: Option<String>,
    /// What.
    pub message: String,
}

/// All that was counted. Everything is in the order of names, whatever the order it happened in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// The study's name.
    pub study: String,
    /// The profile in force.
    pub profile: String,
    /// Stages wanted; with an interruption more than `stages` holds.
    pub wanted: usize,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// How long the run took, in seconds; 0 until it is over.
    pub seconds: f64,
    /// Stages by name.
    pub stages: BTreeMap<String, StageCount>,
    /// Actions by kind.
    pub actions: BTreeMap<String, ActionCount>,
    /// Claims by stage.
    pub claims: BTreeMap<String, ClaimCount>,
    /// Warnings, each once.
    pub warnings: BTreeSet<WarningCount>,
    /// Blobs made again.
    pub remade: u64,
    /// Damaged files set aside.
    pub quarantined: BTreeSet<PathBuf>,
    /// Result files written because they are new.
    pub written: BTreeSet<PathBuf>,
    /// Result files restored.
    pub restored: BTreeSet<PathBuf>,
}

impl Counts {
    /// The names of the stages in this state.
    pub fn stages_in(&self, state: State) -> Vec<&str> {
        let names = self.stages.iter().filter(|(_, stage)| stage.state == state);
        names.map(|(name, _)| name.as_str()).collect()
    }

    /// The stages whose claim has this verdict.
    pub fn claims_that(&self, verdict: &str) -> Vec<&str> {
        self.claims.iter().filter(|(_, claim)| claim.verdict == verdict).map(|(name, _)| name.as_str()).collect()
    }

    /// Actions of all kinds.
    pub fn all_actions(&self) -> ActionCount {
        let add =
            |sum: ActionCount, count: &ActionCount| ActionCount { hit: sum.hit + count.hit, ran: sum.ran + count.ran };
        self.actions.values().fold(ActionCount::default(), add)
    }

    fn stage(&mut self, name: String, state: State) -> &mut StageCount {
        let stage = self.stage_of(name);
        stage.state = state;
        stage
    }

    fn stage_of(&mut self, name: String) -> &mut StageCount {
        self.stages.entry(name).or_insert(StageCount {
            state: State::Running,
            kind: None,
            key: None,
            reason: None,
            seconds: 0.0,
            actions: ActionCount::default(),
        })
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::RunStarted { study, profile, stages, .. } => {
                (self.study, self.profile, self.wanted) = (study, profile, stages);
            }
            Event::StageFresh { stage, kind, key } => {
                let stage = self.stage(stage, State::Fresh);
                (stage.kind, stage.key) = (Some(kind), Some(key));
            }
            Event::StageStarted { stage, kind, reason } => {
                let stage = self.stage(stage, State::Running);
                (stage.kind, stage.reason) = (Some(kind), Some(reason));
            }
            Event::StageFinished { stage, kind, key, seconds, hit, ran } => {
                let stage = self.stage(stage, State::Done);
                (stage.kind, stage.key, stage.seconds) = (Some(kind), Some(key), seconds);
                stage.actions = ActionCount { hit, ran };
            }
            Event::StageFailed { stage, message } => self.stage(stage, State::Failed).reason = Some(message),
            Event::StageSkipped { stage, because } => {
                self.stage(stage, State::Skipped).reason = Some(format!("`{because}` failed"));
            }
            Event::ActionHit { stage, kind, .. } => {
                self.stage_of(stage).actions.hit += 1;
                self.actions.entry(kind).or_default().hit += 1;
            }
            Event::ActionFinished { stage, kind, .. } => {
                self.stage_of(stage).actions.ran += 1;
                self.actions.entry(kind).or_default().ran += 1;
            }
            Event::Remade { .. } => self.remade += 1,
            Event::Quarantined { path, .. } => _ = self.quarantined.insert(path),
            Event::ResultWritten { path, restored: true } => _ = self.restored.insert(path),
            Event::ResultWritten { path, restored: false } => _ = self.written.insert(path),
            Event::Claim { stage, claim, verdict, detail } => {
                self.claims.insert(stage, ClaimCount { claim, verdict, detail });
            }
            Event::Warning { stage, message } => _ = self.warnings.insert(WarningCount { stage, message }),
            Event::RunFinished { seconds, interrupted, .. } => {
                (self.seconds, self.interrupted) = (seconds, interrupted);
            }
            Event::StageProgress { .. } | Event::ActionStarted { .. } | Event::Waiting { .. } | Event::Note { .. } => {}
        }
    }
}

/// Counts what it hears.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

impl Tally {
    /// A tally of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted until now.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Tally {
    fn emit(&self, event: Event) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).take(event);
    }
}
