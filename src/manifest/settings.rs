//! Where work runs and where its results are kept: tables of `thalweg.toml` in the project's folder, the same tables of a manifest, which go
//! before those, and two fields of every stage. Nothing of it enters a key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Diagnostics};
use super::findings::Findings;
use super::overlay::unknown;
use super::reader::Reader;
use super::shape::Field;
use super::source::{Origin, Source, Sources};
use super::tree::{Table, parse};
use crate::remote::{self, WriteBack};

/// The tables, by the names of their fields.
pub(super) const TABLES: [&str; 2] = ["cache", "executor"];

/// Settings of a project or of a study.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The address of the shared cache.
    pub remote: Option<String>,
    /// When what is made goes there.
    pub remote_write: Option<WriteBack>,
    /// How jobs of Slurm are asked for.
    pub slurm: Slurm,
}

/// What is asked of Slurm for a stage's job. What is not given here is left to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slurm {
    /// `--partition`.
    pub partition: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--time`.
    pub time: Option<String>,
    /// `--gres`; stages on GPUs ask for one where this is not given.
    pub gres: Option<String>,
    /// `--cpus-per-task`.
    pub cpus: Option<u64>,
    /// `--mem`.
    pub mem: Option<String>,
    /// Further options of `sbatch`, as they are.
    pub extra: Vec<String>,
    /// How many jobs share a stage's actions.
    pub shards: Option<u64>,
}

impl Settings {
    /// The settings of a `thalweg.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(source: Source) -> Result<Self, Diagnostics> {
        let mut sources = Sources::default();
        let parsed = parse(0, &source);
        sources.add(source);
        let mut problems = parsed.problems;
        let mut settings = Self::default();
        if let Some(root) = parsed.root.table().filter(|_| parsed.whole) {
            let other = root.0.iter().filter(|entry| !TABLES.contains(&entry.key.as_str()));
            problems.extend(other.map(|entry| unknown(entry, "`thalweg.toml` has no such key", &TABLES)));
            settings = Self::of(root, &mut problems);
        }
        if problems.is_empty() { Ok(settings) } else { Err(Diagnostics::new(Arc::new(sources), problems)) }
    }

    /// The settings that stand in a file's tables.
    pub(super) fn of(root: &Table, problems: &mut Vec<Diagnostic>) -> Self {
        let ours = root.0.iter().filter(|entry| TABLES.contains(&entry.key.as_str())).cloned().collect();
        let (table, mut findings) = (Table(ours), Findings::default());
        let origin = Origin { source: 0, start: 0, end: 0 };
        let mut reader = Reader::over(&table, origin, "this file", &mut findings);
        let settings = Self::read(&mut reader);
        reader.close();
        problems.append(&mut findings.problems);
        settings
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let cache = |reader: &mut Reader<'_>| {
            let remote = reader.text(
                "remote",
                "address of a cache that is shared with others: `s3://bucket/prefix` or `file:///folder`",
            );
            let remote = remote.check(|address| remote::check(address)).optional().value();
            let write = reader.choice("remote_write", "when what is made goes there", &WriteBack::NAMED);
            (remote, write.optional().value())
        };
        let (remote, remote_write) =
            reader.table("cache", "where results are kept", cache).optional().value().unwrap_or_default();
        let executor = |reader: &mut Reader<'_>| {
            let slurm = reader.table("slurm", "how jobs are asked for with `--executor slurm`", Slurm::read);
            slurm.optional().value().unwrap_or_default()
        };
        let slurm = reader.table("executor", "where stages run", executor).optional().value().unwrap_or_default();
        Self { remote, remote_write, slurm }
    }

    /// These settings, and what they leave open from others.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            remote: self.remote.or(below.remote),
            remote_write: self.remote_write.or(below.remote_write),
            slurm: self.slurm.over(&below.slurm),
        }
    }

    /// The tables as they are declared, for the schema.
    pub(super) fn declared() -> Vec<Field> {
        let mut unheard = Findings::default();
        let mut reader = Reader::recording(&mut unheard);
        Self::read(&mut reader);
        reader.close()
    }
}

