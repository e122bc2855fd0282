"""PyTorch's side of the steps with other gradients, of the convolutional step, of evaluation and of the bound.

Each is written as one would for speed: exact samples by one argmax over perturbed logits, all samples of an image decoded in one
product, one backward pass. REBAR has the coupled noise of our own derivation, which spares one of the three decoded batches of
the usual code, and its scale stays fixed: learning it would take a second backward pass.
"""

import torch
from torch.func import functional_call
from torch.nn import functional as F

from pytorch_vae import CategoricalVae, ConvVae, bernoulli_nll, bernoulli_nll_per_image
from pytorch_vae import gumbel_noise_like, kl_to_uniform, kl_to_uniform_per_image, relaxed_sample

BATCH, EVALUATED, BOUNDED, SAMPLES = 100, 2000, 100, 100


def one_hot_argmax(x):
    return F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)


def log_prob(z, logits):
    return (z * torch.log_softmax(logits, -1)).sum((-1, -2))


def reinforce(model, images, baseline):
    logits = model.encode(images)
    z = one_hot_argmax(logits.detach() + gumbel_noise_like(logits))
    nll = bernoulli_nll_per_image(model.decode(z), images)
    score = ((nll.detach() - baseline) * log_prob(z, logits)).mean()
    return nll.mean() + kl_to_uniform(logits), score, nll.detach().mean()


def rloo(model, images, baseline, samples=4):
    logits = model.encode(images)
    many = logits.detach().expand(samples, *logits.shape)
    z = one_hot_argmax(many + gumbel_noise_like(many))
    pixels = model.decode(z.flatten(0, 1)).view(samples, *images.shape)
    nll = F.binary_cross_entropy_with_logits(pixels, images.expand_as(pixels), reduction="none").sum(-1)
    advantage = (nll.detach() - nll.detach().mean(0)) / (samples - 1)
    score = (advantage * log_prob(z, logits)).sum(0).mean()
    return nll.mean() + kl_to_uniform(logits), score, baseline


def rebar(model, images, baseline, tau=1.0):
    logits = model.encode(images)
    p = torch.log_softmax(logits, -1)
    x = p.detach() + gumbel_noise_like(logits)
    z, below = one_hot_argmax(x), x - x.amax(-1, keepdim=True)
    nll = bernoulli_nll_per_image(model.decode(z), images)
    # Moves with the logits as the difference of the two relaxed samples does.
    slope = below.exp() * p
    y = torch.softmax((below + slope - slope.detach()) / tau, -1)
    fixed = {name: value.detach() for name, value in model.decoder.named_parameters()}
    smooth = bernoulli_nll_per_image(functional_call(model.decoder, fixed, (y.flatten(1),)), images)
    exact, relaxed = nll.detach() - baseline, smooth.detach() - baseline
    score = ((exact - relaxed) * log_prob(z, logits)).mean()
    # The relaxed loss counts by its gradient alone.
    pathwise = (smooth - smooth.detach()).mean()
    return nll.mean() + kl_to_uniform(logits) + pathwise, score, nll.detach().mean()


def disarm(model, images, baseline):
    logits = model.encode(images)
    odds = logits[..., 1] - logits[..., 0]
    u = torch.rand_like(odds).clamp_min(1e-7)
    noise = u.log() - (-u).log1p()
    first, second = (odds.detach() + noise > 0).float(), (odds.detach() - noise > 0).float()
    bits = torch.cat([first, second])
    nll = bernoulli_nll_per_image(model.decode(torch.stack([1 - bits, bits], -1)), images.repeat(2, 1)).view(2, -1)
    half = (nll[0] - nll[1]).detach() * 0.5
    score = (half[:, None] * (first - second) * odds.detach().abs().sigmoid() * odds).sum(-1).mean()
    return nll.mean() + kl_to_uniform(logits), score, baseline


def conv(model, images, baseline):
    logits = model.encode(images)
    z = relaxed_sample(logits, gumbel_noise_like(logits), 1.0, "relaxed")
    loss = bernoulli_nll(model.decode(z), images) + kl_to_uniform(logits)
    return loss, torch.zeros(()), baseline


OBJECTIVES = {"reinforce": reinforce, "rloo": rloo, "rebar": rebar, "disarm": disarm, "conv": conv}


def network(name, pixels):
    torch.manual_seed(0)
    if name == "conv":
        return ConvVae(28, (32, 32), 320, 30, 10, "linear")
    return CategoricalVae(pixels, (512, 256), *((150, 2) if name == "disarm" else (30, 10)), "linear")


def step_of(name, images, compiled):
    model = network(name, images.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    objective = OBJECTIVES[name]
    if compiled:
        objective = torch.compile(objective)
    state = {"baseline": torch.tensor(200.0)}

    def batches():
        while True:
            order = torch.randperm(len(images))
            for start in range(0, len(images) - BATCH + 1, BATCH):
                yield images[order[start : start + BATCH]].float().div_(255)

    stream = batches()

    def step():
        loss, score, mean = objective(model, next(stream), state["baseline"])
        state["baseline"] = state["baseline"] * 0.99 + mean * 0.01
        optimizer.zero_grad(set_to_none=True)
        (loss + score).backward()
        optimizer.step()
        return loss.item()

    return step


def evaluation(images, compiled):
    model = network("step", images.shape[1])

    def batch_objective(batch):
        logits = model.encode(batch)
        z = one_hot_argmax(logits + gumbel_noise_like(logits))
        return (bernoulli_nll_per_image(model.decode(z), batch) + kl_to_uniform_per_image(logits)).sum()

    if compiled:
        batch_objective = torch.compile(batch_objective)

    @torch.inference_mode()
    def evaluate():
        chosen = images[:EVALUATED]
        return sum(batch_objective(part.float().div_(255)).item() for part in chosen.split(500)) / EVALUATED

    return evaluate


def bound(images, compiled):
    model = network("step", images.shape[1])

    def draw(batch, logits):
        z = one_hot_argmax(logits + gumbel_noise_like(logits))
        prior_over_posterior = -log_prob(z, logits) - logits.shape[-2] * torch.log(torch.tensor(float(logits.shape[-1])))
        return prior_over_posterior - bernoulli_nll_per_image(model.decode(z), batch)

    if compiled:
        draw = torch.compile(draw)

    @torch.inference_mode()
    def importance_weighted_bound():
        batch = images[:BOUNDED].float().div_(255)
        logits = model.encode(batch)
        # Five samples an image at once, so that products are as tall as ours in `evaluate`.
        many_images, many_logits = batch.repeat(5, 1), logits.repeat(5, 1, 1)
        weights = torch.cat([draw(many_images, many_logits).view(5, -1) for _ in range(SAMPLES // 5)])
        return (torch.log(torch.tensor(float(SAMPLES))) - weights.logsumexp(0)).mean().item()

    return importance_weighted_bound


def estimators(images):
    """Name to a function that sets the benchmark up."""
    made = {}
    for how in ("compile", "eager"):
        compiled = how == "compile"
        for name in OBJECTIVES:
            made[f"{name}_{how}"] = lambda name=name, compiled=compiled: step_of(name, images, compiled)
        made[f"evaluate_{how}"] = lambda compiled=compiled: evaluation(images, compiled)
        made[f"bound_{how}"] = lambda compiled=compiled: bound(images, compiled)
    return made
