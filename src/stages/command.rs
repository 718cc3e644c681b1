//! `command`: a program of the user's. It runs in a private scratch folder in which its declared inputs lie, with the environment that the
//! manifest names and no other, under the guard that ends it when the runner is gone. Its declared outputs go to the store and then to
//! their place in the project.
//!
//! The program itself is found through `PATH` and is no ingredient of the key: a script of the project's is declared as an input.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::aftermath::{Room, last_lines};
use super::foresee;
use crate::execute::guard::{CommandSpec, Exit, GuardError};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Digest, Identity, Input, Inputs, Outputs, Walk, behind};
use crate::manifest::{self, Forecast, Foresight, Kind, Located, NamedFile, Params, Reader, References, Root};

/// The kind.
pub struct Command;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct CommandParams {
    program: Identity<String>,
    args: Identity<Vec<String>>,
    env: Identity<BTreeMap<String, String>>,
    inputs: Vec<Located>,
    outputs: Vec<Located>,
    output_names: Identity<Vec<String>>,
    from: Option<References>,
}

impl Kind for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Runs a program on declared files in a scratch folder of its own."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let program =
            reader.text("program", "the program: a name looked up in `PATH`, or a path").required().not_empty();
        let program = program.identity();
        let args = reader.texts("args", "its arguments").default(Vec::new()).identity();
        let env_doc =
            "its environment, whole: nothing is inherited, and without a `PATH` here the system's default is searched";
        let env = reader.map("env", env_doc).default(BTreeMap::new()).identity();
        let inputs_doc = "files of the project that it reads; they lie in the scratch folder under the same paths";
        let inputs = reader.paths("inputs", inputs_doc).default(Vec::new()).check_each(inside).value();
        let outputs_doc =
            "files that it writes, relative to the scratch folder; they are copied to the same paths in the project";
        let outputs = reader.paths("outputs", outputs_doc).default(Vec::new()).check_each(inside).value();
        let from_doc =
            "stages whose outputs it reads: a command's lie under their paths, another kind's under `STAGE/OUTPUT`";
        let from = reader.references_if_any("from", from_doc, &[]);
        let output_names = Identity::with_default(outputs.iter().map(|path| path.text.clone()).collect(), Vec::new());
        Arc::new(CommandParams { program, args, env, inputs, outputs, output_names, from })
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &CommandParams = params.of();
        foresee::one(params.execute(foresight.inputs, |path| foresee::file(foresight, path)), foresight)
    }

    fn place(&self, _: &str, input: &Input, output: &str) -> Option<String> {
        Some(place(input, output))
    }
}

/// Where an output of a stage above lies in the scratch folder: where a command wrote it, or in a folder named after the instance.
fn place(input: &Input, output: &str) -> String {
    if input.kind == "command" { output.to_owned() } else { format!("{}/{output}", input.instance) }
}

/// A path stays inside the folder that it is relative to, and is none of those `before` it.
fn inside(before: &[Located], path: &Located) -> Result<(), String> {
    let text = &path.text;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let parts = |text: &str| -> Vec<PathBuf> {
        Path::new(text)
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| PathBuf::from(part.as_os_str()))
            .collect()
    };
    if parts(text).is_empty() || !Path::new(text).components().all(plain) {
        return Err(format!("expected a path inside the project, found `{text}`"));
    }
    if before.iter().any(|other| parts(&other.text) == parts(text)) {
        return Err(format!("`{text}` is named twice"));
    }
    Ok(())
}

impl Params for CommandParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("program", &self.program)
            .identity("args", &self.args)
            .identity("env", &self.env)
            .identity("outputs", &self.output_names);
    }

    fn files(&self) -> Vec<NamedFile> {
        let named = |path: &Located| NamedFile {
            name: path.text.clone(),
            path: PathBuf::from(&path.text),
            origin: path.origin,
            published: None,
        };
        self.inputs.iter().map(named).collect()
    }

    fn places(&self) -> Vec<manifest::Place> {
        let place = |path: &Located| {
            let (root, origin) = (Root::Project, path.origin);
            manifest::Place { root, path: PathBuf::from(&path.text), origin }
        };
        self.outputs.iter().map(place).collect()
    }
}

