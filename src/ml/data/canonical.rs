//! A data set as bytes: one layout, from which its digest is taken and in which it is kept. The same samples in the same order
//! give the same bytes on every machine.
//!
//! Layout, all little-endian: the 18 bytes of [`MAGIC`]; samples, channels, height, width and classes as `u64`; the labels
//! as `u32`; the pixels as IEEE 754 `f32`, by their bits.

use super::Dataset;
use crate::ml::{Error, Result};

/// What every encoded data set begins with; the number is the layout's version.
pub const MAGIC: &[u8; 18] = b"thalweg dataset 1\n";

const HEADER: usize = MAGIC.len() + 5 * 8;

impl Dataset {
    /// Feeds the canonical bytes to `sink`, piece by piece, so that a digest needs no second copy of the data.
    pub fn write_canonical(&self, sink: &mut dyn FnMut(&[u8])) {
        sink(MAGIC);
        let [channels, height, width] = self.shape;
        for size in [self.len(), channels, height, width, self.classes] {
            sink(&(size as u64).to_le_bytes());
        }
        let mut piece = Vec::with_capacity(4096);
        for labels in self.labels.chunks(1024) {
            piece.clear();
            piece.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
            sink(&piece);
        }
        for pixels in self.inputs.chunks(1024) {
            piece.clear();
            piece.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
            sink(&piece);
        }
    }

    /// The canonical bytes in one piece.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 4 * (self.labels.len() + self.inputs.len()));
        self.write_canonical(&mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Reads what [`Dataset::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not an encoded data set, are cut or go on, or hold a label out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: &str| Error::Data { place: "encoded data set".to_owned(), problem: problem.to_owned() };
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("it does not begin as one does"))?;
        let (sizes, body) = body.split_at_checked(5 * 8).ok_or_else(|| wrong("its header is cut"))?;
        let words: Vec<usize> =
            words(sizes).map(|word| usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX)).collect();
        let [samples, channels, height, width, classes] = words[..] else { unreachable!("five words were split off") };
        let pixels = [channels, height, width].iter().try_fold(samples, |product, &size| product.checked_mul(size));
        let expected = pixels.and_then(|pixels| pixels.checked_add(samples)).and_then(|values| values.checked_mul(4));
        if expected != Some(body.len()) {
            return Err(wrong("its length does not fit its header"));
        }
        let (labels, inputs) = body.split_at(4 * samples);
        let labels: Vec<u32> = self::words(labels).map(u32::from_le_bytes).collect();
        if labels.iter().any(|&label| label as usize >= classes) {
            return Err(wrong("a label is out of range"));
        }
        let inputs = self::words(inputs).map(f32::from_le_bytes).collect();
        Ok(Self { inputs, labels, shape: [channels, height, width], classes })
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tiny() -> Dataset {
        Dataset { inputs: vec![0.5, -0.0, 1.0, 2.0], labels: vec![1, 0], shape: [1, 1, 2], classes: 2 }
    }

    #[test]
    fn the_layout_is_pinned() {
        let mut expected = b"thalweg dataset 1\n".to_vec();
        for size in [2u64, 1, 1, 2, 2] {
            expected.extend(size.to_le_bytes());
        }
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0x3f, 0, 0, 0, 0x80, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]);
        assert_eq!(tiny().encode(), expected);
    }

    #[test]
    fn every_cut_and_every_addition_is_refused() {
        let bytes = tiny().encode();
        for len in 0..bytes.len() {
            assert!(Dataset::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Dataset::decode(&[&bytes[..], &[0]].concat()).is_err());
        let mut wrong = bytes.clone();
        wrong[HEADER] = 2;
        assert_eq!(Dataset::decode(&wrong).unwrap_err().to_string(), "encoded data set: a label is out of range");
        let mut huge = bytes;
        huge[18..26].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Dataset::decode(&huge).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_bits(bits in prop::collection::vec(any::<u32>(), 0..5000)) {
            let set = Dataset {
                inputs: bits.iter().map(|&b| f32::from_bits(b)).collect(),
                labels: bits.iter().map(|b| b % 7).collect(),
                shape: [1, 1, 1],
                classes: 7,
            };
            let back = Dataset::decode(&set.encode()).unwrap();
            prop_assert_eq!(back.inputs.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits);
            prop_assert_eq!(back.labels, set.labels);
        }
    }
}
