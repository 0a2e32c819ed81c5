"""Fixtures shared by every folder of tests."""

import os
import shutil
from pathlib import Path

import pytest

# The tensors here are tiny and the suite runs a process a core; what tests start inherits this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)

from tests import torchvision_hidden  # noqa: E402, F401

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory):
    """A folder laid out as WIDEVALLEY_DATA is, holding the real MNIST files, or None."""
    named = os.environ.get("WIDEVALLEY_DATA")
    if named and (Path(named) / "mnist").is_dir():
        return Path(named)
    if (SHARED / "mnist").is_dir():
        folder = tmp_path_factory.mktemp("data")
        shutil.copytree(SHARED / "mnist", folder / "mnist")
        return folder
    return None


@pytest.fixture
def real_data(mnist_folder, monkeypatch):
    """WIDEVALLEY_DATA set to real MNIST; skips the test where there is none."""
    if mnist_folder is None:
        pytest.skip("no real MNIST: set WIDEVALLEY_DATA to a folder holding mnist/*.gz")
    monkeypatch.setenv("WIDEVALLEY_DATA", str(mnist_folder))
    return mnist_folder
