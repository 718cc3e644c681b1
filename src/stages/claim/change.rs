//! The change of a number along paths, less that of their control arms: whether it falls or rises, by a t-test over trajectories.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::phrase::{probability, signed, significant};
use super::fall::{capped, check_length};
use super::{Given, Judged, Verdict, column, partner, table, whose};
use crate::execute::{ActionContext, Failure};
use crate::ml::statistics::{Alternative, mean, one_sample};

/// Which number, and which way it is claimed to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) column: String,
    pub(super) way: Way,
    pub(super) after_epoch: f64,
    pub(super) alpha: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Falls,
    Rises,
}

/// One path: the number where the early phase ends, and at the end.
struct Ends {
    labels: Vec<(String, String)>,
    start: f64,
    end: f64,
    /// The iteration at the end.
    last: f64,
    /// Points whose descent had hit its cap, of all points.
    capped: (u64, u64),
}

impl Change {
    fn read(&self, cx: &ActionContext<'_>, given: &Given) -> Result<Ends, Failure> {
        let table = table(cx, &given.table)?;
        let (epochs, values) = (column(&table, "epoch")?, column(&table, &self.column)?);
        let (column_name, after) = (&self.column, self.after_epoch);
        let mut late = (0..epochs.len()).filter(|&row| epochs[row] >= after);
        let (Some(first), Some(last)) = (late.next(), late.next_back()) else {
            let few =
                format!("fewer than two points lie at epoch {after} or later; a change of `{column_name}` needs two");
            return Err(Failure::Work(few));
        };
        if let Some(row) = [first, last].into_iter().find(|&row| !values[row].is_finite()) {
            let unknown =
                format!("`{column_name}` is not known at epoch {}, where the change begins or ends", epochs[row]);
            return Err(Failure::Work(unknown));
        }
        let has_descents = table.column("reached").is_ok();
        Ok(Ends {
            labels: given.labels.clone(),
            start: values[first],
            end: values[last],
            last: column(&table, "iteration")?[last],
            capped: if has_descents { capped(&table)? } else { (0, 0) },
        })
    }

    /// The verdict over the paths of `from`, each less the control with the same axes where there are any.
    pub(super) fn judge(
        &self,
        cx: &ActionContext<'_>,
        claim: String,
        (from, controls): (&[&Given], &[&Given]),
    ) -> Result<Judged, Failure> {
        let read = |given: &[&Given]| given.iter().map(|given| self.read(cx, given)).collect::<Result<Vec<_>, _>>();
        let (arms, controls) = (read(from)?, read(controls)?);
        let mut changes = Vec::with_capacity(arms.len());
        let mut numbers = BTreeMap::new();
        for (n, arm) in arms.iter().enumerate() {
            let control = partner(&controls, &arm.labels, |control| &control.labels)?;
            control.map_or(Ok(()), |control| check_length(arm.last, control.last))?;
            changes.push(arm.end - arm.start - control.map_or(0.0, |control| control.end - control.start));
            let whose = whose(&arm.labels, n);
            let control = control.map(|control| ("control_change", control.end - control.start));
            let own = [("start", arm.start), ("end", arm.end)].into_iter().chain(control);
            numbers.extend(own.map(|(name, value)| (format!("{whose} {name}"), value)));
        }
        let judged = self.verdict(&changes, !controls.is_empty())?;
        numbers.extend(judged.numbers);
        let (capped, points) = arms.iter().fold((0, 0), |sum, arm| (sum.0 + arm.capped.0, sum.1 + arm.capped.1));
        let mut detail = judged.detail;
        if capped > 0 {
            let _ = write!(detail, "; at {capped} of {points} points the descent hit its cap");
        }
        Ok(Judged { claim, detail, numbers, ..judged })
    }

    /// The verdict on these changes.
    fn verdict(&self, changes: &[f64], less_control: bool) -> Result<Judged, Failure> {
        let change = mean(changes)?;
        let moves = if change < 0.0 { "falls" } else { "rises" };
        let less = if less_control { " less the control's change" } else { "" };
        let name = self.column.replace('_', " ");
        let mut parts = vec![format!("{name}{less} {moves} by {}", significant(change.abs()))];
        let mut numbers =
            BTreeMap::from([("change".to_owned(), change), ("trajectories".to_owned(), changes.len() as f64)]);
        let side = if self.way == Way::Falls { Alternative::Less } else { Alternative::Greater };
        let test = if changes.len() > 1 { one_sample(changes, 0.0, side).ok() } else { None };
        let verdict = if let Some(test) = &test {
            numbers.extend([("t".to_owned(), test.t), ("df".to_owned(), test.df), ("p".to_owned(), test.p)]);
            let (t, p) = (signed(test.t, if test.t.abs() < 10.0 { 2 } else { 1 }), probability(test.p));
            let over = changes.len();
            parts.push(format!("one-sided t-test over {over} trajectories: t = {t}, df = {}, {p}", test.df));
            Verdict::of_p(test.p, self.alpha)
        } else {
            parts.push("without spread over trajectories no test is possible".to_owned());
            Verdict::Undecided
        };
        let (statistic, value, detail) = ("change".to_owned(), Some(change), parts.join("; "));
        Ok(Judged { claim: String::new(), verdict, statistic, value, detail, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_judged_by_its_spread_over_trajectories() {
        let change = |way| Change { column: "validation_loss".to_owned(), way, after_epoch: 0.0, alpha: 0.01 };
        // t = −0.3/(0.1/√3) = −5.196, df = 2, p = 0.0176.
        let judged = change(Way::Falls).verdict(&[-0.2, -0.3, -0.4], false).unwrap();
        assert_eq!(judged.verdict, Verdict::Undecided);
        assert_eq!(
            judged.detail,
            "validation loss falls by 0.3; one-sided t-test over 3 trajectories: t = −5.20, df = 2, p = 0.018"
        );
        let sure = [-0.30, -0.31, -0.29, -0.30];
        assert_eq!(change(Way::Falls).verdict(&sure, true).unwrap().verdict, Verdict::Holds);
        assert_eq!(change(Way::Rises).verdict(&sure, true).unwrap().verdict, Verdict::Fails);
        let one = change(Way::Falls).verdict(&[-0.3], true).unwrap();
        assert_eq!(one.verdict, Verdict::Undecided);
        assert!(one.detail.ends_with("no test is possible"), "{}", one.detail);
    }
}
