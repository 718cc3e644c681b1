//! Order statistics of pairs.

use super::{require, sum};
use crate::ml::{Error, Result};

/// Spearman's ρ: Pearson's correlation of the ranks, equal values sharing the mean of their ranks; in [−1, 1].
///
/// # Errors
/// Lengths that differ, fewer than two pairs, values that are not finite, or one side all alike (ρ is not defined there).
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64> {
    if x.len() != y.len() {
        let found = format!("{} and {}", x.len(), y.len());
        return Err(Error::Shape { operation: "spearman", expected: "as many x as y".to_owned(), found });
    }
    require("a rank correlation", x, 2)?;
    require("a rank correlation", y, 2)?;
    let (a, b) = (ranks(x), ranks(y));
    // Ranks are multiples of one half, so twice their distance from the mean is a whole number and every sum is exact.
    let centre = (x.len() + 1) as f64 / 2.0;
    let product =
        |a: &[f64], b: &[f64]| sum(&a.iter().zip(b).map(|(a, b)| (a - centre) * (b - centre)).collect::<Vec<_>>());
    let spread = product(&a, &a) * product(&b, &b);
    if spread > 0.0 {
        Ok(product(&a, &b) / spread.sqrt())
    } else {
        Err(Error::Setting("a rank correlation takes values that differ".to_owned()))
    }
}

/// Ranks from 1, equal values sharing their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    #[expect(clippy::float_cmp, reason = "a tie is equality, and −0 ties with 0")]
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = (2 * start + group.len() + 1) as f64 / 2.0;
        for &index in group {
            ranks[index] = shared;
        }
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(ranks(&[-0.0, 0.0]), [1.5, 1.5]);
    }

    #[test]
    fn any_rising_function_has_rho_1() {
        let x = [0.1, 5.0, 2.0, 3.0];
        assert!((spearman(&x, &x.map(f64::exp)).unwrap() - 1.0).abs() < 1e-15);
        assert!((spearman(&x, &x.map(|x| -x * x)).unwrap() + 1.0).abs() < 1e-15);
    }

    #[test]
    fn values_all_alike_have_no_rho() {
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(spearman(&[1.0, 2.0], &[1.0]).is_err());
    }
}
