"""Loads a trained model into PyTorch, to prove that nothing but `load_state_dict` is needed.

Install:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy safetensors
Run:      venv/bin/python scripts/load_in_pytorch.py RUN [--data-dir data/mnist]

RUN is a run folder (its newest checkpoint is taken), a checkpoint folder, or a model.safetensors.
With --data-dir it also prints PyTorch's own test objective for the model, from one-hot samples,
to be compared with `catvae evaluate RUN`.
"""

import argparse
import pathlib
import sys

try:
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional as F

    from pytorch_vae import CategoricalVae, bernoulli_nll, kl_to_uniform, read_images
except ImportError as error:
    sys.exit(
        f"load_in_pytorch.py: {error}\n"
        "Install with:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy safetensors"
    )


def find_model(path):
    """The model.safetensors that `path` means."""
    if path.is_file():
        return path
    if (path / "model.safetensors").is_file():
        return path / "model.safetensors"
    models = sorted(path.glob("checkpoints/step-*/model.safetensors"))
    if not models:
        sys.exit(f"load_in_pytorch.py: {path}: no model.safetensors, neither here nor in checkpoints/step-*")
    return models[-1]


def check_state_dict(path, categories, logits="linear"):
    """The network of the file's own sizes with the file's weights; every name and shape has to fit."""
    state = load_file(path)
    out_features = [state[f"encoder.{layer}.weight"].shape[0] for layer in (0, 2, 4)]
    pixels = state["encoder.0.weight"].shape[1]
    if out_features[2] % categories:
        sys.exit(f"load_in_pytorch.py: {path}: {out_features[2]} logits are no multiple of {categories} categories")
    model = CategoricalVae(pixels, out_features[:2], out_features[2] // categories, categories, logits)
    model.load_state_dict(state, strict=True)
    return model


@torch.no_grad()
def test_objective(model, images):
    """Unrelaxed negative ELBO, mean over `images`, in nats."""
    total = 0.0
    for batch in images.float().div(255).split(1000):
        logits = model.encode(batch)
        codes = torch.distributions.Categorical(logits=logits).sample()
        z = F.one_hot(codes, model.categories).float()
        total += (bernoulli_nll(model.decode(z), batch) + kl_to_uniform(logits)).item() * len(batch)
    return total / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--categories", type=int, default=10)
    parser.add_argument("--logits", choices=("linear", "relu"), default="linear")
    parser.add_argument("--data-dir", type=pathlib.Path, help="MNIST folder, for the test objective")
    args = parser.parse_args()
    path = find_model(args.run)
    model = check_state_dict(path, args.categories, args.logits)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{path}: loaded, {n_parameters} parameters")
    print(model)
    if args.data_dir:
        torch.manual_seed(0)
        print(f"test -ELBO {test_objective(model, read_images(args.data_dir, 't10k')):.2f} nats")


if __name__ == "__main__":
    main()
