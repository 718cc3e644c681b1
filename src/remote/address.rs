//! Which place an address names.

use std::path::PathBuf;
use std::sync::Arc;

use super::folder::Folder;
use super::{Error, Objects};

/// The address that names no shared cache, for who is to do without the one that is set.
pub const NONE: &str = "none";

/// What an address names.
enum Place<'a> {
    Folder(&'a str),
    Bucket(&'a str, &'a str),
}

/// The place at an address: `file:///shared/folder` or `s3://bucket/prefix`. Nothing is asked of it yet. Credentials of S3 come from the usual
/// environment variables.
///
/// # Errors
/// An address that is none, or of a sort that this build has not.
pub fn open(address: &str) -> Result<Arc<dyn Objects>, Error> {
    match read(address).map_err(Error::Here)? {
        Place::Folder(path) => Ok(Arc::new(Folder::at(address, PathBuf::from(path)))),
        Place::Bucket(bucket, prefix) => s3(bucket, prefix),
    }
}

/// Whether an address is one.
///
/// # Errors
/// Why it is none.
pub fn check(address: &str) -> Result<(), String> {
    if address == NONE { Ok(()) } else { read(address).map(drop) }
}

/// Whether an address, which then is none, may hold a secret, so that nobody is to be shown it.
pub fn may_hold_secret(address: &str) -> bool {
    address.contains(['@', '?', '#'])
}

fn read(address: &str) -> Result<Place<'_>, String> {
    let wrong = |why: &str| format!("`{}` is no address of a shared cache: {why}", shown(address));
    if address.contains('\0') {
        return Err(wrong("it holds a zero byte"));
    }
    match address.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => Ok(Place::Folder(path)),
        Some(("file", _)) => Err(wrong("the path of a folder begins with `/`, as in `file:///folder`")),
        Some(("s3", place)) => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
                let from = "credentials and the server come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT`, …)";
                return Err(wrong(&format!("it names no bucket; {from}")));
            }
            Ok(Place::Bucket(bucket, prefix.trim_matches('/')))
        }
        _ => Err(wrong("write `file:///folder` or `s3://bucket/prefix`")),
    }
}

#[cfg(feature = "remote")]
fn s3(bucket: &str, prefix: &str) -> Result<Arc<dyn Objects>, Error> {
    Ok(Arc::new(super::s3::Bucket::open(bucket, prefix)?))
}

#[cfg(not(feature = "remote"))]
fn s3(bucket: &str, _: &str) -> Result<Arc<dyn Objects>, Error> {
    let problem = format!("`s3://{bucket}` needs a thalweg that was built with `--features remote`");
    Err(Error::Here(problem))
}

/// An address as it may be shown.
fn shown(address: &str) -> String {
    // What has a colon and is no address may be one with a slash too few.
    let is_plain = address.contains("://") || !address.contains(':');
    if is_plain && !may_hold_secret(address) {
        return address.escape_debug().to_string();
    }
    address.split_once("://").map_or_else(|| "…".to_owned(), |(scheme, _)| format!("{scheme}://…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_shows_no_password() {
        for address in [
            "",
            "cache",
            "file://relative",
            "s3://",
            "http://host/x",
            "s3://key:secret@host/bucket",
            "s3://b?x=secret",
            "secret@x",
            "file:///a\0b",
        ] {
            let error = open(address).err().unwrap().to_string();
            assert!(error.contains("is no address of a shared cache"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(open("file:///a/b").unwrap().address(), "file:///a/b");
    }
}
