//! What a launch may do wrong, and where it did it.
//!
//! A kernel that faults here would, on a card, write somewhere else, hang, or give another answer on another day.

use std::fmt;

/// A launch that was refused or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kernel's name.
    pub kernel: String,
    /// The thread that was at it; absent when the launch never started.
    pub place: Option<Place>,
    /// What happened.
    pub kind: FaultKind,
}

/// A thread and the line of PTX it was executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `%ctaid`.
    pub block: [u32; 3],
    /// `%tid`.
    pub thread: [u32; 3],
    /// The line in the PTX text, from one.
    pub line: u32,
}

/// Whether an access reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// The kinds of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The module has no such kernel.
    UnknownKernel,
    /// The number of arguments differs from the kernel's parameters.
    ArgumentCount {
        /// Declared parameters.
        expected: usize,
        /// Arguments given.
        given: usize,
    },
    /// An argument's size differs from its parameter's.
    ArgumentSize {
        /// Which, from zero.
        index: usize,
        /// Bytes declared.
        expected: usize,
        /// Bytes given.
        given: usize,
    },
    /// A grid or block with an empty or over-large side.
    Geometry,
    /// More threads in a block than the card or the kernel's `.maxntid` allows.
    TooManyThreads {
        /// Threads asked for.
        threads: u64,
        /// Threads allowed.
        limit: u64,
    },
    /// Static and dynamic shared memory exceed the limit.
    TooMuchShared {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The address belongs to no allocation, or the access runs over its end.
    OutOfBounds {
        /// Read or write.
        access: Access,
        /// `global`, `shared`, `local` or `param`.
        space: &'static str,
        /// The address in that space.
        address: u64,
        /// Width in bytes.
        bytes: usize,
    },
    /// The allocation was freed.
    UseAfterFree {
        /// Read or write.
        access: Access,
        /// The address.
        address: u64,
    },
    /// The address is not a multiple of the access's width.
    Misaligned {
        /// The address.
        address: u64,
        /// Width in bytes.
        bytes: usize,
    },
    /// Nobody ever wrote these bytes.
    Uninitialised {
        /// `global` or `shared`.
        space: &'static str,
        /// The address in that space.
        address: u64,
    },
    /// Two threads touch the same bytes, at least one of them writing, and nothing orders them.
    Race {
        /// `global` or `shared`.
        space: &'static str,
        /// The address in that space.
        address: u64,
        /// What this thread does.
        access: Access,
        /// What the other thread did.
        earlier: Access,
        /// The other thread's number within its block.
        other: u32,
        /// Whether the other thread is of another block.
        other_block: bool,
    },
    /// Threads of a block wait in places that can never meet.
    Divergence {
        /// What this thread waits for.
        waiting: &'static str,
    },
    /// A shuffle reads a lane that does not take part in it.
    InactiveLane {
        /// The lane read.
        lane: u32,
    },
    /// A warp-wide instruction whose member mask lacks the executing lane, or differs among lanes.
    MemberMask {
        /// The mask.
        mask: u32,
    },
    /// The launch executed more instructions than its budget.
    Budget {
        /// Instructions allowed.
        limit: u64,
    },
    /// Functions call one another too deep.
    CallDepth,
    /// `trap`, or a device-side `assert` that failed.
    Trap,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "launch `{}`", self.kernel)?;
        if let Some(Place { block: [x, y, z], thread: [i, j, k], line }) = self.place {
            write!(f, " (block {x},{y},{z}, thread {i},{j},{k}, PTX line {line})")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKernel => write!(f, "the module has no kernel of that name"),
            Self::ArgumentCount { expected, given } => write!(f, "{expected} arguments expected, {given} given"),
            Self::ArgumentSize { index, expected, given } => {
                write!(f, "argument {index} has {given} bytes, its parameter {expected}")
            }
            Self::Geometry => write!(f, "a side of the grid or the block is empty or too large"),
            Self::TooManyThreads { threads, limit } => write!(f, "{threads} threads in a block, at most {limit} fit"),
            Self::TooMuchShared { bytes, limit } => write!(f, "{bytes} bytes of shared memory, at most {limit} fit"),
            Self::OutOfBounds { access, space, address, bytes } => {
                write!(f, "out-of-bounds {access} of {bytes} bytes at {address:#x} in {space} memory")
            }
            Self::UseAfterFree { access, address } => write!(f, "{access} at {address:#x} after it was freed"),
            Self::Misaligned { address, bytes } => write!(f, "misaligned access of {bytes} bytes at {address:#x}"),
            Self::Uninitialised { space, address } => {
                write!(f, "read of {space} memory at {address:#x}, which was never written")
            }
            Self::Race { space, address, access, earlier, other, other_block } => {
                let place = if *other_block { "another block" } else { "its own block" };
                write!(
                    f,
                    "race at {address:#x} in {space} memory: {access} after a {earlier} by thread {other} of {place}"
                )
            }
            Self::Divergence { waiting } => write!(f, "waits forever at a {waiting}: other threads wait elsewhere"),
            Self::InactiveLane { lane } => write!(f, "a shuffle reads lane {lane}, which takes no part in it"),
            Self::MemberMask { mask } => {
                write!(f, "the member mask {mask:#010x} does not fit the lanes that execute it")
            }
            Self::Budget { limit } => write!(f, "more than {limit} instructions executed"),
            Self::CallDepth => write!(f, "functions call one another too deep"),
            Self::Trap => write!(f, "trap or failed assertion"),
        }
    }
}

impl std::error::Error for Fault {}
