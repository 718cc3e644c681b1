//! `--detach`: all jobs at once, each to run by itself when those above it are done.

use std::collections::BTreeMap;

use super::{Cluster, options, said, tag_of};
use crate::app::worker::{self, Spec};
use crate::app::{Problem, Streams};
use crate::execute::Failure;
use crate::manifest::Instance;
use crate::plan::{Plan, Standing, World, backend_of};
use crate::slurm::{Job, Request};

impl Cluster<'_> {
    /// Submits everything that is stale at once, each job after those of the stages above it, and a last one that writes the results.
    ///
    /// # Errors
    /// Slurm refuses; an interruption.
    pub fn detach(&self, wanted: &[usize], world: &dyn World, streams: &mut Streams<'_>) -> Result<(), Problem> {
        let study = &self.project.study;
        let plan = Plan::make(study, wanted, world);
        let problem = |failure: Failure| match failure {
            Failure::Interrupted => Problem::Interrupted,
            failure => Problem::Machine(failure.to_string()),
        };
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
            let job = self.detached(&tag, instance, backend, after).map_err(problem)?;
            ids.extend(job.id().map(|id| (*i, id)));
            writeln!(streams.err, "{}: {}", instance.name, said(&job))?;
        }
        if ids.is_empty() {
            return Ok(());
        }
        let after = ids.values().copied().collect();
        let spec = self.spec(None, world.backend(), 1);
        let (what, options) = ("results".to_owned(), options(&self.project.settings.slurm, "cpu"));
        let directory = std::env::current_dir().unwrap_or_else(|_| self.project.root.clone());
        let request =
            Request { what, tasks: 1, options, program: self.program.clone(), verb: worker::VERB, directory, after };
        let tag = format!("results-{}", self.digest(""));
        let job = self.once(&tag, &spec, &request).map_err(problem)?;
        writeln!(streams.err, "results: {}", said(&job))?;
        let manifest = self.args.study.manifest.display();
        writeln!(
            streams.err,
            "the same command without `--detach` attaches to these jobs: thalweg run {manifest} --executor slurm"
        )?;
        Ok(())
    }

    /// A job that runs by itself, unless there is one.
    fn detached(&self, tag: &str, instance: &Instance, backend: &str, after: Vec<u64>) -> Result<Job, Failure> {
        let request = self.request(instance, backend, after);
        let spec = self.spec(Some(&instance.name), backend, request.tasks);
        self.once(tag, &spec, &request)
    }

    fn once(&self, tag: &str, spec: &Spec, request: &Request) -> Result<Job, Failure> {
        let _held = self.store.lock_job(tag, &|| self.cancel.raised(), &|| ())?;
        match self.living(tag)? {
            Some(job) => Ok(job),
            None => self.submit_as(tag, spec, request),
        }
    }
}
