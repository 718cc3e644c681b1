//! Convolutions along lines.

use super::{Activation, Jet, Order, Tangent};
use crate::ml::Result;
use crate::ml::ops::conv::{After, Gate, Geometry};
use crate::ml::ops::reduce;
use crate::ml::tape::Var;
use crate::ml::tensor::Tensor;

/// Products of a patch from which on one convolution is worth more than the passes over memory that spare it.
const DEEP: usize = 1024;

/// How many times the convolution what is added to it may be, where it is taken off again: beyond, too many digits are lost.
const MOST_ADDED: f64 = 16.0;

/// What a convolution is made of.
#[derive(Clone, Copy)]
struct Layer<'a> {
    x: &'a Jet,
    w: &'a Jet,
    plus: Option<&'a Jet>,
    bias: Option<&'a Jet>,
    geometry: Geometry,
}

impl Jet {
    /// The convolution of images `[S, H, W, C]` with a kernel `[O, C, h, w]`, `plus` and a bias `[O]` added to it where there are any, and
    /// the nonlinearity behind it, if there is one. A ReLU is fused with the convolution.
    ///
    /// # Errors
    /// Channels that differ, a kernel larger than the padded image, a `plus` of another shape than the result's, another number of biases
    /// than channels.
    pub fn conv2d(
        &self,
        weight: &Self,
        geometry: Geometry,
        (plus, bias): (Option<&Self>, Option<&Self>),
        activation: Option<Activation>,
    ) -> Result<Self> {
        let layer = Layer { x: self, w: weight, plus, bias, geometry };
        let order = layer.jets().map(Self::order).max().unwrap_or(Order::Zero);
        let directions = layer.jets().map(|jet| jet.tangents.len()).max().unwrap_or(0);
        let is_relu = activation == Some(Activation::Relu);
        let after = After {
            plus: plus.map(Self::value),
            bias: bias.map(Self::value),
            gate: if is_relu { Gate::Relu } else { Gate::Open },
        };
        let value = Var::conv2d_sum(&[(&self.value, &weight.value, 1.0)], &after, geometry)?;
        let gate = if is_relu { Gate::Of(value.value()) } else { Gate::Open };
        // What balances the three is asked of the machine's memory; a card would wait for it at every layer.
        let is_here = matches!(self.value.value(), Tensor::Host(_));
        let by_three = is_here && order == Order::Two && !is_relu && layer.is_deep() && !layer.is_recorded();
        let alone = if by_three { layer.alone(&value)? } else { None };
        let tangent = |v| match (&alone, self.first(v), weight.first(v)) {
            (Some(alone), Some(x), Some(w)) => layer.by_three(v, alone, (x, w)),
            _ => layer.by_four(v, gate, order),
        };
        let tangents = (0..directions).map(tangent).collect::<Result<_>>()?;
        let y = Self { value, tangents, order };
        match activation {
            Some(Activation::Tanh) => y.activation(Activation::Tanh),
            Some(Activation::Relu) | None => Ok(y),
        }
    }
}

impl<'a> Layer<'a> {
    fn jets(&self) -> impl Iterator<Item = &'a Jet> + use<'a> {
        [Some(self.x), Some(self.w), self.plus, self.bias].into_iter().flatten()
    }

    fn is_recorded(&self) -> bool {
        self.jets().any(|jet| jet.value.is_recorded())
    }

    fn is_deep(&self) -> bool {
        self.w.value.dims()[1..].iter().product::<usize>() >= DEEP
    }

    /// ẏ = w∗ẋ + ẇ∗x and ÿ = w∗ẍ + 2ẇ∗ẋ + ẅ∗x, each in one go.
    fn by_four(&self, v: usize, gate: Gate<'_>, order: Order) -> Result<Tangent> {
        let Self { x, w, plus, bias, .. } = *self;
        let terms = [(x.first(v), Some(&w.value), 1.0), (Some(&x.value), w.first(v), 1.0)];
        let (plus_first, bias_first) = (plus.and_then(|plus| plus.first(v)), bias.and_then(|bias| bias.first(v)));
        let first = self.sum(&terms, (plus_first, bias_first), gate)?;
        if order != Order::Two {
            return Ok(Tangent { first, second: None });
        }
        let (bent, both) = ((x.second(v), Some(&w.value), 1.0), (x.first(v), w.first(v), 2.0));
        let terms = [bent, both, (Some(&x.value), w.second(v), 1.0)];
        let (plus_second, bias_second) = (plus.and_then(|plus| plus.second(v)), bias.and_then(|bias| bias.second(v)));
        Ok(Tangent { first, second: self.sum(&terms, (plus_second, bias_second), gate)? })
    }

