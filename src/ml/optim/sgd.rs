//! Stochastic gradient descent with momentum, as `torch.optim.SGD` has it:
//!
//! ```text
//! d  = g + weight_decay · θ
//! b' = d at the first step, momentum · b + (1 − dampening) · d afterwards
//! u  = b', or d + momentum · b' with nesterov, or d without momentum
//! θ' = θ − lr · u
//! ```
//!
//! A step makes new tensors and leaves its operands alone, for whoever keeps a state keeps the tensors in it. On the CPU it is
//! one pass over memory; each element is computed on its own, so threads change no bit.

use crate::ml::tensor::{DType, Device, Tensor};
use candle_core::{CpuStorage, Storage, WithDType};
use rayon::prelude::*;

use crate::ml::ops::card;
use crate::ml::{Error, Result};

/// Elements that one thread takes at a time; below this the pass is not worth a thread.
const PIECE: usize = 1 << 16;

/// The settings of one optimizer, without its learning rate, which changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Sgd {
    /// How much of the buffer stays at each step, in [0, 1); 0 keeps no buffer.
    pub momentum: f64,
    /// How much of the gradient the buffer is denied, in [0, 1]; not at the first step.
    pub dampening: f64,
    /// The L2 penalty's gradient per unit of θ.
    pub weight_decay: f64,
    /// Nesterov's look-ahead, as Sutskever et al. (2013) write it.
    pub nesterov: bool,
}

/// What a step leaves: the new θ and the new momentum buffer, each `(N,)`. The buffer is `None` without momentum.
pub type Stepped = (Tensor, Option<Tensor>);

impl Sgd {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value out of its range or not finite, or for `nesterov` without momentum or with dampening.
    pub fn validate(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Setting(problem));
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(format!("`momentum` is {}, expected at least 0 and less than 1", self.momentum));
        }
        if !(0.0..=1.0).contains(&self.dampening) {
            return refuse(format!("`dampening` is {}, expected 0 to 1", self.dampening));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(format!("`weight_decay` is {}, expected a number that is not negative", self.weight_decay));
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return refuse("`nesterov` takes a momentum and no dampening".to_owned());
        }
        Ok(())
    }

    /// One step with learning rate `lr` from `theta` along `gradient`, both `(N,)` and contiguous, of one dtype (f32 or f64)
    /// on one device; `buffer` is what the step before left, `None` at the first. Scalars are rounded to the dtype first.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands differ in shape or dtype, or have another dtype; [`Error::Tensor`] for device trouble.
    pub fn step(&self, lr: f64, theta: &Tensor, gradient: &Tensor, buffer: Option<&Tensor>) -> Result<Stepped> {
        for other in [Some(gradient), buffer].into_iter().flatten() {
            if other.dims() != theta.dims() || other.dtype() != theta.dtype() || theta.rank() != 1 {
                let describe = |tensor: &Tensor| format!("{:?} {}", tensor.dims(), tensor.dtype().as_str());
                return Err(Error::Shape {
                    operation: "sgd step",
                    expected: "flat tensors of one length and dtype".to_owned(),
                    found: format!("θ {}, operand {}", describe(theta), describe(other)),
                });
            }
        }
        let buffer = buffer.filter(|_| self.momentum != 0.0);
        if let Tensor::Card(_) = theta {
            return card::sgd(self, lr, theta, gradient, buffer);
        }
        match theta.dtype() {
            DType::F64 => self.step_cpu::<f64>(lr, theta, gradient, buffer),
            _ => self.step_cpu::<f32>(lr, theta, gradient, buffer),
        }
    }

    fn step_cpu<T: Element>(
        &self,
        lr: f64,
        theta: &Tensor,
        gradient: &Tensor,
        buffer: Option<&Tensor>,
    ) -> Result<Stepped> {
        let n = theta.elem_count();
        let element = Scalars::<T>::new(self, lr);
        let (moved, kept) = with_slice::<T, _>(theta, |theta| {
            with_slice::<T, _>(gradient, |gradient| match buffer {
                None => Ok(element.pass(theta, gradient, None)),
                Some(buffer) => with_slice::<T, _>(buffer, |buffer| Ok(element.pass(theta, gradient, Some(buffer)))),
            })
        })?;
        let kept = kept.map(|kept| Tensor::from_vec(kept, n, &Device::Cpu)).transpose()?;
        Ok((Tensor::from_vec(moved, n, &Device::Cpu)?, kept))
    }
}

/// The settings in the dtype of θ.
struct Scalars<T> {
    lr: T,
    momentum: T,
    gain: T,
    weight_decay: T,
    has_momentum: bool,
    nesterov: bool,
}

