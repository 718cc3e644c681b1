//! Which folder a manifest belongs to, and the manifest itself, read and checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Exit, Problem, Streams};
use crate::cli::StudyArgs;
use crate::manifest::{self, Diagnostic, Instance, Source, Study};
use crate::stages;

/// A study and the folders around it.
pub struct Project {
    /// The study, expanded.
    pub study: Study,
    /// The project's folder: paths in the manifest are relative to it.
    pub root: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The results of all studies.
    pub results: PathBuf,
}

impl Project {
    /// Reads the manifest and everything that the command line changes in it.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; files that it names and that are not there.
    pub fn open(args: &StudyArgs) -> Result<Self, Problem> {
        check_device(&args.device)?;
        let text = std::fs::read_to_string(&args.manifest)
            .map_err(|error| Problem::usage(format!("failed to read `{}`: {error}", args.manifest.display())))?;
        let source = Source::new(args.manifest.display().to_string(), text);
        let kinds = stages::kinds();
        let study = manifest::load(source, &kinds, Some(&args.profile), &args.sets)
            .map_err(|diagnostics| Problem::Usage(diagnostics.into_reports()))?;
        let root = root_of(&args.manifest);
        let missing = missing_files(&study, &root);
        if !missing.is_empty() {
            return Err(Problem::Usage(missing));
        }
        let cache = args.cache.clone().unwrap_or_else(|| root.join("cache"));
        let results = args.results.clone().unwrap_or_else(|| root.join("results"));
        Ok(Self { study, root, cache, results })
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

/// Files that stages name as input must be there before anything runs; one that a stage makes is had by referring to that stage.
fn missing_files(study: &Study, root: &Path) -> Vec<miette::Report> {
    let mut makers: BTreeMap<OsString, &Instance> = BTreeMap::new();
    for instance in &study.instances {
        for place in instance.params.places() {
            makers.entry(place.path.into_os_string()).or_insert(instance);
        }
    }
    let mut problems = Vec::new();
    let mut there: BTreeMap<OsString, bool> = BTreeMap::new();
    let mut told = Vec::new();
    for instance in &study.instances {
        for file in instance.params.files() {
            // One word in the manifest may name several files, and several instances may share it: it is told once.
            if told.contains(&file.origin) {
                continue;
            }
            let (path, origin) = (file.path.display(), file.origin.unwrap_or(instance.origin));
            if let Some(maker) = makers.get(file.path.as_os_str()) {
                let message = format!("`{path}` is made by stage `{}`", maker.stage);
                let help =
                    format!("take it from there: `from = \"{}\"` in place of naming it as an input", maker.stage);
                problems.push(Diagnostic::new(origin, message, "named as an input of the user's").help(help));
                told.push(file.origin);
            } else if !*there
                .entry(file.path.clone().into_os_string())
                .or_insert_with(|| root.join(&file.path).is_file())
            {
                let message = format!("stage `{}` names a file that is not there: `{path}`", instance.name);
                let help = format!("looked at `{}`", root.join(&file.path).display());
                problems.push(Diagnostic::new(origin, message, "no such file").help(help));
                told.push(file.origin);
            }
        }
    }
    if problems.is_empty() { Vec::new() } else { study.diagnostics(problems).into_reports() }
}

/// Writes a first manifest.
///
/// # Errors
/// If something is there already, or it cannot be written.
pub fn new(path: &Path, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().to_lowercase());
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = if path.extension().is_some() { path.to_owned() } else { path.with_extension("toml") };
    if path.exists() {
        return Err(Problem::usage(format!("`{}` is there already", path.display())));
    }
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, include_str!("new.toml").replace("STUDY", name.trim_matches('-'))));
    written.map_err(|error| Problem::usage(format!("failed to write `{}`: {error}", path.display())))?;
    writeln!(streams.err, "wrote {0}; run it with: thalweg run {0}", path.display())?;
    Ok(Exit::Done)
}
