//! The verbs of `cache`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Exit, Problem, Streams, export, project, shared, told};
use crate::cli::{self, CacheArgs, CacheVerb, GcArgs, RemoteArgs};
use crate::event::{Event, Sink};
use crate::remote::WriteBack;
use crate::report::{Errand, words};
use crate::stages;
use crate::store::{self, Count, GcOptions, GcPlan, GcSort, Likeness, RealDisk, Shared, Size, Stats, Store, Verified};

/// Looks after the cache.
///
/// # Errors
/// If it cannot be read or written.
pub fn care(args: &CacheArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    match &args.verb {
        CacheVerb::Stats => {
            write!(streams.out, "{}", stats_words(&open(&root(args)?, streams.teller())?.stats()?))?;
            Ok(Exit::Done)
        }
        CacheVerb::Verify => {
            let (errand, cancel) = (streams.errand(), super::run::listen_for_signals()?);
            let store = open(&root(args)?, Arc::new(ButForDamage(Arc::clone(&errand) as Arc<dyn Sink>)))?;
            let verified = store.verify(&|| cancel.raised(), &told(&errand))?;
            errand.finish();
            write!(streams.out, "{}", verified_words(&verified, store.is_writable()))?;
            Ok(if verified.damaged.is_empty() { Exit::Done } else { Exit::Machine })
        }
        CacheVerb::Gc(gc) if gc.remote.is_some() => collect_shared(gc, streams),
        CacheVerb::Gc(gc) => collect(&root(args)?, gc, streams),
        CacheVerb::Push(remote) => {
            root(args)?;
            let errand = streams.errand();
            let (store, address) = sharing(args, remote, WriteBack::Background, &errand)?;
            shared::push(&store, &address, &errand, streams)
        }
        CacheVerb::Pull(pull) => {
            let errand = streams.errand();
            let (store, address) = sharing(args, &pull.remote, WriteBack::Never, &errand)?;
            shared::pull(&store, &address, pull.records, &errand, streams)
        }
        CacheVerb::Export(args) => export::export(args, streams),
    }
}

/// The cache, which must be there.
fn root(args: &CacheArgs) -> Result<PathBuf, Problem> {
    let root = args.cache.clone().unwrap_or_else(|| here().join("cache"));
    if root.is_dir() { Ok(root) } else { Err(Problem::usage(format!("there is no cache at `{}`", root.display()))) }
}

fn open(root: &Path, events: Arc<dyn Sink>) -> Result<Store, Problem> {
    Ok(Store::open_to_look(root, Arc::new(RealDisk), events)?)
}

/// The cache with the one that it shares, and the address of that.
fn sharing(
    args: &CacheArgs,
    remote: &RemoteArgs,
    when: WriteBack,
    errand: &Arc<Errand>,
) -> Result<(Store, String), Problem> {
    let events = || Arc::clone(errand) as Arc<dyn Sink>;
    let root = args.cache.clone().unwrap_or_else(|| here().join("cache"));
    let address = address(remote)?;
    let store = Store::open(&root, Arc::new(RealDisk), events())?;
    Ok((shared::sharing(store, Some(&address), when, events())?, address))
}

/// The address of the shared cache, which there must be.
fn address(remote: &RemoteArgs) -> Result<String, Problem> {
    shared::address(remote, &shared::settings(&here())?).ok_or_else(|| {
        let help =
            "give `--remote ADDRESS`, or write `[cache] remote = \"…\"` into `thalweg.toml` in the project's folder";
        Problem::usage_with_help("no shared cache is set", help)
    })
}

/// The project's folder, where no manifest says it.
fn here() -> PathBuf {
    project::root_of(&PathBuf::from("manifest"))
}

/// Tells everything but what is found damaged: that is what `verify` is asked for and lists itself.
struct ButForDamage(Arc<dyn Sink>);

impl Sink for ButForDamage {
    fn emit(&self, event: Event) {
        if !matches!(event, Event::Quarantined { .. }) {
            self.0.emit(event);
        }
    }
}

fn collect(root: &Path, args: &GcArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let options = options(args)?;
    let teller = streams.teller();
    let err = &mut streams.err;
    let waiting = std::cell::RefCell::new(|| writeln!(err, "a run uses the cache; waiting for it"));
    let say = || drop(waiting.borrow_mut()());
    let store = Store::open_alone(root, Arc::new(RealDisk), teller, &|| false, &say)?;
    let plan = store.plan_gc(&options)?;
    settle(&plan, &root.display().to_string(), args, streams, || store.apply(&plan))
}

fn collect_shared(args: &GcArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let options = options(args)?;
    let remote = args.remote.clone().filter(|address| !address.is_empty());
    let set = cli::remote().map_err(Problem::usage)?;
    let address = address(&RemoteArgs { remote: remote.or(set) })?;
    let errand = streams.errand();
    let events = || Arc::clone(&errand) as Arc<dyn Sink>;
    let shared = Shared::new(shared::place(&address)?, None, events());
    let cancel = super::run::listen_for_signals()?;
    let grace = Duration::from_hours(args.grace.into());
    let likeness = Likeness::of(shared, grace, &|| cancel.raised(), &told(&errand), events())?;
    errand.finish();
    if likeness.recent() > 0 {
        let (number, hours) = (words::count(likeness.recent(), "object"), words::count(args.grace.into(), "hour"));
        writeln!(streams.out, "spared by `--grace`: {number} put there within {hours}, and all that is named there")?;
    }
    let plan = likeness.plan(&options)?;
    settle(&plan, &address, args, streams, || likeness.apply(&plan, &|| cancel.raised()))
}

