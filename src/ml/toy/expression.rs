//! Expressions as one writes them, `abs(t3 + t4)*t1^2`: numbers, `pi`, variables that are a letter with a number from 1 on, `+ - * / ^`,
//! parentheses, and functions of one argument.

use std::fmt;
use std::ops::Range;

use super::scalar::{Lanes, Scalar};

/// How deep parentheses, signs and exponents may lie in each other.
const DEEPEST: usize = 100;

/// Whole exponents that are taken by multiplying.
const WHOLE: f64 = 1024.0;

/// A function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Sin,
    Cos,
    Tanh,
}

/// The functions and their names.
const FUNCTIONS: [(&str, Function); 7] = [
    ("abs", Function::Abs),
    ("exp", Function::Exp),
    ("log", Function::Log),
    ("sqrt", Function::Sqrt),
    ("sin", Function::Sin),
    ("cos", Function::Cos),
    ("tanh", Function::Tanh),
];

/// One number of an evaluation; operands are the places of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Number(f64),
    Variable(usize),
    Of(Function, usize),
    Sum(usize, usize),
    Difference(usize, usize),
    Product(usize, usize),
    Quotient(usize, usize),
    Whole(usize, i32),
    Constant(usize, f64),
    Power(usize, usize),
}

/// An expression that parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    nodes: Vec<Node>,
}

/// Why an expression does not parse, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unparsed {
    /// What is wrong, in words.
    pub message: String,
    /// The bytes of the text that it is about.
    pub span: Range<usize>,
}

impl Expression {
    /// Parses an expression in the variables `letter`1 to `letter``count`.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn parse(text: &str, letter: char, count: usize) -> Result<Self, Unparsed> {
        let mut parser = Parser { text, at: 0, letter, count, depth: 0, nodes: Vec::new() };
        parser.sum()?;
        parser.space();
        match parser.text[parser.at..].chars().next() {
            None => Ok(Self { nodes: parser.nodes }),
            Some(c) => Err(parser.wrong(parser.at..parser.at + c.len_utf8(), "an operator or the end")),
        }
    }

    /// The expression's value; `variable` gives the variables, counted from 0.
    pub(super) fn eval<S: Scalar>(&self, variable: impl Fn(usize) -> S, room: &mut Vec<S>) -> S {
        room.clear();
        for node in &self.nodes {
            let value = match *node {
                Node::Number(x) => S::constant(x),
                Node::Variable(index) => variable(index),
                Node::Of(function, a) => {
                    let a = room[a];
                    match function {
                        Function::Neg => -a,
                        Function::Abs => a.abs(),
                        Function::Exp => a.exp(),
                        Function::Log => a.ln(),
                        Function::Sqrt => a.sqrt(),
                        Function::Sin => a.sin(),
                        Function::Cos => a.cos(),
                        Function::Tanh => a.tanh(),
                    }
                }
                Node::Sum(a, b) => room[a] + room[b],
                Node::Difference(a, b) => room[a] - room[b],
                Node::Product(a, b) => room[a] * room[b],
                Node::Quotient(a, b) => room[a] * room[b].recip(),
                Node::Whole(a, n) => room[a].power(n),
                Node::Constant(a, p) => room[a].powf(p),
                Node::Power(a, b) => (room[b] * room[a].ln()).exp(),
            };
            room.push(value);
        }
        *room.last().expect("invariant: an expression has a node")
    }
}

