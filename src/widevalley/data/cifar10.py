"""CIFAR-10: 50,000 training and 10,000 test images of 3x32x32 pixels, in binary batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widevalley.data.cache import Arrays, cached_arrays
from widevalley.data.dataset import Dataset
from widevalley.data.files import RemoteArchive, RemoteFile, fetch_members
from widevalley.data.whitening import ZCA, normalise_contrast_

EPS = 1e-5
"""Added to the eigenvalues of the covariance when whitening."""
PIXELS = 3 * 32 * 32
BATCH = 10_000
"""Images in a file."""

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
ARCHIVE = RemoteArchive(
    _URL,
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    tuple(
        RemoteFile(f"cifar-10-batches-bin/{name}.bin", _URL, checksum)
        for name, checksum in _SHA256.items()
    ),
)


def load_cifar10() -> Dataset:
    """CIFAR-10 as the paper has it: each image contrast-normalised, then all of them whitened.

    An image loses its mean and is divided by its standard deviation over all its 3,072 values;
    ZCA whitening is computed from the training images with 1e-5 added to the eigenvalues. The
    result, (samples, 3, 32, 32), is stored in the user cache (740 MB): the first call takes a
    minute, later ones seconds.

    Raises widevalley.data.DataUnavailable where the files are neither at hand nor downloadable.
    """
    *train_paths, test_path = fetch_members(ARCHIVE)
    train, test = read_batches(train_paths, BATCH), read_batches([test_path], BATCH)
    settings = f"{[member.sha256 for member in ARCHIVE.members]} contrast, ZCA {EPS}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:16]
    # The key names everything the arrays depend on: other files or settings are another entry.
    inputs = cached_arrays(f"cifar-10-whitened-{key}", lambda: whitened(train[0], test[0]))
    return Dataset(
        train_inputs=_images(inputs["train"]),
        train_targets=train[1],
        test_inputs=_images(inputs["test"]),
        test_targets=test[1],
        classes=10,
    )


def read_batches(paths: Sequence[Path], samples: int) -> tuple[Tensor, Tensor]:
    """Pixels (uint8 rows of 3,072: red, green, blue) and targets (int64) of binary batches.

    Raises ValueError naming the file that has not `samples` records of 3,073 bytes, or has a
    class number above 9.
    """
    records = torch.cat([torch.from_numpy(_records(path, samples)) for path in paths])
    return records[:, 1:], records[:, 0].to(torch.int64)


def _records(path: Path, samples: int) -> NDArray[np.uint8]:
    # A record is a class number and 3,072 pixels, each a byte.
    content = np.fromfile(path, dtype=np.uint8)
    expected = samples * (1 + PIXELS)
    if len(content) != expected:
        raise ValueError(f"{path}: {len(content)} bytes, expected {expected}")
    records = content.reshape(samples, 1 + PIXELS)
    largest = records[:, 0].max()
    if largest > 9:
        raise ValueError(f"{path}: class number {largest}, expected 0 to 9")
    return records


def whitened(train: Tensor, test: Tensor) -> Arrays:
    """Rows of both sets, contrast-normalised, then whitened by the training set; float32."""
    train = normalise_contrast_(train.to(torch.float32))
    test = normalise_contrast_(test.to(torch.float32))
    zca = ZCA.of(train, EPS)
    return {"train": zca.whiten_(train).numpy(), "test": zca.whiten_(test).numpy()}


def _images(rows: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(rows).view(-1, 3, 32, 32)
