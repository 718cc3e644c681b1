"""Numbers from mpmath (40 digits), SciPy and NumPy for src/ml/statistics/oracle.rs.

Run: python tests/oracle/ml_statistics.py > tests/oracle/ml_statistics.json
"""

import json

import mpmath
import numpy as np
from scipy import special, stats

mpmath.mp.dps = 40

beta = [(a, b, x) for a, b in [(0.5, 0.5), (2, 3), (0.5, 50), (200, 0.5), (1e-2, 4), (9, 11), (3, 1e5), (300, 700)]
        for x in [1e-12, 1e-5, 1e-3, 0.25, 0.3, 0.5, 0.99, 1 - 1e-9]] + [(5e4, 5e4, x) for x in [0.49, 0.4999, 0.501]]
student = [(t, df) for t in [-60.0, -5.0, -1e-8, 0.0, 0.7, 2.5, 30.0] for df in [1, 2, 4, 9, 99, 10000]]
samples = [[0.3, -0.2, 0.5, 0.9, 0.1], [1.0, 1.0001], [-5.2, -5.1, -5.3, -5.25, -5.0, -5.15, -5.2], [1e8 + 1, 1e8 + 2, 1e8 + 4]]
stated = [0.0, 0.5, -4.0, 1e8]
others = [[0.1, 0.2, 0.1, 0.6, 0.4], [0.5, 1.5], [-5.0, -5.2, -5.1, -5.2, -5.3, -5.0, -5.1], [1e8, 1e8, 1e8]]
rank_pairs = [([1, 2, 3, 4, 5, 5, 7], [2, 1, 4, 3, 7, 5, 5]), ([0.5, 0.5, 0.5, 1], [3, 2, 2, 9]), ([1, 2], [5, 4])]
x = [0.5, 1.0, 2.0, 3.5, 5.0, 8.0]
y = [-19.0, -41.5, -79.0, -142.0, -199.0, -321.0]
se = [1.0, 0.5, 2.0, 1.5, 3.0, 4.0]
w = 1 / np.array(se) ** 2


def regularised(a, b, x):
    """mpmath where its series is short; SciPy for large a and b, where mpmath takes minutes."""
    if a + b > 200:
        return mpmath.mpf(special.betainc(float(a), float(b), float(x)))
    return mpmath.betainc(a, b, 0, x, regularized=True)


def student_cdf(t, df):
    if df > 200:
        return stats.t.cdf(t, df)
    t, df = mpmath.mpf(t), mpmath.mpf(df)
    tail = regularised(df / 2, mpmath.mpf(1) / 2, df / (df + t * t)) / 2
    return float(1 - tail if t > 0 else tail)


def line(x, y, w):
    design = np.stack([np.ones(len(x)), x], 1)
    scatter = design.T @ (w[:, None] * design)
    intercept, slope = np.linalg.solve(scatter, design.T @ (w * y))
    residual = y - intercept - slope * x
    noise = (w * residual**2).sum() / (len(x) - 2)
    covariance = np.linalg.inv(scatter)
    centred = y - np.average(y, weights=w)
    return {"slope": slope, "intercept": intercept, "slope_stderr": np.sqrt(noise * covariance[1, 1]),
            "intercept_stderr": np.sqrt(noise * covariance[0, 0]), "slope_stderr_known": np.sqrt(covariance[1, 1]),
            "r_squared": 1 - (w * residual**2).sum() / (w * centred**2).sum()}


ordinary = stats.linregress(x, y)
checked = line(np.array(x), np.array(y), np.ones(len(x)))
assert np.isclose(ordinary.stderr, checked["slope_stderr"], rtol=1e-12) and np.isclose(ordinary.rvalue**2, checked["r_squared"])

binomial = []
for k, n in [(0, 7), (7, 7), (1, 7), (148, 149), (2693, 2700), (50, 100), (3, 100000)]:
    for level in [0.9, 0.95, 0.999]:
        # Not `binomtest(...).proportion_ci`, whose root is only good to 2e-12.
        low = stats.beta.ppf((1 - level) / 2, k, n - k + 1) if k > 0 else 0.0
        high = stats.beta.isf((1 - level) / 2, k + 1, n - k) if k < n else 1.0
        coarse = stats.binomtest(k, n).proportion_ci(level, method="exact")
        assert abs(coarse.low - low) < 1e-11 and abs(coarse.high - high) < 1e-11
        binomial.append([k, n, level, low, high])

print(json.dumps({
    "beta": [[a, b, x, float(regularised(a, b, x))] for a, b, x in beta],
    "student": [[t, df, student_cdf(t, df)] for t, df in student],
    "one_sample": [{"values": v, "stated": m, "t": (r := stats.ttest_1samp(v, m, alternative="less")).statistic, "less": r.pvalue,
                    "greater": stats.ttest_1samp(v, m, alternative="greater").pvalue} for v, m in zip(samples, stated)],
    "paired": [{"a": a, "b": b, "less": stats.ttest_rel(a, b, alternative="less").pvalue} for a, b in zip(samples, others)],
    "spearman": [{"x": a, "y": b, "rho": stats.spearmanr(a, b).statistic} for a, b in rank_pairs],
    "fit": {"x": x, "y": y, "weights": w.tolist(), "ordinary": checked, "weighted": line(np.array(x), np.array(y), w)},
    "binomial": binomial,
}))