/// A parser by recursive descent. Each method appends the nodes of what it read, the last of which is its value.
struct Parser<'t> {
    text: &'t str,
    at: usize,
    letter: char,
    count: usize,
    depth: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes one of these signs, if it is next.
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        self.space();
        let next = self.text[self.at..].chars().next().filter(|c| signs.contains(c))?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn wrong(&self, span: Range<usize>, expected: impl fmt::Display) -> Unparsed {
        let found = &self.text[span.clone()];
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        Unparsed { message: format!("expected {expected}, found {found}"), span }
    }

    fn sum(&mut self) -> Result<usize, Unparsed> {
        let mut sum = self.product()?;
        while let Some(sign) = self.sign(&['+', '-']) {
            let term = self.product()?;
            sum = self.push(if sign == '+' { Node::Sum(sum, term) } else { Node::Difference(sum, term) });
        }
        Ok(sum)
    }

    fn product(&mut self) -> Result<usize, Unparsed> {
        let mut product = self.signed()?;
        while let Some(sign) = self.sign(&['*', '/']) {
            let factor = self.signed()?;
            product =
                self.push(if sign == '*' { Node::Product(product, factor) } else { Node::Quotient(product, factor) });
        }
        Ok(product)
    }

    /// A minus binds less than a power: −x² is −(x²).
    fn signed(&mut self) -> Result<usize, Unparsed> {
        let start = self.at;
        self.depth += 1;
        if self.depth > DEEPEST {
            let message = format!("expected no more than {DEEPEST} parts inside each other");
            return Err(Unparsed { message, span: start..self.text.len().min(start + 1) });
        }
        let value = if self.sign(&['-']).is_some() {
            let a = self.signed()?;
            self.push(Node::Of(Function::Neg, a))
        } else {
            self.power()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn power(&mut self) -> Result<usize, Unparsed> {
        let base = self.atom()?;
        if self.sign(&['^']).is_none() {
            return Ok(base);
        }
        let before = self.nodes.len();
        let exponent = self.signed()?;
        if self.nodes[before..].iter().any(|node| matches!(node, Node::Variable(_))) {
            return Ok(self.push(Node::Power(base, exponent)));
        }
        // What is before the exponent has no part in it.
        let nodes = std::mem::take(&mut self.nodes);
        let so_far = Expression { nodes };
        let constant = so_far.eval(|_| Lanes::constant(f64::NAN), &mut Vec::new()).0[0];
        self.nodes = so_far.nodes;
        self.nodes.truncate(before);
        let is_whole = constant.fract() == 0.0 && constant.abs() <= WHOLE;
        Ok(self.push(if is_whole { Node::Whole(base, constant as i32) } else { Node::Constant(base, constant) }))
    }

    fn atom(&mut self) -> Result<usize, Unparsed> {
        self.space();
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return Err(self.wrong(self.at..self.at, "a number, a variable or a parenthesis"));
        };
        if first.is_ascii_digit() || first == '.' {
            return self.number();
        }
        if first.is_ascii_alphabetic() {
            return self.name();
        }
        if self.sign(&['(']).is_some() {
            return self.closed(self.at - 1);
        }
        Err(self.wrong(self.at..self.at + first.len_utf8(), "a number, a variable or a parenthesis"))
    }

    /// What follows an open parenthesis, which lies at `open`, and the one that closes it.
    fn closed(&mut self, open: usize) -> Result<usize, Unparsed> {
        let inner = self.sum()?;
        if self.sign(&[')']).is_some() {
            return Ok(inner);
        }
        match self.text[self.at..].chars().next() {
            Some(c) => Err(self.wrong(self.at..self.at + c.len_utf8(), "an operator or `)`")),
            None => Err(Unparsed { message: "expected a `)` for this `(`".to_owned(), span: open..open + 1 }),
        }
    }

    fn number(&mut self) -> Result<usize, Unparsed> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| from + rest[from..].iter().take_while(|c| c.is_ascii_digit()).count();
        let mut end = digits(0);
        if rest.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            let sign = end + 1 + usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            // `2e` without digits is 2 and a name, which is then said not to fit.
            end = if digits(sign) > sign { digits(sign) } else { end };
        }
        let span = self.at..self.at + end;
        let value: f64 = self.text[span.clone()].parse().map_err(|_| self.wrong(span.clone(), "a number"))?;
        if !value.is_finite() {
            return Err(self.wrong(span, "a finite number"));
        }
        self.at = span.end;
        Ok(self.push(Node::Number(value)))
    }

    fn name(&mut self) -> Result<usize, Unparsed> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, span) = (&rest[..length], start..start + length);
        self.at = span.end;
        if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            if self.sign(&['(']).is_none() {
                return Err(Unparsed { message: format!("expected `(` behind `{name}`"), span });
            }
            let argument = self.closed(self.at - 1)?;
            return Ok(self.push(Node::Of(*function, argument)));
        }
        if name == "pi" {
            return Ok(self.push(Node::Number(std::f64::consts::PI)));
        }
        let number = name.strip_prefix(self.letter).filter(|number| !number.starts_with('0'));
        let number = number.and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| (1..=self.count).contains(number)) {
            Some(number) => Ok(self.push(Node::Variable(number - 1))),
            None => Err(self.unknown(name, span)),
        }
    }

    fn unknown(&self, name: &str, span: Range<usize>) -> Unparsed {
        let functions: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
        let (letter, functions) = (self.letter, functions.join("`, `"));
        let variables = match self.count {
            0 => "no variable".to_owned(),
            1 => format!("the variable `{letter}1`"),
            count => format!("the variables `{letter}1` to `{letter}{count}`"),
        };
        Unparsed {
            message: format!("`{name}` is neither of {variables}, nor `pi`, nor one of the functions `{functions}`"),
            span,
        }
    }
}
