//! Operands as written, and the special registers among them.

use super::instruction::{LaneMask, Special};
use super::module::ParseError;
use super::parse::Cursor;

/// A name or number, maybe with something added, maybe negated.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The name or number.
    pub text: &'a str,
    /// `!` before it.
    pub not: bool,
    /// `-` before it.
    pub minus: bool,
    /// Added to it.
    pub offset: u64,
}

/// An operand as written.
#[derive(Clone, Debug)]
pub enum Operand<'a> {
    /// A value.
    Value(Value<'a>),
    /// `p|q`.
    Pair(Value<'a>, Value<'a>),
    /// `{a, b}`.
    Vector(Vec<Value<'a>>),
    /// `[a+8]`.
    Address(Value<'a>),
    /// `(a, b)`.
    List(Vec<Value<'a>>),
}

/// Takes an operand.
pub fn written<'a>(cursor: &mut Cursor<'a>) -> Result<Operand<'a>, ParseError> {
    let close = match cursor.peek() {
        "{" => "}",
        "(" => ")",
        "[" => {
            cursor.take();
            let address = value(cursor)?;
            cursor.expect("]")?;
            return Ok(Operand::Address(address));
        }
        _ => {
            let first = value(cursor)?;
            let pair = cursor.accept("|");
            return Ok(if pair { Operand::Pair(first, value(cursor)?) } else { Operand::Value(first) });
        }
    };
    cursor.take();
    let mut values = Vec::new();
    while !cursor.accept(close) {
        values.push(value(cursor)?);
        cursor.accept(",");
    }
    Ok(if close == "}" { Operand::Vector(values) } else { Operand::List(values) })
}

fn value<'a>(cursor: &mut Cursor<'a>) -> Result<Value<'a>, ParseError> {
    let (not, minus) = (cursor.accept("!"), cursor.accept("-"));
    let text = cursor.take();
    if !text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '%')) {
        return cursor.fail(format!("an operand expected, `{text}` found"));
    }
    let offset = match cursor.peek() {
        "+" => {
            cursor.take();
            cursor.integer()?
        }
        "-" => cursor.integer()?,
        _ => 0,
    };
    Ok(Value { text, not, minus, offset })
}

/// The special registers.
pub fn special(name: &str) -> Option<Special> {
    let side = |rest: &str| ["x", "y", "z"].iter().position(|side| *side == rest);
    Some(match name.strip_prefix('%')?.split_once('.').unwrap_or((&name[1..], "")) {
        ("tid", rest) => Special::Thread(side(rest)?),
        ("ntid", rest) => Special::BlockSize(side(rest)?),
        ("ctaid", rest) => Special::Block(side(rest)?),
        ("nctaid", rest) => Special::GridSize(side(rest)?),
        ("laneid", "") => Special::Lane,
        ("warpid", "") => Special::Warp,
        ("nwarpid", "") => Special::Warps,
        ("lanemask_eq", "") => Special::LaneMask(LaneMask::Equal),
        ("lanemask_lt", "") => Special::LaneMask(LaneMask::Less),
        ("lanemask_le", "") => Special::LaneMask(LaneMask::LessEqual),
        ("lanemask_gt", "") => Special::LaneMask(LaneMask::Greater),
        ("lanemask_ge", "") => Special::LaneMask(LaneMask::GreaterEqual),
        ("dynamic_smem_size", "") => Special::DynamicSize,
        _ => return None,
    })
}
