//! Sums, means, spreads and quantiles.

use super::require;
use crate::ml::Result;

/// Sum by halves (Higham 1993): the rounding error grows with the logarithm of the number of values, and the order is fixed.
pub fn sum(values: &[f64]) -> f64 {
    const STRAIGHT: usize = 32;
    if values.len() <= STRAIGHT {
        return values.iter().sum();
    }
    let (left, right) = values.split_at(values.len() / 2);
    sum(left) + sum(right)
}

/// Arithmetic mean.
///
/// # Errors
/// No value, or one that is not finite.
pub fn mean(values: &[f64]) -> Result<f64> {
    require("a mean", values, 1)?;
    Ok(sum(values) / values.len() as f64)
}

/// Standard deviation with n − 1 below the fraction line, in two passes.
///
/// # Errors
/// Fewer than two values, or one that is not finite.
pub fn sd(values: &[f64]) -> Result<f64> {
    require("a standard deviation", values, 2)?;
    let mean = mean(values)?;
    let squares: Vec<f64> = values.iter().map(|x| (x - mean) * (x - mean)).collect();
    Ok((sum(&squares) / (values.len() - 1) as f64).sqrt())
}

/// Standard error of the mean of independent values: sd / √n.
///
/// # Errors
/// As [`sd`].
pub fn stderr(values: &[f64]) -> Result<f64> {
    Ok(sd(values)? / (values.len() as f64).sqrt())
}

/// Quantile at `level` in [0, 1], linear between order statistics (type 7 of Hyndman and Fan 1996, the default of `numpy.quantile`).
///
/// # Errors
/// No value, or one that is not finite.
///
/// # Panics
/// If `level` is outside [0, 1].
pub fn quantile(values: &[f64], level: f64) -> Result<f64> {
    assert!((0.0..=1.0).contains(&level), "a quantile's level lies in [0, 1]");
    require("a quantile", values, 1)?;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = level * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Ok(sorted[below] + (place - below as f64) * (sorted[above] - sorted[below]))
}

/// The quantile at one half.
///
/// # Errors
/// As [`quantile`].
pub fn median(values: &[f64]) -> Result<f64> {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_by_halves_keeps_what_a_running_sum_loses() {
        let values = vec![0.1; 1 << 20];
        let exact = 0.1 * f64::from(1 << 20);
        let running = values.iter().fold(0.0, |total, x| total + x);
        assert!((sum(&values) - exact).abs() < 1e-9);
        assert!(f64::abs(running - exact) > 1e-8);
    }

    #[test]
    fn moments_of_a_small_set_are_those_worked_by_hand() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values).unwrap().to_bits(), 5.0f64.to_bits());
        assert!((sd(&values).unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert!((stderr(&values).unwrap() - (32.0f64 / 7.0 / 8.0).sqrt()).abs() < 1e-15);
        assert_eq!(
            [median(&values), quantile(&values, 0.0), quantile(&values, 1.0)].map(|x| x.unwrap().to_bits()),
            [4.5f64, 2.0, 9.0].map(f64::to_bits)
        );
        assert!((quantile(&values, 0.9).unwrap() - 7.6).abs() < 1e-14);
    }

    #[test]
    fn too_few_values_and_values_that_are_not_finite_are_refused() {
        assert_eq!(mean(&[]).unwrap_err().to_string(), "a mean takes at least 1 values, got 0");
        assert!(sd(&[1.0]).is_err());
        assert_eq!(median(&[1.0, f64::NAN]).unwrap_err().to_string(), "value 1 given to a quantile is not finite");
    }
}
