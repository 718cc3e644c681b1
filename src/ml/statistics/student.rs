//! Student's t-test (Student 1908), one-sided: whether a mean lies on the side that a claim says.

use super::{beta::student_t_cdf, mean, require, stderr};
use crate::ml::{Error, Result};

/// On which side of the stated mean the alternative lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// The mean is less.
    Less,
    /// The mean is greater.
    Greater,
}

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TTest {
    /// (mean − stated mean) / stderr.
    pub t: f64,
    /// Degrees of freedom: one less than the values.
    pub df: f64,
    /// Probability, if the mean were as stated, of a t at least this far on the alternative's side.
    pub p: f64,
    /// Mean of the values, or of the differences.
    pub mean: f64,
    /// Its standard error.
    pub stderr: f64,
}

/// Tests whether the mean of `values` lies on the `alternative`'s side of `stated`.
///
/// # Errors
/// Fewer than two values, values that are not finite, or values without spread (t is not defined there).
pub fn one_sample(values: &[f64], stated: f64, alternative: Alternative) -> Result<TTest> {
    require("a t-test", values, 2)?;
    let (mean, stderr) = (mean(values)?, stderr(values)?);
    if stderr <= 0.0 {
        return Err(Error::Setting("a t-test takes values that differ".to_owned()));
    }
    let t = (mean - stated) / stderr;
    let df = (values.len() - 1) as f64;
    // The tail itself, not one minus the rest, on either side.
    let p = student_t_cdf(if alternative == Alternative::Less { t } else { -t }, df);
    Ok(TTest { t, df, p, mean, stderr })
}

/// Tests whether the mean of the differences `a[i] − b[i]` lies on the `alternative`'s side of 0.
///
/// # Errors
/// As [`one_sample`], or lengths that differ.
pub fn paired(a: &[f64], b: &[f64], alternative: Alternative) -> Result<TTest> {
    if a.len() != b.len() {
        let found = format!("{} and {}", a.len(), b.len());
        return Err(Error::Shape { operation: "paired t-test", expected: "pairs".to_owned(), found });
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    one_sample(&differences, 0.0, alternative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_sides_share_the_probability() {
        let values = [1.0, 2.5, -0.5, 3.0];
        let less = one_sample(&values, 1.0, Alternative::Less).unwrap();
        let greater = one_sample(&values, 1.0, Alternative::Greater).unwrap();
        assert!((less.p + greater.p - 1.0).abs() < 1e-15 && greater.p < 0.5);
        assert_eq!((less.t, less.df), (greater.t, 3.0));
    }

    #[test]
    fn a_pair_is_its_difference() {
        let test = paired(&[3.0, 4.0, 9.0], &[1.0, 1.0, 5.0], Alternative::Greater).unwrap();
        assert_eq!(test, one_sample(&[2.0, 3.0, 4.0], 0.0, Alternative::Greater).unwrap());
        assert!(paired(&[1.0], &[1.0, 2.0], Alternative::Less).is_err());
    }

    #[test]
    fn values_without_spread_are_refused() {
        let message = one_sample(&[2.0, 2.0], 0.0, Alternative::Greater).unwrap_err().to_string();
        assert_eq!(message, "a t-test takes values that differ");
        assert!(one_sample(&[2.0], 0.0, Alternative::Greater).is_err());
        assert!(one_sample(&[2.0, f64::NAN], 0.0, Alternative::Greater).is_err());
    }
}
