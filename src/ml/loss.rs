//! The losses, and their derivatives along the jets of logits.

use candle_core::Tensor;

pub use super::ops::softmax::Targets;

use super::Result;
use super::jet::Jet;
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

impl Loss {
    /// The targets that this loss gives to labels.
    pub fn targets<'a>(&self, labels: &'a [u32]) -> Targets<'a> {
        let smoothing = match self {
            Self::SmoothedCrossEntropy { smoothing } => *smoothing,
            Self::SquaredError => 0.0,
        };
        Targets { labels, smoothing }
    }

    /// Whether its targets give every class a share, so that labels drawn from them differ.
    pub fn smooths(&self) -> bool {
        self.targets(&[]).smoothing > 0.0
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
    Ok(Var::constant(Tensor::new(0.0f64, logits.value().value().device())?))
}
