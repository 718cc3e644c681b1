//! Results are copies: written by rename under one lock per study, restored where they are missing or altered, never the only ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Problem;
use super::project::Project;
use crate::event::Event;
use crate::execute::{Engine, Failure, Place, Work};
use crate::plan::World;
use crate::report::Counts;
use crate::schedule::{Ended, Outcome, Schedule, State};
use crate::store::Held;

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Interrupted => Self::Interrupted,
            other => Self::Machine(other.to_string()),
        }
    }
}

/// Copies out what is meant for people, and tells the claims. A stage that this study had already, as `here` remembers, and whose files had
/// to be written again, is noted as restored.
///
/// # Errors
/// If a file cannot be written, or bytes that are gone cannot be made again.
pub fn write(
    project: &Project,
    schedule: &Schedule<'_>,
    (works, engine): (&[Arc<dyn Work>], &Engine),
    here: &dyn World,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let _held = lock(project, engine)?;
    for ended in &mut outcome.stages {
        if ended.state != State::Done {
            continue;
        }
        let instance = &project.study.instances[ended.instance];
        let had = here.last(&instance.name) == ended.key;
        let mut restored = false;
        for (name, place) in works[ended.instance].places(&instance.name) {
            if let Some(output) = ended.outputs.get(&name) {
                let path = path_of(project, &place);
                if engine.digest_file(&path).is_ok_and(|digest| digest == output.digest) {
                    continue;
                }
                if !engine.store().copy_to(output, &path)? {
                    schedule.make_again(output)?;
                    if !engine.store().copy_to(output, &path)? {
                        return Err(Failure::Machine(format!("failed to restore `{}`", path.display())));
                    }
                }
                restored |= had;
                engine.events().emit(Event::ResultWritten { path, restored: had });
            }
        }
        if restored {
            "restored".clone_into(&mut ended.reason);
        }
    }
    let claims = claims(project, schedule, outcome)?;
    for claim in &claims {
        let text = |name: &str| claim[name].as_str().unwrap_or_default().to_owned();
        let (stage, claim, verdict, detail) = (text("stage"), text("claim"), text("verdict"), text("detail"));
        engine.events().emit(Event::Claim { stage, claim, verdict, detail });
    }
    write_claims(project, &claims)
}

fn path_of(project: &Project, place: &Place) -> PathBuf {
    match place {
        Place::Result(path) => project.results_of_study().join(path),
        Place::Project(path) => project.root.join(path),
    }
}

/// The verdicts of the claim stages that are done.
fn claims(project: &Project, schedule: &Schedule<'_>, outcome: &Outcome) -> Result<Vec<Value>, Failure> {
    let mut claims = Vec::new();
    for ended in outcome.stages.iter().filter(|ended| ended.state == State::Done) {
        let instance = &project.study.instances[ended.instance];
        let Some(output) = ended.outputs.get("claim").filter(|_| instance.kind.name() == "claim") else { continue };
        let bytes = schedule.bytes(output)?;
        let judged: Value = serde_json::from_slice(&bytes).map_err(Failure::work)?;
        let mut claim = json!({ "stage": instance.name });
        if let (Value::Object(claim), Value::Object(judged)) = (&mut claim, judged) {
            claim.extend(judged);
        }
        claims.push(claim);
    }
    Ok(claims)
}

/// `claims.json` holds the claims of the whole study: a partial run replaces its own and leaves the others.
fn write_claims(project: &Project, new: &[Value]) -> Result<(), Failure> {
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
    if claims_differ(&path, &text) { write_file(&path, text.as_bytes()) } else { Ok(()) }
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
    schedule: &Schedule<'_>,
    outcome: &Outcome,
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
    let fresh = outcome.stages.iter().filter(|ended| ended.state == State::Done && !ended.ran).count();
    let mut actions = serde_json::Map::from_iter([("stage".to_owned(), json!({ "hit": fresh, "ran": 0 }))]);
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
        "claims": claims(project, schedule, outcome)?,
    });
    let _held = lock(project, engine)?;
    write_file(&project.results_of_study().join("run.json"), pretty(&run).as_bytes())
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

/// Writes a file by rename, so that no reader sees half of it.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::Machine(format!("failed to write `{}`: {error}", path.display()));
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(failed)?;
    let beside = path.with_extension("partial");
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(failed)
}
