//! From a description to two data sets.

use super::cifar::Cifar;
use super::{Dataset, Options, cifar, digits, idx, shapes};
use crate::ml::{Error, Result};

/// A training part and a validation part.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// The samples over which losses are taken.
    pub train: Dataset,
    /// The samples that training never sees.
    pub validation: Dataset,
}

/// A file that the caller has read. Gzipped content is recognised by its first bytes, whatever the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What messages call it.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Where a data set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The UCI optical digits in the program, or a file of the same form: see [`digits`]. 1,437 and 360 images `[1, 8, 8]`.
    Digits,
    /// Generated coloured shapes `[3, 32, 32]`: see [`shapes`].
    Shapes(shapes::Shapes),
    /// MNIST or Fashion-MNIST, 60,000 and 10,000 images `[1, 28, 28]` in four IDX files: see [`idx`].
    Idx,
    /// CIFAR-10 or CIFAR-100, 50,000 and 10,000 images `[3, 32, 32]` in their binary files: see [`cifar`].
    Cifar(Cifar),
}

impl Source {
    /// The names under which the files are published, in the order in which [`load`] takes them; each may have `.gz` after
    /// it. Empty for what needs none; [`Source::Digits`] may be given one file, of any name.
    pub fn file_names(&self) -> &'static [&'static str] {
        match self {
            Self::Digits | Self::Shapes(_) => &[],
            Self::Idx => &[
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            ],
            Self::Cifar(Cifar::Ten) => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "test_batch.bin",
            ],
            Self::Cifar(Cifar::Hundred) => &["train.bin", "test.bin"],
        }
    }
}

/// Decodes `source` from `files` and applies `options`. The last file of CIFAR is the validation part.
///
/// # Errors
/// [`Error::Data`] for a file that does not parse, [`Error::Setting`] for options that do not fit or for a number of files
/// other than `source` takes.
pub fn load(source: &Source, files: &[File], options: &Options) -> Result<Splits> {
    let splits = match (source, files) {
        (Source::Digits, []) => digits::split(&digits::decode("digits", digits::BUNDLED)?),
        (Source::Digits, [file]) => digits::split(&digits::decode(&file.name, &file.bytes)?),
        (Source::Shapes(shapes), []) => shapes.generate()?,
        (Source::Idx, [train, train_labels, test, test_labels]) => {
            Splits { train: idx::decode(train, train_labels)?, validation: idx::decode(test, test_labels)? }
        }
        (Source::Cifar(cifar), [train @ .., test]) if files.len() == source.file_names().len() => Splits {
            train: cifar::decode(*cifar, &train.iter().collect::<Vec<_>>())?,
            validation: cifar::decode(*cifar, &[test])?,
        },
        _ => {
            return Err(Error::Setting(format!(
                "the data set is read from {} files, got {}",
                source.file_names().len(),
                files.len()
            )));
        }
    };
    for (set, part) in [(&splits.train, "training"), (&splits.validation, "validation")] {
        if set.is_empty() {
            return Err(Error::Setting(format!("the data set has no {part} samples")));
        }
    }
    if splits.train.shape != splits.validation.shape {
        let (train, validation) = (splits.train.shape, splits.validation.shape);
        return Err(Error::Setting(format!("training images are {train:?}, validation images {validation:?}")));
    }
    options.apply(splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::data::Normalise;

    fn cifar_file(name: &str, label: u8) -> File {
        let mut bytes = vec![label];
        bytes.extend((0..3072).map(|i| (i * 7 % 251) as u8));
        File { name: name.to_owned(), bytes }
    }

    #[test]
    fn digits_are_standardised_over_the_training_part() {
        let splits = load(&Source::Digits, &[], &Options::default()).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (1437, 360));
        let n = splits.train.inputs.len() as f64;
        let mean = splits.train.inputs.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = splits.train.inputs.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / n;
        assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-6, "{mean} {square}");
    }

    #[test]
    fn a_users_file_of_digits_takes_the_place_of_the_bundled_one() {
        let file = File { name: "mine.csv.gz".to_owned(), bytes: digits::BUNDLED.to_vec() };
        let options = Options::default();
        assert_eq!(load(&Source::Digits, &[file], &options).unwrap(), load(&Source::Digits, &[], &options).unwrap());
    }

    #[test]
    fn cifar_is_read_from_six_files_and_the_last_is_validation() {
        let source = Source::Cifar(Cifar::Ten);
        let files: Vec<File> = (0..).zip(source.file_names()).map(|(label, name)| cifar_file(name, label)).collect();
        let options = Options { normalise: Normalise::None, grey: true, resize: Some([7, 7]), ..Options::default() };
        let splits = load(&source, &files, &options).unwrap();
        assert_eq!((splits.train.labels, splits.validation.labels), (vec![0, 1, 2, 3, 4], vec![5]));
        assert_eq!(splits.train.shape, [1, 7, 7]);
        let message = load(&source, &files[..5], &options).unwrap_err().to_string();
        assert_eq!(message, "the data set is read from 6 files, got 5");
    }

    #[test]
    fn mnist_is_read_from_four_files() {
        let images = |n: u8| [vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 1, 0, 0, 0, 1], (0..n).collect()].concat();
        let labels = |n: u8| [vec![0, 0, 8, 1, 0, 0, 0, n], (0..n).collect()].concat();
        let contents = [images(3), labels(3), images(2), labels(2)];
        let files: Vec<File> = (Source::Idx.file_names().iter().zip(contents))
            .map(|(name, bytes)| File { name: (*name).to_owned(), bytes })
            .collect();
        let splits = load(&Source::Idx, &files, &Options::default()).unwrap();
        assert_eq!((splits.train.labels, splits.validation.labels), (vec![0, 1, 2], vec![0, 1]));
    }
}
