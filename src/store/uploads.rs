//! What goes up to a shared cache: in the background, a record after its blobs, and tried three times before it is given up.
//!
//! The queue holds keys, not bytes: what is put up is read from this cache when its turn comes, and blobs are digested on the way, so that
//! damage here does not become damage there.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::hints::Hint;
use super::layout::{Layout, read_file};
use super::shared::Shared;
use crate::key::{Digest, Key, Output, Record};
use crate::remote::{Error as RemoteError, WriteBack};

/// Objects on their way at once.
const AT_ONCE: usize = 4;
/// How often an object is put up before it is given up; each request has been sent again several times by then.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// What was put up within this is not looked for again: the grace of a collection is usually a day.
const LATELY: Duration = Duration::from_hours(1);
/// How often whoever waits asks whether it is still to wait.
const ASK: Duration = Duration::from_millis(100);

/// One thing to be put up.
#[derive(Clone, Debug)]
pub(super) enum Upload {
    /// A record with its blobs, and a stage's list.
    Record(Key),
    /// What a study reaches, in the file of its root, under this name.
    Root(std::path::PathBuf, String),
    /// A hint.
    Hint(Key, Hint),
}

/// What went up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Objects put up.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records, roots and hints that were not put up.
    pub left: u64,
    /// Why, where some were not.
    pub problem: Option<String>,
}

/// The queue, and the threads that empty it.
pub(super) struct Uploads {
    when: WriteBack,
    work: Arc<Work>,
}

struct Work {
    shared: Arc<Shared>,
    layout: Layout,
    queue: Mutex<Queue>,
    /// Something was added, finished or closed.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    ahead: VecDeque<Upload>,
    busy: usize,
    threads: usize,
    closed: bool,
    sent: Sent,
    /// Records that went up, or turned out to be there, with all that they name.
    put: HashMap<Key, Instant>,
    /// Given up while the place did not answer.
    again: Vec<Upload>,
    /// Blobs and roots by name: the record of an action and that of its stage name the same blobs, and of a root's texts the last counts.
    on_their_way: BTreeSet<String>,
}

impl Uploads {
    pub(super) fn new(shared: Arc<Shared>, layout: Layout, when: WriteBack) -> Self {
        Self { when, work: Arc::new(Work { shared, layout, queue: Mutex::default(), changed: Condvar::new() }) }
    }

    /// Whether a record was put up by this process, so lately that nobody will have collected it.
    pub(super) fn has_put_lately(&self, key: &Key) -> bool {
        self.work.queue().put.get(key).is_some_and(|since| since.elapsed() < LATELY)
    }

    /// Whether anything is to be put up.
    pub(super) fn are_wanted(&self) -> bool {
        self.when != WriteBack::Never
    }

    /// Has something put up, unless nothing is to be.
    pub(super) fn add(&self, upload: Upload) {
        if self.are_wanted() {
            self.work.queue().ahead.push_back(upload);
            if self.when == WriteBack::Background {
                self.start();
            }
        }
    }

    fn start(&self) {
        let mut queue = self.work.queue();
        while queue.threads < AT_ONCE.min(queue.ahead.len() + queue.busy) {
            queue.threads += 1;
            let work = Arc::clone(&self.work);
            std::thread::spawn(move || work.work());
        }
        self.work.changed.notify_all();
    }

    /// Waits until everything is put up or given up; what was given up meanwhile is tried once more. `waiting` is told how much is left.
    pub(super) fn finish(&self, cancelled: &dyn Fn() -> bool, waiting: &dyn Fn(u64)) -> Sent {
        for last in [false, true] {
            self.start();
            let mut queue = self.work.queue();
            while (!queue.ahead.is_empty() || queue.busy > 0) && !cancelled() {
                waiting((queue.ahead.len() + queue.busy) as u64);
                queue = self.work.changed.wait_timeout(queue, ASK).unwrap_or_else(PoisonError::into_inner).0;
            }
            if last || queue.again.is_empty() || cancelled() {
                break;
            }
            // It may answer again by now.
            self.work.shared.wake();
            let again = std::mem::take(&mut queue.again);
            queue.ahead.extend(again);
        }
        let mut queue = self.work.queue();
        let mut sent = std::mem::take(&mut queue.sent);
        sent.left += (queue.ahead.len() + queue.busy + queue.again.len()) as u64;
        if sent.left > 0 && sent.problem.is_none() {
            sent.problem = self.work.shared.problem().or_else(|| Some("interrupted".to_owned()));
        }
        queue.ahead.clear();
        queue.again.clear();
        sent
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.work.queue().closed = true;
        self.work.changed.notify_all();
    }
}

/// Why something was not put up.
enum Failure {
    /// The place does not answer.
    Rests,
    Because(RemoteError),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Because(error)
    }
}

