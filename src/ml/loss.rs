//! The losses, and their derivatives along the jets of logits.

use crate::ml::tensor::Tensor;

pub use super::ops::softmax::Targets;

use super::Result;
use super::jet::Jet;
use super::ops::{elementwise, softmax};
use super::tape::Var;

/// What is minimised, as the mean over samples.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "loss", rename_all = "kebab-case")]
pub enum Loss {
    /// Cross-entropy with the target q = ε/K + (1 − ε)·onehot, as its excess over the least value it can take, the
    /// entropy of q: KL(q‖p) ≥ 0, with p = softmax of the logits.
    SmoothedCrossEntropy {
        /// ε, in `[0, 1)`.
        smoothing: f64,
    },
    /// ½ Σ (z − onehot)² over classes. Its least value is 0, so it is its own excess. (PyTorch's `MSELoss` with mean
    /// reduction, over K classes, is 2/K of it.)
    SquaredError,
}

/// A symmetric matrix of each sample's logits, M; with the Jacobian J of the logits, `JᵀMJ` is a matrix of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitMatrix {
    /// The loss's Hessian in the logits, diag p − ppᵀ or 1: it makes the Gauss–Newton matrix, which for cross-entropy is the
    /// Fisher matrix, whatever the targets (Martens 2020).
    Hessian,
    /// The mean of rrᵀ, r the residual: it makes the mean of a sample's gradient times itself.
    Gradient {
        /// Over what the mean is.
        labels: Labels,
    },
}

/// What a sample's gradient is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// The soft target q: rrᵀ with r = p − q.
    #[default]
    Soft,
    /// A class drawn from q at each visit: (p − q)(p − q)ᵀ + diag q − qqᵀ, the mean over draws, itself without a draw.
    Sampled,
}

impl Loss {
    /// The targets that this loss gives to labels.
    pub fn targets<'a>(&self, labels: &'a Tensor) -> Targets<'a> {
        Targets { labels, smoothing: self.smoothing() }
    }

    /// The share of its targets that is spread over all classes.
    pub fn smoothing(&self) -> f64 {
        match self {
            Self::SmoothedCrossEntropy { smoothing } => *smoothing,
            Self::SquaredError => 0.0,
        }
    }

    /// Whether its targets give every class a share, so that labels drawn from them differ.
    pub fn smooths(&self) -> bool {
        self.smoothing() > 0.0
    }

    /// The excess loss of logits `[S, K]`, summed over samples: an f64 scalar.
    ///
    /// # Errors
    /// Logits that are not `[S, K]`, or a label too few or too large.
    pub fn excess(&self, logits: &Var, targets: Targets<'_>) -> Result<Var> {
        match self {
            Self::SmoothedCrossEntropy { .. } => logits.cross_entropy(targets),
            Self::SquaredError => logits.squared_error(targets),
        }
    }

    /// The first derivative in t of the summed loss, for each direction: ⟨r, z′⟩ with the residual r, which is p − q or
    /// z − onehot.
    ///
    /// # Errors
    /// Those of [`excess`](Self::excess).
    pub fn first(&self, logits: &Jet, targets: Targets<'_>) -> Result<Vec<Var>> {
        let (_, residual) = self.residual(logits, targets)?;
        let along = |first: &Option<Var>| match first {
            Some(z) => residual.dot(z),
            None => zero(logits),
        };
        logits.tangents().iter().map(|tangent| along(&tangent.first)).collect()
    }

    /// The second derivative in t of the summed loss, for each direction: ⟨r, z″⟩ + ⟨Jz′, z′⟩, where J is the Hessian of
    /// the loss in the logits, diag p − ppᵀ or 1.
    ///
    /// # Errors
    /// Those of [`excess`](Self::excess).
    pub fn second(&self, logits: &Jet, targets: Targets<'_>) -> Result<Vec<Var>> {
        let (p, residual) = self.residual(logits, targets)?;
        let mut all = Vec::with_capacity(logits.tangents().len());
        for tangent in logits.tangents() {
            let mut sum = match &tangent.second {
                Some(z) => residual.dot(z)?,
                None => zero(logits)?,
            };
            if let Some(z) = &tangent.first {
                let curved = match &p {
                    Some(p) => p.softmax_tangent(z)?,
                    None => z.clone(),
                };
                sum = sum.add(&curved.dot(z)?)?;
            }
            all.push(sum);
        }
        Ok(all)
    }

    /// M·z′ for each direction, where M is, sample by sample, a symmetric `K × K` matrix of the logits; constants for a
    /// reverse pass. A direction along which the logits do not move has zeros.
    ///
    /// # Errors
    /// Those of [`excess`](Self::excess).
    pub fn logit_products(&self, matrix: LogitMatrix, logits: &Jet, targets: Targets<'_>) -> Result<Vec<Tensor>> {
        let value = logits.value().value();
        let (p, r) = self.residual(&Jet::constant(Var::constant(value.clone())), targets)?;
        let drawn = match matrix {
            LogitMatrix::Gradient { labels: Labels::Sampled } => {
                let zeros = Var::constant(value.zeros_like()?);
                Some(elementwise::scale(zeros.sub_targets(targets)?.value(), -1.0)?)
            }
            _ => None,
        };
        let product = |z: &Tensor| match matrix {
            LogitMatrix::Hessian => {
                p.as_ref().map_or_else(|| Ok(z.clone()), |p| softmax::softmax_tangent(p.value(), z))
            }
            LogitMatrix::Gradient { .. } => {
                let soft = softmax::residual_square(r.value(), z)?;
                let Some(q) = &drawn else { return Ok(soft) };
                elementwise::add_scaled(&soft, &softmax::softmax_tangent(q, z)?, 1.0)
            }
        };
        let along = |first: &Option<Var>| match first {
            Some(z) => product(z.value()),
            None => Ok(value.zeros_like()?),
        };
        logits.tangents().iter().map(|tangent| along(&tangent.first)).collect()
    }

    /// The softmax p, if this loss has one, and the residual.
    fn residual(&self, logits: &Jet, targets: Targets<'_>) -> Result<(Option<Var>, Var)> {
        match self {
            Self::SmoothedCrossEntropy { .. } => {
                let p = logits.value().softmax()?;
                let residual = p.sub_targets(targets)?;
                Ok((Some(p), residual))
            }
            Self::SquaredError => Ok((None, logits.value().sub_targets(targets)?)),
        }
    }
}

fn zero(logits: &Jet) -> Result<Var> {
    Ok(Var::constant(Tensor::new(0.0f64, &logits.value().value().device())?))
}
