# Everything that must pass before anything lands.
ci:
    .ci/run

# Whether it compiles.
check:
    cargo check --release --all-targets

# The tests.
test:
    cargo test --release

# Stages as jobs of a real Slurm on this machine, and through its crashes. Installs Slurm where it is missing: root, apt-get.
test-slurm *ARGS:
    scripts/test-slurm {{ARGS}}

# A cache shared on a real S3 server on this machine, and over bad links. Installs one (Ceph's) where it is missing: root, apt-get.
test-s3 *ARGS:
    scripts/test-s3 {{ARGS}}

# Formatting and lints.
lint:
    cargo fmt --check
    cargo clippy --release --all-targets --test slurm --test s3 -- -D warnings

# Formats the code.
fmt:
    cargo fmt

# What the runner itself costs, beside ninja where that is installed.
bench *ARGS:
    cargo build --release
    python3 benches/workflow/bench.py {{ARGS}}

# The numerics beside PyTorch and PyHessian, which it installs under target/: all rows, or those whose names contain a word.
bench-peers *ROWS:
    python3 benches/peers/bench.py {{ROWS}}

# The numerics suite on this machine's card.
test-cuda:
    scripts/cuda build target/cuda
    scripts/cuda test target/cuda

# Gradients, quadratic forms, descents and epochs on this machine's card beside PyTorch, which `python3` has: all rows, or those whose names contain a word.
bench-cuda *ROWS:
    scripts/cuda build target/cuda
    scripts/cuda bench target/cuda {{ROWS}}

# Whether it compiles without GPUs; with them is the default.
ci-cuda:
    cargo check --release --all-targets
    cargo check --release --no-default-features

# Makes the PTX of the kernels anew, with nvcc.
kernels:
    scripts/kernels

# The documentation of the code.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps

# Renews the reference of all kinds and the schema in docs/.
docs:
    cargo run --release --quiet -- schema > docs/manifest.schema.json
    cargo run --release --quiet -- schema --markdown > docs/kinds.md

# Fig. 1: projected paths are connected.
reproduce-fig1 PROFILE="small":
    cargo run --release -- run pipelines/fig1.toml --profile {{PROFILE}}

# Fig. 2a: the sum of the negative eigenvalues against the loss.
reproduce-fig2a PROFILE="small":
    cargo run --release -- run pipelines/fig2a.toml --profile {{PROFILE}}

# Fig. 2b: in a toy valley SGD lowers the trace by the square of the learning rate.
reproduce-fig2b PROFILE="small":
    cargo run --release -- run pipelines/fig2b.toml --profile {{PROFILE}}

# Fig. 2c and 2d: which noise lowers the trace, and which the determinant.
reproduce-fig2cd PROFILE="small":
    cargo run --release -- run pipelines/fig2cd.toml --profile {{PROFILE}}

# Fig. 3: the trace falls along the projected path.
reproduce-fig3 PROFILE="small":
    cargo run --release -- run pipelines/fig3.toml --profile {{PROFILE}}

# Fig. 4: the trace falls elsewhere too.
reproduce-fig4 PROFILE="small":
    cargo run --release -- run pipelines/fig4.toml --profile {{PROFILE}}

# Fig. 5: the Hessian and the covariance of the noise align.
reproduce-fig5 PROFILE="small":
    cargo run --release -- run pipelines/fig5.toml --profile {{PROFILE}}

# Fig. 6: two timescales.
reproduce-fig6 PROFILE="small":
    cargo run --release -- run pipelines/fig6.toml --profile {{PROFILE}}

# Fig. 7: the entropic force against the energetic one.
reproduce-fig7 PROFILE="small":
    cargo run --release -- run pipelines/fig7.toml --profile {{PROFILE}}

# Beyond the paper: how fast noise lowers the trace, which noise lowers what on a network, alignment at scale.
reproduce-beyond PROFILE="small":
    scripts/reproduce {{PROFILE}} theorem1-drift theorem2-network alignment-at-scale

# Every figure there is, and the table of their claims.
reproduce-all PROFILE="small":
    scripts/reproduce {{PROFILE}} fig1 fig2a fig2b fig2cd fig3 fig4 fig5 fig6 fig7 theorem1-drift theorem2-network alignment-at-scale

# The table of claims in the README, from what the cache holds.
report PROFILE="small":
    cargo run --release --quiet -- report pipelines/fig*.toml pipelines/theorem*.toml pipelines/alignment-at-scale.toml --profile {{PROFILE}} --into README.md
