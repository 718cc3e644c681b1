//! The trace of each diagonal block, one block for each part of θ: with one product Av, vₗᵀ(Av)ₗ has mean tr Aₗₗ for every
//! part l at once. A product costs about two quadratic forms whatever the number of parts; a form of a probe that is
//! restricted to one part has a smaller variance, but there are as many of them as parts.

use super::operator::SymmetricOperator;
use super::trace::Probes;
use crate::ml::Result;
use crate::ml::ops::reduce;
use crate::ml::params::Layout;

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

#[cfg(test)]
mod tests {
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
        let other = Layout::new([("a".to_owned(), vec![59])]);
        assert!(layer_forms(&matrix, &other, &probes(0), 0).is_err());
    }
}
