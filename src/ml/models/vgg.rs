//! VGG16 for small images (Simonyan and Zisserman 2015), with one linear layer and the names of kuangliu's PyTorch model.

use super::layers::{BatchNorm, Conv, Declared, Linear, Parameters};
use super::{Activation, Error, Model, Norm, Result, Weights};
use crate::ml::jet::Jet;
use crate::ml::ops::conv::Geometry;

/// Convolutions of each stage, and their channels in those of the first stage. A 2×2 max pool ends each stage.
const STAGES: [(usize, usize); 5] = [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)];

/// The side that five pools bring down to one pixel.
const SMALLEST: usize = 1 << STAGES.len();

/// A convolution, the norm after it where there is one, and whether a pool follows.
struct Layer {
    conv: Conv,
    norm: Option<BatchNorm>,
    pools: bool,
}

/// Thirteen layers and a linear one.
pub(super) struct Vgg16 {
    layers: Vec<Layer>,
    linear: Linear,
    declared: Declared,
}

impl Vgg16 {
    pub(super) fn new(image: [usize; 3], width: usize, classes: usize, batch_norm: bool) -> Result<Self> {
        let [mut inputs, height, line] = image;
        if width == 0 || height < SMALLEST || line < SMALLEST {
            let problem = format!("no `vgg16` of width {width} for images {image:?}: they are at least 32 × 32");
            return Err(Error::Setting(problem));
        }
        let mut parameters = Parameters::default();
        let mut layers = Vec::new();
        // PyTorch counts the modules of the sequence: norms, activations and pools have numbers too.
        let mut number = 0;
        for (convs, factor) in STAGES {
            let outputs = width * factor;
            for index in 1..=convs {
                let (name, geometry) = (format!("features.{number}"), Geometry { stride: 1, padding: 1 });
                let conv = parameters.conv_with_bias(&name, (inputs, outputs), 3, geometry);
                let norm = batch_norm.then(|| parameters.norm(&format!("features.{}", number + 1), outputs));
                let pools = index == convs;
                number += 2 + usize::from(batch_norm) + usize::from(pools);
                layers.push(Layer { conv, norm, pools });
                inputs = outputs;
            }
        }
        let linear = parameters.linear("classifier", inputs * (height / SMALLEST) * (line / SMALLEST), classes);
        Ok(Self { layers, linear, declared: parameters.declared() })
    }
}

impl Model for Vgg16 {
    fn declared(&self) -> &Declared {
        &self.declared
    }

    fn forward(&self, params: &Weights<'_>, images: &Jet, norm: &mut Norm<'_>) -> Result<Jet> {
        let mut x = images.clone();
        for layer in &self.layers {
            x = match &layer.norm {
                Some(own) => own.forward(params, &layer.conv.forward(params, &x)?, norm, Some(Activation::Relu))?,
                None => layer.conv.forward_then(params, &x, Activation::Relu)?,
            };
            if layer.pools {
                x = x.max_pool((2, 2))?;
            }
        }
        self.linear.forward(params, &x.flatten()?)
    }
}
