"""thalweg's networks as PyTorch modules, with the names of their parameters: for the oracles here and for benches/peers."""

import torch
import torch.nn as nn
import torch.nn.functional as F

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
