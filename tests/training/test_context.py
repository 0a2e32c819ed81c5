"""Language modelling in windows: what is read, in which order, and how it is evaluated."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from widevalley.data import Corpus
from widevalley.models import GPT
from widevalley.training import AdamWSettings, CharacterWindows, RunConfig, Task, run
from widevalley.training.context import cut

from .conftest import assert_same_end


def network(config):
    return GPT(symbols=11, window=config.window, width=16, heads=2, blocks=1)


@pytest.fixture
def text():
    torch.manual_seed(0)
    tokens = torch.randint(11, (600,))
    return Corpus(tokens[:400], tokens[400:500], tokens[500:], tuple("abcdefghijk"))


@pytest.fixture
def config():
    return RunConfig(
        optimizer=AdamWSettings(),
        epochs=2.0,
        batch_size=5,
        window=8,
        evaluate_every=0.5,
        threads=1,
    )


def feed_of(text, config):
    return CharacterWindows(text, config, torch.device("cpu"))


def test_windows_share_the_token_between_them():
    rows = cut(torch.arange(20), 6)
    assert rows.tolist() == [list(range(k, k + 7)) for k in (0, 6, 12)]
    with pytest.raises(ValueError, match="window=20: must be below the 20 tokens of a text"):
        cut(torch.arange(20), 20)


def test_an_epoch_reads_no_token_twice_and_each_from_another_place(config):
    text = Corpus(torch.arange(400), torch.arange(50), torch.arange(50), ())
    feed = feed_of(text, config)
    starts = []

    def seen(tokens):
        starts.append(tokens[:, 0])
        return torch.zeros(*tokens.shape, 400)

    orders = []
    for epoch in range(2):
        feed.begin(None, epoch)
        for k in range(feed.batches):
            feed.loss(seen, k, ())
        orders.append(torch.cat(starts))
        starts.clear()
    for order in orders:
        assert len(set(order.tolist())) == len(order) == feed.batches * 5
        assert len(set((order % 8).tolist())) == 1
    assert sorted(orders[0].tolist()) != sorted(orders[1].tolist())


def test_the_loss_is_that_of_every_token_given_those_before_it(text, config):
    feed = feed_of(text, config)
    model = network(config)
    found = feed.measure(model, "validation")
    losses = []
    model.requires_grad_(False)
    for start in range(0, 96, 8):
        window = text.valid[start : start + 9]
        for k in range(8):
            logits = model(window[None, : k + 1])[0, -1]
            losses.append(functional.cross_entropy(logits, window[k + 1]))
    mean = torch.stack(losses).mean()
    assert found["loss"] == pytest.approx(float(mean), rel=1e-5)
    assert found["bits"] == pytest.approx(float(mean / torch.log(torch.tensor(2.0))), rel=1e-5)


def test_an_instrument_sees_the_training_loss(text, config):
    feed = feed_of(text, config)
    model = network(config)
    model.requires_grad_(False)
    mapping, batches = feed.training_batches(model, 392, 7)
    losses = [functional.cross_entropy(mapping(x), y, reduction="sum") for x, y in batches]
    loss = feed.measure(model, "train_set")["loss"]
    count = sum(len(y) for _, y in batches)
    assert float(sum(losses)) / count == pytest.approx(loss, rel=1e-5)
    with pytest.raises(ValueError, match="samples=1000: must be from 1 to 392 tokens"):
        feed.training_batches(model, 1000, 7)


def test_a_resumed_run_ends_as_one_that_was_not(text, config, tmp_path, monkeypatch):
    from widevalley.training import Loop

    task = Task("windows", lambda: text, network, feed=CharacterWindows)
    config = replace(config, checkpoint_every=0.0)
    whole = run(task, config, tmp_path / "whole")
    assert {"test_bits", "validation_loss", "train_set_loss"} <= whole.records[-1].keys()
    step = Loop.step

    def killed(self):
        if self.gradients >= 13:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Loop, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(task, config, tmp_path / "killed")
    monkeypatch.setattr(Loop, "step", step)
    assert_same_end(run(task, config, tmp_path / "killed"), whole)


def test_learns_a_pattern(config, tmp_path):
    tokens = torch.arange(600) % 11
    text = Corpus(tokens[:400], tokens[400:500], tokens[500:], tuple("abcdefghijk"))
    task = Task("windows", lambda: text, network, feed=CharacterWindows)
    config = replace(config, epochs=30.0, optimizer=AdamWSettings(lr=1e-2))
    assert run(task, config, tmp_path).records[-1]["test_loss"] < 0.1


def test_refuses_what_a_text_cannot_give(text, config):
    with pytest.raises(ValueError, match="holdout=5: must be 0 for a text"):
        feed_of(text, replace(config, holdout=5))
    with pytest.raises(ValueError, match="batch_size=90: must be at most the 48 windows of 8"):
        feed_of(text, replace(config, batch_size=90))