impl Work {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut queue = self.queue();
            let upload = loop {
                if queue.closed {
                    return;
                }
                match queue.ahead.pop_front() {
                    Some(upload) => break upload,
                    None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            queue.busy += 1;
            drop(queue);
            let result = self.put(&upload);
            let mut queue = self.queue();
            queue.busy -= 1;
            match result {
                Ok(sent) => {
                    if let Upload::Record(key) = &upload {
                        queue.put.insert(*key, Instant::now());
                    }
                    queue.sent.objects += sent.objects;
                    queue.sent.bytes += sent.bytes;
                }
                Err(Failure::Rests) => queue.again.push(upload),
                Err(Failure::Because(problem)) => {
                    if let RemoteError::Place(problem) = &problem {
                        self.shared.failed(problem);
                    }
                    queue.sent.problem.get_or_insert_with(|| problem.to_string());
                    queue.again.push(upload);
                }
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn put(&self, upload: &Upload) -> Result<Sent, Failure> {
        let mut sent = Sent::default();
        match upload {
            Upload::Record(key) => self.put_record(key, &mut sent)?,
            Upload::Root(path, name) => {
                self.alone(name, || {
                    let there = self.shared.ask(|_| self.shared.any_text(name, 0)).flatten();
                    match read(path)?.filter(|bytes| there.as_ref() != Some(bytes)) {
                        Some(bytes) => self.put_text(name, &bytes, &mut sent),
                        None => Ok(()),
                    }
                })?;
            }
            Upload::Hint(sort, hint) => {
                let name = self.shared.hint(sort, hint);
                if self.shared.has(&name).is_none() {
                    self.put_text(&name, b"", &mut sent)?;
                }
            }
        }
        Ok(sent)
    }

    /// What is gone or damaged here by now is not put up: whoever finds it so makes it again, and that goes up.
    fn put_record(&self, key: &Key, sent: &mut Sent) -> Result<(), Failure> {
        let paths = [self.layout.record(key), self.layout.record_beside(key)];
        let found = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let decoded = |bytes: Vec<u8>| Record::decode(&bytes, key).ok().map(|record| (record, bytes));
        let Some((record, bytes)) = found.into_iter().flatten().find_map(decoded) else { return Ok(()) };
        for output in record.outputs.values().filter(|output| output.inline.is_none()) {
            self.put_blob(output, sent)?;
        }
        if let Some(list) = read(&self.layout.list(key))? {
            self.put_text(&self.shared.list(key), &list, sent)?;
        }
        self.put_text(&self.shared.record(key), &bytes, sent)
    }

    fn put_blob(&self, output: &Output, sent: &mut Sent) -> Result<(), Failure> {
        self.alone(&Shared::blob(&output.digest), || {
            if self.shared.has_blob(output) { Ok(()) } else { self.put_blob_alone(output, sent) }
        })
    }

    /// Puts an object up while nobody else puts up the same.
    fn alone(&self, name: &str, put: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        let mut queue = self.queue();
        while !queue.on_their_way.insert(name.to_owned()) {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        let put = put();
        self.queue().on_their_way.remove(name);
        self.changed.notify_all();
        put
    }

    fn put_blob_alone(&self, output: &Output, sent: &mut Sent) -> Result<(), Failure> {
        let name = Shared::blob(&output.digest);
        self.patiently(|| {
            let path = self.layout.blob(&output.digest);
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                file => file.map_err(|error| here(&path, &error))?,
            };
            let mut bytes =
                Verifying { file, hasher: blake3::Hasher::new(), left: output.length, digest: output.digest };
            self.shared.objects().put(&name, &mut bytes, output.length)?;
            sent.objects += 1;
            sent.bytes += output.length;
            self.shared.put_up(&name, output.length);
            Ok(())
        })
    }

    fn put_text(&self, name: &str, text: &[u8], sent: &mut Sent) -> Result<(), Failure> {
        let bytes = self.shared.signed(name, text);
        self.patiently(|| self.shared.objects().put(name, &mut &bytes[..], bytes.len() as u64))?;
        sent.objects += 1;
        sent.bytes += bytes.len() as u64;
        self.shared.put_up(name, bytes.len() as u64);
        Ok(())
    }

    /// Puts one object, from its beginning each time.
    fn patiently(&self, mut put: impl FnMut() -> Result<(), RemoteError>) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            if self.shared.rests() {
                return Err(Failure::Rests);
            }
            match put() {
                Ok(()) => break,
                Err(RemoteError::Place(_)) if attempt < ATTEMPTS && !self.queue().closed => {
                    std::thread::sleep(pause + jitter(pause));
                    pause *= 4;
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        self.shared.works();
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RemoteError> {
    read_file(path).map_err(|error| RemoteError::Here(error.to_string()))
}

fn here(path: &Path, error: &io::Error) -> RemoteError {
    RemoteError::Here(format!("failed to read `{}`: {}", path.display(), super::plain(error)))
}

/// Up to as much again, so that those who failed together do not come again together.
fn jitter(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause.mul_f64(f64::from(now % 1000) / 1000.0)
}

/// Reads a blob and fails at its end if it is not what its digest says.
struct Verifying {
    file: File,
    hasher: blake3::Hasher,
    left: u64,
    digest: Digest,
}

impl Read for Verifying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a blob's bytes do not fit its digest");
        let read = self.file.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(damaged)?;
        self.hasher.update(&buffer[..read]);
        // Before the last bytes are handed on: then they are not, and what needs them all cannot be put.
        let ends = self.left == 0 || read == 0;
        if ends && (self.left > 0 || Digest::from_hasher(&self.hasher) != self.digest) {
            return Err(damaged());
        }
        Ok(read)
    }
}