impl Slurm {
    fn read(reader: &mut Reader<'_>) -> Self {
        let options = |options: &[String], option: &String| {
            if !option.starts_with('-') || ["-", "--"].contains(&option.as_str()) {
                return Err(format!(
                    "`{option}` is no option of `sbatch`: these begin with `-`, and take values as in `--qos=long`"
                ));
            }
            if let Some(name) = taken(option) {
                return Err(format!("`{name}` is what a job is known or steered by and cannot be given"));
            }
            let again = options.iter().filter(|other| *other == option).count() > 1;
            if again { Err(format!("`{option}` is given twice")) } else { Ok(()) }
        };
        Self {
            partition: reader.text("partition", "the partition").not_empty().optional().value(),
            account: reader.text("account", "the account").not_empty().optional().value(),
            time: reader
                .text("time", "the time limit, as in `2:00:00`")
                .not_empty()
                .check(|text| is_time(text))
                .optional()
                .value(),
            gres: reader
                .text("gres", "generic resources, as in `gpu:1`, which stages on GPUs ask for without being told")
                .not_empty()
                .optional()
                .value(),
            cpus: reader.count("cpus", "CPUs of each job").at_least(1).optional().value(),
            mem: reader.text("mem", "memory of each job, as in `8G`").not_empty().optional().value(),
            extra: reader
                .texts("extra", "further options of `sbatch`, as in `[\"--qos=long\"]`")
                .check_each(options)
                .default(Vec::new())
                .value(),
            shards: None,
        }
    }

    /// The fields that every stage has.
    pub(super) fn of_stage(reader: &mut Reader<'_>) -> Self {
        let shards = reader.count("shards", "how many jobs share this stage's actions where it runs on a cluster");
        let shards = shards.at_least(1).at_most(100_000).optional().value();
        let slurm = reader.table("slurm", "how this stage's jobs are asked for", Self::read);
        Self { shards, ..slurm.optional().value().unwrap_or_default() }
    }

    /// These, and what they leave open from others.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let or = |ours: &Option<String>, theirs: &Option<String>| ours.clone().or_else(|| theirs.clone());
        Self {
            partition: or(&self.partition, &below.partition),
            account: or(&self.account, &below.account),
            time: or(&self.time, &below.time),
            gres: or(&self.gres, &below.gres),
            cpus: self.cpus.or(below.cpus),
            mem: or(&self.mem, &below.mem),
            extra: below.extra.iter().chain(&self.extra).cloned().collect(),
            shards: self.shards.or(below.shards),
        }
    }

    /// The fields of every stage as they are declared, for the schema.
    pub(super) fn declared() -> Vec<Field> {
        let mut unheard = Findings::default();
        let mut reader = Reader::recording(&mut unheard);
        Self::of_stage(&mut reader);
        reader.close()
    }
}

/// The option of `sbatch` that a word gives, where it is one that jobs are known or steered by. `sbatch` takes what a long one begins with for
/// it, and short ones that take no value in one word.
fn taken(word: &str) -> Option<&'static str> {
    const LONG: [&str; 22] = [
        "--array",
        "--job-name",
        "--comment",
        "--output",
        "--error",
        "--open-mode",
        "--wrap",
        "--parsable",
        "--dependency",
        "--kill-on-invalid-dep",
        "--chdir",
        "--signal",
        "--requeue",
        "--no-requeue",
        "--wait",
        "--test-only",
        "--clusters",
        "--uid",
        "--gid",
        "--help",
        "--usage",
        "--version",
    ];
    const SHORT: [(char, &str); 9] = [
        ('a', "--array"),
        ('J', "--job-name"),
        ('o', "--output"),
        ('e', "--error"),
        ('d', "--dependency"),
        ('D', "--chdir"),
        ('W', "--wait"),
        ('M', "--clusters"),
        ('V', "--version"),
    ];
    const WITHOUT_VALUE: [char; 8] = ['H', 'I', 'O', 'Q', 's', 'v', 'k', 'X'];
    if word.starts_with("--") {
        let name = word.split('=').next().unwrap_or_default();
        return LONG.into_iter().find(|own| own.starts_with(name));
    }
    let letter = word[1..].chars().find(|letter| !WITHOUT_VALUE.contains(letter))?;
    let of_help = (letter == 'h').then_some("--help");
    of_help.or_else(|| SHORT.into_iter().find(|(own, _)| *own == letter).map(|(_, name)| name))
}

