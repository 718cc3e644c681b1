//! How much of an errand is left: at a terminal a line that changes, elsewhere one now and then. Messages go above it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::row;
use super::terminal::{FREE, Resting, Stderr};
use crate::event::{Event, Sink};

/// What is over within this is not told of.
const PATIENCE: Duration = Duration::from_millis(700);
/// Where there is no terminal, between two lines.
const PAUSE: Duration = Duration::from_mins(1);
const DRAWINGS_A_SECOND: u8 = 5;

/// Tells of one errand until it is finished or dropped, and passes on what else is to be told meanwhile.
pub struct Errand {
    to: Arc<dyn Sink>,
    line: Option<Line>,
    next: Mutex<Instant>,
}

struct Line {
    bar: ProgressBar,
    terminal: Resting,
}

impl Errand {
    /// Beside what `to` tells; with a line on standard error, if that is a terminal.
    pub fn new(to: Arc<dyn Sink>, terminal: bool) -> Self {
        let patience = if terminal { PATIENCE } else { PAUSE };
        Self::on(to, terminal.then(|| Arc::new(Stderr::default()) as Arc<dyn TermLike>), patience)
    }

    fn on(to: Arc<dyn Sink>, terminal: Option<Arc<dyn TermLike>>, patience: Duration) -> Self {
        let line = terminal.map(|on| {
            let terminal = Resting { on, bars: Arc::default() };
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), DRAWINGS_A_SECOND);
            let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
            Line { bar: ProgressBar::with_draw_target(None, target).with_style(style), terminal }
        });
        Self { to, line, next: Mutex::new(Instant::now() + patience) }
    }

    /// Says what is left, where it is time to say so.
    pub fn tell(&self, left: impl FnOnce() -> String) {
        // Another thread that tells at this moment tells the same.
        let Ok(mut next) = self.next.try_lock() else { return };
        if Instant::now() < *next {
            return;
        }
        if let Some(Line { bar, terminal }) = &self.line {
            *next = Instant::now() + Duration::from_secs(1) / u32::from(DRAWINGS_A_SECOND);
            terminal.bars.store(true, Ordering::Relaxed);
            let room = usize::from(terminal.width()).saturating_sub(FREE).max(1);
            bar.set_message(row::cut(&left(), room));
        } else {
            *next = Instant::now() + PAUSE;
            self.to.emit(Event::Note { stage: None, message: left() });
        }
    }

    /// Clears the line; doing it twice does no harm.
    pub fn finish(&self) {
        if let Some(Line { bar, terminal }) = &self.line {
            let _next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            terminal.bars.store(false, Ordering::Relaxed);
            bar.finish_and_clear();
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Sink for Errand {
    fn emit(&self, event: Event) {
        match &self.line {
            Some(Line { bar, .. }) => bar.suspend(|| self.to.emit(event)),
            None => self.to.emit(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::screen::Screen;
    use super::super::{Lines, Manner};
    use super::*;

    /// What is written to a screen as a program's standard error is, each line from the left.
    struct Written(Screen);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            String::from_utf8_lossy(bytes).lines().try_for_each(|line| self.0.write_line(line))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn errand(screen: &Screen, at_terminal: bool, patience: Duration) -> Errand {
        let lines = Lines::new(Written(screen.clone()), Manner { colour: false, verbose: false });
        let terminal = at_terminal.then(|| Arc::new(screen.clone()) as Arc<dyn TermLike>);
        Errand::on(Arc::new(lines), terminal, patience)
    }

    #[test]
    fn messages_go_above_the_line_which_goes_at_the_end() {
        let screen = Screen::new(30);
        let errand = errand(&screen, true, Duration::ZERO);
        errand.tell(|| "3 records and so many others left".to_owned());
        assert_eq!(screen.text(), "3 records and so many ot");
        errand.emit(Event::Warning { stage: None, message: "look here".into() });
        assert_eq!(screen.text(), "  warning  look here\n3 records and so many ot");
        errand.finish();
        assert_eq!(screen.text(), "  warning  look here");
    }

    #[test]
    fn what_is_soon_over_is_not_told_of() {
        for at_terminal in [false, true] {
            let screen = Screen::new(30);
            let errand = errand(&screen, at_terminal, Duration::from_hours(1));
            errand.tell(|| unreachable!("it is not time"));
            drop(errand);
            assert_eq!(screen.text(), "");
        }
    }

    #[test]
    fn without_a_terminal_a_line_comes_now_and_then() {
        let screen = Screen::new(30);
        let errand = errand(&screen, false, Duration::ZERO);
        errand.tell(|| "3 records left".to_owned());
        errand.tell(|| "2 records left".to_owned());
        assert_eq!(screen.text(), "     note  3 records left");
    }
}
