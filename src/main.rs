//! The program: reads the command line, hands it to the library, turns what comes back into words and an exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use thalweg::app::{self, Problem, Streams};
use thalweg::cli::{self, Cli};
use thalweg::ml::ops::memory;

/// Studies allocate and free tensors of the same sizes all the time; this allocator keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    memory::keep_pages();
    let cli = Cli::parse();
    let terminal = io::stderr().is_terminal();
    let coloured = cli::coloured(cli.color, terminal);
    let (mut out, mut err) = (io::stdout(), Words(io::stderr()));
    let mut streams = Streams { out: &mut out, err: &mut err, terminal, coloured };
    match app::execute(cli, &mut streams) {
        Ok(exit) => exit.into(),
        Err(problem) => {
            say(&problem, &mut Words(io::stderr()), coloured);
            problem.code()
        }
    }
}

/// The standard error, on which a word that cannot be written is lost: how the program ends is told by its exit code.
struct Words(io::Stderr);

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says what ended the program.
fn say(problem: &Problem, words: &mut Words, coloured: bool) {
    let said = match problem {
        Problem::Usage(reports) => {
            let theme =
                if coloured { miette::GraphicalTheme::unicode() } else { miette::GraphicalTheme::unicode_nocolor() };
            let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(110);
            let mut all = String::new();
            for report in reports {
                let mut text = String::new();
                // Rendering into a string cannot fail; a report that could not be drawn is said plainly.
                if handler.render_report(&mut text, report.as_ref()).is_err() {
                    text = report.to_string();
                }
                all.push_str(text.trim_end());
                all.push('\n');
            }
            all
        }
        Problem::Machine(message) => format!("error: {message}\n"),
        Problem::Interrupted => "interrupted; what was finished is kept\n".to_owned(),
        Problem::Closed => return,
    };
    let _ = words.write_all(said.as_bytes());
}
