//! Stages to instances: the natural join of what a stage's references lead to, times its own matrix.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diagnostic::Diagnostic;
use super::findings::Mention;
use super::matrix::{MOST, too_many};
use super::mention::{Condition, Target};
use super::overlay::those;
use super::source::Sources;
use super::stage::{Read, Stage};
use super::study::{InputEdge, Instance};

/// A combination of upstream instances that agree on the axes they share.
#[derive(Clone, Debug, Default)]
struct Row {
    labels: Vec<(String, String)>,
    /// One for each reference that leads to one instance.
    upstream: Vec<usize>,
}

/// The instances so far, and which of them are of which stage: those of one stage are added together.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    pub instances: Vec<Instance>,
    of_stage: BTreeMap<String, Range<usize>>,
}

impl Expanded {
    /// Whether the stage of this name has instances.
    pub fn has(&self, stage: &str) -> bool {
        self.of_stage.contains_key(stage)
    }

    /// Adds the instances of `stage` to those of the stages above it.
    pub fn add(&mut self, stage: &Stage, sources: &Sources, problems: &mut Vec<Diagnostic>) {
        let before = self.instances.len();
        let made = expand(stage, sources, self, problems);
        self.instances.extend(made);
        if self.instances.len() > before {
            self.of_stage.insert(stage.name.clone(), before..self.instances.len());
        }
    }

    fn pick(&self, target: &Target) -> Result<Vec<usize>, Diagnostic> {
        let of_stage = self.of_stage.get(&target.stage).cloned().unwrap_or_default();
        pick(&self.instances, of_stage.collect(), target)
    }
}

fn expand(stage: &Stage, sources: &Sources, above: &Expanded, problems: &mut Vec<Diagnostic>) -> Vec<Instance> {
    let mut made: Vec<(Vec<usize>, Instance)> = Vec::new();
    for variant in &stage.variants {
        let Some((rows, gathered)) = rows(stage, variant, above, problems) else { continue };
        for row in rows {
            let own = variant.labels.iter().filter(|(axis, _)| row.labels.iter().all(|(other, _)| other != axis));
            let labels: Vec<_> = row.labels.iter().chain(own).cloned().collect();
            let ones = variant.mentions.iter().filter(|(mention, _)| !mention.gathers).zip(&row.upstream);
            let ones = ones.map(|((mention, _), &one)| InputEdge {
                field: mention.field.clone(),
                upstream: vec![one],
                gathered: false,
            });
            let instance = Instance {
                name: name(&stage.name, &labels),
                stage: stage.name.clone(),
                labels,
                kind: stage.kind.clone(),
                params: variant.params.clone(),
                slurm: variant.slurm.clone(),
                inputs: ones.chain(gathered.iter().cloned()).collect(),
                origin: stage.origin,
                origins: variant.origins.iter().map(|(path, at)| (path.clone(), sources.describe(*at))).collect(),
            };
            made.push((row.upstream, instance));
        }
    }
    made.sort_by(|a, b| a.0.cmp(&b.0));
    made.into_iter().map(|(_, instance)| instance).collect()
}

/// What an instance is called: `train[model=mlp,seed=0]`.
fn name(stage: &str, labels: &[(String, String)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
    if labels.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", labels.join(",")) }
}

/// The rows of a variant and what it gathers; nothing if a reference leads nowhere. An axis of the stage's own that a reference brings as well
/// is joined on too: so it sets a field of this stage to the value that the stages above have.
fn rows(
    stage: &Stage,
    variant: &Read,
    above: &Expanded,
    problems: &mut Vec<Diagnostic>,
) -> Option<(Vec<Row>, Vec<InputEdge>)> {
    let mut picked = Vec::new();
    for (mention, target) in &variant.mentions {
        match above.pick(target) {
            Ok(upstream) => picked.push((mention, target, upstream)),
            Err(diagnostic) => problems.push(diagnostic),
        }
    }
    if picked.len() < variant.mentions.len() {
        return None;
    }
    let (gathering, ones): (Vec<_>, Vec<_>) = picked.into_iter().partition(|(mention, ..)| mention.gathers);
    let apart = held_apart(ones.iter().map(|(_, target, _)| *target));
    let inherits = |one: usize| above.instances[one].labels.iter().filter(|(axis, _)| !apart.contains(axis));
    let inherited: BTreeSet<&String> = ones
        .iter()
        .flat_map(|(_, _, upstream)| upstream)
        .flat_map(|&one| inherits(one))
        .map(|(axis, _)| axis)
        .collect();
    let twice = variant.labels.iter().filter(|(axis, _)| inherited.contains(axis)).cloned();
    let mut rows = vec![Row { labels: twice.collect(), upstream: Vec::new() }];
    for (mention, _, upstream) in &ones {
        let brought: Vec<_> = upstream.iter().flat_map(|&one| inherits(one)).collect();
        for (axis, label) in &variant.labels {
            let values: Vec<_> = brought.iter().filter(|(other, _)| other == axis).collect();
            if !values.is_empty() && values.iter().all(|(_, other)| other != label) {
                problems.push(nothing_in_common(stage, mention, (axis, label)));
                return None;
            }
        }
        let pairs = rows.iter().flat_map(|row| upstream.iter().map(move |&one| (row, one)));
        let joined = pairs.filter_map(|(row, one)| join(row, one, inherits(one)));
        let joined: Vec<Row> = joined.take(MOST / stage.variants.len().max(1) + 1).collect();
        if joined.len().saturating_mul(stage.variants.len()) > MOST {
            problems.push(too_many(mention.origin, "this reference, with those before it and the matrix,"));
            return None;
        }
        if joined.is_empty() {
            problems.push(disagreement(stage, mention));
            return None;
        }
        rows = joined;
    }
    let mut gathered: BTreeMap<&str, InputEdge> = BTreeMap::new();
    let mut seen: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (mention, _, upstream) in gathering {
        let new = || InputEdge { field: mention.field.clone(), upstream: Vec::new(), gathered: true };
        let edge = gathered.entry(&mention.field).or_insert_with(new);
        let seen = seen.entry(&mention.field).or_default();
        edge.upstream.extend(upstream.into_iter().filter(|one| seen.insert(*one)));
    }
    Some((rows, gathered.into_values().collect()))
}

fn join<'a>(row: &Row, one: usize, inherited: impl Iterator<Item = &'a (String, String)>) -> Option<Row> {
    let mut row = row.clone();
    for (axis, label) in inherited {
        match row.labels.iter().find(|(other, _)| other == axis) {
            Some((_, other)) if other != label => return None,
            Some(_) => {}
            None => row.labels.push((axis.clone(), label.clone())),
        }
    }
    row.upstream.push(one);
    Some(row)
}

