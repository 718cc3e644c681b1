//! Our side of the benchmark against peers: a worker that `bench.py` starts and asks, one request a line.
//!
//! A request is a count and what to do that many times, such as `3 gradient resnet18`; the answer is one line, a list of so many results
//! in JSON, or `{"error": …}`. What a request needs is set up when it is first asked, run once unmeasured, and kept. `torch_worker.py`
//! answers the same requests.
//!
//! Reading order: this file, `networks` (models and what is asked of them), `kernels` (convolutions, batch norm, and what the machine can),
//! `trained` (the trace of a trained network).

mod kernels;
mod networks;
mod trained;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Does what was asked once and says what came of it.
type Run = Box<dyn FnMut() -> Result<Value>>;

/// Runs `work` and says how many seconds it took.
fn timed<T>(mut work: impl FnMut() -> Result<T> + 'static) -> Run {
    Box::new(move || {
        let start = Instant::now();
        std::hint::black_box(work()?);
        Ok(json!({ "seconds": start.elapsed().as_secs_f64() }))
    })
}

fn prepare(words: &[&str]) -> Result<Run> {
    match *words {
        ["parameters", model] => networks::parameters(model),
        ["gradient", model] => networks::gradient(model),
        ["hvp", model] => networks::hvp(model),
        ["hessian", model] => networks::hessian(model),
        ["forms", model, probes] => networks::forms(model, probes.parse()?),
        ["peak", model, probes] => Ok(networks::peak(model, probes.parse()?)),
        ["conv", direction, channels, side] => kernels::conv(direction, channels.parse()?, side.parse()?),
        ["norm", direction, channels, side] => kernels::norm(direction, channels.parse()?, side.parse()?),
        ["gemm", size] => kernels::gemm(size.parse()?),
        ["triad", length] => Ok(kernels::triad(length.parse()?)),
        ["train", path] => Ok(trained::train(path)),
        ["trace", method, products, path] => trained::trace(method, products.parse()?, path),
        _ => Err(format!("no such request: `{}`", words.join(" ")).into()),
    }
}

/// Requests that are done once and leave nothing behind that a second time could find.
const UNPREPARED: [&str; 4] = ["hessian", "peak", "train", "trace"];

fn answer(line: &str, ready: &mut BTreeMap<String, Run>) -> Result<Vec<Value>> {
    let (count, request) = line.trim().split_once(' ').ok_or("expected a count and a request")?;
    let words: Vec<&str> = request.split(' ').collect();
    if !ready.contains_key(request) {
        let mut run = prepare(&words)?;
        if !UNPREPARED.contains(&words[0]) {
            run()?;
        }
        ready.insert(request.to_owned(), run);
    }
    let run = ready.get_mut(request).ok_or("a request that was just prepared is there")?;
    (0..count.parse::<usize>()?).map(|_| run()).collect()
}

fn main() -> io::Result<()> {
    thalweg::ml::ops::memory::keep_pages();
    let mut ready = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let reply = match answer(&line?, &mut ready) {
            Ok(results) => Value::from(results),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}
