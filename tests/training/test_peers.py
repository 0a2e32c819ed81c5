"""Optimizers of others as a run names them: their steps, how they resume, where they are judged."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from widevalley.models import DigitsMLP
from widevalley.training import OptimizerSettings, RunConfig, run
from widevalley.training.evaluation import evaluation_weights
from widevalley.training.hardware import resolve
from widevalley.training.local_entropies import LocalEntropyAdamWSettings, LocalEntropySettings
from widevalley.training.loop import Loop
from widevalley.training.peers import (
    AdamWAverageSettings,
    AdamWSettings,
    LookaheadSettings,
    MuonSettings,
    SAMAdamWSettings,
    SAMSGDSettings,
    ScheduleFreeAdamWSettings,
    SGDAverageSettings,
)
from widevalley.training.wrappers import hidden_matrices

from .conftest import assert_same_end

KINDS = {kind.name: kind for kind in get_args(OptimizerSettings)}


class Stopped(Exception):
    """Ends a run where a kill would."""


def loop_of(task, config, settings, **changed):
    config = replace(config, optimizer=settings, dropout=0.0, schedule="constant", **changed)
    return Loop(task, resolve(config, prefers_bf16=False))


def batches_of(loop, count):
    inputs, targets = loop.feed.splits["train_set"]
    for k in range(count):
        if k % loop.batches == 0:
            loop.feed.begin(loop.model, k // loop.batches)
        chosen = loop.feed._order[k % loop.batches * 32 :][:32]
        yield inputs[chosen], targets[chosen]


def gradient(model, x, y):
    model.zero_grad()
    functional.cross_entropy(model(x), y).backward()


def twin(seed=0):
    torch.manual_seed(seed)
    return DigitsMLP(dropout=0.0)


def assert_close(model, other):
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_ends_as_one_that_was_not(name, task, config, tmp_path, monkeypatch):
    config = replace(config, optimizer=KINDS[name](), checkpoint_every=0.0)
    whole = run(task, config, tmp_path / "whole")
    step = Loop.step

    def killed(self):
        if self.gradients >= 50:
            raise Stopped
        step(self)

    monkeypatch.setattr(Loop, "step", killed)
    with pytest.raises(Stopped):
        run(task, config, tmp_path / "killed")
    monkeypatch.setattr(Loop, "step", step)
    assert_same_end(run(task, config, tmp_path / "killed"), whole)


@pytest.mark.parametrize("name", KINDS)
def test_judging_moves_no_weight(name, task, config):
    loop = loop_of(task, config, KINDS[name]())
    for _ in range(9):
        loop.step()
    before = [p.detach().clone() for p in loop.model.parameters()]
    loop.evaluate()
    assert all(map(torch.equal, before, loop.model.parameters()))


@pytest.mark.parametrize("name", KINDS)
def test_settings_survive_json(name):
    config = RunConfig(optimizer=KINDS[name](lr=0.02))
    assert RunConfig.from_dict(config.as_dict()) == config


def test_the_average_is_that_of_swa_utils(task, config):
    loop = loop_of(task, config, SGDAverageSettings(lr=0.05, decay=0.9))
    model = twin()
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for x, y in batches_of(loop, 25):
        loop.step()
        gradient(model, x, y)
        sgd.step()
        average.update_parameters(model)
    assert_close(loop.model, model)
    with evaluation_weights(loop.model, loop.optimizer, loop.feed):
        assert_close(loop.model, average.module)


@pytest.mark.parametrize("kind", [SAMSGDSettings, SAMAdamWSettings])
def test_sam_takes_two_gradients_of_one_batch(task, config, kind):
    """The base optimizer at x, with the gradient at x + rho g / |g|."""
    loop = loop_of(task, config, kind(lr=0.01, rho=0.3))
    model = twin()
    if kind is SAMSGDSettings:
        base = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    else:
        base = torch.optim.AdamW(model.parameters(), lr=0.01)
    for x, y in batches_of(loop, 20):
        loop.step()
        gradient(model, x, y)
        kept = [p.detach().clone() for p in model.parameters()]
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(p.grad, alpha=float(0.3 / norm))
        gradient(model, x, y)
        with torch.no_grad():
            for p, before in zip(model.parameters(), kept):
                p.copy_(before)
        base.step()
    assert loop.gradients == 40
    assert_close(loop.model, model)


def test_sam_spends_no_more_gradients_than_the_others(task, config, tmp_path):
    config = replace(config, epochs=0.975, evaluate_every=0.2)  # 39 gradients
    spent = run(task, replace(config, optimizer=SAMSGDSettings()), tmp_path / "sam")
    assert [r["gradients"] for r in spent.records] == [8, 16, 24, 32, 38]
    one = replace(config, optimizer=SAMSGDSettings(), epochs=0.025)
    assert run(task, one, tmp_path / "one").records[-1]["gradients"] == 2  # no fewer than a step
    others = run(task, replace(config, optimizer=AdamWSettings()), tmp_path / "adamw")
    assert others.records[-1]["gradients"] == 39


def test_muon_has_the_hidden_matrices_and_adamw_the_rest(task, config):
    loop = loop_of(task, config, MuonSettings(lr=0.01, momentum=0.9, weight_decay=0.1))
    model = twin()
    hidden = [model[0].weight, model[2].weight]
    assert hidden_matrices(model) == hidden
    muon = torch.optim.Muon(
        hidden, lr=0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    rest = [p for p in model.parameters() if all(p is not one for one in hidden)]
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1)
    for x, y in batches_of(loop, 12):
        loop.step()
        gradient(model, x, y)
        muon.step()
        adamw.step()
    assert_close(loop.model, model)


def test_embeddings_and_vectors_are_no_hidden_matrices():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3))
    assert hidden_matrices(model) == []
    with pytest.raises(ValueError, match="muon: the network has no hidden matrix"):
        MuonSettings().build(model, seed=0)


def test_schedule_free_is_judged_at_its_average(task, config):
    """At the start lr is constant, so the average is the mean of z, which is plain AdamW's."""
    loop = loop_of(task, config, ScheduleFreeAdamWSettings(lr=1e-2))
    for _ in range(10):
        loop.step()
    beta = 0.9
    z = [loop.optimizer.state[p]["z"] for p in loop.model.parameters()]
    y = [p.detach().clone() for p in loop.model.parameters()]
    with evaluation_weights(loop.model, loop.optimizer, loop.feed):
        for x, one, other in zip(loop.model.parameters(), y, z, strict=True):
            torch.testing.assert_close((1 - beta) * other + beta * x, one)
            assert not torch.equal(x, one)


