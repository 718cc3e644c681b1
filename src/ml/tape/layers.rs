//! What layers are made of, as a tape records it, each with its adjoint: products, convolutions, pools, operations per channel. The
//! kernels say which shapes they take.

use std::sync::Arc;

use crate::ml::tensor::Tensor;

use super::{Gradient, Var};
use crate::ml::Result;
use crate::ml::ops::conv::{self, After, Gate, Geometry};
use crate::ml::ops::norm::{self, Along, Moments, Then};
use crate::ml::ops::pool::{self, Selection, Window};
use crate::ml::ops::{axes, channels, concat, elementwise, matmul};

/// Products, convolutions and pools.
impl Var {
    /// `op(self)·op(other)`, where `op` transposes if its flag says so.
    ///
    /// # Errors
    /// Inner sizes that differ.
    pub fn matmul(&self, other: &Self, transpose: (bool, bool)) -> Result<Self> {
        let (ta, tb) = transpose;
        let value = matmul::matmul(&self.value, &other.value, ta, tb)?;
        let (a, b) = (self.index(), other.index());
        let (left, right) = (self.value.clone(), other.value.clone());
        Ok(Self::record(&[self, other], value, move |g, to| {
            let g = &g.tensor;
            to.add(a, || if ta { matmul::matmul(&right, g, tb, true) } else { matmul::matmul(g, &right, false, !tb) })?;
            to.add(b, || if tb { matmul::matmul(g, &left, true, ta) } else { matmul::matmul(&left, g, !ta, false) })
        }))
    }

    /// Σ factor·convolution over terms `(x, weight, factor)` of one shape, images `[S, H, W, C]` and kernels `[O, C, h, w]`, and what
    /// follows. A mask is no operand: its derivative is 0 almost everywhere.
    ///
    /// # Errors
    /// No term, terms whose shapes differ, channels that differ, a kernel larger than the padded image, an `after` that does not fit.
    pub fn conv2d_sum(terms: &[(&Self, &Self, f64)], after: &After<'_, Self>, geometry: Geometry) -> Result<Self> {
        let &After { plus, bias, gate } = after;
        let tensors: Vec<_> = terms.iter().map(|(x, w, factor)| (&x.value, &w.value, *factor)).collect();
        let of_tensors = After { plus: plus.map(Self::value), bias: bias.map(Self::value), gate };
        let value = conv::conv2d_sum(&tensors, &of_tensors, geometry)?;
        let operands: Vec<&Self> = terms.iter().flat_map(|(x, w, _)| [*x, *w]).chain(plus).chain(bias).collect();
        let mask = match gate {
            Gate::Open => None,
            Gate::Relu => Some(value.clone()),
            Gate::Of(mask) => Some(mask.clone()),
        };
        let (addend, bias) = (plus.and_then(Self::index), bias.and_then(Self::index));
        let kept = |var: &Self| (var.value.clone(), var.index());
        let terms: Vec<_> = terms.iter().map(|(x, w, factor)| (kept(x), kept(w), *factor)).collect();
        Ok(Self::record(&operands, value, move |g, to| {
            let g = match mask {
                Some(mask) => Gradient { tensor: elementwise::gate(&mask, &g.tensor)?, owned: true },
                None => g,
            };
            to.add(bias, || channels::sum_channels(&g.tensor))?;
            for ((x, a), (w, b), factor) in terms {
                let scaled = |gradient: Tensor| match factor {
                    1.0 => Ok(gradient),
                    factor => elementwise::scale(&gradient, factor),
                };
                let (x_dims, w_dims) = (x.dims4()?, w.dims4()?);
                to.add(a, || scaled(conv::conv2d_input(&g.tensor, &w, x_dims, geometry)?))?;
                to.add(b, || scaled(conv::conv2d_weight(&g.tensor, &x, w_dims, geometry)?))?;
            }
            to.pass(addend, g)
        }))
    }

