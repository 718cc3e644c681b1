"""Losses and derivatives of thalweg's models from PyTorch's own autograd, in double precision.

Writes models.json beside this file: python tests/oracle/models.py. No random generator: parameters, inputs and
directions are formulas that src/ml/oracle_tests.rs repeats. Made with PyTorch 2.15 on a CPU.
"""

import json
import math
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh}


class Mlp(nn.Module):
    def __init__(self, widths, activation):
        super().__init__()
        self.count = len(widths) - 1
        for i in range(self.count):
            setattr(self, f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        x = x.flatten(1)
        for i in range(self.count):
            x = getattr(self, f"fc{i + 1}")(x if i == 0 else self.activation(x))
        return x


class ConvNet(nn.Module):
    def __init__(self, inputs, channels, side, classes, activation):
        super().__init__()
        a, b, c, d = channels
        self.conv1 = nn.Conv2d(inputs, a, 3, padding=1)
        self.conv2 = nn.Conv2d(a, b, 3, padding=1)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.conv4 = nn.Conv2d(c, d, 3, padding=1)
        self.fc = nn.Linear(d * (side // 4) ** 2, classes)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        act = self.activation
        x = F.max_pool2d(act(self.conv2(act(self.conv1(x)))), 2)
        x = F.max_pool2d(act(self.conv4(act(self.conv3(x)))), 2)
        return self.fc(x.flatten(1))


class Norm(nn.BatchNorm2d):
    """PyTorch's batch norm, or, since that has no third derivative, its formula."""

    by_formula = False

    def forward(self, x):
        if not Norm.by_formula:
            return super().forward(x)
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        weight, bias = self.weight[None, :, None, None], self.bias[None, :, None, None]
        return weight * (x - mean) / (variance + self.eps).sqrt() + bias


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = Norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = Norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))

    def forward(self, x):
        y = F.relu(self.bn1(x))
        around = self.shortcut(y) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + around


class PreactResNet18(nn.Module):
    def __init__(self, inputs, width, classes, final_norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        before = width
        for stage in range(4):
            after = width << stage
            blocks = [Block(before, after, 1 if stage == 0 else 2), Block(after, after, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            before = after
        if final_norm:
            self.bn = Norm(before)
        self.linear = nn.Linear(before, classes)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        if hasattr(self, "bn"):
            x = F.relu(self.bn(x))
        return self.linear(x.mean((2, 3)))


class AllConv(nn.Module):
    def __init__(self, inputs, channels, classes, activation):
        super().__init__()
        widths = [inputs, *channels, classes]
        self.count = len(widths) - 1
        for i in range(self.count):
            setattr(self, f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 3, padding=1))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):
        for i in range(self.count):
            x = getattr(self, f"conv{i + 1}")(x if i == 0 else self.activation(x))
        return x.mean((2, 3))


class Vgg16(nn.Module):
    """As kuangliu's, whose last average pool over single pixels changes nothing."""

    def __init__(self, inputs, side, width, classes, batch_norm):
        super().__init__()
        layers = []
        for factor in [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]:
            if factor == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(inputs, factor * width, 3, padding=1))
            layers += [Norm(factor * width)] if batch_norm else []
            layers.append(nn.ReLU())
            inputs = factor * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs * (side // 32) ** 2, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Bottleneck(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.bn1 = Norm(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = Norm(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([y, x], 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn = Norm(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNetBc(nn.Module):
    def __init__(self, inputs, blocks, growth, classes):
        super().__init__()
        self.count = len(blocks)
        channels = 2 * growth
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        for i, layers in enumerate(blocks):
            dense = [Bottleneck(channels + k * growth, growth) for k in range(layers)]
            setattr(self, f"dense{i + 1}", nn.Sequential(*dense))
            channels += layers * growth
            if i + 1 < len(blocks):
                setattr(self, f"trans{i + 1}", Transition(channels, channels // 2))
                channels //= 2
        self.bn = Norm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.conv1(x)
        for i in range(self.count):
            x = getattr(self, f"dense{i + 1}")(x)
            if i + 1 < self.count:
                x = getattr(self, f"trans{i + 1}")(x)
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


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
