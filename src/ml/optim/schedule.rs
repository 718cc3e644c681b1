//! The learning rate over time, as a factor of the base rate.

use std::f64::consts::PI;

/// How the learning rate changes.
///
/// Of these only [`Schedule::Cosine`] depends on how long training is to be: its `total` says how far, so it belongs to what
/// is trained, not to how long (see [`Schedule::depends_on_horizon`]).
#[derive(Clone, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(tag = "schedule", rename_all = "kebab-case")]
pub enum Schedule {
    /// Always the base rate.
    #[default]
    Constant,
    /// Times `factor` after every `every` epochs (`torch.optim.lr_scheduler.StepLR`).
    Step {
        /// Epochs between two changes, at least 1.
        every: u32,
        /// What the rate is multiplied with.
        factor: f64,
    },
    /// Half a cosine from the base rate to 0 over `total` epochs, moved on at every iteration, 0 afterwards
    /// (Loshchilov and Hutter 2017, without restarts).
    Cosine {
        /// Epochs until the rate is 0, at least 1.
        total: u32,
    },
    /// A linear rise over the first `epochs` epochs, moved on at every iteration; at every moment times what `then` says.
    Warmup {
        /// Epochs until the full rate; 0 is no rise.
        epochs: u32,
        /// The schedule that goes on beneath, counted from epoch 0.
        then: Box<Self>,
    },
}

/// A moment of training: the iteration about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u32,
    /// Iterations completed in this epoch.
    pub iteration: usize,
    /// Iterations in every epoch.
    pub iterations_per_epoch: usize,
}

impl Position {
    /// Iterations completed in all.
    pub fn iterations(self) -> u64 {
        u64::from(self.epoch) * self.iterations_per_epoch as u64 + self.iteration as u64
    }

    /// Epochs completed, with the part of the one begun.
    fn epochs(self) -> f64 {
        f64::from(self.epoch) + self.iteration as f64 / self.iterations_per_epoch as f64
    }
}

impl Schedule {
    /// What the base learning rate is multiplied with at `position`.
    pub fn factor(&self, position: Position) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => libm::pow(*factor, f64::from(position.epoch / (*every).max(1))),
            Self::Cosine { total } => {
                let part = (position.epochs() / f64::from((*total).max(1))).min(1.0);
                0.5 * (1.0 + libm::cos(PI * part))
            }
            Self::Warmup { epochs, then } => {
                let rise = u64::from(*epochs) * position.iterations_per_epoch as u64;
                let risen = (position.iterations() + 1) as f64 / rise.max(1) as f64;
                risen.min(1.0) * then.factor(position)
            }
        }
    }

    /// Whether the rate at a moment depends on how long training is to be.
    pub fn depends_on_horizon(&self) -> bool {
        match self {
            Self::Constant | Self::Step { .. } => false,
            Self::Cosine { .. } => true,
            Self::Warmup { then, .. } => then.depends_on_horizon(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, iteration: usize) -> Position {
        Position { epoch, iteration, iterations_per_epoch: 4 }
    }

    #[test]
    fn a_step_comes_at_the_start_of_an_epoch() {
        let schedule = Schedule::Step { every: 3, factor: 0.5 };
        let factors = [at(0, 0), at(2, 3), at(3, 0), at(6, 1)].map(|position| schedule.factor(position));
        assert_eq!(factors.map(f64::to_bits), [1.0f64, 1.0, 0.5, 0.25].map(f64::to_bits));
    }

    #[test]
    fn a_cosine_ends_at_nothing_and_stays_there() {
        let schedule = Schedule::Cosine { total: 2 };
        let factors = [at(0, 0), at(1, 0), at(2, 0), at(5, 0)].map(|position| schedule.factor(position));
        let expected = [1.0, 0.5, 0.0, 0.0];
        assert!(factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{factors:?}");
    }

    #[test]
    fn a_warm_up_rises_by_equal_parts_over_what_lies_beneath() {
        let schedule = Schedule::Warmup { epochs: 2, then: Box::new(Schedule::Step { every: 1, factor: 0.5 }) };
        let factors = [at(0, 0), at(0, 3), at(1, 0), at(1, 3), at(2, 0)].map(|position| schedule.factor(position));
        assert_eq!(factors.map(f64::to_bits), [0.125f64, 0.5, 0.3125, 0.5, 0.25].map(f64::to_bits));
    }

    #[test]
    fn only_the_cosine_depends_on_the_horizon() {
        let cosine = Schedule::Cosine { total: 5 };
        assert!(cosine.depends_on_horizon());
        assert!(Schedule::Warmup { epochs: 1, then: Box::new(cosine) }.depends_on_horizon());
        assert!(!Schedule::Warmup { epochs: 1, then: Box::new(Schedule::Constant) }.depends_on_horizon());
        assert!(!Schedule::Step { every: 1, factor: 0.1 }.depends_on_horizon());
    }
}
