"""MNIST: 60,000 training and 10,000 test images of 28x28 pixels, in IDX .gz files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from widevalley.data.dataset import Dataset
from widevalley.data.files import RemoteFile, fetch

MEAN, STD = 0.1307, 0.3081
"""Of the training pixels, scaled to [0, 1]."""

_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_SHA256 = {
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = {
    name: RemoteFile(f"mnist/{name}-ubyte.gz", f"{_MIRROR}{name}-ubyte.gz", checksum)
    for name, checksum in _SHA256.items()
}


def load_mnist(*, shifted: bool = True) -> Dataset:
    """MNIST as rows of 784 pixels, (pixel / 255 - 0.1307) / 0.3081.

    With `shifted=False` they are pixel / 255, so that a dark pixel is an exact zero.

    Raises widevalley.data.DataUnavailable where the files are neither at hand nor downloadable.
    """
    train_inputs, train_targets = _split("train", 60_000, shifted)
    test_inputs, test_targets = _split("t10k", 10_000, shifted)
    return Dataset(train_inputs, train_targets, test_inputs, test_targets, classes=10)


def _split(name: str, samples: int, shifted: bool) -> tuple[Tensor, Tensor]:
    images = read_idx(fetch(FILES[f"{name}-images-idx3"]), (samples, 28, 28))
    labels = read_idx(fetch(FILES[f"{name}-labels-idx1"]), (samples,))
    pixels = torch.from_numpy(images).reshape(samples, 784).to(torch.float32)
    pixels.div_(255)  # in place: 60,000 images are 188 MB in float32
    if shifted:
        pixels.sub_(MEAN).div_(STD)
    return pixels, torch.from_numpy(labels).to(torch.int64)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The unsigned bytes of a gzipped IDX file, which must have exactly this shape.

    Raises ValueError naming the file where the gzip stream is broken or cut short, the magic
    number is not that of bytes in `len(shape)` dimensions, or the counts are not `shape`.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from error
    header = 4 + 4 * len(shape)
    if content[:4] != bytes([0, 0, 8, len(shape)]):
        raise ValueError(
            f"{path}: magic number {content[:4].hex()}, expected 000008{len(shape):02x}"
        )
    if len(content) < header:
        raise ValueError(f"{path}: header cut short at {len(content)} of {header} bytes")
    found = tuple(int(n) for n in np.frombuffer(content[4:header], dtype=">u4"))
    if found != shape:
        raise ValueError(f"{path}: dimensions {found}, expected {shape}")
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{path}: {len(content) - header} bytes of data, expected {math.prod(shape)}"
        )
    # A copy, since the decompressed bytes may not be written to.
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy()
