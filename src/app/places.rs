//! Files of the user's that stages read, and files that stages write: each is there, or made by one stage alone, and none is the runner's.
//! Paths are compared as the disk has them, so that neither `./`, nor a link, nor another root makes one file two.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::project::Project;
use super::run::works;
use crate::execute::Place;
use crate::manifest::{Diagnostic, Instance, NamedFile, Origin, Root};

/// Everything that is wrong with the places that the study names.
pub fn problems(project: &Project, manifest: &Path) -> Vec<Diagnostic> {
    let mut found = Places { project, disk: Disk::default(), writers: BTreeMap::new(), problems: Vec::new() };
    found.writers(manifest);
    found.readers();
    found.problems
}

/// A stage that writes a file.
#[derive(Clone)]
struct Writer<'p> {
    instance: &'p Instance,
    /// The path as people know it.
    shown: PathBuf,
    origin: Origin,
}

struct Places<'p> {
    project: &'p Project,
    disk: Disk,
    /// By path, compared byte by byte: these are as the disk has them, so their parts need no look.
    writers: BTreeMap<OsString, Writer<'p>>,
    problems: Vec<Diagnostic>,
}

impl Places<'_> {
    fn writers(&mut self, manifest: &Path) {
        let project = self.project;
        let root = self.disk.real(&project.root);
        let results = project.results_of_study();
        let kept = [
            (self.disk.real(&project.cache), "the cache"),
            (self.disk.file(&std::path::absolute(manifest).unwrap_or_else(|_| manifest.to_owned())), "the manifest"),
            (self.disk.file(&results.join("run.json")), "written by every run"),
            (self.disk.file(&results.join("claims.json")), "written by every run"),
        ];
        let mut all = Vec::new();
        for (instance, work) in project.study.instances.iter().zip(works(project)) {
            for (_, place) in work.places(&instance.name) {
                let (base, path, of) = match &place {
                    Place::Project(path) => (&project.root, path, Root::Project),
                    Place::Result(path) => (&results, path, Root::Results),
                };
                let shown: PathBuf = path.components().filter(|part| part.as_os_str() != ".").collect();
                let declared = instance.params.places().into_iter().find(|at| at.root == of && at.path == *path);
                let origin = declared.and_then(|place| place.origin).unwrap_or(instance.origin);
                let path = self.disk.file(&base.join(&shown));
                let writer = Writer { instance, shown, origin };
                let touches = |kept: &Path| path.starts_with(kept) || kept.starts_with(&path);
                if let Some((_, what)) = kept.iter().find(|(kept, _)| touches(kept)) {
                    let message = format!("`{}` writes `{}`, which is {what}", instance.name, writer.shown.display());
                    let diagnostic = Diagnostic::new(origin, message, "not for a stage to write");
                    self.problems.push(diagnostic.help("give it another path"));
                } else if of == Root::Project && !path.starts_with(&root) {
                    let (name, shown) = (&instance.name, writer.shown.display());
                    let message = format!("`{name}` writes `{shown}`, which a link leads out of the project");
                    let label = format!("this is `{}`", path.display());
                    self.problems.push(Diagnostic::new(origin, message, label));
                } else if let Some(first) = self.writers.get(path.as_os_str()) {
                    self.problems.push(both(first, &writer));
                } else {
                    self.writers.insert(path.clone().into_os_string(), writer.clone());
                    all.push((path, writer));
                }
            }
        }
        for (path, writer) in all {
            let above = path.ancestors().skip(1).find_map(|above| self.writers.get(above.as_os_str()));
            self.problems.extend(above.map(|above| below(above, &writer)));
        }
    }

    /// Files that stages name as input must be there before anything runs; one that a stage makes is had by referring to that stage.
    fn readers(&mut self) {
        let project = self.project;
        let mut told = Vec::new();
        for instance in &project.study.instances {
            for file in instance.params.files() {
                // One word in the manifest may name several files, and several instances may share it: it is told once.
                if told.contains(&file.origin) {
                    continue;
                }
                let path = project.root.join(&file.path);
                let real = self.disk.real(&path);
                let maker = real.ancestors().find_map(|path| self.writers.get(path.as_os_str()));
                let mut paths = file.paths().map(|path| project.root.join(path));
                let problem = match maker {
                    Some(maker) => Some(made(maker, instance, &file)),
                    None if paths.any(|path| self.disk.is_file(&path)) => None,
                    None => Some(absent(&path, instance, &file)),
                };
                if let Some(problem) = problem {
                    self.problems.push(problem);
                    told.push(file.origin);
                }
            }
        }
    }
}

