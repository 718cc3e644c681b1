//! θ and its fixed order: a flat vector with the names and shapes that PyTorch gives to its parts.
//!
//! A part is a view of the flat tensor and copies nothing.
//!
//! Reading order: this file, `directions` (vectors and signs along which derivatives are taken), `encoding` (safetensors).

mod directions;
mod encoding;

use std::sync::Arc;

use super::ops::{card, reduce};
use super::{Error, Result};
use crate::ml::tensor::{DType, Device, Tensor};
pub use directions::{Directions, Signs};
pub use encoding::{decode_flat, encode_flat};

/// One named part of θ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// PyTorch's shape, such as `[out, in, height, width]`.
    pub shape: Vec<usize>,
    /// Where it starts in the flat vector.
    pub offset: usize,
}

impl Part {
    /// Number of its elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The fixed order of θ: its parts one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<Part>,
    len: usize,
}

impl Layout {
    /// The layout of these (name, shape) in this order.
    pub fn new(parts: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut layout = Self::default();
        for (name, shape) in parts {
            let part = Part { name, shape, offset: layout.len };
            layout.len += part.len();
            layout.parts.push(part);
        }
        layout
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// N, the number of all elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Part `index` of a flat vector of shape `(N,)`, in the part's own shape. Copies nothing.
    ///
    /// # Errors
    /// If `flat` is not a contiguous vector of N elements.
    pub fn view(&self, flat: &Tensor, index: usize) -> Result<Tensor> {
        self.check(flat)?;
        let part = &self.parts[index];
        flat.narrow(0, part.offset, part.len())?.reshape(part.shape.as_slice())
    }

    /// That `flat` is a contiguous vector of N elements.
    ///
    /// # Errors
    /// [`Error::Shape`] if it is not.
    pub fn check(&self, flat: &Tensor) -> Result<()> {
        if flat.is_contiguous() {
            return self.check_len(flat.dims());
        }
        Err(self.unfit(flat.dims()))
    }

    /// That these are the sizes of a vector of N elements.
    fn check_len(&self, dims: &[usize]) -> Result<()> {
        if dims == [self.len] { Ok(()) } else { Err(self.unfit(dims)) }
    }

    fn unfit(&self, dims: &[usize]) -> Error {
        Error::Shape {
            operation: "layout",
            expected: format!("a contiguous vector of {} elements", self.len),
            found: format!("{dims:?}"),
        }
    }
}

/// A point of parameter space: a flat tensor of shape `(N,)`, f32 or f64, and the layout that names its parts.
#[derive(Clone, Debug)]
pub struct Theta {
    layout: Arc<Layout>,
    flat: Tensor,
}

impl Theta {
    /// θ from its flat tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `flat` is a contiguous f32 or f64 vector of N elements.
    pub fn new(layout: Arc<Layout>, flat: Tensor) -> Result<Self> {
        layout.check(&flat)?;
        check_dtype(flat.dtype())?;
        Ok(Self { layout, flat })
    }

    /// θ from f64 values, rounded to `dtype`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are N values; [`Error::Setting`] for a dtype other than f32 and f64.
    pub fn from_values(
        layout: Arc<Layout>,
        values: impl IntoIterator<Item = f64>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let flat = flat_of(layout.len(), values.into_iter(), dtype, device)?;
        Self::new(layout, flat)
    }

    /// The fixed order.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The flat tensor, `(N,)`.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// N, the number of parameters.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.layout.is_empty()
    }

    /// f32 or f64.
    pub fn dtype(&self) -> DType {
        self.flat.dtype()
    }

    /// Part `index` in its own shape. Copies nothing.
    ///
    /// # Errors
    /// None for a θ made by this module; candle's, passed on.
    pub fn view(&self, index: usize) -> Result<Tensor> {
        self.layout.view(&self.flat, index)
    }

    /// All values in order, exact.
    ///
    /// # Errors
    /// candle's, passed on.
    pub fn to_vec_f64(&self) -> Result<Vec<f64>> {
        flat_to_vec(&self.flat)
    }

    /// The same point in another dtype; from f64 to f32 the values are rounded.
    ///
    /// # Errors
    /// [`Error::Setting`] for a dtype other than f32 and f64.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        check_dtype(dtype)?;
        Ok(Self { layout: Arc::clone(&self.layout), flat: self.flat.to_dtype(dtype)? })
    }

    /// The point (1 − t)·a + t·b of the line through `a` and `b`, computed in f64 and rounded once; exact at t = 0 and 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two have different layouts or dtypes.
    pub fn interpolate(a: &Self, b: &Self, t: f64) -> Result<Self> {
        if let Some([from, to]) = a.on_card_with(b)? {
            return Self::new(Arc::clone(&a.layout), card::interpolate(from, to, t)?);
        }
        let (from, to) = a.with(b)?;
        let values = from.iter().zip(&to).map(|(x, y)| (1.0 - t) * x + t * y);
        Self::from_values(Arc::clone(&a.layout), values, a.dtype(), &a.flat.device())
    }

    /// The Euclidean distance ‖a − b‖, summed in f64 in one order.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two have different layouts or dtypes.
    pub fn distance(a: &Self, b: &Self) -> Result<f64> {
        if let Some([from, to]) = a.on_card_with(b)? {
            return Ok(card::square_distance(from, to)?.to_scalar::<f64>()?.sqrt());
        }
        let (from, to) = a.with(b)?;
        Ok(from.iter().zip(&to).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt())
    }

    /// The Euclidean norm ‖θ‖, summed in f64 in one order.
    ///
    /// # Errors
    /// candle's, passed on.
    pub fn norm(&self) -> Result<f64> {
        if let Tensor::Card(_) = self.flat {
            return Ok(reduce::dot(&self.flat, &self.flat)?.sqrt());
        }
        Ok(self.to_vec_f64()?.iter().map(|x| x * x).sum::<f64>().sqrt())
    }

    /// The flat tensors of both, if they are on a card.
    fn on_card_with<'a>(&'a self, other: &'a Self) -> Result<Option<[&'a Tensor; 2]>> {
        self.check_with(other)?;
        Ok(matches!(self.flat, Tensor::Card(_)).then_some([&self.flat, &other.flat]))
    }

    fn with(&self, other: &Self) -> Result<(Vec<f64>, Vec<f64>)> {
        self.check_with(other)?;
        Ok((self.to_vec_f64()?, other.to_vec_f64()?))
    }

    fn check_with(&self, other: &Self) -> Result<()> {
        if self.layout != other.layout || self.dtype() != other.dtype() {
            return Err(Error::Shape {
                operation: "theta",
                expected: format!("two points of one layout and dtype, {} × {:?}", self.len(), self.dtype()),
                found: format!("{} × {:?}", other.len(), other.dtype()),
            });
        }
        Ok(())
    }
}

