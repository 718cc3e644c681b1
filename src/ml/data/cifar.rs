//! The binary format of CIFAR-10 and CIFAR-100 (Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>): a record is
//! the label (CIFAR-100: the coarse label, then the fine one) and 3,072 bytes, the red, green and blue plane of 32×32.

use super::inflate::inflated;
use super::{Dataset, File};
use crate::ml::{Error, Result};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;

/// Which of the two sets, for the two differ in their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes, one label byte.
    Ten,
    /// A hundred fine classes after a byte with the coarse one, which is not used.
    Hundred,
}

impl Cifar {
    fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }
}

/// Decodes files, in the order given, into images `[3, 32, 32]` with values `byte / 255` in [0, 1].
///
/// # Errors
/// [`Error::Data`] for a file that is not a whole number of records, or at `name:record` (from 1) for a label out of range.
pub fn decode(cifar: Cifar, files: &[&File]) -> Result<Dataset> {
    let mut set = Dataset { inputs: Vec::new(), labels: Vec::new(), shape: [3, SIDE, SIDE], classes: cifar.classes() };
    for file in files {
        read(cifar, file, &mut set)?;
    }
    Ok(set)
}

fn read(cifar: Cifar, file: &File, set: &mut Dataset) -> Result<()> {
    let bytes = inflated(&file.name, &file.bytes)?;
    let record = cifar.label_bytes() + PIXELS;
    if bytes.is_empty() || bytes.len() % record != 0 {
        let problem = format!("{} bytes are not a whole number of records of {record} bytes", bytes.len());
        return Err(Error::Data { place: file.name.clone(), problem });
    }
    set.inputs.reserve(bytes.len() / record * PIXELS);
    for (number, record) in (1..).zip(bytes.chunks_exact(record)) {
        let (labels, pixels) = record.split_at(cifar.label_bytes());
        let label = labels[labels.len() - 1];
        if usize::from(label) >= cifar.classes() {
            let problem = format!("the label is {label}, expected 0 to {}", cifar.classes() - 1);
            return Err(Error::Data { place: format!("{}:{number}", file.name), problem });
        }
        set.labels.push(u32::from(label));
        set.inputs.extend(pixels.iter().map(|&byte| f32::from(byte) / 255.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], red: u8, blue: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        bytes.extend([red; 1024]);
        bytes.extend([0; 1024]);
        bytes.extend([blue; 1024]);
        bytes
    }

    fn file(name: &str, bytes: Vec<u8>) -> File {
        File { name: name.to_owned(), bytes }
    }

    #[test]
    fn files_follow_one_another_and_planes_are_red_green_blue() {
        let first = file("data_batch_1.bin", [record(&[3], 255, 51), record(&[9], 0, 0)].concat());
        let second = file("data_batch_2.bin", record(&[0], 102, 0));
        let set = decode(Cifar::Ten, &[&first, &second]).unwrap();
        assert_eq!((set.labels.clone(), set.shape, set.classes), (vec![3, 9, 0], [3, 32, 32], 10));
        let sample = set.sample(0);
        assert_eq!((sample[0], sample[1024], sample[3071]), (1.0, 0.0, 0.2));
        assert_eq!(set.sample(2)[1023].to_bits(), 0.4f32.to_bits());
    }

    #[test]
    fn the_hundred_take_the_fine_label() {
        let set = decode(Cifar::Hundred, &[&file("train.bin", record(&[19, 99], 0, 0))]).unwrap();
        assert_eq!((set.labels, set.classes), (vec![99], 100));
    }

    #[test]
    fn a_cut_file_and_a_wrong_label_are_refused() {
        let message = |cifar, bytes| decode(cifar, &[&file("a.bin", bytes)]).unwrap_err().to_string();
        let mut cut = record(&[1], 0, 0);
        cut.pop();
        assert_eq!(message(Cifar::Ten, cut), "a.bin: 3072 bytes are not a whole number of records of 3073 bytes");
        let two = [record(&[1], 0, 0), record(&[10], 0, 0)].concat();
        assert_eq!(message(Cifar::Ten, two), "a.bin:2: the label is 10, expected 0 to 9");
    }
}
