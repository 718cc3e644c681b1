//! Actions of one kind under a lease. A device that is lost is not asked again, and another takes over where there is one; where others have
//! too much of a device's memory, the actions run once more when nobody has.

use std::time::Instant;

use super::{Action, ActionContext, ActionKind, Device, Engine, Failure, Lease, Produced, Wanted};
use crate::event::Event;
use crate::key::Arithmetic;

/// Where actions are to run, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Berth<'a> {
    /// The stage, where there is one.
    pub(super) stage: Option<&'a str>,
    /// `cpu` or `cuda`.
    pub(super) backend: &'a str,
    /// The GPU that the user named.
    pub(super) ordinal: Option<usize>,
}

/// What a group of actions made, in how many seconds each, and what with.
pub(super) struct Ran {
    pub(super) produced: Vec<Produced>,
    pub(super) seconds: f64,
    pub(super) arithmetic: Arithmetic,
}

impl Engine {
    /// Runs actions of one kind; `begun` is told whenever they begin.
    pub(super) fn run_group(
        &self,
        berth: Berth<'_>,
        kind: &dyn ActionKind,
        actions: &[&Action],
        begun: &dyn Fn(),
    ) -> Result<Ran, Failure> {
        let mut alone = false;
        loop {
            let wanted = self.wanted(berth, actions, alone)?;
            let lease = self.devices.lease(&wanted, &|| self.cancel.raised())?;
            if alone {
                // What others keep on the device, now that none of them runs there, is in the way.
                self.memo.forget();
                self.devices.spare(lease.device());
            }
            begun();
            let start = Instant::now();
            let contexts: Vec<_> = actions.iter().map(|action| self.action_context(action, &*lease)).collect();
            match kind.run_group(&contexts) {
                Ok(produced) => {
                    let seconds = start.elapsed().as_secs_f64() / actions.len() as f64;
                    return Ok(Ran { produced, seconds, arithmetic: lease.arithmetic().clone() });
                }
                Err(Failure::Lost(problem)) => {
                    self.devices.retire(lease.device());
                    drop(contexts);
                    self.memo.forget();
                    if self.devices.places(berth.backend) == 0 || berth.ordinal.is_some() {
                        return Err(Failure::Lost(problem));
                    }
                    let message = format!("{problem}; its actions go on elsewhere");
                    self.events.emit(Event::Warning { stage: berth.stage.map(str::to_owned), message });
                }
                Err(Failure::Memory(_)) if !alone => alone = true,
                Err(Failure::Memory(problem)) => return Err(self.too_large(&contexts[0], problem)),
                Err(problem) => return Err(problem),
            }
        }
    }

    /// What some actions want of a device.
    fn wanted<'b>(&self, berth: Berth<'b>, actions: &[&Action], alone: bool) -> Result<Wanted<'b>, Failure> {
        let wanted = Wanted { backend: berth.backend, ordinal: berth.ordinal, bytes: u64::MAX };
        if alone || berth.backend == Device::Cpu.backend() {
            return Ok(wanted);
        }
        let context = |action| ActionContext { action, engine: self, device: Device::Cpu, means: None };
        let contexts: Vec<_> = actions.iter().map(|action| context(action)).collect();
        Ok(Wanted { bytes: self.footprint.bytes(&contexts)?, ..wanted })
    }

    fn too_large(&self, cx: &ActionContext<'_>, problem: String) -> Failure {
        let bytes = self.devices.memory(cx.device());
        let advice = self.footprint.advice(cx, bytes).map_or_else(String::new, |advice| format!("; {advice}"));
        Failure::Work(problem + &advice)
    }

    /// The context of an action that runs under a lease.
    fn action_context<'a>(&'a self, action: &'a Action, lease: &dyn Lease) -> ActionContext<'a> {
        ActionContext { action, engine: self, device: lease.device(), means: lease.means().cloned() }
    }
}
