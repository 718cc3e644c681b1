//! Preact-ResNet18 for small images (He et al. 2016), with the names of kuangliu's PyTorch model. The last pool is over
//! all pixels, which at 32×32 is that model's 4×4.

use super::layers::{BatchNorm, Conv, Declared, Linear, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;

const NARROW: Geometry = Geometry { stride: 1, padding: 1 };

/// A block: norm, ReLU, conv, norm, ReLU, conv, and a shortcut around them that starts after the first ReLU where it has
/// a convolution of its own.
struct Block {
    norms: [BatchNorm; 2],
    convs: [Conv; 2],
    shortcut: Option<Conv>,
}

impl Block {
    fn new(parameters: &mut Parameters, name: &str, channels: (usize, usize), stride: usize) -> Self {
        let (inputs, outputs) = channels;
        let norm1 = parameters.norm(&format!("{name}.bn1"), inputs);
        let conv1 = parameters.conv(&format!("{name}.conv1"), channels, 3, Geometry { stride, padding: 1 });
        let norm2 = parameters.norm(&format!("{name}.bn2"), outputs);
        let conv2 = parameters.conv(&format!("{name}.conv2"), (outputs, outputs), 3, NARROW);
        let shortcut = (stride != 1 || inputs != outputs)
            .then(|| parameters.conv(&format!("{name}.shortcut.0"), channels, 1, Geometry { stride, padding: 0 }));
        Self { norms: [norm1, norm2], convs: [conv1, conv2], shortcut }
    }

    fn forward(&self, params: &Weights<'_>, x: Jet, norm: &mut Norm<'_>, activation: Activation) -> Result<Jet> {
        let mut y = self.norms[0].forward(params, &x, norm, Some(activation))?;
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.forward(params, &y)?,
            None => x,
        };
        y = self.convs[0].forward(params, &y)?;
        y = self.norms[1].forward(params, &y, norm, Some(activation))?;
        self.convs[1].forward_onto(params, &y, &around)
    }
}

/// Four stages of two blocks.
pub(super) struct PreactResNet18 {
    conv: Conv,
    blocks: Vec<Block>,
    norm: Option<BatchNorm>,
    linear: Linear,
    activation: Activation,
    declared: Declared,
}

impl PreactResNet18 {
    pub(super) fn new(image: [usize; 3], width: usize, classes: usize, final_norm: bool) -> Result<Self> {
        if width == 0 {
            return Err(Error::Setting("a residual network of width 0".to_owned()));
        }
        let mut parameters = Parameters::default();
        let conv = parameters.conv("conv1", (image[0], width), 3, NARROW);
        let mut blocks = Vec::with_capacity(8);
        let mut inputs = width;
        for stage in 0..4 {
            let outputs = width << stage;
            for index in 0..2 {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let name = format!("layer{}.{index}", stage + 1);
                blocks.push(Block::new(&mut parameters, &name, (inputs, outputs), stride));
                inputs = outputs;
            }
        }
        let norm = final_norm.then(|| parameters.norm("bn", inputs));
        let linear = parameters.linear("linear", inputs, classes);
        Ok(Self { conv, blocks, norm, linear, activation: Activation::Relu, declared: parameters.declared() })
    }

    /// The same network without kinks, for tests that compare with differences.
    #[cfg(test)]
    pub(super) fn smooth(self) -> Self {
        Self { activation: Activation::Tanh, ..self }
    }
}

impl Model for PreactResNet18 {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = self.conv.forward(params, images)?;
        for block in &self.blocks {
            x = block.forward(params, x, norm, self.activation)?;
        }
        if let Some(last) = &self.norm {
            x = last.forward(params, &x, norm, Some(self.activation))?;
        }
        self.linear.forward(params, &x.global_avg_pool()?)
    }
}
