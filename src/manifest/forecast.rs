//! What would run, as exactly as records tell.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::key::{Digest, Inputs, Records};

/// What is known before anything runs: records, and what the user's files hold.
pub trait Known: Records {
    /// The digest of a file of the user's, at a path as the manifest has it, if it can be read.
    fn digest_file(&self, path: &Path) -> Option<Digest>;
}

/// What a forecast is made from.
#[derive(Clone, Copy)]
pub struct Foresight<'a> {
    /// What the stage is given.
    pub inputs: &'a Inputs,
    /// The backend that it would run on.
    pub backend: &'a str,
    /// What is known already.
    pub known: &'a dyn Known,
}

/// How many actions of one kind would be found and how many would run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    /// Actions whose records are there.
    pub reused: u64,
    /// Actions that would run. One that reads what another has yet to make counts as one of them: what is made anew is taken to be new.
    pub to_run: u64,
    /// Whether more than `to_run` may turn up while the stage runs.
    pub at_least: bool,
    /// What the reused ones once took, in seconds.
    pub seconds_reused: f64,
    /// What the others would take, in seconds, as far as records of their like tell; 0 where none does.
    pub seconds_to_spend: f64,
}

impl Count {
    /// Whether there is nothing to say of it.
    fn is_empty(self) -> bool {
        self.reused == 0 && self.to_run == 0
    }
}

/// What would run, by kind of action. Without any it is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Counts by kind of action; one of nothing and "at least" says that there may be such actions.
    pub actions: BTreeMap<String, Count>,
}

impl Forecast {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// With a count for a kind of action.
    #[must_use]
    pub fn with(mut self, action: &str, count: Count) -> Self {
        self.actions.insert(action.to_owned(), count);
        self
    }
}

/// In words: `epoch: 10 to run (about 4 s), 60 reused (saves 24 s); init: 1 reused`; nothing where nothing is known.
impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.actions.iter().filter(|(_, count)| !count.is_empty()).peekable();
        if said.peek().is_none() && !self.actions.is_empty() && self.actions.values().all(|count| !count.at_least) {
            return f.write_str("nothing to run");
        }
        for (i, (action, count)) in said.enumerate() {
            write!(f, "{}{action}: {count}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.to_run > 0 || self.at_least;
        if runs {
            let at_least = if self.at_least { "at least " } else { "" };
            write!(f, "{at_least}{} to run", self.to_run)?;
            if self.seconds_to_spend > 0.0 {
                write!(f, " (about {})", span(self.seconds_to_spend))?;
            }
        }
        if self.reused > 0 {
            write!(f, "{}{} reused", if runs { ", " } else { "" }, self.reused)?;
            if self.seconds_reused > 0.0 {
                write!(f, " (saves {})", span(self.seconds_reused))?;
            }
        } else if !runs {
            f.write_str("nothing to run")?;
        }
        Ok(())
    }
}

/// A span in the largest unit that leaves one or more, to two digits where it is below ten: `24 ms`, `4 s`, `1.5 min`, `12 h`.
fn span(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(3_600.0, "h"), (60.0, "min"), (1.0, "s")];
    // What would be rounded to sixty of a unit, or to a thousand, is one of the next.
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| seconds >= 0.9917 * unit).unwrap_or((0.001, "ms"));
    let value = seconds / unit;
    if name == "ms" {
        return format!("{:.0} ms", value.max(1.0));
    }
    let tenths = (10.0 * value).round();
    let whole = tenths >= 100.0 || tenths % 10.0 == 0.0;
    if whole { format!("{value:.0} {name}") } else { format!("{:.1} {name}", tenths / 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(to_run: u64, reused: u64, at_least: bool) -> Count {
        Count { reused, to_run, at_least, ..Count::default() }
    }

    #[test]
    fn a_forecast_says_what_is_known_and_no_more() {
        assert_eq!(Forecast::unknown().to_string(), "");
        let forecast = Forecast::unknown().with("init", count(0, 1, false)).with("epoch", count(50, 150, false));
        assert_eq!(forecast.to_string(), "epoch: 50 to run, 150 reused; init: 1 reused");
        let beside = forecast.with("evaluate", count(0, 0, true)).with("descent", count(0, 0, false));
        assert_eq!(beside.to_string(), "epoch: 50 to run, 150 reused; init: 1 reused");
        assert_eq!(Forecast::unknown().with("replay", count(0, 0, false)).to_string(), "nothing to run");
        assert_eq!(Forecast::unknown().with("replay", count(0, 0, true)).to_string(), "");
    }

    #[test]
    fn a_count_is_exact_or_at_least() {
        assert_eq!(count(1, 0, true).to_string(), "at least 1 to run");
        assert_eq!(count(0, 3, true).to_string(), "at least 0 to run, 3 reused");
        assert_eq!(count(0, 0, false).to_string(), "nothing to run");
    }

    #[test]
    fn seconds_are_said_where_records_tell() {
        let both = Count { seconds_reused: 24.0, seconds_to_spend: 4.0, ..count(10, 60, false) };
        assert_eq!(both.to_string(), "10 to run (about 4 s), 60 reused (saves 24 s)");
        let reused = Count { seconds_reused: 0.0121, ..count(0, 3, false) };
        assert_eq!(reused.to_string(), "3 reused (saves 12 ms)");
        let more = Count { seconds_reused: 90.0, seconds_to_spend: 5400.0, ..count(7, 2, true) };
        assert_eq!(more.to_string(), "at least 7 to run (about 1.5 h), 2 reused (saves 1.5 min)");
    }

    #[test]
    fn no_span_is_rounded_into_the_next_unit() {
        let spans =
            [0.0004, 0.001, 0.0246, 0.99, 0.992, 1.0, 4.04, 9.94, 9.96, 59.4, 59.6, 75.0, 3_560.0, 3_599.0, 1e5];
        let said = [
            "1 ms", "1 ms", "25 ms", "990 ms", "1 s", "1 s", "4 s", "9.9 s", "10 s", "59 s", "1 min", "1.3 min",
            "59 min", "1 h", "28 h",
        ];
        assert_eq!(spans.map(span), said);
    }
}
