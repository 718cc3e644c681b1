//! What networks are made of: layers that know where their parameters lie, and the list that those are declared in.

use std::sync::Arc;

use super::{Activation, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;
use crate::ml::params::Layout;
use crate::ml::rng::Draws;

/// How the elements of one part of θ are initialised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Uniform on (−bound, bound), where bound = 1/√`fan_in`: PyTorch's default for weights (Kaiming with a = √5) and
    /// biases of linear and convolution layers.
    Uniform {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// One value.
    Constant(f64),
}

impl Initial {
    /// One element.
    pub fn draw(&self, draws: &mut Draws) -> f64 {
        match self {
            Self::Uniform { fan_in } => (2.0 * draws.uniform() - 1.0) / (*fan_in as f64).sqrt(),
            Self::Constant(value) => *value,
        }
    }
}

/// The parameters of a network, in the order in which its layers are declared.
#[derive(Default)]
pub(super) struct Parameters {
    parts: Vec<(String, Vec<usize>)>,
    initials: Vec<Initial>,
    norms: Vec<String>,
}

/// What a network knows of its parameters once all are declared.
pub struct Declared {
    /// The fixed order of the parameters.
    pub layout: Arc<Layout>,
    /// How each part of the layout is initialised, in order.
    pub initials: Vec<Initial>,
    /// The batch norms by their names in PyTorch, `layer1.0.bn1`, in the order in which a forward pass comes to them.
    pub norms: Vec<String>,
}

impl Parameters {
    /// A fully connected layer with bias.
    pub(super) fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        let initial = Initial::Uniform { fan_in: inputs };
        let weight = self.part(format!("{name}.weight"), vec![outputs, inputs], initial);
        let bias = self.part(format!("{name}.bias"), vec![outputs], initial);
        Linear { weight, bias }
    }

    /// A convolution without bias, of square kernels.
    pub(super) fn conv(&mut self, name: &str, channels: (usize, usize), kernel: usize, geometry: Geometry) -> Conv {
        let (inputs, outputs) = channels;
        let initial = Initial::Uniform { fan_in: inputs * kernel * kernel };
        let weight = self.part(format!("{name}.weight"), vec![outputs, inputs, kernel, kernel], initial);
        Conv { weight, bias: None, geometry }
    }

    /// A convolution with bias, of square kernels.
    pub(super) fn conv_with_bias(
        &mut self,
        name: &str,
        channels: (usize, usize),
        kernel: usize,
        geometry: Geometry,
    ) -> Conv {
        let conv = self.conv(name, channels, kernel, geometry);
        let initial = Initial::Uniform { fan_in: channels.0 * kernel * kernel };
        Conv { bias: Some(self.part(format!("{name}.bias"), vec![channels.1], initial)), ..conv }
    }

    /// A batch norm. Norms are declared in the order in which a forward pass comes to them.
    pub(super) fn norm(&mut self, name: &str, channels: usize) -> BatchNorm {
        self.norms.push(name.to_owned());
        let weight = self.part(format!("{name}.weight"), vec![channels], Initial::Constant(1.0));
        let bias = self.part(format!("{name}.bias"), vec![channels], Initial::Constant(0.0));
        BatchNorm { weight, bias }
    }

    /// That is all.
    pub(super) fn declared(self) -> Declared {
        Declared { layout: Arc::new(Layout::new(self.parts)), initials: self.initials, norms: self.norms }
    }

    fn part(&mut self, name: String, shape: Vec<usize>, initial: Initial) -> usize {
        self.parts.push((name, shape));
        self.initials.push(initial);
        self.parts.len() - 1
    }
}

/// A fully connected layer: the places of its parameters.
pub(super) struct Linear {
    weight: usize,
    bias: usize,
}

impl Linear {
    pub(super) fn forward(&self, params: &Weights<'_>, x: &Jet) -> Result<Jet> {
        let (weight, bias) = (params.part(self.weight)?, params.part(self.bias)?);
        x.affine(&weight, &bias)
    }
}

/// A convolution: the places of its parameters.
pub(super) struct Conv {
    weight: usize,
    bias: Option<usize>,
    geometry: Geometry,
}

impl Conv {
    pub(super) fn forward(&self, params: &Weights<'_>, x: &Jet) -> Result<Jet> {
        self.forward_to(params, x, None, None)
    }

    /// The convolution, added to `plus`.
    pub(super) fn forward_onto(&self, params: &Weights<'_>, x: &Jet, plus: &Jet) -> Result<Jet> {
        self.forward_to(params, x, Some(plus), None)
    }

    /// The convolution, and the nonlinearity behind it.
    pub(super) fn forward_then(&self, params: &Weights<'_>, x: &Jet, activation: Activation) -> Result<Jet> {
        self.forward_to(params, x, None, Some(activation))
    }

    fn forward_to(
        &self,
        params: &Weights<'_>,
        x: &Jet,
        plus: Option<&Jet>,
        activation: Option<Activation>,
    ) -> Result<Jet> {
        let bias = self.bias.map(|bias| params.part(bias)).transpose()?;
        let weight = params.part(self.weight)?;
        x.conv2d(&weight, self.geometry, (plus, bias.as_deref()), activation)
    }
}

/// A batch norm: the places of its parameters.
pub(super) struct BatchNorm {
    weight: usize,
    bias: usize,
}

impl BatchNorm {
    /// The batch norm, and the nonlinearity behind it.
    pub(super) fn forward(
        &self,
        params: &Weights<'_>,
        x: &Jet,
        norm: &mut Norm<'_>,
        activation: Option<Activation>,
    ) -> Result<Jet> {
        let (weight, bias) = (params.part(self.weight)?, params.part(self.bias)?);
        x.batch_norm(&weight, &bias, norm, activation)
    }
}
