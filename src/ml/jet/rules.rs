//! The operations of models, carried to any order.

use std::sync::Arc;

use crate::ml::tensor::{DType, Device, Tensor};

use super::{Jet, Order, Tangent};
use crate::ml::ops::norm::{self, Along, Moments, Statistics, Then};
use crate::ml::ops::pool::Window;
use crate::ml::params::flat_from_values;
use crate::ml::tape::Var;
use crate::ml::{Error, Result};

/// The nonlinearity of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(x, 0), with ReLU′(0) = 0 and second derivative 0 everywhere: the almost-everywhere Hessian.
    #[default]
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Whether it is the one taken where none is named.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a batch norm takes its mean and variance from.
#[derive(Debug)]
pub enum Norm<'a> {
    /// The batch itself.
    Batch,
    /// The batch itself; what it says is kept, layer by layer.
    Collect(&'a mut Vec<Moments>),
    /// What was found before, layer by layer.
    Fixed(std::slice::Iter<'a, Statistics>),
}

impl Jet {
    /// `x·wᵀ + b`: `[S, I]` by `[O, I]` and `[O]` gives `[S, O]`.
    ///
    /// # Errors
    /// Sizes that do not go together.
    pub fn affine(&self, weight: &Self, bias: &Self) -> Result<Self> {
        self.bilinear(weight, |x, w| x.matmul(w, (false, true)))?.add_channels(bias)
    }

    /// The network's nonlinearity, element by element.
    ///
    /// # Errors
    /// candle's, passed on.
    pub fn activation(&self, activation: Activation) -> Result<Self> {
        match activation {
            Activation::Relu => {
                let mask = self.value.value().clone();
                self.linear(|x| x.gate(&mask))
            }
            Activation::Tanh => {
                let y = self.value.tanh()?;
                if self.tangents.is_empty() {
                    return Ok(Self { value: y, tangents: Vec::new(), order: self.order });
                }
                let slope = y.one_minus_square()?;
                self.elementwise(y.clone(), &slope, || y.mul(&slope)?.scale(-2.0))
            }
        }
    }

    /// The first maximum, in row-major order, of each window of `[S, H, W, C]`; windows do not overlap.
    ///
    /// # Errors
    /// Images smaller than the window.
    pub fn max_pool(&self, window: Window) -> Result<Self> {
        let (value, selection) = self.value.max_pool(window)?;
        self.linear_with(value, |x| x.select(&selection))
    }

    /// The mean of each window of `[S, H, W, C]`; windows do not overlap.
    ///
    /// # Errors
    /// Images smaller than the window.
    pub fn avg_pool(&self, window: Window) -> Result<Self> {
        self.linear(|x| x.avg_pool(window))
    }

    /// The mean over all pixels of `[S, H, W, C]`: `[S, C]`.
    ///
    /// # Errors
    /// A tensor that is not `[S, H, W, C]`.
    pub fn global_avg_pool(&self) -> Result<Self> {
        let [_, height, width, _] = self.value.value().dims4()?;
        self.avg_pool((height, width))?.flatten()
    }

    /// Images `[S, H, W, C]` as `[S, C·H·W]`, their elements in PyTorch's order: channel by channel.
    ///
    /// # Errors
    /// A tensor that is not `[S, H, W, C]`.
    pub fn flatten(&self) -> Result<Self> {
        let dims = self.value.dims();
        let flat = [dims[0], dims[1..].iter().product()];
        self.linear(|x| x.channels_first()?.reshape(&flat))
    }

    /// `x + b`, with one value a channel of `[…, C]`.
    ///
    /// # Errors
    /// Another number of values than channels.
    pub fn add_channels(&self, bias: &Self) -> Result<Self> {
        let dims = self.value.dims().to_vec();
        let part = |x: Option<&Var>, b: Option<&Var>| match (x, b) {
            (Some(x), Some(b)) => x.add_channels(b).map(Some),
            (None, Some(b)) => b.broadcast_channels(&dims).map(Some),
            (x, None) => Ok(x.cloned()),
        };
        let tangents = (0..self.tangents.len().max(bias.tangents.len()))
            .map(|v| {
                let first = part(self.first(v), bias.first(v))?;
                Ok(Tangent { first, second: part(self.second(v), bias.second(v))? })
            })
            .collect::<Result<_>>()?;
        let value = self.value.add_channels(&bias.value)?;
        Ok(Self { value, tangents, order: self.order.max(bias.order) })
    }

    /// The channels of `self`, `[…, A]`, and after them those of `other`, `[…, B]`; where one has no derivative its channels have zeros.
    ///
    /// # Errors
    /// Shapes that differ in more than their channels.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        let channels = |x: &Var| x.dims().last().copied().unwrap_or(0);
        let (left, right) = (channels(&self.value), channels(&other.value));
        let part = |a: Option<&Var>, b: Option<&Var>| match (a, b) {
            (Some(a), Some(b)) => a.concat(b).map(Some),
            (Some(a), None) => a.pad_channels(0, right).map(Some),
            (None, Some(b)) => b.pad_channels(left, 0).map(Some),
            (None, None) => Ok(None),
        };
        let tangents = (0..self.tangents.len().max(other.tangents.len()))
            .map(|v| {
                let first = part(self.first(v), other.first(v))?;
                Ok(Tangent { first, second: part(self.second(v), other.second(v))? })
            })
            .collect::<Result<_>>()?;
        let value = self.value.concat(&other.value)?;
        Ok(Self { value, tangents, order: self.order.max(other.order) })
    }

    /// Batch normalisation of `[…, C]` with weight and bias `[C]`, and the nonlinearity behind it, if there is one. Norm and ReLU are
    /// fused.
    ///
    /// # Errors
    /// [`Error::Setting`] for one value a channel, or fewer fixed moments than layers; another number of weights than
    /// channels.
    pub fn batch_norm(
        &self,
        weight: &Self,
        bias: &Self,
        norm: &mut Norm<'_>,
        activation: Option<Activation>,
    ) -> Result<Self> {
        let behind = |y: Self| match activation {
            Some(activation) => y.activation(activation),
            None => Ok(y),
        };
        if let Norm::Fixed(moments) = norm {
            let missing = || Error::Setting("batch norm has more layers than moments were given".to_owned());
            return behind(self.fixed_norm(weight, bias, moments.next().ok_or_else(missing)?)?);
        }
        let order = self.order.max(weight.order).max(bias.order);
        let recorded = [self, weight, bias].iter().any(|jet| jet.value.is_recorded());
        if order == Order::Two && recorded {
            return behind(self.elementary_norm(weight, bias)?);
        }
        let then = if activation == Some(Activation::Relu) { Then::Relu } else { Then::Nothing };
        let (value, moments) = self.value.batch_norm(&weight.value, &bias.value, then)?;
        if let Norm::Collect(all) = norm {
            all.push(moments.as_ref().clone());
        }
        let directions = [self, weight, bias].map(|jet| jet.tangents.len()).into_iter().max().unwrap_or(0);
        let tangent = |v| self.norm_tangent(weight, bias, v, (&moments, then), order);
        let y = Self { value, tangents: (0..directions).map(tangent).collect::<Result<_>>()?, order };
        if then == Then::Relu { Ok(y) } else { behind(y) }
    }

    /// The derivatives of a fused batch norm along one direction.
    fn norm_tangent(
        &self,
        weight: &Self,
        bias: &Self,
        v: usize,
        (moments, then): (&Arc<Moments>, Then),
        order: Order,
    ) -> Result<Tangent> {
        let zero = || -> Result<Var> { Ok(Var::constant(self.value.value().zeros_like()?)) };
        let first = self.first(v).cloned().map_or_else(zero, Ok)?;
        if order == Order::One {
            let (weight, bias) = ((&weight.value, weight.first(v)), (&bias.value, bias.first(v)));
            let first = self.value.batch_norm_first(&first, weight, bias, moments, then)?;
            return Ok(Tangent { first: Some(first), second: None });
        }
        let part = |jet: &'_ Self| [jet.first(v), jet.second(v)].map(|var| var.map(|var| var.value().clone()));
        let (weights, biases) = (part(weight), part(bias));
        let along = Along {
            first: first.value(),
            second: self.second(v).map(Var::value),
            weight: weights.each_ref().map(Option::as_ref),
            bias: biases.each_ref().map(Option::as_ref),
        };
        let with = [weight.value.value(), bias.value.value()];
        let (first, second, _) = norm::batch_norm_line(self.value.value(), with, along, moments, then, true)?;
        Ok(Tangent { first: Some(Var::constant(first)), second: second.map(Var::constant) })
    }

    /// The same made of elementary rules, which a tape can record to any order.
    fn elementary_norm(&self, weight: &Self, bias: &Self) -> Result<Self> {
        norm::check(self.value.value())?;
        let dims = self.value.dims().to_vec();
        let count = dims[..dims.len() - 1].iter().product::<usize>();
        let mean = self.linear(|x| x.sum_channels()?.scale(1.0 / count as f64))?;
        let centred = self.add_scaled(&mean.linear(|m| m.broadcast_channels(&dims))?, -1.0)?;
        let variance = centred.bilinear(&centred, |x, y| x.dot_channels(y)?.scale(1.0 / count as f64))?;
        let scale = variance.inverse_root(norm::EPSILON)?.bilinear(weight, Var::mul)?;
        centred.bilinear(&scale, Var::mul_channels)?.add_channels(bias)
    }

    /// Normalisation by moments that do not depend on θ: x·s + (b − mean·s), s = w/√(var + ε).
    fn fixed_norm(&self, weight: &Self, bias: &Self, moments: &Statistics) -> Result<Self> {
        let like = |values: Vec<f64>| -> Result<Jet> {
            let x: &Tensor = self.value.value();
            let values = flat_from_values(values, DType::F64, &Device::Cpu)?.to_device(&x.device())?;
            Ok(Jet::constant(Var::constant(values.to_dtype(x.dtype())?)))
        };
        let slopes = moments.variance.iter().map(|variance| 1.0 / (variance + norm::EPSILON).sqrt()).collect();
        let scale = weight.bilinear(&like(slopes)?, Var::mul)?;
        let shift = bias.add_scaled(&scale.bilinear(&like(moments.mean.clone())?, Var::mul)?, -1.0)?;
        self.bilinear(&scale, Var::mul_channels)?.add_channels(&shift)
    }

    /// r = (x + shift)^(−½): r′ = −½r³, r″ = ¾r⁵ in x.
    fn inverse_root(&self, shift: f64) -> Result<Self> {
        let r = self.value.inverse_root(shift)?;
        let square = r.mul(&r)?;
        let cube = square.mul(&r)?;
        let slope = cube.scale(-0.5)?;
        self.elementwise(r, &slope, || square.mul(&cube)?.scale(0.75))
    }
}
