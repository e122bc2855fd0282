"""PyTorch's side of `cargo xtask bench --peers`: training steps, evaluation, the relaxed sampler and structured variables.

Install:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy
          (torch.compile also needs a C++ compiler, and Python's headers)
Run:      cargo xtask bench --peers --python venv/bin/python

The protocol is described in xtask/src/bench/side.rs. To try it by hand:

    echo 'run step_compile_fused_adam 2.0' | venv/bin/python scripts/bench_pytorch.py --threads 2 --images FILE

Denormals are flushed on the calling thread and on PyTorch's own threads: without that PyTorch slows
down by up to half from the second epoch on. Images are kept as bytes, as on our side.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    from torch.nn import functional as F

    from pytorch_vae import CategoricalVae, bernoulli_nll, gumbel_noise_like, kl_to_uniform
    from pytorch_estimators import estimators
    from pytorch_structured import structured
    from pytorch_vae import peak_rss_mib, read_idx, relaxed_sample
except ImportError as error:
    sys.exit(
        f"bench_pytorch.py: {error}\n"
        "Install with:  python3 -m venv venv && venv/bin/pip install torch==2.15.0 numpy"
    )

HIDDEN, LATENTS, CATEGORIES, BATCH, TEMPERATURE = (512, 256), 30, 10, 100, 1.0
SAMPLER_SHAPES = [(100, 30, 10), (4096, 16, 64), (64, 32000), (8, 512, 8192)]
WARM_UP_ITERATIONS, WARM_UP_SECONDS, FEWEST_ITERATIONS = 10, 0.5, 5


def training_step(images, compiled, fused, bf16=False):
    """A function that does one whole training step and returns the loss as a number."""
    torch.manual_seed(0)
    model = CategoricalVae(images.shape[1], HIDDEN, LATENTS, CATEGORIES, "linear")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def objective(batch):
        # Products in bf16, all else in f32, as on our side.
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model.encode(batch)
        logits = logits.float()
        z = relaxed_sample(logits, gumbel_noise_like(logits), TEMPERATURE, "relaxed")
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            pixels = model.decode(z)
        return bernoulli_nll(pixels.float(), batch) + kl_to_uniform(logits)

    if compiled:
        objective = torch.compile(objective)

    def batches():
        while True:
            order = torch.randperm(len(images))
            for start in range(0, len(images) - BATCH + 1, BATCH):
                yield images[order[start : start + BATCH]].float().div_(255)

    stream = batches()

    def step():
        loss = objective(next(stream))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def sampler(shape):
    """A function that draws a relaxed sample and takes its gradient back to the logits."""
    torch.manual_seed(0)
    logits = torch.randn(shape, requires_grad=True)
    upstream = torch.randn(shape)

    def draw():
        logits.grad = None
        F.gumbel_softmax(logits, tau=TEMPERATURE, dim=-1).backward(upstream)

    return draw


def benchmarks(images):
    """Name to a function that sets the benchmark up; nothing is set up before it is asked for."""
    steps = {
        "step_eager_adam": lambda: training_step(images, compiled=False, fused=False),
        "step_eager_fused_adam": lambda: training_step(images, compiled=False, fused=True),
        "step_compile_fused_adam": lambda: training_step(images, compiled=True, fused=True),
        "step_bf16_compile_autocast": lambda: training_step(images, True, True, bf16=True),
        "step_bf16_eager_autocast": lambda: training_step(images, False, True, bf16=True),
    }
    samplers = {
        f"gumbel_softmax_{'x'.join(map(str, shape))}": lambda shape=shape: sampler(shape)
        for shape in SAMPLER_SHAPES
    }
    return steps | estimators(images) | samplers | structured()


def warm_up(iterate):
    start = time.perf_counter()
    done = 0
    while done < WARM_UP_ITERATIONS or time.perf_counter() - start < WARM_UP_SECONDS:
        iterate()
        done += 1


def measure(iterate, seconds):
    """Milliseconds of each iteration over about `seconds`."""
    times_ms = []
    start = now = time.perf_counter()
    while now - start < seconds or len(times_ms) < FEWEST_ITERATIONS:
        iterate()
        before, now = now, time.perf_counter()
        times_ms.append((now - before) * 1e3)
    return times_ms


def reply(message):
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", required=True, help="IDX file of 28x28 images, raw or gzip")
    args = parser.parse_args()
    # Before PyTorch's own threads start, so that they inherit it.
    flushes = torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    if not flushes:
        print("bench_pytorch.py: this machine cannot flush denormals", file=sys.stderr)

    images = read_idx(args.images)
    makers = benchmarks(torch.from_numpy(images.reshape(len(images), -1).copy()))
    del images
    reply(
        {
            "side": "pytorch",
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "names": list(makers),
        }
    )

    ready = {}
    for line in sys.stdin:
        try:
            verb, name, seconds = line.split()
            if verb != "run" or name not in makers:
                raise ValueError(f"cannot do {line.strip()!r}")
            if name not in ready:
                ready[name] = makers[name]()
                warm_up(ready[name])
            times_ms = measure(ready[name], float(seconds))
        except Exception as error:  # The other side decides what to do about it.
            reply({"error": f"{type(error).__name__}: {error}"})
            continue
        reply(
            {
                "name": name,
                "iterations": len(times_ms),
                "ms": statistics.median(times_ms),
                "min_ms": min(times_ms),
                "peak_rss_mib": peak_rss_mib(),
            }
        )


if __name__ == "__main__":
    main()
