//! The terminal that bars are drawn on.
//!
//! indicatif leaves the cursor behind the last column, where what the terminal itself writes when Ctrl-C is typed would wrap; the cursor
//! would then be a line lower than where bars are cleared, and one would stay. So while bars are there the cursor rests before
//! columns that they leave free.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::TermLike;

/// Columns at the right edge that stay free: room for `^C` twice.
pub(super) const FREE: usize = 6;

/// A terminal is taken to have so many columns and lines where it does not say.
const USUAL: (u16, u16) = (80, 24);

/// A terminal whose cursor rests before the free columns while `bars` is set.
#[derive(Clone, Debug)]
pub(super) struct Resting {
    pub(super) on: Arc<dyn TermLike>,
    pub(super) bars: Arc<AtomicBool>,
}

impl TermLike for Resting {
    fn width(&self) -> u16 {
        self.on.width()
    }

    fn height(&self) -> u16 {
        self.on.height()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.on.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.on.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.on.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.on.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.on.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.on.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.on.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        if self.bars.load(Ordering::Relaxed) {
            self.on.move_cursor_left(FREE)?;
        }
        self.on.flush()
    }
}

/// Standard error, which must be a terminal; what is drawn is written in one piece.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    waiting: Mutex<String>,
}

impl Stderr {
    fn size() -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        size.ok().map(|size| (size.ws_col, size.ws_row)).filter(|size| size.0 > 0 && size.1 > 0).unwrap_or(USUAL)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what indicatif asks of a terminal may fail")]
    fn add(&self, text: &str) -> io::Result<()> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// A movement of the cursor: 0 would be taken for 1.
    fn step(&self, n: usize, letter: char) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.add(&format!("\x1b[{n}{letter}")) }
    }
}

impl TermLike for Stderr {
    fn width(&self) -> u16 {
        Self::size().0
    }

    fn height(&self) -> u16 {
        Self::size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text)?;
        self.add("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stderr = io::stderr().lock();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()
    }
}
