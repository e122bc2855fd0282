"""Writes the PyTorch goldens that the training tests compare with.

Install (any environment will do; the CPU build of PyTorch is enough):

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 numpy safetensors

Run from the root of the repository:

    cargo xtask golden --python venv/bin/python            # rewrites the files
    cargo xtask golden --python venv/bin/python --check    # compares with those that are there

What it writes, into crates/catvae-train/tests/goldens:

    <case>.safetensors   one file per case: logits {linear, relu} x {relaxed, straight_through} at
                         temperature 1, both estimators again at temperature 0.5, and two
                         convolutional networks, one with each likelihood
    losses.safetensors   the two loss terms alone, at ordinary and at saturated logits
    goldens.json         versions, settings of every case, and how far PyTorch's own float32 is away

Every input is stored (weights, images, Gumbel noise), so no random number generator has to match.
The temperature, logits, estimator, network and likelihood of a case stand in goldens.json.

All values are computed by PyTorch in float64 from inputs that are exact in float32, then rounded to
float32: they are the true values of the formulas, and the whole tolerance of a test belongs to the
code under test. The same run in float32 must agree, or the script stops: a case in which rounding
decides (a rectifier near its kink, an argmax near a tie) is no golden.

Tensors of a case (B images, D pixels, N latents, K categories, S steps):

    inputs.images            (S, B, D)     grey values in [0, 1], batch i for step i
    inputs.gumbel            (S, B, N, K)  Gumbel(0, 1) noise for step i
    params.<name>                          before the first step; names of the state dict below
    forward.encoder_logits   (B, N, K)     these six: batch 0 under `params`
    forward.z                (B, N, K)     what the decoder was given
    forward.decoder_logits   (B, D)
    forward.bce_nats         ()            mean over images of the negative log-likelihood of all pixels
    forward.kl_nats          ()            mean over images of the sum over latents of KL(q || uniform)
    forward.neg_elbo_nats    ()            their sum, the objective
    grads.<name>                           gradient of forward.neg_elbo_nats
    adam.params.<name>                     after S steps of torch.optim.Adam, lr 1e-3
    adam.bce_nats, .kl_nats, .neg_elbo_nats    (S,)  of step i, before its update
    radam.*                                the same with torch.optim.RAdam, lr 5e-4

losses.safetensors (rows: 0 ordinary, 1 twenty times that, 2 two hundred times, 3 at +-1e4):

    bce.logits, bce.images     (4, D)      bce.grad (4, D), of bce.nats by bce.logits
    bce.nats_per_image         (4,)        bce.nats (), their mean
    kl.logits                  (4, N, K)   kl.grad (4, N, K), of kl.nats by kl.logits
    kl.nats_per_image          (4,)        kl.nats (), their mean

    continuous_bernoulli.*     as bce.*, for rows 0 to 2

State dict: encoder.{0,2,4}.{weight,bias}, decoder.{0,2,4}.{weight,bias}, weights as (out, in);
{0,2,5,7} in a convolutional network, weights as (out, in, 4, 4), transposed (in, out, 4, 4).
"""

import argparse
import copy
import hashlib
import json
import math
import pathlib
import sys

try:
    import numpy
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as error:
    sys.exit(
        f"goldens.py: {error}\n"
        "Install with:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy safetensors"
    )

from pytorch_vae import LIKELIHOODS, CategoricalVae, ConvVae
from pytorch_vae import kl_to_uniform, kl_to_uniform_per_image, relaxed_sample

