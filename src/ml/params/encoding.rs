//! θ as a safetensors file: the bytes are a function of names, shapes and values alone.

use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Layout, Theta, check_dtype};
use crate::ml::{Error, Result};

impl Theta {
    /// The safetensors file of this point, under PyTorch's names.
    ///
    /// # Errors
    /// candle's or safetensors', passed on.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = little_endian(&self.flat)?;
        let width = self.dtype().size_in_bytes();
        let parts = self.layout.parts.iter().map(|part| {
            let range = part.offset * width..(part.offset + part.len()) * width;
            (part.name.as_str(), part.shape.clone(), &bytes[range])
        });
        serialize(parts, self.dtype())
    }

    /// The point that a safetensors file holds, in the file's dtype.
    ///
    /// # Errors
    /// [`Error::Data`] if the file is malformed, or if its names, shapes or dtypes are not those of `layout`.
    pub fn decode(layout: Arc<Layout>, bytes: &[u8], device: &Device) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| data(error.to_string()))?;
        let mut flat = Vec::new();
        let mut dtype = None;
        for part in &layout.parts {
            let tensor = file.tensor(&part.name).map_err(|_| data(format!("`{}` is missing", part.name)))?;
            if tensor.shape() != part.shape {
                let problem = format!("`{}` has shape {:?}, expected {:?}", part.name, tensor.shape(), part.shape);
                return Err(data(problem));
            }
            let found = tensor.dtype();
            if *dtype.get_or_insert(found) != found {
                return Err(data(format!("`{}` is {found:?}, the parts before it are not", part.name)));
            }
            flat.extend_from_slice(tensor.data());
        }
        if let Some(name) = file.names().iter().find(|name| layout.parts.iter().all(|part| part.name != **name)) {
            return Err(data(format!("`{name}` is not a parameter of this model")));
        }
        Self::new(layout, from_little_endian(&flat, dtype.unwrap_or(Dtype::F32), device)?)
    }
}

/// The name under which a bare vector is stored.
const BARE: &str = "flat";

/// The safetensors file of a bare f32 or f64 vector `(N,)`, such as an optimizer's buffer.
///
/// # Errors
/// [`Error::Setting`] for another dtype; candle's or safetensors', passed on.
pub fn encode_flat(flat: &Tensor) -> Result<Vec<u8>> {
    check_dtype(flat.dtype())?;
    let bytes = little_endian(flat)?;
    serialize([(BARE, flat.dims().to_vec(), bytes.as_slice())].into_iter(), flat.dtype())
}

/// The vector of `len` elements that [`encode_flat`] wrote.
///
/// # Errors
/// [`Error::Data`] if the file is malformed or the vector has another length.
pub fn decode_flat(bytes: &[u8], len: usize, device: &Device) -> Result<Tensor> {
    let layout = Layout::new([(BARE.to_owned(), vec![len])]);
    Ok(Theta::decode(Arc::new(layout), bytes, device)?.flat)
}

fn data(problem: String) -> Error {
    Error::Data { place: "safetensors".to_owned(), problem }
}

