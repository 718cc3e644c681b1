//! What is known of a point: its loss over both parts of the data, and how far from 0 it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::foresee::Foreseen;
use super::index::{Point, States};
use super::setting::{self, Setting};
use super::train::{json, summary};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Produced, StageContext};
use crate::key::Output;

/// The action that evaluates a point of a training.
pub fn evaluation(setting: &Setting, validation: &Output, theta: &Output) -> Action {
    setting.action(&Evaluate).input("validation", validation).input("theta", theta)
}

/// The loss at a point of a training: what its descent says, else what an evaluation finds.
///
/// # Errors
/// Those of the evaluation.
pub fn loss_at(cx: &StageContext<'_>, states: &States, point: &Point) -> Result<f64, Failure> {
    if let Some(minimum) = &point.minimum {
        return Ok(minimum.loss);
    }
    let evaluated: Evaluated = summary(&cx.call(at(states, point))?, "summary")?;
    Ok(evaluated.training_loss)
}

/// Counts what [`loss_at`] would call.
pub fn foresee_loss(states: &States, point: &Point, foreseen: &mut Foreseen<'_>) {
    if point.minimum.is_none() {
        foreseen.call(&at(states, point));
    }
}

fn at(states: &States, point: &Point) -> Action {
    evaluation(&states.setting, &states.validation, &point.theta)
}

/// What is known of a point.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Evaluated {
    /// Mean excess loss over the training set.
    pub training_loss: f64,
    /// Mean excess loss over the validation set.
    pub validation_loss: f64,
    /// Share of validation samples that are classified as labelled.
    pub validation_accuracy: f64,
    /// ‖θ‖.
    pub theta_norm: f64,
}

/// The action that evaluates a point on both parts of the data.
pub struct Evaluate;

impl ActionKind for Evaluate {
    fn name(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let objective = setting::objective(cx)?;
        let validation = setting::dataset(cx, "validation")?;
        let theta = setting::theta(cx, "theta", &objective)?;
        let stop = || cx.cancelled();
        let training_loss = objective.value(&theta, &stop)?;
        let evaluation = objective.evaluate(&theta, &validation, &stop)?;
        let evaluated = Evaluated {
            training_loss,
            validation_loss: evaluation.loss,
            validation_accuracy: evaluation.accuracy,
            theta_norm: theta.norm()?,
        };
        Ok(BTreeMap::from([("summary".to_owned(), json(&evaluated))]))
    }
}
