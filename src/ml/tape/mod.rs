//! Reverse mode: a tape of what was done to the leaves, and one backward pass over it.
//!
//! A [`Var`] is a tensor and, if a gradient was asked of something it depends on, its place on a tape. Nothing is
//! recorded for data, probe directions or passes without leaves, so a forward-only pass frees each activation with its
//! last use. The backward pass is a loop, drops each record as soon as it has run, and adds gradients up in place where
//! their storage is nobody else's. The adjoints are plain kernels: there is no tape of a tape, since higher orders come
//! from jets.
//!
//! Reading order: this file, then `primitives` (elementwise operations and losses, with their adjoints), `layers` (what layers are made of).

mod layers;
mod primitives;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::ml::tensor::{DType, Tensor};

use super::ops::elementwise;
use super::{Error, Result};

/// What takes the gradient of an operation's result to its operands.
type Adjoint = Box<dyn FnOnce(Gradient, &mut Gradients) -> Result<()>>;

/// The records of one pass, in order; a leaf has no adjoint.
#[derive(Clone, Default)]
pub struct Tape {
    records: Rc<RefCell<Vec<Option<Adjoint>>>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} records)", self.records.borrow().len())
    }
}

/// A tensor, and its place on a tape if a gradient may be asked of it.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    place: Option<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    tape: Tape,
    index: usize,
}

impl Var {
    /// A tensor that asks for no gradient: data, a probe direction, anything of a forward-only pass.
    pub fn constant(value: Tensor) -> Self {
        Self { value, place: None }
    }

    /// The tensor.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Its shape.
    pub fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    /// The number that a scalar of shape `()` holds. Scalars are always f64.
    ///
    /// # Errors
    /// candle's, if this is no scalar.
    pub fn scalar(&self) -> Result<f64> {
        self.value.to_scalar::<f64>()
    }

    /// Whether a gradient may be asked of it.
    pub fn is_recorded(&self) -> bool {
        self.place.is_some()
    }

    fn index(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.index)
    }

    /// The result `value` of an operation on `operands`, on their tape if one of them is on one.
    fn record<F>(operands: &[&Self], value: Tensor, adjoint: F) -> Self
    where
        F: FnOnce(Gradient, &mut Gradients) -> Result<()> + 'static,
    {
        let Some(place) = operands.iter().find_map(|operand| operand.place.as_ref()) else {
            return Self::constant(value);
        };
        let tapes = operands.iter().filter_map(|operand| operand.place.as_ref());
        debug_assert!(tapes.into_iter().all(|other| Rc::ptr_eq(&other.tape.records, &place.tape.records)));
        let index = place.tape.push(Some(Box::new(adjoint)));
        Self { value, place: Some(Place { tape: place.tape.clone(), index }) }
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tensor whose gradient will be asked for.
    pub fn leaf(&self, value: Tensor) -> Var {
        let index = self.push(None);
        Var { value, place: Some(Place { tape: self.clone(), index }) }
    }

    /// The gradients of `output`, an f64 scalar of shape `()`, with respect to `leaves`, in their shapes and dtypes;
    /// zeros for a leaf that it does not depend on. Uses up the records.
    ///
    /// # Errors
    /// [`Error::Shape`] if `output` is no scalar; whatever a kernel refuses.
    pub fn backward(&self, output: &Var, leaves: &[Var]) -> Result<Vec<Tensor>> {
        if output.value.rank() != 0 || output.value.dtype() != DType::F64 {
            return Err(Error::Shape {
                operation: "backward",
                expected: "an f64 scalar".to_owned(),
                found: format!("{:?} {:?}", output.value.dims(), output.value.dtype()),
            });
        }
        let mut records = std::mem::take(&mut *self.records.borrow_mut());
        let mut gradients = Gradients { slots: (0..records.len()).map(|_| None).collect() };
        if let Some(last) = output.index() {
            gradients.slots[last] =
                Some(Gradient { tensor: Tensor::new(1.0f64, &output.value.device())?, owned: true });
        }
        while let Some(record) = records.pop() {
            let Some(adjoint) = record else { continue };
            if let Some(gradient) = gradients.slots[records.len()].take() {
                adjoint(gradient, &mut gradients)?;
            }
        }
        let gradient_of = |leaf: &Var| match leaf.index().and_then(|index| gradients.slots[index].take()) {
            Some(gradient) => Ok(gradient.tensor),
            None => Ok(leaf.value.zeros_like()?),
        };
        leaves.iter().map(gradient_of).collect()
    }

    fn push(&self, adjoint: Option<Adjoint>) -> usize {
        let mut records = self.records.borrow_mut();
        records.push(adjoint);
        records.len() - 1
    }
}

