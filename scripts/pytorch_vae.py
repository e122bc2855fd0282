"""The categorical VAE in PyTorch: the network, its losses, and MNIST files. Used by the other scripts here."""

import gzip
import math
import pathlib

import numpy
import torch
from torch import nn
from torch.nn import functional as F


class CategoricalVae(nn.Module):
    """The network under test; `state_dict()` gives the names that checkpoints use."""

    def __init__(self, pixels, hidden, latents, categories, logits):
        super().__init__()
        wide, narrow = hidden
        self.latents, self.categories = latents, categories
        encoder = [
            nn.Linear(pixels, wide),
            nn.ReLU(),
            nn.Linear(wide, narrow),
            nn.ReLU(),
            nn.Linear(narrow, latents * categories),
        ]
        if logits == "relu":
            encoder.append(nn.ReLU())
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(
            nn.Linear(latents * categories, narrow),
            nn.ReLU(),
            nn.Linear(narrow, wide),
            nn.ReLU(),
            nn.Linear(wide, pixels),
        )

    def encode(self, images):
        """Logits of the categorical posterior, (batch, latents, categories)."""
        return self.encoder(images).view(-1, self.latents, self.categories)

    def decode(self, z):
        """Bernoulli logits of the pixels, (batch, pixels), from z of (batch, latents, categories)."""
        return self.decoder(z.flatten(1))


class ConvVae(CategoricalVae):
    """The same with convolutions that halve the image, and their transposes; images stay flat outside."""

    def __init__(self, side, channels, hidden, latents, categories, logits):
        nn.Module.__init__(self)
        self.side, self.latents, self.categories = side, latents, categories
        (first, second), small = channels, side // 4
        flat = second * small * small
        halve = {"kernel_size": 4, "stride": 2, "padding": 1}
        encoder = [
            nn.Conv2d(1, first, **halve),
            nn.ReLU(),
            nn.Conv2d(first, second, **halve),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, latents * categories),
        ]
        if logits == "relu":
            encoder.append(nn.ReLU())
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(
            nn.Linear(latents * categories, hidden),
            nn.ReLU(),
            nn.Linear(hidden, flat),
            nn.ReLU(),
            nn.Unflatten(1, (second, small, small)),
            nn.ConvTranspose2d(second, first, **halve),
            nn.ReLU(),
            nn.ConvTranspose2d(first, 1, **halve),
        )

    def encode(self, images):
        """Logits of the categorical posterior, (batch, latents, categories)."""
        return super().encode(images.view(-1, 1, self.side, self.side))

    def decode(self, z):
        """Logits of the pixels, (batch, pixels), from z of (batch, latents, categories)."""
        return super().decode(z).flatten(1)


def relaxed_sample(logits, gumbel, temperature, estimator):
    """Gumbel-softmax from given noise, relaxed or straight-through."""
    soft = torch.softmax((logits + gumbel) / temperature, dim=-1)
    if estimator == "relaxed":
        return soft
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft


def bernoulli_nll_per_image(pixel_logits, images):
    """Sum over pixels."""
    return F.binary_cross_entropy_with_logits(pixel_logits, images, reduction="none").sum(1)


def continuous_bernoulli_nll_per_image(pixel_logits, images):
    """Sum over pixels. In double precision: PyTorch's law loses three digits in single precision."""
    law = torch.distributions.ContinuousBernoulli(logits=pixel_logits.double())
    return -law.log_prob(images.double()).sum(1).to(images.dtype)


LIKELIHOODS = {"bernoulli": bernoulli_nll_per_image, "continuous-bernoulli": continuous_bernoulli_nll_per_image}


def kl_to_uniform_per_image(logits):
    """Sum over latents; exact at saturated logits."""
    log_probs = torch.log_softmax(logits, dim=-1)
    kl = (log_probs.exp() * log_probs).sum(-1) + math.log(logits.shape[-1])
    return kl.sum(1)


def bernoulli_nll(pixel_logits, images):
    """Sum over pixels, mean over images."""
    return bernoulli_nll_per_image(pixel_logits, images).mean()


def kl_to_uniform(logits):
    """Sum over latents, mean over images."""
    return kl_to_uniform_per_image(logits).mean()


def gumbel_noise_like(logits):
    """Gumbel(0, 1) noise the way torch.nn.functional.gumbel_softmax draws it."""
    return -torch.empty_like(logits).exponential_().log()


def read_idx(path):
    """The array of unsigned bytes in an IDX file, raw or gzip."""
    data = pathlib.Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    rank = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis]) for axis in range(rank))
    return numpy.frombuffer(data, numpy.uint8, math.prod(shape), 4 + 4 * rank).reshape(shape)


def read_images(folder, name):
    """(images, pixels) as unsigned bytes from `folder`/`name`-images-idx3-ubyte[.gz]."""
    for suffix in ("", ".gz"):
        path = pathlib.Path(folder) / f"{name}-images-idx3-ubyte{suffix}"
        if path.exists():
            images = read_idx(path)
            return torch.from_numpy(images.reshape(len(images), -1).copy())
    raise FileNotFoundError(f"{folder}: no {name}-images-idx3-ubyte, raw or .gz")


def peak_rss_mib():
    """The most memory this process has ever held, in MiB; None where the system does not say."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
