//! candle's own layers as a second opinion on our operations: they share tensors with ours and no kernel.

use crate::ml::tensor::{DType, Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module};

use super::jet::Jet;
use super::models::{Activation, Architecture, Norm, Weights};
use super::ops::axes;
use super::params::Theta;
use super::rng::Stream;
use super::tape::Var;

fn images(shape: [usize; 4]) -> Tensor {
    let mut draws = Stream::new(3, "images").at(0, 0);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| draws.normal()).collect();
    Tensor::from_vec(values, &shape, &Device::Cpu).unwrap()
}

fn ours(architecture: &Architecture, images: &Tensor) -> (Theta, Tensor) {
    let dims = images.dims();
    let model = architecture.build([dims[1], dims[2], dims[3]], 10).unwrap();
    let theta = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap();
    let parts = theta.layout().parts().len();
    let part = |i| Jet::constant(Var::constant(theta.view(i).unwrap()));
    let params = Weights::Jets((0..parts).map(part).collect());
    let logits = model
        .forward(&params, &Jet::constant(Var::constant(axes::channels_last(images).unwrap())), &mut Norm::Batch)
        .unwrap();
    (theta, logits.value().value().clone())
}

fn assert_close(a: &Tensor, b: &candle_core::Tensor) {
    let difference = (&a.host().unwrap() - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    assert!(difference.to_scalar::<f64>().unwrap() < 1e-12, "{difference}");
}

#[test]
fn candles_layers_give_the_logits_of_the_mlp() {
    let images = images([7, 2, 5, 3]);
    let (theta, logits) = ours(&Architecture::Mlp { hidden: vec![11, 6], activation: Activation::Relu }, &images);
    let part = |i: usize| theta.view(i).unwrap().host().unwrap();
    let layer = |i: usize| Linear::new(part(2 * i), Some(part(2 * i + 1)));
    let mut x = images.host().unwrap().flatten_from(1).unwrap();
    for i in 0..2 {
        x = layer(i).forward(&x).unwrap().relu().unwrap();
    }
    assert_close(&logits, &layer(2).forward(&x).unwrap());
}

#[test]
fn candles_layers_give_the_logits_of_the_convnet() {
    let images = images([5, 2, 8, 8]);
    let architecture = Architecture::ConvNet { channels: [3, 4, 5, 6], activation: Activation::Relu };
    let (theta, logits) = ours(&architecture, &images);
    let part = |i: usize| theta.view(i).unwrap().host().unwrap();
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let mut x = images.host().unwrap();
    for i in 0..4 {
        x = Conv2d::new(part(2 * i), Some(part(2 * i + 1)), config).forward(&x).unwrap().relu().unwrap();
        if i % 2 == 1 {
            x = x.max_pool2d(2).unwrap();
        }
    }
    let x = x.flatten_from(1).unwrap();
    assert_close(&logits, &Linear::new(part(8), Some(part(9))).forward(&x).unwrap());
}
