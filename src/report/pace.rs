//! How fast a stage gets on, and how long it still needs.

use std::collections::VecDeque;

/// Older progress than this many seconds says little of the present.
const WINDOW_SECONDS: f64 = 60.0;

/// Samples are kept at least this far apart.
const APART_SECONDS: f64 = 0.5;

/// Before this many units and seconds were measured, a rate is a guess and is not told.
const ENOUGH_UNITS: u64 = 3;
const ENOUGH_SECONDS: f64 = 2.0;

/// The progress of one stage. Times are seconds since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Pace {
    done: u64,
    done_at: f64,
    samples: VecDeque<(f64, u64)>,
}

impl Pace {
    /// From now on units are work: those done before were found in the cache and say nothing of the rate.
    pub(super) fn begin(&mut self, now: f64) {
        if self.samples.is_empty() {
            self.samples.push_back((now, self.done));
            self.done_at = now;
        }
    }

    /// So many units are done now, the found ones included.
    pub(super) fn note(&mut self, now: f64, done: u64) {
        let Some(&(last, _)) = self.samples.back() else {
            self.done = done;
            return;
        };
        if done == self.done {
            return;
        }
        (self.done, self.done_at) = (done, now);
        if now - last >= APART_SECONDS {
            self.samples.push_back((now, done));
        }
        // Slow work has few samples: what it takes for a rate is kept, however old.
        while self
            .samples
            .get(1)
            .is_some_and(|&(at, before)| now - at > WINDOW_SECONDS && done.saturating_sub(before) >= ENOUGH_UNITS)
        {
            self.samples.pop_front();
        }
    }

    /// Units per second, once that means something. It sinks while the next unit is overdue.
    pub(super) fn rate(&self, now: f64) -> Option<f64> {
        let &(since, before) = self.samples.front()?;
        let units = self.done.checked_sub(before)?;
        if units < ENOUGH_UNITS || self.done_at - since < ENOUGH_SECONDS {
            return None;
        }
        let measured = units as f64 / (self.done_at - since);
        Some(measured.min((units + 1) as f64 / (now - since)))
    }

    /// Seconds until `total` units are done, once that means something.
    pub(super) fn left(&self, now: f64, total: u64) -> Option<f64> {
        let rate = self.rate(now)?;
        let units = total.checked_sub(self.done).filter(|&units| units > 0)?;
        Some((units as f64 / rate - (now - self.done_at)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_found_before_work_begins_do_not_count() {
        let mut pace = Pace::default();
        pace.note(0.0, 100);
        pace.begin(0.1);
        for unit in 1..=4_u32 {
            pace.note(0.1 + f64::from(unit), 100 + u64::from(unit));
        }
        let rate = pace.rate(4.1).unwrap();
        assert!((rate - 1.0).abs() < 1e-9, "{rate}");
        let left = pace.left(4.1, 150).unwrap();
        assert!((left - 46.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn no_rate_is_told_before_it_means_something() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(1.0), None);
        pace.begin(0.0);
        for unit in 1..=10_u32 {
            pace.note(f64::from(unit) * 0.1, u64::from(unit));
        }
        assert_eq!(pace.rate(1.0), None, "one second is too short");
        let mut slow = Pace::default();
        slow.begin(0.0);
        slow.note(50.0, 1);
        slow.note(100.0, 2);
        assert_eq!(slow.rate(100.0), None, "two units are too few");
        slow.note(150.0, 3);
        assert!((slow.left(150.0, 5).unwrap() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_present_outweighs_the_past_and_an_overdue_unit_slows_the_rate() {
        let mut pace = Pace::default();
        pace.begin(0.0);
        for second in 1..=100_u32 {
            pace.note(f64::from(second), u64::from(second) * 10);
        }
        for second in 101..=220_u32 {
            pace.note(f64::from(second), 1000 + u64::from(second - 100));
        }
        assert!((pace.rate(220.0).unwrap() - 1.0).abs() < 0.05);
        assert!(pace.rate(400.0).unwrap() < 0.3);
        assert!(pace.left(220.0, 1120).is_none(), "all is done");
    }
}
