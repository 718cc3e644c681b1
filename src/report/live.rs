//! Words for people at a terminal: a bar per running stage, an overall line below, messages above.
//!
//! Each bar is one line that holds the most important first and is cut before the terminal's edge, so that nothing wraps. Events
//! only note what happened; a thread of its own redraws, so that times go on while nothing happens and a flood of events
//! costs little.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::narrator::{Manner, Narrator};
use super::paint::{Paint, Tone};
use super::row::{self, Row};
use super::terminal::{FREE, Resting, Stderr};
use super::words;
use crate::event::{Event, Sink};

/// Between two drawings of bars.
const REDRAW: Duration = Duration::from_millis(200);

/// At most so many drawings a second.
const DRAWINGS_A_SECOND: u8 = 20;

/// Draws on a terminal until the run is over, or until it is dropped; either clears the bars and leaves the messages.
pub struct Live {
    shared: Arc<Shared>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    scene: Mutex<Scene>,
    over: Condvar,
}

/// What is on the screen.
struct Scene {
    multi: MultiProgress,
    terminal: Resting,
    style: ProgressStyle,
    overall: ProgressBar,
    running: BTreeMap<String, (ProgressBar, Row)>,
    narrator: Narrator,
    paint: Paint,
    since: Instant,
    wanted: usize,
    through: usize,
    is_over: bool,
}

impl Live {
    /// Draws on standard error, which must be a terminal.
    pub fn stderr(manner: Manner) -> Self {
        Self::on(Arc::new(Stderr::default()), manner)
    }

