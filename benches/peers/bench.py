#!/usr/bin/env python3
"""thalweg against PyTorch, PyHessian and the machine itself: a line `NAME ours peer ratio` a row, and target/bench-peers.json.

usage: bench.py [--rounds 5] [--threads 2] [--list] [FILTER...]

Rows whose name contains one of the filters are measured; all without any. Both sides are workers that live through the whole run, main.rs
(`cargo build --release --bench peers`) and torch_worker.py in a virtual environment of its own under target/, which is made when it is missing or
when requirements.txt has changed. pip's own settings say from where; a build of PyTorch for CPUs is enough where there is an index of them.

A row is measured in rounds: ours, then each peer, then ours again. `ours` and `peer` are medians over the rounds, `ratio` is the median of the
rounds' ratios ours/peer. In seconds and bytes less is better, in GFLOP/s and GB/s more is. A request that takes less than SHORT is repeated within its turn,
and the turn's median counts. Beside the rows of several peers one named `best` compares with the one whose median is best.

Rows
  gradient/MODEL/torch               loss and gradient of one batch (models and batches: networks.rs, torch_models.py)
  hvp/MODEL/gradients, .../torch     Hv against our own gradient; against double backward
  form/MODEL/gradients               v'Hv per probe, FORMS of them at one point, against our own gradient
  form/MODEL/PEER                    the same against PyTorch's double backward, PyHessian and PyTorch's forward over forward
  peak/MODEL/PROBES/torch            memory of the forms at its peak, less parameters and data, in fresh processes, against double backward
  conv/CHANNELSxSIDE/DIRECTION/gemm  3x3 convolution of 32 images, counted one product at a time, against a product of matrices of 2048
  conv/.../torch                     the same against PyTorch's, in seconds
  norm/DIRECTION/memory              batch norm and ReLU, 32 images of 64x32x32, against the triad of STREAM (3 times 64 MiB; three passes counted). Counted
                                     are the passes that no implementation can spare: forward reads x and writes y, backward reads g and x and
                                     writes the gradient. Batches are taken in turn, so that none lies in the cache from before
  norm/DIRECTION/torch               the same against PyTorch's, in seconds
  hessian/mlp-6220/eigvalsh          the whole Hessian of 6,220 parameters over 500 samples in f64 and all its eigenvalues, against NumPy's eigenvalues alone
                                     of a matrix of as many rows
  trace/ESTIMATOR/pyhessian          seconds to 1 % standard error of tr H of Preact-ResNet18 of width 16 trained on 128 generated shapes: what comes before
                                     the first product, and a product's seconds times how many are needed. Both sides read one file of weights and data
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target"
SHORT = 0.2
FORMS = 4
MODELS = ["resnet18", "vgg16-bn", "densenet-bc", "convnet", "convnet-digits", "mlp", "mlp-6220"]
METHODS = ["double-backward", "pyhessian", "forward-over-forward"]
SHAPES = [(64, 32), (128, 16), (256, 8), (512, 4)]
TRIAD = 1 << 24
NORM = 32 * 64 * 32 * 32
# Our estimators of the trace that have a row, each a method that our worker's `trace` takes.
ESTIMATORS = ["hutchinson", "deflated"]
TOLERANCE, MANY, FEW = 0.01, 64, 8
TRAINED = TARGET / "bench-trained.safetensors"


class Refused(Exception):
    """A worker's own word that it cannot do what was asked."""


