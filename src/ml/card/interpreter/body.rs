//! One function: its parameters, its scopes, its frame, and the statements between its braces.
//!
//! What a mnemonic means is `decode`'s; this file knows names and slots.

use super::conversion::{Number, low};
use super::instruction::{Instruction, Operation, Slot, Special};
use super::module::{Function, Parameter, ParseError};
use super::operand::{Value, special, written};
use super::parse::{Cursor, Declaration, Names, declaration, float_literal, integer};
use std::collections::HashMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// A register of so many bits; a predicate has one.
    Register(Slot, u32),
    /// An offset in the frame's local memory.
    Local(u32),
    /// An offset in the kernel's arguments.
    Argument(u32),
    /// A module variable.
    Variable(usize),
    /// A static shared variable.
    Shared(usize),
    /// Dynamic shared memory.
    Dynamic,
}

/// A function under construction.
pub struct Body<'n> {
    /// What is built.
    pub function: Function,
    /// The function's number.
    pub number: usize,
    /// The module's names.
    pub names: &'n mut Names,
    /// The predicate of the statement being decoded.
    pub guard: Option<(Slot, bool)>,
    /// Its line.
    pub line: u32,
    /// Branches by instruction, label and line, to be resolved at the end.
    pub jumps: Vec<(usize, Vec<String>, u32)>,
    /// `.branchtargets` by label.
    pub tables: HashMap<String, Vec<String>>,
    scopes: Vec<HashMap<String, Symbol>>,
    constants: HashMap<u64, Slot>,
    places: Vec<(Special, u64, Slot)>,
    labels: HashMap<String, u32>,
}

impl<'n> Body<'n> {
    /// Takes a kernel or function from its directive on; `None` if it is only declared.
    pub fn parse(cursor: &mut Cursor<'_>, names: &'n mut Names) -> Result<Option<Function>, ParseError> {
        let kernel = cursor.take() == ".entry";
        let mut results = Vec::new();
        if cursor.peek() == "(" {
            results = Self::parameters(cursor)?;
        }
        let name = cursor.take().to_owned();
        let parameters = if cursor.peek() == "(" { Self::parameters(cursor)? } else { Vec::new() };
        let max_threads = Self::promises(cursor)?;
        if cursor.accept(";") {
            return Ok(None);
        }
        let number = names.function(&name);
        let mut body = Self {
            function: Function { name, kernel, max_threads, ..Function::default() },
            number,
            names,
            guard: None,
            line: cursor.line(),
            jumps: Vec::new(),
            tables: HashMap::new(),
            scopes: vec![HashMap::new()],
            constants: HashMap::new(),
            places: Vec::new(),
            labels: HashMap::new(),
        };
        let mut offset = 0u32;
        for declared in parameters {
            let bytes = declared.bytes.unwrap_or(0);
            let place = if kernel {
                offset = offset.next_multiple_of(declared.align);
                let place = Parameter { offset, bytes };
                body.declare(declared.name, Symbol::Argument(offset));
                offset += bytes;
                place
            } else {
                body.local(&declared, bytes)
            };
            body.function.parameters.push(place);
        }
        for declared in results {
            let place = body.local(&declared, declared.bytes.unwrap_or(0));
            body.function.results.push(place);
        }
        cursor.expect("{")?;
        body.statements(cursor)?;
        body.finish().map(Some)
    }

