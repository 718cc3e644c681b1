//! A job watched to its end, and what its end means.

use std::time::{Duration, Instant};

use super::voice::Voice;
use super::{Cluster, LONGEST_ASK, LOOK, PATIENCE, said};
use crate::execute::Failure;
use crate::schedule::Errands;
use crate::slurm::{End, Exit, Fate, Job, State};

/// How soon the queue is first asked about a job; then less and less often.
const FIRST_ASK: Duration = Duration::from_secs(1);
/// Reasons for which a job waits until somebody lets it go, after its start failed on a node: another one may start.
const STUCK: [&str; 2] = ["launch failed", "JobHoldMaxRequeue"];

/// How a watched job ended.
pub(super) enum Ended {
    /// The stage's record should be there.
    Done(Errands),
    /// It failed.
    Failed(Failure),
    /// Its time was over, and it got on.
    OutOfTime(String),
    /// It ended for a reason that is not its own, and may do better next time; and whether it got on.
    Again(String, bool),
}

impl Cluster<'_> {
    /// Watches a job to its end, and passes on what its tasks tell.
    pub(super) fn watch(&self, stage: &str, job: &mut Job) -> Result<Ended, Failure> {
        let mut voice = Voice::of(self);
        let (start, mut ask) = (Instant::now(), FIRST_ASK);
        let (mut asked, mut missed, mut remark, mut trimmed) = (Instant::now(), 0, None, false);
        loop {
            voice.pass_on(job.folder());
            let tasks = job.tasks();
            let exits = job.exits().clone();
            if let Some(exit) = exits.values().find(|exit| exit.end != End::Done) {
                let failure = failure(exit);
                self.cancel(job, false)?;
                return Ok(Ended::Failed(failure));
            }
            if exits.len() as u64 == tasks {
                return Ok(Ended::Done(voice.finish(job.folder())));
            }
            // What is done needs no more hands.
            if !exits.is_empty() && !trimmed {
                self.cancel(job, true)?;
                trimmed = true;
            }
            if asked.elapsed() >= ask {
                (asked, ask) = (Instant::now(), (ask * 3 / 2).min(LONGEST_ASK));
                let states = self.calling(|commands| self.queue.states(job.name(), FIRST_ASK, commands))?;
                let alive = states.iter().find(|state| state.is_alive());
                missed = if alive.is_some() { 0 } else { missed + 1 };
                if let Some(State::Pending(reason)) = alive
                    && STUCK.iter().any(|stuck| reason.contains(stuck))
                {
                    let why = format!("Slurm holds {} back: {reason}", said(job));
                    self.cancel(job, false)?;
                    return Ok(Ended::Again(why, voice.progressed()));
                }
                if let Some(State::Pending(reason)) = alive
                    && start.elapsed() > PATIENCE
                    && remark.as_ref() != Some(reason)
                {
                    self.note(stage, format!("{} waits: {reason}", said(job)));
                    remark = Some(reason.clone());
                }
                // A queue may be a moment behind, and what a job wrote last may be seen a moment later.
                if missed >= 2 {
                    let fate = self.calling(|commands| job.fate(commands))?;
                    voice.pass_on(job.folder());
                    let exits = job.exits().clone();
                    let over = exits.values().any(|exit| exit.end == End::Done);
                    match fate {
                        _ if exits.values().any(|exit| exit.end != End::Done) => {}
                        Fate::Alive(_) => {}
                        _ if over => {
                            return Ok(Ended::Done(voice.finish(job.folder())));
                        }
                        fate => return Ok(Self::verdict(job, &fate, voice.progressed())),
                    }
                }
            }
            self.calling(|commands| commands.sleep(LOOK))?;
        }
    }

    /// What became of a job that ended without saying how.
    fn verdict(job: &Job, fate: &Fate, progressed: bool) -> Ended {
        let what = said(job);
        let states = match fate {
            Fate::Ended(states) => &states[..],
            Fate::Alive(_) | Fate::Unknown => &[],
        };
        let has = |state: &State| states.contains(state);
        let log = job.folder().path().display();
        let last = job.last_words().map_or_else(String::new, |words| format!("\n{words}"));
        let work = |problem: String| Ended::Failed(Failure::Work(problem));
        if has(&State::OutOfMemory) {
            work(format!("{what} used more memory than it asked for; give it more `mem`"))
        } else if has(&State::Timeout) && progressed {
            Ended::OutOfTime(format!("{what} reached its time limit"))
        } else if has(&State::Timeout) {
            work(format!("{what} reached its time limit before one action was done; give it more `time`"))
        } else if has(&State::Cancelled) {
            work(format!("{what} was cancelled by somebody else"))
        } else if has(&State::Failed) {
            work(format!("{what} failed without a word; what it printed is in `{log}`{last}"))
        } else if has(&State::Evicted) {
            Ended::Again(format!("{what} had to give way, or its machine failed"), progressed)
        } else {
            Ended::Again(format!("{what} is gone and nobody knows how it ended"), progressed)
        }
    }
}

fn failure(exit: &Exit) -> Failure {
    let message = exit.message.clone();
    match exit.end {
        End::Done | End::Work => Failure::Work(message),
        End::Lost => Failure::Lost(message),
        End::Machine => Failure::Machine(message),
    }
}