    /// Draws on any terminal.
    ///
    /// # Panics
    ///
    /// If the system can start no thread.
    pub fn on(terminal: Arc<dyn TermLike>, manner: Manner) -> Self {
        let terminal = Resting { on: terminal, bars: Arc::default() };
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), DRAWINGS_A_SECOND);
        let multi = MultiProgress::with_draw_target(target);
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        let overall = multi.add(ProgressBar::new(0).with_style(style.clone()));
        let scene = Scene {
            multi,
            terminal,
            style,
            overall,
            running: BTreeMap::new(),
            narrator: Narrator::new(manner, true),
            paint: Paint { is_on: manner.colour },
            since: Instant::now(),
            wanted: 0,
            through: 0,
            is_over: false,
        };
        let shared = Arc::new(Shared { scene: Mutex::new(scene), over: Condvar::new() });
        let painter = std::thread::Builder::new().name("live progress".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.redraw_until_over()
        });
        Self { shared, painter: Mutex::new(Some(painter.expect("a thread can be started"))) }
    }

    /// Clears the bars and gives the terminal back; what is emitted after is still printed. Doing it twice does no harm.
    pub fn finish(&self) {
        self.shared.lock().is_over = true;
        self.shared.over.notify_all();
        let painter = self.painter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(painter) = painter {
            let _ = painter.join();
        }
        let mut scene = self.shared.lock();
        scene.terminal.bars.store(false, Ordering::Relaxed);
        for (bar, _) in std::mem::take(&mut scene.running).into_values() {
            bar.finish_and_clear();
        }
        scene.overall.finish_and_clear();
        let _ = scene.multi.clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Sink for Live {
    fn emit(&self, event: Event) {
        let is_over = matches!(event, Event::RunFinished { .. });
        self.shared.lock().take(&event);
        if is_over {
            self.finish();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn redraw_until_over(&self) {
        let mut scene = self.lock();
        while !scene.is_over {
            scene.redraw();
            scene = self.over.wait_timeout(scene, REDRAW).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Scene {
    fn take(&mut self, event: &Event) {
        let now = self.since.elapsed().as_secs_f64();
        match event {
            Event::RunStarted { stages, .. } => self.wanted = *stages,
            Event::StageStarted { stage, .. } => self.begin(stage, now),
            Event::StageProgress { stage, done, total, unit } => {
                if let Some((_, row)) = self.running.get_mut(stage) {
                    (row.done, row.total) = (*done, *total);
                    row.unit.clone_from(unit);
                    row.pace.note(now, *done);
                }
            }
            Event::ActionStarted { stage, .. } => {
                if let Some((_, row)) = self.running.get_mut(stage) {
                    row.pace.begin(now);
                }
            }
            Event::StageFresh { stage, .. }
            | Event::StageFinished { stage, .. }
            | Event::StageFailed { stage, .. }
            | Event::StageSkipped { stage, .. } => self.end(stage),
            _ => {}
        }
        for line in self.narrator.tell(event) {
            let _ = self.multi.println(line);
        }
    }

    fn begin(&mut self, stage: &str, now: f64) {
        if self.is_over || self.running.contains_key(stage) {
            return;
        }
        let bar = ProgressBar::new(0).with_style(self.style.clone());
        let bar = self.multi.insert_before(&self.overall, bar);
        self.running.insert(stage.to_owned(), (bar, Row::new(now)));
        self.redraw();
    }

    fn end(&mut self, stage: &str) {
        self.through += 1;
        if let Some((bar, _)) = self.running.remove(stage) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
    }

    fn redraw(&self) {
        let now = self.since.elapsed().as_secs_f64();
        let room = usize::from(self.terminal.width()).saturating_sub(FREE).max(1);
        let rows: Vec<(&str, &Row)> = self.running.iter().map(|(name, (_, row))| (name.as_str(), row)).collect();
        let lines = row::lines(&rows, now, (room, self.paint));
        for ((bar, _), line) in self.running.values().zip(lines) {
            bar.set_message(line);
        }
        if self.wanted > 0 {
            // From now on the overall line is the last one on the screen.
            self.terminal.bars.store(true, Ordering::Relaxed);
            let line = row::cut(&self.overall_line(now), room);
            self.overall.set_message(self.paint.paint(Tone::Quiet, &line));
        }
    }

    fn overall_line(&self, now: f64) -> String {
        let stages = words::count(self.wanted as u64, "stage");
        format!("{} of {stages} through, {} running  {}", self.through, self.running.len(), words::about(now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::Screen;
    use super::*;

    fn on(screen: &Screen) -> Live {
        in_colour(screen, false)
    }

    fn in_colour(screen: &Screen, colour: bool) -> Live {
        Live::on(Arc::new(screen.clone()), Manner { colour, verbose: false })
    }

    /// What is on the screen, less how long it has taken.
    fn timeless(screen: &Screen) -> String {
        let lines = screen.text();
        let lines = lines.lines().map(|line| line.split_once("running  ").map_or(line, |(start, _)| start));
        lines.map(|line| line.to_owned() + "\n").collect()
    }

    const NAME: &str = "train[model=a-model-with-a-long-name]";

    fn play(live: &Live) {
        let (stage, unit) = (NAME.to_owned(), "epochs".to_owned());
        live.emit(Event::RunStarted { study: "fig3".into(), profile: "small".into(), stages: 2, jobs: 2 });
        live.emit(Event::StageStarted { stage: stage.clone(), kind: "train".into(), reason: "never ran".into() });
        live.emit(Event::StageProgress { stage, done: 34, total: Some(150), unit });
        live.emit(Event::Warning { stage: None, message: "look here".into() });
        live.shared.lock().redraw();
    }

    #[test]
    fn bars_are_cut_at_the_edge_below_the_messages() {
        let screen = Screen::new(50);
        let live = on(&screen);
        play(&live);
        insta::assert_snapshot!(timeless(&screen), @r"
            study  fig3, profile small: 2 stages
          warning  look here
        train[model=a-model-with-a-long…  34/150 epo
        0 of 2 stages through, 1
        ");
        live.emit(Event::StageFailed { stage: NAME.into(), message: "no".into() });
        live.shared.lock().redraw();
        insta::assert_snapshot!(timeless(&screen), @r"
            study  fig3, profile small: 2 stages
          warning  look here
           failed  train[model=a-model-with-a-long-name]
                   no
        1 of 2 stages through, 0
        ");
        drop(live);
        insta::assert_snapshot!(timeless(&screen), @r"
          study  fig3, profile small: 2 stages
        warning  look here
         failed  train[model=a-model-with-a-long-name]
                 no
        ");
    }

    #[test]
    fn what_ctrl_c_writes_beside_a_bar_wraps_nothing() {
        for width in [20, 50, 80] {
            let screen = Screen::new(width);
            let live = in_colour(&screen, true);
            play(&live);
            let bars = screen.text();
            let bars = bars.lines().filter(|line| line.contains("train[") || line.contains("0 of 2"));
            assert!(bars.clone().count() == 2 && bars.clone().all(|bar| bar.chars().count() + 4 <= width), "{width}");
            // As the terminal writes it, wherever the cursor is.
            screen.write_str("^C^C").unwrap();
            live.finish();
            assert!(!screen.text().contains("0 of 2") && !screen.text().contains("train["), "{}", screen.text());
        }
    }

    #[test]
    fn colours_take_no_room() {
        let texts = [false, true].map(|colour| {
            let screen = Screen::new(74);
            let live = in_colour(&screen, colour);
            play(&live);
            timeless(&screen)
        });
        assert_eq!(texts[0], texts[1]);
        assert!(texts[0].contains('━'), "{}", texts[0]);
    }

    #[test]
    fn after_the_run_nothing_is_drawn_and_messages_still_come() {
        let screen = Screen::new(80);
        let live = on(&screen);
        play(&live);
        let (seconds, fresh, ran, failed, skipped, actions) = (1.0, 0, 0, 1, 0, 0);
        live.emit(Event::RunFinished { seconds, fresh, ran, failed, skipped, actions, interrupted: true });
        let writes = screen.writes();
        std::thread::sleep(2 * REDRAW);
        assert_eq!(screen.writes(), writes, "nothing is drawn");
        live.emit(Event::Warning { stage: None, message: "late".into() });
        insta::assert_snapshot!(timeless(&screen), @r"
          study  fig3, profile small: 2 stages
        warning  look here
        warning  late
        ");
    }
}
