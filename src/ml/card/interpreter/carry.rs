//! Arithmetic in several words: `add.cc`, `addc`, `madc.hi.cc` and their like.

use super::body::{Body, Symbol};
use super::conversion::low;
use super::instruction::{Operation, Quaternary, Slot};
use super::module::ParseError;
use super::operand::Operand;

impl Body<'_> {
    /// `add.cc`, `addc`, `madc.hi.cc` and their like, over a carry slot that the function's frame has once.
    pub fn carry(&mut self, name: &str, operands: &[Operand<'_>]) -> Result<(), ParseError> {
        let head = name.split('.').next().unwrap_or("");
        let (writes, plain) = (name.contains(".cc."), name.replacen(".cc.", ".", 1));
        let reads = head.ends_with('c');
        let plain = if reads { plain.replacen("c.", ".", 1) } else { plain };
        let Some((value, carried)) = carrying(&plain) else { return self.unknown(name) };
        let carry = self.carry_slot();
        let zero = self.constant(0);
        let last = if reads { carry } else { zero };
        let mut from = [zero, zero, zero, last];
        if operands.len() != if plain.starts_with("mad") { 4 } else { 3 } {
            return self.unknown(name);
        }
        for (slot, operand) in from.iter_mut().zip(&operands[1..]) {
            let [value] = self.values(name, std::slice::from_ref(operand))?;
            *slot = self.operand(value)?;
        }
        let [d] = self.values(name, &operands[..1])?;
        let d = self.target(d)?;
        let next = self.slot(0);
        if writes {
            self.emit(Operation::Quaternary { f: carried, d: next, from });
        }
        self.emit(Operation::Quaternary { f: value, d, from });
        if writes {
            self.emit(Operation::Copy { d: carry, a: next });
        }
        Ok(())
    }

    /// The slot of the carry flag, made on first use under a name no PTX can have.
    fn carry_slot(&mut self) -> Slot {
        if let Some(Symbol::Register(slot, _)) = self.symbol("carry flag") {
            return slot;
        }
        let slot = self.slot(0);
        self.declare_outermost("carry flag", Symbol::Register(slot, 64));
        slot
    }
}

/// The result and the carry of an instruction that carries: `add`, `sub`, `mad.lo`, `mad.hi` of `(a, b, c, carry)`.
/// Without the `c` operand it is the carry's slot that comes fourth all the same.
fn carrying(name: &str) -> Option<(Quaternary, Quaternary)> {
    Some(match name {
        "add.u32" | "add.s32" => {
            (|a, b, _, k| low(low(a, 32) + low(b, 32) + k, 32), |a, b, _, k| (low(a, 32) + low(b, 32) + k) >> 32)
        }
        "sub.u32" | "sub.s32" => (
            |a, b, _, k| low(a.wrapping_sub(b).wrapping_sub(k), 32),
            |a, b, _, k| u64::from(low(a, 32) < low(b, 32) + k),
        ),
        "add.u64" | "add.s64" => (
            |a, b, _, k| a.wrapping_add(b).wrapping_add(k),
            |a, b, _, k| ((u128::from(a) + u128::from(b) + u128::from(k)) >> 64) as u64,
        ),
        "sub.u64" | "sub.s64" => (
            |a, b, _, k| a.wrapping_sub(b).wrapping_sub(k),
            |a, b, _, k| u64::from(u128::from(a) < u128::from(b) + u128::from(k)),
        ),
        "mad.lo.u32" | "mad.lo.s32" => (
            |a, b, c, k| low(low(a.wrapping_mul(b), 32) + low(c, 32) + k, 32),
            |a, b, c, k| (low(a.wrapping_mul(b), 32) + low(c, 32) + k) >> 32,
        ),
        "mad.hi.u32" => (
            |a, b, c, k| low(((low(a, 32) * low(b, 32)) >> 32) + low(c, 32) + k, 32),
            |a, b, c, k| (((low(a, 32) * low(b, 32)) >> 32) + low(c, 32) + k) >> 32,
        ),
        "mad.lo.u64" | "mad.lo.s64" => (
            |a, b, c, k| a.wrapping_mul(b).wrapping_add(c).wrapping_add(k),
            |a, b, c, k| ((u128::from(a.wrapping_mul(b)) + u128::from(c) + u128::from(k)) >> 64) as u64,
        ),
        "mad.hi.u64" => (
            |a, b, c, k| upper(a, b).wrapping_add(c).wrapping_add(k),
            |a, b, c, k| ((u128::from(upper(a, b)) + u128::from(c) + u128::from(k)) >> 64) as u64,
        ),
        _ => return None,
    })
}

/// The upper word of a product.
fn upper(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_chain_into_wide_arithmetic() {
        let (value, carry) = carrying("add.u32").unwrap();
        assert_eq!((value(0xffff_ffff, 1, 0, 0), carry(0xffff_ffff, 1, 0, 0)), (0, 1));
        let (value, carry) = carrying("sub.u32").unwrap();
        assert_eq!((value(0, 1, 0, 0), carry(0, 1, 0, 0)), (0xffff_ffff, 1));
    }
}