    fn parameters<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Declaration<'a>>, ParseError> {
        let mut parameters = Vec::new();
        cursor.expect("(")?;
        while !cursor.accept(")") {
            cursor.expect(".param")?;
            parameters.push(declaration(cursor)?);
            cursor.accept(",");
        }
        Ok(parameters)
    }

    /// The directives between a kernel's parameters and its body.
    fn promises(cursor: &mut Cursor<'_>) -> Result<Option<u64>, ParseError> {
        let mut max_threads = None;
        loop {
            match cursor.peek() {
                ".maxntid" | ".reqntid" => {
                    cursor.take();
                    let mut product = cursor.integer()?;
                    while cursor.accept(",") {
                        product *= cursor.integer()?;
                    }
                    max_threads = Some(product);
                }
                ".minnctapersm" | ".maxnreg" => {
                    cursor.take();
                    cursor.integer()?;
                }
                ".noreturn" => {
                    cursor.take();
                }
                _ => return Ok(max_threads),
            }
        }
    }

    fn declare(&mut self, name: &str, symbol: Symbol) {
        self.scopes.last_mut().expect("a function has a scope").insert(name.to_owned(), symbol);
    }

    /// Declares a name for the whole function.
    pub fn declare_outermost(&mut self, name: &str, symbol: Symbol) {
        self.scopes[0].insert(name.to_owned(), symbol);
    }

    /// Places a variable in local memory.
    fn local(&mut self, declared: &Declaration<'_>, bytes: u32) -> Parameter {
        let offset = self.function.local_bytes.next_multiple_of(declared.align);
        self.function.local_bytes = offset + bytes;
        self.declare(declared.name, Symbol::Local(offset));
        Parameter { offset, bytes }
    }

    fn statements(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let mut depth = 1;
        while depth > 0 {
            self.line = cursor.line();
            match cursor.peek() {
                "" => return cursor.fail("a function that never ends"),
                "{" => {
                    cursor.take();
                    self.scopes.push(HashMap::new());
                    depth += 1;
                }
                "}" => {
                    cursor.take();
                    depth -= 1;
                    if depth > 0 {
                        self.scopes.pop();
                    }
                }
                ";" => {
                    cursor.take();
                }
                ".reg" => self.registers(cursor)?,
                ".local" | ".param" | ".shared" => self.variable(cursor)?,
                ".pragma" => {
                    cursor.take();
                    cursor.take();
                    cursor.expect(";")?;
                }
                label if cursor.peek_second() == ":" => {
                    cursor.take();
                    cursor.take();
                    self.label(label, cursor)?;
                }
                _ => self.statement(cursor)?,
            }
        }
        Ok(())
    }

    fn registers(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        cursor.take();
        let ty = cursor.take();
        let bits = match ty.strip_prefix('.') {
            Some("pred") => 1,
            Some(name) if let Some(number) = Number::parse(name) => number.bits(),
            _ => return cursor.fail(format!("unknown register type `{ty}`")),
        };
        loop {
            let name = cursor.take();
            if cursor.accept("<") {
                for i in 0..cursor.integer()? {
                    let slot = self.slot(0);
                    self.declare(&format!("{name}{i}"), Symbol::Register(slot, bits));
                }
                cursor.expect(">")?;
            } else {
                let slot = self.slot(0);
                self.declare(name, Symbol::Register(slot, bits));
            }
            if !cursor.accept(",") {
                return cursor.expect(";");
            }
        }
    }

    fn variable(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let space = cursor.take();
        let declared = declaration(cursor)?;
        let Some(bytes) = declared.bytes else { return cursor.fail("an array without a size") };
        if space == ".shared" {
            let symbol = self.names.add_shared(&declared, bytes, Some(self.number));
            self.declare(declared.name, symbol);
        } else {
            self.local(&declared, bytes);
        }
        cursor.expect(";")
    }

    fn label(&mut self, label: &str, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        if cursor.accept(".branchtargets") {
            let mut targets = vec![cursor.take().to_owned()];
            while cursor.accept(",") {
                targets.push(cursor.take().to_owned());
            }
            self.tables.insert(label.to_owned(), targets);
            return cursor.expect(";");
        }
        match self.labels.insert(label.to_owned(), self.function.code.len() as u32) {
            None => Ok(()),
            Some(_) => cursor.fail(format!("label `{label}` stands twice")),
        }
    }

    fn statement(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        self.guard = None;
        if cursor.accept("@") {
            let truth = !cursor.accept("!");
            let predicate = Value { text: cursor.take(), not: false, minus: false, offset: 0 };
            self.guard = Some((self.register(predicate)?.0, truth));
        }
        let mnemonic = cursor.take();
        let mut operands = Vec::new();
        while !cursor.accept(";") {
            operands.push(written(cursor)?);
            if !cursor.accept(",") {
                cursor.expect(";")?;
                break;
            }
        }
        self.decode(mnemonic, &operands)
    }

    fn finish(mut self) -> Result<Function, ParseError> {
        self.guard = None;
        self.emit(Operation::Return);
        for (at, labels, line) in self.jumps {
            let targets = labels.iter().map(|label| {
                let unknown = || ParseError::new(line, format!("unknown label `{label}`"));
                self.labels.get(label).copied().ok_or_else(unknown)
            });
            let found: Vec<u32> = targets.collect::<Result<_, _>>()?;
            match &mut self.function.code[at].operation {
                Operation::Branch { target } => *target = found[0],
                Operation::BranchTable { targets, .. } => *targets = found.into(),
                _ => unreachable!("only branches wait for labels"),
            }
        }
        Ok(self.function)
    }

    /// Adds an instruction under the statement's predicate.
    pub fn emit(&mut self, operation: Operation) {
        self.function.code.push(Instruction { operation, guard: self.guard, line: self.line });
    }

    /// An error at this statement.
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.line, message))
    }

    /// A new slot that starts as `value`.
    pub fn slot(&mut self, value: u64) -> Slot {
        self.function.template.push(value);
        self.function.template.len() as Slot - 1
    }

    /// The slot of a constant.
    pub fn constant(&mut self, value: u64) -> Slot {
        if let Some(&slot) = self.constants.get(&value) {
            return slot;
        }
        let slot = self.slot(value);
        self.constants.insert(value, slot);
        slot
    }

    /// The slot of something that is known only later.
    pub fn special(&mut self, special: Special, addend: u64) -> Slot {
        if let Some(&(_, _, slot)) = self.places.iter().find(|(known, added, _)| *known == special && *added == addend)
        {
            return slot;
        }
        let slot = self.slot(0);
        self.places.push((special, addend, slot));
        self.function.specials.push((slot, special, addend));
        slot
    }

    /// What a name stands for.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let scoped = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        scoped.or_else(|| self.names.symbols.get(name)).copied()
    }

    /// A register's slot and bits.
    pub fn register(&mut self, value: Value<'_>) -> Result<(Slot, u32), ParseError> {
        if value.text == "_" {
            return Ok((self.slot(0), 64));
        }
        match self.symbol(value.text) {
            Some(Symbol::Register(slot, bits)) if !value.not && !value.minus && value.offset == 0 => Ok((slot, bits)),
            _ => self.fail(format!("a register expected, `{}` found", value.text)),
        }
    }

    /// The slot of a source operand of `bits` bits.
    pub fn source(&mut self, value: Value<'_>, bits: u32) -> Result<Slot, ParseError> {
        let symbol = self.symbol(value.text);
        if value.not
            || (value.minus && symbol.is_some())
            || (value.offset != 0 && matches!(symbol, None | Some(Symbol::Register(..))))
        {
            return self.fail(format!("no operand of this instruction: `{}` with a sign or an offset", value.text));
        }
        Ok(match symbol {
            Some(Symbol::Register(slot, _)) => slot,
            Some(Symbol::Local(offset)) => self.special(Special::Local(offset), value.offset),
            Some(Symbol::Argument(offset)) => self.constant(u64::from(offset).wrapping_add(value.offset)),
            Some(Symbol::Variable(number)) => self.special(Special::Variable(number), value.offset),
            Some(Symbol::Shared(number)) => self.special(Special::Shared(number), value.offset),
            Some(Symbol::Dynamic) => self.special(Special::Dynamic, value.offset),
            None if value.text.starts_with('%') => match special(value.text) {
                Some(special) => self.special(special, 0),
                None => return self.fail(format!("unknown register `{}`", value.text)),
            },
            None => match float_literal(value.text).or_else(|| integer(value.text)) {
                Some(number) => self.constant(low(if value.minus { number.wrapping_neg() } else { number }, bits)),
                None => return self.fail(format!("unknown operand `{}`", value.text)),
            },
        })
    }

    /// The slot of a predicate, which may be negated or, in a pure constant, absent.
    pub fn predicate(&mut self, value: Value<'_>) -> Result<Slot, ParseError> {
        let (a, bits) = self.register(Value { not: false, ..value })?;
        if bits != 1 {
            return self.fail(format!("a predicate expected, `{}` found", value.text));
        }
        if !value.not {
            return Ok(a);
        }
        let d = self.slot(0);
        self.emit(Operation::Unary { f: |a| a ^ 1, d, a });
        Ok(d)
    }
}
