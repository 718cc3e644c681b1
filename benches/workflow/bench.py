#!/usr/bin/env python3
"""What the runner itself costs: a chain and a fan of tiny commands, under thalweg and under ninja in the same minutes.

usage: bench.py [--thalweg BIN] [--ninja BIN] [--chain 100] [--fan 1000] [--reps 5] [--work DIR] [--shape chain|fan]

Shapes
  chain  s0 -> s1 -> ... -> s{N-1}; stage i reads what stage i-1 wrote
  fan    N independent stages, and one stage `join` that reads what all of them wrote

Every stage runs `sh step.sh P OUT IN...`, which writes the SHA-256 of P and its inputs to OUT. A P that begins with `same` counts as
`same`, so that a parameter can change and the bytes stay: what is below must then not run (early cut-off).

Scenarios
  cold    everything runs, from an empty folder
  no-op   again, with nothing changed
  plan    `thalweg plan`, `ninja -n`
  tail    a parameter five stages before the end changed
  revert  that parameter set back to a value it had before
  cut-off a parameter in the middle changed, the bytes its stage writes did not

Columns: wall seconds, CPU seconds of the whole process tree (user + system), `own`: CPU seconds of the runner and of its guard without the
commands they started (read from /proc while they run, so it misses the last few milliseconds), the largest resident size of one process in MB, and how
many commands ran. Medians. ninja compares modification times and keeps no results of earlier parameters: it is the floor of what
a runner can cost, and not a peer in what it promises.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

STEP = """\
p="$1"; out="$2"; shift 2
case "$p" in same*) p=same;; esac
echo "$out" >> "$STEP_LOG"
{ printf '%s\\n' "$p"; cat "$@"; } | sha256sum | cut -c1-64 > "$out"
"""
TICK = os.sysconf("SC_CLK_TCK")


def stages(shape, n):
    """Yields name, parameter, output, the user's files read, the stages read."""
    if shape == "chain":
        for i in range(n):
            yield f"s{i}", f"v{i}", f"out/s{i}.txt", ["src.txt"] if i == 0 else [], [f"s{i - 1}"] if i else []
        return
    for i in range(n):
        yield f"s{i}", f"v{i}", f"out/s{i}.txt", ["src.txt"], []
    yield "join", "join", "out/join.txt", [], [f"s{i}" for i in range(n)]


def reads(files, above):
    return files + [f"out/{name}.txt" for name in above]


class Thalweg:
    def __init__(self, binary, folder, log):
        flags = ["bench.toml", "--cache", "cache", "--results", "results"]
        self.run, self.plan = [binary, "run", *flags], [binary, "plan", *flags]
        self.folder, self.log, self.file = folder, log, "bench.toml"

    def write(self, all_stages):
        os.makedirs(f"{self.folder}/cache")
        lines = ['study = "bench"']
        for name, p, out, files, above in all_stages:
            args = ["step.sh", p, out, *reads(files, above)]
            lines += ["", f"[stage.{name}]", 'kind = "command"', 'program = "sh"', f"args = {quoted(args)}"]
            lines += [f'env = {{ STEP_LOG = "{self.log}" }}', f"inputs = {quoted(['step.sh', *files])}"]
            lines += [f'outputs = ["{out}"]'] + ([f"from = {quoted(above)}"] if above else [])
        put(f"{self.folder}/bench.toml", "\n".join(lines) + "\n")

    def set(self, i, value):
        edit(f"{self.folder}/bench.toml", rf'("step.sh", )"[^"]*"(, "out/s{i}.txt")', rf'\1"{value}"\2')


class Ninja:
    def __init__(self, binary, folder, log):
        self.run, self.plan = [binary, "--quiet"], [binary, "-n", "--quiet"]
        self.folder, self.log, self.file = folder, log, "build.ninja"

    def write(self, all_stages):
        kept = "if cmp -s $out $out.tmp; then rm $out.tmp; else mv $out.tmp $out; fi"
        lines = ["rule step", f"  command = STEP_LOG={self.log} sh step.sh $p $out.tmp $ins && {kept}", "  restat = 1", ""]
        for _, p, out, files, above in all_stages:
            ins = " ".join(reads(files, above))
            lines += [f"build {out}: step {ins} | step.sh", f"  p = {p}", f"  ins = {ins}"]
        put(f"{self.folder}/build.ninja", "\n".join(lines) + "\n")

    def set(self, i, value):
        edit(f"{self.folder}/build.ninja", rf"(build out/s{i}\.txt: [^\n]*\n  p = )\S+", rf"\g<1>{value}")


