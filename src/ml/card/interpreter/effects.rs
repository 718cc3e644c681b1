//! The mnemonics that do more than compute: memory, control flow, and meeting other threads.

use super::body::{Body, Symbol};
use super::conversion::{Number, low};
use super::instruction::{
    Call, Exchange, ExchangeKind, LaneMask, Lanes, Operation, Reduction, Slot, Space, Special, Transfer, Update, Vote,
};
use super::module::ParseError;
use super::operand::{Operand, Value};
use super::{float, integer};

type Outcome = Result<(), ParseError>;

/// Modifiers of memory accesses that say how to cache or order, which a sequential machine does anyway.
const HINTS: [&str; 16] = [
    "volatile", "relaxed", "acquire", "release", "acq_rel", "weak", "cta", "gpu", "sys", "nc", "ca", "cg", "cs", "cv",
    "lu", "wb",
];

impl Body<'_> {
    pub(super) fn transfer(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let parts: Vec<&str> = name.split('.').skip(1).filter(|part| !HINTS.contains(part)).collect();
        let Some((ty, parts)) = parts.split_last() else { return self.unknown(name) };
        let (count, parts) = match parts.split_last() {
            Some((&"v2", rest)) => (2, rest),
            Some((&"v4", rest)) => (4, rest),
            _ => (1, parts),
        };
        let Some(number) = Number::parse(ty) else { return self.unknown(name) };
        let store = name.starts_with("st.");
        let (value, address) = match operands {
            [Operand::Address(address), value] if store => (value, *address),
            [value, Operand::Address(address)] if !store => (value, *address),
            _ => return self.unknown(name),
        };
        let space = match parts {
            [] => Space::Generic,
            ["global"] => Space::Global,
            ["const"] if !store => Space::Global,
            ["shared"] => Space::Shared,
            ["local"] => Space::Local,
            ["param"] => self.parameter_space(address, store)?,
            _ => return self.unknown(name),
        };
        let values = match value {
            Operand::Value(value) if count == 1 => std::slice::from_ref(value),
            Operand::Vector(values) if values.len() == count => values,
            _ => return self.unknown(name),
        };
        let (mut slots, mut sign_fill) = ([0; 4], 0);
        for (slot, value) in slots.iter_mut().zip(values) {
            *slot = if store {
                self.source(*value, number.bits())?
            } else {
                let (slot, bits) = self.register(*value)?;
                if matches!(number, Number::Signed(_)) {
                    sign_fill = bits.max(number.bits()) as u8;
                }
                slot
            };
        }
        let lanes = Lanes { slots, count: count as u8 };
        let transfer = self.place(address, lanes, space, number.bits() / 8, sign_fill)?;
        self.emit(if store { Operation::Store(transfer) } else { Operation::Load(transfer) });
        Ok(())
    }

    /// A kernel's own parameters are its arguments; all others lie in local memory.
    fn parameter_space(&self, address: Value<'_>, store: bool) -> Result<Space, ParseError> {
        match self.symbol(address.text) {
            Some(Symbol::Local(_)) => Ok(Space::Local),
            Some(Symbol::Argument(_)) if !store => Ok(Space::Argument),
            Some(Symbol::Register(..)) if !store && self.function.kernel => Ok(Space::Argument),
            Some(Symbol::Register(..)) if !self.function.kernel => Ok(Space::Local),
            _ => self.fail(format!("no parameter: `{}`", address.text)),
        }
    }

    fn place(
        &mut self,
        address: Value<'_>,
        lanes: Lanes,
        space: Space,
        width: u32,
        sign_fill: u8,
    ) -> Result<Transfer, ParseError> {
        let register = matches!(self.symbol(address.text), Some(Symbol::Register(..)));
        let offset = if register { address.offset } else { 0 };
        let base = self.source(if register { Value { offset: 0, ..address } } else { address }, 64)?;
        match i32::try_from(offset as i64) {
            Ok(offset) => Ok(Transfer { lanes, base, offset, space, width: width as u8, sign_fill }),
            Err(_) => self.fail("an offset beyond 32 bits"),
        }
    }

    pub(super) fn atomic(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let reduction = name.starts_with("red.");
        let parts: Vec<&str> = name.split('.').skip(1).filter(|part| !HINTS.contains(part)).collect();
        let (space, operation, ty) = match parts[..] {
            ["global", operation, ty] => (Space::Global, operation, ty),
            ["shared", operation, ty] => (Space::Shared, operation, ty),
            [operation, ty] => (Space::Generic, operation, ty),
            _ => return self.unknown(name),
        };
        let (Some(update), Some(number)) = (update(operation, ty), Number::parse(ty)) else {
            return self.unknown(name);
        };
        let (d, rest) = match operands {
            rest if reduction => (self.slot(0), rest),
            [Operand::Value(d), rest @ ..] => (self.target(*d)?, rest),
            _ => return self.unknown(name),
        };
        let [Operand::Address(address), values @ ..] = rest else { return self.unknown(name) };
        let (b, c) = if operation == "cas" {
            let [b, c] = self.values(name, values)?;
            (self.source(b, number.bits())?, self.source(c, number.bits())?)
        } else {
            let [b] = self.values(name, values)?;
            (self.source(b, number.bits())?, 0)
        };
        let at = self.place(*address, Lanes { slots: [d; 4], count: 1 }, space, number.bits() / 8, 0)?;
        self.emit(Operation::Atomic { update, at, b, c });
        Ok(())
    }

    pub(super) fn control(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let at = self.function.code.len();
        match (name, operands) {
            ("bra" | "bra.uni", [Operand::Value(label)]) => {
                self.jumps.push((at, vec![label.text.to_owned()], self.line));
                self.emit(Operation::Branch { target: 0 });
            }
            ("brx.idx" | "brx.idx.uni", [Operand::Value(index), Operand::Value(table)]) => {
                let Some(targets) = self.tables.get(table.text).cloned() else {
                    return self.fail(format!("unknown table of labels `{}`", table.text));
                };
                let a = self.target(*index)?;
                self.jumps.push((at, targets, self.line));
                self.emit(Operation::BranchTable { a, targets: Box::default() });
            }
            ("ret" | "ret.uni", []) => self.emit(Operation::Return),
            ("exit", []) => self.emit(Operation::Exit),
            ("trap", []) => self.emit(Operation::Trap),
            ("call" | "call.uni", operands) => return self.call(operands),
            _ => return self.unknown(name),
        }
        Ok(())
    }

    fn call(&mut self, operands: &[Operand<'_>]) -> Outcome {
        let none = Vec::new();
        let (results, name, arguments) = match operands {
            [Operand::Value(name)] => (&none, name, &none),
            [Operand::Value(name), Operand::List(arguments)] => (&none, name, arguments),
            [Operand::List(results), Operand::Value(name)] => (results, name, &none),
            [Operand::List(results), Operand::Value(name), Operand::List(arguments)] => (results, name, arguments),
            _ => return self.fail("a call through a pointer, or with operands unknown here"),
        };
        if name.text == "__assertfail" {
            self.emit(Operation::Trap);
            return Ok(());
        }
        if name.text.starts_with('%') {
            return self.fail("a call through a pointer");
        }
        let (results, arguments) = (self.places(results)?, self.places(arguments)?);
        let function = self.names.function(name.text);
        self.emit(Operation::Call(Box::new(Call { function, arguments, results })));
        Ok(())
    }

    fn places(&self, values: &[Value<'_>]) -> Result<Vec<u32>, ParseError> {
        let place = |value: &Value<'_>| match self.symbol(value.text) {
            Some(Symbol::Local(offset)) => Ok(offset),
            _ => self.fail(format!("`{}` is no parameter variable", value.text)),
        };
        values.iter().map(place).collect()
    }

    pub(super) fn synchronise(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let name =
            name.replacen("barrier.cta.", "barrier.", 1).replacen("barrier.", "bar.", 1).replacen(".aligned", "", 1);
        let parts: Vec<&str> = name.split('.').collect();
        match parts[..] {
            ["membar", "cta" | "gl" | "sys"]
            | ["fence", "cta" | "gpu" | "sys"]
            | ["fence", "sc" | "acq_rel" | "acquire" | "release", "cta" | "gpu" | "sys"] => self.fence(&name, operands),
            ["bar", "warp", "sync"] => {
                let [mask] = self.values(&name, operands)?;
                self.exchange(ExchangeKind::Sync, None, None, [None; 3], mask)
            }
            ["bar"] | ["bar", "sync"] => {
                let [id] = self.values(&name, operands)?;
                let id = self.source(id, 32)?;
                self.emit(Operation::Barrier { id, reduction: None });
                Ok(())
            }
            ["bar", "red", kind, ty] => {
                let kind = match (kind, ty) {
                    ("popc", "u32") => Vote::Count,
                    ("and", "pred") => Vote::All,
                    ("or", "pred") => Vote::Any,
                    _ => return self.unknown(&name),
                };
                let [d, id, a] = self.values(&name, operands)?;
                let (a, id, d) = (self.predicate(a)?, self.source(id, 32)?, self.target(d)?);
                self.emit(Operation::Barrier { id, reduction: Some(Reduction { kind, d, a }) });
                Ok(())
            }
            _ => self.warp_wide(&name, &parts, operands),
        }
    }

    /// Which lanes happen to run together is the hardware's choice, and each alone is one it may make.
    pub(super) fn active_mask(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        if name != "activemask.b32" {
            return self.unknown(name);
        }
        let [d] = self.values(name, operands)?;
        let (a, d) = (self.special(Special::LaneMask(LaneMask::Equal), 0), self.target(d)?);
        self.emit(Operation::Copy { d, a });
        Ok(())
    }

    fn fence(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let [] = self.values(name, operands)?;
        self.emit(Operation::Fence);
        Ok(())
    }

    fn warp_wide(&mut self, name: &str, parts: &[&str], operands: &[Operand<'_>]) -> Outcome {
        let kind = match *parts {
            ["shfl", "sync", "idx", "b32"] => ExchangeKind::ShuffleIndex,
            ["shfl", "sync", "up", "b32"] => ExchangeKind::ShuffleUp,
            ["shfl", "sync", "down", "b32"] => ExchangeKind::ShuffleDown,
            ["shfl", "sync", "bfly", "b32"] => ExchangeKind::ShuffleButterfly,
            ["vote", "sync", "all", "pred"] => ExchangeKind::Vote(Vote::All),
            ["vote", "sync", "any", "pred"] => ExchangeKind::Vote(Vote::Any),
            ["vote", "sync", "uni", "pred"] => ExchangeKind::Vote(Vote::Uniform),
            ["vote", "sync", "ballot", "b32"] => ExchangeKind::Vote(Vote::Ballot),
            ["match", "any", "sync", "b32" | "b64"] => ExchangeKind::MatchAny,
            ["match", "all", "sync", "b32" | "b64"] => ExchangeKind::MatchAll,
            ["redux", "sync", operation, ty @ ("u32" | "s32" | "b32")] => {
                match integer::binary(&format!("{operation}.{ty}")) {
                    Some(f) if matches!(operation, "add" | "min" | "max" | "and" | "or" | "xor") => {
                        ExchangeKind::Reduce(f)
                    }
                    _ => return self.unknown(name),
                }
            }
            _ => return self.unknown(name),
        };
        let Some((target, rest)) = operands.split_first() else { return self.unknown(name) };
        let (d, p) = match target {
            Operand::Value(d) => (*d, None),
            Operand::Pair(d, p) => (*d, Some(*p)),
            _ => return self.unknown(name),
        };
        if parts[0] == "shfl" {
            let [a, b, c, mask] = self.values(name, rest)?;
            return self.exchange(kind, Some(d), p, [Some(a), Some(b), Some(c)], mask);
        }
        let [a, mask] = self.values(name, rest)?;
        self.exchange(kind, Some(d), p, [Some(a), None, None], mask)
    }

    fn exchange(
        &mut self,
        kind: ExchangeKind,
        d: Option<Value<'_>>,
        p: Option<Value<'_>>,
        values: [Option<Value<'_>>; 3],
        mask: Value<'_>,
    ) -> Outcome {
        let mut slots: [Slot; 3] = [0; 3];
        for (slot, value) in slots.iter_mut().zip(values) {
            *slot = match value {
                Some(value) if matches!(kind, ExchangeKind::Vote(_)) => self.predicate(value)?,
                Some(value) => self.source(value, 32)?,
                None => 0,
            };
        }
        let d = d.map_or(Ok(0), |d| self.target(d))?;
        let p = p.map(|p| self.target(p)).transpose()?;
        let mask = self.source(mask, 32)?;
        let [a, b, c] = slots;
        self.emit(Operation::Exchange(Box::new(Exchange { kind, d, p, a, b, c, mask })));
        Ok(())
    }
}

/// What an atomic leaves in memory.
fn update(operation: &str, ty: &str) -> Option<Update> {
    let name = format!("{operation}.{ty}");
    Some(match (operation, Number::parse(ty)?.bits()) {
        ("cas", 32 | 64) => Update::CompareAndSwap,
        ("exch", 32 | 64) => Update::Apply(|_, b| b),
        ("inc", _) if ty == "u32" => Update::Apply(|old, b| if old >= low(b, 32) { 0 } else { old + 1 }),
        ("dec", _) if ty == "u32" => Update::Apply(|old, b| if old == 0 || old > low(b, 32) { b } else { old - 1 }),
        ("add", 32 | 64) => Update::Apply(integer::binary(&name).or_else(|| float::binary(&name))?),
        ("min" | "max" | "and" | "or" | "xor", 32 | 64) => Update::Apply(integer::binary(&name)?),
        _ => return None,
    })
}
