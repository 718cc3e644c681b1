//! The IDX format of MNIST and Fashion-MNIST (<http://yann.lecun.com/exdb/mnist/>): two zero bytes,
//! a type byte (8: unsigned bytes), the number of dimensions, each dimension as a big-endian 32-bit number, the values.

use super::inflate::inflated;
use super::{Dataset, File};
use crate::ml::{Error, Result};

const CLASSES: usize = 10;

/// Decodes an image file and its label file, gzipped or not, into images `[1, height, width]` with values `byte / 255` in
/// [0, 1], in the file's order.
///
/// # Errors
/// [`Error::Data`] for a file that is not IDX of unsigned bytes with the right number of dimensions, whose length does not
/// fit its header, whose counts differ from the other's, or with a label above 9; for one that holds nothing.
pub fn decode(images: &File, labels: &File) -> Result<Dataset> {
    let (dimensions, pixels) = read(images, 3)?;
    let (counts, classes) = read(labels, 1)?;
    if counts[0] != dimensions[0] {
        let problem = format!("{} labels for the {} images of `{}`", counts[0], dimensions[0], images.name);
        return Err(Error::Data { place: labels.name.clone(), problem });
    }
    if let Some(at) = classes.iter().position(|&label| usize::from(label) >= CLASSES) {
        let problem = format!("label {at} is {}, expected 0 to {}", classes[at], CLASSES - 1);
        return Err(Error::Data { place: labels.name.clone(), problem });
    }
    Ok(Dataset {
        inputs: pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
        labels: classes.iter().map(|&label| u32::from(label)).collect(),
        shape: [1, dimensions[1], dimensions[2]],
        classes: CLASSES,
    })
}

/// The dimensions and the values of one file of unsigned bytes.
fn read(file: &File, rank: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let wrong = |problem: String| Error::Data { place: file.name.clone(), problem };
    let bytes = inflated(&file.name, &file.bytes)?;
    let header = 4 + 4 * rank;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, rank as u8] {
        return Err(wrong(format!("not an idx file of unsigned bytes in {rank} dimensions")));
    }
    let dimensions: Vec<usize> = bytes[4..header]
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize)
        .collect();
    if dimensions.contains(&0) {
        return Err(wrong(format!("the header says {dimensions:?} values: none at all")));
    }
    let expected = dimensions.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let values = &bytes[header..];
    if expected != Some(values.len()) {
        return Err(wrong(format!("the header says {dimensions:?} values, the file holds {}", values.len())));
    }
    Ok((dimensions, values.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(name: &str, dimensions: &[u32], values: &[u8]) -> File {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        File { name: name.to_owned(), bytes }
    }

    #[test]
    fn two_images_of_two_by_three_decode_in_order() {
        let images = file("images", &[2, 2, 3], &[0, 51, 102, 153, 204, 255, 255, 0, 0, 0, 0, 0]);
        let set = decode(&images, &file("labels", &[2], &[9, 0])).unwrap();
        assert_eq!((set.shape, set.labels.clone()), ([1, 2, 3], vec![9, 0]));
        assert_eq!(set.sample(0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(set.sample(1)[0].to_bits(), 1.0f32.to_bits());
    }

    #[test]
    fn a_gzipped_file_gives_what_the_plain_one_gives() {
        let images = file("images", &[1, 1, 1], &[7]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&images.bytes).unwrap();
        let packed = File { name: "images.gz".to_owned(), bytes: gzip.finish().unwrap() };
        let labels = file("labels", &[1], &[3]);
        assert_eq!(decode(&packed, &labels).unwrap(), decode(&images, &labels).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let images = file("images", &[1, 1, 1], &[7]);
        let message = |images: &File, labels: &File| decode(images, labels).unwrap_err().to_string();
        assert_eq!(message(&images, &file("labels", &[2], &[1, 2])), "labels: 2 labels for the 1 images of `images`");
        assert_eq!(message(&images, &file("labels", &[1], &[10])), "labels: label 0 is 10, expected 0 to 9");
        assert_eq!(message(&images, &images), "images: not an idx file of unsigned bytes in 1 dimensions");
        let short = file("images", &[1, 1, 2], &[7]);
        assert_eq!(message(&short, &images), "images: the header says [1, 1, 2] values, the file holds 1");
        let empty = |sizes: &[u32]| message(&file("images", sizes, &[]), &images);
        assert_eq!(empty(&[3, 0, 28]), "images: the header says [3, 0, 28] values: none at all");
        assert_eq!(empty(&[0, 28, 28]), "images: the header says [0, 28, 28] values: none at all");
        let huge = file("images", &[u32::MAX, u32::MAX, u32::MAX], &[]);
        assert!(message(&huge, &images).contains("the file holds 0"));
    }
}
