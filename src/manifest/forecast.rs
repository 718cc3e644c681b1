//! What would run, as exactly as records tell.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How many actions of one kind would be found and how many would run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    /// Actions whose records are there.
    pub reused: u64,
    /// Actions that would run.
    pub to_run: u64,
    /// Whether more than `to_run` may turn up while the stage runs.
    pub at_least: bool,
    /// What the reused ones once took, in seconds.
    pub seconds_reused: f64,
    /// What the others would take, in seconds, as far as records of their like tell.
    pub seconds_to_spend: f64,
}

/// What would run, by kind of action. Without any it is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Counts by kind of action.
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

    /// In words: `epoch: 50 to run, 150 reused; init: 1 reused`.
    pub fn describe(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            return f.write_str("unknown");
        }
        for (i, (action, count)) in self.actions.iter().enumerate() {
            write!(f, "{}{action}: {count}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.at_least { "at least " } else { "" };
        match (self.to_run, self.reused) {
            (0, 0) if !self.at_least => f.write_str("nothing to run"),
            (0, reused) if !self.at_least => write!(f, "{reused} reused"),
            (to_run, 0) => write!(f, "{at_least}{to_run} to run"),
            (to_run, reused) => write!(f, "{at_least}{to_run} to run, {reused} reused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_says_what_is_known() {
        let count = |to_run, reused, at_least| Count { reused, to_run, at_least, ..Count::default() };
        assert_eq!(Forecast::unknown().describe(), "unknown");
        let forecast = Forecast::unknown().with("init", count(0, 1, false)).with("epoch", count(50, 150, false));
        assert_eq!(forecast.describe(), "epoch: 50 to run, 150 reused; init: 1 reused");
        assert_eq!(count(1, 0, true).to_string(), "at least 1 to run");
        assert_eq!(count(0, 3, true).to_string(), "at least 0 to run, 3 reused");
        assert_eq!(count(0, 0, false).to_string(), "nothing to run");
    }
}
