//! What is wrong with a text as TOML, in words. A mistake of syntax drags others behind it; those are left out.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::diagnostic::Diagnostic;
use super::source::Origin;
use super::tree::Node;

/// What the parser found wrong, and whether the tree is whole nevertheless, because nothing but repeated keys is.
pub(super) fn problems(root: &Node, number: usize, text: &str, errors: &[Error]) -> (Vec<Diagnostic>, bool) {
    let (repeated, wrong): (Vec<&Error>, Vec<&Error>) = errors.iter().partition(|error| is_repetition(error));
    let mut problems = repetitions(root, number, text, &repeated);
    let is_swallowing = wrong.iter().any(|error| error.message().starts_with("unclosed"));
    let mut wrong: Vec<(Range<usize>, String)> = if is_swallowing {
        parts(text).into_iter().flat_map(|part| errors_within(text, part)).collect()
    } else {
        wrong.iter().map(|error| (span(error, text), error.message().to_owned())).collect()
    };
    wrong.sort_by_key(|(span, _)| span.start);
    wrong.dedup_by_key(|(span, _)| text[..span.start].matches('\n').count());
    let whole = wrong.is_empty();
    let said = |(span, message)| Diagnostic::new(Origin::new(number, span), format!("not TOML: {message}"), "here");
    problems.extend(wrong.into_iter().map(said));
    (problems, whole)
}

fn is_repetition(error: &Error) -> bool {
    error.message().starts_with("duplicate key")
}

fn span(error: &Error, text: &str) -> Range<usize> {
    error.span().unwrap_or(text.len()..text.len())
}

/// The errors of one part by itself, so that a bracket left open there takes nothing of the next along.
fn errors_within(text: &str, part: Range<usize>) -> Vec<(Range<usize>, String)> {
    let within = text[part.clone()].trim_end();
    let (_, errors) = DeTable::parse_recoverable(within);
    let shifted = |error: &Error| {
        let span = span(error, within);
        (span.start + part.start..span.end + part.start, error.message().to_owned())
    };
    errors.iter().filter(|error| !is_repetition(error)).map(shifted).collect()
}

/// The text cut before every line that is a table's header.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = headers(text).into_iter().map(|(span, _)| span.start).collect();
    cuts.insert(0, 0);
    cuts.push(text.len());
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The lines that are headers of tables: where each stands, and the names in it.
fn headers(text: &str) -> Vec<(Range<usize>, Vec<String>)> {
    let mut headers = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[')
            && let Ok(parsed) = DeTable::parse(line)
        {
            let mut names = Vec::new();
            let mut table = Some(parsed.get_ref());
            while let Some((key, value)) = table.and_then(|table| table.iter().next()) {
                names.push(key.get_ref().to_string());
                table = value.get_ref().as_table();
            }
            headers.push((start..start + line.len(), names));
        }
        start += line.len();
    }
    headers
}

/// Keys that are given twice, pointing at the second with a label at the first where that can be told. What a table declared twice
/// repeats is not said again.
fn repetitions(root: &Node, number: usize, text: &str, errors: &[&Error]) -> Vec<Diagnostic> {
    if errors.is_empty() {
        return Vec::new();
    }
    let headers = headers(text);
    let mut repeated = Vec::new();
    let mut problems = Vec::new();
    for error in errors {
        let span = span(error, text);
        let header = headers.iter().rfind(|(header, _)| header.start <= span.start);
        let is_header = header.is_some_and(|(header, _)| header.contains(&span.start));
        if is_header {
            repeated.extend(header.map(|(header, _)| header.start));
        } else if header.is_some_and(|(header, _)| repeated.contains(&header.start)) {
            continue;
        }
        let path = header.map(|(_, path)| path.clone()).unwrap_or_default();
        let (word, again) = (&text[span.clone()], Origin::new(number, span));
        let first = if is_header {
            let first = headers.iter().find(|(header, other)| header.end <= again.start && *other == path);
            first.map(|(header, _)| {
                let line = &text[header.clone()];
                let start = header.start + line.len() - line.trim_start().len();
                Origin::new(number, start..start + line.trim().len())
            })
        } else {
            let table = path.iter().try_fold(root, |node, key| node.table()?.node(key)).and_then(Node::table);
            table.and_then(|table| table.entry(word)).map(|entry| entry.key_origin)
        };
        let message = match path.as_slice() {
            [first, name] if is_header && first == "stage" => format!("stage `{name}` is declared twice"),
            _ => format!("`{word}` is given twice"),
        };
        let diagnostic = Diagnostic::new(again, message, "again here");
        problems.push(match first.filter(|first| first.end <= again.start) {
            Some(first) => diagnostic.also(first, "first here"),
            None => diagnostic,
        });
    }
    problems
}
