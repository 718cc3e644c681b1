//! The machine: its cores, and its GPUs, which are looked for when something asks for one.

use std::sync::{Arc, OnceLock};

use crate::execute::{Device, Means, arithmetic};
use crate::key::Arithmetic;
use crate::ml::card::{Cards, LEAST, Model, has_driver};
use crate::schedule::{Gpu, Gpus, Place, Pool};
use crate::stages::card::{Queue, queues, usable};

/// How many actions share a GPU at most: what one leaves idle between its kernels another uses, and more find little.
const QUEUES: usize = 4;

/// The GPUs of this machine, or simulated ones.
#[derive(Clone)]
pub struct Machine {
    cards: Cards,
    found: Arc<OnceLock<Result<Vec<Model>, String>>>,
}

impl Machine {
    /// A machine with these cards.
    pub fn new(cards: Cards) -> Self {
        Self { cards, found: Arc::default() }
    }

    fn models(&self) -> &Result<Vec<Model>, String> {
        self.found.get_or_init(|| self.cards.models().map_err(|missing| missing.to_string()))
    }

    /// The backend that runs what names none.
    pub fn backend(&self) -> &'static str {
        if self.models().is_ok() { "cuda" } else { "cpu" }
    }

    /// Why GPUs that are there cannot be used, if they were looked for.
    pub fn complaint(&self) -> Option<String> {
        let problem = self.found.get()?.as_ref().err()?;
        (matches!(self.cards, Cards::Cuda) && has_driver())
            .then(|| format!("the GPUs of this machine are not used: {problem}"))
    }

    /// Its places: so many on the CPU, and a few on each GPU.
    pub fn pool(&self, jobs: usize) -> Pool {
        let machine = self.clone();
        Pool::cpu(jobs, &arithmetic()).with_gpus(move || machine.gpus())
    }

    fn gpus(&self) -> Gpus {
        let gpu = |(ordinal, model): (usize, &Model)| {
            let arithmetic = Arithmetic { backend: "cuda".to_owned(), features: model.arithmetic.clone() };
            let place = |(queue, means): (usize, Arc<Queue>)| {
                let means: Arc<dyn Means> = means;
                Place { device: Device::Cuda { ordinal, queue }, arithmetic: arithmetic.clone(), means: Some(means) }
            };
            let places = queues(&self.cards, ordinal, QUEUES).enumerate().map(place).collect();
            Gpu { bytes: usable(model.bytes), places }
        };
        let fit = |(_, model): &(usize, &Model)| model.capability >= LEAST;
        self.models().clone().map(|models| models.iter().enumerate().filter(fit).map(gpu).collect())
    }
}
