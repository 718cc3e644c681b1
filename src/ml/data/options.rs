//! What is done to decoded images on their way to a network, in this order: grey, resize, normalise, order and subset, label
//! shuffle. Everything is computed in f64 and rounded once.

use super::{Dataset, Splits};
use crate::ml::rng::Stream;
use crate::ml::{Error, Result};

/// What is done to a data set. The default does nothing but normalise.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    /// One luminance channel in place of red, green and blue.
    pub grey: bool,
    /// New `[height, width]`, by area averaging; never larger than the old.
    pub resize: Option<[usize; 2]>,
    /// How pixel values are scaled.
    pub normalise: Normalise,
    /// Only the first so many training samples of the fixed random order.
    pub subset: Option<usize>,
    /// Training samples from this place of the fixed random order on have their labels permuted among themselves.
    pub shuffle_labels_from: Option<usize>,
    /// Seed of the fixed random order and of the label shuffle.
    pub seed: u64,
}

/// How pixel values, which decode to [0, 1], are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// They stay in [0, 1].
    None,
    /// Each channel less the mean of its pixels over the whole training part, over their standard deviation. For a set of
    /// one channel this is one mean and one deviation for all pixels.
    #[default]
    Standard,
}

impl Options {
    /// Applies the options to both parts. Mean and deviation are those of the whole training part, so a subset has the same
    /// pixels as the set it was taken from. The validation part keeps its order, its size and its labels.
    ///
    /// The fixed random order is the shuffle of `Stream::new(seed, "data order")` at (0, 0). It is used where `subset` or
    /// `shuffle_labels_from` asks for it; otherwise samples stay in the order in which they were decoded. `subset = n` of a
    /// set is therefore what `shuffle_labels_from = n` leaves untouched.
    ///
    /// # Errors
    /// [`Error::Setting`] for an enlargement, for grey with other than one or three channels, for a subset or a shuffle
    /// beyond the training part, or for a channel whose pixels are all alike under [`Normalise::Standard`].
    pub fn apply(&self, splits: Splits) -> Result<Splits> {
        let Splits { mut train, mut validation } = splits;
        for set in [&mut train, &mut validation] {
            if self.grey {
                *set = grey(set)?;
            }
            if let Some(size) = self.resize {
                *set = resize(set, size)?;
            }
        }
        if self.normalise == Normalise::Standard {
            let scales = scales(&train)?;
            standardise(&mut train, &scales);
            standardise(&mut validation, &scales);
        }
        Ok(Splits { train: self.select(train)?, validation })
    }

    /// The training part in the order, of the size, and with the labels asked for.
    fn select(&self, train: Dataset) -> Result<Dataset> {
        if self.subset.is_none() && self.shuffle_labels_from.is_none() {
            return Ok(train);
        }
        let available = train.len();
        let subset = self.subset.unwrap_or(available);
        if subset == 0 || subset > available {
            return Err(Error::Setting(format!("a subset of {subset} of {available} training samples")));
        }
        let mut order: Vec<usize> = (0..available).collect();
        Stream::new(self.seed, "data order").at(0, 0).shuffle(&mut order);
        let mut set = train.select(&order[..subset]);
        if let Some(from) = self.shuffle_labels_from {
            if from > subset {
                return Err(Error::Setting(format!("labels shuffled from sample {from} of {subset} training samples")));
            }
            Stream::new(self.seed, "label shuffle").at(0, 0).shuffle(&mut set.labels[from..]);
        }
        Ok(set)
    }
}

/// Luminance 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as PIL and torchvision); one channel stays as it is.
fn grey(set: &Dataset) -> Result<Dataset> {
    let [channels, height, width] = set.shape;
    match channels {
        1 => return Ok(set.clone()),
        3 => {}
        _ => return Err(Error::Setting(format!("`grey` takes images of one or three channels, got {channels}"))),
    }
    let plane = height * width;
    let mut inputs = Vec::with_capacity(set.len() * plane);
    for sample in 0..set.len() {
        let pixels = set.sample(sample);
        inputs.extend((0..plane).map(|at| {
            let [red, green, blue] = [0, 1, 2].map(|channel| f64::from(pixels[channel * plane + at]));
            (0.299 * red + 0.587 * green + 0.114 * blue) as f32
        }));
    }
    Ok(Dataset { inputs, labels: set.labels.clone(), shape: [1, height, width], classes: set.classes })
}

