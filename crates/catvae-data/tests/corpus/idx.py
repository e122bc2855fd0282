"""Writes the seed corpus of the IDX parser into `idx/` beside this file: `python3 idx.py`.

A name starts with `good` or `bad`, for whether the file must be accepted, and goes on with what
it is read as: `images` or `labels`. Tests and fuzz targets start from these files.
"""

import gzip
import io
import pathlib
import struct


def images(n, rows, cols, pixels=None):
    if pixels is None:
        pixels = bytes(i * 7 % 256 for i in range(n * rows * cols))
    return struct.pack(">IIII", 0x803, n, rows, cols) + pixels


def labels(n):
    return struct.pack(">II", 0x801, n) + bytes(i % 10 for i in range(n))


def gz(data, level=9):
    out = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0, compresslevel=level) as file:
        file.write(data)
    return out.getvalue()


def with_wrong_checksum(data):
    return data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]


SMALL = images(2, 2, 3)
MEDIUM = images(3, 4, 4)

FILES = {
    "good-images": SMALL,
    "good-images-one-pixel": images(1, 1, 1),
    "good-images.gz": gz(MEDIUM),
    "good-images-stored.gz": gz(images(2, 3, 3), level=0),
    "good-images-two-members.gz": gz(SMALL[:9]) + gz(SMALL[9:]),
    "good-labels": labels(5),
    "good-labels.gz": gz(labels(12)),
    "bad-images-empty": b"",
    "bad-images-empty.gz": b"",
    "bad-images-truncated": SMALL[:-1],
    "bad-images-truncated-header": SMALL[:13],
    "bad-images-trailing": SMALL + b"\0",
    "bad-labels-trailing.gz": gz(labels(5) + b"x"),
    "bad-images-magic": b"\x89PNG" + SMALL[4:],
    "bad-images-float": b"\0\0\x0d\x03" + SMALL[4:],
    "bad-images-are-labels": labels(5),
    "bad-labels-are-images": SMALL,
    "bad-images-zero-count": images(0, 28, 28),
    "bad-images-zero-rows": images(2, 0, 3),
    "bad-labels-zero-count": labels(0),
    "bad-images-two-to-the-31": images(1 << 31, 1, 1, b"\1" * 12),
    "bad-images-two-to-the-31.gz": gz(images(1 << 31, 1, 1, b"\1" * 12)),
    "bad-images-overflow": images(2**32 - 1, 2**32 - 1, 2**32 - 1, b""),
    "bad-images-no-gzip.gz": SMALL,
    "bad-images-is-gzip": gz(SMALL),
    "bad-images-cut.gz": gz(MEDIUM)[:-9],
    "bad-images-checksum.gz": with_wrong_checksum(gz(MEDIUM)),
    "bad-images-after-gzip.gz": gz(SMALL) + b"trailing garbage",
}

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent / "idx"
    folder.mkdir(exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