PIXELS, HIDDEN, LATENTS, CATEGORIES = 36, (24, 16), 5, 4
CONV_SIDE, CONV_CHANNELS, CONV_HIDDEN = 8, (3, 4), 10
BATCH, STEPS = 7, 20
OPTIMIZERS = {"adam": (torch.optim.Adam, 1e-3), "radam": (torch.optim.RAdam, 5e-4)}
# name, logits, estimator, temperature, network, likelihood, seed
CASES = [
    ("linear_relaxed", "linear", "relaxed", 1.0, "mlp", "bernoulli", 1),
    ("linear_straight_through", "linear", "straight_through", 1.0, "mlp", "bernoulli", 2),
    ("relu_relaxed", "relu", "relaxed", 1.0, "mlp", "bernoulli", 3),
    ("relu_straight_through", "relu", "straight_through", 1.0, "mlp", "bernoulli", 4),
    ("linear_relaxed_tau_half", "linear", "relaxed", 0.5, "mlp", "bernoulli", 5),
    ("linear_straight_through_tau_half", "linear", "straight_through", 0.5, "mlp", "bernoulli", 6),
    ("conv_relaxed", "linear", "relaxed", 1.0, "conv", "bernoulli", 7),
    ("conv_continuous", "relu", "straight_through", 1.0, "conv", "continuous-bernoulli", 8),
]
# The project's tests hold to 1e-4 relative; PyTorch's own float32 has to be well inside of that.
MAX_FLOAT32_DEVIATION = 2e-5


def objective(model, images, gumbel, temperature, estimator, likelihood):
    """One relaxed (or straight-through) objective with everything on the way to it."""
    encoder_logits = model.encode(images)
    z = relaxed_sample(encoder_logits, gumbel, temperature, estimator)
    decoder_logits = model.decode(z)
    bce = LIKELIHOODS[likelihood](decoder_logits, images).mean()
    kl = kl_to_uniform(encoder_logits)
    return {
        "encoder_logits": encoder_logits,
        "z": z,
        "decoder_logits": decoder_logits,
        "bce_nats": bce,
        "kl_nats": kl,
        "neg_elbo_nats": bce + kl,
    }


def draw_inputs(seed, logits, network):
    """Weights, images and noise, all exact in float32."""
    rng = numpy.random.default_rng(seed)
    if network == "conv":
        model = ConvVae(CONV_SIDE, CONV_CHANNELS, CONV_HIDDEN, LATENTS, CATEGORIES, logits)
        pixels = CONV_SIDE * CONV_SIDE
    else:
        model = CategoricalVae(PIXELS, HIDDEN, LATENTS, CATEGORIES, logits)
        pixels = PIXELS
    params = {}
    for name, parameter in model.state_dict().items():
        fan_in = model.get_submodule(name.rpartition(".")[0]).weight[0].numel()
        # Twice PyTorch's own bound, so that logits of a net this small are worth a test.
        bound = 2.0 / math.sqrt(fan_in)
        params[name] = torch.from_numpy(rng.uniform(-bound, bound, tuple(parameter.shape))).float()
    # Mostly black, like MNIST, with exact zeros and ones among the grey.
    grey = rng.integers(0, 256, (STEPS, BATCH, pixels))
    kind = rng.uniform(size=grey.shape)
    levels = numpy.where(kind < 0.5, 0, numpy.where(kind < 0.7, 255, grey))
    images = torch.from_numpy(levels.astype(numpy.float32) / numpy.float32(255))
    uniform = rng.uniform(size=(STEPS, BATCH, LATENTS, CATEGORIES))
    gumbel = torch.from_numpy(-numpy.log(-numpy.log(uniform))).float()
    return model, params, images, gumbel


