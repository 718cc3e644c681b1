//! One field while it is read: its constraints, what stands in where it is absent, and at the end its sort.

use std::ops::Range;

use serde::Serialize;
use serde_json::Value as Json;

use super::diagnostic::Diagnostic;
use super::findings::Findings;
use super::reader::Reader;
use super::shape::{self, Bounds, End, Need, Shape};
use super::source::Located;
use super::tree::{Node, Table, Tree};
use crate::key::{Execution, Horizon, Identity, Sort};

/// What a field's value is read from.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// A value of the right shape.
    Value(&'a Node),
    /// Nothing: a stand-in is wanted, and nothing is wrong with it.
    StandIn,
}

/// Reads a value from what is asked; the text is its path in the stage's table.
pub(super) type Read<'r, T> = Box<dyn FnMut(Ask<'_>, &str, &mut Findings) -> Option<T> + 'r>;

/// What stands in for a field that is not given.
enum Absent<T> {
    Required,
    Default(T),
    Empty,
}

/// A field being read. Constraints, then [`default`](Self::default), [`optional`](Self::optional), [`or_empty`](Self::or_empty) or
/// [`required`](Self::required), then the sort: [`identity`](Self::identity), [`horizon`](Self::horizon),
/// [`execution`](Self::execution), or [`value`](Self::value) where an enclosing table has the sort. `D` is what a default is given as.
#[must_use = "a field is read when its sort is said"]
pub struct Field<'r, 'n, T, D = T> {
    reader: &'r mut Reader<'n>,
    declared: shape::Field,
    absent: Absent<T>,
    read: Read<'r, T>,
    show: Box<dyn Fn(&T) -> Json + 'r>,
    given_as: std::marker::PhantomData<fn(D)>,
}

