//! Which folder a manifest belongs to, and the manifest itself, read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::machine::Machine;
use super::{Exit, Problem, Streams, places, shared};
use crate::cli::StudyArgs;
use crate::event::Sink;
use crate::execute::Cancel;
use crate::manifest::{self, Instance, Settings, Source, Study};
use crate::ml::card::Cards;
use crate::remote::WriteBack;
use crate::report::words;
use crate::stages;
use crate::store::{RealDisk, Store};

/// A study and the folders around it.
pub struct Project {
    /// The study, expanded.
    pub study: Study,
    /// The manifest's text.
    pub text: String,
    /// The project's folder: paths in the manifest are relative to it.
    pub root: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The results of all studies.
    pub results: PathBuf,
    /// The machine.
    pub machine: Machine,
    /// Where work runs and where results are kept, as the manifest and `thalweg.toml` say.
    pub settings: Settings,
    /// The address of the shared cache, if there is one.
    pub remote: Option<String>,
    /// Where the command line says to compute.
    pub device: String,
}

impl Project {
    /// Reads the manifest and everything that the command line changes in it.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; files that it names and that are not there.
    pub fn open(args: &StudyArgs) -> Result<Self, Problem> {
        let project = Self::read(args)?;
        let problems = places::problems(&project, &args.manifest);
        if !problems.is_empty() {
            return Err(Problem::Usage(project.study.diagnostics(problems).into_reports()));
        }
        Ok(project)
    }

    /// The same, whether or not the files are there that it names.
    ///
    /// # Errors
    /// Everything else that is wrong with it, at once.
    pub fn read(args: &StudyArgs) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(&args.manifest)
            .map_err(|error| Problem::usage(format!("failed to read `{}`: {error}", args.manifest.display())))?;
        Self::of(args, text)
    }

    /// The same, of a manifest that was read before.
    ///
    /// # Errors
    /// As there.
    pub fn of(args: &StudyArgs, text: String) -> Result<Self, Problem> {
        check_device(&args.device)?;
        let source = Source::new(args.manifest.display().to_string(), text.clone());
        let kinds = stages::kinds();
        let study = manifest::load(source, &kinds, Some(&args.profile), &args.sets)
            .map_err(|diagnostics| Problem::Usage(diagnostics.into_reports()))?;
        let root = root_of(&args.manifest);
        let cache = args.cache.clone().unwrap_or_else(|| root.join("cache"));
        let results = args.results.clone().unwrap_or_else(|| root.join("results"));
        let machine = Machine::new(args.cards.clone().unwrap_or(Cards::Cuda));
        let settings = study.settings.clone().over(shared::settings(&root)?);
        let remote = shared::address(&args.remote, &settings);
        Ok(Self { study, text, root, cache, results, machine, settings, remote, device: args.device.clone() })
    }

    /// The store, for a run.
    ///
    /// # Errors
    /// A cache that cannot be written; an address that is none; an interruption.
    pub fn open_store(&self, when: WriteBack, events: &Arc<dyn Sink>, cancel: &Cancel) -> Result<Store, Problem> {
        let store = Store::open_unless(&self.cache, Arc::new(RealDisk), Arc::clone(events), &|| cancel.raised())?;
        shared::sharing(store, self.remote.as_deref(), when, Arc::clone(events))
    }

    /// The store, for one that only looks.
    ///
    /// # Errors
    /// A cache that cannot be read; an address that is none.
    pub fn open_to_look(&self, streams: &Streams<'_>) -> Result<Store, Problem> {
        let store = Store::open_to_look(&self.cache, Arc::new(RealDisk), streams.teller())?;
        shared::sharing(store, self.remote.as_deref(), WriteBack::Never, streams.teller())
    }

    /// The GPU that the command line names.
    pub fn ordinal(&self) -> Option<usize> {
        self.device.strip_prefix("cuda:")?.parse().ok()
    }

    /// The one instance that a word of the command line leads to; `None` where it names no stage.
    ///
    /// # Errors
    /// If it leads to several.
    pub fn only(&self, word: &str) -> Result<Option<(usize, &Instance)>, Problem> {
        let found = self.study.matching(word).unwrap_or_default();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one, &self.study.instances[*one]))),
            several => {
                let names = several.iter().map(|&i| self.study.instances[i].name.as_str());
                let help = format!("there are {}", words::list(names, 20));
                Err(Problem::usage_with_help(format!("`{word}` is {} instances", several.len()), help))
            }
        }
    }

    /// The folder of this study's results.
    pub fn results_of_study(&self) -> PathBuf {
        self.results.join(&self.study.name)
    }
}

/// The project's folder: the nearest one above the manifest that holds `cache/` or `.git`, else the current one.
pub fn root_of(manifest: &Path) -> PathBuf {
    let absolute = std::path::absolute(manifest).unwrap_or_else(|_| manifest.to_owned());
    let above = absolute.ancestors().skip(1);
    let holds = |folder: &&Path| folder.join("cache").is_dir() || folder.join(".git").exists();
    let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    above.into_iter().find(holds).map_or_else(here, Path::to_owned)
}

fn check_device(device: &str) -> Result<(), Problem> {
    let ordinal = device.strip_prefix("cuda:").is_some_and(|ordinal| ordinal.parse::<usize>().is_ok());
    if ordinal || ["auto", "cpu", "cuda"].contains(&device) {
        return Ok(());
    }
    let help = "a device is `auto`, `cpu`, `cuda` or `cuda:N`";
    Err(Problem::usage_with_help(format!("there is no device `{device}`"), help))
}

/// Writes a first manifest.
///
/// # Errors
/// If something is there already, the path names a folder, or it cannot be written.
pub fn new(path: &Path, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
        let help = "name the file to write, such as `pipelines/mine.toml`";
        return Err(Problem::usage_with_help(format!("`{}` is a folder", path.display()), help));
    }
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().to_lowercase());
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = if path.extension().is_some() { path.to_owned() } else { path.with_extension("toml") };
    if path.exists() {
        return Err(Problem::usage(format!("`{}` is there already", path.display())));
    }
    let name = Some(name.trim_matches('-')).filter(|name| !name.is_empty()).unwrap_or("study");
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, include_str!("new.toml").replace("STUDY", name)));
    written.map_err(|error| Problem::usage(format!("failed to write `{}`: {error}", path.display())))?;
    writeln!(streams.err, "wrote {}; run it with: thalweg run {}", path.display(), as_one_word(&path))?;
    Ok(Exit::Done)
}

/// A path as a shell takes it for one word, and not for an option.
fn as_one_word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let plain = |c: char| c.is_alphanumeric() || "._-/+=,@%:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        let words =
            ["a/b.toml", "a b.toml", "-x.toml", "it's.toml", "$x.toml"].map(|path| as_one_word(Path::new(path)));
        assert_eq!(words, ["a/b.toml", "'a b.toml'", "./-x.toml", r"'it'\''s.toml'", "'$x.toml'"]);
    }
}
