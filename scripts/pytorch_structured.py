"""Chains, subsets, trees and orders in plain PyTorch: the peers of `cargo xtask bench --peers --only structured`.

Each is the best loop that we could write of PyTorch's own operations. Marginals are the gradient of the log-partition by
autograd, and gradients of relaxed samples are its second derivatives. Subsets have two forms: the recursion over
items in logarithms, as published code has it, and a tree of polynomial products over tilted probabilities.
"""

import math

import torch

BATCH, STEPS, LABELS, ITEMS, CHOSEN = 64, 100, 20, 1000, 10
NODES, ROWS, SORTED = 30, 32, 100


def gumbel(shape, dtype=torch.float32):
    return -torch.empty(shape, dtype=dtype).exponential_().log()


def chain_log_partition(edges):
    alpha = edges[:, 0, 0]
    for t in range(1, edges.shape[1]):
        alpha = torch.logsumexp(alpha.unsqueeze(2) + edges[:, t], dim=1)
    return torch.logsumexp(alpha, dim=1)


def chain_sample(edges):
    alphas = [edges[:, 0, 0]]
    for t in range(1, edges.shape[1]):
        alphas.append(torch.logsumexp(alphas[-1].unsqueeze(2) + edges[:, t], dim=1))
    rows = torch.arange(len(edges))
    labels = [torch.multinomial(alphas[-1].softmax(1), 1).squeeze(1)]
    for t in range(edges.shape[1] - 1, 0, -1):
        scores = alphas[t - 1] + edges[rows, t, :, labels[-1]]
        labels.append(torch.multinomial(scores.softmax(1), 1).squeeze(1))
    return torch.stack(labels[::-1], 1)


def subset_log_partition_loop(scores, k=CHOSEN):
    sums = scores.new_full((len(scores), k + 1), -math.inf)
    sums[:, 0] = 0
    for i in range(scores.shape[1]):
        sums = torch.cat([sums[:, :1], torch.logaddexp(sums[:, 1:], sums[:, :-1] + scores[:, i : i + 1])], 1)
    return sums[:, k]


def tilt(scores, k):
    shift = -scores.topk(k, dim=1).values[:, -1:]
    for _ in range(12):
        p = torch.sigmoid(scores + shift)
        shift = shift - (p.sum(1, keepdim=True) - k) / (p * (1 - p)).sum(1, keepdim=True)
    return shift


def multiply(a, b, k):
    """Products of polynomials, the degrees along the last dimension, cut at degree k."""
    degree = min(a.shape[-1] + b.shape[-1] - 2, k)
    padded = torch.nn.functional.pad(b, (a.shape[-1] - 1, degree + 1 - b.shape[-1] + 0))
    return torch.einsum("bna,bnca->bnc", a.flip(-1), padded.unfold(-1, a.shape[-1], 1)[..., : degree + 1, :])


def subset_log_partition_tree(scores, k=CHOSEN):
    scores = scores.double()
    with torch.no_grad():
        shift = tilt(scores, k)
    x = scores + shift
    terms = torch.stack([torch.sigmoid(-x), torch.sigmoid(x)], -1)
    while terms.shape[1] > 1:
        if terms.shape[1] % 2:
            one = torch.zeros_like(terms[:, :1])
            one[..., 0] = 1
            terms = torch.cat([terms, one], 1)
        terms = multiply(terms[:, ::2], terms[:, 1::2], k)
    log_tilted = terms[:, 0, k].log()
    return log_tilted + torch.nn.functional.softplus(x).sum(1) - k * shift[:, 0]


def subset_sample(scores, k=CHOSEN):
    scores = scores.double()
    x = scores + tilt(scores, k)
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    table = torch.zeros(scores.shape[1] + 1, len(scores), k + 1, dtype=torch.float64)
    table[0, :, 0] = 1
    for i in range(scores.shape[1]):
        table[i + 1] = table[i] * q[:, i : i + 1]
        table[i + 1, :, 1:] += table[i, :, :-1] * p[:, i : i + 1]
    left = torch.full((len(scores),), k)
    rows, uniforms = torch.arange(len(scores)), torch.rand(scores.shape, dtype=torch.float64)
    chosen = torch.zeros_like(scores)
    for i in range(scores.shape[1] - 1, -1, -1):
        chance = p[:, i] * table[i, rows, (left - 1).clamp(min=0)] / table[i + 1, rows, left]
        take = (uniforms[:, i] < chance) & (left > 0)
        chosen[:, i] = take
        left = left - take.long()
    return chosen


