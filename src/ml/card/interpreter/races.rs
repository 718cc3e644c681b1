//! Who touched which bytes when, and whether anything orders two touches.
//!
//! Time is a count of synchronisations: it moves on at every barrier, every warp-wide exchange and every new block. An
//! earlier access is ordered before a later one of another thread when the later thread's block (or, within one warp,
//! its warp) has synchronised since. Nothing orders two blocks of a launch, so any meeting of theirs is a race whatever
//! the order in which this machine happens to run them; the exception is a block that has taken a ticket (executed an
//! atomic), which may read what others wrote. Each cell remembers its last writer and its last reader, and of earlier
//! readers only how far away they were: enough to find that there is a race, not to list all of them.
//!
//! It does not know memory scopes, does not ask for the fence before the ticket, and takes a warp-wide exchange among
//! some lanes as one among all.

use super::fault::Access;

/// The accessing thread and since when it is ordered after others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observer {
    /// The thread's number within its block.
    pub thread: u32,
    /// The present time.
    pub now: u64,
    /// When the launch began.
    pub launch: u64,
    /// When the block began.
    pub block: u64,
    /// The block's last barrier.
    pub barrier: u64,
    /// The warp's last exchange or barrier.
    pub warp: u64,
    /// Whether the block executed an atomic.
    pub ticket: bool,
}

impl Observer {
    /// The same thread before memory that only its block has.
    pub fn alone(&self) -> Self {
        Self { launch: self.block, ..*self }
    }
}

/// Another thread's access that nothing orders before this one.
#[derive(Clone, Copy, Debug)]
pub struct Conflict {
    /// What the other thread did.
    pub earlier: Access,
    /// Its number within its block.
    pub other: u32,
    /// Whether it is of another block.
    pub other_block: bool,
}

/// A time, a thread, and (of readers) how far away earlier unordered readers were.
#[derive(Clone, Copy, Debug, Default)]
struct Stamp(u64);

const LANE: u64 = 1 << 10;
const WARP: u64 = 1 << 11;
const BLOCK: u64 = 1 << 12;
const FLAGS: u64 = LANE | WARP | BLOCK;

/// How far apart two threads are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Ordered,
    Lane,
    Warp,
    Block,
}

impl Stamp {
    fn new(me: &Observer, flags: u64) -> Self {
        Self(me.now << 13 | flags | u64::from(me.thread))
    }

    fn time(self) -> u64 {
        self.0 >> 13
    }

    fn thread(self) -> u32 {
        (self.0 & 1023) as u32
    }

    fn relation(self, me: &Observer) -> Relation {
        let time = self.time();
        if time < me.block {
            return if time < me.launch { Relation::Ordered } else { Relation::Block };
        }
        if time < me.barrier || self.thread() == me.thread {
            return Relation::Ordered;
        }
        if self.thread() / 32 != me.thread / 32 {
            return Relation::Warp;
        }
        if time < me.warp { Relation::Ordered } else { Relation::Lane }
    }

    fn conflict(self, earlier: Access, other_block: bool) -> Conflict {
        Conflict { earlier, other: self.thread(), other_block }
    }
}

/// The memory of one cell of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    writer: Stamp,
    reader: Stamp,
}

impl Cell {
    /// Notes a read, or names the write it races with.
    pub fn read(&mut self, me: &Observer) -> Result<(), Conflict> {
        match self.writer.relation(me) {
            Relation::Ordered => {}
            Relation::Block if me.ticket => {}
            relation => return Err(self.writer.conflict(Access::Write, relation == Relation::Block)),
        }
        let (time, old) = (self.reader.time(), self.reader.0 & FLAGS);
        let kept = if time < me.launch {
            0
        } else if time < me.barrier {
            old & BLOCK
        } else if time < me.warp {
            old & (BLOCK | WARP)
        } else {
            old
        };
        let added = match self.reader.relation(me) {
            Relation::Ordered => 0,
            Relation::Lane => LANE,
            Relation::Warp => WARP,
            Relation::Block => BLOCK,
        };
        self.reader = Stamp::new(me, kept | added);
        Ok(())
    }

    /// Notes a write, or names the access it races with.
    pub fn write(&mut self, me: &Observer) -> Result<(), Conflict> {
        match self.writer.relation(me) {
            Relation::Ordered => {}
            relation => return Err(self.writer.conflict(Access::Write, relation == Relation::Block)),
        }
        let (time, flags) = (self.reader.time(), self.reader.0);
        let foreign = time >= me.launch && flags & BLOCK != 0;
        let near = (flags & WARP != 0 && time >= me.barrier) || (flags & LANE != 0 && time >= me.warp);
        let relation = self.reader.relation(me);
        if foreign || near || relation != Relation::Ordered {
            return Err(self.reader.conflict(Access::Read, foreign || relation == Relation::Block));
        }
        self.writer = Stamp::new(me, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(thread: u32) -> Observer {
        Observer { thread, now: 10, launch: 10, block: 10, barrier: 10, warp: 10, ticket: false }
    }

    #[test]
    fn a_barrier_orders_a_write_before_another_warps_read() {
        let mut cell = Cell::default();
        cell.write(&thread(0)).unwrap();
        assert!(cell.read(&thread(40)).is_err());
        cell.read(&Observer { now: 11, barrier: 11, warp: 11, ..thread(40) }).unwrap();
    }

    #[test]
    fn a_warp_exchange_orders_lanes_but_not_warps() {
        let mut cell = Cell::default();
        cell.write(&thread(0)).unwrap();
        let later = Observer { now: 11, warp: 11, ..thread(1) };
        cell.read(&later).unwrap();
        assert!(cell.read(&Observer { thread: 33, ..later }).is_err());
    }

    #[test]
    fn a_write_after_reads_of_two_threads_is_a_race_even_for_the_last_of_them() {
        let mut cell = Cell::default();
        cell.read(&thread(0)).unwrap();
        cell.read(&thread(70)).unwrap();
        assert!(cell.write(&thread(70)).is_err());
    }

    #[test]
    fn blocks_of_one_launch_are_never_ordered_but_a_ticket_lets_read() {
        let mut cell = Cell::default();
        cell.write(&thread(0)).unwrap();
        let other = Observer { now: 12, block: 12, barrier: 12, warp: 12, ..thread(0) };
        assert!(cell.read(&other).is_err());
        cell.read(&Observer { ticket: true, ..other }).unwrap();
        assert!(cell.write(&other).is_err());
    }
}
