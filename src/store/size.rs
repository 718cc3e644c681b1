//! Sizes as people write them: `500MB`, `2GiB`, `1.5 GB`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(
    /// The bytes.
    pub u64,
);

/// Text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size such as `500MB`, `2GiB` or `4096`")]
pub struct ParseSizeError(String);

const UNITS: [(&str, u64); 12] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("k", 1000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
];

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseSizeError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..end], trimmed[end..].trim().to_ascii_lowercase());
        let unit = if unit.is_empty() { "b" } else { &unit };
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(error);
        }
        let bytes = number.parse::<f64>().map_err(|_| error())? * factor as f64;
        (bytes < u64::MAX as f64).then_some(Self(bytes.round() as u64)).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ["TB", "GB", "MB", "kB"].into_iter().zip([1e12, 1e9, 1e6, 1e3]);
        match named.into_iter().find(|(_, factor)| self.0 as f64 >= *factor) {
            Some((name, factor)) => write!(f, "{:.1} {name}", self.0 as f64 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases = [
            ("500MB", 500_000_000),
            ("2GiB", 2_147_483_648),
            ("1.5 GB", 1_500_000_000),
            ("4096", 4096),
            ("0", 0),
            ("10k", 10_000),
            (".5 kib", 512),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "1.2.3MB", "5 parsecs", "-1", "99999999999TB", "1e3", "1.5e300TB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit_they_fill() {
        let cases = [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB")];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
