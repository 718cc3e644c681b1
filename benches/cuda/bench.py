#!/usr/bin/env python3
"""thalweg against PyTorch on one card, in one run: a line `NAME ours peer ratio` a row, and a JSON file of all.

usage: bench.py OURS [--rounds 5] [--into FILE] [FILTER...]

OURS is the worker that `cargo bench --no-run --bench cuda` builds. Rows whose name contains one of the filters are measured; all without any. PyTorch is
that of the Python this runs under; `--list` names the rows. A row is measured in rounds: ours, the peer, ours again; `ratio` is the median
of the rounds' ratios ours/peer, less is better. Rows of one model follow each other, and what they set up is forgotten before the next.

Rows
  gradient/MODEL/MODE/eager        loss and gradient of 500 images, against PyTorch with deterministic algorithms
  gradient/MODEL/MODE/best         the same against its fastest algorithms
  gradient/MODEL/MODE/compiled     the same against torch.compile
  form/MODEL/f32/torch             v'Hv of 4 probes at one point, a probe's seconds, against double backward
  form-memory/MODEL/f32/torch      bytes at its peak beside parameters and data
  descent/MODEL/MODE/torch         10 full-batch steps over 5,000 images
  epoch/MODEL/MODE/torch           an epoch over 50,000 images, batches of 500; and how busy the card is during ours
  gemm/MODE/torch                  a product of matrices of 8192
  copy/torch                       1 GiB read and written
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ["resnet18", "vgg16-bn", "densenet-bc"]
MODES = ["f32", "tf32", "bf16"]
PROBES = 4


class Refused(Exception):
    """A worker's own word that it cannot do what was asked."""


def busy(work):
    """The mean share of the time in which the card did something, in per cent, as nvidia-smi samples it while `work` is done."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    try:
        sampler = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return work(), None
    try:
        result = work()
    finally:
        sampler.terminate()
    samples = [float(line) for line in sampler.communicate()[0].split() if line.replace(".", "").isdigit()]
    return result, statistics.mean(samples[1:-1]) if len(samples) > 4 else None


class Worker:
    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def ask(self, request, count=1):
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
        return statistics.median(value(result) for result in self.ask(request, 3))


def table():
    """(name, unit, our request, the peer's, what of a result)."""
    seconds, a_probe = (lambda result: result["seconds"]), (lambda result: result["seconds"] / PROBES)
    rows = []
    for model in MODELS:
        for mode in MODES:
            ours = f"gradient {model} 500 {mode}"
            for way in ["eager", "best", "compiled"]:
                rows.append((f"gradient/{model}/{mode}/{way}", "s", ours, f"{ours} {way}", seconds))
        forms = f"forms {model} 500 f32 {PROBES}"
        rows.append((f"form/{model}/f32/torch", "s", forms, forms, a_probe))
        rows.append((f"form-memory/{model}/f32/torch", "B", forms, forms, lambda result: result["bytes"]))
    for mode in MODES:
        for what in [f"descent resnet18 5000 {mode} 10", f"epoch resnet18 50000 {mode}"]:
            rows.append((f"{what.split()[0]}/resnet18/{mode}/torch", "s", what, what, seconds))
        rows.append((f"gemm/{mode}/torch", "s", f"gemm 8192 {mode}", f"gemm 8192 {mode}", seconds))
    rows.append(("copy/torch", "s", "copy 1024", "copy 1024", seconds))
    return rows


def rates(medians):
    """What the card does at best here, and what of it a gradient reaches."""
    said = {}
    for mode in MODES:
        if f"gemm/{mode}/torch" in medians:
            said[f"matrix peak {mode}, TFLOP/s"] = 2 * 8192**3 / min(medians[f"gemm/{mode}/torch"]) / 1e12
    if "copy/torch" in medians:
        said["copy bandwidth, GB/s"] = 2 * 2**30 / min(medians["copy/torch"]) / 1e9
    for mode in MODES:
        row, peak = medians.get(f"gradient/resnet18/{mode}/eager"), said.get(f"matrix peak {mode}, TFLOP/s")
        if row and peak:
            # 0.556 GFLOP of multiplications and additions, twice, an image forward, and twice that back.
            said[f"gradient of resnet18 {mode}, share of the matrix peak"] = 500 * 3 * 2 * 0.556e9 / row[0] / 1e12 / peak
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("bench-cuda.json"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    asked = parser.parse_args()
    rows = [row for row in table() if not asked.filters or any(word in row[0] for word in asked.filters)]
    if asked.list:
        print("\n".join(row[0] for row in rows))
        return
    workers = Worker([asked.ours]), Worker([sys.executable, str(HERE / "torch_worker.py")])
    results, medians, before = [], {}, None
    for name, unit, request, peers, value in rows:
        group = name.rsplit("/", 1)[0]
        if group != before:
            for worker in workers:
                worker.ask("forget")
        before = group
        try:
            turns = []
            for _ in range(asked.rounds):
                first, peer = workers[0].turn(request, value), workers[1].turn(peers, value)
                turns.append((statistics.mean([first, workers[0].turn(request, value)]), peer))
            ours, peer = (statistics.median(side) for side in zip(*turns))
            ratio = statistics.median(a / b for a, b in turns)
            medians[name] = ours, peer
            print(f"{name:40} {ours:12.6g} {peer:12.6g} {ratio:8.3f}  {unit}", flush=True)
            results.append({"name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio, "turns": turns})
            if name.startswith("epoch/"):
                _, share = busy(lambda: workers[0].ask(request))
                results[-1]["busy"] = share
                print(f"{name:40} the card is busy {share} % of our epoch", flush=True)
        except Refused as refused:
            print(f"{name:40} {refused}", flush=True)
            results.append({"name": name, "refused": str(refused)})
        asked.into.write_text(json.dumps({"rows": results, "rates": rates(medians)}, indent=1))
    for what, amount in rates(medians).items():
        print(f"{what}: {amount:.3g}")


try:
    main()
except Refused as refused:
    sys.exit(f"bench.py: {refused}")
