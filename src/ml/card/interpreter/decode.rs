//! What each mnemonic means: from a statement's words to operations.
//!
//! Arithmetic is looked up by its full name in `integer` and `float`; this file has the rest. A name nobody knows is an
//! error, so a modifier that would change a result can never be dropped in silence.

use super::body::Body;
use super::conversion::{Conversion, Number, low};
use super::instruction::{Binary, LOCAL_WINDOW, Lanes, Operation, SHARED_WINDOW, Slot, Ternary};
use super::module::ParseError;
use super::operand::{Operand, Value};
use super::rounding::{BF16, F16, F32, Rounding};
use super::{float, integer};

type Outcome = Result<(), ParseError>;

impl Body<'_> {
    /// Decodes one statement.
    pub fn decode(&mut self, mnemonic: &str, operands: &[Operand<'_>]) -> Outcome {
        let head = mnemonic.split('.').next().unwrap_or("");
        match head {
            "mov" => self.mov(mnemonic, operands),
            "cvt" => self.cvt(mnemonic, operands),
            "cvta" => self.cvta(mnemonic, operands),
            "setp" => self.setp(mnemonic, operands),
            "set" => self.set(mnemonic, operands),
            "selp" | "slct" => self.select(mnemonic, operands),
            "ld" | "ldu" | "st" => self.transfer(mnemonic, operands),
            "atom" | "red" => self.atomic(mnemonic, operands),
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" => self.control(mnemonic, operands),
            "bar" | "barrier" | "membar" | "fence" | "shfl" | "vote" | "match" | "redux" => {
                self.synchronise(mnemonic, operands)
            }
            "activemask" => self.active_mask(mnemonic, operands),
            "addc" | "subc" | "madc" => self.carry(mnemonic, operands),
            _ if mnemonic.contains(".cc.") => self.carry(mnemonic, operands),
            _ => self.pure(mnemonic, operands),
        }
    }

    /// The error for a mnemonic nobody knows, or operands it does not take.
    pub fn unknown<T>(&self, mnemonic: &str) -> Result<T, ParseError> {
        self.fail(format!("unknown instruction, modifier, type or operands: `{mnemonic}`"))
    }

    /// All operands as plain values.
    pub fn values<'a, const N: usize>(
        &self,
        name: &str,
        operands: &[Operand<'a>],
    ) -> Result<[Value<'a>; N], ParseError> {
        let values = operands.iter().filter_map(|operand| match operand {
            Operand::Value(value) => Some(*value),
            _ => None,
        });
        let values: Vec<_> = values.collect();
        match <[Value<'a>; N]>::try_from(values) {
            Ok(values) if operands.len() == N => Ok(values),
            _ => self.unknown(name),
        }
    }

    /// The slot of a destination register.
    pub fn target(&mut self, value: Value<'_>) -> Result<Slot, ParseError> {
        Ok(self.register(value)?.0)
    }

    /// The slot of an arithmetic operand, which may be a negated predicate.
    pub fn operand(&mut self, value: Value<'_>) -> Result<Slot, ParseError> {
        if value.not { self.predicate(value) } else { self.source(value, 64) }
    }

    fn pure(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        if let Some((f, count, mode)) = float::directed(name) {
            let mode = self.constant(mode);
            let mut from = [mode; 4];
            if operands.len() != count + 1 {
                return self.unknown(name);
            }
            for (slot, operand) in from.iter_mut().zip(&operands[1..]) {
                let [value] = self.values(name, std::slice::from_ref(operand))?;
                *slot = self.operand(value)?;
            }
            let [d] = self.values(name, &operands[..1])?;
            let d = self.target(d)?;
            self.emit(Operation::Quaternary { f, d, from });
            return Ok(());
        }
        match operands.len() {
            2 if let Some(f) = integer::unary(name).or_else(|| float::unary(name)) => {
                let [d, a] = self.values(name, operands)?;
                let (a, d) = (self.operand(a)?, self.target(d)?);
                self.emit(Operation::Unary { f, d, a });
            }
            3 if let Some(f) = integer::binary(name).or_else(|| float::binary(name)) => {
                let [d, a, b] = self.values(name, operands)?;
                let (a, b, d) = (self.operand(a)?, self.operand(b)?, self.target(d)?);
                self.emit(Operation::Binary { f, d, a, b });
            }
            4 if let Some(f) = integer::ternary(name).or_else(|| float::ternary(name)) => {
                let [d, a, b, c] = self.values(name, operands)?;
                let (a, b, c, d) = (self.operand(a)?, self.operand(b)?, self.operand(c)?, self.target(d)?);
                self.emit(Operation::Ternary { f, d, a, b, c });
            }
            5 if let Some(f) = integer::quaternary(name) => {
                let [d, a, b, c, e] = self.values(name, operands)?;
                let from = [self.operand(a)?, self.operand(b)?, self.operand(c)?, self.operand(e)?];
                let d = self.target(d)?;
                self.emit(Operation::Quaternary { f, d, from });
            }
            _ => return self.unknown(name),
        }
        Ok(())
    }

    fn mov(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let bits = match name {
            "mov.pred" => 1,
            _ => match name.strip_prefix("mov.").and_then(Number::parse) {
                Some(number) => number.bits(),
                None => return self.unknown(name),
            },
        };
        match operands {
            [Operand::Value(d), Operand::Value(a)] => {
                let a = if bits == 1 && a.text.starts_with('%') { self.predicate(*a)? } else { self.source(*a, bits)? };
                let d = self.target(*d)?;
                self.emit(Operation::Copy { d, a });
            }
            [Operand::Value(d), Operand::Vector(parts)] => {
                let bits = self.part(name, bits, parts.len())?;
                let mut slots = [0; 4];
                for (slot, part) in slots.iter_mut().zip(parts) {
                    *slot = self.source(*part, bits)?;
                }
                let d = self.target(*d)?;
                self.emit(Operation::Pack { d, parts: Lanes { slots, count: parts.len() as u8 }, bits });
            }
            [Operand::Vector(parts), Operand::Value(a)] => {
                let a = self.source(*a, bits)?;
                let bits = self.part(name, bits, parts.len())?;
                let mut slots = [0; 4];
                for (slot, part) in slots.iter_mut().zip(parts) {
                    *slot = self.target(*part)?;
                }
                self.emit(Operation::Unpack { parts: Lanes { slots, count: parts.len() as u8 }, a, bits });
            }
            _ => return self.unknown(name),
        }
        Ok(())
    }

    fn part(&self, name: &str, bits: u32, count: usize) -> Result<u32, ParseError> {
        if matches!(count, 2 | 4) { Ok(bits / count as u32) } else { self.unknown(name) }
    }

    fn cvta(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let [d, a] = self.values(name, operands)?;
        let f: Option<fn(u64) -> u64> = match name {
            "cvta.to.global.u64" | "cvta.global.u64" | "cvta.to.const.u64" | "cvta.const.u64" => None,
            "cvta.shared.u64" => Some(|a| a | SHARED_WINDOW),
            "cvta.local.u64" => Some(|a| a | LOCAL_WINDOW),
            "cvta.to.shared.u64" => Some(|a| a & !SHARED_WINDOW),
            "cvta.to.local.u64" => Some(|a| a & !LOCAL_WINDOW),
            _ => return self.unknown(name),
        };
        let (a, d) = (self.source(a, 64)?, self.target(d)?);
        self.emit(match f {
            Some(f) => Operation::Unary { f, d, a },
            None => Operation::Copy { d, a },
        });
        Ok(())
    }

    fn cvt(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        if let Some(ty) = name.strip_prefix("cvt.rn.").and_then(|rest| rest.strip_suffix(".f32"))
            && matches!(ty, "bf16x2" | "f16x2")
        {
            let [d, a, b] = self.values(name, operands)?;
            let (a, b, d) = (self.source(a, 32)?, self.source(b, 32)?, self.target(d)?);
            let f: Binary = if ty == "bf16x2" {
                |a, b| to_half(Number::Float(BF16), a) << 16 | to_half(Number::Float(BF16), b)
            } else {
                |a, b| to_half(Number::Float(F16), a) << 16 | to_half(Number::Float(F16), b)
            };
            self.emit(Operation::Binary { f, d, a, b });
            return Ok(());
        }
        let [d, a] = self.values(name, operands)?;
        let a = self.source(a, 64)?;
        let (d, register) = self.register(d)?;
        if let Some(f) = float::conversion(name) {
            self.emit(Operation::Unary { f, d, a });
            return Ok(());
        }
        let Some(conversion) = conversion(name, register) else { return self.unknown(name) };
        self.emit(Operation::Convert { conversion, d, a });
        Ok(())
    }

    /// The function of `setp.<comparison>.<type>`.
    fn comparison(&self, name: &str, comparison: &str, ty: &str) -> Result<Binary, ParseError> {
        match integer::comparison(comparison, ty).or_else(|| float::comparison(comparison, ty)) {
            Some(f) => Ok(f),
            None => self.unknown(name),
        }
    }

    fn setp(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let mut parts: Vec<&str> = name.split('.').skip(1).collect();
        let boolean = parts.get(1).copied().filter(|part| matches!(*part, "and" | "or" | "xor"));
        if boolean.is_some() {
            parts.remove(1);
        }
        let Some((comparison, ty)) = parts.split_first() else { return self.unknown(name) };
        let f = self.comparison(name, comparison, &ty.join("."))?;
        let (p, q) = match operands.first() {
            Some(Operand::Value(p)) => (*p, None),
            Some(Operand::Pair(p, q)) => (*p, Some(*q)),
            _ => return self.unknown(name),
        };
        let p = self.target(p)?;
        let q = q.map(|q| self.target(q)).transpose()?;
        let (a, b, with) = if boolean.is_some() {
            let [a, b, c] = self.values(name, &operands[1..])?;
            (self.source(a, 64)?, self.source(b, 64)?, Some(self.predicate(c)?))
        } else {
            let [a, b] = self.values(name, &operands[1..])?;
            (self.source(a, 64)?, self.source(b, 64)?, None)
        };
        if q.is_none() && with.is_none() {
            self.emit(Operation::Binary { f, d: p, a, b });
            return Ok(());
        }
        if q.is_some() && self.guard.is_some_and(|(guard, _)| Some(guard) == q) {
            return self.fail("a predicate written under itself");
        }
        let (combine, with): (Binary, Slot) = match boolean {
            Some("or") => (|x, c| x | c, with.unwrap_or(p)),
            Some("xor") => (|x, c| x ^ c, with.unwrap_or(p)),
            Some(_) => (|x, c| x & c, with.unwrap_or(p)),
            None => (|x, c| x & c, self.constant(1)),
        };
        let (held, opposite) = (self.slot(0), self.slot(0));
        self.emit(Operation::Binary { f, d: held, a, b });
        if let Some(q) = q {
            // The third operand may be `p` or `q` itself, so `p` is combined before either is written.
            let combined = self.slot(0);
            self.emit(Operation::Unary { f: |x| x ^ 1, d: opposite, a: held });
            self.emit(Operation::Binary { f: combine, d: combined, a: held, b: with });
            self.emit(Operation::Binary { f: combine, d: q, a: opposite, b: with });
            self.emit(Operation::Copy { d: p, a: combined });
        } else {
            self.emit(Operation::Binary { f: combine, d: p, a: held, b: with });
        }
        Ok(())
    }

    fn set(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let parts: Vec<&str> = name.split('.').collect();
        let (comparison, to, ty) = match parts[..] {
            [_, comparison, to, ty] => (comparison, to, ty.to_owned()),
            [_, comparison, "ftz", to, ty] => (comparison, to, format!("ftz.{ty}")),
            _ => return self.unknown(name),
        };
        let truth = match to {
            "f32" => 0x3f80_0000,
            "u32" | "s32" | "b32" => 0xffff_ffff,
            "bf16" => 0x3f80,
            "f16" => 0x3c00,
            _ => return self.unknown(name),
        };
        let f = self.comparison(name, comparison, &ty)?;
        let [d, a, b] = self.values(name, operands)?;
        let (a, b, d) = (self.source(a, 64)?, self.source(b, 64)?, self.target(d)?);
        let (held, one, zero) = (self.slot(0), self.constant(truth), self.constant(0));
        self.emit(Operation::Binary { f, d: held, a, b });
        self.emit(Operation::Ternary { f: |a, b, p| if p == 0 { b } else { a }, d, a: one, b: zero, c: held });
        Ok(())
    }

    fn select(&mut self, name: &str, operands: &[Operand<'_>]) -> Outcome {
        let [d, a, b, c] = self.values(name, operands)?;
        let parts: Vec<&str> = name.split('.').collect();
        let Some(bits) = parts.get(1).and_then(|ty| Number::parse(ty)).map(Number::bits).filter(|bits| *bits > 8)
        else {
            return self.unknown(name);
        };
        let f: Ternary = match parts[..] {
            ["selp", _] => |a, b, p| if p == 0 { b } else { a },
            ["slct", _, "s32"] => |a, b, c| if c >> 31 & 1 == 1 { b } else { a },
            // Negative zero counts as not negative, a NaN as negative.
            ["slct", _, "f32"] => |a, b, c| if f32::from_bits(c as u32) >= 0.0 { a } else { b },
            _ => return self.unknown(name),
        };
        let c = if parts[0] == "selp" { self.predicate(c)? } else { self.source(c, 32)? };
        let (a, b, d) = (self.source(a, bits)?, self.source(b, bits)?, self.target(d)?);
        self.emit(Operation::Ternary { f, d, a, b, c });
        Ok(())
    }
}

fn to_half(to: Number, a: u64) -> u64 {
    let rounding = Rounding::Nearest;
    let from = Number::Float(F32);
    Conversion { to, from, rounding, integral: false, saturate: false, flush: false, register: 16 }.apply(low(a, 32))
}

/// `cvt.<rounding>.<ftz>.<sat>.<to>.<from>` for a destination register of so many bits.
fn conversion(name: &str, register: u32) -> Option<Conversion> {
    let mut parts = name.strip_prefix("cvt.")?.rsplit('.');
    let (from, to) = (Number::parse(parts.next()?)?, Number::parse(parts.next()?)?);
    let (mut rounding, mut saturate, mut flush) = (None, false, false);
    for part in parts {
        match part {
            "sat" => saturate = true,
            "ftz" => flush = true,
            _ => rounding = Some(part),
        }
    }
    let (rounding, integral) = match rounding {
        None => (None, false),
        Some("rn") => (Some(Rounding::Nearest), false),
        Some("rz") => (Some(Rounding::Zero), false),
        Some("rm") => (Some(Rounding::Down), false),
        Some("rp") => (Some(Rounding::Up), false),
        Some("rni") => (Some(Rounding::Nearest), true),
        Some("rzi") => (Some(Rounding::Zero), true),
        Some("rmi") => (Some(Rounding::Down), true),
        Some("rpi") => (Some(Rounding::Up), true),
        Some(_) => return None,
    };
    // A rounding is asked for exactly where a result may be inexact, and of the kind the result calls for.
    let fits = match (from, to) {
        (Number::Float(a), Number::Float(b)) if a == b => rounding.is_none() || integral,
        (Number::Float(a), Number::Float(b)) if b.fraction >= a.fraction && b.exponent >= a.exponent => {
            rounding.is_none() || !integral
        }
        (_, Number::Float(_)) => rounding.is_some() && !integral,
        (Number::Float(_), _) => rounding.is_some() && integral,
        _ => rounding.is_none() && !flush,
    };
    let rounding = rounding.unwrap_or(Rounding::Nearest);
    fits.then_some(Conversion { to, from, rounding, integral, saturate, flush, register })
}
