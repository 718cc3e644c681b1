//! Tensors: candle's on the CPU, this program's own on a card. What is done with them is in `ops/`; here they are made, looked at from
//! another side, and moved.
//!
//! candle's own CUDA tensors are not used: its feature links against the driver, so that a program with it does not start without one, and
//! wants a compiler for the GPU where it is built.
//!
//! Reading order: this file, `on_card`.

mod on_card;

use candle_core::shape::ShapeWithOneHole;
use candle_core::{NdArray, Shape, WithDType};

pub use candle_core::DType;
pub use on_card::OnCard;

use super::card::{Card, Fault};
use super::{Error, Result};

/// Where tensors are.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Device {
    /// In the machine's memory.
    #[default]
    Cpu,
    /// On a card.
    Card(Card),
}

impl Device {
    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }
}

/// Numbers of one type in rows and columns: f32, f64, u32, and on a card bf16.
#[derive(Clone, Debug)]
pub enum Tensor {
    /// In the machine's memory.
    Host(candle_core::Tensor),
    /// On a card.
    Card(OnCard),
}

impl From<candle_core::Tensor> for Tensor {
    fn from(tensor: candle_core::Tensor) -> Self {
        Self::Host(tensor)
    }
}

/// What tensors are made from.
impl Tensor {
    /// A tensor of what is written as an array, or a slice, or a number.
    ///
    /// # Errors
    /// Rows of different lengths; a card without room.
    pub fn new<A: NdArray>(array: A, device: &Device) -> Result<Self> {
        Self::Host(candle_core::Tensor::new(array, &candle_core::Device::Cpu)?).to_device(device)
    }

    /// A tensor that takes over `values`.
    ///
    /// # Errors
    /// Another number of values than the shape has; a card without room.
    pub fn from_vec<T: WithDType>(values: Vec<T>, shape: impl ShapeWithOneHole, device: &Device) -> Result<Self> {
        Self::Host(candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?).to_device(device)
    }

    /// A tensor of these values.
    ///
    /// # Errors
    /// Another number of values than the shape has; a card without room.
    pub fn from_slice<T: WithDType>(values: &[T], shape: impl ShapeWithOneHole, device: &Device) -> Result<Self> {
        Self::Host(candle_core::Tensor::from_slice(values, shape, &candle_core::Device::Cpu)?).to_device(device)
    }

    /// Zeros.
    ///
    /// # Errors
    /// A card without room.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::Host(candle_core::Tensor::zeros(shape, dtype, &candle_core::Device::Cpu)?)),
            Device::Card(card) => Ok(Self::Card(OnCard::zeros(card, shape.into().dims(), dtype)?)),
        }
    }

    /// Ones.
    ///
    /// # Errors
    /// A card without room.
    pub fn ones(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Self> {
        Self::Host(candle_core::Tensor::ones(shape, dtype, &candle_core::Device::Cpu)?).to_device(device)
    }

    /// Zeros of the shape and type of this one, where this one is.
    ///
    /// # Errors
    /// A card without room.
    pub fn zeros_like(&self) -> Result<Self> {
        Self::zeros(self.dims(), self.dtype(), &self.device())
    }

    /// A copy whose memory is its own.
    ///
    /// # Errors
    /// A card without room.
    pub fn copy(&self) -> Result<Self> {
        match self {
            Self::Host(tensor) => Ok(Self::Host(tensor.copy()?)),
            Self::Card(tensor) => Ok(Self::Card(tensor.copied()?)),
        }
    }
}

/// Several as one.
impl Tensor {
    /// Tensors put one after the other along an axis; on a card vectors, in one launch.
    ///
    /// # Errors
    /// Sizes that differ along other axes, tensors in different places or of different types; a card without room.
    pub fn cat(tensors: &[Self], axis: usize) -> Result<Self> {
        if let Some(Self::Card(first)) = tensors.first() {
            let dtype = if first.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            return Ok(Self::Card(OnCard::joined(tensors, dtype)?));
        }
        let hosts = tensors.iter().map(Self::host).collect::<Result<Vec<_>>>()?;
        Ok(Self::Host(candle_core::Tensor::cat(&hosts, axis)?))
    }

