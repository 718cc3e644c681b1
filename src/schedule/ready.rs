//! The ready set: which stages may start, and every state that one goes through. It knows only numbers.

use std::collections::VecDeque;

/// A stage's state; they are gone through in this order, and one of the last three is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Asked for; something above it is not done.
    Wanted,
    /// Everything above it is done.
    Ready,
    /// Found stale; waiting for a free worker.
    Queued,
    /// At work.
    Running,
    /// Its outputs are known.
    Done,
    /// It has none, and no one below it can run.
    Failed,
    /// Something above it failed.
    Skipped,
}

/// One authoritative state per stage; every transition goes through [`set`](Self::set).
pub struct Ready {
    states: Vec<State>,
    waits_for: Vec<usize>,
    below: Vec<Vec<usize>>,
    queue: VecDeque<usize>,
}

impl Ready {
    /// The wanted stages, where `above[i]` are those that `i` needs. What is not wanted may be named by no one.
    pub fn new(above: &[Vec<usize>]) -> Self {
        let mut below = vec![Vec::new(); above.len()];
        for (i, needs) in above.iter().enumerate() {
            for &need in needs {
                below[need].push(i);
            }
        }
        let waits_for = above.iter().map(Vec::len).collect();
        let mut ready = Self { states: vec![State::Wanted; above.len()], waits_for, below, queue: VecDeque::new() };
        for i in 0..above.len() {
            if ready.waits_for[i] == 0 {
                ready.set(i, State::Ready);
            }
        }
        ready
    }

    /// The state of a stage.
    pub fn state(&self, i: usize) -> State {
        self.states[i]
    }

    /// The next stage whose upstream is done, in the order in which they became ready.
    pub fn pop(&mut self) -> Option<usize> {
        self.queue.pop_front()
    }

    /// Moves a stage on, and with it those below: a done one may make others ready, a failed one makes all below it skipped.
    /// Returns those that became skipped, with the reason's stage.
    ///
    /// # Panics
    /// On a transition backwards, which is a bug of the caller.
    pub fn set(&mut self, i: usize, state: State) -> Vec<usize> {
        assert!(state > self.states[i], "invariant: {i} does not go from {:?} back to {state:?}", self.states[i]);
        self.states[i] = state;
        match state {
            State::Ready => self.queue.push_back(i),
            State::Done => {
                for below in self.below[i].clone() {
                    self.waits_for[below] -= 1;
                    if self.waits_for[below] == 0 && self.states[below] == State::Wanted {
                        self.set(below, State::Ready);
                    }
                }
            }
            State::Failed => return self.skip_below(i),
            _ => {}
        }
        Vec::new()
    }

    fn skip_below(&mut self, failed: usize) -> Vec<usize> {
        let mut skipped = Vec::new();
        let mut open = self.below[failed].clone();
        while let Some(i) = open.pop() {
            if self.states[i] < State::Skipped && self.states[i] == State::Wanted {
                self.states[i] = State::Skipped;
                skipped.push(i);
                open.extend(&self.below[i]);
            }
        }
        skipped.sort_unstable();
        skipped
    }

    /// How many are in `state`.
    pub fn count(&self, state: State) -> usize {
        self.states.iter().filter(|&&s| s == state).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(ready: &mut Ready, fails: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let (mut order, mut skipped) = (Vec::new(), Vec::new());
        while let Some(i) = ready.pop() {
            order.push(i);
            ready.set(i, State::Running);
            skipped.extend(ready.set(i, if fails.contains(&i) { State::Failed } else { State::Done }));
        }
        (order, skipped)
    }

    #[test]
    fn a_failure_skips_what_is_below_and_nothing_beside() {
        // 0 → 1 → 3, 0 → 2 → 3, 4 alone
        let above = [vec![], vec![0], vec![0], vec![1, 2], vec![]];
        let mut ready = Ready::new(&above);
        let (order, skipped) = drain(&mut ready, &[1]);
        assert_eq!(order, [0, 4, 1, 2]);
        assert_eq!(skipped, [3]);
        assert_eq!((ready.state(1), ready.state(3)), (State::Failed, State::Skipped));
    }

    #[test]
    #[should_panic(expected = "invariant")]
    fn no_state_goes_back() {
        let mut ready = Ready::new(&[vec![]]);
        ready.set(0, State::Done);
        ready.set(0, State::Running);
    }

    proptest! {
        #[test]
        fn every_stage_ends_after_all_above_it(edges in proptest::collection::vec((0usize..30, 0usize..30), 0..120), fails in proptest::collection::vec(0usize..30, 0..4)) {
            let mut above = vec![Vec::new(); 30];
            for (a, b) in edges {
                let (a, b) = (a.min(b), a.max(b));
                if a != b && !above[b].contains(&a) {
                    above[b].push(a);
                }
            }
            let mut ready = Ready::new(&above);
            let (order, skipped) = drain(&mut ready, &fails);
            prop_assert_eq!(order.len() + skipped.len(), 30);
            for (place, &i) in order.iter().enumerate() {
                for need in &above[i] {
                    prop_assert!(order[..place].contains(need) && !fails.contains(need));
                }
            }
            for i in skipped {
                prop_assert!(above[i].iter().any(|&need| matches!(ready.state(need), State::Failed | State::Skipped)));
            }
        }
    }
}
