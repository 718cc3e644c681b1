//! Warp-wide instructions: shuffles, votes, matches, reductions, and the bare synchronisation.
//!
//! A lane that comes to one waits; when all lanes of its member mask that have not ended wait at the same instruction
//! with the same mask, they exchange and go on together. Lanes that never come leave the others waiting, which the
//! block's barrier then reports.

use super::block::{Block, WARP};
use super::fault::{FaultKind, Place};
use super::instruction::{Exchange, ExchangeKind, Operation, Vote};
use super::machine::Launch;
use super::thread::State;

impl Block {
    /// Lets those lanes of `warp` exchange that can; false if none can.
    pub fn exchange(&mut self, launch: &mut Launch<'_>, warp: usize) -> Result<bool, (Place, FaultKind)> {
        let module = launch.module;
        let first = warp * WARP;
        let last = (first + WARP).min(self.threads.len());
        let mut released = false;
        for leader in first..last {
            let thread = &self.threads[leader];
            if thread.state != State::Exchange {
                continue;
            }
            let site = (thread.function, thread.pc);
            let Operation::Exchange(exchange) = &module.functions[thread.function].code[thread.last()].operation else {
                unreachable!("a thread waits for its warp at an exchange");
            };
            let mask = thread.get(exchange.mask) as u32;
            if mask >> (leader - first) & 1 == 0 {
                return Err(self.blame(launch, leader, FaultKind::MemberMask { mask }));
            }
            let members = (first..last).filter(|i| mask >> (i - first) & 1 == 1);
            let members: Vec<usize> = members.filter(|&i| self.threads[i].state != State::Ended).collect();
            let all_here = members.iter().all(|&i| {
                let other = &self.threads[i];
                other.state == State::Exchange && (other.function, other.pc) == site
            });
            if !all_here {
                continue;
            }
            if let Some(&i) = members.iter().find(|&&i| self.threads[i].get(exchange.mask) as u32 != mask) {
                return Err(self.blame(
                    launch,
                    i,
                    FaultKind::MemberMask { mask: self.threads[i].get(exchange.mask) as u32 },
                ));
            }
            self.give(launch, exchange, first, &members)?;
            released = true;
        }
        if released {
            launch.memory.time += 1;
            self.warps[warp] = launch.memory.time;
        }
        Ok(released)
    }

    /// Computes what every member receives, then hands it out.
    fn give(
        &mut self,
        launch: &Launch<'_>,
        exchange: &Exchange,
        first: usize,
        members: &[usize],
    ) -> Result<(), (Place, FaultKind)> {
        let Exchange { kind, d, p, a, b, c, .. } = *exchange;
        let offered: Vec<u64> = members.iter().map(|&i| self.threads[i].get(a)).collect();
        let mut results = Vec::with_capacity(members.len());
        for (&i, &own) in members.iter().zip(&offered) {
            let lane = (i - first) as u64;
            let truth = |chosen: &dyn Fn(u64) -> bool| {
                let lanes = members.iter().zip(&offered).filter(|(_, value)| chosen(**value));
                lanes.fold(0, |mask, (&member, _)| mask | 1u64 << (member - first))
            };
            let everyone = truth(&|_| true);
            let voted = truth(&|value| value != 0);
            results.push(match kind {
                ExchangeKind::Sync => (0, false),
                ExchangeKind::Vote(Vote::All) => (u64::from(voted == everyone), false),
                ExchangeKind::Vote(Vote::Any) => (u64::from(voted != 0), false),
                ExchangeKind::Vote(Vote::Uniform) => (u64::from(voted == 0 || voted == everyone), false),
                ExchangeKind::Vote(Vote::Ballot) => (voted, false),
                ExchangeKind::Vote(Vote::Count) => (u64::from(voted.count_ones()), false),
                ExchangeKind::MatchAny => (truth(&|value| value == own), false),
                ExchangeKind::MatchAll => {
                    let same = truth(&|value| value == own) == everyone;
                    (if same { everyone } else { 0 }, same)
                }
                ExchangeKind::Reduce(f) => (offered[1..].iter().fold(offered[0], |sum, &value| f(sum, value)), false),
                _ => {
                    let thread = &self.threads[i];
                    let (source, inside) = source_lane(kind, lane, thread.get(b), thread.get(c));
                    match members.iter().position(|&member| (member - first) as u64 == source) {
                        Some(at) => (offered[at] & 0xffff_ffff, inside),
                        None => return Err(self.blame(launch, i, FaultKind::InactiveLane { lane: source as u32 })),
                    }
                }
            });
        }
        for (&i, (value, predicate)) in members.iter().zip(results) {
            let thread = &mut self.threads[i];
            if !matches!(kind, ExchangeKind::Sync) {
                thread.set(d, value);
            }
            if let Some(p) = p {
                thread.set(p, u64::from(predicate));
            }
            thread.state = State::Ready;
        }
        Ok(())
    }
}

/// Which lane a shuffle reads, and whether that lies in its segment; if not, it reads its own. The pseudocode is the
/// PTX manual's, under `shfl.sync`.
fn source_lane(kind: ExchangeKind, lane: u64, b: u64, c: u64) -> (u64, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (source, inside) = match kind {
        ExchangeKind::ShuffleUp => (lane.wrapping_sub(b), lane as i64 - b as i64 >= most as i64),
        ExchangeKind::ShuffleDown => (lane + b, lane + b <= most),
        ExchangeKind::ShuffleButterfly => (lane ^ b, lane ^ b <= most),
        _ => {
            let source = least | (b & !segment);
            (source, source <= most)
        }
    };
    if inside { (source, true) } else { (lane, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_stay_within_their_segment() {
        assert_eq!(source_lane(ExchangeKind::ShuffleDown, 3, 4, 31), (7, true));
        assert_eq!(source_lane(ExchangeKind::ShuffleDown, 30, 4, 31), (30, false));
        assert_eq!(source_lane(ExchangeKind::ShuffleUp, 1, 2, 0), (1, false));
        assert_eq!(source_lane(ExchangeKind::ShuffleUp, 5, 2, 0), (3, true));
        assert_eq!(source_lane(ExchangeKind::ShuffleIndex, 9, 5, 31), (5, true));
        // Width eight: the segment mask is 24, the clamp 7.
        assert_eq!(source_lane(ExchangeKind::ShuffleButterfly, 9, 3, 24 << 8 | 31), (10, true));
        assert_eq!(source_lane(ExchangeKind::ShuffleDown, 14, 3, 24 << 8 | 7), (14, false));
    }
}
