//! Texts that were read and places in them.

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

/// A text that was read: a manifest, one `--set`, or `--profile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What people call it: a path, or `command line`.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// The source called `name` that holds `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A place in one of the sources: a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Which source, counted from 0: the manifest is first, then each `--set`, then `--profile`.
    pub source: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Origin {
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }

    /// The part of it that begins `start` bytes in and is `length` bytes long.
    pub(super) fn part(self, start: usize, length: usize) -> Self {
        Self { start: self.start + start, end: self.start + start + length, ..self }
    }
}

/// All texts that a study was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    sources: Vec<Source>,
    /// Where each line of the manifest begins: every field of every stage asks for its line.
    lines: Vec<usize>,
}

impl Sources {
    pub(super) fn add(&mut self, source: Source) -> usize {
        if self.sources.is_empty() {
            self.lines = std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        }
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// The source with this number.
    ///
    /// # Panics
    /// If there is none, which means that an origin of another study was given.
    pub fn source(&self, source: usize) -> &Source {
        &self.sources[source]
    }

    /// A place as people write it: `fig3.toml:14:10`, counted from 1 in characters; a `--set` as a whole.
    pub fn describe(&self, origin: Origin) -> String {
        let source = self.source(origin.source);
        if origin.source > 0 {
            return source.text.clone();
        }
        let start = origin.start.min(source.text.len());
        let line = self.lines.partition_point(|&begins| begins <= start);
        let column = source.text[self.lines[line - 1]..start].chars().count() + 1;
        format!("{}:{line}:{column}", source.name)
    }
}

/// Text that remembers where it was written. Two are equal, and serialise the same, if their text is.
#[derive(Clone, Debug)]
pub struct Located {
    /// The text.
    pub text: String,
    /// Where it was written; `None` for a default.
    pub origin: Option<Origin>,
}

impl From<&str> for Located {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), origin: None }
    }
}

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Located {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_characters() {
        let mut sources = Sources::default();
        let text = "a = 1\nß = x\n";
        sources.add(Source::new("m.toml", text));
        sources.add(Source::new("command line", "--set stage.a.b=1"));
        let x = text.find('x').unwrap();
        assert_eq!(sources.describe(Origin::new(0, x..x + 1)), "m.toml:2:5");
        assert_eq!(sources.describe(Origin::new(0, 0..1)), "m.toml:1:1");
        assert_eq!(sources.describe(Origin::new(1, 6..7)), "--set stage.a.b=1");
    }
}