/// A vector of shape `(N,)` from f64 values, rounded to `dtype`.
///
/// # Errors
/// [`Error::Setting`] for a dtype other than f32 and f64.
pub fn flat_from_values(values: impl IntoIterator<Item = f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    let values = values.into_iter();
    flat_of(values.size_hint().0, values, dtype, device)
}

/// A vector of shape `(N,)` from f32 values, exact in `dtype`; in f32 it takes them over.
///
/// # Errors
/// [`Error::Setting`] for a dtype other than f32 and f64.
pub fn flat_from_singles(values: Vec<f32>, dtype: DType, device: &Device) -> Result<Tensor> {
    match dtype {
        DType::F32 => {
            let len = values.len();
            Ok(Tensor::from_vec(values, len, device)?)
        }
        _ => flat_from_values(values.into_iter().map(f64::from), dtype, device),
    }
}

/// As [`flat_from_values`], of about `count` values. There is nothing between the values and the tensor: θ may be large.
fn flat_of(count: usize, values: impl Iterator<Item = f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    check_dtype(dtype)?;
    if dtype == DType::F64 {
        let mut own = Vec::with_capacity(count);
        own.extend(values);
        let len = own.len();
        return Tensor::from_vec(own, len, device);
    }
    let mut own = Vec::with_capacity(count);
    own.extend(values.map(|x| x as f32));
    let len = own.len();
    Tensor::from_vec(own, len, device)
}

/// The values of a vector `(N,)`, exact.
///
/// # Errors
/// candle's, passed on.
pub fn flat_to_vec(flat: &Tensor) -> Result<Vec<f64>> {
    if flat.dtype() == DType::F64 {
        return flat.to_vec1::<f64>();
    }
    Ok(flat.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

fn check_dtype(dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::F64 => Ok(()),
        other => Err(Error::Setting(format!("parameters are `f32` or `f64`, not `{}`", other.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{CpuStorage, Storage};

    use super::*;

    fn layout() -> Arc<Layout> {
        Arc::new(Layout::new([("b.weight".to_owned(), vec![2, 3]), ("a.bias".to_owned(), vec![2])]))
    }

    fn theta(scale: f64, dtype: DType) -> Theta {
        let values = (0..8).map(|i| scale * (f64::from(i) + 0.1));
        Theta::from_values(layout(), values, dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_view_is_the_part_in_its_shape_and_shares_the_storage() {
        let theta = theta(1.0, DType::F64);
        let bias = theta.view(1).unwrap();
        assert_eq!(bias.to_vec1::<f64>().unwrap(), [6.1, 7.1]);
        assert_eq!(theta.view(0).unwrap().dims(), [2, 3]);
        let address = |tensor: &Tensor| {
            let Tensor::Host(tensor) = tensor else { panic!("a CPU tensor") };
            let (storage, _) = tensor.storage_and_layout();
            match &*storage {
                Storage::Cpu(CpuStorage::F64(values)) => values.as_ptr() as usize,
                _ => panic!("a CPU tensor of f64"),
            }
        };
        assert_eq!(address(&bias), address(theta.flat()));
    }

    #[test]
    fn a_line_starts_and_ends_exactly_at_its_ends() {
        for dtype in [DType::F32, DType::F64] {
            let (a, b) = (theta(1.0, dtype), theta(-0.7, dtype));
            let at = |t: f64| Theta::interpolate(&a, &b, t).unwrap().to_vec_f64().unwrap();
            assert_eq!(at(0.0), a.to_vec_f64().unwrap());
            assert_eq!(at(1.0), b.to_vec_f64().unwrap());
            let middle = Theta::interpolate(&a, &b, 0.5).unwrap();
            let whole = Theta::distance(&a, &b).unwrap();
            assert!((Theta::distance(&a, &middle).unwrap() - whole / 2.0).abs() < 1e-6 * whole);
        }
        let three_four = Layout::new([("w".to_owned(), vec![2])]);
        let point = Theta::from_values(Arc::new(three_four), vec![3.0, 4.0], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(point.norm().unwrap().to_bits(), 5.0f64.to_bits());
    }

    #[test]
    fn a_point_of_the_wrong_length_or_dtype_is_refused() {
        assert!(Theta::from_values(layout(), vec![0.0; 7], DType::F64, &Device::Cpu).is_err());
        assert!(Theta::from_values(layout(), vec![0.0; 8], DType::F16, &Device::Cpu).is_err());
        let other = Arc::new(Layout::new([("w".to_owned(), vec![8])]));
        let elsewhere = Theta::from_values(other, vec![0.0; 8], DType::F64, &Device::Cpu).unwrap();
        assert!(Theta::distance(&theta(1.0, DType::F64), &elsewhere).is_err());
    }
}
