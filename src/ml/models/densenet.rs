//! DenseNet-BC for small images (Huang et al. 2017), with the names of kuangliu's PyTorch model. The last pool is over all pixels, which
//! at 32×32 is that model's 4×4.

use super::layers::{BatchNorm, Conv, Declared, Linear, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;

const POINTWISE: Geometry = Geometry { stride: 1, padding: 0 };
const NARROW: Geometry = Geometry { stride: 1, padding: 1 };

/// Channels of a bottleneck in those that a layer adds.
const BOTTLENECK: usize = 4;

/// Norm, ReLU, conv.
struct Step {
    norm: BatchNorm,
    conv: Conv,
}

impl Step {
    fn normed(&self, params: &Weights<'_>, x: &Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        self.norm.forward(params, x, norm, Some(Activation::Relu))
    }

    fn forward(&self, params: &Weights<'_>, x: &Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        self.conv.forward(params, &self.normed(params, x, norm)?)
    }
}

/// A dense block, and what leads to the next one.
struct Block {
    /// The two steps of each layer.
    layers: Vec<[Step; 2]>,
    transition: Option<Step>,
}

impl Block {
    fn forward(&self, params: &Weights<'_>, mut x: Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        for [narrow, grow] in &self.layers {
            let y = narrow.forward(params, &x, norm)?;
            x = grow.forward(params, &y, norm)?.concat(&x)?;
        }
        let Some(transition) = &self.transition else { return Ok(x) };
        // The mean of pixels and a convolution of single pixels can change places; after the pool it costs a quarter.
        let pooled = transition.normed(params, &x, norm)?.avg_pool((2, 2))?;
        transition.conv.forward(params, &pooled)
    }
}

/// Dense blocks.
pub(super) struct DenseNetBc {
    conv: Conv,
    blocks: Vec<Block>,
    norm: BatchNorm,
    linear: Linear,
    declared: Declared,
}

impl DenseNetBc {
    pub(super) fn new(image: [usize; 3], blocks: &[usize], growth: usize, classes: usize) -> Result<Self> {
        let side = image[1].min(image[2]);
        let small = blocks.len() > usize::BITS as usize || side >> blocks.len().saturating_sub(1) == 0;
        if blocks.is_empty() || blocks.contains(&0) || growth == 0 || small {
            let problem = format!("no `densenet-bc` of blocks {blocks:?} and growth {growth} for images {image:?}");
            return Err(Error::Setting(format!("{problem}: a pool halves them between two blocks")));
        }
        let mut parameters = Parameters::default();
        let mut channels = 2 * growth;
        let conv = parameters.conv("conv1", (image[0], channels), 3, NARROW);
        let mut built = Vec::with_capacity(blocks.len());
        for (index, &layers) in blocks.iter().enumerate() {
            let name = format!("dense{}", index + 1);
            let layers = (0..layers)
                .map(|layer| {
                    let name = format!("{name}.{layer}");
                    let inner = BOTTLENECK * growth;
                    let norm = parameters.norm(&format!("{name}.bn1"), channels);
                    let conv = parameters.conv(&format!("{name}.conv1"), (channels, inner), 1, POINTWISE);
                    let narrow = Step { norm, conv };
                    let norm = parameters.norm(&format!("{name}.bn2"), inner);
                    let conv = parameters.conv(&format!("{name}.conv2"), (inner, growth), 3, NARROW);
                    channels += growth;
                    [narrow, Step { norm, conv }]
                })
                .collect();
            let transition = (index + 1 < blocks.len()).then(|| {
                let name = format!("trans{}", index + 1);
                let norm = parameters.norm(&format!("{name}.bn"), channels);
                let conv = parameters.conv(&format!("{name}.conv"), (channels, channels / 2), 1, POINTWISE);
                channels /= 2;
                Step { norm, conv }
            });
            built.push(Block { layers, transition });
        }
        let norm = parameters.norm("bn", channels);
        let linear = parameters.linear("linear", channels, classes);
        Ok(Self { conv, blocks: built, norm, linear, declared: parameters.declared() })
    }
}

impl Model for DenseNetBc {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = self.conv.forward(params, images)?;
        for block in &self.blocks {
            x = block.forward(params, x, norm)?;
        }
        let x = self.norm.forward(params, &x, norm, Some(Activation::Relu))?;
        self.linear.forward(params, &x.global_avg_pool()?)
    }
}
