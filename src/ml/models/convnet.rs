//! The four-layer convolutional network of figure 4b.

use super::layers::{Conv, Declared, Linear, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;

/// conv, act, conv, act, pool, conv, act, conv, act, pool, linear.
pub(super) struct ConvNet {
    convs: [Conv; 4],
    linear: Linear,
    activation: Activation,
    declared: Declared,
}

impl ConvNet {
    pub(super) fn new(image: [usize; 3], channels: [usize; 4], classes: usize, activation: Activation) -> Result<Self> {
        let [inputs, height, width] = image;
        if channels.contains(&0) || height < 4 || width < 4 {
            let problem = format!("no convolutional network of {channels:?} channels for images {image:?}");
            return Err(Error::Setting(problem));
        }
        let [first, second, third, fourth] = channels;
        let geometry = Geometry { stride: 1, padding: 1 };
        let mut parameters = Parameters::default();
        let mut conv = |name, channels| parameters.conv_with_bias(name, channels, 3, geometry);
        let convs = [
            conv("conv1", (inputs, first)),
            conv("conv2", (first, second)),
            conv("conv3", (second, third)),
            conv("conv4", (third, fourth)),
        ];
        let linear = parameters.linear("fc", fourth * (height / 4) * (width / 4), classes);
        Ok(Self { convs, linear, activation, declared: parameters.declared() })
    }
}

impl Model for ConvNet {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, _norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = images.clone();
        for (index, conv) in self.convs.iter().enumerate() {
            x = conv.forward_then(params, &x, self.activation)?;
            if index % 2 == 1 {
                x = x.max_pool((2, 2))?;
            }
        }
        self.linear.forward(params, &x.flatten()?)
    }
}
