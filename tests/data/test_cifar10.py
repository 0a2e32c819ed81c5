"""Binary batches are read to the byte or refused by name, and whitened once."""

import hashlib

import numpy as np
import pytest
import torch

from widevalley.data import DataUnavailable, cifar10, load_cifar10
from widevalley.data.cifar10 import ARCHIVE, BATCH, read_batches
from widevalley.data.files import RemoteArchive, RemoteFile, fetch_members


def records(samples, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (samples, 3073), dtype=np.uint8)
    values[:, 0] %= 10
    return values


def test_reads_labels_and_planes_in_file_order(tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.bin")
        records(4, seed).tofile(paths[-1])
    pixels, targets = read_batches(paths, 4)
    expected = np.concatenate([records(4, 0), records(4, 1)])
    np.testing.assert_array_equal(pixels, expected[:, 1:])
    np.testing.assert_array_equal(targets, expected[:, 0].astype(np.int64), strict=True)


@pytest.mark.parametrize("size", [0, 3 * 3073, 4 * 3073 - 1, 4 * 3073 + 1])
def test_a_file_of_another_length_is_refused_by_name(tmp_path, size):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(ValueError, match=rf"a\.bin: {size} bytes, expected 12292"):
        read_batches([path], 4)


def test_a_class_that_is_none_is_refused_by_name(tmp_path):
    values = records(4)
    values[2, 0] = 10
    values.tofile(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"a\.bin: class number 10, expected 0 to 9"):
        read_batches([tmp_path / "a.bin"], 4)


@pytest.fixture
def small(tmp_path, monkeypatch, cache):
    """Two training files and a test file of four images in WIDEVALLEY_DATA; an empty cache."""
    members = []
    for seed, name in enumerate(["one.bin", "two.bin", "test.bin"]):
        content = records(4, seed).tobytes()
        (tmp_path / name).write_bytes(content)
        members.append(RemoteFile(name, "", hashlib.sha256(content).hexdigest()))
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path))
    monkeypatch.setattr(cifar10, "ARCHIVE", RemoteArchive("", "", tuple(members)))
    monkeypatch.setattr(cifar10, "BATCH", 4)
    return tmp_path


def halved(train, test):
    return {"train": train.numpy() / np.float32(2), "test": test.numpy() / np.float32(2)}


def test_the_last_file_is_the_test_set_and_whitening_happens_once(small, monkeypatch):
    monkeypatch.setattr(cifar10, "whitened", halved)
    data = load_cifar10()
    assert data.train_inputs.shape == (8, 3, 32, 32)
    assert data.train_inputs.dtype == torch.float32
    expected = records(4, 2).astype(np.float32)
    np.testing.assert_array_equal(data.test_inputs.flatten(1), expected[:, 1:] / 2)
    np.testing.assert_array_equal(data.test_targets, expected[:, 0])
    monkeypatch.delattr(cifar10, "whitened")
    assert torch.equal(load_cifar10().train_inputs, data.train_inputs)


def test_a_damaged_file_is_unavailable_even_when_whitened_images_are_kept(small, monkeypatch):
    monkeypatch.setattr(cifar10, "whitened", halved)
    load_cifar10()
    (small / "two.bin").write_bytes(records(4, 1).tobytes()[:-1])
    with pytest.raises(DataUnavailable, match=r"two\.bin fails its checksum"):
        load_cifar10()


def test_real_files(real):
    real("cifar-10-batches-bin")
    *train, test = fetch_members(ARCHIVE)
    pixels, targets = read_batches(train, BATCH)
    assert pixels.shape == (50_000, 3072)
    assert torch.bincount(targets).tolist() == [5000] * 10
    _, targets = read_batches([test], BATCH)
    assert targets[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
