"""Writes distributions.json: log-densities, entropies, moments and divergences for the tests of gumbel-core.

Run it from any directory, with PyTorch in the environment (made with torch 2.15.0 and the mpmath it brings):

    python -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python crates/gumbel-core/tests/goldens/make_goldens.py

At ordinary points the figures are those of torch.distributions in float64 (source "torch"). At extreme points,
where PyTorch clamps, overflows or gives NaN, they are the papers' formulas in 60-digit arithmetic (source "mpmath").
A logit of -inf is written as null.
"""

import json
import pathlib

import mpmath
import numpy as np
import torch
import torch.distributions as td

mpmath.mp.dps = 60
torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(20260707)
cases = []


def flat(x):
    values = torch.as_tensor(x).flatten().tolist()
    return [v if np.isfinite(v) else None for v in values]


def add(distribution, source, logits, value, log_prob, n_classes=1, **extra):
    case = {"distribution": distribution, "source": source, "n_classes": n_classes}
    case |= {"logits": flat(logits), "value": flat(value), "log_prob": flat(log_prob)}
    cases.append(case | {k: v if isinstance(v, float) else flat(v) for k, v in extra.items()})


def log_sum_exp(xs):
    top = max(xs)
    return top + mpmath.log(sum(mpmath.exp(x - top) for x in xs))


# Exact distributions. Saturated logits are no trouble to PyTorch in float64.
for scale in (1.0, 10.0, 80.0):
    logits = torch.tensor(rng.uniform(-scale, scale, (5, 6)))
    other = torch.tensor(rng.uniform(-scale, scale, (5, 6)))
    p, q = td.OneHotCategorical(logits=logits), td.OneHotCategorical(logits=other)
    value = torch.eye(6)[torch.tensor(rng.integers(0, 6, 5))]
    add(
        "OneHotCategorical", "torch", logits, value, p.log_prob(value), 6,
        other=other, entropy=p.entropy(), mean=p.mean, variance=p.variance, kl=td.kl_divergence(p, q),
    )
    logits = torch.tensor(rng.uniform(-scale, scale, 8))
    other = torch.tensor(rng.uniform(-scale, scale, 8))
    p, q = td.Bernoulli(logits=logits), td.Bernoulli(logits=other)
    value = torch.tensor(rng.integers(0, 2, 8).astype(float))
    # PyTorch's entropy and divergence lose the small terms of saturated bits; these are sums of two in 60 digits.
    entropies, divergences, variances = [], [], []
    for l, m in zip(logits.tolist(), other.tolist()):
        l, m = mpmath.mpf(l), mpmath.mpf(m)
        pl, pm = 1 / (1 + mpmath.exp(-l)), 1 / (1 + mpmath.exp(-m))
        nl, nm = 1 / (1 + mpmath.exp(l)), 1 / (1 + mpmath.exp(m))
        entropies.append(float(-pl * mpmath.log(pl) - nl * mpmath.log(nl)))
        divergences.append(float(pl * mpmath.log(pl / pm) + nl * mpmath.log(nl / nm)))
        variances.append(float(pl * nl))
    add(
        "Bernoulli", "torch", logits, value, p.log_prob(value),
        other=other, entropy=entropies, mean=p.mean, variance=variances, kl=divergences,
    )

# Gumbel.
loc, scale = torch.tensor(rng.uniform(-5, 5, 8)), torch.tensor(rng.uniform(0.1, 4, 8))
loc2, scale2 = torch.tensor(rng.uniform(-5, 5, 8)), torch.tensor(rng.uniform(0.5, 4, 8))
p, q = td.Gumbel(loc, scale), td.Gumbel(loc2, scale2)
value = loc + scale * torch.tensor([-4.0, -2.0, -1.0, 0.0, 1.0, 5.0, 20.0, 40.0])
add(
    "Gumbel", "torch", loc, value, p.log_prob(value),
    scale=scale, other=loc2, other_scale=scale2,
    entropy=p.entropy(), mean=p.mean, variance=p.variance, kl=td.kl_divergence(p, q),
)

