//! The fluctuation–dissipation relation of SGD (Yaida 2019): where the state of training is stationary, ⟨θ·g⟩ = η(1 + μ)/(2(1 − ν)) ⟨v²⟩, in the
//! whole space and in any subspace. θ is taken before the update and v after it; g is the gradient that was applied, that of weight decay included. θ counts from a fixed
//! point, the first of a window: the difference of the sides then telescopes to what θ and v are at the ends of the window, whatever
//! happens in it, so that a side that is the larger tells of a drift.
//!
//! Yaida (2019), "Fluctuation-dissipation relations for stochastic gradient descent", eq. (FDR1').

use crate::ml::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::training::{Step, Training, TrainingState};
use crate::ml::curvature::deflation::Subspace;
use crate::ml::objective::{Interrupt, Objective};
use crate::ml::ops::{elementwise, reduce};
use crate::ml::optim::Schedule;
use crate::ml::rng::Stream;
use crate::ml::statistics::{Bootstrap, Interval, sum};
use crate::ml::{Error, Result};

/// Both sides of the relation at one iteration: θ·g, and η(1 + μ)/(2(1 − ν)) v².
pub type Sides = [f64; 2];

/// Both sides at each of successive iterations, in the whole space and in a subspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// In the whole space.
    pub whole: Vec<Sides>,
    /// In the subspace.
    pub top: Vec<Sides>,
}

impl Series {
    /// Both sides at every iteration of the epoch that begins at `state`; θ counts from `origin`, `(N,)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for Nesterov's look-ahead or a learning rate that changes, for which the relation is another; those of
    /// [`Training::run_epoch`].
    pub fn of_epoch(
        (training, objective): (&Training, &Objective),
        state: TrainingState,
        (origin, top): (&Tensor, &Subspace),
        stop: &(dyn Interrupt + Sync),
    ) -> Result<Self> {
        check(training)?;
        let mut series = Self::default();
        let last = training.iterations_per_epoch(objective.len());
        training.run_observed(objective, state, last, stop, &mut |step| series.add(step, training, (origin, top)))?;
        Ok(series)
    }

    fn add(&mut self, step: &Step<'_>, training: &Training, (origin, top): (&Tensor, &Subspace)) -> Result<()> {
        let factor = factor(training);
        let apart = elementwise::add_scaled(step.theta, origin, -1.0)?;
        let g = match training.sgd.weight_decay {
            0.0 => step.gradient.clone(),
            decay => elementwise::add_scaled(step.gradient, step.theta, decay)?,
        };
        let v = step.velocity.unwrap_or(&g);
        self.whole.push([reduce::dot(&apart, &g)?, factor * reduce::dot(v, v)?]);
        let (apart, g, v) = (top.coefficients(&apart)?, top.coefficients(&g)?, top.coefficients(v)?);
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        self.top.push([product(&apart, &g), factor * product(&v, &v)]);
        Ok(())
    }

    /// Goes on with the iterations that follow.
    pub fn extend(&mut self, later: Self) {
        self.whole.extend(later.whole);
        self.top.extend(later.top);
    }

    /// How far either space is from the relation over the last half of the first `iterations`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where a side is 0; those of [`Bootstrap::interval`].
    ///
    /// # Panics
    /// If there are fewer iterations, or none.
    pub fn deviations(&self, iterations: usize, bootstrap: &Bootstrap, stream: &Stream) -> Result<Deviations> {
        let half = iterations / 2..iterations;
        let (whole, top) = (&self.whole[half.clone()], &self.top[half]);
        let apart = |sides: &[Sides], drawn: &[usize]| (ratio(sides, drawn) - 1.0).abs();
        let all: Vec<usize> = (0..whole.len()).collect();
        let interval = |statistic: &dyn Fn(&[usize]) -> f64| -> Result<Option<Interval>> {
            let enough = bootstrap.block * BLOCKS <= whole.len();
            enough.then(|| bootstrap.interval(whole.len(), stream, statistic)).transpose()
        };
        let space = |sides: &[Sides]| -> Result<Space> {
            let ratio = ratio(sides, &all);
            if !ratio.is_finite() {
                return Err(Error::NotFinite {
                    what: "the ratio of the sides of the fluctuation–dissipation relation".to_owned(),
                });
            }
            let deviation = interval(&|drawn| apart(sides, drawn))?;
            Ok(Space { ratio, deviation: (ratio - 1.0).abs(), interval: deviation })
        };
        let nearer = |drawn: &[usize]| apart(whole, drawn) - apart(top, drawn);
        Ok(Deviations {
            whole: space(whole)?,
            top: space(top)?,
            nearer: nearer(&all),
            nearer_interval: interval(&nearer)?,
        })
    }
}

