//! Data sets, decoded: what they hold, where they come from, how they are cut into chunks and batches. It knows no model, no
//! loss and no file system: whoever calls hands over the bytes of the files.
//!
//! Reading order: [`Dataset`] here, `source` (a description becomes two data sets), `options` (what is done to them on the
//! way), `inflate` (gzip), the formats (`digits`, `shapes`, `idx`, `cifar`), `hub` (what candle-datasets fetches), `partition` (chunks and batches), `canonical` (a data set as bytes).

pub mod canonical;
pub mod cifar;
pub mod digits;
pub mod hub;
pub mod idx;
mod inflate;
pub mod options;
pub mod partition;
pub mod shapes;
pub mod source;

pub use options::{Normalise, Options};
pub use partition::{Batches, Sampling, chunks, iterations_per_epoch};
pub use source::{File, Source, Splits, load};

/// Labelled images, decoded into one order.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Pixels, `[samples, channels, height, width]` in row-major order.
    pub inputs: Vec<f32>,
    /// One class a sample, each below `classes`.
    pub labels: Vec<u32>,
    /// `[channels, height, width]` of one sample.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it holds no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of values in one sample: channels × height × width.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The pixels of sample `index`, `[channels, height, width]` in row-major order.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn sample(&self, index: usize) -> &[f32] {
        let len = self.sample_len();
        &self.inputs[index * len..(index + 1) * len]
    }

    /// The samples at `indices`, in that order; an index may come twice.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut inputs = Vec::with_capacity(indices.len() * self.sample_len());
        for &index in indices {
            inputs.extend_from_slice(self.sample(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { inputs, labels, shape: self.shape, classes: self.classes }
    }
}