/// A gradient on its way, and whether its storage is nobody else's, so that more may be added in place.
struct Gradient {
    tensor: Tensor,
    owned: bool,
}

/// The gradients that have arrived so far, by place on the tape.
struct Gradients {
    slots: Vec<Option<Gradient>>,
}

impl Gradients {
    /// Add what `adjoint` makes afresh; it is not even made for an operand that asks for no gradient.
    fn add(&mut self, operand: Option<usize>, adjoint: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        match operand {
            Some(index) => self.receive(index, Gradient { tensor: adjoint()?, owned: true }),
            None => Ok(()),
        }
    }

    /// Pass a gradient on as it is.
    fn pass(&mut self, operand: Option<usize>, gradient: Gradient) -> Result<()> {
        match operand {
            Some(index) => self.receive(index, gradient),
            None => Ok(()),
        }
    }

    fn receive(&mut self, index: usize, gradient: Gradient) -> Result<()> {
        let sum = match self.slots[index].take() {
            None => gradient,
            Some(sum) if sum.owned => {
                elementwise::accumulate(&sum.tensor, &gradient.tensor)?;
                sum
            }
            Some(sum) if gradient.owned => {
                elementwise::accumulate(&gradient.tensor, &sum.tensor)?;
                gradient
            }
            Some(sum) => Gradient { tensor: elementwise::add_scaled(&sum.tensor, &gradient.tensor, 1.0)?, owned: true },
        };
        self.slots[index] = Some(sum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ml::tensor::Device;

    use super::*;

    fn vector(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_value_used_twice_gets_the_sum_of_both_gradients() {
        let tape = Tape::new();
        let x = tape.leaf(vector(&[1.0, -2.0, 3.0]));
        let unused = tape.leaf(vector(&[5.0]));
        // ⟨x + 2x, x∘x⟩ = 3 Σ x³, whose gradient is 9x²; `x + 2x` passes one gradient on to two places.
        let sum = x.add_scaled(&x, 2.0).unwrap();
        let cube = sum.dot(&x.mul(&x).unwrap()).unwrap();
        assert!((cube.scalar().unwrap() - 60.0).abs() < 1e-12);
        let gradients = tape.backward(&cube, &[x, unused]).unwrap();
        assert_eq!(gradients[0].to_vec1::<f64>().unwrap(), [9.0, 36.0, 81.0]);
        assert_eq!(gradients[1].to_vec1::<f64>().unwrap(), [0.0]);
    }

    #[test]
    fn a_gradient_shared_by_two_operands_is_not_overwritten() {
        let tape = Tape::new();
        let (a, b) = (tape.leaf(vector(&[1.0, 2.0])), tape.leaf(vector(&[3.0, 4.0])));
        let sum = a.add(&b).unwrap();
        let again = sum.add(&a).unwrap();
        let out = again.dot(&Var::constant(vector(&[1.0, 10.0]))).unwrap();
        let gradients = tape.backward(&out, &[a, b]).unwrap();
        assert_eq!(gradients[0].to_vec1::<f64>().unwrap(), [2.0, 20.0]);
        assert_eq!(gradients[1].to_vec1::<f64>().unwrap(), [1.0, 10.0]);
    }

    #[test]
    fn a_deep_chain_needs_no_deep_stack() {
        let tape = Tape::new();
        let x = tape.leaf(vector(&[1.0]));
        let deep = (0..100_000).try_fold(x.clone(), |y, _| y.scale(1.0)).unwrap();
        let out = deep.dot(&deep).unwrap();
        assert_eq!(tape.backward(&out, &[x]).unwrap()[0].to_vec1::<f64>().unwrap(), [2.0]);
    }

    #[test]
    fn a_pass_without_leaves_records_nothing() {
        let tape = Tape::new();
        let x = Var::constant(vector(&[1.0]));
        let y = x.mul(&x).unwrap().add(&x).unwrap();
        assert!(y.place.is_none());
        assert!(tape.records.borrow().is_empty());
        assert!(tape.backward(&y, &[]).is_err());
    }
}