# Relaxed distributions at ordinary points.
for tau in (0.3, 1.0, 5.0):
    t = torch.tensor(tau)
    logits = torch.tensor(rng.uniform(-2, 2, (4, 5)))
    p = td.relaxed_categorical.ExpRelaxedCategorical(t, logits=logits)
    value = torch.log_softmax((logits + torch.tensor(rng.gumbel(size=(4, 5)))) / tau, -1)
    add("ExpRelaxedOneHotCategorical", "torch", logits, value, p.log_prob(value), 5, temperature=tau)
    p = td.RelaxedOneHotCategorical(t, logits=logits)
    add("RelaxedOneHotCategorical", "torch", logits, value.exp(), p.log_prob(value.exp()), 5, temperature=tau)
    logits = torch.tensor(rng.uniform(-2, 2, 8))
    value = (logits + torch.tensor(rng.logistic(size=8))) / tau
    p = td.relaxed_bernoulli.LogitRelaxedBernoulli(t, logits=logits)
    add("LogitRelaxedBernoulli", "torch", logits, value, p.log_prob(value), temperature=tau)
    p = td.RelaxedBernoulli(t, logits=logits)
    y = value.sigmoid()
    add("RelaxedBernoulli", "torch", logits, y, p.log_prob(y), temperature=tau)


def exp_concrete(logits, tau, x):
    """Maddison et al. 2017, eq. 26, over the classes that are not masked."""
    pairs = [(mpmath.mpf(l), mpmath.mpf(v)) for l, v in zip(logits, x) if np.isfinite(l)]
    k, tau = len(pairs), mpmath.mpf(tau)
    scores = [l - tau * v for l, v in pairs]
    return mpmath.loggamma(k) + (k - 1) * mpmath.log(tau) + sum(scores) - k * log_sum_exp(scores)


# ... and at extreme ones: saturated logits, small temperatures, many classes, masks.
for n_classes, scale, tau in ((4, 80.0, 0.1), (10, 80.0, 1.0), (1000, 3.0, 0.1), (1000, 80.0, 0.5)):
    # Rounded inputs keep the file small; the formulas do not need exact normalisation.
    logits = np.round(rng.uniform(-scale, scale, (2 if n_classes < 100 else 1, n_classes)), 2)
    if n_classes == 10:
        logits[0, [1, 4]] = -np.inf
    z = (logits + rng.gumbel(size=logits.shape)) / tau
    x = np.round(torch.log_softmax(torch.tensor(z), -1).numpy(), 2)
    log_prob = [float(exp_concrete(l, tau, v)) for l, v in zip(logits, x)]
    add("ExpRelaxedOneHotCategorical", "mpmath", logits, x, log_prob, n_classes, temperature=tau)
    # On the simplex, with every allowed coordinate in reach of float64.
    y = np.where(np.isfinite(logits), np.maximum(np.exp(np.minimum(x, 0.0)), 1e-300), 0.0)
    log_prob = []
    for l, v in zip(logits, y):
        logs = [mpmath.log(mpmath.mpf(c)) if c > 0 else mpmath.mpf(0) for c in v]
        log_prob.append(float(exp_concrete(l, tau, logs) - sum(logs)))
    add("RelaxedOneHotCategorical", "mpmath", logits, y, log_prob, n_classes, temperature=tau)

for tau in (0.1, 1.0):
    logits = np.array([-80.0, -80.0, 0.0, 0.0, 80.0, 80.0, 5.0, -5.0])
    x = np.array([-820.0, 700.0, -300.0, 30.0, 810.0, -40.0, 1e4, -1e4])
    log_prob = []
    for l, v in zip(logits, x):
        d = mpmath.mpf(tau) * mpmath.mpf(v) - mpmath.mpf(l)
        log_prob.append(float(mpmath.log(mpmath.mpf(tau)) + d - 2 * mpmath.log(1 + mpmath.exp(d))))
    add("LogitRelaxedBernoulli", "mpmath", logits, x, log_prob, temperature=tau)
    y = np.array([1e-300, 0.5, 1e-10, 1 - 2.0**-53, 1 - 2.0**-53, 1e-300, 0.999, 2.0**-40])
    log_prob = []
    for l, v in zip(logits, y):
        v = mpmath.mpf(v)
        odds = mpmath.log(v) - mpmath.log(1 - v)
        d = mpmath.mpf(tau) * odds - mpmath.mpf(l)
        density = mpmath.log(mpmath.mpf(tau)) + d - 2 * mpmath.log(1 + mpmath.exp(d))
        log_prob.append(float(density - mpmath.log(v) - mpmath.log(1 - v)))
    add("RelaxedBernoulli", "mpmath", logits, y, log_prob, temperature=tau)

path = pathlib.Path(__file__).with_name("distributions.json")
lines = ",\n".join(json.dumps(case) for case in cases)
path.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')
