//! What the networks are: their sizes, names and initial points. Their derivatives are tested through the objective.

use crate::ml::tensor::{DType, Device, Tensor};

use super::{Activation, Architecture, Norm, Weights};
use crate::ml::jet::Jet;
use crate::ml::rng::Stream;
use crate::ml::tape::Var;

fn parameters(architecture: &Architecture, image: [usize; 3], classes: usize) -> usize {
    architecture.build(image, classes).unwrap().layout().len()
}

const COLOUR: [usize; 3] = [3, 32, 32];

fn mlp(hidden: usize) -> Architecture {
    Architecture::Mlp { hidden: vec![hidden], activation: Activation::Tanh }
}

fn densenet(blocks: &[usize], growth: usize) -> Architecture {
    Architecture::DenseNetBc { blocks: blocks.to_vec(), growth }
}

fn all_conv() -> Architecture {
    Architecture::AllConv { channels: vec![15, 20], activation: Activation::Relu }
}

#[test]
fn parameter_counts_are_those_of_the_papers() {
    assert_eq!(parameters(&mlp(30), [1, 14, 14], 10), 6_220);
    assert_eq!(parameters(&mlp(70), [1, 7, 7], 10), 4_210);
    assert_eq!(parameters(&mlp(64), [1, 8, 8], 10), 4_810);
    let convnet = Architecture::ConvNet { channels: [8, 8, 16, 16], activation: Activation::Relu };
    assert_eq!(parameters(&convnet, [1, 8, 8], 10), 4_802);
    let resnet = |final_norm| Architecture::PreactResNet18 { width: 64, final_norm };
    assert_eq!(parameters(&resnet(true), COLOUR, 10), 11_172_170);
    assert_eq!(parameters(&resnet(false), COLOUR, 10), 11_171_146);
    let vgg = |batch_norm| Architecture::Vgg16 { width: 64, batch_norm };
    assert_eq!(parameters(&vgg(false), COLOUR, 10), 14_719_818);
    assert_eq!(parameters(&vgg(true), COLOUR, 10), 14_728_266);
    assert_eq!(parameters(&densenet(&[6, 12, 24, 16], 12), COLOUR, 10), 1_000_618);
    assert_eq!(parameters(&densenet(&[6, 12, 24, 16], 12), COLOUR, 100), 1_035_268);
    assert_eq!(parameters(&all_conv(), COLOUR, 10), 4_950);
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
    assert_eq!(model.declared().norms[16], "bn");
    let names = |architecture: &Architecture| -> Vec<String> {
        let model = architecture.build(COLOUR, 10).unwrap();
        model.layout().parts().iter().map(|part| part.name.clone()).collect()
    };
    let vgg = names(&Architecture::Vgg16 { width: 1, batch_norm: true });
    assert_eq!(vgg[..3], ["features.0.weight", "features.0.bias", "features.1.weight"]);
    assert_eq!(vgg[8], "features.7.weight", "a pool has a number of its own");
    assert_eq!(
        vgg[vgg.len() - 4..],
        ["features.41.weight", "features.41.bias", "classifier.weight", "classifier.bias"]
    );
    let plain = names(&Architecture::Vgg16 { width: 1, batch_norm: false });
    assert_eq!(plain[plain.len() - 3..], ["features.28.bias", "classifier.weight", "classifier.bias"]);
    let dense = names(&densenet(&[1, 2], 2));
    assert_eq!(dense[1..4], ["dense1.0.bn1.weight", "dense1.0.bn1.bias", "dense1.0.conv1.weight"]);
    assert_eq!(dense[7..10], ["trans1.bn.weight", "trans1.bn.bias", "trans1.conv.weight"]);
    assert_eq!(names(&all_conv())[4..], ["conv3.weight", "conv3.bias"]);
}

#[test]
fn norms_are_declared_in_the_order_in_which_a_forward_pass_comes_to_them() {
    // Widths differ from norm to norm wherever two could change places.
    let models = [
        (Architecture::PreactResNet18 { width: 1, final_norm: true }, [1, 8, 8]),
        (Architecture::Vgg16 { width: 1, batch_norm: true }, [1, 32, 32]),
        (densenet(&[2, 3, 1], 3), [2, 9, 7]),
    ];
    for (architecture, image) in models {
        let model = architecture.build(image, 3).unwrap();
        let theta = model.init(&Stream::new(0, "init"), DType::F64, &Device::Cpu).unwrap();
        let part = |index| Jet::constant(Var::constant(theta.view(index).unwrap()));
        let params = Weights::Jets((0..model.layout().parts().len()).map(part).collect());
        let images = Tensor::ones((2, image[1], image[2], image[0]), DType::F64, &Device::Cpu).unwrap();
        let mut moments = Vec::new();
        let images = Jet::constant(Var::constant(images));
        model.forward(&params, &images, &mut Norm::Collect(&mut moments)).unwrap();
        let widths: Vec<usize> = moments.iter().map(|moments| moments.mean.elem_count()).collect();
        let width = |name: &String| {
            let weight = format!("{name}.weight");
            model.layout().parts().iter().find(|part| part.name == weight).unwrap().len()
        };
        assert_eq!(widths, model.declared().norms.iter().map(width).collect::<Vec<_>>(), "{architecture:?}");
    }
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
    let vgg = Architecture::Vgg16 { width: 2, batch_norm: true };
    let refused = vgg.build([3, 32, 31], 10).err().unwrap().to_string();
    assert_eq!(refused, "no `vgg16` of width 2 for images [3, 32, 31]: they are at least 32 × 32");
    assert!(densenet(&[1, 1, 1, 1], 2).build([1, 8, 7], 10).is_err());
    assert!(densenet(&[1, 1, 1], 2).build([1, 4, 7], 10).is_ok());
    assert!([&[][..], &[1, 0], &[1; 70]].iter().all(|blocks| densenet(blocks, 2).build([1, 8, 8], 10).is_err()));
    assert!(densenet(&[1], 0).build([1, 8, 8], 10).is_err());
    let none = Architecture::AllConv { channels: vec![3, 0], activation: Activation::Relu };
    assert!(none.build([1, 8, 8], 10).is_err());
}
