//! How fast single parts are: `cargo bench --bench speed`. What the runner costs as a whole is measured by `benches/workflow/bench.py`.

mod curvature;
mod kernels;
mod runner;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    thalweg::ml::ops::memory::keep_pages();
    divan::main();
}
