//! The share of segments of a projected path that are connected.

use std::collections::BTreeMap;

use super::super::phrase::{part, percent};
use super::{Judged, Verdict, column, texts};
use crate::execute::Failure;
use crate::ml::statistics::binomial_interval;
use crate::plot::Table;

/// What is counted of segments and of the minima that they join.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Segments after the early phase, and how many of them are connected.
    late: (u64, u64),
    /// The same of those before.
    early: (u64, u64),
    /// Descents, and how many of them hit their cap.
    descents: (u64, u64),
}

impl Tally {
    /// Counts the segments of a table; those that begin before the epoch `after` are early.
    pub(super) fn add_segments(&mut self, table: &Table, after: f64) -> Result<(), Failure> {
        for (start, ending) in column(table, "from_epoch")?.into_iter().zip(texts(table, "ending")?) {
            let count = if start >= after { &mut self.late } else { &mut self.early };
            *count = (count.0 + 1, count.1 + u64::from(ending == "connected"));
        }
        Ok(())
    }

    /// Counts the minima of a path.
    pub(super) fn add_minima(&mut self, table: &Table) -> Result<(), Failure> {
        for reached in texts(table, "reached")? {
            self.descents = (self.descents.0 + 1, self.descents.1 + u64::from(reached == "no"));
        }
        Ok(())
    }

    /// Segments that are not connected and descents that hit their cap are part of the sentence, wherever they lie: a run that finds
    /// everything in the cache repeats no warning.
    pub(super) fn judge(&self, claim: String, after: f64, at_least: f64) -> Result<Judged, Failure> {
        let (segments, connected) = self.late;
        let (early, early_connected) = self.early;
        let (descents, capped) = self.descents;
        let named = [
            ("connected", connected),
            ("segments", segments),
            ("early_segments", early),
            ("early_segments_not_connected", early - early_connected),
            ("descents", descents),
            ("descents_at_cap", capped),
        ];
        let mut numbers: BTreeMap<String, f64> = named.map(|(name, n)| (name.to_owned(), n as f64)).into();
        let (verdict, value, first) = if segments == 0 {
            (Verdict::Undecided, None, format!("no segment begins at epoch {after} or later"))
        } else {
            let interval = binomial_interval(connected, segments, 0.95)?;
            numbers
                .extend([("binomial_95_low".to_owned(), interval.low), ("binomial_95_high".to_owned(), interval.high)]);
            let share = connected as f64 / segments as f64;
            let noun = if segments == 1 { "segment" } else { "segments" };
            let counted = part(connected, segments, "segment");
            let counted = counted.replace(noun, &format!("{noun} after epoch {after}"));
            let detail = format!("{counted} connected ({}, at least {} claimed)", percent(share), percent(at_least));
            (if share >= at_least { Verdict::Holds } else { Verdict::Fails }, Some(share), detail)
        };
        let mut parts = vec![first];
        if early > early_connected {
            parts.push(format!("before it {} not", part(early - early_connected, early, "segment")));
        }
        if capped > 0 {
            let plural = if descents == 1 { "" } else { "s" };
            parts.push(format!("{capped} of {descents} descent{plural} hit the cap"));
        }
        let detail = parts.join("; ");
        Ok(Judged { claim, verdict, statistic: "fraction-connected".to_owned(), value, detail, numbers })
    }
}
