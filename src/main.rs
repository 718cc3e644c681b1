//! The command line of thalweg.

use std::process::ExitCode;

use thalweg::execute::guard;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == guard::ARGUMENT) {
        return guard::guard_main();
    }
    ExitCode::SUCCESS
}