    /// Rows of a tensor `[R, …]` by their numbers, a vector of u32 in the same place.
    ///
    /// # Errors
    /// A number beyond the rows (not seen on a card); a card without room.
    pub fn rows(&self, numbers: &Self) -> Result<Self> {
        match (self, numbers) {
            (Self::Host(tensor), Self::Host(numbers)) => Ok(Self::Host(tensor.index_select(numbers, 0)?)),
            (Self::Card(tensor), Self::Card(numbers)) => Ok(Self::Card(tensor.chosen(numbers)?)),
            _ => Err(Error::Shape {
                operation: "rows",
                expected: "tensors that are in one place".to_owned(),
                found: "one on a card".to_owned(),
            }),
        }
    }
}

/// What they are.
impl Tensor {
    /// Sizes.
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Host(tensor) => tensor.dims(),
            Self::Card(tensor) => tensor.dims(),
        }
    }

    /// How many axes.
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// How many elements.
    pub fn elem_count(&self) -> usize {
        self.dims().iter().product()
    }

    /// The four sizes.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of axes.
    pub fn dims4(&self) -> Result<[usize; 4]> {
        self.dims().try_into().map_err(|_| Error::Shape {
            operation: "dims4",
            expected: "four axes".to_owned(),
            found: format!("{:?}", self.dims()),
        })
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Host(tensor) => tensor.dtype(),
            Self::Card(tensor) => tensor.dtype(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Host(_) => Device::Cpu,
            Self::Card(tensor) => Device::Card(tensor.card().clone()),
        }
    }

    /// Whether its elements lie in memory one after the other; on a card always.
    pub fn is_contiguous(&self) -> bool {
        match self {
            Self::Host(tensor) => tensor.is_contiguous(),
            Self::Card(_) => true,
        }
    }

    /// The tensor on a card that it is, if it is one.
    pub fn on_card(&self) -> Option<&OnCard> {
        match self {
            Self::Host(_) => None,
            Self::Card(tensor) => Some(tensor),
        }
    }

    /// As candle's, in the machine's memory; waits for the card and copies if it is on one. bf16 becomes f32.
    ///
    /// # Errors
    /// A lost device.
    pub fn host(&self) -> Result<candle_core::Tensor> {
        match self {
            Self::Host(tensor) => Ok(tensor.clone()),
            Self::Card(tensor) => tensor.download(),
        }
    }

    /// The numbers of a tensor with one axis; waits for the card if it is on one.
    ///
    /// # Errors
    /// Another number of axes, another type; a lost device.
    pub fn to_vec1<T: WithDType>(&self) -> Result<Vec<T>> {
        Ok(self.host()?.to_vec1()?)
    }

    /// The number that a tensor without axes is; waits for the card if it is on one.
    ///
    /// # Errors
    /// A tensor with axes, another type; a lost device.
    pub fn to_scalar<T: WithDType>(&self) -> Result<T> {
        Ok(self.host()?.to_scalar()?)
    }
}

/// Other sides and places.
impl Tensor {
    /// The same elements in another shape. Copies nothing where they lie one after the other.
    ///
    /// # Errors
    /// A shape with another number of elements.
    pub fn reshape(&self, shape: impl ShapeWithOneHole) -> Result<Self> {
        match self {
            Self::Host(tensor) => Ok(Self::Host(tensor.reshape(shape)?)),
            Self::Card(tensor) => {
                let shape = shape.into_shape(self.elem_count())?;
                Ok(Self::Card(tensor.reshaped(shape.dims())?))
            }
        }
    }

    /// The same elements along one axis. Copies nothing where they lie one after the other.
    ///
    /// # Errors
    /// None of a tensor that this program makes.
    pub fn flatten_all(&self) -> Result<Self> {
        self.reshape(self.elem_count())
    }

    /// `length` rows from `start` on along an axis; on a card the first, for what lies one after the other. Copies nothing.
    ///
    /// # Errors
    /// A stretch beyond the axis; another axis on a card.
    pub fn narrow(&self, axis: usize, start: usize, length: usize) -> Result<Self> {
        match self {
            Self::Host(tensor) => Ok(Self::Host(tensor.narrow(axis, start, length)?)),
            Self::Card(tensor) => Ok(Self::Card(tensor.narrowed(axis, start, length)?)),
        }
    }

    /// The same elements one after the other.
    ///
    /// # Errors
    /// A card without room.
    pub fn contiguous(&self) -> Result<Self> {
        match self {
            Self::Host(tensor) => Ok(Self::Host(tensor.contiguous()?)),
            Self::Card(_) => Ok(self.clone()),
        }
    }

