//! `import`: the weights of a PyTorch model as a state, so that whatever is measured along a training can be measured at them. The file is
//! the user's and enters keys by its content; what it becomes is an action of its own, which neither loss nor partition has a part in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ml::tensor::Device as Tensors;

use super::evaluate::{Evaluate, evaluation};
use super::foresee::{self, Foreseen};
use super::index::{self, State, States};
use super::setting::{self, SettingParams};
use super::{dataset, tables, train};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Place, Produced, StageContext, Work};
use crate::key::{Digest, Identity, Ingredients, Output, Outputs, Record, Walk, behind};
use crate::manifest::{Forecast, Foresight, Kind, Located, NamedFile, Params, Reader};
use crate::ml::models::Architecture;
use crate::ml::models::exchange::{self, Foreign};

/// The name under which the file's content enters keys.
const FILE: &str = "file";

/// The kind.
pub struct Import;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct ImportParams {
    file: Located,
    prefix: Identity<String>,
    setting: SettingParams,
    evaluate: Identity<bool>,
}

impl Kind for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "Takes the weights of a PyTorch model, in a safetensors file, as a state."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("data", "the data set over which the loss is taken", &["dataset"]);
        let file_doc = "the safetensors file of a `state_dict`, relative to the project";
        let prefix_doc =
            "what the names of the model's tensors begin with there, such as `module.`; other tensors are left alone";
        Arc::new(ImportParams {
            file: reader.path("file", file_doc).required().value(),
            prefix: reader.text("prefix", prefix_doc).default("").identity(),
            setting: SettingParams::read(reader),
            evaluate: reader.flag("evaluate", "training and validation loss of the state").default(true).identity(),
        })
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        params.of::<ImportParams>().foresee(foresight).unwrap_or_default()
    }
}

impl Params for ImportParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("prefix", &self.prefix);
        self.setting.walk(walk);
        walk.identity("evaluate", &self.evaluate);
    }

    fn files(&self) -> Vec<NamedFile> {
        let (path, origin) = (PathBuf::from(&self.file.text), self.file.origin);
        vec![NamedFile { name: FILE.to_owned(), path, origin, published: None }]
    }
}

impl ImportParams {
    fn foresee(&self, foresight: &Foresight<'_>) -> Option<Forecast> {
        let data = &behind(foresight.inputs, "data").first()?.outputs;
        let file = foresee::file(foresight, Path::new(&self.file.text)).ok()?;
        let mut foreseen = Foreseen::new(foresight, &[]);
        let record = foreseen.call(&self.convert(data.get("train")?, &file));
        if *self.evaluate {
            match record {
                Some(record) => {
                    let states = self.states(data, &record, foresight.backend);
                    foreseen.call(&evaluation(&states.setting, &states.validation, &states.epochs[0].theta));
                }
                None => foreseen.call_unmade(&Evaluate, 1),
            }
        }
        Some(foreseen.forecast())
    }

    /// The one action that reads the file. Of the data it needs the shape of a sample and the number of classes.
    fn convert(&self, data: &Output, (path, digest): &(PathBuf, Digest)) -> Action {
        Action::new(&Convert)
            .with("model", &self.setting.model)
            .with("dtype", &self.setting.dtype)
            .with("prefix", &self.prefix)
            .input("data", data)
            .file(FILE, path, *digest)
    }

    /// The list of the one state. No training is known behind it: a descent from it has the defaults, or what it says itself.
    fn states(&self, data: &Outputs, record: &Record, backend: &str) -> States {
        let state = State { iteration: 0, theta: record.outputs["theta"].clone(), velocity: None };
        States {
            setting: self.setting.on(&data["train"], backend),
            validation: data["validation"].clone(),
            training: Ingredients::default(),
            iterations_per_epoch: 1,
            epochs: vec![state.clone()],
            chosen: vec![state],
            numeric: None,
            origin: None,
        }
    }
}

impl Work for ImportParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let data = &cx.input("data").outputs;
        let record = cx.call(self.convert(&data["train"], &cx.file(Path::new(&self.file.text))?))?;
        let states = self.states(data, &record, cx.backend());
        let evaluations = if *self.evaluate { train::evaluations(cx, &states)? } else { Vec::new() };
        let table = tables::keep(cx, &train::history(&states, &[None], &evaluations))?;
        Ok(Outputs::from([("states".to_owned(), index::keep(cx, &states)?), ("table".to_owned(), table)]))
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        tables::place(instance)
    }
}

/// The action: a PyTorch file to θ.
pub struct Convert;

impl ActionKind for Convert {
    fn name(&self) -> &'static str {
        "import"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let data = setting::dataset(cx, "data")?;
        let model = cx.required::<Architecture>("model")?.build(data.shape, data.classes)?;
        let (name, bytes) = (dataset::shown(cx.source(FILE)), cx.input(FILE)?);
        let prefix = cx.param("prefix", String::new())?;
        let foreign = Foreign { name: &name, bytes: &bytes, prefix: &prefix };
        let dtype = setting::placement(cx)?.dtype;
        let theta = exchange::import(model.declared(), foreign, dtype, &Tensors::Cpu)?;
        Ok(BTreeMap::from([("theta".to_owned(), Payload::Bytes(theta.encode()?))]))
    }
}
