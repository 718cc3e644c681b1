//! Reading and making tensors on the CPU, and the dispatch on dtype.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{Storage, StorageRef, WithDType};

use super::lanes::Lanes;
use crate::ml::tensor::{DType, Device, Tensor};
use crate::ml::{Error, Result};

/// A floating-point type of tensors: f32 or f64.
pub(super) trait Real: WithDType + Lanes {
    /// The hyperbolic tangent, the same bits on every machine.
    fn tanh(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

impl Real for f32 {
    fn tanh(self) -> Self {
        libm::tanhf(self)
    }

    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    fn is_nan(self) -> bool {
        Self::is_nan(self)
    }
}

impl Real for f64 {
    fn tanh(self) -> Self {
        libm::tanh(self)
    }

    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }

    fn is_nan(self) -> bool {
        Self::is_nan(self)
    }
}

/// The values of a contiguous CPU tensor, locked for reading.
pub(super) struct Read<'a, T> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    dtype: PhantomData<T>,
}

impl<'a, T: WithDType> Read<'a, T> {
    /// Lock `tensor` for reading.
    pub(super) fn of(tensor: &'a Tensor, operation: &'static str) -> Result<Self> {
        let Tensor::Host(host) = tensor else { return Err(elsewhere(operation)) };
        let (storage, layout) = host.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(shape(operation, "contiguous tensors", &[tensor]));
        };
        if tensor.dtype() != T::DTYPE {
            return Err(Error::Shape {
                operation,
                expected: format!("tensors of one dtype, `{}`", T::DTYPE.as_str()),
                found: format!("`{}`", tensor.dtype().as_str()),
            });
        }
        Ok(Self { storage, range: start..end, dtype: PhantomData })
    }
}

impl<T: WithDType> Deref for Read<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(storage) => match T::cpu_storage_as_slice(storage) {
                Ok(values) => &values[self.range.clone()],
                Err(_) => unreachable!("the dtype was checked when the tensor was locked"),
            },
            _ => unreachable!("tensors of candle's are in the machine's memory"),
        }
    }
}

/// A CPU tensor that takes over `values`.
pub(super) fn tensor<T: Real>(values: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// An f64 scalar on the CPU.
pub(super) fn scalar(value: f64) -> Result<Tensor> {
    Tensor::new(value, &Device::Cpu)
}

/// Which kernel a tensor calls for.
pub(super) enum Kernel {
    F32,
    F64,
    Card,
}

/// The kernel for `tensor`: one of the CPU's, or a card's.
pub(super) fn kernel(tensor: &Tensor, operation: &'static str) -> Result<Kernel> {
    match (tensor, tensor.dtype()) {
        (Tensor::Host(_), DType::F32) => Ok(Kernel::F32),
        (Tensor::Host(_), DType::F64) => Ok(Kernel::F64),
        (Tensor::Host(_), other) => Err(Error::Shape {
            operation,
            expected: "`f32` or `f64`".to_owned(),
            found: format!("`{}`", other.as_str()),
        }),
        (Tensor::Card(_), _) => Ok(Kernel::Card),
    }
}

/// The error of operands that are not all in the same place.
pub(super) fn elsewhere(operation: &'static str) -> Error {
    Error::Shape { operation, expected: "tensors that are in one place".to_owned(), found: "some on a card".to_owned() }
}

/// How many elements a tensor of these sizes has; none where no address space holds as many.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    const MOST: usize = isize::MAX as usize / size_of::<f64>();
    let count = dims.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    (count <= MOST).then_some(count)
}

/// The error of operands whose shapes do not go together.
pub(super) fn shape(operation: &'static str, expected: impl Into<String>, found: &[&Tensor]) -> Error {
    let found = match found {
        [] => "nothing".to_owned(),
        found => found.iter().map(|tensor| format!("{:?}", tensor.dims())).collect::<Vec<_>>().join(" and "),
    };
    Error::Shape { operation, expected: expected.into(), found }
}

/// Run a body that is generic over `T: Real` for the dtype of a CPU tensor, or another for a tensor on a card.
macro_rules! dispatch {
    ($operation:expr, $tensor:expr, $t:ident => $body:expr, card => $on_card:expr) => {
        match $crate::ml::ops::real::kernel($tensor, $operation)? {
            $crate::ml::ops::real::Kernel::F32 => {
                type $t = f32;
                $body
            }
            $crate::ml::ops::real::Kernel::F64 => {
                type $t = f64;
                $body
            }
            $crate::ml::ops::real::Kernel::Card => $on_card,
        }
    };
}
pub(super) use dispatch;
