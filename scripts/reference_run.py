"""The article's run in PyTorch, with the same settings as `catvae train`, to compare objectives with.

Install:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy
Run:      venv/bin/python scripts/reference_run.py --data-dir data/mnist [--logits relu] [--hard] ...

Prints a JSON object per epoch, keys and meaning as in metrics.jsonl: train_neg_elbo is the running mean of
the trained objective, train_neg_elbo_unrelaxed that of one-hot samples for the same batches before
their update, test_neg_elbo that of one-hot samples on the test images after the epoch; all in nats
per image.
"""

import argparse
import json
import sys
import time

try:
    import torch
    from torch.nn import functional as F

    from pytorch_vae import CategoricalVae, bernoulli_nll, gumbel_noise_like, kl_to_uniform
    from pytorch_vae import peak_rss_mib, read_images, relaxed_sample
except ImportError as error:
    sys.exit(
        f"reference_run.py: {error}\n"
        "Install with:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy"
    )

OPTIMIZERS = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@torch.no_grad()
def unrelaxed_nll(model, logits, batch):
    """Bernoulli NLL with an exact one-hot sample; Gumbel-max draws it."""
    codes = (logits + gumbel_noise_like(logits)).argmax(-1)
    return bernoulli_nll(model.decode(F.one_hot(codes, model.categories).float()), batch).item()


@torch.no_grad()
def evaluate(model, images):
    """(bce, kl) in nats, mean over `images`, unrelaxed."""
    bce = kl = 0.0
    for batch in images.split(1000):
        batch = batch.float().div_(255)
        logits = model.encode(batch)
        bce += unrelaxed_nll(model, logits, batch) * len(batch) / len(images)
        kl += kl_to_uniform(logits).item() * len(batch) / len(images)
    return bce, kl


def run(args):
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    train, test = read_images(args.data_dir, "train"), read_images(args.data_dir, "t10k")
    model = CategoricalVae(train.shape[1], (512, 256), args.latents, args.categories, args.logits)
    optimizer = OPTIMIZERS[args.optimizer](model.parameters(), lr=args.lr)
    estimator = "straight_through" if args.hard else "relaxed"
    step = 0
    for epoch in range(1, args.epochs + 1):
        sums = {"bce": 0.0, "kl": 0.0, "unrelaxed": 0.0}
        n_steps = 0
        started = time.perf_counter()
        for indices in torch.randperm(len(train)).split(args.batch_size):
            if len(indices) < args.batch_size:
                break
            batch = train[indices].float().div_(255)
            logits = model.encode(batch)
            z = relaxed_sample(logits, gumbel_noise_like(logits), args.temperature, estimator)
            bce, kl = bernoulli_nll(model.decode(z), batch), kl_to_uniform(logits)
            paused = time.perf_counter()
            unrelaxed = unrelaxed_nll(model, logits.detach(), batch)
            started += time.perf_counter() - paused
            optimizer.zero_grad(set_to_none=True)
            (bce + kl).backward()
            optimizer.step()
            sums["bce"] += bce.item()
            sums["kl"] += kl.item()
            sums["unrelaxed"] += unrelaxed + kl.item()
            n_steps += 1
        train_seconds = time.perf_counter() - started
        step += n_steps
        test_bce, test_kl = evaluate(model, test)
        yield {
            "epoch": epoch,
            "step": step,
            "temperature": args.temperature,
            "learning_rate": args.lr,
            "train_neg_elbo": (sums["bce"] + sums["kl"]) / n_steps,
            "train_bce": sums["bce"] / n_steps,
            "train_kl": sums["kl"] / n_steps,
            "train_neg_elbo_unrelaxed": sums["unrelaxed"] / n_steps,
            "test_neg_elbo": test_bce + test_kl,
            "test_bce": test_bce,
            "test_kl": test_kl,
            "train_seconds": train_seconds,
            "step_ms": 1e3 * train_seconds / n_steps,
            "images_per_second": n_steps * args.batch_size / train_seconds,
            "peak_rss_mib": peak_rss_mib(),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="folder of the four MNIST files, raw or .gz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--latents", type=int, default=30)
    parser.add_argument("--categories", type=int, default=10)
    parser.add_argument("--logits", choices=("linear", "relu"), default="linear")
    parser.add_argument("--hard", action="store_true", help="straight-through instead of relaxed")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for epoch in run(parser.parse_args()):
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in epoch.items()}), flush=True)


if __name__ == "__main__":
    main()
