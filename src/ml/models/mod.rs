//! The networks. Each is written once, over jets; its parameters have PyTorch's names, shapes, order and default
//! initialisation. A model knows neither data nor loss.
//!
//! Reading order: this file (the trait, the list of architectures), `weights` (parameters in a pass), `layers` (what networks are made of), `mlp`,
//! `convnet`, `allconv`, `resnet`, `vgg`, `densenet`, then `exchange` (PyTorch's files).

mod allconv;
mod convnet;
mod densenet;
pub mod exchange;
mod layers;
mod mlp;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg;
mod weights;

use std::sync::Arc;

use crate::ml::tensor::{DType, Device};

use super::jet::Jet;
pub use super::jet::{Activation, Norm};
use super::params::{Layout, Theta};
use super::rng::Stream;
use super::{Error, Result};
pub use layers::{Declared, Initial};
pub use weights::Weights;

/// A network as a function of its parameters and a batch.
pub trait Model: Send + Sync {
    /// Its parameters and batch norms.
    fn declared(&self) -> &Declared;

    /// The fixed order of its parameters.
    fn layout(&self) -> &Arc<Layout> {
        &self.declared().layout
    }

    /// How many batch-norm layers it has.
    fn norms(&self) -> usize {
        self.declared().norms.len()
    }

    /// The logits `[S, K]` of images `[S, H, W, C]`; `params` are the parts of the layout in order.
    ///
    /// # Errors
    /// Shapes that do not fit; batch norm over one value a channel.
    fn forward(&self, params: &Weights<'_>, images: &Jet, norm: &mut Norm<'_>) -> Result<Jet>;

    /// A random initial point. Part i is drawn at position (0, i) of the stream, in f64, and rounded to `dtype`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a dtype other than f32 and f64.
    fn init(&self, stream: &Stream, dtype: DType, device: &Device) -> Result<Theta> {
        let parts = self.layout().parts().iter().zip(&self.declared().initials).enumerate();
        let values = parts.flat_map(|(index, (part, initial))| {
            let mut draws = stream.at(0, index as u32);
            (0..part.len()).map(move |_| initial.draw(&mut draws))
        });
        Theta::from_values(Arc::clone(self.layout()), values, dtype, device)
    }
}

/// The networks there are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "architecture")]
pub enum Architecture {
    /// Fully connected layers `fc1`, `fc2`, … with the activation between them.
    #[serde(rename = "mlp")]
    Mlp {
        /// Width of each hidden layer.
        hidden: Vec<usize>,
        /// The nonlinearity.
        #[serde(default, skip_serializing_if = "Activation::is_default")]
        activation: Activation,
    },
    /// Four 3×3 convolutions `conv1` … `conv4` with biases and padding 1, each with the activation, a 2×2 max pool after
    /// the second and the fourth, and one linear layer `fc`.
    #[serde(rename = "convnet")]
    ConvNet {
        /// Channels of each convolution.
        channels: [usize; 4],
        /// The nonlinearity.
        #[serde(default, skip_serializing_if = "Activation::is_default")]
        activation: Activation,
    },
    /// Preact-ResNet18 (He et al. 2016) for small images, with the names of kuangliu's PyTorch model.
    #[serde(rename = "preact-resnet18")]
    PreactResNet18 {
        /// Channels of the first stage; 64 in the paper.
        width: usize,
        /// Whether batch norm and ReLU follow the last stage, as in He et al.; kuangliu's model leaves them out.
        final_norm: bool,
    },
    /// VGG16 (Simonyan and Zisserman 2015) for small images: thirteen 3×3 convolutions with biases and one linear layer, with the
    /// names of kuangliu's PyTorch model.
    #[serde(rename = "vgg16")]
    Vgg16 {
        /// Channels of the first two convolutions; 64 in the paper.
        width: usize,
        /// Whether a batch norm follows each convolution, as in kuangliu's model.
        batch_norm: bool,
    },
    /// DenseNet-BC (Huang et al. 2017) for small images, with the names of kuangliu's PyTorch model: bottlenecks of four times the
    /// growth, transitions that halve the channels.
    #[serde(rename = "densenet-bc")]
    DenseNetBc {
        /// Layers of each dense block.
        blocks: Vec<usize>,
        /// Channels that each layer adds.
        growth: usize,
    },
    /// 3×3 convolutions `conv1`, `conv2`, … with biases and padding 1 and the activation between them, the last with one channel a
    /// class, whose means over all pixels are the logits.
    #[serde(rename = "all-conv")]
    AllConv {
        /// Channels of each convolution but the last.
        channels: Vec<usize>,
        /// The nonlinearity.
        #[serde(default, skip_serializing_if = "Activation::is_default")]
        activation: Activation,
    },
}

/// A narrow Preact-ResNet18 with tanh for ReLU.
#[cfg(test)]
pub(crate) fn smooth_resnet(image: [usize; 3], classes: usize) -> Arc<dyn Model> {
    Arc::new(resnet::PreactResNet18::new(image, 2, classes, true).expect("a narrow network").smooth())
}

impl Architecture {
    /// The network for images `[channels, height, width]` and this many classes.
    ///
    /// # Errors
    /// [`Error::Setting`] if a width is 0 or the images are too small.
    pub fn build(&self, image: [usize; 3], classes: usize) -> Result<Arc<dyn Model>> {
        if image.contains(&0) || classes == 0 {
            return Err(Error::Setting(format!("no model for images {image:?} and {classes} classes")));
        }
        match self {
            Self::Mlp { hidden, activation } => Ok(Arc::new(mlp::Mlp::new(image, hidden, classes, *activation)?)),
            Self::ConvNet { channels, activation } => {
                Ok(Arc::new(convnet::ConvNet::new(image, *channels, classes, *activation)?))
            }
            Self::PreactResNet18 { width, final_norm } => {
                Ok(Arc::new(resnet::PreactResNet18::new(image, *width, classes, *final_norm)?))
            }
            Self::Vgg16 { width, batch_norm } => Ok(Arc::new(vgg::Vgg16::new(image, *width, classes, *batch_norm)?)),
            Self::DenseNetBc { blocks, growth } => {
                Ok(Arc::new(densenet::DenseNetBc::new(image, blocks, *growth, classes)?))
            }
            Self::AllConv { channels, activation } => {
                Ok(Arc::new(allconv::AllConv::new(image, channels, classes, *activation)?))
            }
        }
    }
}
