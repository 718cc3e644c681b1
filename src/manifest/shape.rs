//! The shapes that a field's value may have: checked here, in words for diagnostics, and read by the schema and the documentation.

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, listed};
use super::tree::{Node, Tree};
use crate::key::Sort;

/// An end of a range, and whether it belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End {
    pub value: f64,
    pub included: bool,
}

/// The range of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    pub low: Option<End>,
    pub high: Option<End>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Flag,
    Whole(Bounds),
    Number(Bounds),
    Text { filled: bool },
    Path,
    Choice(Vec<&'static str>),
    Texts,
    List { of: Box<Shape>, filled: bool },
    Table(Vec<Field>),
    Reference { gathers: bool, accepts: Vec<&'static str> },
}

/// A field as it is documented.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: &'static str,
    pub doc: &'static str,
    pub shape: Shape,
    pub sort: Option<Sort>,
    pub need: Need,
    /// The field and the choice of it under which this one is read.
    pub when: Option<(&'static str, &'static str)>,
}

/// Whether a field must be given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need {
    Required,
    Optional,
    Default(Json),
}

impl Bounds {
    fn hold(self, value: f64) -> bool {
        let above = self.low.is_none_or(|end| if end.included { value >= end.value } else { value > end.value });
        let below = self.high.is_none_or(|end| if end.included { value <= end.value } else { value < end.value });
        above && below
    }

    fn describe(self, noun: &str) -> String {
        let low = self.low.map(|end| match end {
            End { value: 0.0, included: false } => "above 0".to_owned(),
            End { value, included: true } => format!("of at least {value}"),
            End { value, included: false } => format!("above {value}"),
        });
        let high =
            self.high.map(|End { value, included }| format!("{} {value}", if included { "at most" } else { "below" }));
        let ends: Vec<String> = low.into_iter().chain(high).collect();
        if ends.is_empty() { noun.to_owned() } else { format!("{noun} {}", ends.join(" and ")) }
    }
}

impl Shape {
    /// In words: `a whole number of at least 1`.
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole(bounds) => bounds.describe("a whole number"),
            Self::Number(bounds) => bounds.describe("a number"),
            Self::Text { filled: false } => "text".to_owned(),
            Self::Text { filled: true } => "text that is not empty".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Choice(names) => listed(names, "or"),
            Self::Texts => "a table of texts".to_owned(),
            Self::List { of, filled } => {
                let what = if *filled { "a list of one or more, each" } else { "a list, each" };
                format!("{what} {}", of.describe())
            }
            Self::Table(_) => "a table".to_owned(),
            Self::Reference { gathers: false, accepts } => format!("the name of {}", stages(accepts)),
            Self::Reference { gathers: true, accepts } => {
                format!("the name, or a list of names, of {}", stages(accepts))
            }
        }
    }

    /// Whether `node` has this shape; what does not fit is said of the field `name`. Tables and references are looked into elsewhere.
    pub fn check(&self, name: &str, node: &Node, problems: &mut Vec<Diagnostic>) -> bool {
        match (self, &node.value) {
            (Self::List { filled, .. }, Tree::List(nodes)) if *filled && nodes.is_empty() => {}
            (Self::List { of, .. }, Tree::List(nodes)) => {
                return nodes.iter().filter(|node| !of.check(name, node, problems)).count() == 0;
            }
            (Self::Texts, Tree::Table(table)) => {
                let text = Self::Text { filled: false };
                return table.0.iter().filter(|entry| !text.check(&entry.key, &entry.node, problems)).count() == 0;
            }
            (Self::Reference { gathers: true, .. }, Tree::List(nodes)) if !nodes.is_empty() => {
                let one = Self::Text { filled: true };
                return nodes.iter().filter(|node| !one.check(name, node, problems)).count() == 0;
            }
            _ if self.holds(&node.value) => return true,
            _ => {}
        }
        problems.push(self.misfit(name, node));
        false
    }

    /// A list without what does not fit: of paths or references, which are judged one by one, and each by what it says.
    pub fn right_part_of(&self, node: &Node) -> Option<Node> {
        let of = match self {
            Self::List { of, .. } if **of == Self::Path => of.as_ref(),
            Self::Reference { gathers: true, .. } => &Self::Text { filled: true },
            _ => return None,
        };
        let right = node.list()?.iter().filter(|node| of.holds(&node.value)).cloned().collect();
        Some(Node { value: Tree::List(right), origin: node.origin })
    }

    fn holds(&self, value: &Tree) -> bool {
        match (self, value) {
            (Self::Flag, Tree::Flag(_)) | (Self::Table(_), Tree::Table(_)) => true,
            (Self::Whole(bounds) | Self::Number(bounds), Tree::Integer(Some(integer))) => bounds.hold(*integer as f64),
            (Self::Number(bounds), Tree::Float(float)) => float.is_finite() && bounds.hold(*float),
            (Self::Text { filled }, Tree::Text(text)) => !(*filled && text.is_empty()),
            (Self::Path | Self::Reference { .. }, Tree::Text(text)) => !text.is_empty(),
            (Self::Choice(names), Tree::Text(text)) => names.contains(&text.as_str()),
            _ => false,
        }
    }

    fn misfit(&self, name: &str, node: &Node) -> Diagnostic {
        let message = format!("`{name}` must be {}", self.describe());
        let diagnostic = Diagnostic::new(node.origin, message, format!("found {}", node.found()));
        match (self, &node.value) {
            (Self::Choice(names), Tree::Text(text)) => {
                let near = super::diagnostic::nearest(text, names);
                near.map_or(diagnostic.clone(), |near| diagnostic.help(format!("did you mean `{near}`?")))
            }
            (Self::Whole(_) | Self::Number(_), Tree::Float(float)) if !float.is_finite() => {
                diagnostic.help("every number is finite")
            }
            (Self::Whole(_), Tree::Float(float)) if float.fract() == 0.0 => {
                diagnostic.help(format!("write `{float:.0}`, without a fraction"))
            }
            (Self::Reference { gathers: true, .. }, Tree::List(nodes)) if nodes.is_empty() => {
                diagnostic.help("name at least one stage, or leave the field out where it may be")
            }
            (Self::List { of, .. }, value) if of.holds(value) => diagnostic.help("put it in brackets: `[…]`"),
            _ => diagnostic,
        }
    }
}

fn stages(accepts: &[&str]) -> String {
    if accepts.is_empty() { "a stage".to_owned() } else { format!("a stage of kind {}", listed(accepts, "or")) }
}
