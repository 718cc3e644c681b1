"""Loss curves of PyTorch's own training on the digits, for tests/all/science/curves.rs.

Writes training.json beside this file: python tests/oracle/training.py DATASET, where DATASET is the blob of the 1,437 training digits in the
cache of any study that trains on them (`thalweg show study.toml train states` has its digest under `setting.data`). PyTorch's own
modules, default initialisation, label smoothing, SGD with momentum and permutations, in single precision. At the end of every epoch the
excess loss over the training set: the cross-entropy less the entropy of the smoothed target. Mean and standard deviation are over
seeds. Made with PyTorch 2.15 on a CPU.
"""

import json
import math
import pathlib
import struct
import sys

import torch
import torch.nn.functional as F

import networks

torch.set_num_threads(1)
SEEDS, EPOCHS, BATCH, CHUNK, SMOOTHING, CLASSES = 16, 20, 100, 500, 0.1, 10
SGD = {"lr": 0.1, "momentum": 0.9}
ENTROPY = -sum(q * math.log(q) for q in [SMOOTHING / CLASSES] * (CLASSES - 1) + [1 - SMOOTHING + SMOOTHING / CLASSES])


def dataset(path):
    data = path.read_bytes()
    magic = b"thalweg dataset 1\n"
    assert data.startswith(magic)
    samples, channels, height, width, classes = struct.unpack_from("<5Q", data, len(magic))
    assert (samples, channels, height, width, classes) == (1437, 1, 8, 8, CLASSES)
    at = len(magic) + 40
    labels = torch.tensor(struct.unpack_from(f"<{samples}I", data, at))
    pixels = torch.tensor(struct.unpack_from(f"<{samples * 64}f", data, at + 4 * samples))
    return pixels.view(samples, 1, 8, 8), labels


MODELS = {
    "mlp": lambda: networks.Mlp([64, 64, CLASSES], "relu"),
    "preact-resnet18": lambda: networks.PreactResNet18(1, 8, CLASSES, True),
}


def curve(x, y, name, seed):
    torch.manual_seed(seed)
    model = MODELS[name]()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    losses = []
    for epoch in range(EPOCHS + 1):
        with torch.no_grad():
            # Batch norm by the chunks themselves, as in training.
            logits = torch.cat([model(chunk) for chunk in x.split(CHUNK)]).double()
            losses.append(F.cross_entropy(logits, y, label_smoothing=SMOOTHING).item() - ENTROPY)
        if epoch == EPOCHS:
            return losses
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch], label_smoothing=SMOOTHING).backward()
            optimizer.step()


def main(path):
    x, y = dataset(path)
    found = {"dataset": path.name, "epochs": EPOCHS, "batch": BATCH, "smoothing": SMOOTHING, **SGD, "seeds": SEEDS}
    for name in MODELS:
        curves = torch.tensor([curve(x, y, name, seed) for seed in range(SEEDS)], dtype=torch.float64)
        found[name] = {"mean": curves.mean(0).tolist(), "deviation": curves.std(0).tolist()}
    target = pathlib.Path(__file__).with_name("training.json")
    target.write_text(json.dumps(found, indent=1) + "\n")


main(pathlib.Path(sys.argv[1]))
