#!/usr/bin/env bash
# Trains small models, opens their explorer pages in Chromium, and compares what the pages say with the program.
# SKIPPED where node or Chromium is missing, or where playwright-core cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "SKIPPED: $*"
    exit 0
}
command -v node >/dev/null || skip "no node on the PATH"
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "no chromium on the PATH"
place=target/explorer-check
mkdir -p "$place"
if [ ! -d "$place/node_modules/axe-core" ]; then
    command -v npm >/dev/null || skip "no npm on the PATH"
    npm install --prefix "$place" --no-save --no-audit --no-fund playwright-core@1 axe-core@4 >"$place/npm.log" 2>&1 ||
        skip "playwright-core and axe-core cannot be installed (npm.log in $place)"
fi

catvae=${CATVAE:-}
if [ -z "$catvae" ]; then
    cargo build --locked -q --workspace --bin catvae
    catvae=target/debug/catvae
fi
runs=$place/runs
rm -rf "$runs"
train() {
    "$catvae" train --train-images 3000 --test-images 600 --out "$runs/$1" "${@:2}" >"$place/$1.log"
}
train mlp --hidden 128,64 --latents 12 --categories 10 --epochs 12 --batch-size 50 --lr 3e-3 --straight-through
train conv --network '{ kind = "conv", channels = [4, 8], hidden = [32] }' --likelihood continuous-bernoulli --latents 6 --categories 20 --epochs 3 --straight-through
train bits --hidden 64 --latents 30 --categories 2 --epochs 8 --binarization threshold --logits relu
for run in mlp conv bits; do
    "$catvae" encode "$runs/$run" --posterior --out "$runs/$run/codes.npz" >>"$place/$run.log"
    "$catvae" decode "$runs/$run" --codes "$runs/$run/codes.npz" --limit 64 --out "$runs/$run/decoded.png" >>"$place/$run.log"
    "$catvae" latents "$runs/$run" --json >"$runs/$run/latents.json"
    # The page that training wrote has 500 images; this one has all that the statistics are over.
    "$catvae" explore "$runs/$run" --images 600 --out "$runs/$run/all.html" >>"$place/$run.log"
done
"$catvae" explore "$runs/mlp" "$runs/bits" --out "$runs/two.html" >>"$place/mlp.log"
CHROMIUM=$chromium node scripts/explorer/check.mjs "$place"
