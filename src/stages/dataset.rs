//! `dataset`: a data set, decoded once. Training and validation part are outputs of their own, so that what is trained depends on the
//! training part alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::foresee::{self, Foreseen};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Payload, Produced, Source, StageContext, Work};
use crate::key::{Digest, Identity, Outputs, Record, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Located, NamedFile, Params, Reader, gzipped};
use crate::ml::data::{self, File, Normalise, Options, Splits, shapes::Shapes};

/// The kind.
pub struct Dataset;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct DatasetParams {
    source: Identity<String>,
    path: Option<Located>,
    files: Vec<(String, PathBuf)>,
    train: Identity<u64>,
    validation: Identity<u64>,
    options: Identity<Options>,
}

impl Kind for Dataset {
    fn name(&self) -> &'static str {
        "dataset"
    }

    fn version(&self) -> u32 {
        1
    }

    fn about(&self) -> &'static str {
        "A data set: bundled, generated, or decoded from files in their published formats."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        let names = ["digits", "shapes", "mnist", "fashion-mnist", "cifar10", "cifar100"];
        let choices = names.map(|name| (name, name.to_owned()));
        let source = reader.choice("source", "which data set", &choices).default("digits".to_owned()).identity();
        let doc = "where its files are: a CSV file for `digits`, a folder for the others, relative to the project";
        let path = reader.path("path", doc).optional().value();
        if let (None, Some(address)) = (&path, published(&source))
            && !data::hub::has(&source)
        {
            let how = format!(
                "`{}` is read from local files: give its folder as `path`, with the files that are published at {address}",
                *source
            );
            let built = if cfg!(feature = "hub") {
                ""
            } else {
                "; a program built with `--features hub` fetches some sets itself"
            };
            reader.problem("path", format!("{how}{built}"));
        }
        let files = files_of(&source, path.as_ref());
        let train = reader.count("train", "`shapes`: how many training samples").default(2000).at_least(1).identity();
        let validation =
            reader.count("validation", "`shapes`: how many validation samples").default(500).at_least(1).identity();
        Arc::new(DatasetParams { source, path, files, train, validation, options: read_options(reader) })
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &DatasetParams = params.of();
        let Some(fetch) = params.fetch() else {
            return foresee::one(params.decode(|path| foresee::file(foresight, path), None), foresight);
        };
        let mut foreseen = Foreseen::new(foresight, &[&Fetch]);
        match foreseen.call(&fetch) {
            Some(record) => {
                let decode = params.decode(|path| foresee::file(foresight, path), Some(&record));
                if let Ok(decode) = decode {
                    foreseen.call(&decode);
                }
            }
            None => foreseen.call_unmade(&Decode, 1),
        }
        foreseen.forecast()
    }
}

fn read_options(reader: &mut Reader<'_>) -> Identity<Options> {
    let normalise = [("standard", Normalise::Standard), ("none", Normalise::None)];
    let options = Options {
        grey: reader.flag("grey", "one luminance channel in place of three").default(false).value(),
        resize: reader
            .counts("resize", "new height and width, by area averaging")
            .check(|sizes| if sizes.len() == 2 { Ok(()) } else { Err("expected height and width".to_owned()) })
            .optional()
            .value()
            .and_then(|sizes| Some([*sizes.first()? as usize, *sizes.get(1)? as usize])),
        normalise: reader
            .choice("normalise", "`standard`: less the mean, over the standard deviation, of each channel", &normalise)
            .default(Normalise::Standard)
            .value(),
        subset: reader
            .count("subset", "only so many training samples")
            .at_least(1)
            .optional()
            .value()
            .map(|n| n as usize),
        shuffle_labels_from: reader
            .count("shuffle_labels_from", "training samples from this place on have their labels shuffled")
            .optional()
            .value()
            .map(|n| n as usize),
        seed: reader
            .count("seed", "of the order in which `subset` and the label shuffle take samples, and of `shapes`")
            .default(0)
            .value(),
    };
    Identity::with_default(options, Options::default())
}

/// Where the files of a source are published.
fn published(source: &str) -> Option<&'static str> {
    Some(match source {
        "mnist" => {
            "http://yann.lecun.com/exdb/mnist/ and, as those links are often down, https://ossci-datasets.s3.amazonaws.com/mnist/"
        }
        "fashion-mnist" => "https://github.com/zalandoresearch/fashion-mnist",
        "cifar10" | "cifar100" => "https://www.cs.toronto.edu/~kriz/cifar.html (the binary version)",
        _ => return None,
    })
}

