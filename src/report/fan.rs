//! Several sinks that hear the same.

use std::sync::Arc;

use crate::event::{Event, Sink};

/// Gives each event to each of its sinks, in their order.
#[derive(Clone, Default)]
pub struct Fan {
    sinks: Vec<Arc<dyn Sink>>,
}

impl Fan {
    /// A fan of these sinks; whoever wants to ask one afterwards keeps another `Arc` of it.
    pub fn new(sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self { sinks }
    }
}

impl Sink for Fan {
    fn emit(&self, event: Event) {
        if let [most @ .., last] = &self.sinks[..] {
            for sink in most {
                sink.emit(event.clone());
            }
            last.emit(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tally;
    use super::*;

    #[test]
    fn every_sink_hears_every_event() {
        let tallies: [Arc<Tally>; 3] = Default::default();
        let fan = Fan::new(tallies.iter().map(|tally| Arc::clone(tally) as Arc<dyn Sink>).collect());
        for message in ["a", "b"] {
            fan.emit(Event::Warning { stage: None, message: message.into() });
        }
        assert!(tallies.iter().all(|tally| tally.counts().warnings.len() == 2));
    }
}
