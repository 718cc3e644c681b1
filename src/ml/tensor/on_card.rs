//! A tensor on a card. Its elements always lie one after the other.

use std::sync::Arc;

use candle_core::{CpuStorage, Storage};

use super::{DType, Tensor};
use crate::ml::card::{Argument, Buffer, Card, Fault, Geometry, count};
use crate::ml::{Error, Result};

/// Numbers in a card's memory.
#[derive(Clone, Debug)]
pub struct OnCard {
    card: Card,
    buffer: Arc<Buffer>,
    /// Bytes from the buffer's start to the first element.
    start: usize,
    dims: Vec<usize>,
    dtype: DType,
}

impl OnCard {
    /// Room for a tensor; what is in it is not said.
    ///
    /// # Errors
    /// A card without room; more elements than its kernels take.
    pub fn room(card: &Card, dims: &[usize], dtype: DType) -> Result<Self> {
        let bytes = count(dims.iter().product())? as usize * dtype.size_in_bytes();
        Ok(Self { card: card.clone(), buffer: Arc::new(card.room(bytes)?), start: 0, dims: dims.to_vec(), dtype })
    }

    /// Zeros.
    ///
    /// # Errors
    /// As [`room`](Self::room).
    pub fn zeros(card: &Card, dims: &[usize], dtype: DType) -> Result<Self> {
        let zeros = Self::room(card, dims, dtype)?;
        card.clear(zeros.address(), zeros.bytes())?;
        Ok(zeros)
    }

    /// A tensor of the machine's memory.
    ///
    /// # Errors
    /// As [`room`](Self::room); a type that cards do not have.
    pub(super) fn upload(card: &Card, tensor: &candle_core::Tensor) -> Result<Self> {
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().expect("the tensor was made contiguous");
        let Storage::Cpu(storage) = &*storage else { unreachable!("tensors of candle's are in the machine's memory") };
        let bytes = match storage {
            CpuStorage::F32(values) => bytemuck::cast_slice(&values[start..end]),
            CpuStorage::F64(values) => bytemuck::cast_slice(&values[start..end]),
            CpuStorage::U32(values) => bytemuck::cast_slice(&values[start..end]),
            _ => return Err(no_type(tensor.dtype())),
        };
        count(end - start)?;
        let buffer = Arc::new(card.upload(bytes)?);
        Ok(Self { card: card.clone(), buffer, start: 0, dims: tensor.dims().to_vec(), dtype: tensor.dtype() })
    }

