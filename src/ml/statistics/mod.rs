//! The numbers behind a claim: moments, fits, ranks, tests and intervals. It knows no claim and gives no verdict.
//!
//! Reading order: `moments`, `fit` (straight lines), `rank` (Spearman), `beta` (the special function below), `student`
//! (t-tests), `interval` (binomial and bootstrap). Everything is in f64. A value that is not finite is an error
//! everywhere: a statistic of it would be a number that says nothing.

mod beta;
mod fit;
mod interval;
mod moments;
mod rank;
mod student;

pub use beta::{incomplete_beta, student_t_cdf};
pub use fit::{LinearFit, linear_fit, weighted_linear_fit};
pub use interval::{Bootstrap, Interval, binomial_interval};
pub use moments::{mean, median, quantile, sd, stderr, sum};
pub use rank::spearman;
pub use student::{Alternative, TTest, one_sample, paired};

use crate::ml::{Error, Result};

/// Refuses values that are not finite or fewer than `least`; `what` names the statistic.
fn require(what: &str, values: &[f64], least: usize) -> Result<()> {
    if values.len() < least {
        return Err(Error::Setting(format!("{what} takes at least {least} values, got {}", values.len())));
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { what: format!("value {at} given to {what}") });
    }
    Ok(())
}

#[cfg(test)]
mod oracle;
