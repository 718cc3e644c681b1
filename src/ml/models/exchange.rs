//! θ as PyTorch keeps it, a `state_dict` in a safetensors file: read whatever wrapped or rounded it, and written so that
//! `load_state_dict` takes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::ml::tensor::{DType, Device};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::Declared;
use crate::ml::ops::norm::Statistics;
use crate::ml::params::{Part, Theta};
use crate::ml::{Error, Result};

/// What PyTorch keeps of a batch norm besides its parameters; a loss in training mode does not depend on them.
const BUFFERS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// A file from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// What the names of the model's tensors begin with there, such as `module.`; tensors whose names do not are another's.
    pub prefix: &'a str,
}

/// θ from a PyTorch file, in `dtype`. Values may be f16, bf16, f32 or f64; what batch norms keep besides their parameters is left out.
///
/// # Errors
/// [`Error::Data`] if the file is malformed, or with every parameter that is missing, has another shape, is not made of
/// floating-point numbers, or is not finite in `dtype`, and every tensor that is no parameter of the model.
pub fn import(declared: &Declared, foreign: Foreign<'_>, dtype: DType, device: &Device) -> Result<Theta> {
    let Foreign { name, bytes, prefix } = foreign;
    let data = |problem: String| Error::Data { place: name.to_owned(), problem };
    let file = SafeTensors::deserialize(bytes).map_err(|error| data(malformed(bytes, &error.to_string())))?;
    let mut problems = Vec::new();
    let mut values = Vec::with_capacity(declared.layout.len());
    for part in declared.layout.parts() {
        match values_of(&file, prefix, part, dtype) {
            Ok(part) => values.extend(part),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(strangers(declared, &file, prefix).map(|name| format!("`{name}` is no parameter of this model")));
    if problems.is_empty() {
        return Theta::from_values(Arc::clone(&declared.layout), values, dtype, device);
    }
    problems.extend(
        wrapper(declared, &file, prefix)
            .map(|found| format!("its names begin with `{found}`: `prefix = \"{found}\"` reads them")),
    );
    Err(data(format!("it does not hold the parameters of this model:\n{}", problems.join("\n"))))
}

/// Why a file does not read. `torch.save` writes a zip archive, which people take for granted.
fn malformed(bytes: &[u8], error: &str) -> String {
    if bytes.starts_with(b"PK") {
        return "it is an archive of `torch.save`, not a safetensors file: write it with `safetensors.torch.save_file`"
            .to_owned();
    }
    format!("it is no safetensors file: {error}")
}

/// The values of one parameter, or what is wrong with it.
fn values_of(file: &SafeTensors<'_>, prefix: &str, part: &Part, dtype: DType) -> Result<Vec<f64>, String> {
    let name = format!("{prefix}{}", part.name);
    let tensor = file.tensor(&name).map_err(|_| format!("`{name}` is missing"))?;
    if tensor.shape() != part.shape {
        return Err(format!("`{name}` has shape {:?}, expected {:?}", tensor.shape(), part.shape));
    }
    let stored = match tensor.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        other => return Err(format!("`{name}` holds {other:?}, expected floating-point numbers")),
    };
    let converted =
        candle_core::Tensor::from_raw_buffer(tensor.data(), stored, &[part.len()], &candle_core::Device::Cpu)
            .and_then(|values| values.to_dtype(dtype)?.to_dtype(DType::F64)?.to_vec1::<f64>());
    let values = converted.map_err(|error| format!("`{name}`: {error}"))?;
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("`{name}` holds {value} as {}", dtype.as_str())),
        None => Ok(values),
    }
}

/// The tensors of a file that are neither parameters nor what batch norms keep besides.
fn strangers<'f>(
    declared: &Declared,
    file: &'f SafeTensors<'_>,
    prefix: &'f str,
) -> impl Iterator<Item = &'f str> + use<'f> {
    let parameters = declared.layout.parts().iter().map(|part| part.name.clone());
    let buffers = declared.norms.iter().flat_map(|norm| BUFFERS.map(|buffer| format!("{norm}.{buffer}")));
    let known: BTreeSet<String> = parameters.chain(buffers).collect();
    let names: BTreeSet<&str> = file.names().into_iter().collect();
    names.into_iter().filter(move |name| name.strip_prefix(prefix).is_some_and(|name| !known.contains(name)))
}

