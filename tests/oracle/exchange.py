"""PyTorch's side of the exchange of weights, for tests/all/science/exchange.rs: python tests/oracle/exchange.py < request.

Requests and answers are JSON lists. `{"load": FILE, …}` builds the module, loads the file's tensors with `load_state_dict(strict=True)`, and answers with
the logits in evaluation mode of images that both sides make by a formula, or of an encoded data set with its mean cross-entropy and
accuracy. `{"save": FILE, …}` writes the `state_dict` of a freshly initialised module, wrapped and rounded as asked, and answers with
its logits in training mode. Files are read and written by hand, so that nothing but PyTorch is needed.
"""

import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

import models
import networks

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


def read(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    assert header.pop("__metadata__") == {"format": "pt"}
    tensors = {}
    for name, tensor in header.items():
        start, end = tensor["data_offsets"]
        flat = torch.frombuffer(bytearray(body[start:end]), dtype=TYPES[tensor["dtype"]])
        tensors[name] = flat.view(tensor["shape"])
    return tensors


def write(path, tensors):
    header, body = {}, b""
    for name, tensor in tensors.items():
        kind = next(kind for kind, dtype in TYPES.items() if dtype == tensor.dtype)
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)


def build(model, image, classes):
    inputs, height, _ = image
    match model["architecture"]:
        case "mlp":
            return networks.Mlp([math.prod(image), *model["hidden"], classes], model.get("activation", "relu"))
        case "convnet":
            return networks.ConvNet(inputs, model["channels"], height, classes, model.get("activation", "relu"))
        case "all-conv":
            return networks.AllConv(inputs, model["channels"], classes, model.get("activation", "relu"))
        case "preact-resnet18":
            return networks.PreactResNet18(inputs, model["width"], classes, model["final_norm"])
        case "vgg16":
            return networks.Vgg16(inputs, height, model["width"], classes, model["batch_norm"])
        case "densenet-bc":
            return networks.DenseNetBc(inputs, model["blocks"], model["growth"], classes)


def images(samples, image):
    return models.formula(samples * math.prod(image), 1.0, 1.3, 0.1).float().double().view(samples, *image)


def dataset(path):
    """A data set as src/ml/data/canonical.rs lays it out."""
    data = open(path, "rb").read()
    samples, *image, _ = struct.unpack("<5Q", data[18:58])
    labels = torch.frombuffer(bytearray(data[58 : 58 + 4 * samples]), dtype=torch.int32).long()
    pixels = torch.frombuffer(bytearray(data[58 + 4 * samples :]), dtype=torch.float32)
    return pixels.double().view(samples, *image), labels


def answer(request):
    torch.manual_seed(0)
    module = build(request["model"], request["image"], request["classes"])
    if "load" in request:
        module.load_state_dict(read(request["load"]), strict=True)
        module.eval()
    else:
        module.train()
        dtype, state = TYPES[request["dtype"]], module.state_dict()
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
        module.load_state_dict(state)
        write(request["save"], {request["prefix"] + key: value for key, value in state.items()})
    if "data" not in request:
        return {"logits": module(images(request["samples"], request["image"])).flatten().tolist()}
    x, labels = dataset(request["data"])
    z = module(x)
    accuracy = (z.argmax(1) == labels).double().mean().item()
    return {"loss": models.excess("smoothed", z, labels).item(), "accuracy": accuracy}


json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout)
