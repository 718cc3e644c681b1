//! The parameters of a network as one pass has them.

use std::borrow::Cow;

use super::Result;
use crate::ml::jet::{Jet, Order};
use crate::ml::params::{Layout, Signs};
use crate::ml::tape::Var;

/// The parts of θ as jets, in the layout's order.
#[derive(Debug)]
pub enum Weights<'a> {
    /// As they are.
    Jets(Vec<Jet>),
    /// Along signs, which become numbers when a layer asks for its part: no direction is there as a whole.
    AlongSigns {
        /// The parts of θ.
        values: Vec<Var>,
        /// Their layout.
        layout: &'a Layout,
        /// The directions.
        signs: Vec<Signs>,
        /// How far the jets are carried.
        order: Order,
    },
}

impl Weights<'_> {
    /// Part `index`.
    ///
    /// # Errors
    /// [`Error::Shape`](super::Error::Shape) for signs of another layout.
    pub fn part(&self, index: usize) -> Result<Cow<'_, Jet>> {
        match self {
            Self::Jets(jets) => Ok(Cow::Borrowed(&jets[index])),
            Self::AlongSigns { values, layout, signs, order } => {
                let value = &values[index];
                let (dtype, device) = (value.value().dtype(), value.value().device());
                let part = |signs: &Signs| Ok(Var::constant(signs.part(layout, index, dtype, &device)?));
                let parts = signs.iter().map(part).collect::<Result<Vec<_>>>()?;
                Ok(Cow::Owned(Jet::line(value.clone(), parts, *order)))
            }
        }
    }
}
