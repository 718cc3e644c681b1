//! From a state to the minimum below it: full-batch gradient descent with the training's settings and no noise, until the
//! loss falls under a bound.
//!
//! ```text
//! at θ_k:  (L, g) = loss and gradient
//!          L < ε  → the minimum is θ_k, after k steps
//!          else   → θ_{k+1} by one step of SGD along g
//! ```
//!
//! The loss that decides comes with the gradient that would be followed, so the test costs nothing; and nothing is carried
//! from step to step but what [`DescentState`] holds, so blocks of steps add up to the descent made in one go, bit for bit.

use crate::ml::tensor::Tensor;

use super::Surface;
use crate::ml::objective::Interrupt;
use crate::ml::optim::Sgd;
use crate::ml::params::Theta;
use crate::ml::{Error, Result};

/// How to descend, and how far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// The optimizer that the training has.
    pub sgd: Sgd,
    /// Learning rate, the same at every step.
    pub lr: f64,
    /// ε: the loss under which a point is a minimum.
    pub until_loss: f64,
}

/// Where a descent stands.
#[derive(Clone, Debug)]
pub struct DescentState {
    /// θ after `steps` steps.
    pub theta: Theta,
    /// The momentum buffer after them, `(N,)`; `None` before the first and without momentum.
    pub buffer: Option<Tensor>,
    /// Steps made from the start.
    pub steps: u64,
    /// L(θ), where it is known: it is at the end of a descent, it is not after a block that ended by its limit.
    pub loss: Option<f64>,
}

impl DescentState {
    /// The start of a descent: whatever the training's buffer was, this one begins empty.
    pub fn start(theta: Theta) -> Self {
        Self { theta, buffer: None, steps: 0, loss: None }
    }

    /// Whether the loss is known to lie under `until_loss`.
    pub fn reached(&self, until_loss: f64) -> bool {
        self.loss.is_some_and(|loss| loss < until_loss)
    }
}

impl Descent {
    /// Goes on from `state` by at most `limit` steps and stops before at the first point whose loss is under the bound.
    ///
    /// `limit` counts steps and not passes: a block of n steps that ends by its limit makes n passes, and whether its end is
    /// a minimum the next block's first pass says. A state that is known to lie under the bound is given back at once; one
    /// known to lie above it, the end of a descent with a higher bound, goes on as if that had never stopped.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a loss is not finite, [`Error::Interrupted`], or what the surface says.
    pub fn run_block(
        &self,
        surface: &impl Surface,
        state: DescentState,
        limit: u64,
        stop: &dyn Interrupt,
    ) -> Result<DescentState> {
        let mut state = state;
        for _ in 0..limit {
            if state.reached(self.until_loss) {
                break;
            }
            let (loss, gradient) = surface.gradient(&state.theta, stop).map_err(|error| at_step(error, state.steps))?;
            if loss < self.until_loss {
                state.loss = Some(loss);
                break;
            }
            let (moved, buffer) = self.sgd.step(self.lr, state.theta.flat(), &gradient, state.buffer.as_ref())?;
            let theta = Theta::new(state.theta.layout().clone(), moved)?;
            state = DescentState { theta, buffer, steps: state.steps + 1, loss: None };
        }
        Ok(state)
    }
}

