//! Data sets from the Hugging Face hub, as candle-datasets fetches them (feature `hub`), made into what the published files give:
//! the same pixels to the bit, the same way up.

use candle_core::Tensor;

use super::{Dataset, Splits};
use crate::ml::{Error, Result};

/// Whether a source, by its name in manifests, can be fetched by this program.
pub fn has(source: &str) -> bool {
    cfg!(feature = "hub") && ["mnist", "fashion-mnist", "cifar10"].contains(&source)
}

/// Fetches a data set, or takes it from the hub's own cache.
///
/// # Errors
/// [`Error::Data`] if it cannot be fetched or is not what it should be; [`Error::Setting`] for a source that is not there, or in a program
/// that was built without `hub`.
#[cfg(feature = "hub")]
pub fn fetch(source: &str) -> Result<Splits> {
    use candle_datasets::vision::{cifar, fashion_mnist, mnist};

    let (set, layout) = match source {
        "mnist" => (mnist::load(), Layout::Flat),
        "fashion-mnist" => (fashion_mnist::load(), Layout::Flat),
        "cifar10" => (cifar::load(), Layout::Transposed),
        _ => return Err(Error::Setting(format!("`{source}` is not fetched from the hub"))),
    };
    let unreached = |error: candle_core::Error| Error::Data {
        place: format!("`{source}` of the hub"),
        problem: format!("it could not be fetched: {error}"),
    };
    let set = set.map_err(unreached)?;
    let part = |images, labels| dataset(images, labels, layout, set.labels);
    Ok(Splits {
        train: part(&set.train_images, &set.train_labels)?,
        validation: part(&set.test_images, &set.test_labels)?,
    })
}

/// As it says of itself.
///
/// # Errors
/// [`Error::Setting`] always.
#[cfg(not(feature = "hub"))]
pub fn fetch(source: &str) -> Result<Splits> {
    Err(Error::Setting(format!("`{source}` is fetched by a program that was built with `--features hub`")))
}

/// How candle-datasets lays out images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[samples, height·width]` of square images in one channel: its MNIST.
    Flat,
    /// `[samples, channels, width, height]`: its CIFAR from the hub, which is transposed against its CIFAR from files.
    Transposed,
}

/// A part of a data set from tensors of f32 in [0, 1] and of bytes. Pixels are taken back to the bytes that they were: candle multiplies by
/// 1/255 where the published files' are divided by 255, and the last bits differ.
///
/// # Errors
/// [`Error::Data`] for tensors of other shapes, or a label out of range.
pub fn dataset(images: &Tensor, labels: &Tensor, layout: Layout, classes: usize) -> Result<Dataset> {
    let unfit = |problem: String| Error::Data { place: "a data set of the hub".to_owned(), problem };
    let (images, shape) = match (layout, images.dims()) {
        (Layout::Flat, &[_, pixels]) if pixels.isqrt().pow(2) == pixels => {
            (images.clone(), [1, pixels.isqrt(), pixels.isqrt()])
        }
        (Layout::Transposed, &[_, channels, width, height]) => {
            (images.permute((0, 1, 3, 2))?, [channels, height, width])
        }
        (_, dims) => return Err(unfit(format!("images of shape {dims:?}"))),
    };
    let pixels: Vec<f32> = images.contiguous()?.flatten_all()?.to_vec1()?;
    let labels: Vec<u32> = labels.to_dtype(candle_core::DType::U32)?.to_vec1()?;
    if labels.len() * shape.iter().product::<usize>() != pixels.len() {
        return Err(unfit(format!("{} labels for images of {} pixels", labels.len(), pixels.len())));
    }
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        return Err(unfit(format!("the label {label}, expected 0 to {}", classes - 1)));
    }
    let inputs = pixels.into_iter().map(|pixel| (pixel * 255.0).round() / 255.0).collect();
    Ok(Dataset { inputs, labels, shape, classes })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::cifar::{self, Cifar};
    use super::super::{File, idx};
    use super::*;

    /// What candle-datasets makes of bytes `[samples, height, width, channels]` (image-rs' order) of CIFAR.
    fn as_hub(bytes: Vec<u8>) -> Tensor {
        let images = Tensor::from_vec(bytes, (2, 32, 32, 3), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        (images.permute((0, 3, 2, 1)).unwrap() / 255.0).unwrap()
    }

    #[test]
    fn cifar_from_the_hub_is_cifar_from_its_files() {
        // Every pixel tells its sample, row, column and channel.
        let value = |sample: usize, row: usize, column: usize, channel: usize| {
            ((sample * 101 + row * 37 + column * 11 + channel * 5) % 256) as u8
        };
        let places = |by_plane: bool| -> Vec<u8> {
            let mut bytes = Vec::new();
            for sample in 0..2 {
                if by_plane {
                    bytes.push(sample as u8 + 3);
                }
                for at in 0..3 * 32 * 32 {
                    let (channel, row, column) =
                        if by_plane { (at / 1024, at / 32 % 32, at % 32) } else { (at % 3, at / 96, at / 3 % 32) };
                    bytes.push(value(sample, row, column, channel));
                }
            }
            bytes
        };
        let file = File { name: "batch".to_owned(), bytes: places(true) };
        let from_file = cifar::decode(Cifar::Ten, &[&file]).unwrap();
        let labels = Tensor::new(&[3u8, 4], &Device::Cpu).unwrap();
        let from_hub = dataset(&as_hub(places(false)), &labels, Layout::Transposed, 10).unwrap();
        assert_eq!(from_hub.encode(), from_file.encode());
    }

    #[test]
    fn mnist_from_the_hub_is_mnist_from_its_files() {
        let pixels: Vec<u8> = (0..=255).chain(0..=255).take(2 * 196).collect();
        let header = |rank: u8, sizes: &[u32]| {
            [vec![0, 0, 8, rank], sizes.iter().flat_map(|size| size.to_be_bytes()).collect()].concat()
        };
        let file = |name: &str, bytes: Vec<u8>| File { name: name.to_owned(), bytes };
        let images = file("images", [header(3, &[2, 14, 14]), pixels.clone()].concat());
        let labels = file("labels", [header(1, &[2]), vec![9, 0]].concat());
        let from_files = idx::decode(&images, &labels).unwrap();
        let tensor = Tensor::from_vec(pixels, (2, 196), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        let labels = Tensor::new(&[9u8, 0], &Device::Cpu).unwrap();
        let from_hub = dataset(&(tensor / 255.0).unwrap(), &labels, Layout::Flat, 10).unwrap();
        assert_eq!(from_hub.encode(), from_files.encode());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let images = Tensor::zeros((2, 10), DType::F32, &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1u8, 12], &Device::Cpu).unwrap();
        assert!(
            dataset(&images, &labels, Layout::Flat, 10).unwrap_err().to_string().contains("images of shape [2, 10]")
        );
        let images = Tensor::zeros((2, 9), DType::F32, &Device::Cpu).unwrap();
        assert!(dataset(&images, &labels, Layout::Flat, 10).unwrap_err().to_string().contains("the label 12"));
        assert!(fetch("cifar100").is_err());
    }
}
