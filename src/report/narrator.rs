//! One event, its lines of words. Shared by whoever prints, on a terminal or not.

use std::collections::{BTreeMap, BTreeSet};

use super::paint::{Paint, Tone, of_verdict};
use super::words;
use crate::event::Event;

/// How words are to be put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether to use colours: only on a terminal, and never with `NO_COLOR`.
    pub colour: bool,
    /// Whether each action, each fresh stage and each wait is worth a line.
    pub verbose: bool,
}

/// How many fresh stages are named when they are told together.
const NAMED: usize = 3;

/// What stands before the further lines of a message: as much as a label and its gap.
const INDENT: &str = "           ";

/// On a terminal lines are folded between words at this many columns.
const COLUMNS: usize = 80;

/// The reason of a stage that runs for the first time, as the plan words it.
const FIRST_TIME: &str = "never ran";

/// Tells a run. It remembers only what it needs to tell things together.
#[derive(Debug)]
pub(super) struct Narrator {
    manner: Manner,
    /// Whether what runs is seen in another way, so that a start needs no line.
    has_bars: bool,
    fresh: Vec<String>,
    /// By stage and kind of action: found, run.
    actions: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    waited: BTreeSet<String>,
}

impl Narrator {
    pub(super) fn new(manner: Manner, has_bars: bool) -> Self {
        Self { manner, has_bars, fresh: Vec::new(), actions: BTreeMap::new(), waited: BTreeSet::new() }
    }

    /// The lines that this event is worth, with those that were held back until now.
    pub(super) fn tell(&mut self, event: &Event) -> Vec<String> {
        let mut told = self.told(event);
        if !told.is_empty() || matches!(event, Event::RunFinished { .. }) {
            let mut lines = self.fresh_stages();
            lines.append(&mut told);
            return lines;
        }
        told
    }

