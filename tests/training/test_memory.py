"""What is said of memory."""

import mmap

import torch

from widevalley.training import run
from widevalley.training.memory import peak_bytes, reset_peak, tensor_bytes

CPU = torch.device("cpu")


def test_the_peak_holds_what_was_allocated_since():
    reset_peak(CPU)
    before = peak_bytes(CPU)
    # pages of the system's own, for the allocator may have as many left from earlier tests
    with mmap.mmap(-1, 2**27) as block:
        for page in range(0, 2**27, mmap.PAGESIZE):
            block[page] = 1
        during = peak_bytes(CPU)
    assert during - before > 100 * 2**20
    assert peak_bytes(CPU) - before > 100 * 2**20


def test_bytes_of_all_tensors():
    nested = {"a": torch.ones(3), "b": [torch.ones(2, dtype=torch.float64), ({}, 5, "x")]}
    assert tensor_bytes(nested) == 3 * 4 + 2 * 8


def test_a_run_notes_both(task, config, tmp_path):
    folder = run(task, config, tmp_path)
    assert folder.environments[-1]["peak_bytes"] > 2**20
    assert folder.records[-1]["state_bytes"] >= 2 * 4 * 8970  # anchor and momentum of all weights