fn both(first: &Writer<'_>, second: &Writer<'_>) -> Diagnostic {
    let (one, other, path) = (&first.instance.name, &second.instance.name, second.shown.display());
    let message = if one == other {
        format!("`{one}` writes `{path}` twice")
    } else {
        format!("`{one}` and `{other}` both write `{path}`")
    };
    let diagnostic = Diagnostic::new(second.origin, message, format!("written by `{other}`"));
    if first.origin == second.origin {
        diagnostic.help("each instance needs a place of its own")
    } else {
        diagnostic.also(first.origin, format!("written by `{one}`"))
    }
}

fn below(above: &Writer<'_>, writer: &Writer<'_>) -> Diagnostic {
    let (name, path) = (&writer.instance.name, writer.shown.display());
    let (other, file) = (&above.instance.name, above.shown.display());
    let message = format!("`{name}` writes `{path}`, and `{other}` writes `{file}`, which cannot be its folder");
    Diagnostic::new(writer.origin, message, "below a file").also(above.origin, "the file")
}

fn made(maker: &Writer<'_>, instance: &Instance, file: &NamedFile) -> Diagnostic {
    let (path, stage) = (file.path.display(), &maker.instance.stage);
    let message = format!("`{path}` is made by stage `{stage}`");
    let diagnostic =
        Diagnostic::new(file.origin.unwrap_or(instance.origin), message, "named as an input of the user's");
    diagnostic.help(if *stage == instance.stage {
        "a stage cannot change a file in its place: give the output another path".to_owned()
    } else {
        format!("take it from there: `from = \"{stage}\"` in place of naming it as an input")
    })
}

fn absent(path: &Path, instance: &Instance, file: &NamedFile) -> Diagnostic {
    let (name, shown, origin) = (&instance.name, file.path.display(), file.origin.unwrap_or(instance.origin));
    let looked = match file.published {
        Some(address) => {
            format!("looked at `{}`, and there with `.gz` after it; it is published at {address}", path.display())
        }
        None => format!("looked at `{}`", path.display()),
    };
    if path.is_dir() {
        let message = format!("stage `{name}` names a folder as a file: `{shown}`");
        return Diagnostic::new(origin, message, "a folder").help(format!("name the files in it; {looked}"));
    }
    let message = format!("stage `{name}` names a file that is not there: `{shown}`");
    Diagnostic::new(origin, message, "no such file").help(looked)
}

/// What the disk says of paths, each asked once.
#[derive(Default)]
struct Disk {
    real: BTreeMap<PathBuf, PathBuf>,
    files: BTreeMap<PathBuf, bool>,
}

impl Disk {
    /// A path with links followed as far as it is there.
    fn real(&mut self, path: &Path) -> PathBuf {
        if let Some(real) = self.real.get(path) {
            return real.clone();
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.real(parent).join(name),
            _ => path.to_owned(),
        });
        self.real.insert(path.to_owned(), real.clone());
        real
    }

    /// A file that is to be written: a link in its place is replaced, links above it are followed.
    fn file(&mut self, path: &Path) -> PathBuf {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.real(parent).join(name),
            _ => self.real(path),
        }
    }

    fn is_file(&mut self, path: &Path) -> bool {
        *self.files.entry(path.to_owned()).or_insert_with(|| path.is_file())
    }
}
