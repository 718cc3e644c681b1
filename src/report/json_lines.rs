//! Events for programs: one JSON object a line.

use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Sink};

/// Writes each event as one line of JSON and flushes it at once, so that whoever reads sees it when it happens.
///
/// A reader that goes away (`| head`) stops the lines and not the run; so does any other failure to write, which
/// [`JsonLines::problem`] then tells.
#[derive(Debug)]
pub struct JsonLines<W> {
    inner: Mutex<Inner<W>>,
}

#[derive(Debug)]
struct Inner<W> {
    out: Option<W>,
    problem: Option<String>,
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { inner: Mutex::new(Inner { out: Some(out), problem: None }) }
    }

    /// Why the lines stopped, in the system's words; `None` if they did not, or if the reader went away.
    pub fn problem(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    /// Gives back what it wrote to; `None` if writing had failed.
    pub fn into_inner(self) -> Option<W> {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).out
    }
}

/// The line for one event. Only a path that is not Unicode keeps an event from being JSON; it then becomes a warning.
fn line(event: &Event) -> String {
    let json = serde_json::to_string(event).or_else(|error| {
        serde_json::to_string(&Event::Warning {
            stage: None,
            message: format!("an event cannot be told as JSON: {error}"),
        })
    });
    json.expect("a warning is plain text") + "\n"
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn emit(&self, event: Event) {
        let line = line(&event);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = &mut inner.out else { return };
        if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            inner.out = None;
            inner.problem = (error.kind() != ErrorKind::BrokenPipe).then(|| error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn skipped(stage: &str) -> Event {
        Event::StageSkipped { stage: stage.into(), because: "b\n\"c\"".into() }
    }

    #[test]
    fn an_event_is_one_line_of_json_that_names_itself() {
        let sink = JsonLines::new(Vec::new());
        sink.emit(skipped("a"));
        sink.emit(Event::StageProgress { stage: "a".into(), done: 3, total: None, unit: "epochs".into() });
        let odd = PathBuf::from(OsStr::from_bytes(b"\xff"));
        sink.emit(Event::ResultWritten { path: odd, restored: false });
        let text = String::from_utf8(sink.into_inner().unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"event":"stage-skipped","stage":"a","because":"b\n\"c\""}"#);
        assert_eq!(lines[1], r#"{"event":"stage-progress","stage":"a","done":3,"total":null,"unit":"epochs"}"#);
        assert!(lines[2].starts_with(r#"{"event":"warning","stage":null,"message":"an event cannot"#), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }

    /// Fails from the second write on, and counts the attempts.
    struct Failing(ErrorKind, Arc<AtomicUsize>);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(bytes.len()),
                _ => Err(self.0.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_problem_and_a_full_disk_is_one() {
        for (kind, is_problem) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
            let attempts = Arc::new(AtomicUsize::new(0));
            let sink = JsonLines::new(Failing(kind, Arc::clone(&attempts)));
            for _ in 0..5 {
                sink.emit(skipped("a"));
            }
            assert_eq!(attempts.load(Ordering::Relaxed), 2, "nothing is tried after the first failure");
            assert_eq!(sink.problem().is_some(), is_problem);
        }
    }
}
