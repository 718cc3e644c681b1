//! What Slurm says of a job.

/// A job's or task's state, as far as it matters to who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits, for this reason.
    Pending(String),
    /// It runs, or is about to.
    Active,
    /// It is being ended, whatever comes then: it may have been cancelled, or go back into the queue.
    Ending,
    /// It ended by itself with 0.
    Completed,
    /// It ended by itself with something else, or could not be begun.
    Failed,
    /// Somebody cancelled it, or a job that it depended on failed.
    Cancelled,
    /// It reached its time limit or deadline.
    Timeout,
    /// It used more memory than it asked for.
    OutOfMemory,
    /// The machine failed under it, or others went before it: the same job may succeed.
    Evicted,
}

impl State {
    /// The state that Slurm calls so, with its reason.
    pub fn of(name: &str, reason: &str) -> Self {
        // `CANCELLED by 0`, `COMPLETED+`
        match name.split([' ', '+']).next().unwrap_or_default() {
            "PENDING" => Self::Pending(reason.to_owned()),
            "COMPLETED" => Self::Completed,
            "CANCELLED" | "REVOKED" => Self::Cancelled,
            "TIMEOUT" | "DEADLINE" => Self::Timeout,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            "NODE_FAIL" | "BOOT_FAIL" | "PREEMPTED" => Self::Evicted,
            "FAILED" | "SPECIAL_EXIT" => Self::Failed,
            "COMPLETING" | "SIGNALING" | "STAGE_OUT" => Self::Ending,
            _ => Self::Active,
        }
    }

    /// Whether it may still run.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Active | Self::Ending)
    }
}

/// A line of `squeue`: which job it is of, which is an array's for a task, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) state: State,
}

/// What `squeue` is asked for each job. The name is last, since it alone may hold anything.
pub(super) const QUEUE_FORMAT: &str = "%F|%T|%r|%j";

/// The lines of an answer of `squeue`.
pub(super) fn queued(answer: &str) -> Vec<Queued> {
    let line = |line: &str| {
        let mut parts = line.trim_end().splitn(4, '|');
        let (id, state, reason) = (parts.next()?.trim().parse().ok()?, parts.next()?, parts.next()?);
        Some(Queued { id, state: State::of(state, reason), name: parts.next()?.to_owned() })
    };
    answer.lines().filter_map(line).collect()
}

/// The states in an answer of `scontrol show job --oneliner`, of jobs with this name.
pub(super) fn shown(answer: &str, name: &str) -> Vec<State> {
    let field = |line: &str, key: &str| -> Option<String> {
        line.split_whitespace().find_map(|word| word.strip_prefix(key)).map(str::to_owned)
    };
    let ours = answer.lines().filter(|line| field(line, "JobName=").as_deref() == Some(name));
    let state = |line: &str| Some(State::of(&field(line, "JobState=")?, &field(line, "Reason=").unwrap_or_default()));
    ours.filter_map(state).collect()
}

/// The states in an answer of `sacct --parsable2 --noheader --format=JobName,State`, of jobs with this name.
pub(super) fn accounted(answer: &str, name: &str) -> Vec<State> {
    let lines = answer.lines().filter_map(|line| line.split_once('|'));
    lines.filter(|(job, _)| *job == name).map(|(_, state)| State::of(state, "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_queue_are_read_and_others_passed_over() {
        let answer = "12|PENDING|Priority|thalweg-a\n13|RUNNING|None|thal|weg\nnonsense\n14|COMPLETING|None|x\n";
        let pending = Queued { id: 12, state: State::Pending("Priority".into()), name: "thalweg-a".into() };
        let running = Queued { id: 13, state: State::Active, name: "thal|weg".into() };
        let ending = Queued { id: 14, state: State::Ending, name: "x".into() };
        assert_eq!(queued(answer), [pending, running, ending]);
    }

    #[test]
    fn only_jobs_of_our_name_are_believed() {
        let answer = "JobId=5 JobName=thalweg-a UserId=root(0) JobState=TIMEOUT Reason=TimeLimit\n\
                      JobId=5 JobName=other JobState=COMPLETED Reason=None\n";
        assert_eq!(shown(answer, "thalweg-a"), [State::Timeout]);
        assert_eq!(shown(answer, "thalweg-b"), []);
        let answer = "thalweg-a|CANCELLED by 0\nbatch|COMPLETED\nthalweg-a|NODE_FAIL\n";
        assert_eq!(accounted(answer, "thalweg-a"), [State::Cancelled, State::Evicted]);
    }
}
