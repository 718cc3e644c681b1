//! One block: which thread runs next, and when a barrier lets go.
//!
//! A thread runs until it waits or ends. A warp runs until all its threads wait for the block or have ended; then the
//! next warp. When every warp has, the barrier opens. Threads that have ended count as arrived, as on the hardware;
//! waiting threads of one warp must wait at the same instruction, as `bar.sync` demands.

use super::fault::{FaultKind, Place};
use super::instruction::{Operation, Vote};
use super::machine::Launch;
use super::races::Observer;
use super::thread::{State, Thread};

/// The lanes of a warp.
pub const WARP: usize = 32;

/// A block's threads and times.
pub struct Block {
    /// The threads by number; kept from block to block for their allocations.
    pub threads: Vec<Thread>,
    /// The last exchange or barrier of each warp.
    pub warps: Vec<u64>,
    size: [u32; 3],
    place: [u32; 3],
    begin: u64,
    barrier: u64,
    ticket: bool,
}

impl Block {
    /// A block of that shape, not yet running.
    pub fn new(size: [u32; 3]) -> Self {
        let count = size.iter().product::<u32>() as usize;
        let threads = (0..count).map(|_| Thread::default()).collect();
        Self { threads, warps: vec![0; count.div_ceil(WARP)], size, place: [0; 3], begin: 0, barrier: 0, ticket: false }
    }

    /// Runs the block at `place`, the `number`th of the grid.
    pub fn run(&mut self, launch: &mut Launch<'_>, place: [u32; 3], number: u64) -> Result<(), (Place, FaultKind)> {
        (self.place, self.ticket) = (place, false);
        self.pass_time(launch);
        self.begin = self.barrier;
        launch.shared.forget();
        let [x, y, _] = self.size;
        for (index, thread) in self.threads.iter_mut().enumerate() {
            let index = index as u32;
            thread.start(launch, index, [index % x, index / x % y, index / (x * y)], place);
        }
        let warps = launch.machine.order.of(self.warps.len() as u64, 2 * number + 1);
        let lanes = launch.machine.order.of(WARP as u64, 2 * number + 2);
        loop {
            for &warp in &warps {
                self.run_warp(launch, warp as usize, &lanes)?;
            }
            if self.threads.iter().all(|thread| thread.state == State::Ended) {
                return Ok(());
            }
            self.open_barrier(launch)?;
        }
    }

    fn run_warp(&mut self, launch: &mut Launch<'_>, warp: usize, lanes: &[u64]) -> Result<(), (Place, FaultKind)> {
        loop {
            for &lane in lanes {
                let index = warp * WARP + lane as usize;
                if self.threads.get(index).is_none_or(|thread| thread.state != State::Ready) {
                    continue;
                }
                let mut me = Observer {
                    thread: index as u32,
                    now: launch.memory.time,
                    launch: launch.begin,
                    block: self.begin,
                    barrier: self.barrier,
                    warp: self.warps[warp],
                    ticket: self.ticket,
                };
                let outcome = launch.run_thread(&mut self.threads[index], &mut me);
                self.ticket = me.ticket;
                outcome.map_err(|kind| self.blame(launch, index, kind))?;
            }
            if !self.exchange(launch, warp)? {
                return Ok(());
            }
        }
    }

    /// A fault of that thread at the instruction it executed last.
    pub fn blame(&self, launch: &Launch<'_>, index: usize, kind: FaultKind) -> (Place, FaultKind) {
        let thread = &self.threads[index];
        let line = launch.module.functions[thread.function].code[thread.last()].line;
        (Place { block: self.place, thread: thread.place, line }, kind)
    }

    fn pass_time(&mut self, launch: &mut Launch<'_>) {
        launch.memory.time += 1;
        self.barrier = launch.memory.time;
        self.warps.fill(self.barrier);
    }

    fn open_barrier(&mut self, launch: &mut Launch<'_>) -> Result<(), (Place, FaultKind)> {
        let waiting: Vec<usize> = (0..self.threads.len()).filter(|&i| self.threads[i].state != State::Ended).collect();
        let State::Barrier(id) = self.threads[waiting[0]].state else {
            return Err(self.blame(launch, waiting[0], FaultKind::Divergence { waiting: "warp-wide instruction" }));
        };
        let mut previous = waiting[0];
        for &index in &waiting {
            let (thread, before) = (&self.threads[index], &self.threads[previous]);
            let same_place = (thread.function, thread.pc) == (before.function, before.pc);
            match thread.state {
                State::Barrier(other) if other == id && (same_place || index / WARP != previous / WARP) => {}
                State::Barrier(_) => {
                    return Err(self.blame(launch, index, FaultKind::Divergence { waiting: "barrier" }));
                }
                _ => {
                    let waiting = "warp-wide instruction";
                    return Err(self.blame(launch, index, FaultKind::Divergence { waiting }));
                }
            }
            previous = index;
        }
        self.reduce(launch, &waiting);
        for &index in &waiting {
            self.threads[index].state = State::Ready;
        }
        launch.counts.barriers += 1;
        self.pass_time(launch);
        Ok(())
    }

    /// What `bar.red` gives each waiting thread.
    fn reduce(&mut self, launch: &Launch<'_>, waiting: &[usize]) {
        let reduction = |thread: &Thread| match launch.module.functions[thread.function].code[thread.last()].operation {
            Operation::Barrier { reduction, .. } => reduction,
            _ => None,
        };
        let offered = waiting.iter().filter_map(|&i| {
            let thread = &self.threads[i];
            reduction(thread).map(|reduction| thread.get(reduction.a))
        });
        let (mut count, mut total) = (0, 0);
        for value in offered {
            (count, total) = (count + value, total + 1);
        }
        for &index in waiting {
            let Some(reduction) = reduction(&self.threads[index]) else { continue };
            let value = match reduction.kind {
                Vote::Count | Vote::Ballot => count,
                Vote::All => u64::from(count == total),
                Vote::Any => u64::from(count > 0),
                Vote::Uniform => u64::from(count == 0 || count == total),
            };
            self.threads[index].set(reduction.d, value);
        }
    }
}
