//! The cache that a project shares with others: which one, and the store that uses it.

use std::path::Path;
use std::sync::Arc;

use super::{Exit, Problem, Streams, told};
use crate::cli::{self, RemoteArgs};
use crate::event::Sink;
use crate::manifest::{Settings, Source};
use crate::remote::{self, Objects, WriteBack};
use crate::report::{Errand, words};
use crate::store::{Sent, Shared, Signer, Store};

/// The file of a project's settings.
const FILE: &str = "thalweg.toml";

/// The settings of the project in a folder; none where there is no such file.
///
/// # Errors
/// Everything that is wrong with them.
pub fn settings(root: &Path) -> Result<Settings, Problem> {
    let path = root.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
        text => text.map_err(|error| Problem::usage(format!("failed to read `{}`: {error}", path.display())))?,
    };
    Settings::load(Source::new(path.display().to_string(), text))
        .map_err(|diagnostics| Problem::Usage(diagnostics.into_reports()))
}

/// The address of the shared cache, if there is one: what the command line says goes before what is set.
pub fn address(args: &RemoteArgs, settings: &Settings) -> Option<String> {
    let said = args.remote.clone().filter(|address| !address.is_empty());
    said.or_else(|| settings.remote.clone()).filter(|address| address != remote::NONE)
}

/// The place at an address.
///
/// # Errors
/// An address that is none, or that this build cannot reach.
pub fn place(address: &str) -> Result<Arc<dyn Objects>, Problem> {
    remote::open(address).map_err(|error| Problem::usage(error.to_string()))
}

/// A store that shares its misses and results with the cache at `address`, if any.
///
/// # Errors
/// As [`place`]; a secret that is none; the address of the store itself.
pub fn sharing(store: Store, address: Option<&str>, when: WriteBack, events: Arc<dyn Sink>) -> Result<Store, Problem> {
    let Some(address) = address else { return Ok(store) };
    let shared = Shared::new(place(address)?, signer()?, events);
    if let Some(folder) = address.strip_prefix("file://").and_then(|path| std::fs::canonicalize(path).ok())
        && std::fs::canonicalize(store.root()).is_ok_and(|root| root == folder)
    {
        return Err(Problem::usage(format!("the cache `{}` cannot be shared with itself", store.root().display())));
    }
    Ok(store.sharing(shared, when))
}

/// Who signs here, where there is a secret.
///
/// # Errors
/// A secret that is none.
pub fn signer() -> Result<Option<Signer>, Problem> {
    Ok(cli::record_key().map_err(Problem::usage)?.map(|secret| Signer::new(&secret)))
}

/// What went to the shared cache, in words; nothing where nothing did.
pub fn sent_note(sent: &Sent, address: &str) -> Option<String> {
    let (objects, bytes) = (words::count(sent.objects, "object"), words::bytes(sent.bytes));
    (sent.objects > 0).then(|| format!("put {objects}, {bytes}, into the shared cache `{address}`"))
}

/// What did not get there, in words; nothing where all did.
pub fn left_warning(sent: &Sent, address: &str) -> Option<String> {
    let why = sent.problem.as_deref().map_or_else(String::new, |why| format!(": {why}"));
    let left = words::count(sent.left, "record");
    let then = "`thalweg cache push` puts up what is missing";
    (sent.left > 0).then(|| format!("{left} did not get into the shared cache `{address}`{why}; {then}"))
}

/// Puts up everything that is here and not in the shared cache.
///
/// # Errors
/// A failing disk; a shared cache that cannot be listed.
pub fn push(store: &Store, address: &str, errand: &Errand, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let cancel = super::run::listen_for_signals()?;
    let sent = store.push(&|| cancel.raised(), &told(errand))?;
    errand.finish();
    match (sent_note(&sent, address), left_warning(&sent, address)) {
        (None, None) => {
            writeln!(streams.out, "the shared cache `{address}` has all that is here, by names and lengths")?;
        }
        (note, left) => note.into_iter().chain(left).try_for_each(|line| writeln!(streams.out, "{line}"))?,
    }
    Ok(match sent.left {
        0 => Exit::Done,
        _ if cancel.raised() => Exit::Interrupted,
        _ => Exit::Machine,
    })
}

/// Brings here everything that the shared cache has.
///
/// # Errors
/// A failing disk; a shared cache that cannot be listed.
pub fn pull(
    store: &Store,
    address: &str,
    records_only: bool,
    errand: &Errand,
    streams: &mut Streams<'_>,
) -> Result<Exit, Problem> {
    let cancel = super::run::listen_for_signals()?;
    let got = store.pull(records_only, &|| cancel.raised(), &told(errand))?;
    errand.finish();
    let (records, blobs) = (words::count(got.records, "record"), words::count(got.blobs, "blob"));
    writeln!(streams.out, "got {records} and {blobs}, {}, from the shared cache `{address}`", words::bytes(got.bytes))?;
    if got.absent > 0 {
        let absent = words::count(got.absent, "blob");
        writeln!(
            streams.out,
            "{absent} that records name could not be had; a run makes them again where it needs them"
        )?;
    }
    if let Some(problem) = got.problem {
        writeln!(streams.out, "the shared cache failed before all of it was here: {problem}")?;
        return Ok(Exit::Machine);
    }
    Ok(Exit::Done)
}