impl Work for CommandParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        Ok(cx.call(self.execute(cx.all_inputs(), |path| cx.file(path))?)?.outputs)
    }

    fn places(&self, _: &str) -> Vec<(String, Place)> {
        let place = |path: &Located| (path.text.clone(), Place::Project(PathBuf::from(&path.text)));
        self.outputs.iter().map(place).collect()
    }
}

impl CommandParams {
    /// The one action, given where a named file is and what it holds.
    fn execute(
        &self,
        inputs: &Inputs,
        file: impl Fn(&Path) -> Result<(PathBuf, Digest), Failure>,
    ) -> Result<Action, Failure> {
        let mut action = Action::new(&Execute)
            .with("program", &self.program)
            .with("args", &self.args)
            .with("env", &self.env)
            .with("outputs", &self.output_names);
        for input in &self.inputs {
            let (path, digest) = file(Path::new(&input.text))?;
            action = action.file(&input.text, &path, digest);
        }
        let upstream = self.from.as_ref().map_or(&[][..], |from| behind(inputs, &from.field));
        for input in upstream {
            for (name, output) in &input.outputs {
                let place = place(input, name);
                if action.fingerprint().inputs.contains_key(&place) {
                    return Err(Failure::Work(format!("two of its inputs lie at `{place}`")));
                }
                action = action.input(&place, output);
            }
        }
        Ok(action)
    }
}

/// The action: one run of a program. Its inputs are named by their place in the scratch folder.
pub struct Execute;

impl ActionKind for Execute {
    fn name(&self) -> &'static str {
        "command"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let store = cx.engine().store();
        let workspace = store.workspace()?;
        let scratch = workspace.path().to_owned();
        let outputs: Vec<String> = cx.param("outputs", Vec::new())?;
        let prepare = |path: &Path| {
            let folder = path.parent().unwrap_or(path);
            fs::create_dir_all(folder).map_err(|error| {
                Failure::Machine(format!("failed to create folder `{}`: {}", folder.display(), Failure::said(&error)))
            })
        };
        for name in cx.fingerprint().inputs.keys() {
            let place = scratch.join(name);
            prepare(&place)?;
            cx.place_input(name, &place)?;
        }
        outputs.iter().try_for_each(|name| prepare(&scratch.join(name)))?;
        let log = workspace.log().to_owned();
        let spec = CommandSpec {
            program: cx.required("program")?,
            args: cx.param("args", Vec::new())?,
            env: cx.param("env", BTreeMap::new())?,
            directory: scratch.clone(),
            stdout: log.clone(),
            stderr: log.clone(),
        };
        let program = spec.program.clone();
        let room = Room::new(&scratch);
        let look = || {
            room.look();
            cx.cancelled()
        };
        match cx.engine().guard()?.run(&spec, &look) {
            Ok(Exit::Code(0)) => {
                if let Some(full) = room.problem(&log) {
                    return Err(Failure::Machine(format!("`{program}` had {full}; its result is not kept")));
                }
            }
            Ok(exit) => return Err(Failure::Work(format!("`{program}` {exit}{}", last_lines(&log)))),
            Err(GuardError::Interrupted) => return Err(Failure::Interrupted),
            Err(error @ GuardError::NotStarted { .. }) => return Err(Failure::Work(error.to_string())),
            Err(error) => return Err(Failure::Machine(error.to_string())),
        }
        let mut produced = Produced::new();
        for name in outputs {
            let path = scratch.join(&name);
            if !path.is_file() {
                return Err(Failure::Work(format!(
                    "`{program}` did not write its output `{name}`{}",
                    last_lines(&log)
                )));
            }
            File::open(&path).map_err(|error| {
                Failure::Work(format!(
                    "`{program}` wrote its output `{name}` so that it cannot be read: {}",
                    Failure::said(&error)
                ))
            })?;
            produced.insert(name, Payload::Kept(store.put_file(&path)?));
        }
        Ok(produced)
    }
}