class Worker:
    def __init__(self, command, threads):
        names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
        environment = dict(os.environ, PYTHONWARNINGS="ignore", **{name: str(threads) for name in names})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)
        self.runs = {}

    def ask(self, count, request):
        self.process.stdin.write(f"{count} {request}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"`{request}` ended the worker")
        reply = json.loads(line)
        if isinstance(reply, dict):
            raise Refused(f"`{request}`: {reply['error']}")
        return reply

    def turn(self, request, value):
        """One turn: the median of as many runs as fill SHORT, which the first turn finds out."""
        if request not in self.runs:
            first = self.ask(1, request)[0]
            self.runs[request] = max(1, min(25, round(SHORT / first["seconds"])))
            if self.runs[request] == 1:
                return value(first)
        return statistics.median(value(result) for result in self.ask(self.runs[request], request))

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Sides:
    """The two workers, and fresh ones of their kind."""

    def __init__(self, commands, threads):
        self.commands, self.threads, self.workers = commands, threads, {}

    def worker(self, side):
        if side not in self.workers:
            self.workers[side] = Worker(self.commands[side], self.threads)
        return self.workers[side]

    def turn(self, quantity):
        side, request, value, fresh = quantity
        if not fresh:
            return self.worker(side).turn(request, value)
        worker = Worker(self.commands[side], self.threads)
        try:
            return value(worker.ask(1, request)[0])
        finally:
            worker.end()

    def end(self):
        for worker in self.workers.values():
            worker.end()


def quantity(side, request, value=None, fresh=False):
    return side, request, value or (lambda result: result["seconds"]), fresh


def per(count):
    return lambda result: result["seconds"] / count


def rate(amount):
    return lambda result: amount / result["seconds"] / 1e9


def table():
    """(name, unit, ours, peers): a row for each peer, named by its key."""
    rows = []
    for model in MODELS:
        request = f"gradient {model}"
        rows.append((f"gradient/{model}", "s", quantity("ours", request), {"torch": quantity("torch", request)}))
    for model in ["resnet18", "resnet18-w16"]:
        gradient = quantity("ours", f"gradient {model}")
        hvp = quantity("ours", f"hvp {model}")
        rows.append((f"hvp/{model}", "s", hvp, {"gradients": gradient}))
        rows.append((f"hvp/{model}", "s", hvp, {"torch": quantity("torch", f"hvp {model}")}))
        form = quantity("ours", f"forms {model} {FORMS}", per(FORMS))
        rows.append((f"form/{model}", "s", form, {"gradients": gradient}))
        peers = {method: quantity("torch", f"forms {method} {model} {FORMS}", per(FORMS)) for method in METHODS}
        rows.append((f"form/{model}", "s", form, peers))
    for probes in [1, FORMS]:
        value = lambda result: result["bytes"]
        ours = quantity("ours", f"peak resnet18 {probes}", value, True)
        peer = quantity("torch", f"peak double-backward resnet18 {probes}", value, True)
        rows.append((f"peak/resnet18/{probes}", "bytes", ours, {"torch": peer}))
    gemm = quantity("ours", "gemm 2048", rate(2 * 2048**3))
    for channels, side in SHAPES:
        for direction in ["forward", "input", "weight"]:
            name, request = f"conv/{channels}x{side}/{direction}", f"conv {direction} {channels} {side}"
            ours = quantity("ours", request, rate(2 * 32 * 9 * channels**2 * side**2))
            rows.append((name, "GFLOP/s", ours, {"gemm": gemm}))
            rows.append((name, "s", quantity("ours", request), {"torch": quantity("torch", request)}))
    triad = quantity("ours", f"triad {TRIAD}", rate(3 * 4 * TRIAD))
    for direction, passes in [("forward", 2), ("backward", 3)]:
        request = f"norm {direction} 64 32"
        ours = quantity("ours", request, rate(passes * 4 * NORM))
        rows.append((f"norm/{direction}", "GB/s", ours, {"memory": triad}))
        rows.append((f"norm/{direction}", "s", quantity("ours", request), {"torch": quantity("torch", request)}))
    eigenvalues = {"eigvalsh": quantity("torch", "eigenvalues 6220")}
    rows.append(("hessian/mlp-6220", "s", quantity("ours", "hessian mlp-6220"), eigenvalues))
    return rows


def row(name, unit, ours, peer):
    """Medians of the rounds, and the median of their ratios."""
    ratio = statistics.median(a / b for a, b in zip(ours, peer))
    return {"name": name, "ours": statistics.median(ours), "peer": statistics.median(peer), "ratio": ratio, "unit": unit}


def measure(sides, name, unit, ours, peers, rounds):
    """The rows of one entry of the table; a peer that refuses is told on the standard error and left out."""
    mine, theirs = [], {peer: [] for peer in peers}
    for at in range(rounds):
        mine.append(sides.turn(ours))
        for peer in list(theirs):
            try:
                theirs[peer].append(sides.turn(peers[peer]))
            except Refused as refused:
                print(f"{name}/{peer} is left out: {refused}", file=sys.stderr)
                del theirs[peer]

    rows = [row(f"{name}/{peer}", unit, mine, found) for peer, found in theirs.items()]
    if len(theirs) > 1:
        rows.append(row(f"{name}/best", unit, mine, min(theirs.values(), key=statistics.median)))
    return rows


def trace(sides, rounds, estimators):
    """The rows of the trained network: seconds to TOLERANCE. How many products an estimator of ours needs is found once, from MANY; the
    peer draws Hutchinson's probes too, and so needs as many as ours does by that method. Each turn then times FEW."""
    ours, peer = sides.worker("ours"), sides.worker("torch")
    ours.ask(1, f"train {TRAINED}")
    needed = {}
    for estimator in {"hutchinson", *estimators}:
        found = ours.ask(1, f"trace {estimator} {MANY} {TRAINED}")[0]
        needed[estimator] = MANY * (found["relative_stderr"] / TOLERANCE) ** 2
        print(f"tr H = {found['trace']:.5g}; {estimator} needs {needed[estimator]:.0f} products", file=sys.stderr)

    def turn(worker, method, products):
        result = worker.ask(1, f"trace {method} {FEW} {TRAINED}")[0]
        return result["trace"], result["setup_seconds"] + result["seconds"] / FEW * products

    mine, theirs = {estimator: [] for estimator in estimators}, []
    for _ in range(rounds):
        for estimator in estimators:
            value, seconds = turn(ours, estimator, needed[estimator])
            mine[estimator].append(seconds)
        other, seconds = turn(peer, "pyhessian", needed["hutchinson"])
        theirs.append(seconds)
        apart = TOLERANCE * (needed["hutchinson"] / FEW) ** 0.5 * abs(value)
        if abs(value - other) > 8 * apart:
            raise SystemExit(f"the two sides' traces differ: {value}, {other}")
    return [row(f"trace/{estimator}/pyhessian", "s", mine[estimator], theirs) for estimator in estimators]


def same_models(sides):
    """That both sides speak of the same models."""
    for model in [*MODELS, "resnet18-w16"]:
        counts = [sides.worker(side).ask(1, f"parameters {model}")[0]["parameters"] for side in ["ours", "torch"]]
        if counts[0] != counts[1]:
            raise SystemExit(f"`{model}` has {counts[0]} parameters here and {counts[1]} there")


def python():
    """The interpreter of the virtual environment, which is made where it is missing or old."""
    folder, wanted = TARGET / "bench-venv", (HERE / "requirements.txt").read_text()
    stamp, program = folder / "requirements.txt", folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"installing the peers in {folder}", file=sys.stderr)
        if not program.exists():
            venv.create(folder, symlinks=True, with_pip=True)
        subprocess.run([program, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"], check=True)
        shutil.copy(HERE / "requirements.txt", stamp)
    return str(program)


def built():
    """Our worker, built."""
    command = ["cargo", "build", "--release", "--bench", "peers", "--message-format", "json-render-diagnostics"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "peers" and m.get("executable"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()

    def wanted(name):
        return not options.filters or any(word in name for word in options.filters)

    entries = []
    for name, unit, ours, peers in table():
        chosen = {peer: what for peer, what in peers.items() if wanted(f"{name}/{peer}")}
        if len(peers) > 1 and wanted(f"{name}/best"):
            chosen = peers
        if chosen:
            entries.append((name, unit, ours, chosen))
    estimators = [estimator for estimator in ESTIMATORS if wanted(f"trace/{estimator}/pyhessian")]
    if options.list:
        names = [f"{name}/{peer}" for name, _, _, peers in entries for peer in peers]
        print("\n".join(names + [f"trace/{estimator}/pyhessian" for estimator in estimators]))
        return
    sides = Sides({"ours": [built()], "torch": [python(), str(HERE / "torch_worker.py")]}, options.threads)
    same_models(sides)
    rows = []

    def keep(found):
        for one in found:
            print(f"{one['name']:38} {one['ours']:<11.5g} {one['peer']:<11.5g} {one['ratio']:.3f}", flush=True)
        rows.extend(found)
        (TARGET / "bench-peers.json").write_text(json.dumps(rows, indent=1) + "\n")

    for name, unit, ours, peers in entries:
        keep(measure(sides, name, unit, ours, peers, options.rounds))
    if estimators:
        keep(trace(sides, options.rounds, estimators))
    sides.end()


main()
