//! Decoded instructions: what the machine executes, with every name resolved to a slot of the thread's frame.
//!
//! A frame holds registers, predicates, constants and special registers alike as 64-bit slots, so an operand is always
//! a slot and the machine never asks what sort of operand it has. A register narrower than 64 bits is kept
//! zero-extended. Pure arithmetic is a function pointer chosen while parsing: the machine knows no mnemonics.

use super::conversion::Conversion;

/// A place in a frame.
pub type Slot = u32;

/// A function of one operand.
pub type Unary = fn(u64) -> u64;
/// A function of two operands.
pub type Binary = fn(u64, u64) -> u64;
/// A function of three operands.
pub type Ternary = fn(u64, u64, u64) -> u64;
/// A function of four operands.
pub type Quaternary = fn(u64, u64, u64, u64) -> u64;

/// One instruction and the predicate it is under.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// The predicate's slot and the value it must have; without one the instruction always executes.
    pub guard: Option<(Slot, bool)>,
    /// The line in the PTX text.
    pub line: u32,
}

/// What an instruction does. `d` is the destination.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `d = f(a)`.
    Unary { f: Unary, d: Slot, a: Slot },
    /// `d = f(a, b)`.
    Binary { f: Binary, d: Slot, a: Slot, b: Slot },
    /// `d = f(a, b, c)`.
    Ternary { f: Ternary, d: Slot, a: Slot, b: Slot, c: Slot },
    /// `d = f(a, b, c, e)`.
    Quaternary { f: Quaternary, d: Slot, from: [Slot; 4] },
    /// `d = a`.
    Copy { d: Slot, a: Slot },
    /// A `cvt` that is no plain function.
    Convert { conversion: Conversion, d: Slot, a: Slot },
    /// Glues parts of `bits` bits together, the first lowest.
    Pack { d: Slot, parts: Lanes, bits: u32 },
    /// Takes parts of `bits` bits apart, the first lowest.
    Unpack { parts: Lanes, a: Slot, bits: u32 },
    /// Reads memory into one to four slots.
    Load(Transfer),
    /// Writes one to four slots to memory.
    Store(Transfer),
    /// Reads, updates, and returns the old value.
    Atomic { update: Update, at: Transfer, b: Slot, c: Slot },
    /// Goes to another instruction.
    Branch { target: u32 },
    /// Goes to the instruction the index in `a` picks.
    BranchTable { a: Slot, targets: Box<[u32]> },
    /// Calls a function.
    Call(Box<Call>),
    /// Returns from a function, or ends the thread.
    Return,
    /// Ends the thread.
    Exit,
    /// Stops the launch.
    Trap,
    /// Orders memory; the machine is sequentially consistent already.
    Fence,
    /// Waits for the block.
    Barrier { id: Slot, reduction: Option<Reduction> },
    /// Waits for lanes of the warp and exchanges something with them.
    Exchange(Box<Exchange>),
}

/// What an atomic leaves in memory.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    /// A function of the old value and `b`.
    Apply(Binary),
    /// `c` if the old value is `b`, else the old value.
    CompareAndSwap,
}

/// Up to four slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// The slots, of which `count` are meant.
    pub slots: [Slot; 4],
    /// How many.
    pub count: u8,
}

/// Where a load or store reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Anything: the address says.
    Generic,
    /// The card's memory, constants among it.
    Global,
    /// The block's memory.
    Shared,
    /// The thread's own memory, the parameters of functions among it.
    Local,
    /// The kernel's arguments.
    Argument,
}

/// A load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The values.
    pub lanes: Lanes,
    /// Where the address lies.
    pub base: Slot,
    /// Added to it.
    pub offset: i32,
    /// The space.
    pub space: Space,
    /// Bytes of each value.
    pub width: u8,
    /// For a signed load, the bits of the destination register that the sign fills.
    pub sign_fill: u8,
}

/// A call: which function, and where its parameters lie in the caller's local memory.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function's number in the module.
    pub function: usize,
    /// For each parameter its offset in the caller's local memory.
    pub arguments: Vec<u32>,
    /// Likewise for what it returns.
    pub results: Vec<u32>,
}

/// What `bar.red` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// How.
    pub kind: Vote,
    /// The destination.
    pub d: Slot,
    /// The predicate.
    pub a: Slot,
}

/// A reduction over predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// All are true.
    All,
    /// One is true.
    Any,
    /// All are the same.
    Uniform,
    /// Which are true, a bit per lane.
    Ballot,
    /// How many are true.
    Count,
}

/// A warp-wide instruction.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What is exchanged.
    pub kind: ExchangeKind,
    /// The destination.
    pub d: Slot,
    /// A second destination, a predicate.
    pub p: Option<Slot>,
    /// The value offered.
    pub a: Slot,
    /// The lane or distance of a shuffle.
    pub b: Slot,
    /// The clamp of a shuffle.
    pub c: Slot,
    /// Which lanes take part.
    pub mask: Slot,
}

/// The warp-wide instructions.
#[derive(Clone, Copy, Debug)]
pub enum ExchangeKind {
    /// `bar.warp.sync`.
    Sync,
    /// `shfl.sync.idx`.
    ShuffleIndex,
    /// `shfl.sync.up`.
    ShuffleUp,
    /// `shfl.sync.down`.
    ShuffleDown,
    /// `shfl.sync.bfly`.
    ShuffleButterfly,
    /// `vote.sync`.
    Vote(Vote),
    /// `match.any.sync`.
    MatchAny,
    /// `match.all.sync`.
    MatchAll,
    /// `redux.sync`.
    Reduce(Binary),
}

/// A value known only at launch or per thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `%tid`.
    Thread(usize),
    /// `%ntid`.
    BlockSize(usize),
    /// `%ctaid`.
    Block(usize),
    /// `%nctaid`.
    GridSize(usize),
    /// `%laneid`.
    Lane,
    /// `%warpid`.
    Warp,
    /// `%nwarpid`.
    Warps,
    /// `%lanemask_eq`, `_lt`, `_le`, `_gt`, `_ge`.
    LaneMask(LaneMask),
    /// `%dynamic_smem_size`.
    DynamicSize,
    /// The address of a module variable and what is added to it.
    Variable(usize),
    /// The offset of a static shared variable.
    Shared(usize),
    /// The offset of dynamic shared memory.
    Dynamic,
    /// An offset in the frame's local memory.
    Local(u32),
}

/// The lane masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneMask {
    /// This lane.
    Equal,
    /// Lower ones.
    Less,
    /// Lower ones and this.
    LessEqual,
    /// Higher ones.
    Greater,
    /// Higher ones and this.
    GreaterEqual,
}

/// Generic addresses from here up are the thread's local memory.
pub const LOCAL_WINDOW: u64 = 1 << 61;
/// Generic addresses from here up are the block's shared memory.
pub const SHARED_WINDOW: u64 = 1 << 62;
