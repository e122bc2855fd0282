"""Loads what `catvae export --format hf` wrote with `PyTorchModelHubMixin.from_pretrained`, as a user of the hub would."""

import base64
import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn


class Mlp(nn.Module, PyTorchModelHubMixin):
    """What config.json describes; its fields are the arguments."""

    def __init__(self, image_shape, n_latents, n_categories, network, logits, likelihood):
        super().__init__()
        assert network["kind"] == "mlp" and logits == "linear" and likelihood == "bernoulli"
        self.shape = n_latents, n_categories
        widths = [image_shape[0] * image_shape[1], *network["hidden"], n_latents * n_categories]
        self.encoder, self.decoder = self.chain(widths), self.chain(widths[::-1])

    def chain(self, widths):
        layers = []
        for inputs, outputs in zip(widths, widths[1:]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def forward(self, codes):
        return self.decoder(nn.functional.one_hot(codes, self.shape[1]).float().flatten(1))


def images(run):
    """The test images, from the page that carries them."""
    data = json.loads(re.search(r'id="data">(.*?)</script>', (run / "explorer.html").read_text(), re.S).group(1))
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(data["images"]["pixels"])), np.uint8)
    return torch.from_numpy(pixels.reshape(-1, 784).astype(np.float32) / np.float32(255))


def main():
    run = Path(sys.argv[1]) / "seed-0"
    model = Mlp.from_pretrained(run / "export", strict=True)
    with np.load(run / "codes.npz") as file:
        codes, expected, posterior = (torch.from_numpy(file[name]) for name in ["codes", "neg_log_likelihood", "posterior"])
    pixels = images(run)
    with torch.no_grad():
        found = nn.functional.binary_cross_entropy_with_logits(model(codes), pixels, reduction="none").sum(1)
        probabilities = model.encoder(pixels).view(posterior.shape).softmax(-1)
    off = ((found - expected).abs() / expected).max(), (probabilities - posterior).abs().max()
    assert max(off) < 1e-5, f"off by {off}"
    # `torch.save` of its state dict is what `catvae import` reads.
    torch.save(model.state_dict(), run / "from_hub.pth")
    print(f"ok the exported folder loads with PyTorchModelHubMixin; its numbers are the program's within {max(off):.0e}")


if __name__ == "__main__":
    main()
