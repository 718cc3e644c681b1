"""The models of the benchmark in PyTorch: the networks of tests/oracle/networks.py, whose parameters have the names of thalweg's own.

Batch norm takes the statistics of the batch itself and keeps none, as thalweg's training-mode loss does.
"""
import pathlib
import sys

import torch.nn as nn

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "oracle"))

import networks


def untracked(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


def resnet18(width):
    return untracked(networks.PreactResNet18(3, width, 10, True))


def convnet(side):
    return networks.ConvNet(1, (32, 32, 64, 64), side, 10, "relu")


# How to make a model, its images, and the samples in its batch: the table of networks.rs.
MODELS = {
    "resnet18": (lambda: resnet18(64), (3, 32, 32), 32),
    "resnet18-w16": (lambda: resnet18(16), (3, 32, 32), 64),
    "vgg16-bn": (lambda: untracked(networks.Vgg16(3, 32, 64, 10, True)), (3, 32, 32), 32),
    "densenet-bc": (lambda: untracked(networks.DenseNetBc(3, (6, 12, 24, 16), 12, 10)), (3, 32, 32), 32),
    "convnet": (lambda: convnet(28), (1, 28, 28), 128),
    "convnet-digits": (lambda: convnet(8), (1, 8, 8), 500),
    "mlp": (lambda: networks.Mlp([784, 512, 512, 10], "relu"), (1, 28, 28), 128),
    "mlp-6220": (lambda: networks.Mlp([196, 30, 10], "tanh"), (1, 14, 14), 500),
}