    /// The maximum of each window of images `[S, H, W, C]`, and which pixel it is.
    ///
    /// # Errors
    /// Images smaller than the window.
    pub fn max_pool(&self, window: Window) -> Result<(Self, Selection)> {
        let (value, selection) = pool::max_pool(&self.value, window)?;
        let (a, kept) = (self.index(), selection.clone());
        let y = Self::record(&[self], value, move |g, to| to.add(a, || pool::scatter(&g.tensor, &kept)));
        Ok((y, selection))
    }

    /// The elements that a max pool selected.
    ///
    /// # Errors
    /// A shape other than that of the selection's input.
    pub fn select(&self, selection: &Selection) -> Result<Self> {
        let (a, kept) = (self.index(), selection.clone());
        Ok(Self::record(&[self], pool::select(&self.value, selection)?, move |g, to| {
            to.add(a, || pool::scatter(&g.tensor, &kept))
        }))
    }

    /// Images `[S, H, W, C]` as `[S, C, H, W]`.
    ///
    /// # Errors
    /// A tensor without four axes.
    pub fn channels_first(&self) -> Result<Self> {
        let a = self.index();
        Ok(Self::record(&[self], axes::channels_first(&self.value)?, move |g, to| {
            to.add(a, || axes::channels_last(&g.tensor))
        }))
    }

    /// The mean of each window of images `[S, H, W, C]`.
    ///
    /// # Errors
    /// Images smaller than the window.
    pub fn avg_pool(&self, window: Window) -> Result<Self> {
        let value = pool::avg_pool(&self.value, window)?;
        let (a, from) = (self.index(), self.value.dims4()?);
        Ok(Self::record(&[self], value, move |g, to| to.add(a, || pool::avg_pool_adjoint(&g.tensor, from, window))))
    }
}

/// Operations per channel of `[…, C]`.
impl Var {
    /// `self + b`, with one value a channel.
    ///
    /// # Errors
    /// Another number of values than channels.
    pub fn add_channels(&self, b: &Self) -> Result<Self> {
        let value = channels::add_channels(&self.value, &b.value)?;
        let (x, bias) = (self.index(), b.index());
        Ok(Self::record(&[self, b], value, move |g, to| {
            to.add(bias, || channels::sum_channels(&g.tensor))?;
            to.pass(x, g)
        }))
    }

    /// `self∘c`, with one value a channel.
    ///
    /// # Errors
    /// Another number of values than channels.
    pub fn mul_channels(&self, c: &Self) -> Result<Self> {
        let value = channels::mul_channels(&self.value, &c.value)?;
        let (a, b) = (self.index(), c.index());
        let (x, factor) = (self.value.clone(), c.value.clone());
        Ok(Self::record(&[self, c], value, move |g, to| {
            to.add(a, || channels::mul_channels(&g.tensor, &factor))?;
            to.add(b, || channels::dot_channels(&g.tensor, &x))
        }))
    }

    /// One value a channel, repeated to `[…, C]`.
    ///
    /// # Errors
    /// Another number of values than channels.
    pub fn broadcast_channels(&self, dims: &[usize]) -> Result<Self> {
        let a = self.index();
        Ok(Self::record(&[self], channels::broadcast_channels(&self.value, dims)?, move |g, to| {
            to.add(a, || channels::sum_channels(&g.tensor))
        }))
    }

    /// The sum of each channel: `[C]`.
    ///
    /// # Errors
    /// A tensor that is not `[…, C]`.
    pub fn sum_channels(&self) -> Result<Self> {
        let (a, dims) = (self.index(), self.dims().to_vec());
        Ok(Self::record(&[self], channels::sum_channels(&self.value)?, move |g, to| {
            to.add(a, || channels::broadcast_channels(&g.tensor, &dims))
        }))
    }

    /// The inner product of each channel with the same channel of `other`: `[C]`.
    ///
    /// # Errors
    /// Shapes or dtypes that differ.
    pub fn dot_channels(&self, other: &Self) -> Result<Self> {
        let value = channels::dot_channels(&self.value, &other.value)?;
        let (a, b) = (self.index(), other.index());
        let (x, y) = (self.value.clone(), other.value.clone());
        Ok(Self::record(&[self, other], value, move |g, to| {
            to.add(a, || channels::mul_channels(&y, &g.tensor))?;
            to.add(b, || channels::mul_channels(&x, &g.tensor))
        }))
    }