/// Fewer blocks than these tell nothing of how much they differ.
const BLOCKS: usize = 4;

/// The relation in one space over half a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Space {
    /// The left side over the right.
    pub ratio: f64,
    /// |ratio − 1|.
    pub deviation: f64,
    /// Of the deviation, by resampling blocks of iterations; none where there are too few.
    pub interval: Option<Interval>,
}

/// The relation in both spaces over half a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviations {
    /// In the whole space.
    pub whole: Space,
    /// In the subspace.
    pub top: Space,
    /// By how much the subspace is nearer to 1.
    pub nearer: f64,
    /// Of that, by the same resamples of both.
    pub nearer_interval: Option<Interval>,
}

fn ratio(sides: &[Sides], drawn: &[usize]) -> f64 {
    let side = |which: usize| sum(&drawn.iter().map(|&at| sides[at][which]).collect::<Vec<_>>());
    side(0) / side(1)
}

/// η(1 + μ)/(2(1 − ν)). Without momentum there is no dampening either.
fn factor(training: &Training) -> f64 {
    let dampening = if training.sgd.momentum == 0.0 { 0.0 } else { training.sgd.dampening };
    training.lr * (1.0 + training.sgd.momentum) / (2.0 * (1.0 - dampening))
}

fn check(training: &Training) -> Result<()> {
    let refuse =
        |what: &str| Err(Error::Setting(format!("the fluctuation–dissipation relation is another with {what}")));
    if training.sgd.nesterov {
        return refuse("Nesterov's look-ahead");
    }
    if training.schedule != Schedule::Constant {
        return refuse("a learning rate that changes");
    }
    if training.sgd.momentum != 0.0 && training.sgd.dampening >= 1.0 {
        return refuse("a dampening of 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ml::tensor::Device;

    use super::*;
    use crate::ml::data::Sampling;
    use crate::ml::landscape::training::{Batch, Labels};
    use crate::ml::optim::Sgd;

    const ETA: f64 = 0.02;
    const LAMBDA: [f64; 2] = [5.0, 0.01];

    fn plain() -> Training {
        let (batch, sampling, labels) = (Batch::Of(1), Sampling::Iid, Labels::Soft);
        Training {
            sgd: Sgd::default(),
            lr: ETA,
            schedule: Schedule::Constant,
            batch,
            sampling,
            labels,
            isotropic: None,
            seed: 0,
        }
    }

    /// SGD on ½ Σ λᵢθᵢ² with noise of unit variance in each gradient, from stationarity in the first coordinate; the second relaxes
    /// over some 1/(ηλ) = 5,000 iterations.
    fn quadratic(sgd: Sgd, iterations: u32, seed: u64) -> (Series, Vec<[f64; 2]>) {
        let tensor = |values: [f64; 2]| Tensor::from_slice(&values, 2, &Device::Cpu).unwrap();
        let stream = Stream::new(seed, "quadratic");
        let training = Training { sgd, lr: ETA, ..plain() };
        let origin = tensor([0.0, 3.0]);
        let top = Subspace::from_flat(&tensor([1.0, 0.0]), 2).unwrap();
        let (mut theta, mut buffer) = (origin.clone(), None);
        let (mut series, mut points) = (Series::default(), Vec::new());
        for iteration in 0..iterations {
            let mut draws = stream.at(0, iteration);
            let at: Vec<f64> = theta.to_vec1().unwrap();
            points.push([at[0], at[1]]);
            let gradient = tensor([0, 1].map(|i| LAMBDA[i] * at[i] + draws.normal()));
            let (moved, kept) = sgd.step(ETA, &theta, &gradient, buffer.as_ref()).unwrap();
            let step = Step { theta: &theta, gradient: &gradient, velocity: kept.as_ref() };
            series.add(&step, &training, (&origin, &top)).unwrap();
            (theta, buffer) = (moved, kept);
        }
        (series, points)
    }

    #[test]
    fn on_a_quadratic_the_sides_are_those_of_the_stationary_moments() {
        for (momentum, dampening) in [(0.0, 0.0), (0.9, 0.0), (0.5, 0.5)] {
            let sgd = Sgd { momentum, dampening, ..Sgd::default() };
            let (series, points) = quadratic(sgd, 60_000, 3);
            let late = &points[10_000..];
            let variance = late.iter().map(|point| point[0] * point[0]).sum::<f64>() / late.len() as f64;
            // Without dampening of heavy-ball SGD: ⟨θ²⟩ = ησ²(1 + μ)/(λ(1 − μ)(2(1 + μ) − ηλ)), η → (1 − ν)η.
            let eta = ETA * if momentum == 0.0 { 1.0 } else { 1.0 - dampening };
            let expected =
                eta * (1.0 + momentum) / (LAMBDA[0] * (1.0 - momentum) * (2.0 * (1.0 + momentum) - eta * LAMBDA[0]));
            assert!((variance / expected - 1.0).abs() < 0.06, "{momentum} {dampening}: {variance} {expected}");
            let left = series.top[10_000..].iter().map(|sides| sides[0]).sum::<f64>() / late.len() as f64;
            // ⟨θ·g⟩ = λ⟨θ²⟩ there, for the noise is independent of θ.
            assert!((left / (LAMBDA[0] * expected) - 1.0).abs() < 0.1, "{momentum} {dampening}: {left}");
            let bootstrap = Bootstrap { resamples: 400, level: 0.95, block: 500 };
            let found = series.deviations(60_000, &bootstrap, &Stream::new(0, "bootstrap")).unwrap();
            assert!(found.top.deviation < 0.01, "{momentum} {dampening}: {found:?}");
        }
    }

    #[test]
    fn the_difference_of_the_sides_is_what_the_ends_of_the_window_have() {
        let sgd = Sgd { momentum: 0.9, dampening: 0.3, ..Sgd::default() };
        let (series, points) = quadratic(sgd, 500, 7);
        // Over a ≤ t ≤ b, with x = θ − origin and after the first step, which has no dampening: (1 − ν) Σ (left − right) is
        // [(x²ₐ − x²_b₊₁) − μ(x²ₐ₋₁ − x²_b)]/(2η) + μη(v²ₐ − v²_b₊₁)/2.
        let (a, b) = (1, points.len() - 2);
        let [mu, nu] = [sgd.momentum, sgd.dampening];
        for (coordinate, origin) in [(0, 0.0), (1, 3.0)] {
            let square = |t: usize| (points[t][coordinate] - origin).powi(2);
            let velocity = |t: usize| ((points[t - 1][coordinate] - points[t][coordinate]) / ETA).powi(2);
            let ends = ((square(a) - square(b + 1)) - mu * (square(a - 1) - square(b))) / (2.0 * ETA)
                + 0.5 * mu * ETA * (velocity(a) - velocity(b + 1));
            let apart = |t: usize| {
                let [[whole, whole_right], [top, top_right]] = [series.whole[t], series.top[t]];
                if coordinate == 0 { top - top_right } else { (whole - top) - (whole_right - top_right) }
            };
            let found = (1.0 - nu) * (a..=b).map(apart).sum::<f64>();
            assert!((found - ends).abs() < 1e-9 * (1.0 + ends.abs()), "{coordinate}: {found} {ends}");
        }
    }

    #[test]
    fn a_coordinate_that_still_relaxes_keeps_the_whole_space_from_the_relation() {
        let (series, _) = quadratic(Sgd { momentum: 0.9, ..Sgd::default() }, 400, 5);
        let bootstrap = Bootstrap { resamples: 400, level: 0.95, block: 20 };
        let found = series.deviations(400, &bootstrap, &Stream::new(0, "bootstrap")).unwrap();
        assert!(found.whole.deviation > found.top.deviation, "{found:?}");
        assert!(found.nearer_interval.is_some() && found.whole.interval.is_some());
        let short = series.deviations(100, &bootstrap, &Stream::new(0, "bootstrap")).unwrap();
        assert!(short.whole.interval.is_none(), "{short:?}");
    }

    #[test]
    fn settings_for_which_the_relation_is_another_are_refused() {
        let nesterov = Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() };
        let message = check(&Training { sgd: nesterov, ..plain() }).unwrap_err().to_string();
        assert_eq!(message, "the fluctuation–dissipation relation is another with Nesterov's look-ahead");
        let cosine = Training { schedule: Schedule::Cosine { total: 5 }, ..plain() };
        assert!(check(&cosine).is_err());
    }
}
