"""The IDX reader gives back what was written, and refuses everything else by file name."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widevalley.data.mnist import read_idx


def write_idx(path, array, magic=None):
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    counts = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + counts + array.tobytes()))
    return path


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple), seed=st.integers(0, 99)
)
def test_reads_what_was_written(tmp_path_factory, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = write_idx(tmp_path_factory.mktemp("idx") / "a.gz", array)
    np.testing.assert_array_equal(read_idx(path, shape), array)


def truncate_stream(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def drop_data(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))


def cut_header(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:6]))


def not_gzip(path):
    path.write_bytes(b"<html>moved</html>")


@pytest.mark.parametrize(
    "damage",
    [truncate_stream, flip_a_byte, drop_data, cut_header, not_gzip],
    ids=lambda f: f.__name__,
)
def test_damage_is_refused_by_file_name(tmp_path, damage):
    array = np.random.default_rng(0).integers(0, 256, (3, 4), dtype=np.uint8)
    path = write_idx(tmp_path / "labels.gz", array)
    damage(path)
    with pytest.raises(ValueError, match=r"labels\.gz"):
        read_idx(path, (3, 4))


def test_wrong_magic_and_counts_are_named(tmp_path):
    array = np.zeros((3, 4), dtype=np.uint8)
    path = write_idx(tmp_path / "a.gz", array, magic=bytes([0, 0, 13, 2]))
    with pytest.raises(ValueError, match=r"magic number 00000d02, expected 00000802"):
        read_idx(path, (3, 4))
    path = write_idx(tmp_path / "b.gz", array)
    with pytest.raises(ValueError, match=r"dimensions \(3, 4\), expected \(4, 3\)"):
        read_idx(path, (4, 3))
