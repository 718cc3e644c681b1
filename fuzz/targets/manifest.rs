//! Any text is a study or an error with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::{manifest, stages};

fuzz_target!(|text: &str| {
    let source = manifest::Source::new("study.toml", text.to_owned());
    if let Err(diagnostics) = manifest::load(source, &stages::kinds(), Some("smoke"), &[]) {
        // Rendering is where places outside the text would show.
        for report in diagnostics.into_reports() {
            let _ = format!("{report:?}");
        }
    }
});