/// Each new pixel is the mean of the old ones under it, weighted by how much of each it covers.
fn resize(set: &Dataset, [new_height, new_width]: [usize; 2]) -> Result<Dataset> {
    let [channels, height, width] = set.shape;
    if new_height == 0 || new_width == 0 || new_height > height || new_width > width {
        return Err(Error::Setting(format!(
            "`resize` makes images smaller: {height}×{width} cannot become {new_height}×{new_width}"
        )));
    }
    let (rows, columns) = (overlaps(height, new_height), overlaps(width, new_width));
    let mut inputs = Vec::with_capacity(set.len() * channels * new_height * new_width);
    for plane in set.inputs.chunks_exact(height * width) {
        for row in &rows {
            for column in &columns {
                let mut sum = 0.0;
                for &(y, tall) in row {
                    for &(x, wide) in column {
                        sum += tall * wide * f64::from(plane[y * width + x]);
                    }
                }
                inputs.push(sum as f32);
            }
        }
    }
    Ok(Dataset { inputs, labels: set.labels.clone(), shape: [channels, new_height, new_width], classes: set.classes })
}

/// For each of `new` cells, the old cells it lies over and their shares, which add up to one. In units of 1/`new` old cells
/// all edges are whole numbers, so no share is a rounding error.
fn overlaps(old: usize, new: usize) -> Vec<Vec<(usize, f64)>> {
    let share = |cell: usize, index: usize| {
        let covered = ((cell + 1) * old).min((index + 1) * new) - (cell * old).max(index * new);
        (index, covered as f64 / old as f64)
    };
    (0..new)
        .map(|cell| (cell * old / new..((cell + 1) * old).div_ceil(new)).map(|index| share(cell, index)).collect())
        .collect()
}

/// Mean and (population) standard deviation of each channel, in two passes.
fn scales(set: &Dataset) -> Result<Vec<(f64, f64)>> {
    let [channels, height, width] = set.shape;
    let plane = height * width;
    let count = (set.len() * plane) as f64;
    (0..channels)
        .map(|channel| {
            let planes = || set.inputs.chunks_exact(plane).skip(channel).step_by(channels);
            // A sum per image and then over images keeps the rounding error small.
            let total = |of: &dyn Fn(f64) -> f64| -> f64 {
                planes().map(|pixels| pixels.iter().map(|&x| of(f64::from(x))).sum::<f64>()).sum()
            };
            let mean = total(&|x| x) / count;
            let deviation = (total(&|x| (x - mean) * (x - mean)) / count).sqrt();
            if deviation > 0.0 {
                Ok((mean, deviation))
            } else {
                Err(Error::Setting(format!("channel {channel} cannot be standardised: its pixels are all alike")))
            }
        })
        .collect()
}

