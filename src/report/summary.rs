//! The last words of a run.

use std::fmt;
use std::path::Path;

use super::paint::{Paint, Tone};
use super::tally::{Counts, State};
use super::words;

/// A run in a few lines: how many stages did what, what failed or is not decided, where the results are.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// What was counted.
    pub counts: &'a Counts,
    /// Where the results lie, if any were made.
    pub results: Option<&'a Path>,
    /// Whether to use colours.
    pub colour: bool,
}

impl Summary<'_> {
    /// `12 stages: 3 ran, 9 fresh`
    fn stages(&self) -> String {
        let number = |state| self.counts.stages_in(state).len();
        let wanted = self.counts.wanted.max(self.counts.stages.len());
        let all = words::count(wanted as u64, "stage");
        if number(State::Fresh) == wanted && wanted > 0 {
            return format!("{all}, {}fresh", if wanted == 1 { "" } else { "all " });
        }
        let not_begun = wanted - self.counts.stages.len();
        let states = [
            (number(State::Done), "ran"),
            (number(State::Fresh), "fresh"),
            (number(State::Failed), "failed"),
            (number(State::Skipped), "skipped"),
            (number(State::Running), "stopped"),
            (not_begun, "not begun"),
        ];
        let said: Vec<String> = states
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, state)| format!("{number} {state}"))
            .collect();
        if said.is_empty() { all } else { format!("{all}: {}", said.join(", ")) }
    }

    fn actions(&self) -> String {
        let actions = self.counts.all_actions();
        match (actions.ran, actions.hit) {
            (0, 0) if self.counts.stages.values().all(|stage| stage.state == State::Fresh) => {
                "nothing to run".to_owned()
            }
            (ran, 0) => format!("{} run", words::count(ran, "action")),
            (ran, hit) => format!("{} run, {hit} reused", words::count(ran, "action")),
        }
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, tone: Tone, label: &str, text: &str) -> fmt::Result {
        let label = Paint { is_on: self.colour }.paint(tone, &format!("{label:>9}"));
        write!(f, "\n{label}  {text}")
    }

    /// Names under a label, all of them: these are what somebody has to look at.
    fn names(&self, f: &mut fmt::Formatter<'_>, tone: Tone, label: &str, names: &[&str]) -> fmt::Result {
        if names.is_empty() { Ok(()) } else { self.line(f, tone, label, &names.join(", ")) }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts;
        write!(f, "{} · {} · {}", self.stages(), self.actions(), words::seconds(counts.seconds))?;
        self.names(f, Tone::Bad, "failed", &counts.stages_in(State::Failed))?;
        self.names(f, Tone::Careful, "skipped", &counts.stages_in(State::Skipped))?;
        // Each was told with its number when it was judged.
        for (verdict, tone) in [("fails", Tone::Bad), ("undecided", Tone::Careful), ("holds", Tone::Good)] {
            let number = counts.claims_that(verdict).len() as u64;
            if number > 0 {
                self.line(f, tone, verdict, &words::count(number, "claim"))?;
            }
        }
        if !counts.warnings.is_empty() {
            self.line(f, Tone::Careful, "warnings", &counts.warnings.len().to_string())?;
        }
        if !counts.restored.is_empty() {
            self.line(f, Tone::Quiet, "restored", &words::count(counts.restored.len() as u64, "result file"))?;
        }
        if let Some(results) = self.results {
            self.line(f, Tone::Quiet, "results", &results.display().to_string())?;
        }
        if counts.interrupted {
            self.line(f, Tone::Careful, "stopped", "what was finished is kept; the same command goes on from there")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;
    use crate::event::{Event, Sink};
    use crate::key::{Digest, Key};

    fn key() -> Key {
        Key::new(Digest::of(b"k"))
    }

    fn fresh(stage: &str) -> Event {
        Event::StageFresh { stage: stage.into(), kind: "train".into(), key: key() }
    }

    fn started(stage: &str) -> Event {
        Event::StageStarted { stage: stage.into(), kind: "train".into(), reason: "never ran".into() }
    }

    fn claim(stage: &str, verdict: &str) -> Event {
        let (claim, detail) = ("the trace falls".into(), "p = 0.2".into());
        Event::Claim { stage: stage.into(), claim, verdict: verdict.into(), detail }
    }

    fn run(stages: usize, events: Vec<Event>, interrupted: bool) -> Counts {
        let tally = Tally::new();
        tally.emit(Event::RunStarted { study: "fig3".into(), profile: "small".into(), stages, jobs: 2 });
        for event in events {
            tally.emit(event);
        }
        let (seconds, zero) = (12.34, 0);
        tally.emit(Event::RunFinished {
            seconds,
            fresh: zero,
            ran: zero,
            failed: zero,
            skipped: zero,
            actions: 0,
            interrupted,
        });
        tally.counts()
    }

    fn said(counts: &Counts) -> String {
        Summary { counts, results: Some(Path::new("results/fig3")), colour: false }.to_string()
    }

    fn mixed() -> Vec<Event> {
        let action =
            |kind: &str| Event::ActionFinished { stage: "a".into(), kind: kind.into(), key: key(), seconds: 1.0 };
        let hit = Event::ActionHit { stage: "a".into(), kind: "epoch".into(), key: key() };
        let finished =
            Event::StageFinished { stage: "a".into(), kind: "train".into(), key: key(), seconds: 2.0, hit: 1, ran: 2 };
        vec![
            fresh("f"),
            started("a"),
            hit,
            action("epoch"),
            action("init"),
            finished,
            started("b"),
            Event::StageFailed { stage: "b".into(), message: "no".into() },
            Event::StageSkipped { stage: "c".into(), because: "b".into() },
            claim("d", "undecided"),
            claim("e", "fails"),
            claim("g", "holds"),
            Event::Warning { stage: None, message: "w".into() },
            Event::Warning { stage: None, message: "w".into() },
        ]
    }

    #[test]
    fn a_mixed_run_names_what_needs_looking_at() {
        insta::assert_snapshot!(said(&run(4, mixed(), false)), @r"
        4 stages: 1 ran, 1 fresh, 1 failed, 1 skipped · 2 actions run, 1 reused · 12.3 s
           failed  b
          skipped  c
            fails  1 claim
        undecided  1 claim
            holds  1 claim
         warnings  1
          results  results/fig3
        ");
    }

    #[test]
    fn a_run_with_nothing_to_do_says_so() {
        insta::assert_snapshot!(said(&run(2, vec![fresh("a"), fresh("b")], false)), @r"
        2 stages, all fresh · nothing to run · 12.3 s
          results  results/fig3
        ");
    }

    #[test]
    fn an_interrupted_run_says_what_was_not_begun() {
        insta::assert_snapshot!(said(&run(5, vec![fresh("a"), started("b")], true)), @r"
        5 stages: 1 fresh, 1 stopped, 3 not begun · 0 actions run · 12.3 s
          results  results/fig3
          stopped  what was finished is kept; the same command goes on from there
        ");
    }

    #[test]
    fn counts_are_written_by_name_in_order() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&run(4, mixed(), false)).unwrap(), @r#"
        {
          "study": "fig3",
          "profile": "small",
          "wanted": 4,
          "interrupted": false,
          "seconds": 12.34,
          "stages": {
            "a": {
              "state": "done",
              "kind": "train",
              "key": "5cbcb0cee824b91866cd67f57a6643ddcb7cd4382029039043513953c759246b",
              "reason": "never ran",
              "seconds": 2.0,
              "actions": {
                "hit": 1,
                "ran": 2
              }
            },
            "b": {
              "state": "failed",
              "kind": "train",
              "reason": "no",
              "seconds": 0.0,
              "actions": {
                "hit": 0,
                "ran": 0
              }
            },
            "c": {
              "state": "skipped",
              "reason": "`b` failed",
              "seconds": 0.0,
              "actions": {
                "hit": 0,
                "ran": 0
              }
            },
            "f": {
              "state": "fresh",
              "kind": "train",
              "key": "5cbcb0cee824b91866cd67f57a6643ddcb7cd4382029039043513953c759246b",
              "seconds": 0.0,
              "actions": {
                "hit": 0,
                "ran": 0
              }
            }
          },
          "actions": {
            "epoch": {
              "hit": 1,
              "ran": 1
            },
            "init": {
              "hit": 0,
              "ran": 1
            }
          },
          "claims": {
            "d": {
              "claim": "the trace falls",
              "verdict": "undecided",
              "detail": "p = 0.2"
            },
            "e": {
              "claim": "the trace falls",
              "verdict": "fails",
              "detail": "p = 0.2"
            },
            "g": {
              "claim": "the trace falls",
              "verdict": "holds",
              "detail": "p = 0.2"
            }
          },
          "warnings": [
            {
              "stage": null,
              "message": "w"
            }
          ],
          "remade": 0,
          "quarantined": [],
          "written": [],
          "restored": []
        }
        "#);
    }
}
