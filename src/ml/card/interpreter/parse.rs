//! The module level of PTX: directives, variables, and where functions begin and end.

use super::body::{Body, Symbol};
use super::conversion::Number;
use super::instruction::Operation;
use super::lexer::{Token, tokens};
use super::module::{Function, Module, ParseError, SharedVariable, Variable};
use std::collections::HashMap;

/// A place in the token list.
pub struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next token's text, empty at the end.
    pub fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    /// The text after the next.
    pub fn peek_second(&self) -> &'a str {
        self.tokens.get(self.at + 1).map_or("", |token| token.text)
    }

    /// The line of the next token.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    /// Takes the next token.
    pub fn take(&mut self) -> &'a str {
        let text = self.peek();
        self.at += 1;
        text
    }

    /// Takes the next token if it is `text`.
    pub fn accept(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    /// Takes the next token, which must be `text`.
    pub fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.accept(text) { Ok(()) } else { self.fail(format!("`{text}` expected, `{}` found", self.peek())) }
    }

    /// An error at the next token.
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.line(), message))
    }

    /// Takes an integer, decimal or hexadecimal, maybe negative.
    pub fn integer(&mut self) -> Result<u64, ParseError> {
        let negative = self.accept("-");
        match integer(self.peek()) {
            Some(value) => {
                self.at += 1;
                Ok(if negative { value.wrapping_neg() } else { value })
            }
            None => self.fail(format!("a number expected, `{}` found", self.peek())),
        }
    }
}

/// An integer literal of PTX.
pub fn integer(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('U').unwrap_or(text);
    match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8).ok(),
        None => digits.parse().ok(),
    }
}

/// A declaration: `.align`, type, name, elements.
pub struct Declaration<'a> {
    /// The name.
    pub name: &'a str,
    /// Its alignment in bytes.
    pub align: u32,
    /// Bytes of an element.
    pub width: u32,
    /// Bytes in all; `None` for `[]`.
    pub bytes: Option<u32>,
}

/// What the module has declared so far.
#[derive(Default)]
pub struct Names {
    /// Variables by name.
    pub symbols: HashMap<String, Symbol>,
    /// Functions by name, declared or only called.
    pub functions: HashMap<String, usize>,
    /// Static shared variables with their alignment.
    pub shared: Vec<(SharedVariable, u32)>,
}

impl Names {
    /// The number of the function of that name.
    pub fn function(&mut self, name: &str) -> usize {
        let next = self.functions.len();
        *self.functions.entry(name.to_owned()).or_insert(next)
    }

    /// Declares a static shared variable.
    pub fn add_shared(&mut self, declaration: &Declaration<'_>, bytes: u32, owner: Option<usize>) -> Symbol {
        self.shared.push((SharedVariable { bytes, offset: 0, owner }, declaration.align));
        Symbol::Shared(self.shared.len() - 1)
    }
}

/// Takes `.align 8 .b8 name[24]` after its state space.
pub fn declaration<'a>(cursor: &mut Cursor<'a>) -> Result<Declaration<'a>, ParseError> {
    let mut align = None;
    if cursor.accept(".align") {
        align = Some(cursor.integer()? as u32);
    }
    let ty = cursor.peek();
    let Some(width) = ty.strip_prefix('.').and_then(Number::parse).map(|number| number.bits() / 8) else {
        return cursor.fail(format!("a type expected, `{ty}` found"));
    };
    cursor.take();
    if cursor.accept(".ptr") {
        while !cursor.peek().starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$') {
            cursor.take();
        }
    }
    let name = cursor.take();
    let mut bytes = Some(width);
    while cursor.accept("[") {
        bytes = if cursor.peek() == "]" { None } else { bytes.zip(Some(cursor.integer()? as u32)).map(|(a, b)| a * b) };
        cursor.expect("]")?;
    }
    Ok(Declaration { name, align: align.unwrap_or(width), width, bytes })
}

/// Parses a whole module.
pub fn module(text: &str) -> Result<Module, ParseError> {
    let mut cursor = Cursor { tokens: tokens(text)?, at: 0 };
    let mut names = Names::default();
    let mut variables = Vec::new();
    let mut functions: Vec<Option<(Function, u32)>> = Vec::new();
    while !cursor.peek().is_empty() {
        match cursor.peek() {
            ".version" | ".address_size" => {
                cursor.take();
                cursor.take();
            }
            ".target" => {
                cursor.take();
                cursor.take();
                while cursor.accept(",") {
                    cursor.take();
                }
            }
            ".visible" | ".weak" | ".common" => {
                cursor.take();
            }
            ".extern" if cursor.peek_second() == ".shared" => {
                cursor.take();
                cursor.take();
                let name = declaration(&mut cursor)?.name;
                names.symbols.insert(name.to_owned(), Symbol::Dynamic);
                cursor.expect(";")?;
            }
            ".extern" if cursor.peek_second() == ".func" => {
                cursor.take();
            }
            ".shared" => {
                cursor.take();
                let declared = declaration(&mut cursor)?;
                let Some(bytes) = declared.bytes else { return cursor.fail("a shared array without a size") };
                let symbol = names.add_shared(&declared, bytes, None);
                names.symbols.insert(declared.name.to_owned(), symbol);
                cursor.expect(";")?;
            }
            ".global" | ".const" => {
                cursor.take();
                variables.push(variable(&mut cursor, &mut names, variables.len())?);
            }
            ".entry" | ".func" => {
                let line = cursor.line();
                if let Some(function) = Body::parse(&mut cursor, &mut names)? {
                    let number = names.function(&function.name);
                    functions.resize(functions.len().max(names.functions.len()), None);
                    functions[number] = Some((function, line));
                }
            }
            ".section" => {
                // What `-lineinfo` leaves for debuggers.
                while !matches!(cursor.take(), "}" | "") {}
            }
            other => return cursor.fail(format!("unknown directive `{other}`")),
        }
    }
    functions.resize(names.functions.len(), None);
    let functions = linked(functions, &names)?;
    Ok(Module { shared: placed(names.shared, &functions), functions, variables: variables.into() })
}