impl<T: Element> Scalars<T> {
    fn new(sgd: &Sgd, lr: f64) -> Self {
        Self {
            lr: T::from_f64(lr),
            momentum: T::from_f64(sgd.momentum),
            gain: T::from_f64(1.0 - sgd.dampening),
            weight_decay: T::from_f64(sgd.weight_decay),
            has_momentum: sgd.momentum != 0.0,
            nesterov: sgd.nesterov,
        }
    }

    /// The new θ and, with momentum, the new buffer.
    fn pass(&self, theta: &[T], gradient: &[T], buffer: Option<&[T]>) -> (Vec<T>, Option<Vec<T>>) {
        let n = theta.len();
        let mut moved = vec![T::zero(); n];
        let mut kept = vec![T::zero(); if self.has_momentum { n } else { 0 }];
        let slice = |whole: &[T], piece: usize| -> std::ops::Range<usize> {
            let start = (piece * PIECE).min(whole.len());
            start..(start + PIECE).min(whole.len())
        };
        let work = |piece: usize, moved: &mut [T], kept: &mut [T]| {
            let at = slice(theta, piece);
            self.piece([&theta[at.clone()], &gradient[at.clone()]], buffer.map(|buffer| &buffer[at]), moved, kept);
        };
        if n <= PIECE {
            work(0, &mut moved, &mut kept);
        } else if self.has_momentum {
            (moved.par_chunks_mut(PIECE).zip(kept.par_chunks_mut(PIECE)).enumerate())
                .for_each(|(piece, (moved, kept))| work(piece, moved, kept));
        } else {
            moved.par_chunks_mut(PIECE).enumerate().for_each(|(piece, moved)| work(piece, moved, &mut []));
        }
        (moved, self.has_momentum.then_some(kept))
    }

    fn piece(&self, [theta, gradient]: [&[T]; 2], buffer: Option<&[T]>, moved: &mut [T], kept: &mut [T]) {
        let direction = |i: usize| gradient[i] + self.weight_decay * theta[i];
        if !self.has_momentum {
            for (i, moved) in moved.iter_mut().enumerate() {
                *moved = theta[i] - self.lr * direction(i);
            }
            return;
        }
        for (i, (moved, kept)) in moved.iter_mut().zip(kept).enumerate() {
            let d = direction(i);
            *kept = buffer.map_or(d, |buffer| self.momentum * buffer[i] + self.gain * d);
            let update = if self.nesterov { d + self.momentum * *kept } else { *kept };
            *moved = theta[i] - self.lr * update;
        }
    }
}

/// f32 or f64.
trait Element:
    WithDType + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self>
{
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
}

impl Element for f32 {
    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::F32(values) = storage { Some(values) } else { None }
    }
}

impl Element for f64 {
    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::F64(values) = storage { Some(values) } else { None }
    }
}

/// Lends the values of a CPU tensor; one that is not contiguous is copied first.
fn with_slice<T: Element, R>(tensor: &Tensor, body: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let Tensor::Host(tensor) = tensor.contiguous()? else {
        return Err(Error::Shape {
            operation: "sgd step",
            expected: "tensors that are in one place".to_owned(),
            found: "some on a card".to_owned(),
        });
    };
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().expect("the tensor was made contiguous");
    let Storage::Cpu(storage) = &*storage else { unreachable!("only CPU tensors come here") };
    let Some(values) = T::slice(storage) else {
        return Err(Error::Shape {
            operation: "sgd step",
            expected: "tensors in f32 or f64".to_owned(),
            found: tensor.dtype().as_str().to_owned(),
        });
    };
    body(&values[start..end])
}

#[cfg(test)]
mod tests {
    use crate::ml::tensor::Device;

    use super::*;

    fn vector(n: usize, offset: f64) -> Tensor {
        let values: Vec<f64> = (0..n).map(|i| libm::sin(i as f64 * 0.7 + offset)).collect();
        Tensor::from_vec(values, n, &Device::Cpu).unwrap()
    }

    fn settings() -> Vec<Sgd> {
        let base = Sgd { momentum: 0.9, dampening: 0.0, weight_decay: 0.01, nesterov: false };
        vec![
            Sgd::default(),
            base,
            Sgd { nesterov: true, ..base },
            Sgd { dampening: 0.3, weight_decay: 0.0, ..base },
            Sgd { momentum: 0.0, ..base },
        ]
    }

    /// The formulas as candle's tensor operations.
    fn in_formulas(
        sgd: &Sgd,
        lr: f64,
        [theta, gradient]: [&candle_core::Tensor; 2],
        buffer: Option<&candle_core::Tensor>,
    ) -> candle_core::Result<(candle_core::Tensor, Option<candle_core::Tensor>)> {
        let d = (gradient + (theta * sgd.weight_decay)?)?;
        if sgd.momentum == 0.0 {
            return Ok(((theta - (d * lr)?)?, None));
        }
        let kept = match buffer {
            None => d.copy()?,
            Some(buffer) => ((buffer * sgd.momentum)? + (&d * (1.0 - sgd.dampening))?)?,
        };
        let update = if sgd.nesterov { (d + (&kept * sgd.momentum)?)? } else { kept.clone() };
        Ok(((theta - (update * lr)?)?, Some(kept)))
    }

