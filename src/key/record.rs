//! Records: what an action produced under its key, or what a stage's outputs are, with everything needed to make it again.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{Digest, Fingerprint, Key};

/// The format that this program writes. A record of another format is a miss and is left untouched.
const FORMAT: &str = "thalweg-record 1";

/// One output: which bytes, how many, and the bytes themselves where they are few.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub length: u64,
    /// The bytes, where they are few and text; otherwise they are a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}

impl Output {
    /// Small text goes into the record itself up to this length.
    pub const INLINE_LIMIT_BYTES: usize = 1024;

    /// The output that `bytes` are: inline where they are short text.
    pub fn of(bytes: &[u8]) -> Self {
        let short = (bytes.len() <= Self::INLINE_LIMIT_BYTES).then_some(bytes);
        let inline = short.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
        Self { digest: Digest::of(bytes), length: bytes.len() as u64, inline }
    }
}

/// What can make the same action give other bits: instruction set, caches, backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// `cpu` or `cuda`.
    pub backend: String,
    /// CPU features and cache sizes, or GPU model, driver and library versions.
    pub features: String,
}

/// What is noted beside a record and is no part of its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The machine's name.
    pub machine: String,
    /// The version of this program.
    pub program: String,
    /// On what arithmetic it was computed.
    pub arithmetic: Arithmetic,
    /// For each input, the key of the action that made it, where one did.
    #[serde(default)]
    pub makers: BTreeMap<String, Key>,
    /// For each input that is a file of the user's, where it was: to make the record again, never to find it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, std::path::PathBuf>,
}

/// What was produced under a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its key: the digest of `fingerprint`.
    pub key: Key,
    /// Every ingredient of the key.
    pub fingerprint: Fingerprint,
    /// What it produced, by name.
    pub outputs: BTreeMap<String, Output>,
    /// Outside its meaning.
    pub context: Context,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A format of another version of this program: a miss, left untouched.
    #[error("unknown record format `{0}`")]
    UnknownFormat(String),
    /// Damaged: the checksum, the key or the structure does not fit.
    #[error("damaged record: {0}")]
    Damaged(String),
}

impl Record {
    /// The record of `outputs` made from `fingerprint`.
    pub fn new(fingerprint: Fingerprint, outputs: BTreeMap<String, Output>, context: Context) -> Self {
        Self { key: fingerprint.key(), fingerprint, outputs, context }
    }

    /// Its bytes in a file: a line with the format and the checksum of the rest, then JSON.
    ///
    /// # Panics
    /// Never: its parts serialise.
    pub fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_string(self).expect("invariant: a record serialises");
        format!("{FORMAT} {}\n{body}\n", Digest::of(body.as_bytes())).into_bytes()
    }

    /// The record that `bytes` hold, checked against its own checksum and against `key`.
    ///
    /// # Errors
    /// An unknown format, or damage.
    pub fn decode(bytes: &[u8], key: &Key) -> Result<Self, RecordError> {
        let body = body_of(bytes)?;
        let record: Self = serde_json::from_str(body).map_err(|error| RecordError::Damaged(error.to_string()))?;
        if record.key != *key || record.fingerprint.key() != *key {
            return Err(RecordError::Damaged("it belongs to another key".to_owned()));
        }
        record.check().map_err(RecordError::Damaged)?;
        Ok(record)
    }

    /// What a checksum does not say, since whoever may write to a cache can make one that fits: that names are of files below the folder that a
    /// command runs in, and that bytes which the record carries are those of their digest.
    fn check(&self) -> Result<(), String> {
        let names = self.outputs.keys().chain(self.fingerprint.inputs.keys());
        if let Some(name) = names.into_iter().find(|name| !is_below(name)) {
            return Err(format!("`{}` is no name below a folder", name.escape_debug()));
        }
        let above = |name: &&String| {
            Path::new(name)
                .ancestors()
                .skip(1)
                .any(|path| path.to_str().is_some_and(|path| self.outputs.contains_key(path)))
        };
        if let Some(name) = self.outputs.keys().find(above) {
            return Err(format!("`{name}` lies below a file"));
        }
        for (name, output) in &self.outputs {
            let fits =
                |text: &String| (text.len() as u64, Digest::of(text.as_bytes())) == (output.length, output.digest);
            if !output.inline.as_ref().is_none_or(fits) {
                return Err(format!("the bytes of `{name}` do not fit their digest"));
            }
        }
        Ok(())
    }
}

/// Whether a name, taken for a path, leads to something below the folder that it begins in.
fn is_below(name: &str) -> bool {
    const LONGEST: usize = 255;
    let below = |part| match part {
        Component::Normal(part) => part.len() <= LONGEST,
        Component::CurDir => true,
        _ => false,
    };
    let path = Path::new(name);
    path.file_name().is_some()
        && !name.ends_with('/')
        && !name.ends_with("/.")
        && !name.contains('\0')
        && path.components().all(below)
}

/// The text behind a record's first line, checked against the checksum there.
pub(super) fn body_of(bytes: &[u8]) -> Result<&str, RecordError> {
    let damaged = |what: &str| RecordError::Damaged(what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("cut short"))?;
    let (format, checksum) = head.rsplit_once(' ').ok_or_else(|| damaged("no format line"))?;
    if format != FORMAT {
        let known = format.strip_prefix("thalweg-record ").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        return Err(if known { RecordError::UnknownFormat(format.to_owned()) } else { damaged("no format line") });
    }
    let body = body.strip_suffix('\n').ok_or_else(|| damaged("cut short"))?;
    if checksum.parse() == Ok(Digest::of(body.as_bytes())) {
        Ok(body)
    } else {
        Err(damaged("its checksum does not fit"))
    }
}