fn options(args: &GcArgs) -> Result<GcOptions, Problem> {
    let size = |text: &String| text.parse::<Size>().map_err(|error| Problem::usage(error.to_string()));
    let max_size_bytes = args.max_size.as_ref().map(size).transpose()?.map(|size| size.0);
    args.keep.iter().try_for_each(|kind| known(kind))?;
    let keep = args.keep.iter().cloned().collect();
    Ok(GcOptions { max_size_bytes, keep, reached: args.reached, ..GcOptions::default() })
}

/// Shows a plan, and has it applied unless it is only to be shown.
fn settle(
    plan: &GcPlan,
    cache: &str,
    args: &GcArgs,
    streams: &mut Streams<'_>,
    apply: impl FnOnce() -> Result<u64, store::Error>,
) -> Result<Exit, Problem> {
    write!(streams.out, "{}", plan_words(plan, args.reached))?;
    let unreached = plan.items.iter().any(|item| item.sort != GcSort::Quarantined);
    if plan.roots == 0 && unreached && !args.all && !args.dry_run {
        let message = format!("no study says what it reaches in the cache `{cache}`, so everything would go");
        let help = "run the studies once, which settles it, or give `--all` if everything is to go";
        return Err(Problem::usage_with_help(message, help));
    }
    if !args.dry_run && !plan.items.is_empty() {
        writeln!(streams.out, "freed {}", words::bytes(apply()?))?;
    }
    Ok(Exit::Done)
}

/// A kind of action or stage of which nothing is to go must be one.
fn known(kind: &str) -> Result<(), Problem> {
    let stages = stages::kinds();
    let actions = stages::actions();
    let mut names: Vec<&str> =
        actions.iter().map(|action| action.name()).chain(stages.iter().map(|stage| stage.name())).collect();
    names.sort_unstable();
    names.dedup();
    if names.contains(&kind) {
        return Ok(());
    }
    let help = format!("there are {}", words::list(names.iter().copied(), names.len()));
    Err(Problem::usage_with_help(format!("there is no kind `{kind}` of action or stage to keep"), help))
}

fn stats_words(stats: &Stats) -> String {
    let line = |name: &str, count: Count| format!("{name:24} {:>8}  {:>9}\n", count.files, words::bytes(count.bytes));
    let mut text = format!("{:24} {:>8}  {:>9}\n", "", "files", "bytes");
    text += &line("records", stats.records);
    text += &line("blobs", stats.blobs);
    text += &line("  reached by a study", stats.reached);
    text += &line("  reached by none", stats.unreached);
    text += &line("set aside", stats.quarantine);
    for (sort, kinds) in [("action", &stats.actions), ("stage", &stats.stages)] {
        for (kind, has) in kinds {
            let (records, blobs) = (has.records.files, words::bytes(has.blobs.bytes));
            let _ = writeln!(
                text,
                "{:24} {records:>8}  {blobs:>9}  made in {}",
                format!("{sort} {kind}"),
                words::seconds(has.seconds)
            );
        }
    }
    text
}

fn verified_words(verified: &Verified, writable: bool) -> String {
    let (blobs, records) = (words::count(verified.blobs, "blob"), words::count(verified.records, "record"));
    let mut text = format!("read {blobs} and {records}, {}: ", words::bytes(verified.bytes));
    match verified.damaged.len() {
        0 => text += "all whole\n",
        damaged => {
            let files = words::count(damaged as u64, "file");
            let then = if writable {
                "damaged and set aside; a run makes them again where it needs them"
            } else {
                "damaged, and left there since the cache may not be written"
            };
            let _ = writeln!(text, "{files} {then}");
        }
    }
    for damage in &verified.damaged {
        let _ = writeln!(text, "  {}: {}", damage.path.display(), damage.problem);
    }
    text
}

fn plan_words(plan: &GcPlan, reached: bool) -> String {
    let mut by_sort: BTreeMap<(GcSort, &str), (u64, u64)> = BTreeMap::new();
    for item in &plan.items {
        let count = by_sort.entry((item.sort, item.kind.as_deref().unwrap_or("unknown"))).or_default();
        *count = (count.0 + 1, count.1 + item.bytes);
    }
    let mut text = String::new();
    for ((sort, kind), (files, bytes)) in by_sort {
        let what = match sort {
            GcSort::Quarantined => "damaged files".to_owned(),
            GcSort::Blob => format!("blobs of {kind}"),
            GcSort::Record => format!("records of {kind}"),
            GcSort::ReachedBlob => format!("blobs of {kind} that a study reaches"),
        };
        let _ = writeln!(text, "remove {files:>6} {what}, {}", words::bytes(bytes));
    }
    let _ = write!(text, "from {} to {}", words::bytes(plan.before_bytes), words::bytes(plan.after_bytes));
    text + match (plan.fits, reached) {
        (true, _) => "\n",
        (false, false) => "; the limit cannot be met without `--reached`\n",
        (false, true) => {
            "; the limit cannot be met: the rest is what a study's records need, was put there lately, or is kept\n"
        }
    }
}
