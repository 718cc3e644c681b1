//! A card made of host memory: runs the program's own PTX without a GPU, to prove what its kernels compute.
//!
//! Tests hand over the same text that the driver would get, the same launch geometry and the same arguments, and read
//! the results from [`Memory`]. On the way every access is checked for bounds, alignment, freed and never-written
//! memory, and for races; barriers and shuffles for lanes that never come. Results must not depend on the [`Order`] in
//! which blocks, warps and lanes run, and a test can choose it.
//!
//! Arithmetic is IEEE's to the bit. The `.approx` instructions are better here than on a card, so what depends on them
//! agrees to their stated error only.
//!
//! It does not know time (`%clock`), textures, tensor cores, asynchronous copies, clusters, calls through pointers, or
//! barriers of part of a block: all that it refuses while parsing, by line. Nor does it know memory scopes and orders,
//! which it takes and ignores, being sequential; nor whether local memory or a register was ever written (both start as
//! zeros); nor races of atomics with plain accesses. After a block's first atomic it may read what other blocks wrote,
//! with or without a fence.
//!
//! In reading order:
//!
//! | file | holds |
//! | --- | --- |
//! | `module` | what a parsed module is, arguments, geometry |
//! | `lexer`, `parse`, `body`, `operand` | text to words, the module, its functions, what an operand may be |
//! | `decode`, `carry`, `effects` | what a mnemonic means: arithmetic, arithmetic in several words, everything else |
//! | `instruction` | what comes of it |
//! | `integer`, `float`, `conversion`, `rounding` | arithmetic |
//! | `memory`, `races` | allocations, and who touched them when |
//! | `machine`, `block`, `warp`, `thread`, `access` | a launch, from the grid down to one load |
//! | `fault` | what may go wrong |

#![expect(clippy::cast_possible_wrap, reason = "registers have no sign; the instruction says how to read them")]
#![expect(clippy::float_cmp, reason = "comparing floats exactly is what the instructions do")]

mod access;
mod block;
mod body;
mod carry;
mod conversion;
mod decode;
mod effects;
mod fault;
mod float;
mod instruction;
mod integer;
mod lexer;
mod machine;
mod memory;
mod module;
mod operand;
mod parse;
mod races;
mod rounding;
#[cfg(test)]
mod tests;
mod thread;
mod warp;

#[cfg(test)]
pub use fault::{Access, Fault, FaultKind};
#[cfg(test)]
pub use machine::Counts;
pub use machine::{Machine, Order};
pub use memory::Memory;
pub use module::{Argument, Geometry, Module};
