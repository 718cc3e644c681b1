//! One thread: its frames, and the loop that executes instructions until the thread waits or ends.

use super::fault::FaultKind;
use super::instruction::{Call, LaneMask, Operation, Slot, Special};
use super::machine::Launch;
use super::races::Observer;

/// Calls deeper than this are a fault; device code does not recurse far.
const DEEPEST: usize = 256;

/// Whether a thread can go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It can.
    #[default]
    Ready,
    /// It waits for its block, at a barrier of that number.
    Barrier(u64),
    /// It waits for lanes of its warp.
    Exchange,
    /// It has ended.
    Ended,
}

/// A function that waits for the one it called.
struct Frame {
    function: usize,
    pc: usize,
    base: usize,
    local: usize,
}

/// A thread's registers, local memory and place.
#[derive(Default)]
pub struct Thread {
    /// Whether it can go on.
    pub state: State,
    /// The function it is in.
    pub function: usize,
    /// The next instruction.
    pub pc: usize,
    /// `%tid`.
    pub place: [u32; 3],
    index: u32,
    block: [u32; 3],
    /// The frames of all functions it is in; the innermost starts at `base`.
    slots: Vec<u64>,
    base: usize,
    /// Likewise their local memories; the innermost starts at `local_base`.
    pub local: Vec<u8>,
    local_base: usize,
    callers: Vec<Frame>,
}

impl Thread {
    /// Puts the thread at the kernel's start.
    pub fn start(&mut self, launch: &Launch<'_>, index: u32, place: [u32; 3], block: [u32; 3]) {
        (self.state, self.index, self.place, self.block) = (State::Ready, index, place, block);
        self.slots.clear();
        self.local.clear();
        self.callers.clear();
        self.enter(launch, launch.kernel);
    }

    /// A slot of the innermost frame.
    pub fn get(&self, slot: Slot) -> u64 {
        self.slots[self.base + slot as usize]
    }

    /// Sets a slot of the innermost frame.
    pub fn set(&mut self, slot: Slot, value: u64) {
        self.slots[self.base + slot as usize] = value;
    }

    /// The instruction it executed last.
    pub fn last(&self) -> usize {
        self.pc.saturating_sub(1)
    }

    fn enter(&mut self, launch: &Launch<'_>, function: usize) {
        let linked = &launch.functions[function];
        (self.function, self.pc, self.base, self.local_base) = (function, 0, self.slots.len(), self.local.len());
        self.slots.extend_from_slice(&linked.template);
        let bytes = launch.module.functions[function].local_bytes.next_multiple_of(16) as usize;
        self.local.resize(self.local_base + bytes, 0);
        for &(slot, special, addend) in &linked.specials {
            let value = self.special(special, launch);
            self.set(slot, value.wrapping_add(addend));
        }
    }

    fn special(&self, special: Special, launch: &Launch<'_>) -> u64 {
        let lane = self.index % 32;
        u64::from(match special {
            Special::Thread(side) => self.place[side],
            Special::Block(side) => self.block[side],
            Special::Lane => lane,
            Special::Warp => self.index / 32,
            Special::Warps => launch.geometry.block.iter().product::<u32>().div_ceil(32),
            Special::LaneMask(mask) => {
                let equal = 1u32 << lane;
                match mask {
                    LaneMask::Equal => equal,
                    LaneMask::Less => equal - 1,
                    LaneMask::LessEqual => equal | (equal - 1),
                    LaneMask::Greater => !(equal | (equal - 1)),
                    LaneMask::GreaterEqual => !(equal - 1),
                }
            }
            Special::Local(offset) => self.local_base as u32 + offset,
            _ => unreachable!("a launch links what its threads share"),
        })
    }

    fn call(&mut self, launch: &Launch<'_>, call: &Call) -> Result<(), FaultKind> {
        if self.callers.len() == DEEPEST {
            return Err(FaultKind::CallDepth);
        }
        let caller = Frame { function: self.function, pc: self.pc, base: self.base, local: self.local_base };
        self.enter(launch, call.function);
        for (parameter, &from) in launch.module.functions[call.function].parameters.iter().zip(&call.arguments) {
            let from = caller.local + from as usize;
            self.local.copy_within(from..from + parameter.bytes as usize, self.local_base + parameter.offset as usize);
        }
        self.callers.push(caller);
        Ok(())
    }

