//! The passes over the chunks that every method of [`Objective`] is one of: forward along directions, and reverse.

use std::ops::Range;
use std::sync::Arc;

use crate::ml::tensor::Tensor;

use super::{Interrupt, Objective};
use crate::ml::card::Fault;
use crate::ml::jet::{Jet, Order};
use crate::ml::models::{Norm, Weights};
use crate::ml::ops::elementwise;
use crate::ml::params::{Directions, Theta};
use crate::ml::tape::{Tape, Var};
use crate::ml::{Error, Result};

/// Directions that share one value pass; their number bounds the memory of a pass and changes no result.
pub(in crate::ml) const DIRECTIONS: usize = 8;

impl Objective {
    /// The derivative of this order along each direction, summed over chunks.
    pub(super) fn along(
        &self,
        theta: &Theta,
        directions: Directions<'_>,
        order: Order,
        stop: &dyn Interrupt,
    ) -> Result<Vec<f64>> {
        let mut all = Vec::with_capacity(directions.len());
        for group in directions.groups(DIRECTIONS) {
            all.extend(self.along_few(theta, group, order, stop)?);
        }
        Ok(all)
    }

    /// The same in one pass, or where a card has no room for it, in two: how directions are grouped changes no bit.
    fn along_few(&self, theta: &Theta, group: Directions<'_>, order: Order, stop: &dyn Interrupt) -> Result<Vec<f64>> {
        match self.along_together(theta, group, order, stop) {
            Err(Error::Card(Fault::OutOfMemory { .. })) if group.len() > 1 => {
                let halves = group.groups(group.len().div_ceil(2));
                let few = halves.map(|half| self.along_few(theta, half, order, stop)).collect::<Result<Vec<_>>>()?;
                Ok(few.concat())
            }
            result => result,
        }
    }

    fn along_together(
        &self,
        theta: &Theta,
        group: Directions<'_>,
        order: Order,
        stop: &dyn Interrupt,
    ) -> Result<Vec<f64>> {
        let values = self.parts(theta)?.into_iter().map(Var::constant).collect();
        let params = self.lines(theta, values, group, order)?;
        let mut sums = vec![Total::of(name(order)); group.len()];
        for range in self.chunks(stop) {
            let derivatives = self.derivatives(&params, range?, order)?;
            for (sum, derivative) in sums.iter_mut().zip(derivatives) {
                sum.add(&self.mean(&derivative)?)?;
            }
        }
        sums.iter().map(Total::finite).collect()
    }

    /// The gradient of the derivative of this order along `v`.
    pub(super) fn reverse_along(
        &self,
        theta: &Theta,
        v: &Tensor,
        order: Order,
        stop: &dyn Interrupt,
    ) -> Result<Tensor> {
        let chunk = |params: &Weights<'_>, range| Ok(self.derivatives(params, range, order)?.remove(0));
        Ok(self.reverse(theta, Some((v, order)), name(order), stop, chunk)?.1)
    }

    /// A scalar of each chunk, summed and meant over the training set, and its gradient.
    pub(super) fn reverse(
        &self,
        theta: &Theta,
        along: Option<(&Tensor, Order)>,
        what: &'static str,
        stop: &dyn Interrupt,
        scalar: impl Fn(&Weights<'_>, Range<usize>) -> Result<Var>,
    ) -> Result<(f64, Tensor)> {
        let (mut sum, mut total) = (Total::of(what), None::<Tensor>);
        for range in self.chunks(stop) {
            let (tape, leaves, params) = self.leaves(theta, along)?;
            let share = self.mean(&scalar(&params, range?)?)?;
            drop(params);
            sum.add(&share)?;
            let gradient = flat(tape.backward(&share, &leaves)?)?;
            match &total {
                Some(total) => elementwise::accumulate(total, &gradient)?,
                None => total = Some(gradient),
            }
        }
        let total = total.ok_or_else(|| Error::Setting("an objective without chunks".to_owned()))?;
        Ok((sum.finite()?, total))
    }

    /// The logits of a chunk, batch norm by the chunk itself.
    pub(super) fn logits(&self, params: &Weights<'_>, range: Range<usize>) -> Result<Jet> {
        self.model.forward(params, &self.samples.images(range)?, &mut Norm::Batch)
    }

    /// The derivative of this order of a chunk's summed loss along each direction of the parameters.
    pub(super) fn derivatives(&self, params: &Weights<'_>, range: Range<usize>, order: Order) -> Result<Vec<Var>> {
        let logits = self.logits(params, range.clone())?;
        let classes = self.samples.classes(range)?;
        match order {
            Order::Two => self.loss.second(&logits, self.loss.targets(&classes)),
            Order::Zero | Order::One => self.loss.first(&logits, self.loss.targets(&classes)),
        }
    }

    pub(super) fn chunks(&self, stop: &dyn Interrupt) -> impl Iterator<Item = Result<Range<usize>>> {
        self.samples.chunks().map(move |range| poll(stop).map(|()| range))
    }

    /// The loss of a chunk, summed over its samples.
    pub(super) fn chunk_loss(&self, params: &Weights<'_>, range: Range<usize>) -> Result<Var> {
        let logits = self.logits(params, range.clone())?;
        self.loss.excess(logits.value(), self.loss.targets(&self.samples.classes(range)?))
    }

    /// A sum over samples as its share of the mean over the training set.
    pub(super) fn mean(&self, sum: &Var) -> Result<Var> {
        sum.scale(1.0 / self.len() as f64)
    }

    /// The parts of θ, which must be this objective's, in the type that is computed in.
    pub(super) fn parts(&self, theta: &Theta) -> Result<Vec<Tensor>> {
        let layout = self.model.layout();
        let same = Arc::ptr_eq(theta.layout(), layout) || theta.layout() == layout;
        if !same || theta.dtype() != self.placement.dtype {
            return Err(Error::Shape {
                operation: "objective",
                expected: format!("the model's {} parameters in {:?}", layout.len(), self.placement.dtype),
                found: format!("{} in {:?}", theta.len(), theta.dtype()),
            });
        }
        (0..layout.parts().len()).map(|index| theta.view(index)?.to_dtype(self.placement.computed())).collect()
    }

    pub(super) fn constants(&self, theta: &Theta) -> Result<Weights<'_>> {
        let constant = |part| Jet::constant(Var::constant(part));
        Ok(Weights::Jets(self.parts(theta)?.into_iter().map(constant).collect()))
    }

