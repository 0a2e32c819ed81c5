"""A loss that is no longer finite stops the run by name, with the last good state kept."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from widevalley.training import Diverged, RunFolder, RunProgress, SGDSettings, run


def test_names_steps_and_settings(task, config, tmp_path):
    config = replace(config, optimizer=SGDSettings(lr=1e6), checkpoint_every=1000.0)
    with pytest.raises(Diverged) as caught:
        run(task, config, tmp_path)
    message = str(caught.value)
    assert "after steps 1 to 20" in message
    assert '"lr": 1000000.0' in message
    assert "no checkpoint yet" in message
    assert not (tmp_path / "checkpoint.pt").exists()
    assert json.loads((tmp_path / "diverged.json").read_text()) == {"gradients": 20}


def test_a_run_that_starts_again_has_not_diverged_yet(task, config, tmp_path):
    folder = RunFolder(tmp_path)
    run(task, config, tmp_path)
    assert not folder.diverged
    folder.record_divergence(20)
    assert folder.diverged
    (tmp_path / "metrics.jsonl").unlink()
    run(task, config, tmp_path)
    assert not folder.diverged


def test_keeps_the_last_good_checkpoint(monkeypatch, task, config, tmp_path):
    from widevalley.training import runner

    step = runner.Loop.step

    def poisoned(loop):
        step(loop)
        if loop.gradients == 50:
            with torch.no_grad():
                next(loop.model.parameters()).fill_(float("nan"))

    monkeypatch.setattr(runner.Loop, "step", poisoned)
    with pytest.raises(Diverged, match=r"after steps 50 to 50 .*last good checkpoint is"):
        run(task, replace(config, checkpoint_every=0.0), tmp_path)
    state = RunFolder(tmp_path).resume()
    assert state["gradients"] == 49
    assert all(torch.isfinite(p).all() for p in state["model"].values())


def test_no_wait_for_the_device_between_evaluations(monkeypatch, task, config, tmp_path):
    """Numbers are read off tensors at evaluations only, whatever the count of steps."""
    reads = []
    read = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda t: reads.append(1) or read(t))

    counts = []

    class Count(RunProgress):
        def record(self, record):
            counts.append(len(reads))

    run(task, replace(config, checkpoint_every=1000.0), tmp_path, progress=Count())
    assert {b - a for a, b in pairwise(counts[:-1])} == {4}  # training loss, loss, error, ECE
