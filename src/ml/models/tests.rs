//! What the networks are: their sizes, names and initial points. Their derivatives are tested through the objective.

use candle_core::{DType, Device};

use super::{Activation, Architecture};
use crate::ml::rng::Stream;

fn parameters(architecture: &Architecture, image: [usize; 3]) -> usize {
    architecture.build(image, 10).unwrap().layout().len()
}

#[test]
fn parameter_counts_are_those_of_the_papers() {
    let mlp = |hidden: usize| Architecture::Mlp { hidden: vec![hidden], activation: Activation::Tanh };
    assert_eq!(parameters(&mlp(30), [1, 14, 14]), 6_220);
    assert_eq!(parameters(&mlp(70), [1, 7, 7]), 4_210);
    assert_eq!(parameters(&mlp(64), [1, 8, 8]), 4_810);
    let convnet = Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Relu };
    assert_eq!(parameters(&convnet, [1, 8, 8]), 4_802);
    let resnet = |final_norm| Architecture::PreactResNet18 { width: 64, final_norm };
    assert_eq!(parameters(&resnet(true), [3, 32, 32]), 11_172_170);
    assert_eq!(parameters(&resnet(false), [3, 32, 32]), 11_171_146);
}

#[test]
fn names_and_order_are_those_of_the_pytorch_model() {
    let model = Architecture::PreactResNet18 { width: 2, final_norm: true }.build([1, 8, 8], 10).unwrap();
    let names: Vec<&str> = model.layout().parts().iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names.len(), 8 * 6 + 3 + 1 + 2 + 2);
    assert_eq!(names[..4], ["conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias", "layer1.0.conv1.weight"]);
    assert!(names.contains(&"layer2.0.shortcut.0.weight"));
    assert!(!names.contains(&"layer1.0.shortcut.0.weight"));
    assert_eq!(names[names.len() - 4..], ["bn.weight", "bn.bias", "linear.weight", "linear.bias"]);
    assert_eq!(model.norms(), 17);
}

#[test]
fn an_initial_point_fills_its_bounds_and_follows_its_seed() {
    let model =
        Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Relu }.build([1, 8, 8], 10).unwrap();
    let init = |seed| model.init(&Stream::new(seed, "init"), DType::F32, &Device::Cpu).unwrap();
    let theta = init(3);
    // conv3 has 8·9 inputs an output.
    let weight: Vec<f32> = theta.view(4).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (bound, largest) = (1.0 / 72f32.sqrt(), weight.iter().fold(0f32, |most, w| most.max(w.abs())));
    assert!(largest <= bound && largest > 0.99 * bound);
    let mean = weight.iter().sum::<f32>() / weight.len() as f32;
    assert!(mean.abs() < 4.0 * bound / (3.0 * weight.len() as f32).sqrt());
    assert_eq!(theta.to_vec_f64().unwrap(), init(3).to_vec_f64().unwrap());
    assert_ne!(theta.to_vec_f64().unwrap(), init(4).to_vec_f64().unwrap());
    let resnet = Architecture::PreactResNet18 { width: 2, final_norm: true }.build([1, 8, 8], 10).unwrap();
    let theta = resnet.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(theta.view(1).unwrap().to_vec1::<f64>().unwrap(), [1.0, 1.0]);
    assert_eq!(theta.view(2).unwrap().to_vec1::<f64>().unwrap(), [0.0, 0.0]);
}

#[test]
fn images_that_are_too_small_are_refused() {
    let convnet = Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Relu };
    assert!(convnet.build([1, 3, 8], 10).is_err());
    assert!(convnet.build([1, 8, 8], 0).is_err());
    let mlp = Architecture::Mlp { hidden: vec![4, 0], activation: Activation::Relu };
    assert!(mlp.build([1, 8, 8], 10).is_err());
}
