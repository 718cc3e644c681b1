//! What a job and whoever asked for it tell each other: files in a folder that both reach.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const JOB: &str = "job.json";
const EVENTS: &str = "events-";
const EXIT: &str = "exit-";
const LOG: &str = "log-";

/// A job's folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It did all it had to.
    Done,
    /// The work itself failed.
    Work,
    /// A device was lost.
    Lost,
    /// The cache or the machine failed.
    Machine,
}

/// What a task says as its last deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The token of the job that it is of.
    pub token: String,
    /// How it ended.
    pub end: End,
    /// Why, where it did not do all.
    pub message: String,
    /// Actions found.
    pub hit: u64,
    /// Actions run.
    pub ran: u64,
}

/// What a job is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) token: String,
    /// Its name and comment, in which the token is.
    pub(super) name: String,
    pub(super) tasks: u64,
    /// Its id, once Slurm has said it.
    pub(super) id: Option<u64>,
}

impl Folder {
    /// The folder at a path, made where it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The folder at a path, if there is one.
    pub fn find(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self(path.to_owned()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a task tells what happens.
    pub fn events(&self, task: u64) -> PathBuf {
        self.0.join(format!("{EVENTS}{task}"))
    }

    /// What a job's tasks print goes here; Slurm puts a task's number in for `task`.
    pub(super) fn log(&self, task: &str) -> PathBuf {
        self.0.join(format!("{LOG}{task}"))
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let partial = self.0.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, self.0.join(name))
    }

    /// Says how a task ended.
    ///
    /// # Errors
    /// The system's.
    pub fn write_exit(&self, task: u64, exit: &Exit) -> io::Result<()> {
        self.write(&format!("{EXIT}{task}"), &serde_json::to_vec(exit)?)
    }

    /// The token of the job that this folder is of at present.
    pub fn token(&self) -> Option<String> {
        self.ticket().map(|ticket| ticket.token)
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        serde_json::from_slice(&fs::read(self.0.join(JOB)).ok()?).ok()
    }

    pub(super) fn write_ticket(&self, ticket: &Ticket) -> io::Result<()> {
        self.write(JOB, &serde_json::to_vec_pretty(ticket)?)
    }

    pub(super) fn forget_ticket(&self) {
        let _ = fs::remove_file(self.0.join(JOB));
    }

    /// How its tasks ended that did, by number; `known` are not read again.
    pub(super) fn exits(&self, token: &str, known: &BTreeMap<u64, Exit>) -> BTreeMap<u64, Exit> {
        let task = |name: &str| name.strip_prefix(EXIT)?.parse::<u64>().ok();
        let names = self.names().into_iter().filter_map(|name| Some((task(&name)?, name)));
        let new = names.filter(|(task, _)| !known.contains_key(task));
        let read =
            |(task, name)| Some((task, serde_json::from_slice::<Exit>(&fs::read(self.0.join(name)).ok()?).ok()?));
        new.filter_map(read).filter(|(_, exit)| exit.token == token).collect()
    }

    /// Whether nothing in it was written for so long.
    pub fn is_older_than(&self, age: Duration) -> bool {
        let modified = |name: String| fs::metadata(self.0.join(name)).and_then(|metadata| metadata.modified()).ok();
        let last = self.names().into_iter().filter_map(modified).max();
        last.and_then(|last| last.elapsed().ok()).is_some_and(|elapsed| elapsed > age)
    }

    /// How many bytes tasks but one have told.
    pub fn told_by_others(&self, task: u64) -> u64 {
        let own = format!("{EVENTS}{task}");
        let others = self.names().into_iter().filter(|name| name.starts_with(EVENTS) && *name != own);
        others.filter_map(|name| fs::metadata(self.0.join(name)).ok()).map(|metadata| metadata.len()).sum()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// The last lines that some task printed, for who wonders why it ended.
    pub(super) fn last_words(&self) -> Option<String> {
        const LINES: usize = 5;
        const LONGEST: u64 = 4096;
        let logs = self.names().into_iter().filter(|name| name.starts_with(LOG)).map(|name| self.0.join(name));
        let newest = logs.max_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())?;
        let mut file = File::open(newest).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        (!last.is_empty()).then(|| last.join("\n"))
    }

    /// Removes what an earlier job left: what it told, printed and ended with.
    pub(super) fn clear(&self) {
        for name in self.names() {
            if [EVENTS, EXIT, LOG].iter().any(|begin| name.starts_with(begin)) {
                let _ = fs::remove_file(self.0.join(name));
            }
        }
    }

    /// Removes it with all it holds.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a job's tasks tell, line by line, each line once.
#[derive(Debug, Default)]
pub struct Told {
    /// How much of each task's file was read.
    read: BTreeMap<String, u64>,
}

impl Told {
    /// The lines that were added since it was last asked. A line that is not whole yet is left for the next time.
    pub fn more(&mut self, folder: &Folder) -> Vec<String> {
        let mut lines = Vec::new();
        for name in folder.names().into_iter().filter(|name| name.starts_with(EVENTS)) {
            let from = self.read.entry(name.clone()).or_default();
            // What cannot be read now may be next time; it is only told.
            let _ = tail(&folder.0.join(name), from, &mut lines);
        }
        lines
    }
}

fn tail(path: &Path, from: &mut u64, lines: &mut Vec<String>) -> io::Result<()> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == *from {
        return Ok(());
    }
    file.seek(SeekFrom::Start(*from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        *from += end as u64 + 1;
        lines.extend(String::from_utf8_lossy(&bytes[..end]).lines().map(str::to_owned));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(token: &str) -> Exit {
        Exit { token: token.to_owned(), end: End::Done, message: String::new(), hit: 1, ran: 2 }
    }

    #[test]
    fn each_whole_line_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("job")).unwrap();
        let mut told = Told::default();
        assert!(told.more(&folder).is_empty());
        let append = |task, text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(folder.events(task)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append(0, "a\nb");
        assert_eq!(told.more(&folder), ["a"]);
        append(0, "c\n");
        append(7, "d\n");
        let mut more = told.more(&folder);
        more.sort();
        assert_eq!(more, ["bc", "d"]);
        assert!(told.more(&folder).is_empty());
    }

    #[test]
    fn only_what_the_present_job_says_counts_and_half_a_file_says_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("job")).unwrap();
        folder.write_exit(0, &exit("old")).unwrap();
        folder.write_exit(1, &exit("new")).unwrap();
        fs::write(folder.path().join("exit-2"), "{\"token\":\"new\"").unwrap();
        let exits = folder.exits("new", &BTreeMap::new());
        assert_eq!(exits, BTreeMap::from([(1, exit("new"))]));
        assert!(folder.exits("new", &exits).is_empty());
        fs::write(folder.log("1"), "one\n\ntwo\n").unwrap();
        assert_eq!(folder.last_words().as_deref(), Some("one\ntwo"));
        folder.clear();
        assert_eq!((folder.exits("new", &BTreeMap::new()).len(), folder.last_words()), (0, None));
    }
}
