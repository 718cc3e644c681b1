//! What the kernel tells of this program's children.
//!
//! A child that has not been waited for keeps its number, so nothing here can name a stranger.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// The direct children, those included that have ended and were not waited for.
///
/// The kernel's list may miss one while others end; whoever asks asks again.
pub(super) fn direct() -> Vec<Pid> {
    listed().unwrap_or_else(scanned)
}

/// From the kernel's own list, one file a thread; `None` on a kernel built without it.
fn listed() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = fs::read_to_string(thread.path().join("children")).ok()?;
        children.extend(text.split_whitespace().filter_map(pid));
    }
    Some(children)
}

/// From everybody's parent: slower, but every kernel tells it.
fn scanned() -> Vec<Pid> {
    let own = rustix::process::getpid();
    let parent = |child: &str| -> Option<Pid> {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        // The name, in parentheses, may hold anything; what follows the last one is the state and the parent.
        pid(stat.rsplit_once(") ")?.1.split(' ').nth(1)?)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| parent(name) == Some(own)).filter_map(|name| pid(&name)).collect()
}

/// The first of the marks that a guard gives. Its number is in all of them, so that a guard below a command of another guard does not
/// give the other's marks.
pub(super) fn first_mark(guard: Pid) -> u64 {
    (u64::from(guard.as_raw_nonzero().get().unsigned_abs()) << 24) + 1
}

/// The guard that gave a mark.
pub(super) fn marked_by(mark: u64) -> Option<Pid> {
    i32::try_from(mark >> 24).ok().and_then(Pid::from_raw)
}

/// Ends what a guard that is gone has left to this program, which must be the next subreaper above it: what bears a mark of the guard is
/// asked first, as by the guard itself, and killed after `grace`. Whether nothing is left.
pub(super) fn end_those_of(guard: Pid, grace: Duration) -> bool {
    let start = Instant::now();
    let mut asked = HashSet::new();
    loop {
        let mut left = false;
        for child in direct() {
            if mark(child).and_then(marked_by) != Some(guard)
                || !matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None))
            {
                continue;
            }
            left = true;
            if start.elapsed() >= grace {
                let _ = kill_process(child, Signal::KILL);
            } else if asked.insert(child) {
                let _ = kill_process(child, Signal::TERM);
            }
        }
        if !left || start.elapsed() >= 2 * grace {
            return !left;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The mark that a child bears: the soft limit of file locks, `None` if it has none.
pub(super) fn mark(child: Pid) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.as_raw_nonzero())).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_ways_of_asking_find_a_child_until_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(scanned().contains(&pid));
        assert!(listed().is_none_or(|children| children.contains(&pid)));
        child.kill().unwrap();
        assert!(direct().contains(&pid), "it has ended but was not waited for");
        child.wait().unwrap();
        assert!(!scanned().contains(&pid));
        assert!(listed().is_none_or(|children| !children.contains(&pid)));
    }
}
