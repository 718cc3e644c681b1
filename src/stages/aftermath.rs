//! What a command leaves behind besides its outputs: its last words, and a disk that may have been too full for them.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How many of its last lines a failed command is shown with.
const LAST_LINES: usize = 12;

/// How much of the end of a log is read for them, in bytes.
const LAST_BYTES: u64 = 16 * 1024;

/// How much of a line is shown, in characters.
const LINE_LENGTH: usize = 400;

/// With less room than this, in bytes, a disk is taken for full: what others remove may have made it since a write failed.
const NO_ROOM: u64 = 1 << 20;

/// With less room than this, in bytes, a command that speaks of a full disk is believed.
const LITTLE_ROOM: u64 = 64 << 20;

/// What a program says when it hears of it from the system.
const FULL: &str = "No space left on device";

/// What it says, behind what it did, where the disk has room and the user may have no more of it.
const QUOTA: &str = ": Disk quota exceeded";

/// The last lines that a command wrote, indented below the message; nothing where it wrote none. Whatever it wrote, they are short and
/// have no effect on a terminal.
pub fn last_lines(log: &Path) -> String {
    let text = end_of(log);
    let mut lines: Vec<String> = text.lines().map(shown).collect();
    lines.drain(..lines.len().saturating_sub(LAST_LINES));
    if lines.is_empty() { "; it wrote nothing".to_owned() } else { format!("; its last lines:\n{}", lines.join("\n")) }
}

/// Looks at the disk below a scratch folder while a command runs: a script may go on after a write that failed, and end well, and by then
/// there may be room again.
pub struct Room<'p> {
    scratch: &'p Path,
    was_full: Cell<bool>,
}

impl<'p> Room<'p> {
    /// To be asked to [`look`](Self::look) while the command runs.
    pub fn new(scratch: &'p Path) -> Self {
        Self { scratch, was_full: Cell::new(false) }
    }

    /// Notes whether the disk is full now, and says how many bytes are free.
    pub fn look(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.scratch).ok()?;
        let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        let free = blocks.saturating_mul(disk.f_frsize);
        // Some file systems do not tell how many blocks they have, and some have no table of inodes.
        let is_full = (disk.f_blocks > 0 && free < NO_ROOM) || (disk.f_files > 0 && disk.f_ffree == 0);
        self.was_full.set(self.was_full.get() || is_full);
        Some(free)
    }

    /// Why what a command wrote may be cut short although it ended well, if anything.
    pub fn problem(&self, log: &Path) -> Option<String> {
        let free = self.look();
        let said = end_of(log);
        let is_full = self.was_full.get() || (free.is_some_and(|free| free < LITTLE_ROOM) && said.contains(FULL));
        let what = if is_full {
            "no space left on device"
        } else if said.lines().any(|line| line.trim_end().ends_with(QUOTA)) {
            "no space left in its user's disk quota"
        } else {
            return None;
        };
        Some(format!("{what} for what it writes in `{}`", self.scratch.display()))
    }
}

/// The end of a log as text; whole lines, unless there is but one.
fn end_of(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(LAST_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        let whole = bytes.iter().position(|&byte| byte == b'\n').filter(|_| start > 0).map_or(0, |end| end + 1);
        if whole < bytes.len() {
            bytes.drain(..whole);
        }
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// A line as it is shown: no longer than a few lines of a terminal, and with what would steer that spelt out.
fn shown(line: &str) -> String {
    let mut shown = String::new();
    for (n, c) in line.trim_end_matches('\r').chars().enumerate() {
        if n == LINE_LENGTH {
            shown.push('…');
            break;
        }
        if c.is_control() && c != '\t' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(log: &[u8]) -> String {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        std::fs::write(&path, log).unwrap();
        last_lines(&path)
    }

    #[test]
    fn the_last_lines_are_few_short_and_without_control_characters() {
        assert_eq!(lines_of(b""), "; it wrote nothing");
        assert_eq!(lines_of(b"one\ntwo\r\n"), "; its last lines:\none\ntwo");
        assert_eq!(lines_of(b"a\x1b[31mb\tc\x07\n"), "; its last lines:\na\\u{1b}[31mb\tc\\u{7}");
        let many: Vec<String> = (0..10_000).map(|n| format!("line {n}")).collect();
        let shown = lines_of(many.join("\n").as_bytes());
        assert!(shown.starts_with("; its last lines:\nline 9988\n") && shown.ends_with("line 9999"), "{shown}");
        let noise: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x10).collect();
        assert!(lines_of(&noise).len() < 5000);
    }
}
