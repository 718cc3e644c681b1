//! The trace of each diagonal block, one block for each part of θ: with one product Av, vₗᵀ(Av)ₗ has mean tr Aₗₗ for every
//! part l at once. A product costs about two quadratic forms whatever the number of parts; a form of a probe that is
//! restricted to one part has a smaller variance, but there are as many of them as parts.

use super::operator::SymmetricOperator;
use super::trace::Probes;
use super::vectors::vector;
use crate::ml::Result;
use crate::ml::ops::{elementwise, reduce};
use crate::ml::params::{Layout, Theta};

/// vₗᵀ(Av)ₗ of each part, in the layout's order, for probe `index`; their sum is vᵀAv.
///
/// # Errors
/// Those of [`SymmetricOperator::apply`]; [`Error::Shape`](crate::ml::Error::Shape) for a layout of another length.
pub fn layer_forms(operator: &dyn SymmetricOperator, layout: &Layout, probes: &Probes, index: u32) -> Result<Vec<f64>> {
    let probe = probes.probe(index, operator.len(), operator.placement())?;
    layout.check(&probe)?;
    let product = operator.apply(&probe)?;
    let form = |part: &crate::ml::params::Part| {
        reduce::dot(&probe.narrow(0, part.offset, part.len())?, &product.narrow(0, part.offset, part.len())?)
    };
    layout.parts().iter().map(form).collect()
}

/// For the probes of these indices, (Dv)ᵀADv with ‖θₗ‖ on the diagonal of D in each part l: their mean is Σ ‖θₗ‖² tr Aₗₗ. It does not change
/// where a part that batch norm makes free of scale is rescaled, as tr A does.
///
/// # Errors
/// Those of [`SymmetricOperator::quadratic_forms`].
pub fn scaled_forms(
    operator: &dyn SymmetricOperator,
    theta: &Theta,
    probes: &Probes,
    indices: &[u32],
) -> Result<Vec<f64>> {
    let mut scales = Vec::with_capacity(theta.len());
    for (index, part) in theta.layout().parts().iter().enumerate() {
        let values = theta.view(index)?;
        scales.extend(std::iter::repeat_n(reduce::dot(&values, &values)?.sqrt(), part.len()));
    }
    let scales = vector(scales, operator.placement())?;
    probes.mapped_forms(operator, indices, |probe| elementwise::mul(probe, &scales))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::ml::tensor::{DType, Device};

    use super::super::testing::{Explicit, assert_honest, network_like};
    use super::super::trace::{Distribution, Estimate};
    use super::*;
    use crate::ml::rng::Stream;

    #[test]
    fn each_block_has_its_own_trace_and_they_add_up() {
        let matrix = Explicit::with_spectrum(&network_like(60), 3);
        let layout = Layout::new([("a".to_owned(), vec![5, 7]), ("b".to_owned(), vec![25])]);
        let probes = |seed| Probes { stream: Stream::new(seed, "probe"), distribution: Distribution::Rademacher };
        let forms = |seed, index| layer_forms(&matrix, &layout, &probes(seed), index).unwrap();
        let whole = probes(0).forms(&matrix, &[3]).unwrap()[0];
        assert!((forms(0, 3).iter().sum::<f64>() - whole).abs() < 1e-12);
        let blocks = [0..35, 35..60].map(|block| block.map(|i| matrix.matrix.at(i, i)).sum::<f64>());
        for (part, block) in blocks.into_iter().enumerate() {
            let repeat =
                |seed| Estimate::of(&(0..20).map(|index| forms(seed, index)[part]).collect::<Vec<_>>()).unwrap();
            assert_honest("block", block, &(0..400).map(repeat).collect::<Vec<_>>());
        }
        // Scaled by the norms of the parts: Σ ‖θₗ‖² tr Aₗₗ.
        let [first, second] = [2.0f64, 0.3];
        let values = (0..60).map(|i| if i < 35 { first / 35f64.sqrt() } else { second / 5.0 });
        let theta = Theta::from_values(Arc::new(layout.clone()), values, DType::F64, &Device::Cpu).unwrap();
        let repeat = |seed| {
            let indices: Vec<u32> = (0..20).collect();
            Estimate::of(&scaled_forms(&matrix, &theta, &probes(seed), &indices).unwrap()).unwrap()
        };
        let expected = [0..35, 35..60].map(|block| block.map(|i| matrix.matrix.at(i, i)).sum::<f64>());
        let expected = first * first * expected[0] + second * second * expected[1];
        assert_honest("scaled", expected, &(0..400).map(repeat).collect::<Vec<_>>());
        let other = Layout::new([("a".to_owned(), vec![59])]);
        assert!(layer_forms(&matrix, &other, &probes(0), 0).is_err());
    }
}