def run_case(dtype, logits, estimator, temperature, network, likelihood, seed):
    """All tensors of one case, computed in `dtype`."""
    template, params, images, gumbel = draw_inputs(seed, logits, network)
    out = {"inputs.images": images, "inputs.gumbel": gumbel}
    out |= {f"params.{name}": value for name, value in params.items()}

    def fresh_model():
        model = copy.deepcopy(template)
        model.load_state_dict(params)
        return model.to(dtype)

    images, gumbel = images.to(dtype), gumbel.to(dtype)
    model = fresh_model()
    parts = objective(model, images[0], gumbel[0], temperature, estimator, likelihood)
    parts["neg_elbo_nats"].backward()
    out |= {f"forward.{name}": value.detach() for name, value in parts.items()}
    out |= {f"grads.{name}": value.grad for name, value in model.named_parameters()}

    for optimizer_name, (optimizer_class, lr) in OPTIMIZERS.items():
        model = fresh_model()
        optimizer = optimizer_class(model.parameters(), lr=lr)
        history = {"bce_nats": [], "kl_nats": [], "neg_elbo_nats": []}
        for step in range(STEPS):
            parts = objective(model, images[step], gumbel[step], temperature, estimator, likelihood)
            optimizer.zero_grad()
            parts["neg_elbo_nats"].backward()
            optimizer.step()
            for name, values in history.items():
                values.append(parts[name].detach())
        out |= {f"{optimizer_name}.{name}": torch.stack(values) for name, values in history.items()}
        out |= {f"{optimizer_name}.params.{name}": value for name, value in model.state_dict().items()}
    return out


def run_losses(dtype):
    """The loss terms alone, with their gradients, row 0 ordinary and the later ones saturated."""
    rng = numpy.random.default_rng(7)
    pixel_logits = rng.normal(size=(4, PIXELS))
    pixel_logits[1] *= 20
    pixel_logits[2] *= 200
    pixel_logits[3] = numpy.where(rng.uniform(size=PIXELS) < 0.5, -1e4, 1e4)
    images = rng.integers(0, 256, (4, PIXELS)) / 255
    images[:, :8] = 0
    images[:, 8:16] = 1
    logits = rng.normal(size=(4, LATENTS, CATEGORIES))
    logits[1] *= 20
    logits[2] *= 200
    logits[3] = numpy.where(rng.uniform(size=(LATENTS, CATEGORIES)) < 0.5, -1e4, 1e4)

    def leaf(values):
        return torch.from_numpy(values).float().to(dtype)

    pixel_logits, images, logits = leaf(pixel_logits), leaf(images), leaf(logits)
    pixel_logits.requires_grad_()
    logits.requires_grad_()
    bce, kl = LIKELIHOODS["bernoulli"](pixel_logits, images), kl_to_uniform_per_image(logits)
    (bce.mean() + kl.mean()).backward()
    # PyTorch's law has lost its logit where its parameter is within 2e-16 of zero or one.
    inner = (pixel_logits.detach()[:3] / 40).requires_grad_()
    continuous = LIKELIHOODS["continuous-bernoulli"](inner, images[:3])
    continuous.mean().backward()
    return {
        "continuous_bernoulli.logits": inner.detach(),
        "continuous_bernoulli.images": images[:3],
        "continuous_bernoulli.nats_per_image": continuous.detach(),
        "continuous_bernoulli.nats": continuous.detach().mean(),
        "continuous_bernoulli.grad": inner.grad,
        "bce.logits": pixel_logits.detach(),
        "bce.images": images,
        "bce.nats_per_image": bce.detach(),
        "bce.nats": bce.detach().mean(),
        "bce.grad": pixel_logits.grad,
        "kl.logits": logits.detach(),
        "kl.nats_per_image": kl.detach(),
        "kl.nats": kl.detach().mean(),
        "kl.grad": logits.grad,
    }


def deviation(tensors, reference):
    """Largest |a - b| / (|b| + 1e-2 max|b of that tensor|) over all tensors, and where."""
    worst, where = 0.0, ""
    for name, value in reference.items():
        a, b = tensors[name].double(), value.double()
        scale = b.abs() + 1e-2 * b.abs().max() + 1e-30
        relative = ((a - b).abs() / scale).max().item()
        if not relative <= worst:
            worst, where = relative, name
    return worst, where


