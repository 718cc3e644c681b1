//! Records: what an action produced under its key, or what a stage's outputs are, with everything needed to make it again.

use std::collections::BTreeMap;

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
        let damaged = |what: &str| RecordError::Damaged(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let (head, body) = text.split_once('\n').ok_or_else(|| damaged("cut short"))?;
        let (format, checksum) = head.rsplit_once(' ').ok_or_else(|| damaged("no format line"))?;
        if format != FORMAT {
            let known = format.strip_prefix("thalweg-record ").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
            return Err(if known { RecordError::UnknownFormat(format.to_owned()) } else { damaged("no format line") });
        }
        let body = body.strip_suffix('\n').ok_or_else(|| damaged("cut short"))?;
        if Digest::of(body.as_bytes()).to_string() != checksum {
            return Err(damaged("its checksum does not fit"));
        }
        let record: Self = serde_json::from_str(body).map_err(|error| RecordError::Damaged(error.to_string()))?;
        if record.key != *key || record.fingerprint.key() != *key {
            return Err(damaged("it belongs to another key"));
        }
        Ok(record)
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
mod tests {
    use super::*;

    fn record() -> Record {
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
    fn only_short_text_is_inline() {
        let record = record();
        assert_eq!(record.outputs["loss"].inline.as_deref(), Some("0.5"));
        assert_eq!(record.outputs["theta"].inline, None);
    }
}