impl<'r, 'n, T: 'r, D> Field<'r, 'n, T, D> {
    pub(super) fn new(
        reader: &'r mut Reader<'n>,
        (name, doc): (&'static str, &'static str),
        shape: Shape,
        show: impl Fn(&T) -> Json + 'r,
        read: Read<'r, T>,
    ) -> Self {
        let field = shape::Field { name, doc, shape, sort: None, need: Need::Required, when: None };
        let given_as = std::marker::PhantomData;
        Self { reader, declared: field, absent: Absent::Required, read, show: Box::new(show), given_as }
    }

    /// It must be given. So it must without this, too; but one reads it.
    pub fn required(self) -> Self {
        self
    }

    /// What it is where it is not given.
    pub fn default(mut self, default: D) -> Self
    where
        D: Into<T>,
    {
        let default = default.into();
        self.declared.need = Need::Default((self.show)(&default));
        self.absent = Absent::Default(default);
        self
    }

    /// `None` where it is not given.
    pub fn optional(self) -> Field<'r, 'n, Option<T>> {
        let Self { reader, declared: mut field, mut read, show, .. } = self;
        field.need = Need::Optional;
        Field {
            reader,
            declared: field,
            absent: Absent::Default(None),
            read: Box::new(move |ask, path, findings| match ask {
                Ask::StandIn => Some(None),
                Ask::Value(_) => read(ask, path, findings).map(Some),
            }),
            show: Box::new(move |value| value.as_ref().map_or(Json::Null, &show)),
            given_as: std::marker::PhantomData,
        }
    }

    /// A condition of its own on the value; the error fits after "`name`: ".
    pub fn check(mut self, condition: impl Fn(&T) -> Result<(), String> + 'r) -> Self {
        let (name, mut read) = (self.declared.name, self.read);
        self.read = Box::new(move |ask, path, findings| {
            let value = read(ask, path, findings)?;
            if let (Ask::Value(node), Err(why)) = (ask, condition(&value)) {
                let message = format!("`{name}`: {why}");
                findings.problems.push(Diagnostic::new(node.origin, message, format!("found {}", node.found())));
            }
            Some(value)
        });
        self
    }

    /// A condition on text that is in a language of its own; the error fits after "`name`: " and comes with the bytes of the text that it is
    /// about, at which it is shown where the text is written as it is.
    pub fn check_parts(mut self, condition: impl Fn(&T) -> Result<(), (String, Range<usize>)> + 'r) -> Self {
        let (name, mut read) = (self.declared.name, self.read);
        self.read = Box::new(move |ask, path, findings| {
            let value = read(ask, path, findings)?;
            if let (Ask::Value(node), Err((why, part))) = (ask, condition(&value)) {
                let is_plain = node.text().is_some_and(|text| node.origin.end - node.origin.start == text.len() + 2);
                let origin = if is_plain { node.origin.part(1 + part.start, part.len().max(1)) } else { node.origin };
                findings.problems.push(Diagnostic::new(origin, format!("`{name}`: {why}"), "here"));
            }
            Some(value)
        });
        self
    }

    /// Text or a list that may not be empty.
    pub fn not_empty(mut self) -> Self {
        match &mut self.declared.shape {
            Shape::Text { filled } | Shape::List { filled, .. } => *filled = true,
            _ => {}
        }
        self
    }

    /// The value without a sort, because the table around it has one, or because it enters no key by itself.
    ///
    /// # Panics
    /// Never: there is a value, a default or a stand-in.
    pub fn value(self) -> T {
        let (found, default) = self.settle(None);
        found.or(default).expect("invariant: a value, a default or a stand-in")
    }

    /// The value as an identity parameter: it says what is computed.
    ///
    /// # Panics
    /// Never: there is a value, a default or a stand-in.
    pub fn identity(self) -> Identity<T>
    where
        T: Clone,
    {
        match self.settle(Some(Sort::Identity)) {
            (found, Some(default)) => Identity::with_default(found.unwrap_or_else(|| default.clone()), default),
            (found, None) => Identity::required(found.expect("invariant: a value, a default or a stand-in")),
        }
    }

    /// The value as a horizon: it says how far.
    pub fn horizon(mut self) -> Horizon<T> {
        self.declared.sort = Some(Sort::Horizon);
        Horizon(self.value())
    }

    /// The value as an execution parameter: it says where.
    pub fn execution(mut self) -> Execution<T> {
        self.declared.sort = Some(Sort::Execution);
        Execution(self.value())
    }

    /// What was found, or a stand-in for what should have been, and the default where there is one: never neither.
    fn settle(self, sort: Option<Sort>) -> (Option<T>, Option<T>) {
        let Self { reader, declared: mut field, absent, mut read, .. } = self;
        field.sort = field.sort.or(sort);
        let (name, shape) = (field.name, field.shape.clone());
        let path = reader.path_of(name);
        let empty = Node { value: Tree::Table(Table::default()), origin: reader.origin() };
        let is_empty_table = matches!(absent, Absent::Empty);
        let default = match absent {
            Absent::Default(default) => Some(default),
            Absent::Empty => {
                let mut unheard = Findings::default();
                read(Ask::Value(&empty), &path, &mut unheard).filter(|_| unheard.problems.is_empty())
            }
            Absent::Required => None,
        };
        let recording = reader.is_recording();
        reader.record(field);
        let node = reader.take(name);
        let found = match node {
            Some(node) if shape.check(name, node, &mut reader.findings().problems) => {
                read(Ask::Value(node), &path, reader.findings())
            }
            Some(node) => {
                // What is right in a list is read all the same, so that what is wrong with it is told at once.
                shape.right_part_of(node).and_then(|part| read(Ask::Value(&part), &path, reader.findings()))
            }
            None if default.is_some() || recording => None,
            None if is_empty_table => read(Ask::Value(&empty), &path, reader.findings()),
            None => {
                reader.missing(name, &shape);
                None
            }
        };
        let nothing = found.is_none() && default.is_none();
        let stand_in = if nothing { read(Ask::StandIn, &path, &mut Findings::default()) } else { None };
        (found.or(stand_in), default)
    }
}

impl<'r, T: 'r> Field<'r, '_, T> {
    /// A table that is read as an empty one where it is not given, so that each field within has its own default.
    pub fn or_empty(mut self) -> Self {
        self.declared.need = Need::Default(Json::Object(serde_json::Map::new()));
        self.absent = Absent::Empty;
        self
    }
}

