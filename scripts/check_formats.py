"""What `scripts/check_formats.sh` asks of event files and of exported models, with the packages that read them."""

import base64
import glob
import json
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

RUNS = Path(sys.argv[1])
GROUPS = {"objective", "terms", "run"}


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def events(run):
    """Every number of metrics.jsonl, once, bit for bit."""
    (path,) = glob.glob(str(RUNS / run / "events.out.tfevents*"))
    lines = [json.loads(line) for line in (RUNS / run / "metrics.jsonl").read_text().splitlines()]
    board = EventAccumulator(path, size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}).Reload()
    found = {}
    for tag in board.Tags()["scalars"]:
        group, key = tag.split("/")
        assert group in GROUPS, tag
        found[key] = [(event.step, event.value) for event in board.Scalars(tag)]
    # `best_on` is a word, and no scalar.
    for key in lines[0].keys() - {"epoch", "step", "best_on"}:
        expected = [(line["step"], f32(line[key])) for line in lines]
        assert found[key] == expected, f"{run} {key}: {found[key]} instead of {expected}"
    gap = [f32(line["train_neg_elbo_unrelaxed"] - line["train_neg_elbo"]) for line in lines]
    assert [value for _, value in found["gap"]] == gap
    # The loader stops at a torn record with an error.
    steps = [event.step for event in LegacyEventFileLoader(path).Load() if event.step > 0]
    assert steps == [line["step"] for line in lines], f"{run}: {steps}"
    print(f"ok {run}: {len(lines)} epochs, {len(found)} scalars, each once and bit for bit")
    return board, lines


def content(board, name):
    metadata = board.SummaryMetadata(f"_hparams_/{name}")
    assert metadata.plugin_data.plugin_name == "hparams"
    return plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)


def board():
    boards = {}
    for run in ["seed-0", "seed-1", "killed"]:
        boards[run], lines = events(run)
        images = boards[run].Images("samples")
        assert all(image.encoded_image_string.startswith(b"\x89PNG") and image.width > 100 for image in images)
        for tag in ["latents/kl", "latents/perplexity"]:
            histograms = boards[run].Histograms(tag)
            assert all(h.histogram_value.num == 6 for h in histograms) and histograms
    kept = [len(boards["seed-0"].Images(tag)) for tag in ["samples", "reconstructions"]]
    assert kept == [3, 3], kept
    tensors = boards["seed-0"].Tags()["tensors"]
    assert "config" in tensors, tensors
    layout = boards["seed-0"].Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    (category,) = layout_pb2.Layout.FromString(layout).category
    patterns = category.chart[0].multiline.tag
    scalars = boards["seed-0"].Tags()["scalars"]
    shown = [tag for pattern in patterns for tag in scalars if re.match(pattern, tag)]
    assert shown == [f"objective/{key}" for key in ["train_neg_elbo", "train_neg_elbo_unrelaxed", "test_neg_elbo"]], shown
    starts = {run: content(boards[run], "session_start_info").session_start_info for run in boards}
    assert starts["seed-0"].group_name == starts["seed-1"].group_name != starts["killed"].group_name
    assert starts["seed-1"].hparams["training.seed"].number_value == 1
    assert content(boards["seed-0"], "session_end_info").session_end_info.status == 1
    names = {info.name for info in content(boards["seed-0"], "experiment").experiment.hparam_infos}
    assert {"training.seed", "model.n_latents", "temperature.value"} <= names, names
    print("ok pictures, histograms, settings, one chart of three objectives, seeds in one group")


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def images(run):
    """The test images, from the page that carries them."""
    page = (RUNS / run / "explorer.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    pixels = zlib.decompress(base64.b64decode(data["images"]["pixels"]))
    return np.frombuffer(pixels, np.uint8).reshape(200, -1).astype(np.float32) / np.float32(255)


def png(path):
    """The grey levels of a PNG that `catvae decode` wrote."""
    blob = path.read_bytes()
    width, height = struct.unpack(">II", blob[16:24])
    packed, at = b"", 8
    while at < len(blob):
        (length,) = struct.unpack(">I", blob[at : at + 4])
        if blob[at + 4 : at + 8] == b"IDAT":
            packed += blob[at + 8 : at + 8 + length]
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width + 1)
    above = np.zeros(width, np.int64)
    rows = []
    for row in raw:
        kind, values = row[0], row[1:].astype(np.int64)
        line = np.zeros(width, np.int64)
        for x in range(width):
            left, corner = (line[x - 1], above[x - 1]) if x else (0, 0)
            up = above[x]
            guess = left + up - corner
            near = [abs(guess - left), abs(guess - up), abs(guess - corner)]
            paeth = [left, up, corner][near.index(min(near))]
            line[x] = (values[x] + [0, left, up, (left + up) // 2, paeth][kind]) % 256
        above = line
        rows.append(line)
    return np.stack(rows)


def model(run):
    folder = RUNS / run / "export"
    sessions = {}
    for part in ["encoder", "decoder"]:
        onnx.checker.check_model(onnx.load(folder / f"{part}.onnx"), full_check=True)
        sessions[part] = onnxruntime.InferenceSession(folder / f"{part}.onnx", providers=["CPUExecutionProvider"])
    known = arrays(RUNS / run / "codes.npz")
    pixels = images(run)
    _, probabilities, codes = sessions["encoder"].run(None, {"pixels": pixels})
    far = np.abs(probabilities - known["posterior"]).max()
    assert far < 1e-5, f"{run}: probabilities differ by {far}"
    assert (codes == known["codes"]).mean() > 0.999, run
    p = probabilities.astype(np.float64)
    kl = (np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0).sum((1, 2)) + p.shape[1] * np.log(p.shape[2])).mean()
    expected = json.loads((RUNS / run / "evaluation.json").read_text())["test_kl"]
    assert abs(kl - expected) < 1e-5 * max(1, abs(expected)), f"{run}: KL {kl} instead of {expected}"
    _, means = sessions["decoder"].run(None, {"codes": known["codes"][:64]})
    one = sessions["decoder"].run(None, {"codes": known["codes"][:1]})[1]
    assert np.abs(one - means[:1]).max() < 1e-6, "another batch"
    sheet = png(RUNS / run / "decoded.png")
    worst = 0
    for i, mean in enumerate(means):
        top, left = 2 + i // 16 * 30, 2 + i % 16 * 30
        tile = sheet[3 * top + 1 : 3 * (top + 28) : 3, 3 * left + 1 : 3 * (left + 28) : 3]
        # Beside the rounding to grey levels.
        worst = max(worst, np.abs(tile / 255 - mean.reshape(28, 28)).max() - 0.5 / 255)
    assert worst < 1e-5, f"{run}: pixels differ by {worst}"
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert config["n_latents"] == 6 and weights["decoder.0.bias"].dtype == np.float32
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and "negative-elbo" in card and (folder / "index.html").is_file()
    print(f"ok {run}: probabilities within {far:.0e}, KL of evaluate, pixels of decode, a folder for the hub")


board()
for name in ["seed-0", "conv", "vgg"]:
    model(name)
