//! Canonical values: what a parameter is once the way it was written no longer matters.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A parameter's value. Tables are sorted; `1` and `1.0`, and `0` and `-0`, are one value.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// An ordered list.
    List(Vec<Value>),
    /// A table, by name.
    Table(BTreeMap<String, Value>),
}

impl Value {
    /// The canonical value of anything that serialises.
    ///
    /// # Panics
    /// If it does not serialise to JSON, which for parameters is a bug: maps have text keys and numbers are checked to be finite.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let json = serde_json::to_value(value).expect("invariant: parameters serialise");
        serde_json::from_value(json).expect("invariant: JSON values are canonical values")
    }

    /// The typed value behind it.
    ///
    /// # Errors
    /// If it is not a `T`; the message says what was expected.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(self)?)
    }

    /// Feeds it to a hasher: a tag, a length where there is one, the content. Numbers without a fraction are integers.
    pub(super) fn feed(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Null => feed(hasher, b'n', &[]),
            Self::Bool(value) => feed(hasher, b'b', &[u8::from(*value)]),
            Self::Integer(value) => feed(hasher, b'i', &value.to_le_bytes()),
            Self::Float(value) => match whole(*value) {
                Some(integer) => feed(hasher, b'i', &integer.to_le_bytes()),
                None => feed(hasher, b'f', &value.to_bits().to_le_bytes()),
            },
            Self::Text(value) => feed(hasher, b't', value.as_bytes()),
            Self::List(values) => {
                feed(hasher, b'l', &(values.len() as u64).to_le_bytes());
                for value in values {
                    value.feed(hasher);
                }
            }
            Self::Table(entries) => {
                feed(hasher, b'm', &(entries.len() as u64).to_le_bytes());
                for (name, value) in entries {
                    feed(hasher, b't', name.as_bytes());
                    value.feed(hasher);
                }
            }
        }
    }
}

/// Written out because the derived form tries each variant in turn and words an error for each that does not fit, which is most of
/// what reading a record would cost.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::with_capacity(list.size_hint().unwrap_or(0).min(1024));
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = table.next_entry()? {
            entries.insert(name, value);
        }
        Ok(Value::Table(entries))
    }
}

/// A tag, the content's length, the content: no two sequences of these run together.
pub(super) fn feed(hasher: &mut blake3::Hasher, tag: u8, content: &[u8]) {
    hasher.update(&[tag]).update(&(content.len() as u64).to_le_bytes()).update(content);
}

/// The integer that a float is, where it is one that a float holds exactly.
fn whole(value: f64) -> Option<i64> {
    (value.trunc().to_bits() == value.to_bits() && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let number = |value: &Self| match value {
            Self::Float(float) => whole(*float).ok_or(float.to_bits()),
            Self::Integer(integer) => Ok(*integer),
            _ => Err(0),
        };
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Integer(_) | Self::Float(_), Self::Integer(_) | Self::Float(_)) => number(self) == number(other),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "none"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::List(values) => {
                write!(f, "[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "]")
            }
            Self::Table(entries) => {
                write!(f, "{{")?;
                for (i, (name, value)) in entries.iter().enumerate() {
                    write!(f, "{}{name} = {value}", if i == 0 { " " } else { ", " })?;
                }
                write!(f, "{}}}", if entries.is_empty() { "" } else { " " })
            }
        }
    }
}