    /// The parts as leaves of a new tape, and as jets along `v` if there is one.
    pub(super) fn leaves<'a>(
        &'a self,
        theta: &Theta,
        along: Option<(&'a Tensor, Order)>,
    ) -> Result<(Tape, Vec<Var>, Weights<'a>)> {
        let tape = Tape::new();
        let leaves: Vec<Var> = self.parts(theta)?.into_iter().map(|part| tape.leaf(part)).collect();
        let params = match along {
            Some((v, order)) => self.lines(theta, leaves.clone(), std::slice::from_ref(v).into(), order)?,
            None => Weights::Jets(leaves.iter().cloned().map(Jet::constant).collect()),
        };
        Ok((tape, leaves, params))
    }

    /// The jets `value + t·v` of each part.
    pub(super) fn lines<'a>(
        &'a self,
        theta: &Theta,
        values: Vec<Var>,
        directions: Directions<'a>,
        order: Order,
    ) -> Result<Weights<'a>> {
        let layout = self.model.layout();
        directions.check(layout, theta.dtype())?;
        let vectors = match directions {
            Directions::Vectors(vectors) => vectors,
            Directions::Signs(signs) => {
                let signs = signs.iter().map(|signs| signs.on(&self.placement.device)).collect::<Result<_>>()?;
                return Ok(Weights::AlongSigns { values, layout, signs, order });
            }
        };
        let line = |(index, value)| {
            let part = |v: &Tensor| layout.view(v, index)?.to_dtype(self.placement.computed());
            let parts = vectors.iter().map(|v| part(v).map(Var::constant));
            Ok(Jet::line(value, parts.collect::<Result<Vec<_>>>()?, order))
        };
        Ok(Weights::Jets(values.into_iter().enumerate().map(line).collect::<Result<_>>()?))
    }
}

/// A sum over chunks that must be finite. On the CPU each share is looked at when it comes; on a card they are added up there, and only
/// whoever asks for the sum waits.
#[derive(Clone, Debug)]
pub(super) struct Total {
    what: &'static str,
    here: f64,
    there: Option<Tensor>,
}

impl Total {
    /// Nothing yet of what is called so.
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, here: 0.0, there: None }
    }

    pub(super) fn add(&mut self, share: &Var) -> Result<()> {
        if let Tensor::Host(_) = share.value() {
            self.here += share.finite(self.what)?;
            return Ok(());
        }
        self.there = Some(match &self.there {
            Some(sum) => elementwise::add_scaled(sum, share.value(), 1.0)?,
            None => share.value().clone(),
        });
        Ok(())
    }

    pub(super) fn finite(&self) -> Result<f64> {
        match &self.there {
            Some(sum) => Var::constant(sum.clone()).finite(self.what),
            None => Ok(self.here),
        }
    }
}

/// Whether to go on.
pub(in crate::ml) fn poll(stop: &dyn Interrupt) -> Result<()> {
    if stop.requested() { Err(Error::Interrupted) } else { Ok(()) }
}

fn name(order: Order) -> &'static str {
    match order {
        Order::Two => "the quadratic form",
        Order::Zero | Order::One => "the directional derivative",
    }
}

/// Gradients of the parts, one after the other.
pub(super) fn flat(parts: Vec<Tensor>) -> Result<Tensor> {
    let parts = parts.into_iter().map(|part| part.flatten_all()).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 0)
}
