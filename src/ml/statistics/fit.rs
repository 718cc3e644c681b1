//! Straight lines through points, by least squares.

use super::{require, sum};
use crate::ml::{Error, Result};

/// The line y = intercept + slope · x of least Σ w (y − ŷ)².
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearFit {
    /// Change of y per unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
    /// Standard error of the slope, the noise estimated from the residuals (n − 2 degrees of freedom); 0 for two points.
    pub slope_stderr: f64,
    /// Standard error of the intercept, likewise.
    pub intercept_stderr: f64,
    /// Standard error of the slope if the weights are 1/se² of the points: √(1/Σ w (x − x̄)²). Without weights it means
    /// nothing but that for se = 1.
    pub slope_stderr_known: f64,
    /// 1 − Σ w (y − ŷ)² / Σ w (y − ȳ)², with weighted means; 1 if the y are all alike.
    pub r_squared: f64,
    /// Number of points.
    pub points: usize,
}

impl LinearFit {
    /// The line's height at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// The line through points that all count alike.
///
/// # Errors
/// As [`weighted_linear_fit`].
pub fn linear_fit(x: &[f64], y: &[f64]) -> Result<LinearFit> {
    weighted_linear_fit(x, y, &vec![1.0; x.len()])
}

/// The line through points of weights `w`, by custom 1/se².
///
/// # Errors
/// Lengths that differ, fewer than two points, values that are not finite, weights that are not positive, x all alike.
pub fn weighted_linear_fit(x: &[f64], y: &[f64], w: &[f64]) -> Result<LinearFit> {
    if x.len() != y.len() || x.len() != w.len() {
        let found = format!("{}, {} and {}", x.len(), y.len(), w.len());
        return Err(Error::Shape { operation: "linear fit", expected: "as many x as y and weights".to_owned(), found });
    }
    for values in [x, y, w] {
        require("a linear fit", values, 2)?;
    }
    if w.iter().any(|&weight| weight <= 0.0) {
        return Err(Error::Setting("a linear fit takes positive weights".to_owned()));
    }
    let weighted = |of: &dyn Fn(usize) -> f64| sum(&(0..x.len()).map(|i| w[i] * of(i)).collect::<Vec<_>>());
    let total = sum(w);
    let (mean_x, mean_y) = (weighted(&|i| x[i]) / total, weighted(&|i| y[i]) / total);
    let sxx = weighted(&|i| (x[i] - mean_x) * (x[i] - mean_x));
    let sxy = weighted(&|i| (x[i] - mean_x) * (y[i] - mean_y));
    let syy = weighted(&|i| (y[i] - mean_y) * (y[i] - mean_y));
    if sxx <= 0.0 {
        return Err(Error::Setting("a linear fit takes at least two different x".to_owned()));
    }
    let slope = sxy / sxx;
    let intercept = mean_y - slope * mean_x;
    let residual = weighted(&|i| {
        let apart = (y[i] - mean_y) - slope * (x[i] - mean_x);
        apart * apart
    });
    let noise = if x.len() > 2 { residual / (x.len() - 2) as f64 } else { 0.0 };
    Ok(LinearFit {
        slope,
        intercept,
        slope_stderr: (noise / sxx).sqrt(),
        intercept_stderr: (noise * (1.0 / total + mean_x * mean_x / sxx)).sqrt(),
        slope_stderr_known: (1.0 / sxx).sqrt(),
        r_squared: if syy > 0.0 { 1.0 - residual / syy } else { 1.0 },
        points: x.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_give_it_back_whatever_their_weights() {
        let x = [1.0, 2.0, 4.0, 8.0];
        let y = x.map(|x| 3.0 - 0.5 * x);
        let fit = weighted_linear_fit(&x, &y, &[1.0, 5.0, 0.1, 2.0]).unwrap();
        assert!((fit.slope + 0.5).abs() < 1e-14 && (fit.intercept - 3.0).abs() < 1e-14);
        assert!((fit.r_squared - 1.0).abs() < 1e-14 && fit.slope_stderr < 1e-14);
        assert!((fit.at(10.0) + 2.0).abs() < 1e-13);
    }

    #[test]
    fn a_weight_of_two_is_a_point_given_twice() {
        let once = weighted_linear_fit(&[0.0, 1.0, 3.0], &[1.0, 0.0, 5.0], &[1.0, 2.0, 1.0]).unwrap();
        let twice = linear_fit(&[0.0, 1.0, 1.0, 3.0], &[1.0, 0.0, 0.0, 5.0]).unwrap();
        assert!((once.slope - twice.slope).abs() < 1e-14 && (once.intercept - twice.intercept).abs() < 1e-14);
        assert!((once.r_squared - twice.r_squared).abs() < 1e-14);
        assert!((once.slope_stderr_known - twice.slope_stderr_known).abs() < 1e-14);
    }

    #[test]
    fn what_determines_no_line_is_refused() {
        assert_eq!(
            linear_fit(&[1.0, 1.0], &[1.0, 2.0]).unwrap_err().to_string(),
            "a linear fit takes at least two different x"
        );
        assert!(linear_fit(&[1.0], &[1.0]).is_err());
        assert!(linear_fit(&[1.0, 2.0], &[1.0]).is_err());
        assert!(weighted_linear_fit(&[1.0, 2.0], &[1.0, 2.0], &[1.0, 0.0]).is_err());
        assert!(linear_fit(&[1.0, 2.0], &[1.0, f64::INFINITY]).is_err());
    }
}