fn little_endian(flat: &Tensor) -> Result<Vec<u8>> {
    if flat.dtype() == DType::F64 {
        return Ok(flat.flatten_all()?.to_vec1::<f64>()?.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    Ok(flat.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn from_little_endian(bytes: &[u8], dtype: Dtype, device: &Device) -> Result<Tensor> {
    match dtype {
        Dtype::F32 => {
            let values: Vec<f32> = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            let len = values.len();
            Ok(Tensor::from_vec(values, len, device)?)
        }
        Dtype::F64 => {
            let values: Vec<f64> = bytes.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x)).collect();
            let len = values.len();
            Ok(Tensor::from_vec(values, len, device)?)
        }
        other => Err(data(format!("values are {other:?}, expected `F32` or `F64`"))),
    }
}

fn serialize<'a>(parts: impl Iterator<Item = (&'a str, Vec<usize>, &'a [u8])>, dtype: DType) -> Result<Vec<u8>> {
    let dtype = if dtype == DType::F64 { Dtype::F64 } else { Dtype::F32 };
    let views = parts
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| data(error.to_string()))?;
    safetensors::serialize(views, None).map_err(|error| data(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::params::flat_to_vec;

    fn layout() -> Arc<Layout> {
        Arc::new(Layout::new([("b.weight".to_owned(), vec![2, 3]), ("a.bias".to_owned(), vec![2])]))
    }

    fn theta(scale: f64, dtype: DType) -> Theta {
        let values = (0..8).map(|i| scale * (f64::from(i) + 0.1));
        Theta::from_values(layout(), values, dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn encoding_and_decoding_gives_the_same_point() {
        for dtype in [DType::F32, DType::F64] {
            let bytes = theta(1.0, dtype).encode().unwrap();
            let back = Theta::decode(layout(), &bytes, &Device::Cpu).unwrap();
            assert_eq!(back.dtype(), dtype);
            assert_eq!(back.to_vec_f64().unwrap(), theta(1.0, dtype).to_vec_f64().unwrap());
            assert_eq!(back.encode().unwrap(), bytes);
        }
        let flat = theta(2.0, DType::F32).flat().clone();
        let back = decode_flat(&encode_flat(&flat).unwrap(), 8, &Device::Cpu).unwrap();
        assert_eq!(flat_to_vec(&back).unwrap(), flat_to_vec(&flat).unwrap());
    }

    /// Files whose headers promise what is not there: refused by what they hold, not by what memory can.
    #[test]
    fn headers_that_promise_more_than_there_is_are_refused() {
        let file = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 32]].concat();
        let of = |dtype: &str, shape: &str, offsets: &str| {
            file(&format!(r#"{{"flat":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#))
        };
        let many = 1_000_000_000_000_000_000u64;
        let bad = [
            of("F32", &format!("[{many}]"), &format!("[0,{many}]")),
            of("F32", &format!("[{many},{many}]"), "[0,32]"),
            of("F32", "[8]", &format!("[{},{}]", u64::MAX - 31, u64::MAX)),
            of("F32", "[8]", "[32,0]"),
            of("F32", "[9]", "[0,36]"),
            of("F64", "[8]", "[0,32]"),
            of("I64", "[4]", "[0,32]"),
            u64::MAX.to_le_bytes().to_vec(),
            vec![0xff; 40],
            Vec::new(),
        ];
        for (at, bytes) in bad.iter().enumerate() {
            assert!(matches!(decode_flat(bytes, 8, &Device::Cpu), Err(Error::Data { .. })), "file {at}");
        }
        assert!(decode_flat(&of("F32", "[8]", "[0,32]"), 8, &Device::Cpu).is_ok());
    }

    #[test]
    fn a_file_of_another_model_is_refused_by_name() {
        let bytes = theta(1.0, DType::F32).encode().unwrap();
        let refused = |parts: Vec<(String, Vec<usize>)>| {
            Theta::decode(Arc::new(Layout::new(parts)), &bytes, &Device::Cpu).unwrap_err().to_string()
        };
        let (weight, bias) = (("b.weight".to_owned(), vec![2, 3]), ("a.bias".to_owned(), vec![2]));
        assert_eq!(
            refused(vec![("b.weight".to_owned(), vec![3, 2]), bias.clone()]),
            "safetensors: `b.weight` has shape [2, 3], expected [3, 2]"
        );
        assert_eq!(refused(vec![weight.clone()]), "safetensors: `a.bias` is not a parameter of this model");
        assert_eq!(refused(vec![weight, bias, ("c".to_owned(), vec![1])]), "safetensors: `c` is missing");
        assert!(Theta::decode(layout(), &bytes[..bytes.len() - 1], &Device::Cpu).is_err());
        assert!(decode_flat(&encode_flat(theta(1.0, DType::F32).flat()).unwrap(), 7, &Device::Cpu).is_err());
    }
}
