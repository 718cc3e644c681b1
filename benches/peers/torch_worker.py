"""The peers' side of the benchmark: a worker that bench.py starts and asks, one request a line.

A request is a count and what to do that many times, such as `3 gradient resnet18`; the answer is one line, a list of so many results in
JSON, or {"error": ...}. What a request needs is set up when it is first asked, run once unmeasured, and kept. main.rs answers the same
requests, except those that name a method of a peer.

  parameters MODEL
  gradient MODEL
  hvp MODEL                          double backward
  forms METHOD MODEL PROBES          v'Hv at one point: double-backward, pyhessian, forward-over-forward
  peak METHOD MODEL PROBES           bytes that the forms hold at their peak; wants a process of its own
  conv DIRECTION CHANNELS SIDE       forward, input, weight
  norm DIRECTION CHANNELS SIDE       batch norm and ReLU: forward, backward
  trace pyhessian PRODUCTS FILE      tr H of a trained network
"""
import contextlib
import gc
import json
import os
import statistics
import sys
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, jvp

import torch_models

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
BATCH = 32
TURNS = 8
LOSS = nn.CrossEntropyLoss(label_smoothing=0.1)


class Network:
    def __init__(self, name):
        make, shape, batch = torch_models.MODELS[name]
        self.model, self.x, self.y = make(), torch.randn(batch, *shape), torch.arange(batch) % 10
        self.parameters = list(self.model.parameters())

    def loss(self):
        return LOSS(self.model(self.x), self.y)

    def gradient(self, graph=False):
        return torch.autograd.grad(self.loss(), self.parameters, create_graph=graph)

    def probe(self):
        return [torch.randint(0, 2, p.shape).float() * 2 - 1 for p in self.parameters]


def timed(work):
    def run():
        start = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - start}

    return run


def dot(a, b):
    return sum((x * y).sum() for x, y in zip(a, b)).item()


def double_backward(network, probes):
    gradient = network.gradient(graph=True)
    for _ in range(probes):
        v = network.probe()
        dot(torch.autograd.grad(gradient, network.parameters, v, retain_graph=True), v)


def pyhessian(network, probes):
    from pyhessian import hessian

    hessian(network.model, LOSS, data=(network.x, network.y), cuda=False).trace(maxIter=probes, tol=0)


def forward_over_forward(network, probes):
    names = [name for name, _ in network.model.named_parameters()]
    point = tuple(p.detach() for p in network.parameters)

    def loss(p):
        return LOSS(functional_call(network.model, dict(zip(names, p)), (network.x,)), network.y)

    for _ in range(probes):
        v = tuple(network.probe())
        jvp(lambda q: jvp(loss, (q,), (v,))[1], (point,), (v,))[1].item()


FORMS = {"double-backward": double_backward, "pyhessian": pyhessian, "forward-over-forward": forward_over_forward}


def parameters(name):
    count = sum(p.numel() for p in Network(name).parameters)
    return lambda: {"parameters": count}


def gradient(name):
    return timed(Network(name).gradient)


def hvp(name):
    network = Network(name)
    v = network.probe()
    return timed(lambda: torch.autograd.grad(network.gradient(graph=True), network.parameters, v))


def forms(method, name, probes):
    network = Network(name)
    return timed(lambda: FORMS[method](network, int(probes)))


def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def peak(method, name, probes):
    """As main.rs has it: less what was resident before the model was made, less the parameters and the data."""
    warm = Network("mlp-6220")
    FORMS[method](warm, 1)
    small = torch.randn(2, 8, 8, 8, requires_grad=True)
    F.conv2d(small, torch.randn(8, 8, 3, 3)).sum().backward()

    def run():
        gc.collect()
        before = resident("VmRSS:")
        network = Network(name)
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
        FORMS[method](network, int(probes))
        kept = 4 * (sum(p.numel() for p in network.parameters) + network.x.numel())
        return {"bytes": max(0, resident("VmHWM:") - before - kept)}

    return run


def conv(direction, channels, side):
    channels, side = int(channels), int(side)
    x, g = torch.randn(BATCH, channels, side, side), torch.randn(BATCH, channels, side, side)
    w = torch.randn(channels, channels, 3, 3)
    if direction == "forward":
        return timed(lambda: F.conv2d(x, w, padding=1))
    mask = [direction == "input", direction == "weight", False]
    ones, zeros = [1, 1], [0, 0]
    return timed(
        lambda: torch.ops.aten.convolution_backward(g, x, w, None, ones, ones, ones, False, zeros, 1, mask)
    )


def norm(direction, channels, side):
    channels, side = int(channels), int(side)
    shape = BATCH, channels, side, side
    backward = direction == "backward"
    w, b = (torch.randn(channels, requires_grad=backward) for _ in range(2))
    batches = [torch.randn(shape, requires_grad=backward) for _ in range(TURNS)]
    turn = 0

    def apply(x):
        return F.relu(F.batch_norm(x, None, None, w, b, training=True))

    def forward():
        nonlocal turn
        turn = (turn + 1) % TURNS
        with torch.no_grad():
            apply(batches[turn])

    saved = [(x, apply(x), torch.randn(shape)) for x in batches] if backward else []

    def reverse():
        nonlocal turn
        turn = (turn + 1) % TURNS
        x, y, g = saved[turn]
        torch.autograd.grad(y, [x, w, b], g, retain_graph=True)

    return timed(reverse if backward else forward)


def trace(method, products, path):
    """The setting up is the gradient, whose graph PyHessian then keeps."""
    from pyhessian import hessian
    from safetensors.torch import load_file

    if method != "pyhessian":
        raise ValueError(f"no method `{method}`")
    file = load_file(path)
    data = file.pop("images"), file.pop("labels")
    model = torch_models.resnet18(file["conv1.weight"].shape[0])
    model.load_state_dict(file)

    def run():
        start = time.perf_counter()
        operator = hessian(model, LOSS, data=data, cuda=False)
        ready = time.perf_counter()
        forms = operator.trace(maxIter=int(products), tol=0)
        seconds = time.perf_counter() - ready
        mean = statistics.fmean(forms)
        error = statistics.stdev(forms) / len(forms) ** 0.5
        return {"seconds": seconds, "setup_seconds": ready - start, "trace": mean, "relative_stderr": error / abs(mean)}

    return run


def eigenvalues(rows):
    matrix = numpy.random.default_rng(0).standard_normal((int(rows), int(rows)))
    matrix += matrix.T
    return timed(lambda: numpy.linalg.eigvalsh(matrix))


REQUESTS = {work.__name__: work for work in (parameters, gradient, hvp, forms, peak, conv, norm, trace, eigenvalues)}
# As in main.rs: done once, and leaves nothing behind that a second time could find.
UNPREPARED = ("peak", "trace", "eigenvalues")


def answer(line, ready):
    count, what, *arguments = line.split()
    request = what, *arguments
    if request not in ready:
        run = REQUESTS[what](*arguments)
        if what not in UNPREPARED:
            run()
        ready[request] = run
    return [ready[request]() for _ in range(int(count))]


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    ready = {}
    for line in sys.stdin:
        try:
            # Libraries may print; the replies alone go to the standard output.
            with contextlib.redirect_stdout(sys.stderr):
                reply = answer(line, ready)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), flush=True)


main()