    /// The channels of `self`, `[…, A]`, and after them those of `other`, `[…, B]`.
    ///
    /// # Errors
    /// Shapes that differ in more than their channels.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        let value = concat::concat(&self.value, &other.value)?;
        let (a, b) = (self.index(), other.index());
        let channels = |x: &Tensor| x.dims()[x.rank() - 1];
        let (left, right) = (channels(&self.value), channels(&other.value));
        Ok(Self::record(&[self, other], value, move |g, to| {
            to.add(a, || concat::take_channels(&g.tensor, 0, left))?;
            to.add(b, || concat::take_channels(&g.tensor, left, right))
        }))
    }

    /// The channels of `self` after `before` channels of zeros and before `after` more.
    ///
    /// # Errors
    /// A tensor that is not `[…, C]`.
    pub fn pad_channels(&self, before: usize, after: usize) -> Result<Self> {
        let value = concat::pad_channels(&self.value, before, after)?;
        let (a, count) = (self.index(), value.dims()[value.rank() - 1] - before - after);
        Ok(Self::record(&[self], value, move |g, to| to.add(a, || concat::take_channels(&g.tensor, before, count))))
    }

    /// Batch normalisation in training mode and what follows it, fused, and the batch's moments.
    ///
    /// # Errors
    /// One value a channel; another number of weights than channels.
    pub fn batch_norm(&self, weight: &Self, bias: &Self, then: Then) -> Result<(Self, Arc<Moments>)> {
        let (value, moments) = norm::batch_norm(&self.value, &weight.value, &bias.value, then)?;
        let indices = [self.index(), weight.index(), bias.index()];
        let (x, w, b, kept) = (self.value.clone(), weight.value.clone(), bias.value.clone(), Arc::clone(&moments));
        let y = Self::record(&[self, weight, bias], value, move |g, to| {
            let gradients = norm::batch_norm_adjoint(&g.tensor, &x, [&w, &b], &kept, then)?;
            drop(g);
            indices.into_iter().zip(gradients).try_for_each(|(index, gradient)| to.add(index, || Ok(gradient)))
        });
        Ok((y, moments))
    }

    /// The first derivative of a batch norm of `self` and what follows it, along the line whose derivatives are `first`, `weight.1` and
    /// `bias.1`; `moments` are those of `self`.
    ///
    /// # Errors
    /// Derivatives of other shapes than what they are of.
    pub fn batch_norm_first(
        &self,
        first: &Self,
        weight: (&Self, Option<&Self>),
        bias: (&Self, Option<&Self>),
        moments: &Arc<Moments>,
        then: Then,
    ) -> Result<Self> {
        let values = |[x, w, b]: [&Self; 3]| [x, w, b].map(|var| var.value.clone());
        let [x, w, b] = values([self, weight.0, bias.0]);
        let [x1, w1, b1] = [Some(first), weight.1, bias.1].map(|var| var.map(|var| var.value.clone()));
        let x1 = x1.unwrap_or_else(|| x.clone());
        let along = Along { first: &x1, second: None, weight: [w1.as_ref(), None], bias: [b1.as_ref(), None] };
        let (value, _, lines) = norm::batch_norm_line(&x, [&w, &b], along, moments, then, false)?;
        let operands: Vec<&Self> = [self, first, weight.0].into_iter().chain(weight.1).chain(bias.1).collect();
        let index = |var: Option<&Self>| var.and_then(Self::index);
        let indices = [self.index(), first.index(), weight.0.index(), index(weight.1), index(bias.1)];
        let moments = Arc::clone(moments);
        Ok(Self::record(&operands, value, move |h, to| {
            let along = Along { first: &x1, second: None, weight: [w1.as_ref(), None], bias: [b1.as_ref(), None] };
            let gradients = norm::batch_norm_first_adjoint(&h.tensor, &x, [&w, &b], along, (&moments, &lines), then)?;
            drop(h);
            indices.into_iter().zip(gradients).try_for_each(|(index, gradient)| to.add(index, || Ok(gradient)))
        }))
    }
}
