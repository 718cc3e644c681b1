//! Data on the device, how they are cut into chunks, and what batch norm says of all chunks together.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::Placement;
use crate::ml::data::Dataset;
use crate::ml::jet::Jet;
use crate::ml::ops::axes;
use crate::ml::ops::norm::Moments;
use crate::ml::tape::Var;
use crate::ml::{Error, Result};

/// Images on the device, `[S, H, W, C]`, their labels, and how they are cut.
pub(super) struct Samples {
    pub(super) images: Tensor,
    pub(super) labels: Vec<u32>,
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
        let images = axes::channels_last(&images.to_dtype(placement.dtype)?)?.to_device(&placement.device)?;
        Ok(Self { images, labels: data.labels.clone(), chunk })
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        (0..self.labels.len()).step_by(self.chunk).map(|from| from..self.labels.len().min(from + self.chunk))
    }

    pub(super) fn images(&self, range: Range<usize>) -> Result<Jet> {
        Ok(Jet::constant(Var::constant(self.images.narrow(0, range.start, range.len())?)))
    }
}

/// The moments of several batches together: means by their sizes, E[x²] − E[x]² through the batches' own variances.
pub(super) fn pooled(batches: &[&Moments]) -> Moments {
    let count: usize = batches.iter().map(|batch| batch.count).sum();
    let weighted = |value: &dyn Fn(&Moments) -> f64| {
        batches.iter().map(|batch| value(batch) * batch.count as f64).sum::<f64>() / count as f64
    };
    let channels = batches.first().map_or(0, |batch| batch.mean.len());
    let mean: Vec<f64> = (0..channels).map(|c| weighted(&|batch| batch.mean[c])).collect();
    let variance =
        (0..channels).map(|c| weighted(&|batch| batch.variance[c] + (batch.mean[c] - mean[c]).powi(2))).collect();
    Moments { mean, variance, count }
}
