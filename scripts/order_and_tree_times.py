"""The best plain PyTorch for the lines of `cargo run --example order_and_tree_times`, on the same work.

    python scripts/order_and_tree_times.py [threads]

Three runs to warm up, then the median and the best of thirty, in milliseconds. PyTorch 2.x, nothing else.
"""

import statistics
import sys
import time

import torch

BATCH = 64
torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
torch.manual_seed(0)


def measure(name, work):
    times = []
    for run in range(33):
        start = time.perf_counter()
        work()
        if run >= 3:
            times.append((time.perf_counter() - start) * 1e3)
    print(f"{name:<44} {statistics.median(times):8.3f} ms, best {min(times):8.3f}")


def gumbel(*shape):
    return -torch.empty(*shape).exponential_().log()


def log_partition(scores):
    """Kirchhoff's determinant in double precision, each row scaled by its largest weight."""
    scores = scores.double()
    n = scores.shape[-2]
    nodes = torch.arange(n)
    scores = scores.clone()
    scores[..., nodes, nodes + 1] = -torch.inf
    top = scores.max(-1, keepdim=True).values
    weights = (scores - top).exp()
    laplacian = torch.diag_embed(weights.sum(-1)) - weights[..., 1:]
    return torch.linalg.slogdet(laplacian).logabsdet + top.sum((-1, -2))


def marginals(scores, create_graph=False):
    leaf = scores if scores.requires_grad else scores.detach().requires_grad_()
    return torch.autograd.grad(log_partition(leaf).sum(), leaf, create_graph=create_graph)[0]


def trees():
    for n in (10, 30):
        x, covector = gumbel(BATCH, n, n + 1), gumbel(BATCH, n, n + 1)
        with torch.no_grad():
            measure(f"tree log-partition, n = {n}", lambda: log_partition(x))
        measure(f"tree log-partition and marginals, n = {n}", lambda: marginals(x))

        def relaxed():
            leaf = x.clone().requires_grad_()
            y = marginals(leaf + gumbel(*leaf.shape), create_graph=True)
            torch.autograd.grad(y, leaf, covector)

        measure(f"tree relaxed sample and gradient, n = {n}", relaxed)


def scale(x, iterations=20):
    for _ in range(iterations):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    return x.exp()


def matchings():
    x = gumbel(BATCH, 32, 32)
    with torch.no_grad():
        measure("sinkhorn, 20 iterations, n = 32", lambda: scale(x))
    leaf = x.clone().requires_grad_()
    measure("sinkhorn with gradient (unrolled), n = 32", lambda: torch.autograd.grad((scale(leaf) ** 2).sum(), leaf))


def orders():
    x = gumbel(BATCH, 1000)
    measure("gumbel top-k, n = 1000, k = 10", lambda: torch.topk(x + gumbel(BATCH, 1000), 10))
    ranking = (x + gumbel(BATCH, 1000)).argsort(-1, descending=True)
    leaf = x.clone().requires_grad_()

    def log_prob():
        picked = leaf.gather(-1, ranking)
        value = (picked - picked.flip(-1).logcumsumexp(-1).flip(-1)).sum()
        torch.autograd.grad(value, leaf)

    measure("ranking log-prob with gradient, n = 1000", log_prob)
    few = gumbel(BATCH, 100)
    n = 100

    def soft_sort():
        ordered = few.sort(descending=True).values
        return (-(ordered.unsqueeze(-1) - few.unsqueeze(-2)).abs()).softmax(-1)

    def neural_sort():
        sums = (few.unsqueeze(-1) - few.unsqueeze(-2)).abs().sum(-1)
        places = n + 1 - 2 * torch.arange(1, n + 1)
        return (places.unsqueeze(-1) * few.unsqueeze(-2) - sums.unsqueeze(-2)).softmax(-1)

    measure("soft sort, n = 100", soft_sort)
    measure("neural sort, n = 100", neural_sort)


def two_cycle():
    for gap in (10.0, 30.0, 36.0, 40.0):
        x = torch.tensor([[[0.0, 0.0, gap], [0.5, gap, 0.0]]], dtype=torch.float64)
        try:
            p = marginals(x)[0, 1, 0].item()
        except RuntimeError as error:
            p = f"error: {str(error)[:60]}"
        print(f"P(root leads to node 2) at a gap of {gap} nats: {p}")


trees()
matchings()
orders()
two_cycle()
