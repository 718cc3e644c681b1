//! Results are copies: written by rename under one lock per study, restored where they are missing or altered, never the only ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::project::Project;
use crate::event::Event;
use crate::execute::{Engine, Failure, Place, Work};
use crate::key::Output;
use crate::plan::World;
use crate::report::Counts;
use crate::schedule::{Ended, Outcome, Schedule, State};
use crate::store::Held;

/// What became of the results: the verdicts, and what could not be written.
#[derive(Default)]
pub struct Written {
    /// The claims, by stage.
    claims: Vec<Value>,
    /// What kept some of them from being written or judged; the others are.
    pub failures: Vec<Failure>,
}

impl Written {
    fn note<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.failures.push(failure)).ok()
    }
}

/// Copies out what is meant for people, and tells the claims. A stage that this study had already, as `here` remembers, and whose files had
/// to be written again, is noted as restored. What cannot be written keeps nothing else from being written.
pub fn write(
    project: &Project,
    schedule: &Schedule<'_>,
    (works, engine): (&[Arc<dyn Work>], &Engine),
    here: &dyn World,
    outcome: &mut Outcome,
) -> Written {
    let mut written = Written::default();
    let Some(_held) = written.note(lock(project, engine)) else { return written };
    for ended in outcome.stages.iter_mut().filter(|ended| ended.state == State::Done) {
        let instance = &project.study.instances[ended.instance];
        let had = here.last(&instance.name) == ended.key;
        let mut restored = false;
        for (name, place) in works[ended.instance].places(&instance.name) {
            let Some(output) = ended.outputs.get(&name) else { continue };
            let path = path_of(project, &place);
            if written.note(copy(schedule, engine, output, &path)) == Some(true) {
                restored |= had;
                engine.events().emit(Event::ResultWritten { path, restored: had });
            }
        }
        if restored {
            "restored".clone_into(&mut ended.reason);
        }
    }
    written.claims = claims(project, schedule, outcome, &mut written.failures);
    for claim in &written.claims {
        let text = |name: &str| claim[name].as_str().unwrap_or_default().to_owned();
        let (stage, claim, verdict, detail) = (text("stage"), text("claim"), text("verdict"), text("detail"));
        engine.events().emit(Event::Claim { stage, claim, verdict, detail });
    }
    let claims_written = write_claims(project, engine, &written.claims);
    written.note(claims_written);
    written
}

/// Puts an output at `path`, made again where its bytes are gone; whether that was needed.
fn copy(schedule: &Schedule<'_>, engine: &Engine, output: &Output, path: &Path) -> Result<bool, Failure> {
    if engine.digest_file(path).is_ok_and(|digest| digest == output.digest) {
        return Ok(false);
    }
    if !engine.store().copy_to(output, path)? {
        schedule.make_again(output)?;
        if !engine.store().copy_to(output, path)? {
            return Err(Failure::Machine(format!("failed to restore `{}`", path.display())));
        }
    }
    Ok(true)
}

fn path_of(project: &Project, place: &Place) -> PathBuf {
    match place {
        Place::Result(path) => project.results_of_study().join(path),
        Place::Project(path) => project.root.join(path),
    }
}

/// The verdicts of the claim stages that are done, as far as they can be read.
fn claims(project: &Project, schedule: &Schedule<'_>, outcome: &Outcome, failures: &mut Vec<Failure>) -> Vec<Value> {
    let mut claims = Vec::new();
    for ended in outcome.stages.iter().filter(|ended| ended.state == State::Done) {
        let instance = &project.study.instances[ended.instance];
        let Some(output) = ended.outputs.get("claim").filter(|_| instance.kind.name() == "claim") else { continue };
        let bytes = schedule.bytes(output);
        let judged: Value = match bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(Failure::work)) {
            Ok(judged) => judged,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let mut claim = json!({ "stage": instance.name });
        if let (Value::Object(claim), Value::Object(judged)) = (&mut claim, judged) {
            claim.extend(judged);
        }
        claims.push(claim);
    }
    claims
}

/// `claims.json` holds the claims of the whole study: a partial run replaces its own and leaves the others.
fn write_claims(project: &Project, engine: &Engine, new: &[Value]) -> Result<(), Failure> {
    let path = project.results_of_study().join("claims.json");
    let old: Vec<Value> =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let stage = |claim: &Value| claim["stage"].as_str().unwrap_or_default().to_owned();
    let mut claims = Vec::new();
    for instance in &project.study.instances {
        let named = |claim: &&Value| stage(claim) == instance.name;
        claims.extend(new.iter().find(named).or_else(|| old.iter().find(named)).cloned());
    }
    let text = pretty(&Value::Array(claims));
    if claims_differ(&path, &text) {
        engine.store().write_to(text.as_bytes(), &path)?;
    }
    Ok(())
}

fn claims_differ(path: &Path, text: &str) -> bool {
    let nothing = text.trim() == "[]";
    fs::read(path).map_or(!nothing, |there| there != text.as_bytes())
}

/// The lock of the study's results, against other runs of it.
fn lock<'e>(project: &Project, engine: &'e Engine) -> Result<Held<'e>, Failure> {
    Ok(engine.store().lock_study(&project.study.name, &|| engine.cancel().raised(), &|| ())?)
}

/// `run.json`, rewritten by every run.
///
/// # Errors
/// If it cannot be written.
pub fn write_run(
    (project, engine): (&Project, &Engine),
    outcome: &Outcome,
    written: &Written,
    counts: &Counts,
) -> Result<(), Failure> {
    let mut stages = serde_json::Map::new();
    for ended in &outcome.stages {
        let instance = &project.study.instances[ended.instance];
        let stage = json!({
            "kind": instance.kind.name(),
            "state": word(ended),
            "key": ended.key,
            "reason": ended.reason,
        });
        stages.insert(instance.name.clone(), stage);
    }
    let ran = outcome.stages.iter().filter(|ended| ended.ran).count();
    let fresh = outcome.stages.iter().filter(|ended| ended.state == State::Done && !ended.ran).count();
    let mut actions = serde_json::Map::from_iter([("stage".to_owned(), json!({ "hit": fresh, "ran": ran }))]);
    for (kind, count) in &counts.actions {
        actions.insert(kind.clone(), json!({ "hit": count.hit, "ran": count.ran }));
    }
    let run = json!({
        "study": project.study.name,
        "profile": project.study.profile,
        "seconds": counts.seconds,
        "interrupted": outcome.interrupted,
        "stages": stages,
        "actions": actions,
        "claims": written.claims,
    });
    let _held = lock(project, engine)?;
    Ok(engine.store().write_to(pretty(&run).as_bytes(), &project.results_of_study().join("run.json"))?)
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).expect("invariant: a JSON value serialises") + "\n"
}

/// What became of a stage, in one word.
fn word(ended: &Ended) -> &'static str {
    match ended.state {
        State::Done if ended.ran => "ran",
        State::Done if ended.reason == "restored" => "restored",
        State::Done => "fresh",
        State::Failed => "failed",
        State::Skipped => "skipped",
        State::Running => "interrupted",
        State::Wanted | State::Ready | State::Queued => "wanted",
    }
}
