"""Gauss-Newton matrices, noise covariances and spectra of a small network from NumPy, in double precision.

Writes curvature.json beside this file: python tests/oracle/curvature.py. The Jacobian of the logits and the Hessian are
complex steps (of the logits and of a gradient written by hand), exact to rounding; matrices and eigenvalues are NumPy's. No
random generator: parameters and inputs are formulas that src/ml/oracle_tests.rs repeats. Made with NumPy 2.
"""

import json
import pathlib

import numpy as np

SAMPLES, WIDTHS, CLASSES, SMOOTHING = 9, (12, 7, 5, 4), 4, 0.1
STEP = 1e-40


def formula(count, scale, rate, phase):
    return scale * np.sin(rate * np.arange(count) + phase)


X = formula(SAMPLES * WIDTHS[0], 1.0, 1.3, 0.1).astype(np.float32).astype(np.float64).reshape(SAMPLES, WIDTHS[0])
LABELS = [(3 * s + s * s) % 4 for s in range(SAMPLES)]
ONEHOT = np.eye(CLASSES)[LABELS]


def layers(theta):
    at = 0
    for inputs, outputs in zip(WIDTHS, WIDTHS[1:]):
        weight = theta[at : at + inputs * outputs].reshape(outputs, inputs)
        at += inputs * outputs
        yield weight, theta[at : at + outputs]
        at += outputs


def forward(theta):
    x, kept = X, []
    for index, (weight, bias) in enumerate(layers(theta)):
        x = np.tanh(x) if index else x
        kept.append(x)
        x = x @ weight.T + bias
    return x, kept


def softmax(z):
    e = np.exp(z - z.real.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def residual(z, loss, q):
    return softmax(z) - q if loss == "ce" else z - q


def gradient(theta, loss, q):
    z, kept = forward(theta)
    g, parts = residual(z, loss, q) / SAMPLES, []
    for (weight, _), x in reversed(list(zip(layers(theta), kept))):
        parts.append(np.concatenate([(g.T @ x).ravel(), g.sum(axis=0)]))
        g = (g @ weight) * (1 - x * x)
    return np.concatenate(parts[::-1])


def complex_step(f, theta):
    n, columns = len(theta), []
    for i in range(n):
        moved = theta.astype(complex)
        moved[i] += 1j * STEP
        columns.append(f(moved).imag / STEP)
    return np.stack(columns, axis=-1)


def case(loss):
    n = sum((a + 1) * b for a, b in zip(WIDTHS, WIDTHS[1:]))
    theta, v = formula(n, 0.3, 0.7, 0.3), formula(n, 1.0, 2.1, 0.5)
    q = SMOOTHING / CLASSES + (1 - SMOOTHING) * ONEHOT if loss == "ce" else ONEHOT
    z, _ = forward(theta)
    p, r = softmax(z), residual(z, loss, q)
    jacobian = complex_step(lambda t: forward(t)[0], theta)  # samples, classes, n
    covariance_of = lambda s: np.stack([np.diag(row) - np.outer(row, row) for row in s])
    inner = covariance_of(p) if loss == "ce" else np.stack([np.eye(CLASSES)] * SAMPLES)
    gauss_newton = np.einsum("ska,skl,slb->ab", jacobian, inner, jacobian) / SAMPLES
    outer = np.einsum("sk,sl->skl", r, r)
    soft = np.einsum("ska,skl,slb->ab", jacobian, outer, jacobian) / SAMPLES
    sampled = np.einsum("ska,skl,slb->ab", jacobian, outer + covariance_of(q), jacobian) / SAMPLES
    mean = gradient(theta, loss, q)
    hessian = complex_step(lambda t: gradient(t, loss, q), theta)
    hessian = (hessian + hessian.T) / 2
    eigenvalues = np.linalg.eigvalsh(hessian)
    centred = sampled - np.outer(mean, mean)
    return {
        "gauss_newton_product": (gauss_newton @ v).tolist(),
        "gauss_newton_trace": np.trace(gauss_newton),
        "gauss_newton_eigenvalues": np.linalg.eigvalsh(gauss_newton)[-8:].tolist(),
        "eigenvalues": eigenvalues.tolist(),
        "trace": np.trace(hessian),
        "negative_sum": eigenvalues[eigenvalues < 0].sum(),
        "log_determinant": np.log1p(np.maximum(eigenvalues, 0) / 0.01).sum(),
        "log_sum_of_top_5": np.log(eigenvalues[-5:]).sum(),
        "sample_gradient_3": (jacobian[3].T @ r[3]).tolist(),
        "soft_product": (soft @ v).tolist(),
        "sampled_product": (sampled @ v).tolist(),
        "centred_form": v @ centred @ v,
        "cosine": np.trace(hessian @ centred) / np.sqrt((hessian**2).sum() * (centred**2).sum()),
    }


path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps({loss: case(loss) for loss in ("ce", "squared")}, indent=1) + "\n")
