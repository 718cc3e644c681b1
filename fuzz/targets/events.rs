//! Any line is an event of a job or nothing; what is one is told to people without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::event::{Event, Sink};
use thalweg::report::{JsonLines, Lines, Manner, Tally};

fuzz_target!(|line: &str| {
    if let Ok(event) = serde_json::from_str::<Event>(line) {
        let tally = Tally::new();
        tally.emit(event.clone());
        let lines = Lines::new(Vec::new(), Manner { colour: false, verbose: true });
        lines.emit(event.clone());
        JsonLines::new(Vec::new()).emit(event);
    }
});