def quoted(words):
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def put(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def edit(path, pattern, replacement):
    with open(path, encoding="utf-8") as file:
        text, count = re.subn(pattern, replacement, file.read())
    assert count == 1, (pattern, count)
    put(path, text)


class Watch(threading.Thread):
    """CPU seconds of a process and of its direct children that are guards, without what these started."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.own, self.over = pid, {}, threading.Event()

    def run(self):
        guards = set()
        while not self.over.wait(0.02):
            for pid in {self.pid, *guards}:
                self.look(pid)
            if not guards:
                guards = {child for child in self.children() if b"__guard" in slurp(f"/proc/{child}/cmdline")}

    def children(self):
        found = []
        for thread in os.listdir(f"/proc/{self.pid}/task") if os.path.isdir(f"/proc/{self.pid}/task") else []:
            found += slurp(f"/proc/{self.pid}/task/{thread}/children").split()
        return {int(child) for child in found}

    def look(self, pid):
        fields = slurp(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
        if len(fields) > 12:
            self.own[pid] = (int(fields[11]) + int(fields[12])) / TICK


def slurp(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def timed(command, folder, log):
    """Runs a command; wall, CPU of the tree, CPU of the runner alone, largest resident size in MB, commands run."""
    put(log, "")
    with open(f"{folder}/said", "wb") as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        watch = Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    watch.over.set()
    watch.join()
    if status:
        sys.exit(f"{command} ended with {status}:\n{slurp(f'{folder}/said').decode()[-3000:]}")
    ran = slurp(log).count(b"\n")
    return wall, usage.ru_utime + usage.ru_stime, sum(watch.own.values()), usage.ru_maxrss / 1024, ran


def measure(system, binary, shape, n, options):
    folder = log = ""

    def fresh():
        # A new folder each time, removed at the very end: some file systems look long for a free number for each new file while many
        # were removed in the last minute.
        nonlocal folder, log
        folder = tempfile.mkdtemp(prefix=f"{system.__name__.lower()}-{shape}-{n}-", dir=options.work)
        log = folder + ".log"
        os.makedirs(f"{folder}/out")
        put(f"{folder}/step.sh", STEP)
        put(f"{folder}/src.txt", "source\n")
        runner = system(binary, folder, log)
        runner.write(list(stages(shape, n)))
        # The user's files are seconds old wherever people edit; a file younger than that is read again by every run.
        time.sleep(2.1)
        return runner

    def report(scenario, samples):
        wall, cpu, own, size, _ = (statistics.median(column) for column in zip(*samples))
        ran = "/".join(sorted({str(sample[4]) for sample in samples}))
        row = [shape, str(n), system.__name__.lower(), scenario, f"{wall:.3f}", f"{cpu:.3f}", f"{own:.2f}", f"{size:.0f}", ran]
        print("| " + " | ".join(row) + " |", flush=True)

    cold = []
    for _ in range(1 if n >= 500 else 3):
        runner = fresh()
        cold.append(timed(runner.run, folder, log))
    report("cold", cold)
    # What a cold run wrote is young as well; the first run after it remembers it.
    time.sleep(2.1)
    timed(runner.run, folder, log)
    times = range(options.reps)
    report("no-op", [timed(runner.run, folder, log) for _ in times])
    report("plan", [timed(runner.plan, folder, log) for _ in times])
    near, middle = max(0, n - 5), n // 2

    def changed(i, value):
        runner.set(i, value)
        return timed(runner.run, folder, log)

    report("tail", [changed(near, f"new{k}") for k in times])
    report("revert", [changed(near, f"new{k % 2}") for k in times])
    changed(middle, "same-first")
    report("cut-off", [changed(middle, f"same-{k}") for k in times])


def main():
    parser = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--thalweg", default=os.path.join(here, "../../target/release/thalweg"))
    parser.add_argument("--ninja", default=shutil.which("ninja"))
    parser.add_argument("--chain", type=int, default=100)
    parser.add_argument("--fan", type=int, default=1000)
    parser.add_argument("--shape", choices=["chain", "fan"])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--work")
    options = parser.parse_args()
    own = None if options.work else tempfile.TemporaryDirectory()
    options.work = os.path.abspath(options.work or own.name)
    print("| shape | N | runner | scenario | wall s | CPU s | own CPU s | MB | ran |\n|---|---|---|---|---|---|---|---|---|")
    for shape in [options.shape] if options.shape else ["chain", "fan"]:
        for system, binary in [(Thalweg, options.thalweg), (Ninja, options.ninja)]:
            if binary:
                measure(system, os.path.abspath(binary), shape, getattr(options, shape), options)


main()
