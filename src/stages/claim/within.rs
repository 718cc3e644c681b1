//! Whether a number lies where it is claimed to: by itself, or with two of its standard errors on either side.

use std::collections::BTreeMap;

use super::super::phrase::significant;
use super::{Judged, Verdict, column};
use crate::execute::Failure;
use crate::plot::Table;

/// Standard errors on either side.
const ERRORS: f64 = 2.0;

/// Which number, and where it is claimed to lie.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Within {
    pub(super) column: String,
    pub(super) error: Option<String>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

impl Within {
    /// The verdict on one number; undecided where it or its error is not known.
    fn verdict(&self, value: f64, error: f64) -> Verdict {
        let (least, most) = (value - ERRORS * error, value + ERRORS * error);
        let (low, high) = self.ends();
        if error.is_nan() || error < 0.0 || value.is_nan() {
            Verdict::Undecided
        } else if low <= least && most <= high {
            Verdict::Holds
        } else if most < low || high < least {
            Verdict::Fails
        } else {
            Verdict::Undecided
        }
    }

    fn ends(&self) -> (f64, f64) {
        (self.low.unwrap_or(f64::NEG_INFINITY), self.high.unwrap_or(f64::INFINITY))
    }

    /// How favourable a number is: one that fails is less so than one that is undecided, and of two alike the one that lies less far inside.
    fn favour(&self, value: f64, error: f64) -> (u8, f64) {
        let (low, high) = self.ends();
        let margin = (value - low).min(high - value) - ERRORS * error;
        let rank = match self.verdict(value, error) {
            Verdict::Fails => 0,
            Verdict::Undecided => 1,
            Verdict::Holds => 2,
        };
        (rank, if margin.is_nan() { f64::NEG_INFINITY } else { margin })
    }

    /// `below 6.06`, `from −13485 to −12985`.
    fn claimed(&self) -> String {
        let written = |bound: f64| bound.to_string().replace('-', "−");
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("from {} to {}", written(low), written(high)),
            (Some(low), None) => format!("above {}", written(low)),
            (None, Some(high)) => format!("below {}", written(high)),
            (None, None) => "any number".to_owned(),
        }
    }

    /// The number in so few digits as tell it from the bounds.
    fn told(&self, value: f64) -> String {
        let (low, high) = self.ends();
        let short = significant(value);
        let on_a_bound =
            [low, high].iter().any(|bound| bound.to_bits() != value.to_bits() && significant(*bound) == short);
        if on_a_bound { value.to_string().replace('-', "−") } else { short }
    }

    /// All rows of all tables must lie there; the sentence is of the one that lies least so.
    pub(super) fn judge(&self, claim: String, tables: &[Table]) -> Result<Judged, Failure> {
        let mut rows: Vec<(f64, f64)> = Vec::new();
        for table in tables {
            let values = column(table, &self.column)?;
            let errors = self.error.as_ref().map(|name| column(table, name)).transpose()?;
            rows.extend((0..values.len()).map(|row| (values[row], errors.as_ref().map_or(0.0, |errors| errors[row]))));
        }
        let statistic = "within".to_owned();
        let worst = rows.iter().min_by(|a, b| {
            let (a, b) = (self.favour(a.0, a.1), self.favour(b.0, b.1));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let Some(&(value, error)) = worst else {
            let detail = format!("there is no row with `{}`", self.column);
            let numbers = BTreeMap::new();
            return Ok(Judged { claim, verdict: Verdict::Undecided, statistic, value: None, detail, numbers });
        };
        let name = self.column.replace('_', " ");
        let said = if value.is_nan() {
            format!("{name} is not known")
        } else if error.is_nan() || error < 0.0 {
            format!("{name} is {}, its standard error not known", self.told(value))
        } else if error > 0.0 {
            format!("{name} is {} ± {}", self.told(value), significant(error))
        } else {
            format!("{name} is {}", self.told(value))
        };
        let is_one = rows.iter().all(|other| other.0.to_bits() == value.to_bits());
        let of = if is_one { String::new() } else { format!(", the least favourable of {} rows", rows.len()) };
        let detail = format!("{said}, claimed {}{of}", self.claimed());
        let known = [("value", Some(value)), ("stderr", Some(error)), ("low", self.low), ("high", self.high)];
        let known = known.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?)));
        let numbers = known.filter(|(_, number)| number.is_finite()).collect();
        let value = Some(value).filter(|value| value.is_finite());
        Ok(Judged { claim, verdict: self.verdict(value.unwrap_or(f64::NAN), error), statistic, value, detail, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Cell, Column};

    fn judged(rows: &[(f64, f64)], (low, high): (Option<f64>, Option<f64>)) -> (Verdict, String) {
        let mut table = Table::new(vec![Column::new("end_trace"), Column::new("stderr")]);
        table.rows = rows.iter().map(|&(value, error)| vec![Cell::Number(value), Cell::Number(error)]).collect();
        let within = Within { column: "end_trace".to_owned(), error: Some("stderr".to_owned()), low, high };
        let judged = within.judge("it does".to_owned(), &[table]).unwrap();
        (judged.verdict, judged.detail)
    }

    #[test]
    fn a_number_holds_fails_or_is_undecided_by_two_standard_errors() {
        let below = (None, Some(6.06));
        assert_eq!(
            judged(&[(6.012, 0.003)], below),
            (Verdict::Holds, "end trace is 6.012 ± 0.003, claimed below 6.06".to_owned())
        );
        assert_eq!(judged(&[(6.055, 0.003)], below).0, Verdict::Undecided);
        assert_eq!(judged(&[(6.07, 0.003)], below).0, Verdict::Fails);
        let between = (Some(-13_485.0), Some(-12_985.0));
        let (verdict, detail) = judged(&[(-13_240.0, 40.0), (-13_100.0, 80.0), (-13_300.0, 10.0)], between);
        assert_eq!(verdict, Verdict::Undecided);
        assert_eq!(detail, "end trace is −13100 ± 80, claimed from −13485 to −12985, the least favourable of 3 rows");
        assert_eq!(judged(&[], between).0, Verdict::Undecided);
        // One row that fails is enough, however far off an undecided one may be.
        assert_eq!(judged(&[(-13_200.0, 1e4), (-14_000.0, 1.0), (f64::NAN, 0.0)], between).0, Verdict::Fails);
        let unknown = [(f64::NAN, 0.0), (-13_200.0, f64::NAN), (-13_200.0, -1.0)].map(|row| judged(&[row], between));
        assert!(unknown.iter().all(|(verdict, _)| *verdict == Verdict::Undecided), "{unknown:?}");
        assert!(unknown[0].1.starts_with("end trace is not known"), "{}", unknown[0].1);
        assert!(unknown[1].1.contains("its standard error not known"), "{}", unknown[1].1);
        assert!(judged(&[(6.0601, 0.0)], below).1.starts_with("end trace is 6.0601, claimed below 6.06"));
    }
}
