//! What a stage is given: the outputs of the stages that it refers to.

use std::collections::BTreeMap;

use super::Output;

/// The outputs of a stage, by name.
pub type Outputs = BTreeMap<String, Output>;

/// One upstream stage instance and what it made.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The instance's name: `train[model=mlp]`.
    pub instance: String,
    /// The declared stage: `train`.
    pub stage: String,
    /// The kind of that stage.
    pub kind: String,
    /// Its place on each matrix axis, in the axes' order.
    pub labels: Vec<(String, String)>,
    /// What it made.
    pub outputs: Outputs,
}

/// Upstream instances by the field that refers to them, in the manifest's order.
pub type Inputs = BTreeMap<String, Vec<Input>>;

/// The upstream instances behind a field; none where it was left out.
pub fn behind<'a>(inputs: &'a Inputs, field: &str) -> &'a [Input] {
    inputs.get(field).map_or(&[], Vec::as_slice)
}
