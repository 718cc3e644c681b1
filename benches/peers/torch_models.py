"""The models of the benchmark in PyTorch, each with the parameters of thalweg's own; Preact-ResNet18 has their names too.

Batch norm takes the statistics of the batch itself and keeps none (`track_running_stats=False`), as thalweg's training-mode loss does.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def norm(channels):
    return nn.BatchNorm2d(channels, track_running_stats=False)


def conv(inputs, outputs, kernel=3, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = norm(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = norm(outputs), conv(outputs, outputs)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride))

    def forward(self, x):
        h = F.relu(self.bn1(x))
        around = self.shortcut(h) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(h)))) + around


class PreactResNet18(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = conv(3, width)
        inputs = width
        for stage in range(4):
            outputs = width << stage
            blocks = [Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.bn, self.linear = norm(inputs), nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


class Vgg16(nn.Module):
    """With batch norm; as kuangliu's, whose last average pool over single pixels changes nothing."""

    def __init__(self, width=64):
        super().__init__()
        layers, inputs = [], 3
        for convs, factor in [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)]:
            for _ in range(convs):
                outputs = width * factor
                layers += [conv(inputs, outputs, bias=True), norm(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(inputs, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Bottleneck(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.bn1, self.conv1 = norm(inputs), conv(inputs, 4 * growth, 1)
        self.bn2, self.conv2 = norm(4 * growth), conv(4 * growth, growth)

    def forward(self, x):
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([y, x], 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn, self.conv = norm(inputs), conv(inputs, outputs, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNetBc(nn.Module):
    def __init__(self, blocks=(6, 12, 24, 16), growth=12):
        super().__init__()
        channels = 2 * growth
        layers = [conv(3, channels)]
        for at, count in enumerate(blocks):
            layers += [Bottleneck(channels + index * growth, growth) for index in range(count)]
            channels += count * growth
            if at + 1 < len(blocks):
                layers.append(Transition(channels, channels // 2))
                channels //= 2
        self.features = nn.Sequential(*layers)
        self.bn, self.linear = norm(channels), nn.Linear(channels, 10)

    def forward(self, x):
        return self.linear(F.relu(self.bn(self.features(x))).mean((2, 3)))


class ConvNet(nn.Module):
    def __init__(self, side, channels=(32, 32, 64, 64)):
        super().__init__()
        a, b, c, d = channels
        self.conv1, self.conv2 = conv(1, a, bias=True), conv(a, b, bias=True)
        self.conv3, self.conv4 = conv(b, c, bias=True), conv(c, d, bias=True)
        self.fc = nn.Linear(d * (side // 4) ** 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        return self.fc(x.flatten(1))


class Mlp(nn.Sequential):
    def __init__(self, widths, activation):
        layers = [nn.Flatten()]
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [nn.Linear(inputs, outputs), activation()]
        super().__init__(*layers[:-1])


# How to make a model, its images, and the samples in its batch: the table of networks.rs.
MODELS = {
    "resnet18": (lambda: PreactResNet18(64), (3, 32, 32), 32),
    "resnet18-w16": (lambda: PreactResNet18(16), (3, 32, 32), 64),
    "vgg16-bn": (Vgg16, (3, 32, 32), 32),
    "densenet-bc": (DenseNetBc, (3, 32, 32), 32),
    "convnet": (lambda: ConvNet(28), (1, 28, 28), 128),
    "convnet-digits": (lambda: ConvNet(8), (1, 8, 8), 500),
    "mlp": (lambda: Mlp([784, 512, 512, 10], nn.ReLU), (1, 28, 28), 128),
    "mlp-6220": (lambda: Mlp([196, 30, 10], nn.Tanh), (1, 14, 14), 500),
}
