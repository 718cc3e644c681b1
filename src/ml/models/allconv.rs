//! The small all-convolutional network of figure 6: no linear layer and no pool but the mean over all pixels.

use super::layers::{Conv, Declared, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;

/// conv, act, conv, act, …, conv, mean over all pixels.
pub(super) struct AllConv {
    convs: Vec<Conv>,
    activation: Activation,
    declared: Declared,
}

impl AllConv {
    pub(super) fn new(image: [usize; 3], channels: &[usize], classes: usize, activation: Activation) -> Result<Self> {
        if channels.contains(&0) {
            return Err(Error::Setting(format!("no convolutional network of {channels:?} channels")));
        }
        let widths: Vec<usize> = [image[0]].iter().chain(channels).chain([&classes]).copied().collect();
        let mut parameters = Parameters::default();
        let convs = widths.windows(2).enumerate().map(|(index, pair)| {
            let geometry = Geometry { stride: 1, padding: 1 };
            parameters.conv_with_bias(&format!("conv{}", index + 1), (pair[0], pair[1]), 3, geometry)
        });
        Ok(Self { convs: convs.collect(), activation, declared: parameters.declared() })
    }
}

impl Model for AllConv {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, _norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = images.clone();
        for (index, conv) in self.convs.iter().enumerate() {
            let is_last = index + 1 == self.convs.len();
            x = if is_last { conv.forward(params, &x)? } else { conv.forward_then(params, &x, self.activation)? };
        }
        x.global_avg_pool()
    }
}
