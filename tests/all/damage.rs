//! Every file of a small cache, damaged in every way that a disk has, and the study in surroundings of every kind: what comes of it is always
//! right, and nothing damaged is believed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::project::Project;

const STUDY: &str = r#"
study = "small"

[stage.a]
kind = "command"
program = "sh"
args = ["-c", "printf '\\377 seven 7\\n77\\n' > a.txt"]
outputs = ["a.txt"]

[stage.b]
kind = "command"
program = "sh"
args = ["-c", "grep -ac 7 a.txt > b.txt; tr 7 8 < a.txt > c.txt"]
from = "a"
outputs = ["b.txt", "c.txt"]
"#;

/// The files of the cache that hold anything; locks are empty.
fn cached(project: &Project) -> Vec<PathBuf> {
    let files = project.files("cache").into_iter();
    files.filter(|(_, bytes)| !bytes.is_empty()).map(|(path, _)| path).collect()
}

/// What a file may have become.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Removed,
    Cut(usize),
    Longer,
    /// The byte that has one bit turned.
    Turned(usize),
}

impl Damage {
    /// All that are tried of a file of this length: some, or with `THALWEG_EVERY_BYTE` a cut at every length and every byte turned.
    fn all(length: usize) -> Vec<Self> {
        let every = std::env::var_os("THALWEG_EVERY_BYTE").is_some();
        let cuts = if every { (0..length).collect() } else { vec![0, 1, length / 3, length / 2, length - 1] };
        let turned = (0..length).step_by(if every { 1 } else { length.div_ceil(12) });
        let all = [Self::Removed, Self::Longer].into_iter().chain(cuts.into_iter().map(Self::Cut));
        all.chain(turned.map(Self::Turned)).collect()
    }

    fn of(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Removed => None,
            Self::Cut(at) => Some(bytes[..at].to_vec()),
            Self::Longer => Some([bytes, b"\n"].concat()),
            Self::Turned(at) => {
                let mut turned = bytes.to_vec();
                turned[at] ^= 1 << (at % 8);
                Some(turned)
            }
        }
    }

    /// Whether who reads the file tells it: what is not there is made again without a word, a text may be of the format of a later program,
    /// and space behind a root's text says nothing else.
    fn is_told(self, path: &Path, bytes: &[u8], damaged: &[u8]) -> bool {
        if path.starts_with("cache/roots") {
            return damaged.trim_ascii() != bytes.trim_ascii();
        }
        let number = damaged.iter().position(|byte| *byte == b' ').map(|space| space + 1);
        let of_later_format = matches!(self, Self::Turned(at) if number == Some(at) && damaged[at].is_ascii_digit());
        path.starts_with("cache/blobs") || !of_later_format
    }
}

