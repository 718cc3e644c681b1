#!/usr/bin/env python3
"""What a cache of 100,000 actions costs, and how fast a large one is verified, each beside what the machine can do in the same run.

Makes both caches in a folder in memory (`--at`), so that what is measured is the program and not the disk. Needs the release build; `pip install blake3`
for the rate that verifying is measured against. Prints minima of several rounds: machines are noisy."""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "target/release/thalweg")

MANY = """study = "many"
[stage.data]
kind = "dataset"
source = "digits"
subset = 20
[stage.train]
kind = "train"
data = "data"
model = {{ architecture = "mlp", hidden = [2] }}
batch = 20
epochs = 1
[stage.trace]
kind = "trace-estimate"
from = "train"
probes = {actions}
"""

LARGE = """study = "large"
[stage.made]
kind = "command"
program = "sh"
args = ["-c", "for i in 0 1 2 3 4 5 6 7; do yes $i | head -c {bytes} > $i.bin; done"]
outputs = ["0.bin", "1.bin", "2.bin", "3.bin", "4.bin", "5.bin", "6.bin", "7.bin"]
"""


def call(folder, *words):
    """Runs the program; seconds and MiB of its largest memory."""
    before = time.perf_counter()
    child = subprocess.Popen([PROGRAM, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - before
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"thalweg {' '.join(words)}: {err.decode()}")
    return seconds, used.ru_maxrss / 1024


def project(at, manifest):
    folder = tempfile.mkdtemp(dir=at)
    os.mkdir(os.path.join(folder, "cache"))
    with open(os.path.join(folder, "study.toml"), "w") as file:
        file.write(manifest)
    seconds, _ = call(folder, "run", "study.toml")
    print(f"  made in {seconds:.0f} s")
    return folder


def best(rounds, work):
    return min((work() for _ in range(rounds)), key=lambda pair: pair[0])


def rate(folder):
    """Seconds that BLAKE3 takes for every blob, with all cores and read as the program reads them."""
    from concurrent.futures import ThreadPoolExecutor

    from blake3 import blake3

    paths = [os.path.join(where, name) for where, _, names in os.walk(os.path.join(folder, "cache/blobs")) for name in names]

    def digest(path):
        blake3().update_mmap(path).digest()

    before = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(digest, paths))
    return time.perf_counter() - before, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actions", type=int, default=100_000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    args = parser.parse_args()
    folders = []
    try:
        print(f"a cache of {args.actions} actions")
        folders.append(project(args.at, MANY.format(actions=args.actions)))
        seconds, mebibytes = best(args.rounds, lambda: call(folders[0], "run", "study.toml"))
        print(f"  a run that finds all    {1000 * seconds:7.0f} ms  {mebibytes:5.0f} MiB")
        seconds, mebibytes = best(args.rounds, lambda: call(folders[0], "cache", "stats"))
        print(f"  cache stats             {1000 * seconds:7.0f} ms  {mebibytes:5.0f} MiB")
        seconds, mebibytes = best(args.rounds, lambda: call(folders[0], "cache", "verify"))
        print(f"  cache verify            {1000 * seconds:7.0f} ms  {mebibytes:5.0f} MiB")
        print(f"a cache of {args.mib} MiB in 8 blobs")
        folders.append(project(args.at, LARGE.format(bytes=args.mib * 2**20 // 8)))
        verify, mebibytes = best(args.rounds, lambda: call(folders[1], "cache", "verify"))
        print(f"  cache verify            {1000 * verify:7.0f} ms  {mebibytes:5.0f} MiB")
        try:
            alone, _ = best(args.rounds, lambda: rate(folders[1]))
            print(f"  BLAKE3 of the same      {1000 * alone:7.0f} ms: verify has {100 * alone / verify:.0f} % of its rate")
        except ImportError:
            print("  BLAKE3 alone is measured with `pip install blake3`")
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
