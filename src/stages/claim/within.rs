//! Whether a number lies where it is claimed to: by itself, with two of its standard errors on either side, or with an interval.

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
    /// The columns with the ends of an interval, in place of `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<[String; 2]>,
    /// Only rows from this epoch on are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after_epoch: Option<f64>,
    /// A column, and what it holds in the rows that are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) only: Option<[String; 2]>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// A number, how far from it the truth may be, and what is said of that.
#[derive(Clone, Copy, Debug)]
struct Number {
    value: f64,
    least: f64,
    most: f64,
    /// The standard error, where that is what is known.
    error: Option<f64>,
}

impl Number {
    fn exact(value: f64) -> Self {
        Self { value, least: value, most: value, error: None }
    }

    fn with_error(value: f64, error: f64) -> Self {
        let known = if error >= 0.0 { error } else { f64::NAN };
        Self { value, least: value - ERRORS * known, most: value + ERRORS * known, error: Some(known) }
    }

    fn is_known(&self) -> bool {
        // Ends that are not known, or the wrong way round, are those of no interval.
        !self.value.is_nan() && self.least <= self.most
    }
}

impl Within {
    /// The verdict on one number; undecided where it or its error is not known.
    fn verdict(&self, number: &Number) -> Verdict {
        let (low, high) = self.ends();
        if !number.is_known() {
            Verdict::Undecided
        } else if low <= number.least && number.most <= high {
            Verdict::Holds
        } else if number.most < low || high < number.least {
            Verdict::Fails
        } else {
            Verdict::Undecided
        }
    }

    fn ends(&self) -> (f64, f64) {
        (self.low.unwrap_or(f64::NEG_INFINITY), self.high.unwrap_or(f64::INFINITY))
    }