    /// The same numbers in another type, rounded to nearest.
    ///
    /// # Errors
    /// A type that the device does not have; a card without room.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        match self {
            _ if self.dtype() == dtype => Ok(self.clone()),
            Self::Host(tensor) => Ok(Self::Host(tensor.to_dtype(dtype)?)),
            Self::Card(tensor) => Ok(Self::Card(tensor.cast(dtype)?)),
        }
    }

    /// The same numbers somewhere else; a tensor that is there already is itself.
    ///
    /// # Errors
    /// A card without room; a lost device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        match (self, device) {
            (Self::Host(_), Device::Cpu) => Ok(self.clone()),
            (Self::Card(tensor), Device::Card(card)) if tensor.card() == card => {
                Ok(Self::Card(tensor.clone().computing_as(card)))
            }
            (Self::Card(_), Device::Cpu) => Ok(Self::Host(self.host()?)),
            (_, Device::Card(card)) => Ok(Self::Card(OnCard::upload(card, &self.host()?)?)),
        }
    }
}

impl Tensor {
    /// As [`to_device`](Self::to_device) and [`to_dtype`](Self::to_dtype) together, without room for both on the way.
    ///
    /// # Errors
    /// Those of both.
    pub fn to_place(&self, device: &Device, dtype: DType) -> Result<Self> {
        match (self, device) {
            (Self::Host(tensor), Device::Card(card)) if self.dtype() != dtype => {
                Ok(Self::Card(OnCard::upload_as(card, tensor, dtype)?))
            }
            _ => self.to_device(device)?.to_dtype(dtype),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Card(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::card::Simulated;

    fn card() -> Device {
        Device::Card(Simulated::new(1 << 24).card())
    }

    #[test]
    fn numbers_come_back_from_a_card_as_they_went() {
        let device = card();
        let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
        let there = Tensor::from_vec(values.clone(), (10, 100), &device).unwrap();
        assert_eq!((there.dims(), there.dtype()), (&[10, 100][..], DType::F32));
        assert_eq!(there.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
        let part = there.narrow(0, 3, 2).unwrap().reshape(200).unwrap();
        assert_eq!(part.to_vec1::<f32>().unwrap(), values[300..500]);
        assert_eq!(part.to_device(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap(), values[300..500]);
        assert_eq!(Tensor::new(25u32, &device).unwrap().to_scalar::<u32>().unwrap(), 25);
        assert_eq!(Tensor::zeros(3, DType::F64, &device).unwrap().to_vec1::<f64>().unwrap(), [0.0; 3]);
        assert!(there.narrow(1, 0, 2).is_err() && there.narrow(0, 9, 2).is_err() && there.reshape(7).is_err());
    }

    #[test]
    fn a_cast_rounds_to_nearest_and_keeps_what_is_no_number() {
        let device = card();
        let values =
            [1.0f64, -0.1, 1.0 + 2f64.powi(-8), 1.0 + 3.0 * 2f64.powi(-8), 3e38, f64::NAN, f64::INFINITY, 1e-42];
        let there = Tensor::new(&values, &device).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let cast = there.to_dtype(dtype).unwrap();
            let at_once = Tensor::new(&values, &Device::Cpu).unwrap().to_place(&device, dtype).unwrap();
            assert_eq!(format!("{}", cast.host().unwrap()), format!("{}", at_once.host().unwrap()));
            let here = Tensor::new(&values, &Device::Cpu).unwrap().host().unwrap();
            // candle rounds f64 to bf16 by way of f32 too.
            let here = here.to_dtype(DType::F32).unwrap().to_dtype(dtype).unwrap().to_dtype(DType::F64).unwrap();
            let (there, here) =
                (cast.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap(), here.to_vec1::<f64>().unwrap());
            let bits =
                |values: &[f64]| values.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>();
            assert_eq!(bits(&there), bits(&here), "{dtype:?}");
        }
    }

    #[test]
    fn what_a_tensor_held_is_free_again_when_nobody_has_it() {
        let Device::Card(card) = card() else { unreachable!() };
        let whole = Tensor::zeros(1 << 20, DType::F32, &Device::Card(card.clone())).unwrap();
        let part = whole.narrow(0, 5, 7).unwrap();
        drop(whole);
        assert_eq!(card.memory().used, 4 << 20);
        drop(part);
        assert_eq!((card.memory().used, card.memory().kept), (0, 4 << 20));
    }
}