/// A `.global` or `.const` variable with its initialiser.
fn variable(cursor: &mut Cursor<'_>, names: &mut Names, number: usize) -> Result<Variable, ParseError> {
    let declared = declaration(cursor)?;
    let mut pointers = Vec::new();
    let mut values = Vec::new();
    if cursor.accept("=") {
        let list = cursor.accept("{");
        loop {
            let text = cursor.peek();
            let generic = text == "generic" && cursor.peek_second() == "(";
            if generic {
                cursor.take();
                cursor.take();
            }
            if let Some(&Symbol::Variable(target)) = names.symbols.get(cursor.peek()) {
                if declared.width != 8 {
                    return cursor.fail("an address in an element that is not eight bytes wide");
                }
                cursor.take();
                if generic {
                    cursor.expect(")")?;
                }
                let addend = if cursor.accept("+") { cursor.integer()? } else { 0 };
                pointers.push((values.len(), target, addend));
                values.extend([0; 8]);
            } else {
                let value = match float_literal(cursor.peek()) {
                    Some(bits) => {
                        cursor.take();
                        bits
                    }
                    None => cursor.integer()?,
                };
                values.extend_from_slice(&value.to_le_bytes()[..declared.width as usize]);
            }
            if !(list && cursor.accept(",")) {
                break;
            }
        }
        if list {
            cursor.expect("}")?;
        }
    }
    cursor.expect(";")?;
    let bytes = declared.bytes.map_or(values.len(), |bytes| bytes as usize);
    if values.len() > bytes {
        return cursor.fail(format!("`{}` has more values than room", declared.name));
    }
    values.resize(bytes, 0);
    names.symbols.insert(declared.name.to_owned(), Symbol::Variable(number));
    Ok(Variable { bytes: values, pointers })
}

/// `0f3F800000` or `0d3FF0000000000000`.
pub fn float_literal(text: &str) -> Option<u64> {
    match text.get(..2)? {
        "0f" | "0F" if text.len() == 10 => u64::from_str_radix(&text[2..], 16).ok(),
        "0d" | "0D" if text.len() == 18 => u64::from_str_radix(&text[2..], 16).ok(),
        _ => None,
    }
}

/// Every call finds its function, with as many parameters as it passes.
fn linked(functions: Vec<Option<(Function, u32)>>, names: &Names) -> Result<Vec<Function>, ParseError> {
    for (function, _) in functions.iter().flatten() {
        for instruction in &function.code {
            let Operation::Call(call) = &instruction.operation else { continue };
            let name =
                names.functions.iter().find(|(_, number)| **number == call.function).map_or("", |(name, _)| name);
            match functions.get(call.function) {
                Some(Some((callee, _)))
                    if callee.parameters.len() == call.arguments.len()
                        && callee.results.len() == call.results.len() => {}
                Some(Some(_)) => {
                    return Err(ParseError::new(instruction.line, format!("`{name}` has other parameters")));
                }
                _ => {
                    return Err(ParseError::new(instruction.line, format!("call of `{name}`, which has no body here")));
                }
            }
        }
    }
    // A function that is declared, never called and never defined leaves a number that nothing refers to.
    Ok(functions.into_iter().map(|function| function.map(|(function, _)| function).unwrap_or_default()).collect())
}

/// Places the shared variables: first those that any kernel may reach, then behind them each kernel's own.
fn placed(shared: Vec<(SharedVariable, u32)>, functions: &[Function]) -> Vec<SharedVariable> {
    let own = |variable: &SharedVariable| variable.owner.filter(|&owner| functions[owner].kernel);
    let mut common = 0u32;
    let mut ends = HashMap::new();
    let mut placed = shared;
    for (variable, align) in placed.iter_mut().filter(|(variable, _)| own(variable).is_none()) {
        variable.offset = common.next_multiple_of(*align);
        common = variable.offset + variable.bytes;
    }
    for (variable, align) in &mut placed {
        if let Some(owner) = own(variable) {
            let end = ends.entry(owner).or_insert(common);
            variable.offset = end.next_multiple_of(*align);
            *end = variable.offset + variable.bytes;
        }
    }
    placed.into_iter().map(|(variable, _)| variable).collect()
}
