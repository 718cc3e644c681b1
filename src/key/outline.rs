//! What is asked of records by the hundred thousand, read in a fraction of the time that a record takes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::record::body_of;
use super::{Digest, Key, Level, RecordError};

/// A record without what is not asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Outline {
    key: Key,
    /// Of its ingredients those that are asked for.
    pub fingerprint: FingerprintOutline,
    /// Its outputs, in order of name.
    #[serde(deserialize_with = "values")]
    pub outputs: Vec<OutputOutline>,
    /// What is noted beside it.
    pub context: ContextOutline,
}

/// What an [`Outline`] has of a fingerprint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FingerprintOutline {
    /// Whether it is a stage's or an action's.
    pub level: Level,
    /// The kind.
    pub kind: String,
    /// Digests of the inputs, in order of name.
    #[serde(default, deserialize_with = "values")]
    pub inputs: Vec<Digest>,
}

/// What an [`Outline`] has of an output.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OutputOutline {
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub length: u64,
    /// There where the record carries the bytes itself.
    #[serde(default)]
    pub inline: Option<IgnoredAny>,
}

/// What an [`Outline`] has of what is noted beside a record.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ContextOutline {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The keys of the actions that made its inputs.
    #[serde(default, deserialize_with = "values")]
    pub makers: Vec<Key>,
}

/// The values of a map, without its keys.
fn values<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Values<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some((IgnoredAny, value)) = map.next_entry()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_map(Values(PhantomData))
}

impl Outline {
    /// The outline of the record that `bytes` hold. Checked as by [`Record::decode`](super::Record::decode), but for whether the ingredients
    /// give the key.
    ///
    /// # Errors
    /// As there.
    pub fn decode(bytes: &[u8], key: &Key) -> Result<Self, RecordError> {
        let outline: Self =
            serde_json::from_str(body_of(bytes)?).map_err(|error| RecordError::Damaged(error.to_string()))?;
        if outline.key == *key {
            Ok(outline)
        } else {
            Err(RecordError::Damaged("it belongs to another key".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::super::{Fingerprint, Level};
    use super::*;

    #[test]
    fn an_outline_has_what_the_record_has_and_finds_the_same_damage() {
        let record = record();
        let bytes = record.encode();
        let outline = Outline::decode(&bytes, &record.key).unwrap();
        assert_eq!((outline.fingerprint.level, &*outline.fingerprint.kind), (Level::Action, "epoch"));
        assert_eq!(outline.context.seconds.to_bits(), record.context.seconds.to_bits());
        assert_eq!(outline.outputs.len(), record.outputs.len());
        for (outlined, output) in outline.outputs.iter().zip(record.outputs.values()) {
            assert_eq!((outlined.digest, outlined.length), (output.digest, output.length));
            assert_eq!(outlined.inline.is_some(), output.inline.is_some());
        }
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert!(Outline::decode(&damaged, &record.key).is_err(), "byte {i}");
        }
        let other = Fingerprint::action("epoch", 1).key();
        assert!(Outline::decode(&bytes, &other).is_err());
    }
}