/// What all parameters' names begin with in a file where they are there but for that.
fn wrapper<'f>(declared: &Declared, file: &'f SafeTensors<'_>, prefix: &str) -> Option<&'f str> {
    let parts = declared.layout.parts();
    let first = parts.first()?.name.as_str();
    let names: BTreeSet<&str> = file.names().into_iter().collect();
    let before = names.iter().filter_map(|name| name.strip_suffix(first)).filter(|before| *before != prefix);
    before.into_iter().find(|before| parts.iter().all(|part| names.contains(format!("{before}{}", part.name).as_str())))
}

/// The file that `load_state_dict` takes: the parameters, and for each batch norm the mean and, as PyTorch keeps it, the unbiased
/// variance of `moments`, which were taken over so many batches.
///
/// # Errors
/// [`Error::Shape`] unless there are moments for each batch norm; candle's or safetensors', passed on.
pub fn export(declared: &Declared, theta: &Theta, moments: &[Statistics], batches: u64) -> Result<Vec<u8>> {
    if theta.layout() != &declared.layout || moments.len() != declared.norms.len() {
        return Err(Error::Shape {
            operation: "export",
            expected: format!("{} parameters and {} batch norms", declared.layout.len(), declared.norms.len()),
            found: format!("{} and {}", theta.len(), moments.len()),
        });
    }
    let failed = |error: safetensors::SafeTensorError| Error::Data {
        place: "safetensors".to_owned(),
        problem: error.to_string(),
    };
    let parameters = theta.encode()?;
    let dtype = if theta.dtype() == DType::F64 { Dtype::F64 } else { Dtype::F32 };
    let bytes = |values: &mut dyn Iterator<Item = f64>| -> Vec<u8> {
        match dtype {
            Dtype::F64 => values.flat_map(f64::to_le_bytes).collect(),
            _ => values.flat_map(|value| (value as f32).to_le_bytes()).collect(),
        }
    };
    let mut buffers = Vec::new();
    for (norm, Statistics { mean, variance, count }) in declared.norms.iter().zip(moments) {
        let unbiased = *count as f64 / (*count as f64 - 1.0);
        let all = [
            (dtype, vec![mean.len()], bytes(&mut mean.iter().copied())),
            (dtype, vec![variance.len()], bytes(&mut variance.iter().map(|variance| variance * unbiased))),
            (Dtype::I64, Vec::new(), batches.to_le_bytes().to_vec()),
        ];
        buffers.extend(BUFFERS.iter().zip(all).map(|(buffer, tensor)| (format!("{norm}.{buffer}"), tensor)));
    }
    let file = SafeTensors::deserialize(&parameters).map_err(failed)?;
    let mut views = file.tensors();
    for (name, (dtype, shape, bytes)) in &buffers {
        views.push((name.clone(), TensorView::new(*dtype, shape.clone(), bytes).map_err(failed)?));
    }
    // Readers that take several frameworks' files ask for this word.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, Architecture, Model};
    use super::*;
    use crate::ml::rng::Stream;

    type Stored<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

    fn file(tensors: &[Stored<'_>]) -> Vec<u8> {
        fn view<'a>(&(name, dtype, shape, bytes): &Stored<'a>) -> (String, TensorView<'a>) {
            (name.to_owned(), TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
        }
        safetensors::serialize(tensors.iter().map(view).collect::<Vec<_>>(), None).unwrap()
    }

    fn read(model: &Arc<dyn Model>, bytes: &[u8], prefix: &str, dtype: DType) -> Result<Theta> {
        import(model.declared(), Foreign { name: "w.safetensors", bytes, prefix }, dtype, &Device::Cpu)
    }

    /// Two weights and a bias in each of two layers: 1·1·2 → 1 → 1.
    fn mlp() -> Arc<dyn Model> {
        Architecture::Mlp { hidden: vec![1], activation: Activation::Relu }.build([1, 1, 2], 1).unwrap()
    }

    const BF16: [u8; 4] = [0xC0, 0x3F, 0x40, 0xC0];

    #[test]
    fn every_floating_point_type_is_read_behind_its_prefix() {
        let half = [0x00, 0x3E];
        let (single, double) = (0.1f32.to_le_bytes(), 0.1f64.to_le_bytes());
        let bytes = file(&[
            ("module.fc1.weight", Dtype::BF16, &[1, 2], &BF16),
            ("module.fc1.bias", Dtype::F16, &[1], &half),
            ("module.fc2.weight", Dtype::F32, &[1, 1], &single),
            ("module.fc2.bias", Dtype::F64, &[1], &double),
            ("criterion.weight", Dtype::F32, &[1], &single),
        ]);
        let values = |dtype| read(&mlp(), &bytes, "module.", dtype).unwrap().to_vec_f64().unwrap();
        assert_eq!(values(DType::F64), [1.5, -3.0, 1.5, f64::from(0.1f32), 0.1]);
        assert_eq!(values(DType::F32), [1.5, -3.0, 1.5, f64::from(0.1f32), f64::from(0.1f32)]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let (infinite, huge) = (f32::INFINITY.to_le_bytes(), 1e300f64.to_le_bytes());
        let bytes = file(&[
            ("fc1.weight", Dtype::BF16, &[2, 1], &BF16),
            ("fc1.bias", Dtype::F32, &[1], &infinite),
            ("fc2.weight", Dtype::I32, &[1, 1], &[1, 0, 0, 0]),
            ("fc1.running_mean", Dtype::F32, &[1], &infinite),
        ]);
        insta::assert_snapshot!(read(&mlp(), &bytes, "", DType::F32).unwrap_err(), @r"
        w.safetensors: it does not hold the parameters of this model:
        `fc1.weight` has shape [2, 1], expected [1, 2]
        `fc1.bias` holds inf as f32
        `fc2.weight` holds I32, expected floating-point numbers
        `fc2.bias` is missing
        `fc1.running_mean` is no parameter of this model
        ");
        let wrapped = file(&[
            ("net.fc1.weight", Dtype::BF16, &[1, 2], &BF16),
            ("net.fc1.bias", Dtype::BF16, &[1], &BF16[..2]),
            ("net.fc2.weight", Dtype::F64, &[1, 1], &huge),
            ("net.fc2.bias", Dtype::BF16, &[1], &BF16[..2]),
        ]);
        let said = read(&mlp(), &wrapped, "", DType::F64).unwrap_err().to_string();
        assert!(said.ends_with("its names begin with `net.`: `prefix = \"net.\"` reads them"), "{said}");
        assert!(read(&mlp(), &wrapped, "net.", DType::F64).is_ok());
        let said = read(&mlp(), &wrapped, "net.", DType::F32).unwrap_err().to_string();
        assert!(said.ends_with("`net.fc2.weight` holds inf as f32"), "{said}");
        let said = |bytes| read(&mlp(), bytes, "", DType::F32).unwrap_err().to_string();
        assert!(said(b"PK\x03\x04").contains("`torch.save`"));
        assert!(said(&wrapped[..20]).starts_with("w.safetensors: it is no safetensors file: "));
    }

    #[test]
    fn what_is_exported_is_imported_again_and_has_what_batch_norms_keep_besides() {
        let model = Architecture::PreactResNet18 { width: 1, final_norm: true }.build([1, 8, 8], 3).unwrap();
        let moments: Vec<Statistics> = (0..model.norms())
            .map(|layer| Statistics {
                mean: vec![0.25; 1 << (layer / 5)],
                variance: vec![3.0; 1 << (layer / 5)],
                count: 4,
            })
            .collect();
        for dtype in [DType::F32, DType::F64] {
            let theta = model.init(&Stream::new(0, "init"), dtype, &Device::Cpu).unwrap();
            let bytes = export(model.declared(), &theta, &moments, 7).unwrap();
            assert_eq!(read(&model, &bytes, "", dtype).unwrap().encode().unwrap(), theta.encode().unwrap());
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.len(), model.layout().parts().len() + 3 * model.norms());
            let variance = file.tensor("bn.running_var").unwrap();
            let first = match dtype {
                DType::F64 => f64::from_le_bytes(*variance.data().first_chunk().unwrap()),
                _ => f64::from(f32::from_le_bytes(*variance.data().first_chunk().unwrap())),
            };
            assert!((first - 4.0).abs() < 1e-12);
            let batches = file.tensor("bn.num_batches_tracked").unwrap();
            assert_eq!((batches.dtype(), batches.shape()), (Dtype::I64, &[][..]));
            assert_eq!(batches.data(), 7i64.to_le_bytes());
            assert!(export(model.declared(), &theta, &moments[1..], 7).is_err());
        }
    }
}
