//! Data on the device, how they are cut into chunks, and what batch norm says of all chunks together.

use std::ops::Range;

use crate::ml::tensor::{Device, Tensor};

use super::Placement;
use crate::ml::data::Dataset;
use crate::ml::jet::Jet;
use crate::ml::ops::axes;
use crate::ml::ops::norm::{Moments, Statistics};
use crate::ml::tape::Var;
use crate::ml::{Error, Result};

/// Images on the device, `[S, H, W, C]`, their labels here and there, and how they are cut.
pub(super) struct Samples {
    pub(super) images: Tensor,
    pub(super) labels: Vec<u32>,
    /// The labels on the device, `[S]`.
    pub(super) classes: Tensor,
    pub(super) chunk: usize,
}

impl Samples {
    pub(super) fn new(data: &Dataset, chunk: usize, placement: &Placement) -> Result<Self> {
        if chunk == 0 || data.is_empty() {
            return Err(Error::Setting(format!("{} samples cannot be cut into chunks of {chunk}", data.len())));
        }
        let [channels, height, width] = data.shape;
        let dims = (data.len(), channels, height, width);
        let images = Tensor::from_slice(&data.inputs, dims, &Device::Cpu)?;
        let images = axes::channels_last(&images.to_dtype(placement.dtype)?)?;
        let images = images.to_place(&placement.device, placement.computed())?;
        let classes = Tensor::from_slice(&data.labels, data.len(), &placement.device)?;
        Ok(Self { images, labels: data.labels.clone(), classes, chunk })
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        (0..self.labels.len()).step_by(self.chunk).map(|from| from..self.labels.len().min(from + self.chunk))
    }

    /// The labels of a chunk, on the device.
    pub(super) fn classes(&self, range: Range<usize>) -> Result<Tensor> {
        self.classes.narrow(0, range.start, range.len())
    }

    pub(super) fn images(&self, range: Range<usize>) -> Result<Jet> {
        Ok(Jet::constant(Var::constant(self.images.narrow(0, range.start, range.len())?)))
    }
}

/// The moments of several batches together: means by their sizes, E[x²] − E[x]² through the batches' own variances.
pub(super) fn pooled(batches: &[&Moments]) -> Result<Statistics> {
    let count: usize = batches.iter().map(|batch| batch.count).sum();
    let list = |of: fn(&Moments) -> &Tensor| {
        batches.iter().map(|batch| of(batch).to_vec1::<f64>()).collect::<Result<Vec<Vec<f64>>>>()
    };
    let (means, variances) = (list(|batch| &batch.mean)?, list(|batch| &batch.variance)?);
    let weighted = |value: &dyn Fn(usize) -> f64| {
        batches.iter().enumerate().map(|(index, batch)| value(index) * batch.count as f64).sum::<f64>() / count as f64
    };
    let channels = means.first().map_or(0, Vec::len);
    let mean: Vec<f64> = (0..channels).map(|c| weighted(&|batch| means[batch][c])).collect();
    let spread = |c: usize| weighted(&|batch| variances[batch][c] + (means[batch][c] - mean[c]).powi(2));
    let variance: Vec<f64> = (0..channels).map(spread).collect();
    Ok(Statistics { mean, variance, count })
}