/// Axes that two references of one stage hold to different values, as in `a = "train[seed=0]"`, `b = "train[seed=1]"`: they are neither
/// joined on nor inherited.
fn held_apart<'a>(targets: impl Iterator<Item = &'a Target>) -> Vec<String> {
    let held: Vec<&Condition> = targets.flat_map(|target| &target.filter).collect();
    let is_apart = |one: &&&Condition| held.iter().any(|other| other.axis == one.axis && other.label != one.label);
    held.iter().filter(is_apart).map(|one| one.axis.clone()).collect()
}

/// An axis that a stage has and inherits, with a value that what it refers to has not.
fn nothing_in_common(stage: &Stage, mention: &Mention, (axis, label): (&str, &str)) -> Diagnostic {
    let message = format!(
        "`{}` inherits the axis `{axis}`, and no instance of `{}` has the value `{label}`",
        stage.name, mention.text
    );
    let origin = stage.axes.iter().find(|own| own.name == axis).map_or(stage.origin, |own| own.origin);
    let diagnostic =
        Diagnostic::new(origin, message, "its own axis").also(mention.origin, format!("inherits `{axis}`"));
    diagnostic.help("an axis that a stage has and inherits is joined: its values are among those that it inherits")
}

fn disagreement(stage: &Stage, mention: &Mention) -> Diagnostic {
    let message = format!("nothing that `{}` refers to agrees on the axes that it shares", stage.name);
    let label = format!("no instance of `{}` fits the references before it", mention.text);
    Diagnostic::new(mention.origin, message, label)
}

/// The instances that a reference leads to, in their order, out of those of its stage: at least one.
///
/// # Errors
/// If the filter names an axis or a value that none of them has, or nothing is left.
pub(super) fn pick(instances: &[Instance], of_stage: Vec<usize>, target: &Target) -> Result<Vec<usize>, Diagnostic> {
    let labels = |axis: &str| {
        let all = of_stage.iter().flat_map(|&one| &instances[one].labels);
        let mut labels: Vec<&str> = all.filter(|(other, _)| other == axis).map(|(_, label)| label.as_str()).collect();
        let mut seen = BTreeSet::new();
        labels.retain(|label| seen.insert(*label));
        labels
    };
    for Condition { axis, label, origin } in &target.filter {
        let known = labels(axis);
        if of_stage.is_empty() {
            break;
        } else if known.is_empty() {
            let message = format!("`{}` has no axis `{axis}`", target.stage);
            let axes: BTreeSet<&str> =
                of_stage.iter().flat_map(|&one| &instances[one].labels).map(|(axis, _)| axis.as_str()).collect();
            let label = if axes.is_empty() { "it has no axes" } else { "not one of its axes" };
            return Err(Diagnostic::new(*origin, message, label).offer(axis, "its axes are", axes));
        } else if !known.contains(&label.as_str()) {
            let message = format!("the axis `{axis}` of `{}` has no value `{label}`", target.stage);
            let said = format!("its values are {}", those(known.iter().copied()));
            return Err(Diagnostic::new(*origin, message, said));
        }
    }
    let holds = |instance: &Instance| {
        let has =
            |held: &Condition| instance.labels.iter().any(|(axis, label)| (axis, label) == (&held.axis, &held.label));
        target.filter.iter().all(has)
    };
    let picked: Vec<usize> = of_stage.into_iter().filter(|&one| holds(&instances[one])).collect();
    if picked.is_empty() {
        let message = format!("no instance of `{}` is left", target.stage);
        return Err(Diagnostic::new(target.stage_origin, message, "referred to here"));
    }
    Ok(picked)
}
