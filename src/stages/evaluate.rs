//! What is known of a point: its loss over both parts of the data, and how far from 0 it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::setting::{self, Setting};
use super::train::json;
use crate::execute::{Action, ActionContext, ActionKind, Failure, Produced};
use crate::key::Output;

/// The action that evaluates a point of a training.
pub fn evaluation(setting: &Setting, validation: &Output, theta: &Output) -> Action {
    setting.action(&Evaluate).input("validation", validation).input("theta", theta)
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
