//! The multilayer perceptron.

use super::layers::{Declared, Linear, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;

/// Fully connected layers `fc1`, `fc2`, … with an activation between them.
pub(super) struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    declared: Declared,
}

impl Mlp {
    pub(super) fn new(image: [usize; 3], hidden: &[usize], classes: usize, activation: Activation) -> Result<Self> {
        if hidden.contains(&0) {
            return Err(Error::Setting("a hidden layer of width 0".to_owned()));
        }
        let widths: Vec<usize> = [image.iter().product()].iter().chain(hidden).chain([&classes]).copied().collect();
        let mut parameters = Parameters::default();
        let layers = widths.windows(2).enumerate();
        let layers = layers.map(|(index, pair)| parameters.linear(&format!("fc{}", index + 1), pair[0], pair[1]));
        Ok(Self { layers: layers.collect(), activation, declared: parameters.declared() })
    }
}

impl Model for Mlp {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, _norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = images.flatten()?;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = x.activation(self.activation)?;
            }
            x = layer.forward(params, &x)?;
        }
        Ok(x)
    }
}
