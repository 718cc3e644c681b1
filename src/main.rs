//! The program: reads the command line, hands it to the library, turns what comes back into words and an exit code.
#![expect(clippy::print_stderr, reason = "a problem that ends the program is printed here and nowhere else")]

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use thalweg::app::{self, Problem, Streams};
use thalweg::cli::{self, Cli};

/// Studies allocate and free tensors of the same sizes all the time; this allocator keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = io::stderr().is_terminal();
    let coloured = cli::coloured(cli.color, terminal);
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut streams = Streams { out: &mut out, err: &mut err, terminal, coloured };
    match app::execute(cli, &mut streams) {
        Ok(exit) => exit.into(),
        Err(problem) => {
            print(&problem, coloured);
            problem.code()
        }
    }
}

fn print(problem: &Problem, coloured: bool) {
    match problem {
        Problem::Usage(reports) => {
            let theme =
                if coloured { miette::GraphicalTheme::unicode() } else { miette::GraphicalTheme::unicode_nocolor() };
            let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(110);
            for report in reports {
                let mut text = String::new();
                // Rendering into a string cannot fail; a report that could not be drawn is said plainly.
                if handler.render_report(&mut text, report.as_ref()).is_err() {
                    text = report.to_string();
                }
                eprintln!("{}", text.trim_end());
            }
        }
        Problem::Machine(message) => eprintln!("error: {message}"),
        Problem::Interrupted => eprintln!("interrupted; what was finished is kept"),
        Problem::Closed => {}
    }
}