    /// How favourable a number is: one that fails is less so than one that is undecided, and of two alike the one that lies less far inside.
    fn favour(&self, number: &Number) -> (u8, f64) {
        let (low, high) = self.ends();
        let margin = (number.least - low).min(high - number.most);
        let rank = match self.verdict(number) {
            Verdict::Fails => 0,
            Verdict::Undecided => 1,
            Verdict::Holds => 2,
        };
        (rank, if number.is_known() { margin } else { f64::NEG_INFINITY })
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

    /// The numbers of a table that are judged.
    fn numbers(&self, table: &Table) -> Result<Vec<Number>, Failure> {
        let values = column(table, &self.column)?;
        let errors = self.error.as_ref().map(|name| column(table, name)).transpose()?;
        let interval = match &self.interval {
            Some([low, high]) => Some((column(table, low)?, column(table, high)?)),
            None => None,
        };
        let only = match &self.only {
            Some([name, text]) => {
                let misfit = |error| Failure::Work(format!("a table to be judged does not fit: {error}"));
                Some((table.column(name).map_err(misfit)?, text))
            }
            None => None,
        };
        let epochs = self.after_epoch.map(|_| column(table, "epoch")).transpose()?;
        let late = |row: usize| {
            let known = self.after_epoch.zip(epochs.as_ref());
            known.is_none_or(|(after, epochs)| epochs[row] >= after)
        };
        let asked = |row: &usize| late(*row) && only.is_none_or(|(at, text)| table.rows[*row][at].reads_as(text));
        let number = |row: usize| match (&errors, &interval) {
            (Some(errors), _) => Number::with_error(values[row], errors[row]),
            (None, Some((low, high))) => Number { value: values[row], least: low[row], most: high[row], error: None },
            (None, None) => Number::exact(values[row]),
        };
        Ok((0..values.len()).filter(asked).map(number).collect())
    }

    /// `12 ± 1`, `12 (10 to 14)`.
    fn said(&self, number: &Number) -> String {
        let Number { value, least, most, error } = *number;
        let name = self.column.replace('_', " ");
        let told = self.told(value);
        match error {
            _ if value.is_nan() => format!("{name} is not known"),
            Some(error) if error.is_nan() => format!("{name} is {told}, its standard error not known"),
            Some(error) if error > 0.0 => format!("{name} is {told} ± {}", significant(error)),
            None if !number.is_known() => format!("{name} is {told}, its interval not known"),
            None if least < most => {
                format!("{name} is {told} (95 %: {} to {})", significant(least), significant(most))
            }
            _ => format!("{name} is {told}"),
        }
    }

    /// All rows of all tables must lie there; the sentence is of the one that lies least so.
    pub(super) fn judge(&self, claim: String, tables: &[Table]) -> Result<Judged, Failure> {
        let mut rows: Vec<Number> = Vec::new();
        for table in tables {
            rows.extend(self.numbers(table)?);
        }
        let statistic = "within".to_owned();
        let worst = rows.iter().min_by(|a, b| {
            let (a, b) = (self.favour(a), self.favour(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let Some(worst) = worst else {
            let where_ =
                self.only.as_ref().map_or_else(String::new, |[name, text]| format!(" where `{name}` is {text}"));
            let detail = format!("there is no row with `{}`{where_}", self.column);
            let numbers = BTreeMap::new();
            return Ok(Judged { claim, verdict: Verdict::Undecided, statistic, value: None, detail, numbers });
        };
        let is_one = rows.iter().all(|other| other.value.to_bits() == worst.value.to_bits());
        let of = if is_one { String::new() } else { format!(", the least favourable of {} rows", rows.len()) };
        let detail = format!("{}, claimed {}{of}", self.said(worst), self.claimed());
        let known = [
            ("value", Some(worst.value)),
            ("stderr", worst.error),
            ("least", Some(worst.least)),
            ("most", Some(worst.most)),
            ("low", self.low),
            ("high", self.high),
        ];
        let known = known.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?)));
        let numbers = known.filter(|(_, number)| number.is_finite()).collect();
        let value = Some(worst.value).filter(|value| value.is_finite());
        let verdict = if value.is_some() { self.verdict(worst) } else { Verdict::Undecided };
        Ok(Judged { claim, verdict, statistic, value, detail, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Cell, Column};

    fn judged(rows: &[(f64, f64)], (low, high): (Option<f64>, Option<f64>)) -> (Verdict, String) {
        let mut table = Table::new(vec![Column::new("end_trace"), Column::new("stderr")]);
        table.rows = rows.iter().map(|&(value, error)| vec![Cell::Number(value), Cell::Number(error)]).collect();
        let (column, error) = ("end_trace".to_owned(), Some("stderr".to_owned()));
        let within = Within { column, error, interval: None, after_epoch: None, only: None, low, high };
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

    #[test]
    fn an_interval_counts_as_it_stands_and_other_rows_do_not() {
        let names = ["window", "deviation", "low", "high"];
        let mut table = Table::new(names.map(Column::new).into());
        let row = |numbers: [f64; 4]| numbers.map(Cell::Number).to_vec();
        table.rows =
            vec![row([1.0, 9.0, 8.0, 10.0]), row([10.0, 0.05, 0.01, 0.2]), row([50.0, 0.3, f64::NAN, f64::NAN])];
        let judged = |window: &str, low| {
            let (column, interval) = ("deviation".to_owned(), Some(["low", "high"].map(str::to_owned)));
            let only = Some(["window".to_owned(), window.to_owned()]);
            let within = Within { column, error: None, interval, after_epoch: None, only, low: Some(low), high: None };
            let judged = within.judge("it does".to_owned(), std::slice::from_ref(&table)).unwrap();
            (judged.verdict, judged.detail)
        };
        assert_eq!(
            judged("10", 0.005),
            (Verdict::Holds, "deviation is 0.05 (95 %: 0.01 to 0.2), claimed above 0.005".to_owned())
        );
        assert_eq!(judged("10", 0.1).0, Verdict::Undecided);
        assert_eq!(judged("10", 0.3).0, Verdict::Fails);
        let (verdict, detail) = judged("50", 0.1);
        assert_eq!((verdict, detail.contains("its interval not known")), (Verdict::Undecided, true));
        assert_eq!(judged("7", 0.1).1, "there is no row with `deviation` where `window` is 7");
    }
}
