//! `thalweg report`: the claims of studies with their numbers and verdicts, as a table in Markdown. It looks into the cache and runs nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::project::Project;
use super::world::Here;
use super::{Exit, Problem, Streams};
use crate::cli::{ReportArgs, StudyArgs};
use crate::key::{self, Records, Sort, Walk};
use crate::manifest::Params;
use crate::plan::{Plan, Standing, World};
use crate::report::words;

/// What encloses the table in a file.
const MARKERS: [&str; 2] = ["<!-- claims -->", "<!-- /claims -->"];

const HEAD: &str = "| figure | claim | number | verdict | profile |\n| --- | --- | --- | --- | --- |\n";

/// Prints the table, or puts it into a file between its markers.
///
/// # Errors
/// A mistake in a manifest, a failing cache, a file without markers or that cannot be written.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let mut table = HEAD.to_owned();
    for manifest in &args.manifests {
        let study = StudyArgs {
            manifest: manifest.clone(),
            profile: args.profile.clone(),
            sets: Vec::new(),
            cache: args.cache.clone(),
            results: None,
            device: args.device.clone(),
            cards: None,
            remote: args.remote.clone(),
        };
        let project = Project::read(&study)?;
        let store = project.open_to_look(streams)?;
        let last = store.read_root(&project.study.name, &project.study.profile)?.unwrap_or_default();
        let here = Here::of(&project, &store, last);
        table.extend(rows(&project, &here));
    }
    match &args.into {
        Some(path) => put_into(path, &table, streams)?,
        None => write!(streams.out, "{table}")?,
    }
    Ok(Exit::Done)
}

/// A row for each claim of a study.
fn rows(project: &Project, here: &Here<'_>) -> Vec<String> {
    let instances = &project.study.instances;
    let all: Vec<usize> = (0..instances.len()).collect();
    let plan = Plan::make(&project.study, &all, here);
    let claims = plan.stages.iter().filter(|(instance, _)| instances[*instance].kind.name() == "claim");
    let row = |(instance, standing): &(usize, Standing)| {
        let (key, stale) = match standing {
            Standing::Fresh { key } => (Some(*key), false),
            _ => (here.last(&instances[*instance].name), true),
        };
        let judged = key.and_then(|key| judged(here, &key));
        let text = |name: &str| judged.as_ref().and_then(|judged| judged[name].as_str()).unwrap_or_default();
        let own = says(&*instances[*instance].params);
        let claim = if judged.is_some() { text("claim") } else { own.as_str() };
        let verdict = match (text("verdict"), stale) {
            ("", _) => "not judged".to_owned(),
            (verdict, true) => format!("{verdict}, before an edit"),
            ("fails", false) => "**fails**".to_owned(),
            (verdict, false) => verdict.to_owned(),
        };
        let cells =
            [figure(project), claim.to_owned(), text("detail").to_owned(), verdict, project.study.profile.clone()];
        format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "))
    };
    claims.map(row).collect()
}

/// What a claim that nobody has judged says.
fn says(params: &dyn Params) -> String {
    struct Says(String);
    impl Walk for Says {
        fn parameter(&mut self, name: &'static str, _: Sort, value: Option<key::Value>) {
            if let ("says", Some(key::Value::Text(says))) = (name, value) {
                self.0 = says;
            }
        }
    }
    let mut found = Says(String::new());
    params.walk(&mut found);
    found.0
}

/// What a claim stage found, as far as it is there.
fn judged(here: &Here<'_>, key: &key::Key) -> Option<Value> {
    let record = here.record(key)?;
    serde_json::from_slice(&here.bytes(record.outputs.get("claim")?)?).ok()
}

/// What a study is called in the table: what its title begins with, and the page about it where there is one.
fn figure(project: &Project) -> String {
    let study = &project.study;
    let name =
        study.title.as_deref().and_then(|title| title.split_once(':')).map_or(study.name.as_str(), |(name, _)| name);
    let page = format!("docs/figures/{}.md", study.name);
    if project.root.join(&page).is_file() { format!("[{name}]({page})") } else { name.to_owned() }
}

fn put_into(path: &Path, table: &str, streams: &mut Streams<'_>) -> Result<(), Problem> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| Problem::usage(format!("failed to read `{shown}`: {error}")))?;
    // A line of its own, not a mention of it.
    let places = MARKERS.map(|marker| {
        text.starts_with(&format!("{marker}\n")).then_some(0).or_else(|| Some(text.find(&format!("\n{marker}\n"))? + 1))
    });
    let [Some(start), Some(end)] = places else {
        let help = format!("put the lines `{}` and `{}` where the table is to be", MARKERS[0], MARKERS[1]);
        return Err(Problem::usage_with_help(format!("`{shown}` has no place for the table"), help));
    };
    let start = start + MARKERS[0].len();
    if start > end {
        return Err(Problem::usage(format!("`{}` comes before `{}` in `{shown}`", MARKERS[1], MARKERS[0])));
    }
    let renewed = format!("{}\n{table}{}", &text[..start], &text[end..]);
    if renewed != text {
        fs::write(path, renewed).map_err(|error| Problem::usage(format!("failed to write `{shown}`: {error}")))?;
    }
    let claims = words::count(table.lines().count() as u64 - 2, "claim");
    writeln!(streams.err, "{shown}: {claims}")?;
    Ok(())
}
