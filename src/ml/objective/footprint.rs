//! How much of a card's memory an objective needs, found by running its passes on a card that does nothing but count.

use std::sync::Arc;

use super::{DIRECTIONS, NoInterrupt, Objective, Placement};
use crate::ml::Result;
use crate::ml::card::{Blank, Numeric};
use crate::ml::data::Dataset;
use crate::ml::loss::Loss;
use crate::ml::models::Model;
use crate::ml::params::{Signs, Theta};
use crate::ml::rng::Stream;
use crate::ml::tensor::{DType, Device, Tensor};

/// What an objective needs of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the data set, which stay.
    pub data: usize,
    /// Bytes of the largest pass beside that: a gradient, a product with the Hessian, or as many quadratic forms as share a pass.
    pub pass: usize,
    /// Bytes of one vector of the length of θ.
    pub vector: usize,
}

/// The size of a function: how many samples of which shape and how many classes, in chunks of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Samples of the training set.
    pub samples: usize,
    /// Channels, height and width of one.
    pub shape: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Samples in a chunk.
    pub chunk: usize,
}

/// What the function of a model over so much data needs of a card.
///
/// # Errors
/// Those of [`Objective::new`].
pub fn footprint(
    model: &Arc<dyn Model>,
    loss: Loss,
    extent: Extent,
    dtype: DType,
    numeric: Numeric,
) -> Result<Footprint> {
    let (card, chunk) = (Blank::card().with_numeric(numeric), extent.chunk.min(extent.samples));
    let placement = Placement { dtype, device: Device::Card(card.clone()) };
    let sample: usize = extent.shape.iter().product();
    let Extent { shape, classes, .. } = extent;
    let data = Dataset { inputs: vec![0.0; chunk * sample], labels: vec![0; chunk], shape, classes };
    let width = placement.computed().size_in_bytes();
    let objective = Objective::new(Arc::clone(model), loss, &data, chunk, placement)?;
    let n = model.layout().len();
    let theta = Theta::new(Arc::clone(model.layout()), Tensor::zeros(n, dtype, &Device::Card(card.clone()))?)?;
    let v = theta.flat().clone();
    let signs: Vec<Signs> =
        (0..DIRECTIONS as u32).map(|i| Signs::draw(&mut Stream::new(0, "probe").at(0, i), n)).collect();
    let passes: [&dyn Fn() -> Result<()>; 3] = [
        &|| objective.gradient(&theta, &NoInterrupt).map(|_| ()),
        &|| objective.hvp(&theta, &v, &NoInterrupt).map(|_| ()),
        &|| objective.quadratic_forms(&theta, &signs[..], &NoInterrupt).map(|_| ()),
    ];
    let before = card.memory().used;
    let mut pass = 0;
    for run in passes {
        card.restart_peak();
        run()?;
        pass = pass.max(card.memory().peak - before);
    }
    Ok(Footprint { data: extent.samples * sample * width, pass, vector: n * dtype.size_in_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::card::Simulated;
    use crate::ml::models::{Activation, Architecture};

    #[test]
    fn a_pass_needs_on_a_card_what_was_counted_without_one() {
        let architecture = Architecture::ConvNet { channels: [2, 3, 3, 2], activation: Activation::Relu };
        let (shape, classes) = ([2, 6, 5], 3);
        let model = architecture.build(shape, classes).unwrap();
        let loss = Loss::SmoothedCrossEntropy { smoothing: 0.1 };
        let extent = Extent { samples: 5, shape, classes, chunk: 3 };
        let counted = footprint(&model, loss, extent, DType::F32, Numeric::F32).unwrap();
        let card = Simulated::new(1 << 26).card();
        let device = Device::Card(card.clone());
        let data = Dataset { inputs: vec![0.5; 5 * 60], labels: vec![1; 5], shape, classes };
        let placement = Placement { dtype: DType::F32, device: device.clone() };
        let theta = model.init(&Stream::new(1, "init"), DType::F32, &Device::Cpu).unwrap();
        let flat = theta.flat().to_device(&device).unwrap();
        let theta = Theta::new(Arc::clone(model.layout()), flat).unwrap();
        let objective = Objective::new(Arc::clone(&model), loss, &data, 3, placement).unwrap();
        let before = card.memory().used;
        card.restart_peak();
        objective.gradient(&theta, &NoInterrupt).unwrap();
        let signs: Vec<Signs> =
            (0..8).map(|i| Signs::draw(&mut Stream::new(0, "probe").at(0, i), theta.len())).collect();
        objective.quadratic_forms(&theta, &signs[..], &NoInterrupt).unwrap();
        objective.hvp(&theta, theta.flat(), &NoInterrupt).unwrap();
        assert_eq!(card.memory().peak - before, counted.pass);
        assert_eq!((counted.data, counted.vector), (5 * 60 * 4, theta.len() * 4));
        let halved = footprint(&model, loss, Extent { chunk: 1, ..extent }, DType::F32, Numeric::F32).unwrap();
        assert!(halved.pass < counted.pass);
    }
}
