//! The actions of `alignment`: what probes say of a matrix and of the noise beside it, both matrices whole, and pairs of minibatches. What one
//! probe says is a record of its own, so that more probes add.

use std::collections::BTreeMap;

use crate::ml::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::curved::{SEED, probes, with_matrix};
use super::estimate::indices;
use super::setting;
use super::train::json;
use crate::execute::{ActionContext, ActionKind, Failure, Produced, alone};
use crate::ml;
use crate::ml::curvature::alignment::{Moments, PairMoments};
use crate::ml::curvature::dense::dense;
use crate::ml::curvature::noise::{MinibatchNoise, NoiseCovariance};
use crate::ml::curvature::operator::{At, SymmetricOperator};
use crate::ml::loss::Labels;
use crate::ml::objective::BatchTargets;
use crate::ml::ops::reduce;
use crate::ml::rng::Stream;

/// Pairs of minibatches a point, where the manifest does not say.
pub const PAIRS: u64 = 32;

/// The action: ‖Av‖², Av·Cv and ‖Cv‖² at a point, v a probe addressed by seed and index, C the covariance of a sample's gradient.
pub struct AlignmentProbe;

impl ActionKind for AlignmentProbe {
    fn name(&self) -> &'static str {
        "alignment-probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        alone(self, cx)
    }

    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        let noise = noise(&group[0])?;
        each_probe(group, |matrix, probes| {
            let noise = noise.at(matrix)?;
            probes.map(|v| Moments::along(matrix, &noise, &v?)).collect()
        })
    }
}

/// What a probe says of a matrix alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Square {
    /// ‖Av‖².
    pub square: f64,
}

/// The action: ‖Av‖² at a point.
pub struct SquareProbe;

impl ActionKind for SquareProbe {
    fn name(&self) -> &'static str {
        "square-probe"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        alone(self, cx)
    }

    fn run_group(&self, group: &[ActionContext<'_>]) -> Result<Vec<Produced>, Failure> {
        each_probe(group, |matrix, probes| {
            let square = |v: Result<Tensor, ml::Error>| {
                let product = matrix.apply(&v?)?;
                Ok(Square { square: reduce::dot(&product, &product)? })
            };
            probes.map(square).collect()
        })
    }
}

/// Probes, each drawn when it is asked for.
type Drawn<'a> = dyn Iterator<Item = Result<Tensor, ml::Error>> + 'a;

/// What the actions of a group find, each along its own probe.
fn each_probe<T: Serialize>(
    group: &[ActionContext<'_>],
    find: impl FnOnce(&At<'_>, &mut Drawn<'_>) -> Result<Vec<T>, ml::Error>,
) -> Result<Vec<Produced>, Failure> {
    let (probes, indices) = (probes(&group[0])?, indices(group)?);
    let found = with_matrix(&group[0], |matrix| {
        find(matrix, &mut indices.iter().map(|&index| probes.probe(index, matrix.len(), matrix.placement())))
    })?;
    Ok(found.iter().map(|found| BTreeMap::from([("summary".to_owned(), json(found))])).collect())
}

/// The action: the moments of both matrices, whole and in f64.
pub struct ExactAlignment;

impl ActionKind for ExactAlignment {
    fn name(&self) -> &'static str {
        "exact-alignment"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let noise = noise(cx)?;
        let moments = with_matrix(cx, |matrix| Moments::of(&dense(matrix)?, &dense(&noise.at(matrix)?)?))?;
        Ok(BTreeMap::from([("summary".to_owned(), json(&moments))]))
    }
}

/// The action: what pairs of minibatches say of the noise beside a matrix. Samples are drawn with replacement, batch and labels of pair
/// p and member m at (p, m) of the streams "noise batches" and "noise labels".
pub struct NoisePairs;

impl ActionKind for NoisePairs {
    fn name(&self) -> &'static str {
        "noise-pairs"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let seed = cx.param("seed", SEED)?;
        let (pairs, batch) = (cx.param("pairs", PAIRS)? as u32, cx.required::<u64>("batch")?);
        let labels: Labels = cx.param("labels", Labels::Soft)?;
        let moments = with_matrix(cx, |matrix| {
            let objective = matrix.objective;
            let samples = objective.len() as u64;
            let batches = Stream::new(seed, "noise batches");
            let batch = |pair: u32, member: u32| -> Vec<u32> {
                let mut draws = batches.at(pair, member);
                (0..batch).map(|_| draws.below(samples) as u32).collect()
            };
            let pairs: Vec<[Vec<u32>; 2]> = (0..pairs).map(|pair| [batch(pair, 0), batch(pair, 1)]).collect();
            let stream = Stream::new(seed, "noise labels");
            let drawn = |pair: usize, member: usize| {
                objective.draw_labels(&pairs[pair][member], &mut stream.at(pair as u32, member as u32))
            };
            let drawn: Vec<[Vec<u32>; 2]> = (0..pairs.len()).map(|pair| [drawn(pair, 0), drawn(pair, 1)]).collect();
            let targets = |pair: usize, member: usize| match labels {
                Labels::Soft => BatchTargets::Soft,
                Labels::Sampled => BatchTargets::Drawn(&drawn[pair][member]),
            };
            let noise = MinibatchNoise::new(objective, matrix.theta, &pairs, targets, matrix.stop)?;
            PairMoments::of(&noise, matrix)
        })?;
        Ok(BTreeMap::from([("pairs".to_owned(), json(&moments))]))
    }
}

/// Which noise of single samples an action is about.
struct SampleNoise {
    labels: Labels,
    centred: bool,
}

fn noise(cx: &ActionContext<'_>) -> Result<SampleNoise, Failure> {
    Ok(SampleNoise { labels: cx.param("labels", Labels::Soft)?, centred: cx.param("centred", true)? })
}

impl SampleNoise {
    /// Its covariance at the point of a matrix.
    fn at<'a>(&self, matrix: &At<'a>) -> Result<NoiseCovariance<'a>, ml::Error> {
        NoiseCovariance::new(matrix.objective, matrix.theta, (self.labels, self.centred), matrix.stop)
    }
}
