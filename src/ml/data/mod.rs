//! Data sets, decoded: what they hold, where they come from, how they are cut into chunks and batches.

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
}
