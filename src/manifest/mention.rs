//! How a reference is written: a stage, and in brackets a filter on its axes. `train`, `train[model=mlp,seed=0]`.

use super::diagnostic::Diagnostic;
use super::source::Origin;

/// A reference taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub stage: String,
    pub stage_origin: Origin,
    pub filter: Vec<Condition>,
}

/// One axis held to one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub axis: String,
    pub label: String,
    pub origin: Origin,
}

impl Target {
    /// Takes apart `text`, whose quoted form is written at `origin`.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Diagnostic> {
        // Places within the text are known only where it is written plainly, between two quotes.
        let plain = origin.end - origin.start == text.len() + 2;
        let part = |start: usize, length: usize| if plain { origin.part(start + 1, length) } else { origin };
        let wrong = |origin: Origin, label: &str| {
            let message = format!("`{text}` is no reference");
            Diagnostic::new(origin, message, label).help("write `stage`, or `stage[axis=value,axis=value]`")
        };
        let (stage, filter) = match text.split_once('[') {
            None => (text, None),
            Some((stage, rest)) => {
                let end = part(text.len(), 0);
                (stage, Some(rest.strip_suffix(']').ok_or_else(|| wrong(end, "expected `]`"))?))
            }
        };
        if !is_name(stage) {
            return Err(wrong(origin, "expected the name of a stage"));
        }
        let mut at = stage.len() + 1;
        let mut conditions: Vec<Condition> = Vec::new();
        for written in filter.iter().flat_map(|filter| filter.split(',')) {
            let place = part(at, written.len());
            at += written.len() + 1;
            let (axis, label) = written.split_once('=').ok_or_else(|| wrong(place, "expected `axis=value`"))?;
            let condition = Condition { axis: axis.trim().to_owned(), label: label.trim().to_owned(), origin: place };
            if conditions.iter().any(|other| other.axis == condition.axis) {
                return Err(wrong(place, "this axis is held to a value already"));
            }
            conditions.push(condition);
        }
        Ok(Self { stage: stage.to_owned(), stage_origin: part(0, stage.len()), filter: conditions })
    }
}

/// Whether `text` can name a stage, a profile or an axis.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether `text` can stand for a value in the name of an instance, which names files too.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, Diagnostic> {
        Target::parse(text, Origin { source: 0, start: 10, end: 12 + text.len() })
    }

    #[test]
    fn a_reference_names_a_stage_and_may_hold_axes_to_values() {
        assert_eq!(parse("train").unwrap().filter, []);
        let target = parse("train[model=mlp, seed=0]").unwrap();
        let held: Vec<_> = target.filter.iter().map(|held| (held.axis.as_str(), held.label.as_str())).collect();
        assert_eq!((target.stage.as_str(), held), ("train", vec![("model", "mlp"), ("seed", "0")]));
        assert_eq!(target.filter[0].origin, Origin { source: 0, start: 17, end: 26 });
    }

    #[test]
    fn what_is_no_reference_is_refused_where_it_goes_wrong() {
        for (text, label) in [
            ("train[model=mlp", "expected `]`"),
            ("train[model]", "expected `axis=value`"),
            ("train[]", "expected `axis=value`"),
            ("[a=b]", "expected the name of a stage"),
            ("a b", "expected the name of a stage"),
            ("train[a=1,a=2]", "this axis is held to a value already"),
        ] {
            assert_eq!(parse(text).unwrap_err().label, label, "{text}");
        }
    }
}