fn standardise(set: &mut Dataset, scales: &[(f64, f64)]) {
    let plane = set.shape[1] * set.shape[2];
    for (at, pixels) in set.inputs.chunks_exact_mut(plane).enumerate() {
        let (mean, deviation) = scales[at % scales.len()];
        for pixel in pixels {
            *pixel = ((f64::from(*pixel) - mean) / deviation) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` training images `[channels, 4, 4]` whose pixels all tell their place, and one validation image.
    fn splits(n: usize, channels: usize) -> Splits {
        let make = |n: usize| Dataset {
            inputs: (0..n * channels * 16).map(|i| i as f32 / 64.0).collect(),
            labels: (0..n as u32).collect(),
            shape: [channels, 4, 4],
            classes: n.max(1),
        };
        Splits { train: make(n), validation: make(1) }
    }

    fn raw() -> Options {
        Options { normalise: Normalise::None, ..Options::default() }
    }

    #[test]
    fn standardised_channels_have_mean_0_and_deviation_1_and_validation_follows_training() {
        let done = Options::default().apply(splits(5, 3)).unwrap();
        for channel in 0..3 {
            let values: Vec<f64> =
                (0..5).flat_map(|i| done.train.sample(i)[channel * 16..][..16].to_vec()).map(f64::from).collect();
            let mean = values.iter().sum::<f64>() / 80.0;
            let variance = values.iter().map(|x| x * x).sum::<f64>() / 80.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
        }
        assert_eq!(done.validation.inputs, done.train.sample(0));
    }

    #[test]
    fn pixels_that_are_all_alike_cannot_be_standardised() {
        let mut set = splits(2, 1);
        set.train.inputs.fill(0.5);
        let message = Options::default().apply(set).unwrap_err().to_string();
        assert_eq!(message, "channel 0 cannot be standardised: its pixels are all alike");
    }

    #[test]
    fn halving_takes_means_of_two_by_two() {
        let done = Options { resize: Some([2, 2]), ..raw() }.apply(splits(1, 1)).unwrap();
        let expected =
            [0.0 + 1.0 + 4.0 + 5.0, 2.0 + 3.0 + 6.0 + 7.0, 8.0 + 9.0 + 12.0 + 13.0, 10.0 + 11.0 + 14.0 + 15.0];
        assert_eq!(done.train.inputs, expected.map(|sum: f32| sum / 4.0 / 64.0));
    }

    #[test]
    fn three_from_four_shares_the_pixels_between() {
        // A new cell covers 4/3 of an old one: one whole and a third, or two thirds of each of two.
        let thirds: Vec<Vec<(usize, f64)>> = overlaps(4, 3);
        assert_eq!(thirds, [vec![(0, 0.75), (1, 0.25)], vec![(1, 0.5), (2, 0.5)], vec![(2, 0.25), (3, 0.75)],]);
        for (old, new) in [(32, 7), (28, 14), (8, 7), (5, 5), (9, 1)] {
            for cell in overlaps(old, new) {
                let sum: f64 = cell.iter().map(|&(_, share)| share).sum();
                assert!(
                    (sum - 1.0).abs() < 1e-15 && cell.iter().all(|&(_, share)| share > 0.0),
                    "{old} {new} {cell:?}"
                );
            }
        }
    }

    #[test]
    fn resizing_to_the_same_size_changes_nothing_and_enlarging_is_refused() {
        let same = Options { resize: Some([4, 4]), ..raw() }.apply(splits(2, 3)).unwrap();
        assert_eq!(same.train, splits(2, 3).train);
        let message = Options { resize: Some([5, 4]), ..raw() }.apply(splits(2, 3)).unwrap_err().to_string();
        assert_eq!(message, "`resize` makes images smaller: 4×4 cannot become 5×4");
    }

    #[test]
    fn grey_weighs_the_channels_by_luminance() {
        let mut set = splits(1, 3);
        set.train.inputs = [[1.0f32; 16], [0.5; 16], [0.25; 16]].concat();
        let done = Options { grey: true, ..raw() }.apply(set).unwrap();
        assert_eq!(done.train.shape, [1, 4, 4]);
        let expected = (0.299 + 0.587 * 0.5 + 0.114 * 0.25) as f32;
        assert_eq!(done.train.inputs, [expected; 16]);
        assert!(Options { grey: true, ..raw() }.apply(splits(1, 2)).is_err());
    }

    #[test]
    fn a_subset_is_a_prefix_of_a_larger_one_and_depends_on_the_seed() {
        let take = |n, seed| Options { subset: Some(n), seed, ..raw() }.apply(splits(50, 1)).unwrap().train;
        assert_eq!(take(10, 0).labels, take(30, 0).labels[..10]);
        assert_ne!(take(10, 0).labels, take(10, 1).labels);
        let set = take(10, 0);
        let original = splits(50, 1).train;
        for i in 0..10 {
            assert_eq!(set.sample(i), original.sample(set.labels[i] as usize));
        }
        assert!(Options { subset: Some(51), ..raw() }.apply(splits(50, 1)).is_err());
        assert!(Options { subset: Some(0), ..raw() }.apply(splits(50, 1)).is_err());
    }

    #[test]
    fn shuffled_labels_leave_the_subset_before_them_untouched() {
        let whole = Options { shuffle_labels_from: Some(20), ..raw() }.apply(splits(50, 1)).unwrap().train;
        let part = Options { subset: Some(20), ..raw() }.apply(splits(50, 1)).unwrap().train;
        assert_eq!(whole.labels[..20], part.labels[..]);
        assert_eq!(whole.inputs[..20 * 16], part.inputs[..]);
        let true_label = |i: usize| (whole.sample(i)[0] * 64.0 / 16.0) as u32;
        let wrong = (20..50).filter(|&i| whole.labels[i] != true_label(i)).count();
        assert!(wrong > 20, "{wrong}");
        let mut labels = whole.labels.clone();
        labels.sort_unstable();
        assert_eq!(labels, (0..50).collect::<Vec<_>>());
        assert!(Options { shuffle_labels_from: Some(51), ..raw() }.apply(splits(50, 1)).is_err());
    }
}
