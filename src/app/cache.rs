//! The verbs of `cache`.

use std::path::PathBuf;

use super::{Exit, Problem, Streams, project};
use crate::cli::{CacheArgs, CacheVerb, GcArgs};
use crate::store::{GcOptions, Store, parse_size};

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
            let store = Store::open_quietly(&root)?;
            write!(streams.out, "{}", store.stats()?)?;
            Ok(Exit::Done)
        }
        CacheVerb::Verify => {
            let store = Store::open_quietly(&root)?;
            let report = store.verify()?;
            write!(streams.out, "{report}")?;
            Ok(if report.is_clean() { Exit::Done } else { Exit::Machine })
        }
        CacheVerb::Gc(gc) => collect(&root, gc, streams),
    }
}

fn collect(root: &std::path::Path, args: &GcArgs, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    let max_bytes = args
        .max_size
        .as_deref()
        .map(|text| parse_size(text).map_err(|error| Problem::usage(error.to_string())))
        .transpose()?;
    let options = GcOptions { max_bytes, keep: args.keep.clone(), reached: args.reached };
    let store = Store::open_alone(root)?;
    let plan = store.plan_gc(&options)?;
    write!(streams.out, "{plan}")?;
    if !args.dry_run {
        let freed = store.apply(&plan)?;
        writeln!(streams.out, "{freed}")?;
    }
    Ok(Exit::Done)
}
