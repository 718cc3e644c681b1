//! Each declared stage, read by its kind once for every combination of its own matrix. It resolves no references.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::findings::{Findings, Mention};
use super::kind::{Kind, Kinds, Params};
use super::matrix::{Axis, axes, variants};
use super::mention::Target;
use super::overlay::Declared;
use super::reader::Reader;
use super::settings::Slurm;
use super::source::Origin;

/// A stage as its kind read it.
pub(super) struct Stage {
    pub name: String,
    pub origin: Origin,
    pub kind: Arc<dyn Kind>,
    pub axes: Vec<Axis>,
    pub variants: Vec<Read>,
}

/// What one combination of the own matrix was read as.
pub(super) struct Read {
    pub labels: Vec<(String, String)>,
    pub params: Arc<dyn Params>,
    pub slurm: Slurm,
    pub mentions: Vec<(Mention, Target)>,
    pub origins: BTreeMap<String, Origin>,
}

/// Reads a stage, unless it has no kind that there is.
pub(super) fn read(declared: &Declared, kinds: &Kinds, problems: &mut Vec<Diagnostic>) -> Option<Stage> {
    let mut table = declared.table.clone();
    let name = &declared.name;
    let known = || kinds.iter().map(|kind| kind.name());
    let Some(entry) = table.remove("kind") else {
        let diagnostic =
            Diagnostic::new(declared.origin, format!("stage `{name}` has no kind"), "needs `kind = \"…\"`");
        problems.push(diagnostic.offer("", "the kinds are", known()));
        return None;
    };
    let Some(kind) = entry.node.text() else {
        let found = format!("found {}", entry.node.found());
        let diagnostic = Diagnostic::new(entry.node.origin, "`kind` must be the name of a kind", found);
        problems.push(diagnostic.offer("", "the kinds are", known()));
        return None;
    };
    let Some(kind) = kinds.kind(kind) else {
        let diagnostic = Diagnostic::new(entry.node.origin, format!("no kind `{kind}`"), "not a kind of stage");
        problems.push(diagnostic.offer(kind, "the kinds are", known()));
        return None;
    };
    let whose = format!("a stage of kind `{}`", kind.name());
    let axes = axes(&table, problems);
    let mut reads = Vec::new();
    for variant in variants(&table, &axes) {
        let mut findings = Findings::default();
        let mut reader = Reader::over(&variant.table, declared.origin, &whose, &mut findings);
        let params = kind.read(&mut reader);
        let slurm = Slurm::of_stage(&mut reader);
        reader.close();
        problems.append(&mut findings.problems);
        let mut mentions = Vec::new();
        for mention in findings.mentions {
            match Target::parse(&mention.text, mention.origin) {
                Ok(target) => mentions.push((mention, target)),
                Err(diagnostic) => problems.push(diagnostic),
            }
        }
        reads.push(Read { labels: variant.labels, params, slurm, mentions, origins: findings.origins });
    }
    Some(Stage { name: name.clone(), origin: declared.origin, kind: kind.clone(), axes, variants: reads })
}
