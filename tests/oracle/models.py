"""Losses and derivatives of thalweg's models from PyTorch's own autograd, in double precision.

Writes models.json beside this file: python tests/oracle/models.py. No random generator: parameters, inputs and
directions are formulas that src/ml/oracle_tests.rs repeats. Made with PyTorch 2.15 on a CPU.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

from networks import AllConv, ConvNet, DenseNetBc, Mlp, Norm, PreactResNet18, Vgg16

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

def formula(count, scale, rate, phase):
    return torch.tensor([scale * math.sin(rate * i + phase) for i in range(count)])


def excess(loss, z, labels):
    if loss == "squared-error":
        return 0.5 * ((z - F.one_hot(labels, z.shape[1])) ** 2).sum(1).mean()
    smoothing = 0.1
    q = smoothing / z.shape[1] + (1 - smoothing) * F.one_hot(labels, z.shape[1])
    return (q * (q.log() - F.log_softmax(z, 1))).sum(1).mean()


CASES = [
    ("mlp tanh", Mlp([12, 7, 5, 4], "tanh"), (9, 1, 3, 4), 4, "smoothed"),
    ("mlp relu", Mlp([12, 7, 4], "relu"), (9, 1, 3, 4), 4, "squared-error"),
    ("convnet tanh", ConvNet(2, (3, 4, 5, 3), 8, 4, "tanh"), (6, 2, 8, 8), 4, "smoothed"),
    ("convnet relu", ConvNet(1, (3, 4, 5, 3), 8, 4, "relu"), (6, 1, 8, 8), 4, "smoothed"),
    ("resnet", PreactResNet18(3, 2, 4, True), (6, 3, 16, 16), 4, "smoothed"),
    ("resnet without last norm", PreactResNet18(1, 3, 4, False), (5, 1, 8, 8), 4, "squared-error"),
    ("all-conv tanh", AllConv(3, (5, 6), 4, "tanh"), (7, 3, 5, 6), 4, "smoothed"),
    ("all-conv relu", AllConv(1, (3,), 4, "relu"), (1, 1, 4, 3), 4, "smoothed"),
    ("vgg16 with norms", Vgg16(3, 32, 2, 4, True), (4, 3, 32, 32), 4, "smoothed"),
    ("vgg16 without norms", Vgg16(1, 32, 3, 4, False), (3, 1, 32, 32), 4, "squared-error"),
    ("densenet", DenseNetBc(3, (1, 2, 1, 1), 2, 4), (6, 3, 16, 16), 4, "smoothed"),
    ("densenet of odd sides", DenseNetBc(1, (2, 1), 3, 4), (1, 1, 7, 9), 4, "squared-error"),
]


def evaluate(name, model, dims, classes, loss):
    model.train()
    parameters = list(model.parameters())
    count = sum(p.numel() for p in parameters)
    theta = formula(count, 0.3, 0.7, 0.3)
    offset = 0
    norms = {f"{key}.weight" for key, module in model.named_modules() if isinstance(module, Norm)}
    for key, p in model.named_parameters():
        part = theta[offset : offset + p.numel()].view_as(p)
        # Weights of batch norms lie around 1, so that no layer is switched off.
        p.data = part + 1 if key in norms else part.clone()
        offset += p.numel()
    # Inputs are rounded to single precision, in which data sets are stored.
    x = formula(math.prod(dims), 1.0, 1.3, 0.1).float().double().view(dims)
    labels = torch.tensor([(3 * s + s * s) % classes for s in range(dims[0])])
    v = formula(count, 1.0, 2.1, 0.5)

    def flat(parts):
        return torch.cat([part.flatten() for part in parts])

    def derivatives(third):
        Norm.by_formula = third
        value = excess(loss, model(x), labels)
        gradient = flat(torch.autograd.grad(value, parameters, create_graph=True))
        product = flat(torch.autograd.grad(gradient @ v, parameters, create_graph=third))
        return value, gradient, product

    value, gradient, product = derivatives(third=False)
    _, _, again = derivatives(third=True)
    assert (again - product).norm() < 1e-11 * product.norm()
    third = flat(torch.autograd.grad(again @ v, parameters))
    every = max(1, count // 17)
    return {
        "name": name,
        "parameters": [[key, list(p.shape)] for key, p in model.named_parameters()],
        "loss": value.item(),
        "directional": (gradient @ v).item(),
        "quadratic_form": (product @ v).item(),
        "every": every,
        "gradient": {"norm": gradient.norm().item(), "entries": gradient[::every].tolist()},
        "hessian_product": {"norm": product.norm().item(), "entries": product[::every].tolist()},
        "form_gradient": {"norm": third.norm().item(), "entries": third[::every].tolist()},
    }


if __name__ == "__main__":
    results = [evaluate(*case) for case in CASES]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(results, indent=1) + "\n")
