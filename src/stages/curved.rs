//! The matrix that `trace-estimate` and `spectrum` look at: how a manifest says which, how that enters keys, and how an action gets it
//! back.

use std::sync::Arc;

use super::setting::{self, Setting};
use crate::execute::{Action, ActionContext, ActionKind, Failure};
use crate::key::{Identity, Ingredients, Output, Walk};
use crate::manifest::Reader;
use crate::ml;
use crate::ml::curvature::operator::{At, Curvature};
use crate::ml::curvature::trace::{Distribution, FEW, Probes};
use crate::ml::rng::Stream;

/// Seed of probes and start vectors, where the manifest does not say.
pub const SEED: u64 = 0;

/// What a manifest says of the matrix, and of the vectors that are drawn for it.
#[derive(Clone, Debug)]
pub struct CurvedParams {
    of: Identity<Curvature>,
    samples: Identity<Option<u64>>,
    seed: Identity<u64>,
}

impl CurvedParams {
    /// Reads the fields; `drawn` says what the seed is of.
    pub fn read(reader: &mut Reader<'_>, drawn: &'static str) -> Self {
        let matrices = [
            ("hessian", Curvature::Hessian),
            ("gauss-newton", Curvature::GaussNewton),
            ("residual", Curvature::Residual),
        ];
        let of = "which matrix: the Hessian H, the Gauss–Newton matrix G (for cross-entropy the Fisher matrix), or the residual H − G";
        let samples =
            "of so many training samples, evenly spaced in the data set's order; all of them where it is not given";
        Self {
            of: reader.choice("of", of, &matrices).default(Curvature::Hessian).identity(),
            samples: reader.count("samples", samples).at_least(1).optional().identity(),
            seed: reader.count("seed", drawn).default(SEED).identity(),
        }
    }

    /// Shows them.
    pub fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("of", &self.of).identity("samples", &self.samples).identity("seed", &self.seed);
    }

    /// An action about this matrix at a point.
    pub fn action(&self, setting: &Setting, kind: &dyn ActionKind, theta: &Output) -> Action {
        setting.action(kind).with("of", &self.of).with("samples", &self.samples).input("theta", theta)
    }

    /// The same, of an action that draws vectors.
    pub fn drawing(&self, setting: &Setting, kind: &dyn ActionKind, theta: &Output) -> Action {
        self.action(setting, kind, theta).with("seed", &self.seed)
    }
}

/// The function of a setting in f64, whatever the training was in.
pub fn in_double(setting: &Setting) -> Setting {
    let double = Ingredients::default().with("dtype", &Identity::required("f64".to_owned()));
    Setting { data: setting.data.clone(), ingredients: setting.ingredients.clone().overlaid(&double) }
}

/// What `work` finds of the matrix that an action is about.
///
/// # Errors
/// Those of `work`; if the data or the point are absent.
pub fn with_matrix<T>(
    cx: &ActionContext<'_>,
    work: impl FnOnce(&At<'_>) -> Result<T, ml::Error>,
) -> Result<T, Failure> {
    let objective: Arc<_> = setting::objective_on(cx, cx.param("samples", None)?)?;
    let theta = setting::theta(cx, "theta", &objective)?;
    let stop = || cx.cancelled();
    let matrix = cx.param("of", Curvature::default())?;
    Ok(work(&At { matrix, objective: &objective, theta: &theta, stop: &stop })?)
}

/// The probes of an action.
///
/// # Errors
/// If a parameter has another type.
pub fn probes(cx: &ActionContext<'_>) -> Result<Probes, Failure> {
    let distribution = cx.param("distribution", Distribution::default())?;
    Ok(Probes { stream: Stream::new(cx.param("seed", SEED)?, "probe"), distribution })
}

/// What is to be said of a standard error over so few values, if anything.
pub fn too_few(count: u64, what: &str) -> Option<String> {
    let too_few = format!(
        "a standard error over {count} {what} is too small to be trusted: two of them cover less than nine times in ten below {FEW}"
    );
    ((count as usize) < FEW).then_some(too_few)
}