/// Where records are asked for; what planning sees of a store.
pub trait Records {
    /// The record under `key`, if there is a whole one.
    fn record(&self, key: &Key) -> Option<Record>;

    /// The bytes of an output, if they are there and whole; nothing is made again for it.
    fn bytes(&self, output: &Output) -> Option<Vec<u8>>;

    /// The records that were noted under `sort` for whoever computes something longer, each with how far it had come.
    fn noted(&self, sort: &Key) -> Vec<(Record, u64)>;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn record() -> Record {
        let arithmetic = Arithmetic { backend: "cpu".into(), features: "avx2".into() };
        let context = Context {
            seconds: 0.25,
            machine: "m".into(),
            program: "0".into(),
            arithmetic,
            makers: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let outputs = [("loss", &b"0.5"[..]), ("theta", &[0xff; 2000])];
        let outputs = outputs.into_iter().map(|(name, bytes)| (name.to_owned(), Output::of(bytes))).collect();
        Record::new(Fingerprint::action("epoch", 1).position("epoch", 2), outputs, context)
    }

    #[test]
    fn a_record_reads_back_and_every_flipped_bit_is_found() {
        let record = record();
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes, &record.key), Ok(record.clone()));
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                assert!(Record::decode(&damaged, &record.key).is_err(), "byte {i} bit {bit}");
            }
            assert!(Record::decode(&bytes[..i], &record.key).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_later_format_is_unknown_not_damaged() {
        let record = record();
        let later = String::from_utf8(record.encode()).unwrap().replacen("thalweg-record 1", "thalweg-record 2", 1);
        let error = RecordError::UnknownFormat("thalweg-record 2".into());
        assert_eq!(Record::decode(later.as_bytes(), &record.key), Err(error));
    }

    #[test]
    fn a_record_under_another_key_is_damage() {
        let other = Fingerprint::action("epoch", 1).key();
        assert!(matches!(Record::decode(&record().encode(), &other), Err(RecordError::Damaged(_))));
    }

    /// A record whose checksum is right and whose parts are not: whoever writes to a cache may have made it.
    #[test]
    fn a_record_that_names_what_is_no_digest_is_damaged() {
        let record = record();
        let text = String::from_utf8(record.encode()).unwrap();
        let body = text.split_once('\n').unwrap().1.trim_end();
        let digest = record.outputs["theta"].digest.to_string();
        let (longer, upper) = (format!("{digest}0"), digest.to_uppercase());
        for path in
            ["../../../../etc/passwd", "/etc/passwd", "", &digest[..63], &longer, &upper, "é", &"../".repeat(21)]
        {
            let forged = body.replace(&digest, path);
            assert_ne!(forged, body);
            let bytes = format!("{FORMAT} {}\n{forged}\n", Digest::of(forged.as_bytes()));
            let found = Record::decode(bytes.as_bytes(), &record.key);
            assert!(matches!(found, Err(RecordError::Damaged(_))), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_record_whose_names_lead_out_of_a_folder_is_damaged() {
        for name in ["../up", "/etc/passwd", "", "a/../../b", "..", "nul\0", ".", "./", "a/", "a/.", &"a".repeat(256)] {
            let outputs = [(name.to_owned(), Output::of(b"0.5"))].into();
            let forged = Record::new(record().fingerprint, outputs, record().context);
            let found = Record::decode(&forged.encode(), &forged.key);
            assert!(
                matches!(&found, Err(RecordError::Damaged(why)) if why.ends_with("is no name below a folder")),
                "{found:?}"
            );
            let fingerprint = record().fingerprint.input(name, Digest::of(b"x"));
            let forged = Record::new(fingerprint, record().outputs, record().context);
            assert!(Record::decode(&forged.encode(), &forged.key).is_err(), "{name}");
        }
        let outputs = ["a", "a/b"].map(|name| (name.to_owned(), Output::of(b"0.5"))).into();
        let forged = Record::new(record().fingerprint, outputs, record().context);
        assert!(Record::decode(&forged.encode(), &forged.key).is_err());
        for name in ["a", "a/b.txt", "./a", "..a", "a b", "θ"] {
            let outputs = [(name.to_owned(), Output::of(b"0.5"))].into();
            let whole = Record::new(record().fingerprint, outputs, record().context);
            assert_eq!(Record::decode(&whole.encode(), &whole.key), Ok(whole));
        }
    }

    #[test]
    fn a_record_that_carries_other_bytes_than_it_names_is_damaged() {
        let lies: [fn(&mut Output); 3] = [
            |output| output.inline = Some("0.6".into()),
            |output| output.length = 1 << 40,
            |output| output.digest = Digest::of(b"0.6"),
        ];
        for lie in lies {
            let mut forged = record();
            lie(forged.outputs.get_mut("loss").unwrap());
            assert!(matches!(Record::decode(&forged.encode(), &forged.key), Err(RecordError::Damaged(_))));
        }
    }

    #[test]
    fn only_short_text_is_inline() {
        let record = record();
        assert_eq!(record.outputs["loss"].inline.as_deref(), Some("0.5"));
        assert_eq!(record.outputs["theta"].inline, None);
    }
}