def tree_log_partition(scores):
    """Kirchhoff's determinant in double precision, each row relative to its largest weight."""
    scores = scores.double()
    own = torch.eye(scores.shape[-2], scores.shape[-1] - 1, dtype=torch.bool)
    scores = scores.masked_fill(torch.nn.functional.pad(own, (1, 0)), -math.inf)
    top = scores.detach().max(-1, keepdim=True).values
    weights = (scores - top).exp()
    laplacian = torch.diag_embed(weights.sum(-1)) - weights[..., 1:]
    return torch.linalg.slogdet(laplacian).logabsdet + top.sum((-1, -2))


def sinkhorn(x, iterations=20):
    for _ in range(iterations):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    return x.exp()


def sinkhorn_gradient(scores):
    upstream = torch.randn_like(scores)

    def run():
        x = scores.detach().requires_grad_()
        (sinkhorn(x) * upstream).sum().backward()

    return run


def ranking_gradient(scores):
    ranking = (scores + gumbel(scores.shape)).argsort(-1, descending=True)

    def run():
        x = scores.detach().requires_grad_()
        picked = x.gather(-1, ranking)
        (picked - picked.flip(-1).logcumsumexp(-1).flip(-1)).sum().backward()

    return run


def soft_sort(x):
    ordered = x.sort(descending=True).values
    return (-(ordered.unsqueeze(-1) - x.unsqueeze(-2)).abs()).softmax(-1)


def marginals(log_partition, scores):
    def run():
        x = scores.detach().requires_grad_()
        return torch.autograd.grad(log_partition(x).sum(), x)

    return run


def relaxed(log_partition, scores):
    upstream = torch.randn_like(scores)

    def run():
        x = scores.detach().requires_grad_()
        noisy = x + gumbel(x.shape)
        (mu,) = torch.autograd.grad(log_partition(noisy).sum(), noisy, create_graph=True)
        (mu * upstream).sum().backward()

    return run


def without_gradient(function, *inputs):
    def run():
        with torch.no_grad():
            function(*inputs)

    return run


def structured():
    """Name to a function that sets the work up."""

    def edges():
        torch.manual_seed(0)
        return gumbel((BATCH, STEPS, LABELS, LABELS))

    def scores():
        torch.manual_seed(0)
        return gumbel((BATCH, ITEMS))

    def draw(*shape):
        torch.manual_seed(0)
        return gumbel(shape)

    def heads():
        return draw(BATCH, NODES, NODES + 1)

    loop, tree = subset_log_partition_loop, subset_log_partition_tree
    return {
        "structured_chain_marginals_loop": lambda: marginals(chain_log_partition, edges()),
        "structured_chain_relaxed_loop": lambda: relaxed(chain_log_partition, edges()),
        "structured_chain_sample_loop": lambda: without_gradient(chain_sample, edges()),
        "structured_subset_marginals_loop": lambda: marginals(loop, scores()),
        "structured_subset_marginals_tree": lambda: marginals(tree, scores()),
        "structured_subset_relaxed_tree": lambda: relaxed(tree, scores()),
        "structured_subset_sample_loop": lambda: without_gradient(subset_sample, scores()),
        "structured_subset_top_k_torch": lambda: without_gradient(
            lambda x: torch.topk(x + gumbel(x.shape), CHOSEN), scores()
        ),
        "structured_tree_marginals_slogdet": lambda: marginals(tree_log_partition, heads()),
        "structured_tree_relaxed_slogdet": lambda: relaxed(tree_log_partition, heads()),
        "structured_sinkhorn_plan_loop": lambda: without_gradient(sinkhorn, draw(BATCH, ROWS, ROWS)),
        "structured_sinkhorn_gradient_loop": lambda: sinkhorn_gradient(draw(BATCH, ROWS, ROWS)),
        "structured_ranking_gradient_torch": lambda: ranking_gradient(scores()),
        "structured_sort_soft_torch": lambda: without_gradient(soft_sort, draw(BATCH, SORTED)),
    }


if __name__ == "__main__":
    x = torch.randn(3, 37, dtype=torch.float64)
    print((subset_log_partition_tree(x) - subset_log_partition_loop(x)).abs().max().item(), "should be near 1e-15")
    print(subset_sample(x).sum(1), "should be", CHOSEN)
    for gap in (10.0, 30.0, 36.0, 40.0):
        # Two nodes that prefer each other: whom the root leads to does not depend on how much they do.
        x = torch.tensor([[[0.0, 0.0, gap], [0.5, gap, 0.0]]], dtype=torch.float64)
        print("gap", gap, marginals(tree_log_partition, x)()[0][0, 1, 0].item(), "should be 0.6225 from 30 on")
