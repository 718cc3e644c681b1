//! `--detach`: all jobs at once, each to run by itself when those above it are done.

use std::collections::BTreeMap;

use super::{Cluster, options, said, tag_of};
use crate::app::Streams;
use crate::app::worker::{self, Spec};
use crate::execute::Failure;
use crate::manifest::Instance;
use crate::plan::{Plan, Standing, World, backend_of};
use crate::slurm::{Job, Request};

impl Cluster<'_> {
    /// Submits everything that is stale at once, each job after those of the stages above it, and a last one that writes the results; whether
    /// anything was stale.
    ///
    /// # Errors
    /// Slurm refuses; an interruption.
    pub fn detach(&self, wanted: &[usize], world: &dyn World, streams: &mut Streams<'_>) -> Result<bool, Failure> {
        let study = &self.project.study;
        let plan = Plan::make(study, wanted, world);
        let mut ids: BTreeMap<usize, u64> = BTreeMap::new();
        for (i, standing) in &plan.stages {
            let instance = &study.instances[*i];
            let key = match standing {
                Standing::Fresh { .. } => continue,
                Standing::Stale { key, .. } => Some(*key),
                Standing::Pending { .. } => None,
            };
            let backend = backend_of(instance, world);
            let tag = key.map_or_else(|| self.tag_before(instance), |key| tag_of(&key));
            let above = instance.inputs.iter().flat_map(|edge| &edge.upstream);
            let mut after: Vec<u64> = above.filter_map(|upstream| ids.get(upstream).copied()).collect();
            after.sort_unstable();
            after.dedup();
            let job = self.detached(&tag, instance, backend, after)?;
            ids.extend(job.id().map(|id| (*i, id)));
            tell(streams, format_args!("{}: {}", instance.name, said(&job)));
        }
        if ids.is_empty() {
            return Ok(false);
        }
        let after = ids.values().copied().collect();
        let spec = self.spec(None, world.backend(), 1);
        let (what, options) = ("results".to_owned(), options(&self.project.settings.slurm, false, "cpu"));
        let directory = std::env::current_dir().unwrap_or_else(|_| self.project.root.clone());
        let request =
            Request { what, tasks: 1, options, program: self.program.clone(), verb: worker::VERB, directory, after };
        let tag = format!("results-{}", self.digest(&self.args.stages.join("\0")));
        let job = self.once(&tag, &spec, &request)?;
        tell(streams, format_args!("results: {}", said(&job)));
        tell(streams, format_args!("the same command without `--detach` attaches to these jobs"));
        Ok(true)
    }

    /// A job that runs by itself, unless there is one.
    fn detached(&self, tag: &str, instance: &Instance, backend: &str, after: Vec<u64>) -> Result<Job, Failure> {
        let request = self.request(instance, backend, after);
        let spec = self.spec(Some(&instance.name), backend, request.tasks);
        self.once(tag, &spec, &request)
    }

    fn once(&self, tag: &str, spec: &Spec, request: &Request) -> Result<Job, Failure> {
        let _held = self.store.lock_job(tag, &|| self.cancel.raised(), &|| ())?;
        let job = match self.living(tag)? {
            Some(job) => job,
            None => self.submit_as(tag, spec, request)?,
        };
        self.live().insert(job.name().to_owned(), job.clone());
        Ok(job)
    }
}

/// What is done is done, whether or not anybody reads of it.
fn tell(streams: &mut Streams<'_>, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(streams.err, "{words}");
}
