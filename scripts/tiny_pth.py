"""Writes `crates/catvae-cli/tests/goldens/tiny.pth`, which the tests of `catvae import` read. Needs torch.

The values follow from names and places, so that the tests know them. Views of larger tensors and a transposed one are
what real files hold too.
"""

import pathlib

import torch

SHAPES = {
    "encoder.0.weight": (4, 784),
    "encoder.0.bias": (4,),
    "encoder.2.weight": (6, 4),
    "encoder.2.bias": (6,),
    "decoder.0.weight": (4, 6),
    "decoder.0.bias": (4,),
    "decoder.2.weight": (784, 4),
    "decoder.2.bias": (784,),
}


def values(i, shape):
    n = torch.Size(shape).numel()
    return ((torch.arange(n) + 100 * i) % 251 / 256 - 0.5).reshape(shape)


def main():
    state = {name: values(i, shape) for i, (name, shape) in enumerate(SHAPES.items())}
    state["encoder.2.weight"] = state["encoder.2.weight"].t().contiguous().t()
    state["encoder.0.bias"] = torch.cat([torch.full((7,), 9.0), state["encoder.0.bias"]])[7:]
    state["decoder.0.bias"] = state["decoder.0.bias"].double()
    place = pathlib.Path(__file__).parent.parent / "crates/catvae-cli/tests/goldens/tiny.pth"
    place.parent.mkdir(exist_ok=True)
    torch.save({"epoch": 3, "state_dict": state}, place)


if __name__ == "__main__":
    main()
