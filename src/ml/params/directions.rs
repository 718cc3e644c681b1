//! Directions in which derivatives are taken: vectors, or signs, which are kept as bits and made numbers only where a part of them is
//! asked for. A probe of signs is as long as θ, and as vectors a few of them would be most of the memory of a quadratic form.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};

use super::{Layout, Part, flat_from_singles};
use crate::ml::ops::card;
use crate::ml::rng::Draws;
use crate::ml::{Error, Result};

/// Independent signs, +1 or −1, one for each element of θ.
#[derive(Clone, Debug)]
pub struct Signs {
    /// A set bit is +1; the first is the lowest of the first word.
    words: Arc<Vec<u64>>,
    len: usize,
    /// The same bits on a card, as u32, once they were sent there.
    there: Option<Tensor>,
}

impl Signs {
    /// The next `len` signs of these draws: those of [`Draws::signs`].
    pub fn draw(draws: &mut Draws, len: usize) -> Self {
        let words = (0..len.div_ceil(64)).map(|_| draws.bits()).collect();
        Self { words: Arc::new(words), len, there: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same where parts of them will be asked for: on a card their bits are sent once.
    ///
    /// # Errors
    /// A card without room.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let Device::Card(_) = device else { return Ok(self.clone()) };
        let halves: Vec<u32> = self.words.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]).collect();
        let there = Tensor::from_vec(halves, 2 * self.words.len(), device)?;
        Ok(Self { there: Some(there), ..self.clone() })
    }

    /// All of them, of shape `(N,)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a dtype other than f32 and f64.
    pub fn vector(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        self.stretch(0, self.len, dtype, device)
    }

    /// Those of one part, in its shape.
    ///
    /// # Errors
    /// [`Error::Shape`] for signs of another number than the layout's elements; [`Error::Setting`] for a dtype other than f32 and f64.
    pub fn part(&self, layout: &Layout, index: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        layout.check_len(&[self.len])?;
        let Part { shape, offset, .. } = &layout.parts()[index];
        let part = self.stretch(*offset, layout.parts()[index].len(), dtype, device)?;
        part.reshape(shape.as_slice())
    }

    fn stretch(&self, start: usize, len: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        if let Device::Card(card) = device {
            let Some(there) = self.there.as_ref().filter(|there| there.device() == *device) else {
                return self.on(device)?.stretch(start, len, dtype, device);
            };
            return card::signs(card, there, start, len, dtype);
        }
        let sign = |at: usize| {
            let is_minus = !(self.words[at / 64] >> (at % 64)) & 1;
            f32::from_bits(1f32.to_bits() | (is_minus as u32) << 31)
        };
        flat_from_singles((start..start + len).map(sign).collect(), dtype, device)
    }
}

/// Some directions: vectors of shape `(N,)` in θ's dtype, or signs.
#[derive(Clone, Copy, Debug)]
pub enum Directions<'a> {
    /// Vectors.
    Vectors(&'a [Tensor]),
    /// Signs.
    Signs(&'a [Signs]),
}

impl<'a> Directions<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Vectors(vectors) => vectors.len(),
            Self::Signs(signs) => signs.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same a few at a time.
    pub fn groups(self, size: usize) -> impl Iterator<Item = Self> {
        (0..self.len()).step_by(size).map(move |start| {
            let range = start..self.len().min(start + size);
            match self {
                Self::Vectors(vectors) => Self::Vectors(&vectors[range]),
                Self::Signs(signs) => Self::Signs(&signs[range]),
            }
        })
    }

    /// The same as vectors.
    ///
    /// # Errors
    /// [`Error::Setting`] for signs in a dtype other than f32 and f64.
    pub fn vectors(self, dtype: DType, device: &Device) -> Result<Cow<'a, [Tensor]>> {
        match self {
            Self::Vectors(vectors) => Ok(vectors.into()),
            Self::Signs(signs) => signs.iter().map(|signs| signs.vector(dtype, device)).collect(),
        }
    }

    /// That they are directions of this layout, vectors of this dtype.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are not.
    pub fn check(self, layout: &Layout, dtype: DType) -> Result<()> {
        match self {
            Self::Vectors(vectors) => vectors.iter().try_for_each(|v| {
                layout.check(v)?;
                if v.dtype() == dtype {
                    return Ok(());
                }
                Err(Error::Shape {
                    operation: "objective",
                    expected: format!("a direction in {dtype:?}"),
                    found: format!("{:?}", v.dtype()),
                })
            }),
            Self::Signs(signs) => signs.iter().try_for_each(|signs| layout.check_len(&[signs.len])),
        }
    }
}

impl<'a> From<&'a [Tensor]> for Directions<'a> {
    fn from(vectors: &'a [Tensor]) -> Self {
        Self::Vectors(vectors)
    }
}

impl<'a> From<&'a Vec<Tensor>> for Directions<'a> {
    fn from(vectors: &'a Vec<Tensor>) -> Self {
        Self::Vectors(vectors)
    }
}

impl<'a, const N: usize> From<&'a [Tensor; N]> for Directions<'a> {
    fn from(vectors: &'a [Tensor; N]) -> Self {
        Self::Vectors(vectors)
    }
}

impl<'a> From<&'a [Signs]> for Directions<'a> {
    fn from(signs: &'a [Signs]) -> Self {
        Self::Signs(signs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::rng::Stream;

    #[test]
    fn signs_are_those_that_are_drawn_as_numbers_and_so_are_their_parts() {
        let layout =
            Layout::new([("a".to_owned(), vec![7, 9]), ("b".to_owned(), vec![5, 20]), ("c".to_owned(), vec![1])]);
        let drawn = || Stream::new(3, "probe").at(0, 2);
        let signs = Signs::draw(&mut drawn(), layout.len());
        let numbers: Vec<f64> = drawn().signs(layout.len()).into_iter().map(f64::from).collect();
        for dtype in [DType::F32, DType::F64] {
            let list =
                |tensor: Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(list(signs.vector(dtype, &Device::Cpu).unwrap()), numbers);
            for (index, part) in layout.parts().iter().enumerate() {
                let found = signs.part(&layout, index, dtype, &Device::Cpu).unwrap();
                assert_eq!((found.dims(), found.dtype()), (&part.shape[..], dtype));
                assert_eq!(list(found), numbers[part.offset..part.offset + part.len()]);
            }
        }
        let other = Layout::new([("a".to_owned(), vec![163])]);
        assert!(signs.part(&other, 0, DType::F32, &Device::Cpu).is_err());
        assert!(Directions::Signs(std::slice::from_ref(&signs)).check(&other, DType::F32).is_err());
        assert!(signs.vector(DType::F16, &Device::Cpu).is_err());
    }

    #[test]
    fn groups_are_all_of_them_in_order() {
        let draw = |index| Signs::draw(&mut Stream::new(0, "probe").at(0, index), 3);
        let signs: Vec<Signs> = (0..5).map(draw).collect();
        let list = |directions: Directions<'_>| -> Vec<Vec<f32>> {
            let vectors = directions.vectors(DType::F32, &Device::Cpu).unwrap();
            vectors.iter().map(|v| v.to_vec1().unwrap()).collect()
        };
        let all = Directions::from(&signs[..]);
        let groups: Vec<Directions<'_>> = all.groups(2).collect();
        assert_eq!(groups.iter().map(Directions::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(groups.into_iter().flat_map(list).collect::<Vec<_>>(), list(all));
        assert!(Directions::Vectors(&[]).is_empty() && !all.is_empty());
    }
}