    /// Leaves the innermost function; the thread ends with the outermost.
    fn leave(&mut self, launch: &Launch<'_>) {
        let Some(caller) = self.callers.pop() else {
            self.state = State::Ended;
            return;
        };
        if let Operation::Call(call) = &launch.module.functions[caller.function].code[caller.pc - 1].operation {
            for (result, &to) in launch.module.functions[self.function].results.iter().zip(&call.results) {
                let from = self.local_base + result.offset as usize;
                self.local.copy_within(from..from + result.bytes as usize, caller.local + to as usize);
            }
        }
        self.slots.truncate(self.base);
        self.local.truncate(self.local_base);
        (self.function, self.pc, self.base, self.local_base) = (caller.function, caller.pc, caller.base, caller.local);
    }
}

impl Launch<'_> {
    /// Runs a thread until it waits or ends.
    pub fn run_thread(&mut self, thread: &mut Thread, me: &mut Observer) -> Result<(), FaultKind> {
        let left = self.machine.budget - self.counts.instructions;
        let mut executed = 0;
        let outcome = self.execute(thread, me, left, &mut executed);
        self.counts.instructions += executed;
        outcome
    }

    fn execute(
        &mut self,
        thread: &mut Thread,
        me: &mut Observer,
        left: u64,
        executed: &mut u64,
    ) -> Result<(), FaultKind> {
        let module = self.module;
        let mut code = module.functions[thread.function].code.as_slice();
        loop {
            let instruction = &code[thread.pc];
            thread.pc += 1;
            if *executed == left {
                return Err(FaultKind::Budget { limit: self.machine.budget });
            }
            *executed += 1;
            let frame = &mut thread.slots[thread.base..];
            if let Some((slot, truth)) = instruction.guard
                && (frame[slot as usize] != 0) != truth
            {
                continue;
            }
            let at = |slot: Slot| frame[slot as usize];
            let (d, value) = match &instruction.operation {
                Operation::Unary { f, d, a } => (*d, f(at(*a))),
                Operation::Binary { f, d, a, b } => (*d, f(at(*a), at(*b))),
                Operation::Ternary { f, d, a, b, c } => (*d, f(at(*a), at(*b), at(*c))),
                Operation::Quaternary { f, d, from } => {
                    let [a, b, c, e] = from.map(at);
                    (*d, f(a, b, c, e))
                }
                Operation::Copy { d, a } => (*d, at(*a)),
                Operation::Convert { conversion, d, a } => (*d, conversion.apply(at(*a))),
                Operation::Pack { d, parts, bits } => {
                    let slots = parts.slots[..parts.count as usize].iter().rev();
                    let mask = u64::MAX >> (64 - bits);
                    (*d, slots.fold(0, |whole, &part| whole << bits | at(part) & mask))
                }
                Operation::Unpack { parts, a, bits } => {
                    let (mut whole, mask) = (at(*a), u64::MAX >> (64 - bits));
                    for &part in &parts.slots[..parts.count as usize] {
                        frame[part as usize] = whole & mask;
                        whole >>= bits;
                    }
                    continue;
                }
                Operation::Load(transfer) => {
                    self.load(transfer, thread, me)?;
                    continue;
                }
                Operation::Store(transfer) => {
                    self.store(transfer, thread, me)?;
                    continue;
                }
                Operation::Atomic { update, at: place, b, c } => {
                    let operands = (at(*b), at(*c));
                    self.atomic(*update, place, operands, thread)?;
                    me.ticket = true;
                    continue;
                }
                Operation::Branch { target } => {
                    thread.pc = *target as usize;
                    continue;
                }
                Operation::BranchTable { a, targets } => {
                    let index = at(*a) as u32;
                    thread.pc = *targets.get(index as usize).ok_or(FaultKind::Trap)? as usize;
                    continue;
                }
                Operation::Call(call) => {
                    thread.call(self, call)?;
                    code = &module.functions[thread.function].code;
                    continue;
                }
                Operation::Return => {
                    thread.leave(self);
                    if thread.state == State::Ended {
                        return Ok(());
                    }
                    code = &module.functions[thread.function].code;
                    continue;
                }
                Operation::Exit => {
                    thread.state = State::Ended;
                    return Ok(());
                }
                Operation::Trap => return Err(FaultKind::Trap),
                Operation::Fence => continue,
                Operation::Barrier { id, .. } => {
                    thread.state = State::Barrier(at(*id));
                    return Ok(());
                }
                Operation::Exchange(_) => {
                    thread.state = State::Exchange;
                    return Ok(());
                }
            };
            frame[d as usize] = value;
        }
    }
}