    /// A tensor of the machine's memory in another type, sent and rounded a piece at a time, so that no more room is taken than it has.
    pub(super) fn upload_as(card: &Card, tensor: &candle_core::Tensor, dtype: DType) -> Result<Self> {
        const PIECE: usize = 1 << 22;
        let flat = tensor.flatten_all()?;
        let whole = Self::room(card, tensor.dims(), dtype)?;
        for start in (0..flat.elem_count()).step_by(PIECE) {
            let piece = flat.narrow(0, start, PIECE.min(flat.elem_count() - start))?;
            let piece = Self::upload(card, &piece)?.cast(dtype)?;
            card.copy(whole.address() + (start * dtype.size_in_bytes()) as u64, piece.address(), piece.bytes())?;
        }
        Ok(whole)
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Sizes.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many elements.
    pub fn count(&self) -> u32 {
        // Room is only made for as many as kernels take.
        self.dims.iter().product::<usize>() as u32
    }

    /// Where the first element is.
    pub fn address(&self) -> u64 {
        self.buffer.address() + self.start as u64
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.size_in_bytes()
    }

    /// The tensor as an argument of a kernel.
    pub fn argument(&self) -> Argument {
        Argument::Address(self.address())
    }

    /// Whether it shares memory with another.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    /// The name of a kernel over numbers of this one's type.
    pub fn kernel(&self, operation: &str) -> String {
        named(operation, self.dtype)
    }

    pub(super) fn computing_as(self, card: &Card) -> Self {
        Self { card: card.clone(), ..self }
    }

    /// A copy whose memory is its own.
    ///
    /// # Errors
    /// A card without room.
    pub fn copied(&self) -> Result<Self> {
        let copy = Self::room(&self.card, &self.dims, self.dtype)?;
        self.card.copy(copy.address(), self.address(), self.bytes())?;
        Ok(copy)
    }

    pub(super) fn reshaped(&self, dims: &[usize]) -> Result<Self> {
        if dims.iter().product::<usize>() != self.count() as usize {
            return Err(self.refused("reshape", format!("{} elements", self.count())));
        }
        Ok(Self { dims: dims.to_vec(), ..self.clone() })
    }

    pub(super) fn narrowed(&self, axis: usize, start: usize, length: usize) -> Result<Self> {
        let rows = self.dims.first().copied().unwrap_or(0);
        if axis != 0 || start.checked_add(length).is_none_or(|end| end > rows) {
            return Err(self.refused("narrow", format!("the first axis, with rows {start} to {}", start + length)));
        }
        let row = self.dims[1..].iter().product::<usize>() * self.dtype.size_in_bytes();
        let mut part = self.clone();
        part.start += start * row;
        part.dims[0] = length;
        Ok(part)
    }

    /// The same numbers rounded to another type.
    pub(super) fn cast(&self, dtype: DType) -> Result<Self> {
        let from = match self.dtype {
            DType::F32 => "cast_from_f32",
            DType::F64 => "cast_from_f64",
            DType::BF16 => "cast_from_bf16",
            other => return Err(no_type(other)),
        };
        if !matches!(dtype, DType::F32 | DType::F64 | DType::BF16) {
            return Err(no_type(dtype));
        }
        let to = Self::room(&self.card, &self.dims, dtype)?;
        let arguments = [to.argument(), self.argument(), Argument::U32(self.count())];
        self.card.launch(&to.kernel(from), Geometry::over(self.count()), &arguments)?;
        Ok(to)
    }

    pub(super) fn download(&self) -> Result<candle_core::Tensor> {
        if self.dtype == DType::BF16 {
            return self.cast(DType::F32)?.download();
        }
        let bytes = if self.bytes() == 0 { Vec::new() } else { self.card.download(self.address(), self.bytes())? };
        let (dims, cpu) = (&self.dims[..], &candle_core::Device::Cpu);
        Ok(match self.dtype {
            DType::F32 => candle_core::Tensor::from_vec(numbers::<f32>(&bytes), dims, cpu)?,
            DType::F64 => candle_core::Tensor::from_vec(numbers::<f64>(&bytes), dims, cpu)?,
            DType::U32 => candle_core::Tensor::from_vec(numbers::<u32>(&bytes), dims, cpu)?,
            other => return Err(no_type(other)),
        })
    }

    /// Rows by their numbers.
    pub(super) fn chosen(&self, numbers: &Self) -> Result<Self> {
        let [rows, rest @ ..] = &self.dims[..] else { return Err(self.refused("rows", "an axis".to_owned())) };
        if numbers.dtype != DType::U32 || numbers.dims.len() != 1 || *rows == 0 {
            return Err(self.refused("rows", "a vector of numbers of rows".to_owned()));
        }
        let chosen = Self::room(&self.card, &[&numbers.dims[..], rest].concat(), self.dtype)?;
        let width = rest.iter().product::<usize>() as u32;
        let counts = [Argument::U32(width), Argument::U32(chosen.count())];
        let arguments = [&[chosen.argument(), self.argument(), numbers.argument()][..], &counts].concat();
        // What is copied is copied by its bits, whatever it means.
        let kernel = if self.dtype == DType::U32 { named("rows", DType::F32) } else { self.kernel("rows") };
        self.card.launch(&kernel, Geometry::over(chosen.count()), &arguments)?;
        Ok(chosen)
    }

    /// Vectors put one after the other, in one launch, in f32 or f64; they may be of a narrower type.
    ///
    /// # Errors
    /// Tensors that are not all of one type on one card; as [`room`](Self::room).
    pub fn joined(parts: &[Tensor], dtype: DType) -> Result<Self> {
        let unfit = || Error::Shape {
            operation: "cat",
            expected: "tensors of one type on one card".to_owned(),
            found: format!("{} of them", parts.len()),
        };
        let own: Vec<&Self> = parts.iter().map(Tensor::on_card).collect::<Option<_>>().ok_or_else(unfit)?;
        let Some(&first) = own.first() else { return Err(unfit()) };
        if own.iter().any(|part| part.card != first.card || part.dtype != first.dtype) {
            return Err(unfit());
        }
        let all: usize = own.iter().map(|part| part.count() as usize).sum();
        let joined = Self::room(&first.card, &[all], dtype)?;
        let mut table: Vec<u64> = Vec::with_capacity(3 * own.len());
        let mut place = 0;
        for part in &own {
            table.extend([part.address(), u64::from(part.count()), place]);
            place += u64::from(part.count());
        }
        let table = first.card.upload(bytemuck::cast_slice(&table))?;
        let longest = own.iter().map(|part| part.count()).max().unwrap_or(0);
        let arguments = [joined.address(), table.address()].map(Argument::Address);
        let kernel = first.kernel(&format!("join_to_{}", dtype.as_str()));
        // What is launched reads the table before whoever gets its room writes to it.
        first.card.launch(&kernel, Geometry::over_parts(longest, own.len() as u32), &arguments)?;
        Ok(joined)
    }

    fn refused(&self, operation: &'static str, expected: String) -> Error {
        Error::Shape { operation, expected, found: format!("{:?} on {}", self.dims, self.card.name()) }
    }
}

/// The name of a kernel over numbers of this type.
pub fn named(operation: &str, dtype: DType) -> String {
    format!("{operation}_{}", dtype.as_str())
}

fn no_type(dtype: DType) -> Error {
    Error::Card(Fault::Refused(format!("a card has no tensors of `{}`", dtype.as_str())))
}

fn numbers<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}