/// `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`, `days-hours:minutes:seconds`.
fn is_time(text: &str) -> Result<(), String> {
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let parts: Vec<&str> = days.into_iter().chain(rest.split(':')).collect();
    let numbers =
        parts.iter().all(|part| !part.is_empty() && part.len() < 8 && part.bytes().all(|byte| byte.is_ascii_digit()));
    let fits = numbers && rest.split(':').count() <= 3;
    let expected = "a time is minutes, `hours:minutes:seconds` or `days-hours:minutes:seconds`";
    if fits { Ok(()) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        Settings::load(Source::new("thalweg.toml", text.to_owned())).map_err(|problems| {
            problems.into_reports().iter().map(|report| format!("{report:?}")).collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn what_a_file_leaves_open_is_taken_from_the_one_below() {
        let below = load(
            "[cache]\nremote = \"file:///a\"\nremote_write = \"end\"\n[executor.slurm]\npartition = \"p\"\ncpus = 4\nextra = [\"--qos=a\"]\n",
        );
        let above =
            load("[cache]\nremote = \"s3://b\"\n[executor.slurm]\ncpus = 8\ntime = \"1-2:30\"\nextra = [\"--nice\"]\n");
        let both = above.unwrap().over(below.unwrap());
        assert_eq!((both.remote.as_deref(), both.remote_write), (Some("s3://b"), Some(WriteBack::AtEnd)));
        let slurm = both.slurm;
        assert_eq!(
            (slurm.partition.as_deref(), slurm.cpus, slurm.time.as_deref()),
            (Some("p"), Some(8), Some("1-2:30"))
        );
        assert_eq!(slurm.extra, ["--qos=a", "--nice"]);
        assert_eq!(load(""), Ok(Settings::default()));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let said = load(
            "[cach]\n[cache]\nremot = 1\n[executor.slurm]\ntime = \"soon\"\ncpus = 0\nextra = [\"long\", \"--array=1-2\"]\n",
        );
        let said = said.unwrap_err();
        for words in [
            "cach",
            "remot",
            "a time is minutes",
            "`cpus`",
            "`long` is no option",
            "`--array` is what a job is known or steered by",
        ] {
            assert!(said.contains(words), "no `{words}` in\n{said}");
        }
    }

    #[test]
    fn an_option_that_jobs_are_known_by_is_told_however_it_is_spelt() {
        for word in [
            "--array=1-2",
            "--arr=1",
            "-a1-2",
            "-J",
            "-Jx",
            "-vJx",
            "--job-nam=x",
            "--no-requeue",
            "--sig=KILL",
            "-D/",
            "-h",
        ] {
            assert!(taken(word).is_some(), "{word}");
        }
        for word in [
            "--qos=long",
            "--nice",
            "-n4",
            "--exclusive",
            "--wait-all-nodes=1",
            "--cluster-constraint=x",
            "-pshort",
            "-H",
        ] {
            assert_eq!(taken(word), None, "{word}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        let address = "s3://AKIAX:topsecret@host/b?x=topsecret";
        for text in [
            format!("[cache]\nremote = \"{address}\"\n"),
            format!("[cache]\nremote = \"{address}\"\nremote_write = \n"),
            format!("[cache]\nremote = \"{address}\"\nremote_write = 1\n"),
            format!("[cache]\nremot = \"{address}\"\n"),
            format!("[cache]\nremote = ['{address}']\n"),
            format!("remote = \"{address}\"\n"),
        ] {
            let said = load(&text).unwrap_err();
            assert!(!said.contains("topsecret") && said.contains("s3://"), "{said}");
        }
    }

    #[test]
    fn times_are_as_slurm_takes_them() {
        for text in ["90", "90:30", "2:00:00", "1-0", "1-2:30", "1-2:30:00"] {
            assert_eq!(is_time(text), Ok(()), "{text}");
        }
        for text in ["", "-", "1h", "1:2:3:4", "1-", "UNLIMITED", "1:-2", "9999999999"] {
            assert!(is_time(text).is_err(), "{text}");
        }
    }
}