    fn told(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted { study, profile, stages, .. } => {
                let stages = words::count(*stages as u64, "stage");
                self.line(Tone::Busy, "study", &format!("{study}, profile {profile}: {stages}"))
            }
            Event::StageFresh { stage, .. } if self.manner.verbose => self.line(Tone::Quiet, "fresh", stage),
            Event::StageFresh { stage, .. } => {
                self.fresh.push(stage.clone());
                Vec::new()
            }
            Event::StageStarted { stage, reason, .. }
                if !self.has_bars || self.manner.verbose || reason != FIRST_TIME =>
            {
                self.line(Tone::Busy, "starts", &format!("{stage}  {reason}"))
            }
            Event::StageFinished { stage, seconds, hit, ran, .. } => {
                let actions = self.actions_of(stage, *hit, *ran);
                self.line(Tone::Good, "done", &format!("{stage}  {actions}  {}", words::seconds(*seconds)))
            }
            Event::StageFailed { stage, message } => {
                let mut lines = self.line(Tone::Bad, "failed", stage);
                lines.extend(message.trim_end().lines().map(|line| format!("{INDENT}{line}").trim_end().to_owned()));
                lines
            }
            Event::StageSkipped { stage, because } => {
                self.line(Tone::Careful, "skipped", &format!("{stage}  because `{because}` failed"))
            }
            Event::StageStarted { .. } | Event::StageProgress { .. } | Event::RunFinished { .. } => Vec::new(),
            Event::ActionHit { .. } | Event::ActionStarted { .. } | Event::ActionFinished { .. } => self.action(event),
            Event::Claim { stage, claim, verdict, detail } => {
                let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
                self.line(of_verdict(verdict), verdict, &format!("{stage}  {claim}{detail}"))
            }
            _ => self.incident(event),
        }
    }

    fn action(&mut self, event: &Event) -> Vec<String> {
        let (tone, label, text) = match event {
            Event::ActionHit { stage, kind, key } => {
                self.count(stage, kind).0 += 1;
                (Tone::Quiet, "reused", format!("{stage}  {kind} {}", key.short()))
            }
            Event::ActionStarted { stage, kind, key } => {
                (Tone::Quiet, "runs", format!("{stage}  {kind} {}", key.short()))
            }
            Event::ActionFinished { stage, kind, key, seconds } => {
                self.count(stage, kind).1 += 1;
                (Tone::Quiet, "ran", format!("{stage}  {kind} {}  {}", key.short(), words::seconds(*seconds)))
            }
            _ => return Vec::new(),
        };
        if self.manner.verbose { self.line(tone, label, &text) } else { Vec::new() }
    }

    /// What is out of the ordinary, or a file.
    fn incident(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Remade { digest, kind, key } => {
                self.line(Tone::Careful, "remade", &format!("blob {}, by {kind} {}", digest.short(), key.short()))
            }
            // A stage may wait for hundreds of actions of one kind: the first says it all.
            Event::Waiting { kind, key } if self.waited.insert(kind.clone()) || self.manner.verbose => {
                self.line(Tone::Careful, "waiting", &format!("for another run to make {kind} {}", key.short()))
            }
            Event::Quarantined { path, problem } => {
                self.line(Tone::Careful, "damaged", &format!("{}: {problem}; set aside", path.display()))
            }
            Event::ResultWritten { path, restored: true } => {
                self.line(Tone::Quiet, "restored", &path.display().to_string())
            }
            // Tables are many; the pictures are what one opens.
            Event::ResultWritten { path, .. }
                if self.manner.verbose || path.extension().is_some_and(|e| e == "png") =>
            {
                self.line(Tone::Quiet, "written", &path.display().to_string())
            }
            Event::Note { stage, message } => {
                let message = stage.as_ref().map_or_else(|| message.clone(), |stage| format!("{stage}: {message}"));
                self.line(Tone::Quiet, "note", &message)
            }
            Event::Warning { stage, message } => {
                let whose = stage.as_ref().map_or_else(String::new, |stage| format!("{stage}  "));
                let mut message = message.trim_end().lines();
                let mut lines =
                    self.line(Tone::Careful, "warning", &format!("{whose}{}", message.next().unwrap_or("")));
                let more = message.flat_map(|line| self.folded(line));
                lines.extend(more.map(|line| format!("{INDENT}{line}").trim_end().to_owned()));
                lines
            }
            _ => Vec::new(),
        }
    }

    fn count(&mut self, stage: &str, kind: &str) -> &mut (u64, u64) {
        self.actions.entry(stage.to_owned()).or_default().entry(kind.to_owned()).or_default()
    }

    /// `60 epochs run, 90 reused`, `60 epochs, 61 evaluations run`, `all 4 reused`.
    fn actions_of(&mut self, stage: &str, hit: u64, ran: u64) -> String {
        let kinds = self.actions.remove(stage).unwrap_or_default();
        let run = kinds.iter().filter(|(_, (_, ran))| *ran > 0);
        let run: Vec<String> = run.map(|(kind, (_, ran))| words::count(*ran, words::action(kind))).collect();
        match (ran, hit) {
            (0, 0) => "nothing to run".to_owned(),
            (0, hit) => format!("all {hit} reused"),
            (_, 0) => format!("{} run", run.join(", ")),
            (_, hit) => format!("{} run, {hit} reused", run.join(", ")),
        }
    }

    fn fresh_stages(&mut self) -> Vec<String> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return Vec::new();
        }
        let named = words::list(fresh.iter().map(String::as_str), NAMED);
        self.line(Tone::Quiet, "fresh", &format!("{}: {named}", words::count(fresh.len() as u64, "stage")))
    }

    /// One line under a label; labels end in the same column.
    fn line(&self, tone: Tone, label: &str, text: &str) -> Vec<String> {
        let label = Paint { is_on: self.manner.colour }.paint(tone, &format!("{label:>9}"));
        let mut folded = self.folded(text).into_iter();
        let first = format!("{label}  {}", folded.next().unwrap_or_default()).trim_end().to_owned();
        std::iter::once(first).chain(folded.map(|line| format!("{INDENT}{line}"))).collect()
    }

    /// A text in lines beside a label, where bars are drawn; elsewhere in one line, for programs that read by lines.
    fn folded(&self, text: &str) -> Vec<String> {
        let room = COLUMNS - INDENT.len();
        let mut lines = Vec::new();
        let mut rest = text.trim_end();
        while self.has_bars && rest.chars().count() > room {
            let end = rest.char_indices().nth(room + 1).map_or(rest.len(), |(at, _)| at);
            // A word that is wider than a line stays whole.
            let Some(at) = rest[..end].rfind(' ').or_else(|| rest.find(' ')).filter(|&at| at > 0) else { break };
            lines.push(rest[..at].trim_end().to_owned());
            rest = rest[at..].trim_start();
        }
        lines.push(rest.to_owned());
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::key::{Digest, Key};

    fn key(text: &str) -> Key {
        Key::new(Digest::of(text.as_bytes()))
    }

    fn finished(stage: &str, hit: u64, ran: u64) -> Event {
        Event::StageFinished { stage: stage.into(), kind: "train".into(), key: key("s"), seconds: 12.34, hit, ran }
    }

    fn ran(stage: &str, kind: &str) -> Event {
        Event::ActionFinished { stage: stage.into(), kind: kind.into(), key: key("a"), seconds: 0.25 }
    }

    fn fresh(stage: &str) -> Event {
        Event::StageFresh { stage: stage.into(), kind: "train".into(), key: key("s") }
    }

    fn told(narrator: &mut Narrator, events: &[Event]) -> String {
        events.iter().flat_map(|event| narrator.tell(event)).map(|line| line + "\n").collect()
    }

    /// Something of everything, as it may happen.
    fn events() -> Vec<Event> {
        let stage = "train[model=mlp]".to_owned();
        let mut events = vec![Event::RunStarted { study: "fig3".into(), profile: "small".into(), stages: 9, jobs: 2 }];
        events.extend(["a", "b", "c", "d", "e"].map(fresh));
        events.push(Event::StageStarted {
            stage: stage.clone(),
            kind: "train".into(),
            reason: "epochs: 150 → 200".into(),
        });
        events.push(Event::ActionHit { stage: stage.clone(), kind: "epoch".into(), key: key("a") });
        events.push(Event::ActionStarted { stage: stage.clone(), kind: "epoch".into(), key: key("a") });
        events.push(ran(&stage, "epoch"));
        events.push(finished(&stage, 1, 1));
        events.extend([
            ran("t", "epoch"),
            ran("t", "epoch"),
            ran("t", "init"),
            finished("t", 0, 3),
            finished("u", 4, 0),
        ]);
        events.push(Event::StageFailed { stage: "plot".into(), message: "no such column\n\n  `loss`\n".into() });
        events.push(Event::StageSkipped { stage: "claim".into(), because: "plot".into() });
        events.push(Event::Remade { digest: Digest::of(b"x"), kind: "descent".into(), key: key("a") });
        events.push(Event::Waiting { kind: "descent".into(), key: key("a") });
        events.push(Event::Waiting { kind: "descent".into(), key: key("b") });
        events.push(Event::Quarantined { path: PathBuf::from("cache/blobs/ab"), problem: "12 bytes of 40".into() });
        events.push(Event::ResultWritten { path: PathBuf::from("results/fig3/a.png"), restored: false });
        events.push(Event::ResultWritten { path: PathBuf::from("results/fig3/a.csv"), restored: true });
        events.push(Event::Claim {
            stage: "sharper".into(),
            claim: "the trace falls".into(),
            verdict: "holds".into(),
            detail: "ρ = −0.92, p = 0.001".into(),
        });
        events.push(Event::Warning { stage: Some("toy".into()), message: "3 descents hit their cap\nraise it".into() });
        events.push(Event::Warning { stage: None, message: "other arithmetic".into() });
        events.push(fresh("f"));
        events.push(Event::RunFinished {
            seconds: 1.0,
            fresh: 6,
            ran: 3,
            failed: 1,
            skipped: 1,
            actions: 4,
            interrupted: false,
        });
        events
    }

    #[test]
    fn a_run_is_told_in_words() {
        let mut narrator = Narrator::new(Manner::default(), false);
        insta::assert_snapshot!(told(&mut narrator, &events()), @r"
           study  fig3, profile small: 9 stages
           fresh  5 stages: a, b, c and 2 more
          starts  train[model=mlp]  epochs: 150 → 200
            done  train[model=mlp]  1 epoch run, 1 reused  12.3 s
            done  t  2 epochs, 1 initialisation run  12.3 s
            done  u  all 4 reused  12.3 s
          failed  plot
                  no such column

                    `loss`
         skipped  claim  because `plot` failed
          remade  blob 3ae7d805f678, by descent 17762fddd969
         waiting  for another run to make descent 17762fddd969
         damaged  cache/blobs/ab: 12 bytes of 40; set aside
         written  results/fig3/a.png
        restored  results/fig3/a.csv
           holds  sharper  the trace falls (ρ = −0.92, p = 0.001)
         warning  toy  3 descents hit their cap
                  raise it
         warning  other arithmetic
           fresh  1 stage: f
        ");
    }

    #[test]
    fn verbose_tells_every_action_and_every_fresh_stage() {
        let mut narrator = Narrator::new(Manner { verbose: true, colour: false }, true);
        let text = told(&mut narrator, &events()[..11]);
        insta::assert_snapshot!(text, @r"
         study  fig3, profile small: 9 stages
         fresh  a
         fresh  b
         fresh  c
         fresh  d
         fresh  e
        starts  train[model=mlp]  epochs: 150 → 200
        reused  train[model=mlp]  epoch 17762fddd969
          runs  train[model=mlp]  epoch 17762fddd969
           ran  train[model=mlp]  epoch 17762fddd969  0.25 s
          done  train[model=mlp]  1 epoch run, 1 reused  12.3 s
        ");
    }

    #[test]
    fn colours_paint_labels_only_and_add_nothing_else() {
        let plain = told(&mut Narrator::new(Manner::default(), false), &events());
        let painted = told(&mut Narrator::new(Manner { colour: true, verbose: false }, false), &events());
        assert_ne!(plain, painted);
        let bare = ["1;32", "1;31", "1;33", "1;36", "2", "0"]
            .iter()
            .fold(painted, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
        assert_eq!(bare, plain);
        assert!(!plain.contains('\x1b'));
    }

    #[test]
    fn beside_bars_a_first_start_needs_no_line_and_a_rerun_says_why() {
        let start =
            |reason: &str| Event::StageStarted { stage: "t".into(), kind: "train".into(), reason: reason.into() };
        let mut narrator = Narrator::new(Manner::default(), true);
        assert_eq!(
            told(&mut narrator, &[start("never ran"), start("lr: 0.1 → 0.05")]),
            "   starts  t  lr: 0.1 → 0.05\n"
        );
    }

    #[test]
    fn beside_bars_no_line_is_wider_than_eighty_columns() {
        let stage = "train-seeds[seed=0,model=a-long-name]";
        let ran: Vec<Event> = ["epoch", "evaluate", "init", "replay", "descent"].map(|kind| ran(stage, kind)).into();
        let events = [ran, vec![finished(stage, 12, 5)]].concat();
        insta::assert_snapshot!(told(&mut Narrator::new(Manner::default(), true), &events), @r"
        done  train-seeds[seed=0,model=a-long-name]  1 descent block, 1 epoch, 1
              evaluation, 1 initialisation, 1 replay run, 12 reused  12.3 s
        ");
        assert_eq!(told(&mut Narrator::new(Manner::default(), false), &events).lines().count(), 1);
    }
}
