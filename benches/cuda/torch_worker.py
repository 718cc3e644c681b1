"""PyTorch's side of the benchmark on a card: a worker that bench.py starts and asks, one request a line. main.rs answers the same requests.

Images are channels-last, batch norm takes the batch's own statistics. `MODE` is f32 (no TF32 anywhere), tf32 or bf16 (autocast). `eager` has
deterministic algorithms; `best` whatever is fastest (cudnn.benchmark); `compiled` is torch.compile of the forward pass.

  parameters MODEL BATCH MODE
  gradient MODEL BATCH MODE WAY          loss and gradient
  forms MODEL BATCH MODE PROBES          v'Hv by double backward, deterministic
  descent MODEL SAMPLES MODE STEPS       full-batch steps of SGD in chunks of 500, deterministic
  epoch MODEL SAMPLES MODE               an epoch of SGD, batches of 500, deterministic
  gemm SIZE MODE, copy MEBIBYTES
  forget                                 what was set up
"""
import contextlib
import gc
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "peers"))

import torch
import torch.nn as nn

from torch_models import networks, untracked

LOSS = nn.CrossEntropyLoss(label_smoothing=0.1)
MODELS = {
    "resnet18": lambda: networks.PreactResNet18(3, 64, 10, True),
    "vgg16-bn": lambda: networks.Vgg16(3, 32, 64, 10, True),
    "densenet-bc": lambda: networks.DenseNetBc(3, (6, 12, 24, 16), 12, 10),
}


def settings(mode, way):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.benchmark = way != "eager"
    torch.backends.cudnn.deterministic = way == "eager"
    torch.use_deterministic_algorithms(way == "eager")


class Network:
    def __init__(self, name, samples, mode, way="eager"):
        settings(mode, way)
        self.model = untracked(MODELS[name]()).cuda().to(memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if way == "compiled" else self.model
        self.x = torch.randn(samples, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last)
        self.y = torch.arange(samples, device="cuda") % 10
        self.parameters = list(self.model.parameters())
        self.mode, self.way = mode, way

    def loss(self, x, y):
        settings(self.mode, self.way)
        cast = torch.autocast("cuda", torch.bfloat16) if self.mode == "bf16" else contextlib.nullcontext()
        with cast:
            return LOSS(self.forward(x), y)

    def gradient(self, graph=False):
        return torch.autograd.grad(self.loss(self.x, self.y), self.parameters, create_graph=graph)

    def forms(self, probes):
        gradient = self.gradient(graph=True)
        sums = []
        for _ in range(probes):
            v = [torch.randint(0, 2, p.shape, device="cuda").to(p.dtype) * 2 - 1 for p in self.parameters]
            product = torch.autograd.grad(gradient, self.parameters, v, retain_graph=True)
            sums.append(sum((a * b).sum() for a, b in zip(product, v)).item())
        return sums

    def steps(self, count, whole):
        sgd = torch.optim.SGD(self.parameters, 0.1, 0.9)
        n = len(self.y)
        for _ in range(count):
            order = torch.arange(n, device="cuda") if whole else torch.randperm(n, device="cuda")
            sgd.zero_grad(set_to_none=True)
            for start in range(0, n, 500):
                chunk = order[start : start + 500]
                share = len(chunk) / n if whole else 1.0
                (self.loss(self.x[chunk], self.y[chunk]) * share).backward()
                if not whole:
                    sgd.step()
                    sgd.zero_grad(set_to_none=True)
            if whole:
                sgd.step()


def timed(work):
    def run():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), time.perf_counter()
        work()
        torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - start, "bytes": torch.cuda.max_memory_allocated() - before}

    return run


def prepare(words):
    match words:
        case ["parameters", name, batch, mode]:
            count = sum(p.numel() for p in Network(name, int(batch), mode).parameters)
            return lambda: {"parameters": count}
        case ["gradient", name, batch, mode, way]:
            network = Network(name, int(batch), mode, way)
            return timed(network.gradient)
        case ["forms", name, batch, mode, probes]:
            network = Network(name, int(batch), mode)
            return timed(lambda: network.forms(int(probes)))
        case ["descent", name, samples, mode, steps]:
            network = Network(name, int(samples), mode)
            return timed(lambda: network.steps(int(steps), True))
        case ["epoch", name, samples, mode]:
            network = Network(name, int(samples), mode)
            return timed(lambda: network.steps(1, False))
        case ["gemm", size, mode]:
            settings(mode, "best")
            dtype = torch.bfloat16 if mode == "bf16" else torch.float32
            a = torch.ones(int(size), int(size), device="cuda", dtype=dtype)

            def product():
                settings(mode, "best")
                return a @ a

            return timed(product)
        case ["copy", mebibytes]:
            x = torch.ones(int(mebibytes) << 18, device="cuda")
            return timed(lambda: x * 2)
    raise ValueError(f"no such request: `{' '.join(words)}`")


def answer(line, ready):
    count, request = line.strip().split(" ", 1)
    if request == "forget":
        ready.clear()
        gc.collect()
        torch.cuda.empty_cache()
        return []
    if request not in ready:
        run = prepare(request.split(" "))
        for _ in range(2):
            run()
        ready[request] = run
    return [ready[request]() for _ in range(int(count))]


def main():
    ready = {}
    for line in sys.stdin:
        try:
            reply = answer(line, ready)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main()
