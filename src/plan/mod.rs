//! The plan: which stages are fresh, which are stale and why, which wait for those. It is pure: records, file digests and the last
//! run are asked for through [`World`], and there is no clock.
//!
//! Planning never guesses. A stage whose inputs are known is *fresh*, or *stale* with a typed reason against the record that this
//! stage last had; one below a stale stage is *pending*: its inputs are not known before those above it have run.
//!
//! Reading order: `resolve` (a stage's fingerprint and its record), `reason`, `graph`, `render`.

mod graph;
mod reason;
mod render;
mod resolve;

pub use graph::Graph;
pub use reason::Reason;
pub use resolve::{Resolved, backend_of, inputs_of, ordinal_of, resolve};

use crate::key::{Fingerprint, Key, Outputs};
use crate::manifest::{Forecast, Foresight, Known, Study};

/// What planning asks of the rest of the world.
pub trait World: Known {
    /// The key that a stage instance had when it last ran in this study and profile.
    fn last(&self, instance: &str) -> Option<Key>;

    /// What `device = "auto"` is to mean in this run: `auto`, or what the command line says.
    fn device(&self) -> &str;

    /// The backend that a stage left to choose would run on, here and now.
    fn backend(&self) -> &'static str;
}

/// What a run would do with one stage.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Its record is there.
    Fresh {
        /// Its key.
        key: Key,
    },
    /// Its inputs are known and its record is not there.
    Stale {
        /// The key it will have.
        key: Key,
        /// What that key is made of.
        fingerprint: Box<Fingerprint>,
        /// What differs from when it last ran.
        reasons: Vec<Reason>,
        /// What will run, as far as it can be counted.
        forecast: Forecast,
    },
    /// Something above it is stale.
    Pending {
        /// The stale or pending instances directly above.
        because: Vec<usize>,
    },
}

/// What a run would do.
pub struct Plan<'a> {
    /// The study.
    pub study: &'a Study,
    /// The wanted instances with their standing, upstream first.
    pub stages: Vec<(usize, Standing)>,
}

impl<'a> Plan<'a> {
    /// Plans the `wanted` instances of a study; these include all that they need, in topological order.
    pub fn make(study: &'a Study, wanted: &[usize], world: &dyn World) -> Self {
        let mut outputs: Vec<Option<Outputs>> = vec![None; study.instances.len()];
        let mut stages = Vec::with_capacity(wanted.len());
        for &i in wanted {
            let instance = &study.instances[i];
            let standing = match inputs_of(study, i, |upstream| outputs[upstream].as_ref()) {
                None => {
                    let mut because: Vec<usize> = Vec::new();
                    for &upstream in instance.inputs.iter().flat_map(|edge| &edge.upstream) {
                        if outputs[upstream].is_none() && !because.contains(&upstream) {
                            because.push(upstream);
                        }
                    }
                    Standing::Pending { because }
                }
                Some(inputs) => match resolve(instance, &inputs, world) {
                    Resolved::Fresh { record, .. } => {
                        let key = record.key;
                        outputs[i] = Some(record.outputs);
                        Standing::Fresh { key }
                    }
                    Resolved::Stale { fingerprint, backend } => {
                        let foresight = Foresight { inputs: &inputs, backend, known: world };
                        Standing::Stale {
                            key: fingerprint.key(),
                            reasons: Reason::find(study, i, &fingerprint, world),
                            forecast: instance.kind.forecast(&*instance.params, &foresight),
                            fingerprint: Box::new(fingerprint),
                        }
                    }
                },
            };
            stages.push((i, standing));
        }
        Self { study, stages }
    }
}
