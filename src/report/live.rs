//! Words for people at a terminal: a bar per running stage, an overall line below, messages above.
//!
//! Each bar is one line that holds the most important first and is cut at the terminal's edge, so that nothing wraps. Events
//! only note what happened; a thread of its own redraws, so that times go on while nothing happens and a flood of events
//! costs little.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::narrator::{Manner, Narrator};
use super::pace::Pace;
use super::paint::{Paint, Tone};
use super::words;
use crate::event::{Event, Sink};

/// Between two drawings of bars.
const REDRAW: Duration = Duration::from_millis(200);

/// Cells of a bar.
const CELLS: usize = 24;

/// Names are padded to the longest that runs, so that columns line up, and cut beyond this.
const NAME_WIDTH: usize = 32;

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
    style: ProgressStyle,
    overall: ProgressBar,
    running: BTreeMap<String, Row>,
    narrator: Narrator,
    paint: Paint,
    since: Instant,
    wanted: usize,
    through: usize,
    is_over: bool,
}

/// A running stage.
struct Row {
    bar: ProgressBar,
    since: f64,
    done: u64,
    total: Option<u64>,
    unit: String,
    pace: Pace,
}

impl Live {
    /// Draws on standard error, which must be a terminal: elsewhere nothing at all is written.
    pub fn stderr(manner: Manner) -> Self {
        Self::on(ProgressDrawTarget::stderr(), manner)
    }

    /// Draws on any target of indicatif's.
    ///
    /// # Panics
    ///
    /// If the system can start no thread.
    pub fn on(target: ProgressDrawTarget, manner: Manner) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
        let overall = multi.add(ProgressBar::new(0).with_style(style.clone()));
        let scene = Scene {
            multi,
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
        for row in std::mem::take(&mut scene.running).into_values() {
            row.bar.finish_and_clear();
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
                if let Some(row) = self.running.get_mut(stage) {
                    (row.done, row.total) = (*done, *total);
                    row.unit.clone_from(unit);
                    row.pace.note(now, *done);
                }
            }
            Event::ActionStarted { stage, .. } => {
                if let Some(row) = self.running.get_mut(stage) {
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
        let row = Row { bar, since: now, done: 0, total: None, unit: String::new(), pace: Pace::default() };
        self.running.insert(stage.to_owned(), row);
        self.redraw();
    }

    fn end(&mut self, stage: &str) {
        self.through += 1;
        if let Some(row) = self.running.remove(stage) {
            row.bar.finish_and_clear();
            self.multi.remove(&row.bar);
        }
    }

    fn redraw(&self) {
        let now = self.since.elapsed().as_secs_f64();
        let width = self.running.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
        for (name, row) in &self.running {
            row.bar.set_message(row.line(name, width, now, self.paint));
        }
        if self.wanted > 0 {
            self.overall.set_message(self.overall_line(now));
        }
    }

    fn overall_line(&self, now: f64) -> String {
        let stages = words::count(self.wanted as u64, "stage");
        let line =
            format!("{} of {stages} through, {} running  {}", self.through, self.running.len(), words::about(now));
        self.paint.paint(Tone::Quiet, &line)
    }
}

impl Row {
    /// `train[model=mlp]  34/150 epochs  50 s left  2.3/s  ━━━━━╸`: what matters least is last, where a terminal's edge cuts.
    fn line(&self, name: &str, width: usize, now: f64, paint: Paint) -> String {
        let name = match name.char_indices().nth(NAME_WIDTH) {
            Some(_) => name.chars().take(NAME_WIDTH - 1).chain(['…']).collect(),
            None => name.to_owned(),
        };
        let mut columns = vec![format!("{name:width$}")];
        match self.total {
            _ if self.unit.is_empty() => {}
            Some(total) => {
                let digits = total.to_string().len();
                columns.push(format!("{:>digits$}/{total} {}", self.done, self.unit));
            }
            None => columns.push(format!("{} {}", self.done, self.unit)),
        }
        match self.total.and_then(|total| self.pace.left(now, total)) {
            Some(left) => columns.push(format!("{:>11} left", words::about(left))),
            None => columns.push(format!("{:>11}     ", words::about(now - self.since))),
        }
        columns.extend(self.pace.rate(now).map(|rate| match rate {
            1.0.. => format!("{rate:.1}/s"),
            _ => format!("{} each", words::seconds(1.0 / rate)),
        }));
        columns.extend(self.total.map(|total| paint.paint(Tone::Busy, &cells(self.done, total))));
        columns.join("  ").trim_end().to_owned()
    }
}

/// A bar of [`CELLS`] cells, drawn to half a cell.
fn cells(done: u64, total: u64) -> String {
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
    let halves = (share * (2 * CELLS) as f64) as usize;
    let mut bar = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        bar.push('╸');
    }
    let drawn = bar.chars().count();
    bar + &"·".repeat(CELLS - drawn)
}

#[cfg(test)]
mod tests {
    use super::super::screen::Screen;
    use super::*;

    fn on(screen: &Screen) -> Live {
        in_colour(screen, false)
    }

    fn in_colour(screen: &Screen, colour: bool) -> Live {
        Live::on(ProgressDrawTarget::term_like(Box::new(screen.clone())), Manner { colour, verbose: false })
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
        train[model=a-model-with-a-long…   34/150 epochs
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

    #[test]
    fn a_row_tells_the_time_left_once_it_means_something() {
        let mut row = Row {
            bar: ProgressBar::hidden(),
            since: 0.0,
            done: 0,
            total: Some(150),
            unit: "epochs".into(),
            pace: Pace::default(),
        };
        let plain = Paint { is_on: false };
        row.pace.begin(0.0);
        insta::assert_snapshot!(row.line("train", 8, 1.0, plain), @"train       0/150 epochs          1 s       ························");
        for unit in 1..=30 {
            row.done = unit;
            row.pace.note(unit as f64 / 3.0, unit);
        }
        insta::assert_snapshot!(row.line("train", 8, 10.0, plain), @"train      30/150 epochs         40 s left  3.0/s  ━━━━╸···················");
        row.total = None;
        insta::assert_snapshot!(row.line("train", 8, 10.0, plain), @"train     30 epochs         10 s       3.0/s");
    }

    #[test]
    fn a_bar_has_always_as_many_cells() {
        for (done, total) in [(0, 0), (0, 7), (1, 7), (3, 7), (7, 7), (9, 7)] {
            assert_eq!(cells(done, total).chars().count(), CELLS, "{done} of {total}");
        }
        assert!(!cells(6, 7).ends_with('━') && cells(7, 7).ends_with('━'));
    }
}
