//! The machine: its limits, the order in which it runs what a card runs at once, and a launch from arguments to counts.

use super::block::Block;
use super::fault::{Fault, FaultKind, Place};
use super::instruction::{Slot, Special};
use super::memory::{Memory, Region};
use super::module::{Argument, Function, Geometry, Module};

/// In which order blocks, warps and lanes run. A kernel whose result depends on it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// By number.
    #[default]
    Forward,
    /// By number, the last first.
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask of the interpreter"))]
    Backward,
    /// By a permutation that the seed picks.
    Shuffled(u64),
}

impl Order {
    /// The numbers below `count` in this order; `salt` makes permutations of one seed differ.
    pub(super) fn of(self, count: u64, salt: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..count).collect();
        match self {
            Self::Forward => {}
            Self::Backward => numbers.reverse(),
            Self::Shuffled(seed) => {
                let mut state = seed ^ salt.wrapping_mul(0xd134_2543_de82_ef95);
                for end in (1..numbers.len()).rev() {
                    // SplitMix64 (Steele, Lea and Flood, 2014); its bias over so few numbers does not matter here.
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    numbers.swap(end, ((mixed ^ (mixed >> 31)) % (end as u64 + 1)) as usize);
                }
            }
        }
        numbers
    }
}

/// Limits and options of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The order of blocks, warps and lanes.
    pub order: Order,
    /// Instructions after which a launch counts as endless.
    pub budget: u64,
    /// Bytes of shared memory a block may have, static and dynamic.
    pub shared_limit: u32,
    /// Whether races are looked for.
    pub races: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { order: Order::Forward, budget: 10_000_000_000, shared_limit: 48 << 10, races: true }
    }
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions executed, summed over threads; those under a false predicate count.
    pub instructions: u64,
    /// Bytes loaded from global memory.
    pub loaded_bytes: u64,
    /// Bytes stored to global memory.
    pub stored_bytes: u64,
    /// Atomic operations.
    pub atomics: u64,
    /// Barriers that blocks passed.
    pub barriers: u64,
}

/// A function as one launch sees it: the addresses filled in, what differs among threads still open.
pub struct Linked {
    /// The frame's start.
    pub template: Vec<u64>,
    /// The slots that each thread fills for itself.
    pub specials: Vec<(Slot, Special, u64)>,
}

/// A launch under way.
pub struct Launch<'a> {
    pub module: &'a Module,
    pub machine: Machine,
    pub geometry: Geometry,
    pub kernel: usize,
    pub functions: Vec<Linked>,
    pub arguments: Vec<u8>,
    pub memory: &'a mut Memory,
    pub shared: Region,
    pub counts: Counts,
    /// When it began.
    pub begin: u64,
}

impl Machine {
    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The launch's first fault; what it wrote before stays in `memory`.
    pub fn launch(
        self,
        module: &Module,
        kernel: &str,
        geometry: &Geometry,
        arguments: &[Argument],
        memory: &mut Memory,
    ) -> Result<Counts, Fault> {
        let refuse = |kind| Fault { kernel: kernel.to_owned(), place: None, kind };
        let found = module.functions.iter().position(|function| function.kernel && function.name == kernel);
        let number = found.ok_or_else(|| refuse(FaultKind::UnknownKernel))?;
        let function = &module.functions[number];
        let arguments = laid_out(function, arguments).map_err(refuse)?;
        check_threads(function, geometry).map_err(refuse)?;
        let statics = module
            .shared
            .iter()
            .filter(|variable| variable.owner.is_none_or(|owner| owner == number || !module.functions[owner].kernel));
        let dynamic = statics.map(|variable| variable.offset + variable.bytes).max().unwrap_or(0).next_multiple_of(16);
        let shared = u64::from(dynamic) + u64::from(geometry.shared_bytes);
        if shared > u64::from(self.shared_limit) {
            return Err(refuse(FaultKind::TooMuchShared { bytes: shared, limit: u64::from(self.shared_limit) }));
        }
        let variables = memory.addresses(&module.variables);
        let link = |function: &Function| {
            let mut template = function.template.clone();
            let mut specials = Vec::new();
            for &(slot, special, addend) in &function.specials {
                let value = match special {
                    Special::Variable(number) => variables[number],
                    Special::Shared(number) => u64::from(module.shared[number].offset),
                    Special::Dynamic => u64::from(dynamic),
                    Special::DynamicSize => u64::from(geometry.shared_bytes),
                    Special::BlockSize(side) => u64::from(geometry.block[side]),
                    Special::GridSize(side) => u64::from(geometry.grid[side]),
                    _ => {
                        specials.push((slot, special, addend));
                        continue;
                    }
                };
                template[slot as usize] = value.wrapping_add(addend);
            }
            Linked { template, specials }
        };
        let functions = module.functions.iter().map(link).collect();
        memory.time += 1;
        let begin = memory.time;
        Launch {
            module,
            machine: self,
            geometry: *geometry,
            kernel: number,
            functions,
            arguments,
            memory,
            shared: Region::new(shared as usize),
            counts: Counts::default(),
            begin,
        }
        .run()
        .map_err(|(place, kind)| Fault { place: Some(place), ..refuse(kind) })
    }
}

impl Launch<'_> {
    fn run(mut self) -> Result<Counts, (Place, FaultKind)> {
        let [x, y, z] = self.geometry.grid.map(u64::from);
        let mut block = Block::new(self.geometry.block);
        for number in self.machine.order.of(x * y * z, 0) {
            let place = [number % x, number / x % y, number / (x * y)].map(|side| side as u32);
            block.run(&mut self, place, number)?;
        }
        Ok(self.counts)
    }
}

/// The bytes of a kernel's parameters.
fn laid_out(function: &Function, arguments: &[Argument]) -> Result<Vec<u8>, FaultKind> {
    let (expected, given) = (function.parameters.len(), arguments.len());
    if expected != given {
        return Err(FaultKind::ArgumentCount { expected, given });
    }
    let mut laid = Vec::new();
    for (index, (parameter, argument)) in function.parameters.iter().zip(arguments).enumerate() {
        let bytes = argument.bytes();
        if bytes.len() != parameter.bytes as usize {
            return Err(FaultKind::ArgumentSize { index, expected: parameter.bytes as usize, given: bytes.len() });
        }
        laid.resize(parameter.offset as usize, 0);
        laid.extend(bytes);
    }
    Ok(laid)
}

/// The limits of compute capability 5 and later.
fn check_threads(function: &Function, geometry: &Geometry) -> Result<(), FaultKind> {
    let Geometry { grid, block, .. } = geometry;
    let empty = grid.iter().chain(block).any(|&side| side == 0);
    if empty || grid[0] > i32::MAX as u32 || grid[1].max(grid[2]) > 65535 || block[2] > 64 {
        return Err(FaultKind::Geometry);
    }
    let threads = block.iter().map(|&side| u64::from(side)).product();
    let limit = function.max_threads.unwrap_or(1024).min(1024);
    if threads > limit { Err(FaultKind::TooManyThreads { threads, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_every_number_once() {
        for order in [Order::Forward, Order::Backward, Order::Shuffled(7)] {
            let mut numbers = order.of(100, 3);
            numbers.sort_unstable();
            assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        }
        assert_ne!(Order::Shuffled(7).of(100, 3), Order::Shuffled(8).of(100, 3));
        assert_ne!(Order::Shuffled(7).of(100, 3), Order::Shuffled(7).of(100, 4));
    }
}
