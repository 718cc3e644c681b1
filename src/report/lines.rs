//! Words for people where there is no terminal to draw on: one line per noteworthy event.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::narrator::{Manner, Narrator};
use crate::event::{Event, Sink};

/// Writes a line or a few for each event that people want to hear of. What cannot be written is lost; the run goes on.
#[derive(Debug)]
pub struct Lines<W> {
    inner: Mutex<(Narrator, W)>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W, manner: Manner) -> Self {
        Self { inner: Mutex::new((Narrator::new(manner, false), out)) }
    }

    /// Gives back what it wrote to.
    pub fn into_inner(self) -> W {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn emit(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (narrator, out) = &mut *inner;
        let lines = narrator.tell(&event);
        if !lines.is_empty() {
            // In one piece, so that the words of two runs on one terminal do not mix within a line.
            let _ = out.write_all((lines.join("\n") + "\n").as_bytes()).and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_written_and_the_rest_is_not() {
        let sink = Lines::new(Vec::new(), Manner::default());
        sink.emit(Event::StageProgress { stage: "a".into(), done: 1, total: None, unit: "epochs".into() });
        sink.emit(Event::StageFailed { stage: "a".into(), message: "one\ntwo".into() });
        assert_eq!(String::from_utf8(sink.into_inner()).unwrap(), "   failed  a\n           one\n           two\n");
    }
}
