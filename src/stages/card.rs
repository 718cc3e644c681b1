//! What a place on a GPU is to the science: a card that is opened when the first action runs there, and what actions need of one.

use std::sync::{Arc, Mutex, PoisonError};

use super::setting::{self, CHUNK, DTYPE, LOSS, NUMERIC};
use crate::execute::{ActionContext, Failure, Footprint, Means};
use crate::ml::card::{Card, Cards, Fault, Numeric};
use crate::ml::models::Architecture;
use crate::ml::objective::footprint::{self, Extent};
use crate::ml::tensor::DType;

/// Vectors of the length of θ that an action has beside a pass, unless it says more: θ, a gradient, a buffer, and what is made of them.
const VECTORS: u64 = 12;

/// Bytes that the vendor's libraries keep to work in.
const WORKSPACE: u64 = 1 << 30;

/// One queue of work on one GPU.
pub struct Queue {
    cards: Cards,
    ordinal: usize,
    card: Mutex<Option<Card>>,
}

impl Queue {
    /// A queue on the GPU of this number, not yet opened.
    pub fn new(cards: Cards, ordinal: usize) -> Self {
        Self { cards, ordinal, card: Mutex::new(None) }
    }

    /// The card, opened now if it was not.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn card(&self) -> Result<Card, Fault> {
        let mut slot = self.card.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = &*slot {
            return Ok(card.clone());
        }
        Ok(slot.insert(self.cards.open(self.ordinal)?).clone())
    }
}

impl Means for Queue {
    fn rest(&self, shared: bool) {
        // Whoever shares the GPU may want the memory that is kept here for the next action.
        if let Some(card) = self.card.lock().unwrap_or_else(PoisonError::into_inner).as_ref().filter(|_| shared) {
            card.trim();
        }
    }
}

/// What actions need of a card.
pub struct Footprints;

impl Footprint for Footprints {
    fn bytes(&self, group: &[ActionContext<'_>]) -> Result<u64, Failure> {
        let Some(cx) = group.first() else { return Ok(0) };
        let Some(needs) = of(cx, None)? else { return Ok(0) };
        // Lanczos keeps every vector of its run.
        let steps = cx.param("steps", 0u64).unwrap_or(0) + 2 * cx.param("rank", 0u64).unwrap_or(0);
        let vectors = VECTORS + steps + group.len() as u64;
        Ok((needs.data + needs.pass) as u64 + vectors * needs.vector as u64)
    }

    fn advice(&self, cx: &ActionContext<'_>, bytes: u64) -> Option<String> {
        let chunk = cx.param("chunk", CHUNK).ok()?;
        let fits = |chunk: u64| {
            let needs = of(cx, Some(chunk)).ok()??;
            let all = (needs.data + needs.pass) as u64 + VECTORS * needs.vector as u64;
            Some(all <= bytes)
        };
        let smaller = std::iter::successors(Some(chunk / 2), |chunk| Some(chunk / 2)).take_while(|&chunk| chunk > 0);
        for chunk in smaller {
            if fits(chunk)? {
                return Some(format!("with `chunk = {chunk}`, another function of θ, it would fit"));
            }
        }
        Some("not even a chunk of one sample would fit".to_owned())
    }
}

/// What an action's function needs, in its own chunks or in others; none of an action that is about no function.
fn of(cx: &ActionContext<'_>, chunk: Option<u64>) -> Result<Option<footprint::Footprint>, Failure> {
    if !cx.fingerprint().params.contains_key("model") || !cx.has("data") {
        return Ok(None);
    }
    let data = setting::dataset(cx, "data")?;
    let (architecture, loss) = (cx.required::<Architecture>("model")?, cx.param("loss", LOSS)?);
    let (dtype, numeric) = (dtype(cx)?, numeric(cx)?);
    let chunk = chunk.map_or_else(|| cx.param("chunk", CHUNK), Ok)? as usize;
    let extent = Extent { samples: data.len(), shape: data.shape, classes: data.classes, chunk };
    let name = format!("{architecture:?} {loss:?} {extent:?} {dtype:?} {numeric}");
    let counted = cx.memo(&name, || {
        let model = architecture.build(data.shape, data.classes)?;
        Ok(footprint::footprint(&model, loss, extent, dtype, numeric)?)
    })?;
    Ok(Some(*counted))
}

/// The element type of θ.
///
/// # Errors
/// A record of another program.
pub fn dtype(cx: &ActionContext<'_>) -> Result<DType, Failure> {
    Ok(if cx.param("dtype", DTYPE.to_owned())? == "f64" { DType::F64 } else { DType::F32 })
}

/// How a card computes.
///
/// # Errors
/// A record of another program.
pub fn numeric(cx: &ActionContext<'_>) -> Result<Numeric, Failure> {
    Ok(match &*cx.param("numeric", NUMERIC.to_owned())? {
        "tf32" => Numeric::Tf32,
        "bf16" => Numeric::Bf16,
        _ => Numeric::F32,
    })
}

/// Bytes of a GPU that actions may have, of all that it has: the rest is the driver's and the libraries'.
pub fn usable(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes - bytes / 16 - WORKSPACE.min(bytes / 16)
}

/// The places of a machine's GPUs, as many on each as may share it.
pub fn queues(cards: &Cards, ordinal: usize, count: usize) -> impl Iterator<Item = Arc<Queue>> {
    let cards = cards.clone();
    (0..count).map(move |_| Arc::new(Queue::new(cards.clone(), ordinal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::card::Simulation;

    #[test]
    fn what_one_queue_keeps_of_a_card_another_gets_once_the_first_is_asked() {
        let cards = Cards::Simulated(Simulation::new(1, 1 << 20));
        let [first, second] = [0; 2].map(|ordinal| Queue::new(cards.clone(), ordinal));
        drop(first.card().unwrap().room(700_000).unwrap());
        let there = second.card().unwrap();
        assert!(matches!(there.room(700_000), Err(Fault::OutOfMemory { .. })));
        first.rest(false);
        assert!(there.room(700_000).is_err());
        first.rest(true);
        assert!(there.room(700_000).is_ok());
        assert!(Queue::new(cards, 1).card().is_err());
    }
}