/// The files of a source under `path`, by the names that their bytes have in keys.
fn files_of(source: &str, path: Option<&Located>) -> Vec<(String, PathBuf)> {
    let Some(path) = path else { return Vec::new() };
    if source == "digits" {
        return vec![("digits".to_owned(), PathBuf::from(&path.text))];
    }
    let names = described(source, Shapes { train: 1, validation: 1, seed: 0 }).file_names();
    names.iter().map(|name| ((*name).to_owned(), Path::new(&path.text).join(name))).collect()
}

fn described(source: &str, shapes: Shapes) -> data::Source {
    match source {
        "shapes" => data::Source::Shapes(shapes),
        "mnist" | "fashion-mnist" => data::Source::Idx,
        "cifar10" => data::Source::Cifar(data::cifar::Cifar::Ten),
        "cifar100" => data::Source::Cifar(data::cifar::Cifar::Hundred),
        _ => data::Source::Digits,
    }
}

impl Params for DatasetParams {
    fn walk(&self, walk: &mut dyn Walk) {
        walk.identity("source", &self.source).identity("options", &self.options);
        if *self.source == "shapes" {
            walk.identity("train", &self.train).identity("validation", &self.validation);
        }
    }

    fn files(&self) -> Vec<NamedFile> {
        let origin = self.path.as_ref().and_then(|path| path.origin);
        let published = published(&self.source);
        let named =
            |(name, path): &(String, PathBuf)| NamedFile { name: name.clone(), path: path.clone(), origin, published };
        self.files.iter().map(named).collect()
    }
}

impl Work for DatasetParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let fetched = self.fetch().map(|fetch| cx.call(fetch)).transpose()?;
        Ok(cx.call(self.decode(|path| cx.file(path), fetched.as_ref())?)?.outputs)
    }
}

impl DatasetParams {
    /// The action that gets the data set from the hub, where no folder is named.
    fn fetch(&self) -> Option<Action> {
        let is_local = self.path.is_some() || published(&self.source).is_none();
        (!is_local).then(|| Action::new(&Fetch).with("source", &self.source))
    }

    /// The action that decodes, given where a named file is and what it holds, or the record of what was fetched.
    fn decode(
        &self,
        file: impl Fn(&Path) -> Result<(PathBuf, Digest), Failure>,
        fetched: Option<&Record>,
    ) -> Result<Action, Failure> {
        let mut action = Action::new(&Decode).with("source", &self.source).with("options", &self.options);
        if *self.source == "shapes" {
            action = action.with("train", &self.train).with("validation", &self.validation);
        }
        for (name, path) in &self.files {
            let either = |error| file(&gzipped(path)).map_err(|_| error);
            let (path, digest) = file(path).or_else(either)?;
            action = action.file(name, &path, digest);
        }
        for (name, part) in FETCHED {
            if let Some(record) = fetched {
                action = action.input(name, &record.outputs[part]);
            }
        }
        Ok(action)
    }
}

/// The action: files, or nothing, to two data sets.
pub struct Decode;

impl ActionKind for Decode {
    fn name(&self) -> &'static str {
        "decode"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let name = cx.param("source", "digits".to_owned())?;
        let options: Options = cx.param("options", Options::default())?;
        let (train, validation) = (cx.param("train", 2000)?, cx.param("validation", 500)?);
        let source = described(&name, Shapes { train, validation, seed: options.seed });
        let names: Vec<&str> = if name == "digits" { vec!["digits"] } else { source.file_names().to_vec() };
        let mut files = Vec::new();
        for name in names {
            if cx.has(name) {
                files.push(File { name: shown(cx.source(name)), bytes: cx.input(name)? });
            }
        }
        let splits = if FETCHED.iter().all(|(name, _)| cx.has(name)) {
            let [train, validation] =
                FETCHED.map(|(name, _)| Ok::<_, Failure>(data::Dataset::decode(&cx.input(name)?)?));
            options.apply(Splits { train: train?, validation: validation? })?
        } else {
            data::load(&source, &files, &options)?
        };
        Ok(parts(&splits))
    }
}

/// What was fetched: the inputs of `decode`, and the outputs of `fetch` that they are.
const FETCHED: [(&str, &str); 2] = [("fetched train", "train"), ("fetched validation", "validation")];

fn parts(splits: &Splits) -> Produced {
    let part = |set: &data::Dataset| Payload::Bytes(set.encode());
    BTreeMap::from([("train".to_owned(), part(&splits.train)), ("validation".to_owned(), part(&splits.validation))])
}

/// The action: a data set from the Hugging Face hub, as its files have it.
pub struct Fetch;

impl ActionKind for Fetch {
    fn name(&self) -> &'static str {
        "fetch"
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        Ok(parts(&data::hub::fetch(&cx.required::<String>("source")?)?))
    }
}

/// What errors call an input.
pub fn shown(source: &Source) -> String {
    match source {
        Source::File { path, .. } => Path::new(path).display().to_string(),
        Source::Kept(output) => output.digest.short(),
    }
}
