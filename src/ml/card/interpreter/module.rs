//! A parsed module: what a launch finds in it.

use super::instruction::{Instruction, Slot, Special};
use super::parse;
use std::fmt;
use std::sync::Arc;

/// PTX text taken in: kernels, the functions they call, and the module's variables.
#[derive(Clone, Debug)]
pub struct Module {
    pub(super) functions: Vec<Function>,
    pub(super) variables: Arc<[Variable]>,
    pub(super) shared: Vec<SharedVariable>,
}

/// A kernel or a device function.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it is launched rather than called.
    pub kernel: bool,
    /// Its instructions, with a `Return` at the end.
    pub code: Vec<Instruction>,
    /// The frame at its start: zeros for registers, and the constants.
    pub template: Vec<u64>,
    /// The slots whose values are known only later, and what is added to them.
    pub specials: Vec<(Slot, Special, u64)>,
    /// Bytes of local memory: arrays, parameters, and the parameters of calls it makes.
    pub local_bytes: u32,
    /// The parameters: of a kernel in the argument bytes, of a function in its local memory.
    pub parameters: Vec<Parameter>,
    /// What a function returns, in its local memory.
    pub results: Vec<Parameter>,
    /// The block size a kernel promises not to exceed.
    pub max_threads: Option<u64>,
}

/// A parameter's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its offset.
    pub offset: u32,
    /// Its size in bytes.
    pub bytes: u32,
}

/// A `.global` or `.const` variable of the module.
#[derive(Clone, Debug, Default)]
pub struct Variable {
    /// Its initial bytes.
    pub bytes: Vec<u8>,
    /// Pointers among them: where, to which variable, and what is added.
    pub pointers: Vec<(usize, usize, u64)>,
}

/// A static `.shared` variable.
#[derive(Clone, Debug)]
pub struct SharedVariable {
    /// Its size.
    pub bytes: u32,
    /// Its offset in the block's shared memory. Those of kernels overlap one another, as no two kernels share a block.
    pub offset: u32,
    /// The function that declares it, or none.
    pub owner: Option<usize>,
}

/// Text that is no PTX, or PTX that this interpreter does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from one.
    pub line: u32,
    /// What is wrong with it.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// A kernel's argument, checked against the size of its parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// Four bytes.
    U32(u32),
    /// Eight bytes, an address among others.
    U64(u64),
    /// Four bytes.
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask of the interpreter"))]
    F32(f32),
    /// Eight bytes.
    F64(f64),
    /// A structure, laid out as C would.
    Bytes(Vec<u8>),
}

impl Argument {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::U32(value) => value.to_le_bytes().to_vec(),
            Self::U64(value) => value.to_le_bytes().to_vec(),
            Self::F32(value) => value.to_le_bytes().to_vec(),
            Self::F64(value) => value.to_le_bytes().to_vec(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// How many blocks of how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
}

impl Geometry {
    /// A row of blocks, each a row of threads, without dynamic shared memory.
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask of the interpreter"))]
    pub fn linear(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0 }
    }
}

impl Module {
    /// The sizes in bytes of a kernel's parameters.
    #[cfg(test)]
    pub fn parameters(&self, kernel: &str) -> Option<Vec<u32>> {
        let found = self.functions.iter().find(|function| function.kernel && function.name == kernel)?;
        Some(found.parameters.iter().map(|parameter| parameter.bytes).collect())
    }

    /// Parses PTX text.
    ///
    /// # Errors
    /// The first line that is no PTX, or that uses an instruction, modifier, type or directive not known here.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::module(text)
    }

    /// The kernels' names, in the order of the text.
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask of the interpreter"))]
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().filter(|function| function.kernel).map(|function| function.name.as_str())
    }
}