    #[test]
    fn the_one_pass_kernel_agrees_with_the_tensor_formulas_over_piece_borders() {
        for n in [1, 1000, PIECE, 2 * PIECE + 17] {
            for sgd in settings() {
                let (theta, gradient) = (vector(n, 0.0), vector(n, 1.0));
                for buffer in [None, Some(vector(n, 2.0))] {
                    let fast = sgd.step(0.1, &theta, &gradient, buffer.as_ref()).unwrap();
                    let kept = buffer.as_ref().filter(|_| sgd.momentum != 0.0);
                    let [theta, gradient] = [&theta, &gradient].map(|tensor| tensor.host().unwrap());
                    let kept = kept.map(|kept| kept.host().unwrap());
                    let slow = in_formulas(&sgd, 0.1, [&theta, &gradient], kept.as_ref()).unwrap();
                    let apart = |a: &Tensor, b: &candle_core::Tensor| {
                        (a.host().unwrap() - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
                    };
                    assert!(apart(&fast.0, &slow.0) < 1e-15, "{sgd:?} {n}");
                    assert_eq!(fast.1.is_some(), slow.1.is_some());
                    if let (Some(fast), Some(slow)) = (&fast.1, &slow.1) {
                        assert!(apart(fast, slow) < 1e-15, "{sgd:?} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn operands_are_left_as_they_were() {
        let (theta, gradient, buffer) = (vector(9, 0.0), vector(9, 1.0), vector(9, 2.0));
        let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
        let (_, kept) = sgd.step(0.1, &theta, &gradient, None).unwrap();
        sgd.step(0.1, &theta, &gradient, kept.as_ref()).unwrap();
        let values = |tensor: &Tensor| tensor.to_vec1::<f64>().unwrap();
        assert_eq!(values(&theta), values(&vector(9, 0.0)));
        assert_eq!(values(kept.as_ref().unwrap()), values(&gradient));
        assert_eq!(values(&buffer), values(&vector(9, 2.0)));
    }

    #[test]
    fn f32_is_the_f64_step_rounded() {
        let (theta, gradient, buffer) = (vector(50, 0.0), vector(50, 1.0), vector(50, 2.0));
        let single = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
        let sgd = Sgd { momentum: 0.9, weight_decay: 0.01, ..Sgd::default() };
        let double = sgd.step(0.1, &theta, &gradient, Some(&buffer)).unwrap().0.to_vec1::<f64>().unwrap();
        let single = sgd.step(0.1, &single(&theta), &single(&gradient), Some(&single(&buffer))).unwrap().0;
        for (single, double) in single.to_vec1::<f32>().unwrap().into_iter().zip(double) {
            assert!((f64::from(single) - double).abs() < 4e-7);
        }
    }

    #[test]
    fn a_narrowed_tensor_is_read_at_its_offset() {
        let whole = vector(20, 0.0);
        let part = whole.narrow(0, 5, 10).unwrap();
        let (moved, _) = Sgd::default().step(1.0, &part, &part, None).unwrap();
        assert_eq!(moved.to_vec1::<f64>().unwrap(), [0.0; 10]);
    }

    #[test]
    fn operands_of_different_lengths_or_dtypes_are_refused() {
        let sgd = Sgd::default();
        let short = sgd.step(0.1, &vector(5, 0.0), &vector(4, 0.0), None).unwrap_err().to_string();
        assert_eq!(short, "`sgd step` takes flat tensors of one length and dtype, got θ [5] f64, operand [4] f64");
        assert!(sgd.step(0.1, &vector(5, 0.0), &vector(5, 0.0).to_dtype(DType::F32).unwrap(), None).is_err());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let refused = |sgd: Sgd| sgd.validate().unwrap_err().to_string();
        assert!(settings().iter().all(|sgd| sgd.validate().is_ok()));
        let base = Sgd::default();
        assert_eq!(refused(Sgd { momentum: 1.0, ..base }), "`momentum` is 1, expected at least 0 and less than 1");
        assert_eq!(refused(Sgd { nesterov: true, ..base }), "`nesterov` takes a momentum and no dampening");
        assert!(refused(Sgd { dampening: -0.1, ..base }).starts_with("`dampening` is -0.1"));
        assert!(refused(Sgd { weight_decay: f64::NAN, ..base }).starts_with("`weight_decay` is NaN"));
    }
}
