//! What runner and guard say to each other: one JSON value a line.

use serde::{Deserialize, Serialize};

use super::{CommandSpec, Exit};

/// From the runner to the guard.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start this command; the answer bears the same number.
    Run { id: u64, spec: CommandSpec },
    /// End that command, politely first.
    Kill { id: u64 },
}

/// From the guard to the runner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The first word: this is a guard and it listens.
    Ready,
    /// The command is over, and so is all that descended from it.
    Ended { id: u64, exit: Exit },
    /// The command could not be started.
    NotStarted { id: u64, problem: String },
    /// The last word: the guard cannot go on, and has ended all commands.
    Broken { problem: String },
}

/// One line of the wire.
pub(super) fn line<T: Serialize>(word: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(word).expect("words of the wire are plain data");
    line.push(b'\n');
    line
}

/// Paths as the system has them, which need not be UTF-8.
pub(super) mod raw_path {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(deserializer).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_request_with_odd_bytes_comes_back_as_it_was_on_one_line() {
        let odd = PathBuf::from(OsString::from_vec(vec![b'/', 0xff, b'\n']));
        let spec = CommandSpec {
            program: "printf".to_owned(),
            args: vec!["a\nb \"c\"".to_owned()],
            env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
            directory: odd.clone(),
            stdout: odd.join("out"),
            stderr: odd.join("err"),
        };
        let request = Request::Run { id: 7, spec };
        let sent = line(&request);
        assert_eq!(sent.iter().position(|&byte| byte == b'\n'), Some(sent.len() - 1));
        assert_eq!(serde_json::from_slice::<Request>(&sent).unwrap(), request);
    }
}
