//! The actions of `trace-estimate`. What one probe finds is a record of its own, so that more probes add; the missing ones of a point
//! run together, sharing the value pass, and the bytes do not depend on how they are grouped. XTrace's test vectors depend on each other, so
//! that one action makes all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::curved::{probes, with_matrix};
use super::setting;
use super::train::json;
use crate::execute::{ActionContext, ActionKind, Failure, Payload, Produced, alone};
use crate::ml::curvature::deflation::Subspace;
use crate::ml::curvature::layers::{layer_forms, scaled_forms};
use crate::ml::curvature::operator::SymmetricOperator;
use crate::ml::curvature::trace::Estimate;
use crate::ml::curvature::xtrace::xtrace;
use crate::ml::ops::reduce;
use crate::ml::params::{decode_flat, encode_flat};
use crate::ml::rng::Stream;

/// What a probe found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Form {
    /// vᵀAv.
    pub quadratic_form: f64,
}

/// The action: vᵀAv at a point, v a probe addressed by seed and index; with an input `subspace`, of what is left of v beside it.
pub struct Probe;

impl ActionKind for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        alone(self, cx)
    }

    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        let cx = &group[0];
        let probes = probes(cx)?;
        let indices = indices(group)?;
        let forms = if cx.has("subspace") {
            let flat = subspace(cx)?;
            with_matrix(cx, |matrix| Subspace::from_flat(&flat, matrix.len())?.rest(matrix, &probes, &indices))?
        } else {
            with_matrix(cx, |matrix| probes.forms(matrix, &indices))?
        };
        let produced = |&quadratic_form: &f64| BTreeMap::from([("summary".to_owned(), json(&Form { quadratic_form }))]);
        Ok(forms.iter().map(produced).collect())
    }
}

/// Which probes the actions of a group are about.
pub fn indices(group: &[ActionContext<'_>]) -> Result<Vec<u32>, Failure> {
    group.iter().map(|cx| Ok(cx.required::<u64>("index")? as u32)).collect()
}

/// The vectors that an action's input `subspace` holds, one after the other.
fn subspace(cx: &ActionContext<'_>) -> Result<crate::ml::tensor::Tensor, Failure> {
    let objective = setting::objective_on(cx, cx.param("samples", None)?)?;
    let len = objective.model().layout().len() * cx.required::<u64>("rank")? as usize;
    Ok(decode_flat(&cx.input("subspace")?, len, &objective.placement().device)?)
}

/// The action: an orthonormal basis of the top of the spectrum at a point, by Lanczos.
pub struct FindSubspace;

impl ActionKind for FindSubspace {
    fn name(&self) -> &'static str {
        "subspace"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let stream = Stream::new(cx.param("seed", super::curved::SEED)?, "subspace");
        let rank = cx.required::<u64>("rank")? as usize;
        let flat = with_matrix(cx, |matrix| Subspace::find(matrix, &stream, rank)?.flat())?;
        Ok(BTreeMap::from([("subspace".to_owned(), Payload::Bytes(encode_flat(&flat)?))]))
    }
}

/// What a subspace holds of a trace.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Σ qᵢᵀAqᵢ.
    pub trace: f64,
}

/// The action: Σ qᵢᵀAqᵢ at a point, over a subspace that comes from another.
pub struct Hold;

impl ActionKind for Hold {
    fn name(&self) -> &'static str {
        "subspace-trace"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let flat = subspace(cx)?;
        let forms = with_matrix(cx, |matrix| Subspace::from_flat(&flat, matrix.len())?.forms(matrix))?;
        Ok(BTreeMap::from([("summary".to_owned(), json(&Held { trace: forms.iter().sum() }))]))
    }
}

/// What XTrace found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Estimated {
    /// The estimate.
    pub trace: f64,
    /// Standard deviation of the leave-one-out estimates.
    pub sd: f64,
}

/// The action: the trace by XTrace.
pub struct Xtrace;

impl ActionKind for Xtrace {
    fn name(&self) -> &'static str {
        "xtrace"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let (probes, vectors) = (probes(cx)?, cx.required::<u64>("vectors")? as usize);
        let Estimate { mean, sd, .. } = with_matrix(cx, |matrix| xtrace(matrix, &probes, vectors))?;
        Ok(BTreeMap::from([("summary".to_owned(), json(&Estimated { trace: mean, sd }))]))
    }
}

/// What a probe found of one part of θ.
#[derive(Debug, Serialize, Deserialize)]
pub struct LayerForm {
    /// PyTorch's name of the part.
    pub layer: String,
    /// How many parameters it has.
    pub parameters: u64,
    /// ‖θₗ‖.
    pub norm: f64,
    /// vₗᵀ(Av)ₗ.
    pub form: f64,
}

/// What a scaled probe found.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScaledForm {
    /// (Dv)ᵀADv, with ‖θₗ‖ on the diagonal of D.
    pub quadratic_form: f64,
    /// ‖θ‖.
    pub theta_norm: f64,
}

/// The action: (Dv)ᵀADv at a point, with ‖θₗ‖ on the diagonal of D in each part l of θ; their mean is Σ ‖θₗ‖² tr Aₗₗ.
pub struct ScaledProbe;

impl ActionKind for ScaledProbe {
    fn name(&self) -> &'static str {
        "scaled-probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        alone(self, cx)
    }

    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        let (probes, indices) = (probes(&group[0])?, indices(group)?);
        let found = with_matrix(&group[0], |matrix| {
            let theta_norm = matrix.theta.norm()?;
            let forms = scaled_forms(matrix, matrix.theta, &probes, &indices)?;
            Ok(forms.into_iter().map(|quadratic_form| ScaledForm { quadratic_form, theta_norm }).collect::<Vec<_>>())
        })?;
        Ok(found.iter().map(|found| BTreeMap::from([("summary".to_owned(), json(found))])).collect())
    }
}

/// The action: vₗᵀ(Av)ₗ of every part of θ, from one product.
pub struct LayerProbe;

impl ActionKind for LayerProbe {
    fn name(&self) -> &'static str {
        "layer-probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let (probes, index) = (probes(cx)?, cx.required::<u64>("index")? as u32);
        let layers = with_matrix(cx, |matrix| {
            let layout = matrix.theta.layout();
            let forms = layer_forms(matrix, layout, &probes, index)?;
            let layer = |(at, form): (usize, f64)| {
                let (part, values) = (&layout.parts()[at], matrix.theta.view(at)?);
                let (layer, parameters) = (part.name.clone(), part.len() as u64);
                Ok(LayerForm { layer, parameters, norm: reduce::dot(&values, &values)?.sqrt(), form })
            };
            forms.into_iter().enumerate().map(layer).collect::<Result<Vec<_>, crate::ml::Error>>()
        })?;
        Ok(BTreeMap::from([("layers".to_owned(), json(&layers))]))
    }
}
