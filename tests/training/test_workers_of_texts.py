"""Several processes train a text, whose columns each carries a state of its own."""

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.optim import processes
from widevalley.data import Corpus
from widevalley.models import CharLSTM
from widevalley.training import (
    Characters,
    EntropySGDSettings,
    Interrupted,
    RunConfig,
    RunFolder,
    SGDSettings,
    Task,
    run,
)
from widevalley.training.loop import Loop


def load():
    generator = torch.Generator().manual_seed(3)
    texts = (torch.randint(12, (n,), generator=generator) for n in (4000, 400, 400))
    return Corpus(*texts, tuple("abcdefghijkl"))


def build(_):
    return CharLSTM(symbols=12, embedding=5, units=16)


def go(rank, world, path, stop, sync):
    """Train in a folder, and stop after so many gradients if any."""
    step = Loop.step

    def stopping(loop):
        step(loop)
        if loop.gradients == stop:
            os.kill(os.getpid(), signal.SIGINT)

    Loop.step = stopping
    walks = EntropySGDSettings(langevin_steps=4, noise=0.0)
    config = RunConfig(
        optimizer=walks if sync == "walk" else SGDSettings(lr=0.5),
        epochs=2.0,
        batch_size=8,
        window=25,
        workers=world,
        sync=sync,
        evaluate_every=0.5,
        device="cpu",
        precision="32-true",
        threads=1,
    )
    run(Task("tiny", load, build, feed=Characters), config, Path(path))
    return RunFolder(Path(path)).checkpoint()["model"], RunFolder(Path(path)).records


def trained(tmp_path, name, sync, *plan):
    """What a run comes to that is so many processes in turn, each stopped after gradients."""
    for k, (world, stop) in enumerate(plan):
        found = processes.run(go, world, tmp_path / f"{name}-{k}", tmp_path / name, stop, sync)
        for one in found:
            assert isinstance(one, Interrupted if stop else tuple), one
    return found[0]


@pytest.mark.slow
def test_shared_gradients_go_on_bit_for_bit(tmp_path):
    whole, records = trained(tmp_path, "whole", "step", (2, 0))
    cut, again = trained(tmp_path, "cut", "step", (2, 9), (2, 0))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert [r["train_loss"] for r in records] == [r["train_loss"] for r in again]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "stop", "after"), [(1, 6, 2), (2, 8, 1)])
def test_another_number_of_processes_goes_on(tmp_path, before, stop, after):
    _, records = trained(tmp_path, "run", "walk", (before, stop), (after, 0))
    assert records[-1]["gradients"] == 40