fn at_step(error: Error, step: u64) -> Error {
    match error {
        Error::NotFinite { what } => Error::NotFinite { what: format!("{what} after {step} steps of a descent") },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::landscape::quadratic::{Quadratic, point};
    use crate::ml::objective::NoInterrupt;

    fn descent(momentum: f64, lr: f64, until_loss: f64) -> Descent {
        Descent { sgd: Sgd { momentum, ..Sgd::default() }, lr, until_loss }
    }

    fn run(descent: &Descent, start: &[f64], limit: u64) -> DescentState {
        let surface = Quadratic::new(&[3.0, 1.0, 0.25]);
        descent.run_block(&surface, DescentState::start(point(start)), limit, &NoInterrupt).unwrap()
    }

    #[test]
    fn without_momentum_every_coordinate_shrinks_by_its_own_factor() {
        // θ_k = (1 − ηλ)ᵏ θ_0, so L(θ_k) = ½ λ θ_0² (1 − ηλ)²ᵏ < ε from k = ln(2ε/λθ_0²) / 2 ln(1 − ηλ) on.
        let (eta, lambda, start, epsilon) = (0.1f64, 1.0f64, 2.0f64, 1e-3f64);
        let end = run(&descent(0.0, eta, epsilon), &[0.0, start, 0.0], 1000);
        let shrink = (1.0 - eta * lambda).ln();
        let expected = ((2.0 * epsilon / (lambda * start * start)).ln() / (2.0 * shrink)).ceil();
        assert_eq!(end.steps, expected as u64);
        let theta = end.theta.to_vec_f64().unwrap()[1];
        assert!((theta - start * (expected * shrink).exp()).abs() < 1e-13);
        assert!((end.loss.unwrap() - 0.5 * lambda * theta * theta).abs() < 1e-16);
    }

    #[test]
    fn with_momentum_every_coordinate_is_a_sum_of_two_powers() {
        // θ_{k+1} = (1 + μ − ηλ) θ_k − μ θ_{k−1}, and θ_1 = (1 − ηλ) θ_0: powers of the roots of r² − (1 + μ − ηλ) r + μ.
        let (mu, eta, lambda, start) = (0.5f64, 0.05f64, 1.0f64, 2.0f64);
        let end = run(&descent(mu, eta, 0.0), &[0.0, start, 0.0], 40);
        let half = (1.0 + mu - eta * lambda) / 2.0;
        let root = (half * half - mu).sqrt();
        let (r, s) = (half + root, half - root);
        let second = (1.0 - eta * lambda) * start;
        let (c, d) = ((second - s * start) / (r - s), (r * start - second) / (r - s));
        let expected = c * r.powi(40) + d * s.powi(40);
        assert!((end.theta.to_vec_f64().unwrap()[1] - expected).abs() < 1e-13);
        assert_eq!((end.steps, end.loss), (40, None));
    }

    #[test]
    fn blocks_add_up_to_one_descent_bit_for_bit_and_pass_for_pass() {
        let descent = descent(0.9, 0.1, 1e-6);
        let start = DescentState::start(point(&[1.0, -2.0, 3.0]));
        let once = Quadratic::new(&[3.0, 1.0, 0.25]);
        let whole = descent.run_block(&once, start.clone(), 10_000, &NoInterrupt).unwrap();
        for block in [1, 7, 100] {
            let surface = Quadratic::new(&[3.0, 1.0, 0.25]);
            let mut state = start.clone();
            while !state.reached(descent.until_loss) {
                state = descent.run_block(&surface, state, block, &NoInterrupt).unwrap();
            }
            assert_eq!(bits(&state.theta), bits(&whole.theta));
            assert_eq!((state.steps, state.loss.map(f64::to_bits)), (whole.steps, whole.loss.map(f64::to_bits)));
            let buffer = |state: &DescentState| state.buffer.as_ref().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(buffer(&state), buffer(&whole));
            assert_eq!(surface.passes.get(), once.passes.get());
        }
        assert_eq!(once.passes.get(), whole.steps + 1);
    }

    fn bits(theta: &Theta) -> Vec<u64> {
        theta.to_vec_f64().unwrap().into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn a_lower_bound_goes_on_from_the_end_of_a_higher_one() {
        let surface = Quadratic::new(&[3.0, 1.0, 0.25]);
        let start = DescentState::start(point(&[1.0, -2.0, 3.0]));
        let higher = descent(0.9, 0.1, 1e-2).run_block(&surface, start.clone(), 10_000, &NoInterrupt).unwrap();
        let lower = descent(0.9, 0.1, 1e-5);
        let on = lower.run_block(&surface, higher.clone(), 10_000, &NoInterrupt).unwrap();
        let direct = lower.run_block(&surface, start, 10_000, &NoInterrupt).unwrap();
        assert!(higher.steps < on.steps);
        assert_eq!((bits(&on.theta), on.steps), (bits(&direct.theta), direct.steps));
    }

    #[test]
    fn a_state_under_the_bound_has_no_steps_and_a_known_one_costs_no_pass() {
        let surface = Quadratic::new(&[1.0]);
        let descent = descent(0.9, 0.1, 1.0);
        let end = descent.run_block(&surface, DescentState::start(point(&[0.5])), 100, &NoInterrupt).unwrap();
        assert_eq!((end.steps, end.loss, end.buffer.is_none()), (0, Some(0.125), true));
        let again = descent.run_block(&surface, end, 100, &NoInterrupt).unwrap();
        assert_eq!((again.steps, surface.passes.get()), (0, 1));
    }

    #[test]
    fn a_descent_that_diverges_says_after_how_many_steps() {
        let surface = Quadratic::new(&[1e3]);
        let start = DescentState::start(point(&[1.0]));
        let error = descent(0.0, 1e10, 1e-3).run_block(&surface, start, 1000, &NoInterrupt).unwrap_err();
        assert_eq!(error.to_string(), "the training loss after 12 steps of a descent is not finite");
    }

    #[test]
    fn an_interrupt_ends_it() {
        let surface = Quadratic::new(&[1.0]);
        let start = DescentState::start(point(&[1.0]));
        let error = descent(0.0, 0.1, 0.0).run_block(&surface, start, 10, &|| true).unwrap_err();
        assert!(matches!(error, Error::Interrupted));
    }
}
