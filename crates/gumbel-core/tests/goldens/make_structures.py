"""Writes structures.json: log-partitions and marginals of structures in 60 digits, and how far PyTorch is from them.

    venv/bin/python crates/gumbel-core/tests/goldens/make_structures.py

PyTorch's side is what `cargo xtask bench --peers --only structured` times, scripts/pytorch_structured.py: f32 tensors go in, and subsets
and trees are computed in f64 within. Errors are the largest of a case: of log-partitions relative to what exceeds one nat, of
marginals absolute, and null where PyTorch's answer is NaN or infinite.
"""

import json
import pathlib
import sys

import mpmath
import numpy as np
import torch

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here.parents[3] / "scripts"))
import pytorch_structured as peers

mpmath.mp.dps = 60
rng = np.random.default_rng(20261124)
exp, log, mpf = mpmath.exp, mpmath.log, mpmath.mpf


def chain(theta):
    """Forward and backward sums of weights. Row 0 of the first step's edges is the start."""
    steps, labels, _ = theta.shape
    w = [[[exp(mpf(float(x))) for x in row] for row in edges] for edges in theta]
    forward = [w[0][0]]
    for t in range(1, steps):
        forward.append([mpmath.fsum(forward[-1][i] * w[t][i][j] for i in range(labels)) for j in range(labels)])
    backward = [[mpf(1)] * labels]
    for t in range(steps - 1, 0, -1):
        backward.insert(0, [mpmath.fsum(w[t][i][j] * backward[0][j] for j in range(labels)) for i in range(labels)])
    z = mpmath.fsum(forward[-1])
    mu = np.zeros(theta.shape)
    for j in range(labels):
        mu[0, 0, j] = forward[0][j] * backward[0][j] / z
    for t in range(1, steps):
        for i in range(labels):
            for j in range(labels):
                mu[t, i, j] = forward[t - 1][i] * w[t][i][j] * backward[t][j] / z
    return log(z), mu


def subset(theta, k=5):
    w = [exp(mpf(float(x))) for x in theta]

    def sums(items):
        e = [mpf(1)] + [mpf(0)] * k
        for x in items:
            for j in range(k, 0, -1):
                e[j] += x * e[j - 1]
        return e

    z = sums(w)[k]
    return log(z), np.array([float(x * sums(w[:i] + w[i + 1 :])[k - 1] / z) for i, x in enumerate(w)])


def tree(theta):
    """The matrix-tree theorem; an edge's marginal is its weight times the derivative of ln det."""
    n = len(theta)
    w = [[exp(mpf(float(x))) if c != i + 1 else mpf(0) for c, x in enumerate(row)] for i, row in enumerate(theta)]
    # A determinant that cancels needs as many digits as the weights span.
    laplacian = mpmath.matrix(n)
    for i in range(n):
        for j in range(n):
            laplacian[i, j] = mpmath.fsum(w[i]) if i == j else -w[i][j + 1]
    inverse = laplacian**-1
    mu = np.zeros((n, n + 1))
    for i in range(n):
        mu[i, 0] = w[i][0] * inverse[i, i]
        for j in range(n):
            if j != i:
                mu[i, j + 1] = w[i][j + 1] * (inverse[i, i] - inverse[j, i])
    return log(mpmath.det(laplacian)), mu


def shape_of(structure):
    return {"chain": (12, 5, 5), "subset": (40,), "tree": (8, 9)}[structure]


exact = {"chain": chain, "subset": subset, "tree": tree}
pytorch = {
    "chain": peers.chain_log_partition,
    "subset": lambda x: peers.subset_log_partition_tree(x, 5),
    "subset_loop": lambda x: peers.subset_log_partition_loop(x, 5),
    "tree": peers.tree_log_partition,
}


def largest(errors):
    worst = float(np.max(errors))
    return worst if np.isfinite(worst) else None


cases = []
for structure, deviations in (("chain", (1, 30, 400)), ("subset", (1, 30, 400)), ("tree", (1, 10, 40))):
    for deviation in deviations:
        mpmath.mp.dps = 60 if structure != "tree" else 60 + 40 * deviation
        logits = (rng.standard_normal((8, *shape_of(structure))) * deviation).astype(np.float32)
        truth = [exact[structure](row) for row in logits]
        log_partition = np.array([float(a) for a, _ in truth])
        mu = np.stack([m for _, m in truth])
        errors = {}
        for name, function in pytorch.items():
            if name.split("_")[0] != structure:
                continue
            x = torch.tensor(logits, requires_grad=True)
            try:
                a = function(x)
                (m,) = torch.autograd.grad(a.sum(), x)
                a, m = a.detach().double().numpy(), m.double().numpy()
                errors[name] = [
                    largest(np.abs(a - log_partition) / np.maximum(1, np.abs(log_partition))),
                    largest(np.abs(m - mu)),
                ]
            except RuntimeError as e:
                print(structure, deviation, name, e)
                errors[name] = [None, None]
        print(structure, deviation, errors)
        cases.append(
            {
                "structure": structure,
                "deviation": deviation,
                "shape": list(logits.shape),
                "logits": [float(x) for x in logits.flatten()],
                "log_partition": log_partition.tolist(),
                "marginals": mu.flatten().tolist(),
                "pytorch_errors": errors,
            }
        )

lines = ",\n".join(json.dumps(c) for c in cases)
(here / "structures.json").write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')
