//! A stage's fingerprint, given what is above it, and the record that goes with it.

use std::collections::BTreeMap;

use super::World;
use crate::key::{Fingerprint, Input, Inputs, Outputs, Record, Sort, Value, Walk};
use crate::manifest::{Instance, Study};

/// Whether a stage's record is there.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// It is: nothing of the stage runs.
    Fresh {
        /// Its record.
        record: Box<Record>,
        /// The backend it was made on.
        backend: &'static str,
    },
    /// It is not.
    Stale {
        /// What it would be recorded under.
        fingerprint: Fingerprint,
        /// The backend it will run on.
        backend: &'static str,
    },
}

/// What instance `i` is given, or `None` while something above it has no outputs.
pub fn inputs_of<'a>(study: &Study, i: usize, outputs: impl Fn(usize) -> Option<&'a Outputs>) -> Option<Inputs> {
    let mut inputs = Inputs::new();
    for edge in &study.instances[i].inputs {
        let mut given = Vec::with_capacity(edge.upstream.len());
        for &upstream in &edge.upstream {
            let instance = &study.instances[upstream];
            given.push(Input {
                instance: instance.name.clone(),
                stage: instance.stage.clone(),
                kind: instance.kind.name().to_owned(),
                labels: instance.labels.clone(),
                outputs: outputs(upstream)?.clone(),
            });
        }
        inputs.insert(edge.field.clone(), given);
    }
    Some(inputs)
}

/// Finds the record of a stage whose inputs are known. `device = "auto"` is resolved here, once per stage: a complete CUDA record,
/// else a complete CPU record, else the backend that will run.
pub fn resolve(instance: &Instance, inputs: &Inputs, world: &dyn World) -> Resolved {
    let Some(declared) = device_of(instance) else {
        return resolve_on("cpu", instance, inputs, world);
    };
    let device = match &*declared {
        // What only a card computes is not looked for elsewhere.
        "auto" if world.device() == "auto" && wants_card(instance) => "cuda",
        "auto" => world.device(),
        declared => declared,
    };
    match device.split(':').next() {
        Some("cuda") => resolve_on("cuda", instance, inputs, world),
        Some("cpu") => resolve_on("cpu", instance, inputs, world),
        _ => ["cuda", "cpu"]
            .into_iter()
            .map(|backend| resolve_on(backend, instance, inputs, world))
            .find(|resolved| matches!(resolved, Resolved::Fresh { .. }))
            .unwrap_or_else(|| resolve_on(world.backend(), instance, inputs, world)),
    }
}

/// The backend that a stage will run on, whose record is not there on any.
pub fn backend_of(instance: &Instance, world: &dyn World) -> &'static str {
    let Some(declared) = device_of(instance) else { return "cpu" };
    let device = if declared == "auto" { world.device() } else { &declared };
    match device.split(':').next() {
        Some("cuda") => "cuda",
        Some("cpu") => "cpu",
        _ if wants_card(instance) => "cuda",
        _ => world.backend(),
    }
}

/// The GPU that a stage is to run on, if it, or the command line for it, names one.
pub fn ordinal_of(instance: &Instance, world: &dyn World) -> Option<usize> {
    let declared = device_of(instance)?;
    let device = if declared == "auto" { world.device() } else { &declared };
    device.strip_prefix("cuda:")?.parse().ok()
}

fn resolve_on(backend: &'static str, instance: &Instance, inputs: &Inputs, world: &dyn World) -> Resolved {
    let fingerprint = fingerprint(instance, backend, inputs, world);
    match world.record(&fingerprint.key()) {
        Some(record) => Resolved::Fresh { record: Box::new(record), backend },
        None => Resolved::Stale { fingerprint, backend },
    }
}

/// Every ingredient of a stage's key: its kind, identities and horizons, the backend unless it is the CPU, the digests of the
/// outputs that it uses, and the files that it names, by content. A gathering reference also brings its instances' places on their
/// axes, which become legends and panels. An input whose place the stage can see enters under that.
fn fingerprint(instance: &Instance, backend: &str, inputs: &Inputs, world: &dyn World) -> Fingerprint {
    let mut fingerprint = Fingerprint::stage(instance.kind.name(), instance.kind.version());
    instance.params.walk(&mut fingerprint);
    if backend != "cpu" {
        fingerprint.params.insert("backend".to_owned(), Value::Text(backend.to_owned()));
    }
    for edge in &instance.inputs {
        let given = &inputs[&edge.field];
        let uses = instance.kind.uses(&edge.field);
        for (n, input) in given.iter().enumerate() {
            let place = if edge.gathered { format!("{}#{n}", edge.field) } else { edge.field.clone() };
            for (name, output) in &input.outputs {
                if uses.is_empty() || uses.contains(&name.as_str()) {
                    let placed = instance.kind.place(&edge.field, input, name);
                    let named = placed.map(|at| format!("{} {at}", edge.field));
                    fingerprint.inputs.insert(named.unwrap_or_else(|| format!("{place}.{name}")), output.digest);
                }
            }
        }
        if edge.gathered {
            let labels: Vec<BTreeMap<&String, &String>> =
                given.iter().map(|input| input.labels.iter().map(|(axis, label)| (axis, label)).collect()).collect();
            fingerprint.params.insert(format!("{} axes", edge.field), Value::of(&labels));
        }
    }
    for file in instance.params.files() {
        if let Some(digest) = file.paths().find_map(|path| world.digest_file(&path)) {
            fingerprint.inputs.insert(format!("file {}", file.name), digest);
        }
    }
    fingerprint
}

/// Whether a stage asks for a way to compute that only a card has: any value of `numeric` but the default is shown.
fn wants_card(instance: &Instance) -> bool {
    struct Find(bool);
    impl Walk for Find {
        fn parameter(&mut self, name: &'static str, _: Sort, value: Option<Value>) {
            self.0 |= name == "numeric" && value.is_some();
        }
    }
    let mut find = Find(false);
    instance.params.walk(&mut find);
    find.0
}

/// What a stage says of where it runs; `None` where its kind computes nothing that depends on it.
fn device_of(instance: &Instance) -> Option<String> {
    struct Find(Option<String>);
    impl Walk for Find {
        fn parameter(&mut self, name: &'static str, sort: Sort, value: Option<Value>) {
            if let ("device", Sort::Execution, Some(Value::Text(device))) = (name, sort, value) {
                self.0 = Some(device);
            }
        }
    }
    let mut find = Find(None);
    instance.params.walk(&mut find);
    find.0
}