def test_lookahead_is_judged_at_its_slow_weights(task, config):
    loop = loop_of(task, config, LookaheadSettings(k=5, alpha=0.5))
    for _ in range(5):
        loop.step()
    slow = [p.detach().clone() for p in loop.model.parameters()]
    for _ in range(3):
        loop.step()
    with evaluation_weights(loop.model, loop.optimizer, loop.feed):
        assert all(map(torch.equal, slow, loop.model.parameters()))


def test_local_entropy_as_lookahead_is_lookahead(task, config):
    """Walks of 5 steps and an anchor that goes half the way: pytorch_optimizer's Lookahead."""
    ours = LocalEntropyAdamWSettings(lr=0.5, langevin_steps=5, langevin_lr=2e-3)
    one = loop_of(task, config, ours)
    other = loop_of(task, config, LookaheadSettings(lr=2e-3, k=5, alpha=0.5))
    for _ in range(23):
        one.step()
        other.step()
    assert_close(one.model, other.model)


def test_the_walk_of_local_entropy_has_a_schedule_of_its_own(task, config):
    settings = LocalEntropyAdamWSettings(lr=0.7, langevin_lr=2e-3)
    config = replace(config, optimizer=settings, walk_schedule="linear", schedule="constant")
    loop = Loop(task, resolve(config, prefers_bf16=False))
    for _ in range(31):
        loop.step()
    assert loop.optimizer.param_groups[0]["outer_lr"] == 0.7
    assert loop.optimizer.inner.param_groups[0]["lr"] == pytest.approx(2e-3 * (1 - 30 / 120))
    assert issubclass(LocalEntropyAdamWSettings, LocalEntropySettings)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    with pytest.raises(ModuleNotFoundError, match=r"schedule-free-adamw needs schedulefree: pip"):
        ScheduleFreeAdamWSettings().build(twin(), seed=0)


def test_averages_of_adamw_are_judged(task, config):
    loop = loop_of(task, config, AdamWAverageSettings(decay=0.0))
    plain = loop_of(task, config, AdamWSettings())
    for _ in range(4):
        loop.step()
        plain.step()
    assert loop.evaluate() == plain.evaluate()
