//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::key::Key;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("failed to {operation} `{}`: {}", .path.display(), plain(.cause))]
    Io {
        /// What was tried, as a verb: `write`, `sync`, `rename`.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The cache cannot be written at all.
    #[error("the cache `{}` cannot be written: failed to {operation} `{}`: {}", .root.display(), .path.display(), plain(.cause))]
    NotWritable {
        /// The cache's folder.
        root: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// An action was run again on the same arithmetic and gave other bytes. Both records are kept.
    #[error(
        "`{kind}` ({}) gave other bytes for {} when it was run again on the same arithmetic; the second record is kept as `{}`; \
         make it give the same bytes each time, or, where the first are wrong, give it another key, as by one more variable in the \
         `env` of a command",
        .key.short(), quoted(.outputs), .kept.display()
    )]
    Diverged {
        /// The key both belong to.
        key: Key,
        /// The kind of action.
        kind: String,
        /// The outputs that differ.
        outputs: Vec<String>,
        /// Where the second record is kept; the first stays in its place.
        kept: PathBuf,
    },
    /// Not everything that studies reach is known, so nothing may be taken for unreached.
    #[error("what the study of `{}` reaches is not known, since {why}; a run of that study as a whole settles it, or the removal of that file where the study is no more", .root.display())]
    ReachUnknown {
        /// The file of the root.
        root: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not everything that studies reach in a shared cache is known, so nothing may be taken for unreached there.
    #[error("what studies reach in the shared cache `{address}` is not known, since `{name}` there {why}")]
    SharedReachUnknown {
        /// Where the cache is.
        address: String,
        /// The object.
        name: String,
        /// What is wrong with it, as a verb, and what helps.
        why: String,
    },
    /// The shared cache did not say what it has.
    #[error("the shared cache `{address}` cannot be used: {cause}")]
    Shared {
        /// Where it is.
        address: String,
        /// What is wrong.
        cause: crate::remote::Error,
    },
    /// The run was cancelled while waiting for a lock.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Names what was tried and where, for `map_err`.
    pub(super) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { operation, path, cause }
    }

    /// While the store opens, a refusal to write concerns the cache as a whole.
    pub(super) fn opening(self, root: &Path) -> Self {
        match self {
            Self::Io { operation, path, cause }
                if matches!(cause.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Self::NotWritable { root: root.to_owned(), operation, path, cause }
            }
            other => other,
        }
    }
}

/// The system's words in the house's form: lower case and without the error's number.
pub fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_path_and_operation() {
        let error = Error::at("write", Path::new("cache/tmp/7-0/1"))(io::Error::from_raw_os_error(28));
        assert_eq!(error.to_string(), "failed to write `cache/tmp/7-0/1`: no space left on device");
    }

    #[test]
    fn a_refusal_while_opening_concerns_the_whole_cache() {
        let refused = Error::at("create folder", Path::new("cache/tmp"))(io::Error::from_raw_os_error(30));
        let text = refused.opening(Path::new("cache")).to_string();
        let expected =
            "the cache `cache` cannot be written: failed to create folder `cache/tmp`: read-only file system";
        assert_eq!(text, expected);
    }
}
