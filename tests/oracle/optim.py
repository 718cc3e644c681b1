"""Numbers from torch.optim for src/ml/optim/oracle.rs. Run: python tests/oracle/optim.py > tests/oracle/optim.json

The loss is 1/2 θᵀAθ − bᵀθ in f64 with a fixed A (symmetric, positive definite) and b; every case makes `steps` steps from the
same start and records θ after each, and the learning rate each was made with.
"""

import json

import torch

torch.set_default_dtype(torch.float64)
A = torch.tensor([[3.0, 0.5, 0.0, 0.2], [0.5, 2.0, 0.3, 0.0], [0.0, 0.3, 1.0, 0.1], [0.2, 0.0, 0.1, 0.5]])
B = torch.tensor([1.0, -2.0, 0.5, 0.25])
START = [1.0, -1.5, 2.0, 0.75]
PER_EPOCH = 4
STEPS = 14


def schedule(name, optimizer):
    rates = torch.optim.lr_scheduler
    if name == "constant":
        return rates.LambdaLR(optimizer, lambda k: 1.0)
    if name == "step":
        return rates.StepLR(optimizer, step_size=1 * PER_EPOCH, gamma=0.5)
    if name == "cosine":
        return rates.CosineAnnealingLR(optimizer, T_max=5 * PER_EPOCH)
    if name == "warmup-step":
        rise = 2 * PER_EPOCH
        return rates.ChainedScheduler([
            rates.LinearLR(optimizer, start_factor=1 / rise, total_iters=rise - 1),
            rates.StepLR(optimizer, step_size=1 * PER_EPOCH, gamma=0.5),
        ])
    raise ValueError(name)


def case(name, **settings):
    theta = torch.nn.Parameter(torch.tensor(START))
    optimizer = torch.optim.SGD([theta], **settings)
    scheduler = schedule(name, optimizer)
    path, rates = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        (0.5 * theta @ A @ theta - B @ theta).backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        path.append(theta.detach().tolist())
    return {"schedule": name, **settings, "rates": rates, "path": path}


plain = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
cases = [
    case("constant", **plain),
    case("constant", **{**plain, "weight_decay": 0.05}),
    case("constant", **{**plain, "momentum": 0.9}),
    case("constant", **{**plain, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    case("constant", **{**plain, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    case("step", **{**plain, "momentum": 0.9}),
    case("cosine", **{**plain, "momentum": 0.9}),
    case("warmup-step", **{**plain, "momentum": 0.9, "weight_decay": 0.01}),
]
print(json.dumps({"a": A.tolist(), "b": B.tolist(), "start": START, "per_epoch": PER_EPOCH, "cases": cases}))
