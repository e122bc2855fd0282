#!/usr/bin/env bash
# Trains small models and reads what they leave with TensorBoard, ONNX's checker and its runtime, in a virtual environment.
# SKIPPED where Python is missing or these cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "SKIPPED: $*"
    exit 0
}
command -v python3 >/dev/null || skip "no python3 on the PATH"
place=target/formats-check
mkdir -p "$place"
python=${FORMATS_PYTHON:-$place/venv/bin/python}
if [ ! -x "$python" ]; then
    { python3 -m venv "$place/venv" && "$python" -m pip install -q tensorboard onnx onnxruntime numpy safetensors; } >"$place/pip.log" 2>&1 || {
        rm -rf "$place/venv"
        skip "tensorboard, onnx and onnxruntime cannot be installed (pip.log in $place)"
    }
fi

catvae=${CATVAE:-}
if [ -z "$catvae" ]; then
    cargo build --locked -q -p gumbel-core -p gumbel-kernels -p catvae-model -p catvae-train -p catvae-cli -p catvae-data --bin catvae
    catvae=target/debug/catvae
fi
runs=$place/runs
rm -rf "$runs"
small="train --train-images 2000 --test-images 200 --latents 6 --categories 5"
$catvae $small --hidden 32 --epochs 3 --out "$runs/seed-0" >"$place/log"
$catvae $small --hidden 32 --epochs 3 --seed 1 --out "$runs/seed-1" >>"$place/log"
# Killed in the middle, and gone on with.
$catvae $small --hidden 32 --epochs 400 --seed 2 --checkpoint-every 7 --out "$runs/killed" >"$place/killed.log" &
killed=$!
for _ in $(seq 600); do
    [ "$(cat "$runs/killed/metrics.jsonl" 2>/dev/null | wc -l)" -ge 3 ] && break
    sleep 0.1
done
kill -9 "$killed"
wait "$killed" 2>/dev/null || true
epochs=$(($(wc -l <"$runs/killed/metrics.jsonl") + 3))
$catvae train --resume --out "$runs/killed" --epochs "$epochs" >>"$place/log" 2>&1
$catvae $small --network '{ kind = "conv", channels = [4, 8], hidden = [16] }' --likelihood continuous-bernoulli --epochs 2 --out "$runs/conv" >>"$place/log"
$catvae $small --network '{ kind = "vgg", channels = [4, 4], hidden = [16] }' --likelihood discretised-logistic --epochs 1 --out "$runs/vgg" >>"$place/log"
for run in seed-0 conv vgg; do
    $catvae encode "$runs/$run" --posterior --out "$runs/$run/codes.npz" >>"$place/log"
    $catvae decode "$runs/$run" --codes "$runs/$run/codes.npz" --limit 64 --out "$runs/$run/decoded.png" >>"$place/log"
    $catvae evaluate "$runs/$run" --json >"$runs/$run/evaluation.json"
    $catvae export "$runs/$run" --format hf >>"$place/log"
    # The test images as the page carries them.
    $catvae explore "$runs/$run" --images 200 >>"$place/log"
done
"$python" scripts/check_formats.py "$runs"
# PyTorch is too large to be installed for this: a Python that has it is named, or found.
torch_python=${TORCH_PYTHON:-python3}
"$torch_python" -c "import torch, huggingface_hub, safetensors" 2>/dev/null ||
    skip "PyTorch's part: $torch_python has no torch, huggingface_hub and safetensors (TORCH_PYTHON names another)"
"$torch_python" scripts/check_hub_folder.py "$runs"
$catvae import "$runs/seed-0/from_hub.pth" --config "$runs/seed-0/config.toml" --out "$runs/from-hub" >>"$place/log"
$catvae evaluate "$runs/from-hub" --json | sed 's/"step":[0-9]*,//' >"$place/from-hub.json"
sed 's/"step":[0-9]*,//' "$runs/seed-0/evaluation.json" | cmp - "$place/from-hub.json"
echo "ok what PyTorch saves of it comes back through catvae import with the same objective"
