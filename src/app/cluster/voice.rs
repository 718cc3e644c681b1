//! What a job's tasks tell, passed on as if it happened here.

use std::collections::{BTreeMap, BTreeSet};

use super::Cluster;
use crate::event::Event;
use crate::key::Key;
use crate::schedule::Errands;
use crate::slurm::{Folder, Told};

/// Speaks for a job's tasks.
pub(super) struct Voice<'a> {
    cluster: &'a Cluster<'a>,
    told: Told,
    /// Actions that some task found, which another of this job may have made.
    hits: BTreeMap<Key, Event>,
    ran: BTreeSet<Key>,
}

impl<'a> Voice<'a> {
    pub(super) fn of(cluster: &'a Cluster<'a>) -> Self {
        Self { cluster, told: Told::default(), hits: BTreeMap::new(), ran: BTreeSet::new() }
    }

    /// Whether some action was done.
    pub(super) fn progressed(&self) -> bool {
        !self.ran.is_empty()
    }

    /// Passes on what was told since it was last asked.
    pub(super) fn pass_on(&mut self, folder: &Folder) {
        for line in self.told.more(folder) {
            let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
            match &event {
                Event::ActionHit { key, .. } => drop(self.hits.insert(*key, event)),
                Event::ActionFinished { key, .. } => {
                    self.ran.insert(*key);
                    self.cluster.events.emit(event);
                }
                Event::ActionStarted { .. }
                | Event::StageProgress { .. }
                | Event::Remade { .. }
                | Event::Quarantined { .. }
                | Event::Warning { .. }
                | Event::Note { .. } => self.cluster.events.emit(event),
                _ => {}
            }
        }
    }

    /// What was found, now that it is known what was made.
    pub(super) fn finish(&mut self, folder: &Folder) -> Errands {
        self.pass_on(folder);
        self.hits.retain(|key, _| !self.ran.contains(key));
        let errands = Errands { hit: self.hits.len() as u64, ran: self.ran.len() as u64 };
        for event in std::mem::take(&mut self.hits).into_values() {
            self.cluster.events.emit(event);
        }
        errands
    }
}