impl<'r, T: 'r, D> Field<'r, '_, Vec<T>, D> {
    /// A condition of its own on each value of a list, given those before it; the error fits after "`name`: " and is said at the value.
    pub fn check_each(mut self, condition: impl Fn(&[T], &T) -> Result<(), String> + 'r) -> Self {
        let (name, mut read) = (self.declared.name, self.read);
        self.read = Box::new(move |ask, path, findings| {
            let values = read(ask, path, findings)?;
            let Ask::Value(list) = ask else { return Some(values) };
            for (i, (value, node)) in values.iter().zip(list.list().unwrap_or_default()).enumerate() {
                if let Err(why) = condition(&values[..i], value) {
                    let message = format!("`{name}`: {why}");
                    findings.problems.push(Diagnostic::new(node.origin, message, format!("found {}", node.found())));
                }
            }
            Some(values)
        });
        self
    }
}

/// Types whose fields take bounds: numbers, lists of numbers, and either where it may be left out.
pub trait Numeric {}

impl Numeric for f64 {}
impl Numeric for u64 {}
impl Numeric for i64 {}
impl<T: Numeric> Numeric for Vec<T> {}
impl<T: Numeric> Numeric for Option<T> {}

impl<'r, T: Numeric + 'r, D> Field<'r, '_, T, D> {
    /// Above 0.
    pub fn positive(self) -> Self {
        self.above(0.0)
    }

    /// Not below `low`.
    pub fn at_least(self, low: impl Into<f64>) -> Self {
        let low = End { value: low.into(), included: true };
        self.bound(|bounds| bounds.low = Some(low))
    }

    /// Above `low`, which it may not be.
    pub fn above(self, low: impl Into<f64>) -> Self {
        let low = End { value: low.into(), included: false };
        self.bound(|bounds| bounds.low = Some(low))
    }

    /// Not above `high`.
    pub fn at_most(self, high: impl Into<f64>) -> Self {
        let high = End { value: high.into(), included: true };
        self.bound(|bounds| bounds.high = Some(high))
    }

    /// Below `high`, which it may not be.
    pub fn below(self, high: impl Into<f64>) -> Self {
        let high = End { value: high.into(), included: false };
        self.bound(|bounds| bounds.high = Some(high))
    }

    fn bound(mut self, set: impl Fn(&mut Bounds)) -> Self {
        match &mut self.declared.shape {
            Shape::Whole(bounds) | Shape::Number(bounds) => set(bounds),
            Shape::List { of, .. } => match of.as_mut() {
                Shape::Whole(bounds) | Shape::Number(bounds) => set(bounds),
                _ => {}
            },
            _ => {}
        }
        self
    }
}

/// Values that are read from one node.
pub(super) trait Scalar: Serialize + Sized {
    /// Stands in where a value is missing or wrong; nothing divides by zero because of it.
    fn stand_in() -> Self;
    /// The value of a node that was checked.
    fn of(node: &Node) -> Option<Self>;
}

impl Scalar for bool {
    fn stand_in() -> Self {
        false
    }
    fn of(node: &Node) -> Option<Self> {
        if let Tree::Flag(flag) = node.value { Some(flag) } else { None }
    }
}

impl Scalar for i64 {
    fn stand_in() -> Self {
        1
    }
    fn of(node: &Node) -> Option<Self> {
        if let Tree::Integer(integer) = node.value { integer } else { None }
    }
}

impl Scalar for u64 {
    fn stand_in() -> Self {
        1
    }
    fn of(node: &Node) -> Option<Self> {
        i64::of(node)?.try_into().ok()
    }
}

impl Scalar for f64 {
    fn stand_in() -> Self {
        1.0
    }
    fn of(node: &Node) -> Option<Self> {
        if let Tree::Float(float) = node.value { Some(float) } else { i64::of(node).map(|integer| integer as Self) }
    }
}

impl Scalar for String {
    fn stand_in() -> Self {
        Self::new()
    }
    fn of(node: &Node) -> Option<Self> {
        node.text().map(str::to_owned)
    }
}

impl Scalar for Located {
    fn stand_in() -> Self {
        Self::from("")
    }
    fn of(node: &Node) -> Option<Self> {
        Some(Self { text: node.text()?.to_owned(), origin: Some(node.origin) })
    }
}

impl<T: Scalar> Scalar for Vec<T> {
    fn stand_in() -> Self {
        Self::new()
    }
    fn of(node: &Node) -> Option<Self> {
        node.list()?.iter().map(T::of).collect()
    }
}

impl Scalar for std::collections::BTreeMap<String, String> {
    fn stand_in() -> Self {
        Self::new()
    }
    fn of(node: &Node) -> Option<Self> {
        node.table()?.0.iter().map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned()))).collect()
    }
}
