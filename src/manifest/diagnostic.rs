//! What is wrong with a manifest: where, what was expected, and what may have been meant.

use std::fmt;
use std::sync::Arc;

use miette::{LabeledSpan, NamedSource, SourceCode};

use super::source::{Origin, Sources};
use crate::remote;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in a sentence.
    pub message: String,
    /// What is said at the word itself.
    pub label: String,
    /// The word.
    pub origin: Origin,
    /// What to do about it.
    pub help: Option<Box<str>>,
    /// Other places that belong to it.
    pub related: Vec<(Origin, String)>,
}

impl Diagnostic {
    /// `message` about the word at `origin`, where `label` is said.
    pub fn new(origin: Origin, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { message: message.into(), label: label.into(), origin, help: None, related: Vec::new() }
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn also(mut self, origin: Origin, label: impl Into<String>) -> Self {
        self.related.push((origin, label.into()));
        self
    }

    /// Offers the nearest of `names` to `wrong`, or else lists them as `those`.
    #[must_use]
    pub(super) fn offer<'a>(self, wrong: &str, those: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        match nearest(wrong, &names) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None if names.is_empty() => self,
            None => self.help(format!("{those} {}", listed(&names, "and"))),
        }
    }
}

/// The one of `names` that `wrong` was probably meant to be.
pub(super) fn nearest<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    let length = |name: &str| name.chars().count();
    // Names of one letter are always one change apart, which says nothing.
    let close =
        |name: &&&str| distance(name) < length(name) && distance(name) <= (length(wrong).max(length(name)) / 3).max(1);
    names.iter().filter(close).min_by_key(|name| distance(name)).copied()
}

/// Names in backticks: `a`, `b` and `c`.
pub(super) fn listed<S: AsRef<str>>(names: &[S], conjunction: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} {conjunction} {last}", init.join(", ")),
    }
}

/// Everything that is wrong with a manifest, with the texts it was read from. It renders through miette: as a whole (an error whose
/// related errors are the single ones) or one report each.
#[derive(Debug)]
pub struct Diagnostics {
    sources: Arc<Sources>,
    found: Vec<Finding>,
}

impl Diagnostics {
    /// Sorts by position and leaves out what is said twice.
    pub fn new(sources: Arc<Sources>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| (a.origin, &a.message).cmp(&(b.origin, &b.message)));
        diagnostics.dedup_by(|a, b| (a.origin, &a.message) == (b.origin, &b.message));
        let found = diagnostics.into_iter().map(|diagnostic| Finding::new(&sources, diagnostic)).collect();
        Self { sources, found }
    }

    /// The single diagnostics, by position.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter().map(|finding| &finding.diagnostic)
    }

    /// The texts.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// One miette report each, by position.
    pub fn into_reports(self) -> Vec<miette::Report> {
        self.found.into_iter().map(miette::Report::new).collect()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.sources.source(0).name;
        match self.found.len() {
            1 => write!(f, "an error in {name}"),
            count => write!(f, "{count} errors in {name}"),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl miette::Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.found.iter().map(|finding| finding as &dyn miette::Diagnostic)))
    }
}

/// A diagnostic with the text that it points into.
#[derive(Debug)]
struct Finding {
    diagnostic: Diagnostic,
    source: NamedSource<String>,
    help: Option<String>,
}

impl Finding {
    /// miette shows one text a diagnostic, so places in other texts go into the help.
    fn new(sources: &Sources, mut diagnostic: Diagnostic) -> Self {
        diagnostic.message = masked(&diagnostic.message);
        diagnostic.label = masked(&diagnostic.label);
        let source = sources.source(diagnostic.origin.source);
        let elsewhere = diagnostic.related.iter().filter(|(origin, _)| origin.source != diagnostic.origin.source);
        let elsewhere = elsewhere.map(|(origin, label)| format!("{label}: {}", sources.describe(*origin)));
        let help: Vec<String> = diagnostic.help.iter().map(ToString::to_string).chain(elsewhere).collect();
        Self {
            source: NamedSource::new(&source.name, masked(&source.text)),
            help: (!help.is_empty()).then(|| masked(&help.join("\n"))),
            diagnostic,
        }
    }
}

/// A text in which every address that may hold a secret is stars, byte for byte, whatever is said of which line: lines around it are shown too.
fn masked(text: &str) -> String {
    let mut masked = text.as_bytes().to_vec();
    for (at, mark) in text.match_indices("://") {
        let begin = at + mark.len();
        let ends = |c: char| c.is_whitespace() || "\"'`,".contains(c);
        let end = text[begin..].find(ends).map_or(text.len(), |length| begin + length);
        if remote::may_hold_secret(&text[begin..end]) {
            masked[begin..end].fill(b'*');
        }
    }
    String::from_utf8(masked).expect("invariant: whole characters became stars")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Finding {}

impl miette::Diagnostic for Finding {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // A place at the very end is shown at the last character, because there is nothing to show it at.
        let text = self.source.inner();
        let last = text.trim_end().char_indices().last().map_or(0..0, |(at, last)| at..at + last.len_utf8());
        let span = move |origin: Origin| {
            if origin.start < text.len() { origin.start..origin.end } else { last.clone() }
        };
        let Diagnostic { origin, label, related, .. } = &self.diagnostic;
        let here = LabeledSpan::new_primary_with_span(Some(label.clone()), span(*origin));
        let beside = related.iter().filter(|(other, _)| other.source == origin.source);
        let beside = beside.map(move |(other, label)| LabeledSpan::new_with_span(Some(label.clone()), span(*other)));
        Some(Box::new(std::iter::once(here).chain(beside)))
    }
}
