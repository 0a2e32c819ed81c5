"""What is cached comes back to the bit, or is computed again."""

import numpy as np
import pytest

from widevalley.data.cache import cached_arrays

ARRAYS = {
    "train": np.arange(12, dtype=np.float32).reshape(3, 4),
    "test": np.ones((1, 4), dtype=np.float32),
}


def never():
    raise AssertionError("must be read from the cache")


def assert_same(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_computed_once(cache):
    assert_same(cached_arrays("a", lambda: ARRAYS))
    assert_same(cached_arrays("a", never))
    assert [path.name for path in cache.iterdir()] == ["a.npz"]


def test_damage_anywhere_never_changes_what_comes_back(cache):
    cached_arrays("a", lambda: ARRAYS)
    path = cache / "a.npz"
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 0x15
        path.write_bytes(damaged)
        assert_same(cached_arrays("a", lambda: ARRAYS))
    for length in range(0, len(whole), 25):
        path.write_bytes(whole[:length])
        assert_same(cached_arrays("a", lambda: ARRAYS))
        assert path.read_bytes() != whole[:length]


def test_a_computation_that_fails_leaves_nothing(cache):
    with pytest.raises(ZeroDivisionError):
        cached_arrays("a", lambda: 1 / 0)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_a_warning(cache):
    cache.parent.mkdir()
    cache.write_bytes(b"not a folder")
    with pytest.warns(UserWarning, match=r"a\.npz cannot be stored"):
        assert_same(cached_arrays("a", lambda: ARRAYS))
