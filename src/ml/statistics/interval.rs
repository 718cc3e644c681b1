//! Intervals: exact for a share, by resampling for anything else.

use super::beta::inverse_incomplete_beta;
use super::{quantile, require};
use crate::ml::rng::{Draws, Stream};
use crate::ml::{Error, Result};

/// An interval with both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The exact interval of Clopper and Pearson (1934) for the probability behind `successes` of `trials`, at `level` (such as
/// 0.95), with α = 1 − level: from the α/2 quantile of Beta(k, n − k + 1) to the 1 − α/2 quantile of Beta(k + 1, n − k); from 0
/// where nothing succeeded, to 1 where everything did.
///
/// # Errors
/// [`Error::Setting`] for no trial, more successes than trials, or a level outside (0, 1).
pub fn binomial_interval(successes: u64, trials: u64, level: f64) -> Result<Interval> {
    if trials == 0 || successes > trials {
        return Err(Error::Setting(format!("{successes} successes in {trials} trials")));
    }
    check_level(level)?;
    let half = 0.5 * (1.0 - level);
    let (k, n) = (successes as f64, trials as f64);
    let low = if successes == 0 { 0.0 } else { inverse_incomplete_beta(k, n - k + 1.0, half) };
    // The upper end by symmetry: with n − k failures, so that small shares keep their digits at either end.
    let high = if successes == trials { 1.0 } else { inverse_incomplete_beta(k + 1.0, n - k, 1.0 - half) };
    Ok(Interval { low, high })
}

fn check_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Error::Setting(format!("a confidence level is between 0 and 1, got {level}")))
}

/// The percentile bootstrap (Efron 1979), over single samples or over blocks of successive ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: u32,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// Length of the blocks that are drawn whole: 1 for independent samples; for a series, longer than its memory (circular
    /// blocks, Politis and Romano 1992).
    pub block: usize,
}

impl Bootstrap {
    /// The interval of `statistic` over resamples of `samples` indices 0..samples. The statistic is given the indices drawn
    /// (as many as there are samples), so one resample can serve several series that belong together. Resample r is drawn
    /// at (0, r) of `stream`: more resamples leave the first ones as they are.
    ///
    /// # Errors
    /// [`Error::Setting`] for no sample, fewer than two resamples, or a block or level out of range;
    /// [`Error::NotFinite`] if the statistic of a resample is not finite.
    pub fn interval(&self, samples: usize, stream: &Stream, statistic: impl Fn(&[usize]) -> f64) -> Result<Interval> {
        check_level(self.level)?;
        if self.block == 0 || self.block > samples {
            return Err(Error::Setting(format!("blocks of {} in {samples} samples", self.block)));
        }
        let values: Vec<f64> = (0..self.resamples)
            .map(|resample| statistic(&draw_blocks(samples, self.block, &mut stream.at(0, resample))))
            .collect();
        require("a bootstrap", &values, 2)?;
        let half = 0.5 * (1.0 - self.level);
        Ok(Interval { low: quantile(&values, half)?, high: quantile(&values, 1.0 - half)? })
    }
}

/// Blocks of successive indices from uniformly drawn starts, going on at 0 past the end, cut to `samples` in all.
fn draw_blocks(samples: usize, block: usize, draws: &mut Draws) -> Vec<usize> {
    let mut indices = Vec::with_capacity(samples);
    while indices.len() < samples {
        let start = draws.below(samples as u64) as usize;
        let take = block.min(samples - indices.len());
        indices.extend((start..start + take).map(|index| index % samples));
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::{mean, stderr};

    #[test]
    fn a_share_of_nothing_or_all_has_the_closed_form() {
        // With no success in n the upper end solves (1 − p)ⁿ = α/2.
        let none = binomial_interval(0, 20, 0.95).unwrap();
        assert!((none.high - (1.0 - 0.025f64.powf(0.05))).abs() < 1e-14 && none.low.abs() < 1e-300);
        let all = binomial_interval(20, 20, 0.95).unwrap();
        assert!((all.low - 0.025f64.powf(0.05)).abs() < 1e-14 && (all.high - 1.0).abs() < 1e-300);
    }

    #[test]
    fn counts_and_levels_that_make_no_sense_are_refused() {
        assert_eq!(binomial_interval(3, 2, 0.95).unwrap_err().to_string(), "3 successes in 2 trials");
        assert!(binomial_interval(0, 0, 0.95).is_err());
        assert!(binomial_interval(1, 2, 1.0).is_err());
        assert!(binomial_interval(1, 2, f64::NAN).is_err());
    }

    #[test]
    fn the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() {
        let mut draws = Stream::new(0, "test").at(0, 0);
        let values: Vec<f64> = (0..400).map(|_| draws.normal()).collect();
        let bootstrap = Bootstrap { resamples: 4000, level: 0.95, block: 1 };
        let of = |indices: &[usize]| indices.iter().map(|&i| values[i]).sum::<f64>() / indices.len() as f64;
        let interval = bootstrap.interval(values.len(), &Stream::new(1, "bootstrap"), of).unwrap();
        let (mean, stderr) = (mean(&values).unwrap(), stderr(&values).unwrap());
        // The ends of 4,000 resamples scatter by about 4 % of a standard error.
        assert!(((interval.low - mean) / stderr + 1.96).abs() < 0.2, "{interval:?}");
        assert!(((interval.high - mean) / stderr - 1.96).abs() < 0.2, "{interval:?}");
    }

    #[test]
    fn blocks_widen_the_interval_of_a_series_with_memory() {
        let mut draws = Stream::new(0, "test").at(0, 0);
        let mut level = 0.0;
        let series: Vec<f64> = (0..2000)
            .map(|_| {
                level = 0.9 * level + draws.normal();
                level
            })
            .collect();
        let width = |block| {
            let of = |indices: &[usize]| indices.iter().map(|&i| series[i]).sum::<f64>() / indices.len() as f64;
            let bootstrap = Bootstrap { resamples: 1000, level: 0.95, block };
            let interval = bootstrap.interval(series.len(), &Stream::new(1, "bootstrap"), of).unwrap();
            interval.high - interval.low
        };
        // The true ratio of the widths is √((1 + 0.9)/(1 − 0.9)) = 4.4; blocks of 100 reach most of it.
        let ratio = width(100) / width(1);
        assert!((3.0..5.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn blocks_are_successive_and_wrap() {
        let indices = draw_blocks(10, 4, &mut Stream::new(3, "bootstrap").at(0, 0));
        assert_eq!(indices.len(), 10);
        for block in indices.chunks(4) {
            assert!(block.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 10), "{indices:?}");
        }
        let bootstrap = Bootstrap { resamples: 10, level: 0.9, block: 11 };
        assert!(bootstrap.interval(10, &Stream::new(0, "bootstrap"), |_| 0.0).is_err());
    }
}