    /// The terms that are there and what is added to them; `None` where nothing is.
    fn sum(
        &self,
        terms: &[(Option<&Var>, Option<&Var>, f64)],
        (plus, bias): (Option<&Var>, Option<&Var>),
        gate: Gate<'_>,
    ) -> Result<Option<Var>> {
        let terms: Vec<_> = terms.iter().filter_map(|&(x, w, factor)| Some((x?, w?, factor))).collect();
        let after = After { plus, bias, gate };
        match (terms.is_empty(), plus, bias) {
            (true, None, None) => Ok(None),
            (true, ..) => {
                // Nothing that is convolved moves: a kernel of zeros adds nothing.
                let still = Var::constant(self.w.value.value().zeros_like()?);
                Var::conv2d_sum(&[(&self.x.value, &still, 1.0)], &after, self.geometry).map(Some)
            }
            (false, ..) => Var::conv2d_sum(&terms, &after, self.geometry).map(Some),
        }
    }

    /// w∗x, from a value that has `plus` and bias in it; none where they are so much larger that it is lost in them.
    fn alone(&self, y: &Var) -> Result<Option<Var>> {
        let mut alone = y.clone();
        if let Some(plus) = self.plus {
            alone = alone.add_scaled(&plus.value, -1.0)?;
        }
        if let Some(bias) = self.bias {
            alone = alone.add_channels(&bias.value.scale(-1.0)?)?;
        }
        let is_there =
            (self.plus.is_none() && self.bias.is_none()) || square(y)? <= MOST_ADDED * MOST_ADDED * square(&alone)?;
        Ok(is_there.then_some(alone))
    }

    /// The same by three convolutions in place of four (Karatsuba and Ofman 1962), since w∗x is known:
    /// ẏ = [(w + aẇ)∗(x + aẋ) − w∗x − a²ẇ∗ẋ]/a, whose last term ÿ has too.
    ///
    /// The difference loses least where both sums have terms of about one size: a is the geometric mean of ‖w‖/‖ẇ‖ and ‖x‖/‖ẋ‖, as a power of
    /// two, so that to scale by it rounds nothing.
    fn by_three(&self, v: usize, alone: &Var, (first_x, first_w): (&Var, &Var)) -> Result<Tangent> {
        let Self { x, w, plus, bias, geometry } = *self;
        let a = balance([(&w.value, first_w), (&x.value, first_x)])?;
        let twice = Var::conv2d_sum(&[(first_x, first_w, 2.0)], &After::default(), geometry)?;
        let mut rest = alone.scale(-1.0 / a)?.add_scaled(&twice, -0.5 * a)?;
        let mut bent = twice;
        if let Some(first) = plus.and_then(|plus| plus.first(v)) {
            rest = rest.add(first)?;
        }
        if let Some(second) = plus.and_then(|plus| plus.second(v)) {
            bent = bent.add(second)?;
        }
        let [bias_first, bias_second] = bias.map_or([None, None], |bias| [bias.first(v), bias.second(v)]);
        let (moved, turned) = (x.value.add_scaled(first_x, a)?, w.value.add_scaled(first_w, a)?);
        let after = After { plus: Some(&rest), bias: bias_first, gate: Gate::Open };
        let first = Var::conv2d_sum(&[(&moved, &turned, 1.0 / a)], &after, geometry)?;
        drop((moved, turned, rest));
        let terms = [(x.second(v), Some(&w.value), 1.0), (Some(&x.value), w.second(v), 1.0)];
        let second = match (x.second(v), w.second(v), bias_second) {
            (None, None, None) => Some(bent),
            (None, None, Some(bias)) => Some(bent.add_channels(bias)?),
            _ => self.sum(&terms, (Some(&bent), bias_second), Gate::Open)?,
        };
        Ok(Tangent { first: Some(first), second })
    }
}

fn square(var: &Var) -> Result<f64> {
    reduce::dot(var.value(), var.value())
}

/// The power of two next to the geometric mean of ‖value‖/‖derivative‖; 1 where that is no number.
fn balance(pairs: [(&Var, &Var); 2]) -> Result<f64> {
    let mut fourth_power = 1.0;
    for (value, first) in pairs {
        fourth_power *= square(value)? / square(first)?;
    }
    Ok(if fourth_power.is_normal() { (fourth_power.log2() / 4.0).round().clamp(-40.0, 40.0).exp2() } else { 1.0 })
}