/// A project whose cached files are damaged one after the other.
struct Patient {
    project: Project,
    made: [(&'static str, Vec<u8>); 3],
}

impl Patient {
    fn new() -> Self {
        let project = Project::with(STUDY);
        project.run().succeeds();
        let made = ["a.txt", "b.txt", "c.txt"].map(|name| (name, fs::read(project.path(name)).unwrap()));
        Self { project, made }
    }

    /// Damages a file, runs the study, which must have its results from what is whole, has all read, and puts the file back.
    fn suffers(&self, path: &Path, damage: Damage) {
        let place = self.project.path(path.to_str().unwrap());
        let bytes = fs::read(&place).unwrap();
        let damaged = damage.of(&bytes);
        match &damaged {
            Some(damaged) => fs::write(&place, damaged).unwrap(),
            None => fs::remove_file(&place).unwrap(),
        }
        // The results are away, so that a run has to look at what the cache says.
        self.made.iter().for_each(|(name, _)| fs::remove_file(self.project.path(name)).unwrap());
        let ran = self.project.run();
        ran.succeeds();
        for (name, bytes) in &self.made {
            let found = fs::read(self.project.path(name)).unwrap();
            assert!(found == *bytes, "{}, {damage:?}: `{name}` differs", path.display());
        }
        // Whatever the run did not read is found by who reads all.
        let verified = self.project.call(&["cache", "verify"]);
        let name = path.file_name().unwrap().to_str().unwrap();
        let told = [&ran.err, &verified.out, &verified.err].iter().any(|said| said.contains(name));
        let must = damaged.as_ref().is_some_and(|damaged| damage.is_told(path, &bytes, damaged));
        assert!(told || !must, "{}, {damage:?} was not told:\n{}{}", path.display(), ran.err, verified.out);
        self.project.call(&["cache", "verify"]).succeeds();
        self.project.run().succeeds();
        fs::write(&place, &bytes).unwrap();
        for path in self.project.files("cache/quarantine").keys() {
            fs::remove_file(self.project.path(path.to_str().unwrap())).unwrap();
        }
    }
}

#[test]
fn every_file_of_a_small_cache_may_go_be_cut_or_change_and_the_results_stay_right() {
    let first = Patient::new();
    let files = cached(&first.project);
    let of = |folder: &str| files.iter().filter(|path| path.starts_with(Path::new("cache").join(folder))).count();
    assert!(of("blobs") >= 2 && of("records") >= 4 && of("roots") == 1, "{files:?}");
    let patients = [first, Patient::new(), Patient::new()];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for patient in &patients {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // A file of the same name is not as long in each: a record says how long its action took.
                    let length = fs::metadata(patient.project.path(path.to_str().unwrap())).unwrap().len();
                    let damages = Damage::all(length as usize);
                    eprintln!("{} damages to {}", damages.len(), path.display());
                    for damage in damages {
                        patient.suffers(path, damage);
                    }
                }
            });
        }
    });
}

/// Runs the study in a folder of this name with variables of the environment, and again; what it made.
fn somewhere(name: &[u8], environment: &[(&str, &str)], cache: Option<&Path>) -> Vec<Vec<u8>> {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join(OsStr::from_bytes(name));
    fs::create_dir_all(folder.join(".git")).unwrap();
    fs::write(folder.join("study.toml"), STUDY).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(["run", "study.toml"]).current_dir(&folder).envs(environment.iter().copied());
        command.args(cache.map(|cache| ["--cache".as_ref(), cache.as_os_str()]).into_iter().flatten());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", folder.display());
        said
    };
    run();
    let made = ["a.txt", "b.txt", "c.txt"].map(|name| fs::read(folder.join(name)).unwrap());
    // Files whose times lie a year ahead or behind are the same files.
    for (seconds, name) in [(-31_536_000i64, "a.txt"), (31_536_000, "b.txt")] {
        let now = std::time::SystemTime::now();
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { now - by } else { now + by };
        fs::File::options().write(true).open(folder.join(name)).unwrap().set_modified(time).unwrap();
    }
    let again = run();
    assert!(again.contains("all fresh"), "{again}");
    made.to_vec()
}

#[test]
fn neither_places_nor_times_nor_tongues_change_a_byte() {
    let expected = somewhere(b"plain", &[], None);
    for name in ["two words", "θ und ß", "a'b\"c$d`e", "-rf"] {
        assert!(somewhere(name.as_bytes(), &[], None) == expected, "{name}");
    }
    assert!(somewhere(b"not \xff text", &[], None) == expected);
    for environment in
        [("TZ", "Pacific/Kiritimati"), ("TZ", "nonsense"), ("LC_ALL", "de_DE.UTF-8"), ("LC_ALL", "tr_TR"), ("LANG", "")]
    {
        assert!(somewhere(b"plain", &[environment], None) == expected, "{environment:?}");
    }
    // A file system of its own, where there is one.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let elsewhere = tempfile::tempdir_in(memory).unwrap();
        assert!(somewhere(b"plain", &[], Some(&elsewhere.path().join("cache"))) == expected);
    }
}
