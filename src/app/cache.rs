//! The verbs of `cache`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Exit, Problem, Streams, project};
use crate::cli::{CacheArgs, CacheVerb, GcArgs};
use crate::event::Silent;
use crate::report::words;
use crate::store::{Count, GcOptions, GcPlan, GcSort, RealDisk, Size, Stats, Store, Verified};

/// Looks after the cache.
///
/// # Errors
/// If it cannot be read or written.
pub fn care(args: &CacheArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let root = args.cache.clone().unwrap_or_else(|| project::root_of(&PathBuf::from("manifest")).join("cache"));
    if !root.is_dir() {
        return Err(Problem::usage(format!("there is no cache at `{}`", root.display())));
    }
    match &args.verb {
        CacheVerb::Stats => {
            write!(streams.out, "{}", stats_words(&open(&root)?.stats()?))?;
            Ok(Exit::Done)
        }
        CacheVerb::Verify => {
            let verified = open(&root)?.verify()?;
            write!(streams.out, "{}", verified_words(&verified))?;
            Ok(if verified.damaged.is_empty() { Exit::Done } else { Exit::Machine })
        }
        CacheVerb::Gc(gc) => collect(&root, gc, streams),
    }
}

fn open(root: &Path) -> Result<Store, Problem> {
    Ok(Store::open(root, Arc::new(RealDisk), Arc::new(Silent))?)
}

fn collect(root: &Path, args: &GcArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let size = |text: &String| text.parse::<Size>().map_err(|error| Problem::usage(error.to_string()));
    let max_size_bytes = args.max_size.as_ref().map(size).transpose()?.map(|size| size.0);
    let options = GcOptions { max_size_bytes, keep: args.keep.iter().cloned().collect(), reached: args.reached };
    let err = &mut streams.err;
    let waiting = std::cell::RefCell::new(|| writeln!(err, "a run uses the cache; waiting for it"));
    let say = || drop(waiting.borrow_mut()());
    let store = Store::open_alone(root, Arc::new(RealDisk), Arc::new(Silent), &|| false, &say)?;
    let plan = store.plan_gc(&options)?;
    write!(streams.out, "{}", plan_words(&plan))?;
    if !args.dry_run && !plan.items.is_empty() {
        let freed = store.apply(&plan)?;
        writeln!(streams.out, "freed {}", words::bytes(freed))?;
    }
    Ok(Exit::Done)
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

fn verified_words(verified: &Verified) -> String {
    let (blobs, records) = (words::count(verified.blobs, "blob"), words::count(verified.records, "record"));
    let mut text = format!("read {blobs} and {records}, {}: ", words::bytes(verified.bytes));
    match verified.damaged.len() {
        0 => text += "all whole\n",
        damaged => {
            let _ = writeln!(
                text,
                "{} damaged and set aside; a run makes them again where it needs them",
                words::count(damaged as u64, "file")
            );
        }
    }
    for damage in &verified.damaged {
        let _ = writeln!(text, "  {}: {}", damage.path.display(), damage.problem);
    }
    text
}

fn plan_words(plan: &GcPlan) -> String {
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
    let _ = writeln!(text, "from {} to {}", words::bytes(plan.before_bytes), words::bytes(plan.after_bytes));
    text + if plan.fits { "" } else { "; the limit cannot be met without `--reached`\n" }
}
