//! One short function per verb, and the only place that names the runner and the stages together. What is printed is handed to the
//! writers that `main` gives; nothing here prints by itself.
//!
//! Reading order: `project` (which folder, which manifest), `shared` (the cache that is shared with others), `places` (which files), `world` (what planning asks), `run`, `results`, `cluster` (stages as jobs) with `worker` (what a job runs), `report`, `inspect` (plan, check,
//! explain, graph, show), `cache`, `export`, `exit`.

mod cache;
mod cluster;
mod exit;
mod export;
mod inspect;
mod machine;
mod places;
mod project;
mod report;
mod results;
mod run;
mod shared;
mod worker;
mod world;

pub use exit::{Exit, Problem};

use std::io::{self, Write};
use std::sync::Arc;

use crate::cli::{Cli, Verb};
use crate::event::Sink;
use crate::report::{Errand, Lines, Manner, words};
use crate::store::Left;
use crate::{manifest, stages};

/// Where words go.
pub struct Streams<'a> {
    /// What was asked for: events, plans as JSON, graphs.
    pub out: &'a mut (dyn Write + Send),
    /// Words for people.
    pub err: &'a mut (dyn Write + Send),
    /// Whether `err` is a terminal.
    pub terminal: bool,
    /// Whether words are coloured.
    pub coloured: bool,
}

impl Streams<'_> {
    /// Tells people of what a verb meets in the cache: damage, or that it waits.
    fn teller(&self) -> Arc<dyn Sink> {
        Arc::new(Lines::new(io::stderr(), Manner { colour: self.coloured, verbose: false }))
    }

    /// Tells them that too, and how much is left of what may take long.
    fn errand(&self) -> Arc<Errand> {
        Arc::new(Errand::new(self.teller(), self.terminal))
    }
}

/// Has an errand tell what is left of it.
fn told(errand: &Errand) -> impl Fn(Left) + Sync {
    let say = |Left { items, noun, bytes }| {
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {},", words::bytes(bytes)));
        format!("{}{bytes} left", words::count(items, noun))
    };
    move |left| errand.tell(|| say(left))
}

/// Does what the command line says.
///
/// # Errors
/// What is to be said to the user, with its exit code.
pub fn execute(cli: Cli, streams: &mut Streams<'_>) -> Result<Exit, Problem> {
    match cli.verb {
        Verb::Run(args) => run::run(&args, streams),
        Verb::Plan(args) => inspect::plan(&args, streams),
        Verb::Check(args) => inspect::check(&args, streams),
        Verb::Explain(args) => inspect::explain(&args, streams),
        Verb::Graph(args) => inspect::graph(&args, streams),
        Verb::Show(args) => inspect::show(&args, streams),
        Verb::Report(args) => report::report(&args, streams),
        Verb::New(args) => project::new(&args.path, streams),
        Verb::Cache(args) => cache::care(&args, streams),
        Verb::Schema(args) => {
            let kinds = stages::kinds();
            if args.markdown {
                write!(streams.out, "{}", manifest::reference_page(&kinds))?;
            } else {
                writeln!(streams.out, "{:#}", manifest::schema(&kinds))?;
            }
            Ok(Exit::Done)
        }
        Verb::Work { folder } => worker::work(&folder, streams),
        Verb::Guard => Ok(Exit::Guard(crate::execute::guard::guard_main())),
    }
}
