"""The training step on a machine that is shared: alone, beside busy programs, beside another training.

Run:  cargo build --release -p catvae-cli && python3 scripts/bench_shared.py target/release/catvae
      Another build beside it: --base PATH. On a machine with other work: as root, under `nice -n -19`.

Each round takes every choice of threads under every load, in turn. Printed are medians of the rounds, of the mean step
of the last epoch, in ms; of two trainings, of the slower one. Weights are compared: they may not differ in one bit.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BUSY = [sys.executable, "-c", "while True: pass"]


def train(program, threads, out, steps):
    environment = {k: v for k, v in os.environ.items() if k != "RAYON_NUM_THREADS"}
    if threads:
        environment["RAYON_NUM_THREADS"] = str(threads)
    words = f"train --train-images {50 * steps} --test-images 100 --epochs 2 --no-unrelaxed --seed 1 --out".split()
    return subprocess.Popen(
        [program, *words, str(out)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def step_ms(folder):
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step_ms"]


def weights(folder):
    newest = max((folder / "checkpoints").glob("step-*"))
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


def measure(program, threads, load, steps, seen):
    """The mean step of the last epoch in ms, of the slower training where there are two."""
    n_trainings = 2 if load == "two trainings" else 1
    n_busy = {"one busy": 1, "all busy": os.cpu_count()}.get(load, 0)
    busy = [subprocess.Popen(BUSY) for _ in range(n_busy)]
    try:
        with tempfile.TemporaryDirectory() as place:
            folders = [pathlib.Path(place) / str(i) for i in range(n_trainings)]
            trainings = [train(program, threads, folder, steps) for folder in folders]
            for training in trainings:
                error = training.communicate()[1]
                if training.returncode:
                    sys.exit(error.decode())
            seen.update(weights(folder) for folder in folders)
            return max(step_ms(folder) for folder in folders)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("catvae")
    parser.add_argument("--base", help="another build, with all cores and with one thread")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1200, help="of a training, in two epochs")
    parser.add_argument("--loads", default="alone,one busy,all busy,two trainings")
    args = parser.parse_args()

    cores = os.cpu_count()
    choices = {"chosen": (args.catvae, None), "all": (args.catvae, cores), "one": (args.catvae, 1)}
    if args.base:
        choices |= {"base, all": (args.base, cores), "base, one": (args.base, 1)}
    seen = {choice: set() for choice in choices}
    print(f"{'':15}" + "".join(f"{choice:>22}" for choice in choices), flush=True)
    for load in args.loads.split(","):
        times = {choice: [] for choice in choices}
        for _ in range(args.rounds):
            for choice, (program, threads) in choices.items():
                times[choice].append(measure(program, threads, load, args.steps, seen[choice]))
        cells = (
            f"{statistics.median(t):6.2f} ({min(t):5.2f} - {max(t):5.2f})" for t in times.values()
        )
        print(f"{load:15}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    ours = set.union(*(found for choice, found in seen.items() if "base" not in choice))
    print("weights equal bit for bit" if len(ours) == 1 else f"DIFFERENT WEIGHTS: {ours}")
    sys.exit(len(ours) != 1)


if __name__ == "__main__":
    main()
