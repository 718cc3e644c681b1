//! Walks down a landscape: gradient descent with momentum under noise, a few runs at a time. A run depends on its own number alone.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::landscape::{Landscape, Room};
use super::noise::Noise;
use super::scalar::{LANES, Lanes};
use crate::ml::objective::{Interrupt, poll};
use crate::ml::rng::{Draws, Stream};
use crate::ml::{Error, Result};

/// How a walk goes.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// Down what.
    pub landscape: &'a Landscape,
    /// Where it starts.
    pub start: &'a [f64],
    /// The covariance of the noise.
    pub noise: &'a Noise,
    /// σ: what the noise is multiplied with.
    pub sigma: f64,
    /// η.
    pub rate: f64,
    /// μ, with v ← μv + (1 − ν)g and θ ← θ − ηv.
    pub momentum: f64,
    /// ν.
    pub dampening: f64,
    /// How many iterations.
    pub iterations: u64,
    /// After how many the walk is taken to be in equilibrium: means are taken from there on.
    pub equilibrate: u64,
    /// Every so many iterations, and at the start, in equilibrium and at the end, the point is recorded.
    pub every: u64,
}

/// A point of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// After how many iterations.
    pub iteration: u64,
    /// The coordinates.
    pub point: Vec<f64>,
    /// T, the sum of the eigenvalues on the floor below.
    pub trace: f64,
    /// Their product.
    pub determinant: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its recorded points, in order.
    pub recorded: Vec<Recorded>,
    /// The mean of each coordinate over the iterations after equilibrium.
    pub mean: Vec<f64>,
}

impl Walk<'_> {
    /// The runs of these numbers; run r is drawn at position (0, r) of the stream.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where a run leaves the landscape; [`Error::Setting`] where a variance is negative, as that of SGD's noise is where an
    /// eigenvalue is; [`Error::Interrupted`].
    pub fn runs(&self, stream: &Stream, runs: Range<u32>, stop: &dyn Interrupt) -> Result<Vec<Run>> {
        let numbers: Vec<u32> = runs.collect();
        let mut all = Vec::with_capacity(numbers.len());
        for few in numbers.chunks(LANES) {
            all.extend(self.few(stream, few, stop)?);
        }
        Ok(all)
    }

    /// Up to [`LANES`] runs side by side; where there are fewer, the last is walked several times over and taken once.
    fn few(&self, stream: &Stream, runs: &[u32], stop: &dyn Interrupt) -> Result<Vec<Run>> {
        let run_of = |lane: usize| runs[lane.min(runs.len() - 1)];
        let mut draws: [Draws; LANES] = std::array::from_fn(|lane| stream.at(0, run_of(lane)));
        let mut x: Vec<Lanes> = self.start.iter().map(|&x| Lanes([x; LANES])).collect();
        let zero = Lanes([0.0; LANES]);
        let (mut velocity, mut gradient, mut sum) = (vec![zero; x.len()], vec![zero; x.len()], vec![zero; x.len()]);
        let (mut room, mut designs) = (Room::default(), Vec::new());
        let mut found: Vec<Run> = runs.iter().map(|_| Run { recorded: Vec::new(), mean: Vec::new() }).collect();
        for iteration in 0..=self.iterations {
            poll(stop)?;
            let is_last = iteration == self.iterations;
            let records = iteration.is_multiple_of(self.every) || iteration == self.equilibrate || is_last;
            let lost = |coordinate: &str, lane: usize| Error::NotFinite {
                what: format!(
                    "{coordinate} of run {} after {iteration} iterations at rate {}",
                    run_of(lane),
                    self.rate
                ),
            };
            for (i, x) in x.iter().enumerate() {
                if let Some(lane) = x.0.iter().position(|x| !x.is_finite()) {
                    return Err(lost(&format!("coordinate {}", i + 1), lane));
                }
            }
            if records || *self.noise != Noise::None {
                let second = "the second derivative of the loss on the floor below a point";
                self.landscape.spectrum(&x, &mut room).map_err(|lane| lost(second, lane))?;
            }
            if records {
                for (lane, run) in found.iter_mut().enumerate() {
                    let recorded = recorded(iteration, &x, &room.values, lane);
                    if !(recorded.trace.is_finite() && recorded.determinant.is_finite()) {
                        return Err(lost("the trace or the determinant", lane));
                    }
                    run.recorded.push(recorded);
                }
            }
            if is_last {
                break;
            }
            self.landscape.gradient(&x, &mut gradient, &mut room);
            if *self.noise != Noise::None {
                let variances = self.noise.variances(&room.values, &mut designs);
                self.disturb(&mut gradient, (&room, &variances), &mut draws, |lane| (run_of(lane), iteration))?;
            }
            for i in 0..x.len() {
                for lane in 0..LANES {
                    let v = self.momentum * velocity[i].0[lane] + (1.0 - self.dampening) * gradient[i].0[lane];
                    velocity[i].0[lane] = v;
                    x[i].0[lane] -= self.rate * v;
                    if iteration >= self.equilibrate {
                        sum[i].0[lane] += x[i].0[lane];
                    }
                }
            }
        }
        let count = (self.iterations - self.equilibrate.min(self.iterations)).max(1) as f64;
        for (lane, run) in found.iter_mut().enumerate() {
            run.mean = sum.iter().map(|sum| sum.0[lane] / count).collect();
        }
        Ok(found)
    }

    /// Adds noise of these variances to the gradient of the steep coordinates.
    fn disturb(
        &self,
        gradient: &mut [Lanes],
        (spectrum, variances): (&Room, &[Lanes]),
        draws: &mut [Draws; LANES],
        at: impl Fn(usize) -> (u32, u64),
    ) -> Result<()> {
        let steep = self.landscape.steep();
        for (lane, draws) in draws.iter_mut().enumerate() {
            for (i, variance) in variances.iter().enumerate() {
                let variance = variance.0[lane];
                if variance.is_nan() || variance < 0.0 {
                    let ((run, iteration), value) = (at(lane), spectrum.values[i].0[lane]);
                    return Err(Error::Setting(format!(
                        "noise of variance {variance} along eigenvalue {value} of run {run} after {iteration} iterations: the covariance asked for \
                         is none there"
                    )));
                }
                let kick = self.sigma * variance.sqrt() * draws.normal();
                for (j, &coordinate) in steep.iter().enumerate() {
                    gradient[coordinate].0[lane] += kick * spectrum.vectors[i * steep.len() + j].0[lane];
                }
            }
        }
        Ok(())
    }
}

fn recorded(iteration: u64, x: &[Lanes], eigenvalues: &[Lanes], lane: usize) -> Recorded {
    let eigenvalues = || eigenvalues.iter().map(|value| value.0[lane]);
    Recorded {
        iteration,
        point: x.iter().map(|x| x.0[lane]).collect(),
        trace: eigenvalues().sum(),
        determinant: eigenvalues().product(),
    }
}
