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
    /// The verdict on one number.
    fn verdict(&self, value: f64, error: f64) -> Verdict {
        let (least, most) = (value - ERRORS * error, value + ERRORS * error);
        let (low, high) = (self.low.unwrap_or(f64::NEG_INFINITY), self.high.unwrap_or(f64::INFINITY));
        if low <= least && most <= high {
            Verdict::Holds
        } else if most < low || high < least {
            Verdict::Fails
        } else {
            Verdict::Undecided
        }
    }

    /// `below 6.06`, `from −13485 to −12985`.
    fn claimed(&self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("from {} to {}", significant(low), significant(high)),
            (Some(low), None) => format!("above {}", significant(low)),
            (None, Some(high)) => format!("below {}", significant(high)),
            (None, None) => "any number".to_owned(),
        }
    }

    /// All rows of all tables must lie there; the sentence is of the first that does not, else of the last.
    pub(super) fn judge(&self, claim: String, tables: &[Table]) -> Result<Judged, Failure> {
        let mut rows = Vec::new();
        for table in tables {
            let values = column(table, &self.column)?;
            let errors = self.error.as_ref().map(|name| column(table, name)).transpose()?;
            rows.extend((0..values.len()).map(|row| (values[row], errors.as_ref().map_or(0.0, |errors| errors[row]))));
        }
        let judged: Vec<(Verdict, f64, f64)> =
            rows.into_iter().map(|(value, error)| (self.verdict(value, error), value, error)).collect();
        let worst = |wanted: Verdict| judged.iter().find(|(verdict, ..)| *verdict == wanted);
        let shown = worst(Verdict::Fails).or_else(|| worst(Verdict::Undecided)).or(judged.last());
        let Some(&(verdict, value, error)) = shown else {
            let detail = format!("there is no row with `{}`", self.column);
            let statistic = "within".to_owned();
            return Ok(Judged {
                claim,
                verdict: Verdict::Undecided,
                statistic,
                value: None,
                detail,
                numbers: BTreeMap::new(),
            });
        };
        let spread = if error > 0.0 { format!(" ± {}", significant(error)) } else { String::new() };
        let name = self.column.replace('_', " ");
        let of =
            if judged.len() > 1 { format!(", the least favourable of {} rows", judged.len()) } else { String::new() };
        let of = if judged.iter().all(|(_, other, _)| other.to_bits() == value.to_bits()) { String::new() } else { of };
        let detail = format!("{name} is {}{spread}, claimed {}{of}", significant(value), self.claimed());
        let mut numbers = BTreeMap::from([("value".to_owned(), value), ("stderr".to_owned(), error)]);
        numbers.extend(self.low.map(|low| ("low".to_owned(), low)));
        numbers.extend(self.high.map(|high| ("high".to_owned(), high)));
        Ok(Judged { claim, verdict, statistic: "within".to_owned(), value: Some(value), detail, numbers })
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
        assert_eq!(judged(&[(f64::NAN, 0.0)], between).0, Verdict::Undecided);
    }
}