def make(name, compute):
    """The float64 tensors rounded to float32, after the float32 run has agreed with them."""
    exact = {key: value.float().contiguous() for key, value in compute(torch.float64).items()}
    for key, value in exact.items():
        if not torch.isfinite(value).all():
            sys.exit(f"goldens.py: {name}: {key} is not finite")
    worst, where = deviation(compute(torch.float32), exact)
    if not worst <= MAX_FLOAT32_DEVIATION:
        sys.exit(f"goldens.py: {name}: float32 is {worst:.1e} away at {where}; choose another seed")
    return exact, worst, where


def write(folder):
    """Writes every file into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {
        "generator": "scripts/goldens.py",
        "torch": torch.__version__.partition("+")[0],
        "numpy": numpy.__version__,
        "computed_in": "float64",
        "stored_in": "float32",
        "steps": STEPS,
        "batch": BATCH,
        "pixels": PIXELS,
        "hidden": list(HIDDEN),
        "conv": {"side": CONV_SIDE, "channels": list(CONV_CHANNELS), "hidden": CONV_HIDDEN},
        "latents": LATENTS,
        "categories": CATEGORIES,
        "optimizers": {
            name: {"lr": lr, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
            for name, (_, lr) in OPTIMIZERS.items()
        },
        "cases": [],
    }
    jobs = [
        (
            {
                "name": name,
                "logits": logits,
                "estimator": estimator,
                "temperature": temperature,
                "network": network,
                "likelihood": likelihood,
                "seed": seed,
            },
            lambda dtype, args=tuple(settings): run_case(dtype, *args),
        )
        for name, *settings in CASES
        for logits, estimator, temperature, network, likelihood, seed in [settings]
    ]
    for settings, compute in jobs:
        tensors, worst, where = make(settings["name"], compute)
        settings |= save(tensors, folder, settings["name"], worst)
        index["cases"].append(settings)
        print(f"{settings['file']}: float32 within {worst:.1e} (worst at {where})")
    tensors, worst, where = make("losses", run_losses)
    index["losses"] = save(tensors, folder, "losses", worst)
    print(f"losses.safetensors: float32 within {worst:.1e} (worst at {where})")
    (folder / "goldens.json").write_text(json.dumps(index, indent=2) + "\n")


def save(tensors, folder, name, worst):
    """Writes one file and describes it."""
    path = folder / f"{name}.safetensors"
    save_file(dict(sorted(tensors.items())), path)
    path.chmod(0o644)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "pytorch_float32_deviation": float(f"{worst:.1e}"),
    }


def check(folder):
    """Compares what is in `folder` with what this PyTorch computes; exits 1 on a difference."""
    index = json.loads((folder / "goldens.json").read_text())
    recorded = {case["file"]: case["sha256"] for case in [*index["cases"], index["losses"]]}
    fresh = {
        f"{name}.safetensors": run_case(torch.float64, *args) for name, *args in CASES
    } | {"losses.safetensors": run_losses(torch.float64)}
    failed = recorded.keys() != fresh.keys()
    for file, tensors in fresh.items():
        path = folder / file
        stored = load_file(path)
        altered = hashlib.sha256(path.read_bytes()).hexdigest() != recorded.get(file)
        if stored.keys() != tensors.keys() or any(stored[k].shape != v.shape for k, v in tensors.items()):
            print(f"{file}: other tensors or shapes")
            failed = True
            continue
        worst, where = deviation(stored, {k: v.float() for k, v in tensors.items()})
        # Other versions of PyTorch may sum in another order; a wrong formula is far above this.
        bad = altered or not worst <= 1e-6
        failed |= bad
        note = ", and its bytes are not those that goldens.json lists" if altered else ""
        print(f"{file}: {'DIFFERS' if bad else 'same'} within {worst:.1e} (at {where or 'none'}){note}")
    sys.exit(1 if failed else 0)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=root / "crates/catvae-train/tests/goldens")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    check(args.out) if args.check else write(args.out)


if __name__ == "__main__":
    main()
