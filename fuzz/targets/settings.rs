//! Any text is a `thalweg.toml` or an error with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::manifest::{Settings, Source};

fuzz_target!(|text: &str| {
    if let Err(diagnostics) = Settings::load(Source::new("thalweg.toml", text.to_owned())) {
        for report in diagnostics.into_reports() {
            let _ = format!("{report:?}");
        }
    }
});
