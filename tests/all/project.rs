//! A project in a folder of its own, and runs of the program in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A training, descents and probes of a network that is small enough for a run to take a second.
pub const VALLEY: &str = r#"
study = "valley"
[stage.data]
kind = "dataset"
source = "digits"
subset = 200
[stage.train]
kind = "train"
data = "data"
model = { architecture = "mlp", hidden = [8] }
lr = 0.1
batch = 50
epochs = 30
[stage.project]
kind = "gd-project"
from = "train"
every = 3
max_steps = 100
until_loss = 0.3
[stage.trace]
kind = "trace-estimate"
from = "project"
probes = 16
"#;

/// Ten short stages, each of which notes that it ran in a log outside its scratch folder.
pub fn ten_stages(project: &Project) -> String {
    let log = project.path("log.txt").display().to_string();
    let mut manifest = "study = \"ten\"\n".to_owned();
    for i in 0..10 {
        let from = if i > 1 { format!("from = \"s{}\"\n", i - 2) } else { String::new() };
        let output = format!("out/s{i}.txt");
        let script = format!(
            "sleep 0.2; cat out/* 2>/dev/null | wc -c > n; (cat n; head -c 2000 /dev/zero) > {output}; echo s{i} >> {log}"
        );
        writeln!(
            manifest,
            "[stage.s{i}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {script:?}]\n{from}outputs = [{output:?}]"
        )
        .unwrap();
    }
    manifest
}

/// A folder with a manifest, files and a cache.
pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// An empty project.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        Self { folder }
    }

    /// A project with this manifest.
    pub fn with(manifest: &str) -> Self {
        let project = Self::new();
        project.file("study.toml", manifest);
        project
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Changes the manifest: every `old` becomes `new`, and there must be one.
    pub fn edit(&self, old: &str, new: &str) -> &Self {
        let manifest = self.read("study.toml");
        assert!(manifest.contains(old), "the manifest has no `{old}`");
        self.file("study.toml", &manifest.replace(old, new))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program with these words, in this folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        // The same on a machine with a GPU: what these tests expect is the CPU's.
        command.env("THALWEG_DEVICE", "cpu");
        command
    }

    pub fn call(&self, words: &[&str]) -> Ran {
        Ran::of(self, &self.command(words).output().unwrap())
    }

    /// The same without an administrator's power over files, which tests may be run with; `None` where that cannot be put off.
    pub fn call_as_ordinary_user(&self, words: &[&str]) -> Option<Ran> {
        if !rustix::process::geteuid().is_root() {
            return Some(self.call(words));
        }
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_thalweg")]).args(words);
        let output = command.current_dir(self.folder.path()).stdin(Stdio::null()).output();
        let output = output.ok().filter(|output| !String::from_utf8_lossy(&output.stderr).starts_with("setpriv: "));
        if output.is_none() {
            eprintln!("this machine has no `setpriv` that works: an ordinary user's rights are not tried");
        }
        output.map(|output| Ran::of(self, &output))
    }

    /// `thalweg run study.toml`, with more words.
    pub fn run_with(&self, words: &[&str]) -> Ran {
        self.call(&[&["run", "study.toml"], words].concat())
    }

    pub fn run(&self) -> Ran {
        self.run_with(&[])
    }

    /// Starts a run and leaves it to the caller.
    pub fn start(&self) -> Child {
        let mut command = self.command(&["run", "study.toml"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Every file below a folder, by name.
    pub fn files(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.path(folder)];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.folder.path()).unwrap().to_owned();
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    /// The files of the results, without `run.json`.
    pub fn results(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = self.files("results");
        files.retain(|path, _| path.file_name().is_none_or(|name| name != "run.json"));
        files
    }

    /// The folder's path in a text becomes `PROJECT`.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "PROJECT")
    }
}

/// How a call ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    run: Option<Value>,
}

impl Ran {
    pub fn of(project: &Project, output: &Output) -> Self {
        let text = |bytes: &[u8]| project.redact(&String::from_utf8_lossy(bytes));
        let results = project.files("results");
        let run = results.iter().find(|(path, _)| path.ends_with("run.json"));
        let run = run.and_then(|(_, bytes)| serde_json::from_slice(bytes).ok());
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr), run }
    }

    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    pub fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    pub fn says(&self, words: &str) -> &Self {
        let (out, err) = (&self.out, &self.err);
        assert!(out.contains(words) || err.contains(words), "no `{words}` in\n{out}\n{err}");
        self
    }

    pub fn run(&self) -> &Value {
        self.run.as_ref().expect("there is a run.json")
    }

    /// The stages in a state, in order.
    pub fn stages(&self, state: &str) -> Vec<String> {
        let stages = self.run()["stages"].as_object().unwrap();
        let mut names: Vec<String> =
            stages.iter().filter(|(_, stage)| stage["state"] == state).map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Exactly these stages ran.
    pub fn ran(&self, names: &[&str]) -> &Self {
        assert_eq!(self.stages("ran"), names, "{}", self.err);
        self
    }

    /// How many actions ran, of all kinds.
    pub fn actions(&self) -> u64 {
        let actions = self.run()["actions"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "stage");
        actions.map(|(_, count)| count["ran"].as_u64().unwrap()).sum()
    }
}

/// Whether a path below the cache is a record proper.
pub fn is_record(path: &Path) -> bool {
    path.starts_with("cache/records") && path.extension().is_none()
}
