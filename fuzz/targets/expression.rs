//! Any text is an expression, whose value and derivatives are numbers or not finite, or an error whose place lies in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::ml::toy::expression::Expression;
use thalweg::ml::toy::landscape::Landscape;

fuzz_target!(|text: &str| match Expression::parse(text, 'x', 3) {
    Ok(expression) => {
        if let Ok(landscape) = Landscape::new(expression, 3, vec![0, 1]) {
            let x = [0.5, -1.25, 3.0];
            let _ = (landscape.loss(&x), landscape.eigenvalues(&x), landscape.trace_slope(&x));
        }
    }
    Err(problem) => assert!(problem.span.end <= text.len(), "{problem:?}"),
});
